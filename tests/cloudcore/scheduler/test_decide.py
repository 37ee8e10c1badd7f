"""Where pods may go, where they go best, and the words when they can't."""

from typing import Any

import pytest

from cloudcore.scheduler.ask import ask_of
from cloudcore.scheduler.cluster import Cluster
from cloudcore.scheduler.decide import decide
from tests.cloudcore.scheduler.fleet import node, pod


def cluster(*nodes: Any, **placed: Any) -> Cluster:
    """`placed`: pods by the node they are on, as lists."""
    made = Cluster()
    made.namespaces["d"] = {"team": "a"}
    for each in nodes:
        made.put_node(each)
    for name, pods in placed.items():
        for each in pods:
            made.put_pod(ask_of(each), name)
    return made


def where(one: Any, made: Cluster) -> str:
    decision = decide(ask_of(one), made)
    return decision.node or decision.message


def affinity(**kinds: Any) -> Any:
    return {"affinity": kinds}


def required(*terms: Any) -> Any:
    return {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}


def near(app: str, key: str = "zone", **more: Any) -> Any:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key, **more}


def in_zone(*zones: str) -> Any:
    return {"matchExpressions": [{"key": "zone", "operator": "In", "values": list(zones)}]}


EU, US = {"zone": "eu"}, {"zone": "us"}


def test_the_reasons_are_counted_and_sorted_as_kubernetes_does():
    made = cluster(
        node("a", cpu="100m"),
        node("b", labels=US),
        node("c", labels=US, unschedulable=True),
        node("d", ready="False"),
    )
    one = pod(cpu="1", nodeSelector={"gpu": "yes"})
    assert where(one, made) == (
        "0/4 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, "
        "1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector."
    )
    assert where(pod(cpu="5"), cluster(node("a"), node("b"))) == "0/2 nodes are available: 2 Insufficient cpu."
    assert where(pod(), cluster()) == "no nodes available to schedule pods"


def test_requests_of_placed_pods_are_taken_off_and_given_back():
    made = cluster(node("a", cpu="1"), a=[pod("x", cpu="600m")])
    assert where(pod(cpu="500m"), made) == "0/1 nodes are available: 1 Insufficient cpu."
    assert where(pod(cpu="400m"), made) == "a"
    made.drop_pod(ask_of(pod("x")).key)
    assert where(pod(cpu="1"), made) == "a"
    assert where(pod(), cluster(node("a", pods="1"), a=[pod("x")])) == "0/1 nodes are available: 1 Too many pods."


def test_init_containers_need_room_one_at_a_time_and_sidecars_for_good():
    def init(cpu: str, **more: Any) -> Any:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    assert ask_of(pod(cpu="1", initContainers=[init("3"), init("2")])).requests == {"cpu": 3000}
    sidecar = init("500m", restartPolicy="Always")
    assert ask_of(pod(cpu="1", initContainers=[sidecar, init("2")])).requests == {"cpu": 2500}
    assert ask_of(pod(cpu="1", initContainers=[sidecar], overhead={"cpu": "100m"})).requests == {"cpu": 1600}


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "other"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"value": "v"}, False),
    ],
)
def test_a_taint_keeps_away_whoever_does_not_tolerate_it(toleration, fits):
    tainted = cluster(node("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]))
    expected = "a" if fits else "0/1 nodes are available: 1 node(s) had untolerated taint {k: v}."
    assert where(pod(tolerations=[toleration]), tainted) == expected


def test_an_unreachable_node_gets_no_pods_before_anybody_tainted_it():
    message = where(pod(), cluster(node("a", ready="Unknown")))
    assert "{node.kubernetes.io/unreachable: }" in message
    assert (
        where(pod(tolerations=[{"operator": "Exists"}]), cluster(node("a", ready="Unknown", unschedulable=True)))
        == "a"
    )


def test_node_affinity_is_required_or_preferred():
    made = cluster(node("a", labels=EU), node("b", labels=US))
    must = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [in_zone("us")]}}
    assert where(pod(**affinity(nodeAffinity=must)), made) == "b"
    for zone, name in (("eu", "a"), ("us", "b")):
        wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": in_zone(zone)}]}
        assert where(pod(**affinity(nodeAffinity=wish)), made) == name


def test_host_ports_are_taken_once_per_address():
    def with_port(name: str, **port: Any) -> Any:
        made = pod(name)
        made["spec"]["containers"][0]["ports"] = [{"containerPort": 80, **port}]
        return made

    made = cluster(node("a"), a=[with_port("x", hostPort=80, hostIP="10.0.0.1")])
    text = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    assert where(with_port("y", hostPort=80), made) == text
    assert where(with_port("y", hostPort=80, hostIP="10.0.0.2"), made) == "a"
    assert where(with_port("y", hostPort=80, protocol="UDP"), made) == "a"
    made.put_pod(ask_of(with_port("other", hostPort=81)), "a")
    assert where(with_port("y", hostPort=80), made) == text
    assert where(with_port("y"), made) == "a"


def test_pods_go_near_others_or_begin_a_group():
    nodes = [node("a", labels=EU), node("b", labels=US), node("c")]
    one = pod(labels={"app": "web"}, **affinity(podAffinity=required(near("db"))))
    assert where(one, cluster(*nodes, b=[pod("x", labels={"app": "db"})])) == "b"
    assert where(one, cluster(*nodes)) == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    first = pod(labels={"app": "web"}, **affinity(podAffinity=required(near("web"))))
    assert where(first, cluster(*nodes)) == "a"
    elsewhere = pod(**affinity(podAffinity=required(near("db", namespaces=["other"]))))
    assert "affinity rules" in where(elsewhere, cluster(*nodes, b=[pod("x", labels={"app": "db"})]))
    by_team = near("db", namespaceSelector={"matchLabels": {"team": "a"}})
    assert (
        where(pod(**affinity(podAffinity=required(by_team))), cluster(*nodes, b=[pod("x", labels={"app": "db"})]))
        == "b"
    )


def test_pods_keep_apart_from_each_other_in_both_directions():
    nodes = [node("a", labels=EU), node("b", labels=EU)]
    shy: Any = {"labels": {"app": "web"}, **affinity(podAntiAffinity=required(near("web", "kubernetes.io/hostname")))}
    assert where(pod(**shy), cluster(*nodes, a=[pod("x", labels={"app": "web"})])) == "b"
    full = cluster(*nodes, a=[pod("x", labels={"app": "web"})], b=[pod("y", labels={"app": "web"})])
    assert where(pod(**shy), full) == "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    kept = cluster(*nodes, a=[pod("x", **shy)], b=[pod("y", **shy)])
    text = "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
    assert where(pod(labels={"app": "web"}), kept) == text


def test_wishes_about_other_pods_count_where_nothing_is_required():
    elsewhere = [pod(f"z{i}") for i in range(3)]
    nodes = [node("a", labels=EU), node("b", labels=US), node("c", cpu="1")]
    made = cluster(*nodes, b=[pod("x", labels={"app": "db"})], c=elsewhere)
    wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 50, "podAffinityTerm": near("db")}]}
    assert where(pod(**affinity(podAffinity=wish)), made) == "b"
    assert where(pod(**affinity(podAntiAffinity=wish)), made) == "a"


def test_the_pods_of_one_controller_are_spread_and_soft_taints_avoided():
    made = cluster(node("a"), node("b"), a=[pod("x", owner="rs1")], b=[pod(f"y{i}", cpu="1") for i in range(3)])
    assert where(pod("new", owner="rs1"), made) == "b"
    assert where(pod("new", owner="rs2"), made) == "a", "there is more room"
    soft = [{"key": "k", "effect": "PreferNoSchedule"}]
    assert where(pod(), cluster(node("a", taints=soft), node("b", cpu="1"))) == "b"


def test_looking_begins_where_it_is_told_to():
    made = cluster(*(node(f"n{i}") for i in range(5)))
    assert decide(ask_of(pod()), made, start=3).node == "n3"
    many = cluster(*(node(f"n{i}") for i in range(300)))
    assert decide(ask_of(pod()), many).looked_at == 100


def test_a_node_that_goes_takes_no_pods_and_comes_back_with_those_it_had():
    made = cluster(node("a", cpu="1"), a=[pod("x", cpu="1")])
    made.drop_node("a")
    assert where(pod(), made) == "no nodes available to schedule pods"
    assert made.put_node(node("a", cpu="1"))
    assert where(pod(cpu="1"), made) == "0/1 nodes are available: 1 Insufficient cpu."
    assert not made.put_node(node("a", cpu="1")), "nothing new"


def test_a_pod_that_names_its_node_is_judged_there_alone_and_told_of_all():
    made = cluster(*(node(f"n{number}", cpu="1") for number in range(50)))

    def pinned(name: str, **more: Any) -> Any:
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
        must = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        return pod("a", **affinity(nodeAffinity=must), **more)

    assert where(pinned("n7"), made) == "n7"
    assert where(pinned("gone"), made) == (
        "0/50 nodes are available: 50 node(s) didn't match Pod's node affinity/selector."
    )
    assert where(pinned("n7", cpu="2"), made) == (
        "0/50 nodes are available: 1 Insufficient cpu, 49 node(s) didn't match Pod's node affinity/selector."
    )
