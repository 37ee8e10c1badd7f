"""Where service addresses lead, and the rules that say so to the kernel."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgecore.network.balancing import Backend, Flow, Front, FrontTable, stale_flows
from edgecore.network.health import Health, health_of, health_ports
from edgecore.network.nftables import rules_of, transaction
from skerry.frozen import replace
from skerry.objects.meta import Key
from tests.edgecore.network.conftest import NODE, Known, endpoint, pod, service, slice_of, status

ZONE = "north"
WEB: dict[str, Any] = {"selector": {"app": "web"}}


def at_site(known: Known) -> None:
    labels = {"topology.kubernetes.io/zone": ZONE}
    known.directory.put(Key("nodes", "", NODE), {"metadata": {"name": NODE, "labels": {**labels}}})


def inside(known: Known) -> list[str]:
    (front,) = FrontTable(known.directory).fronts()
    return [each.address for each in front.inside_backends]


def ending(address: str, **more: Any) -> Any:
    return endpoint(address, conditions={"ready": False, "serving": True, "terminating": True}, **more)


def test_the_site_is_one_and_others_are_for_when_nobody_is_near(known: Known):
    at_site(known)
    far = endpoint("10.9.0.1", "n9", zone="south")
    known.put(service("web", **WEB), slice_of("web", endpoint("10.2.0.1", zone=ZONE), far), pod("a", "10.1.0.1"))
    assert inside(known) == ["10.1.0.1", "10.2.0.1"]
    known.put(service("web", trafficDistribution="PreferSameNode", **WEB))
    assert inside(known) == ["10.1.0.1"]
    known.directory.told("u-a", status("10.1.0.1", ready=False))
    assert inside(known) == ["10.2.0.1"]
    known.directory.put(Key("endpointslices.discovery.k8s.io", "d", "slice-1"), slice_of("web", far))
    assert inside(known) == ["10.9.0.1"]
    known.put(service("web", internalTrafficPolicy="Local", **WEB))
    assert inside(known) == []


def test_a_balancer_asks_on_ports_of_services_that_are_local(known: Known):
    local: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30090}
    known.put(service("web", **local, **WEB), service("z", **local), service("c", **{**local, "type": "ClusterIP"}))
    assert health_ports(known.directory) == {30090: ("d", "web")}
    assert health_of(known.directory, ("d", "web")).code == 503
    known.put(service("web", **local, **WEB), slice_of("web", endpoint("10.2.0.1")), pod("a", "10.1.0.1"))
    assert health_of(known.directory, ("d", "web")) == Health(namespace="d", name="web", endpoints=1)
    known.directory.told("u-a", status("10.1.0.1", ready=False))
    assert health_of(known.directory, ("d", "web")).code == 503


def test_those_that_end_serve_while_nobody_else_does(known: Known):
    at_site(known)
    known.put(service("web", **WEB), slice_of("web", ending("10.2.0.1", zone=ZONE), endpoint("10.2.0.2", zone=ZONE)))
    assert inside(known) == ["10.2.0.2"]
    known.put(service("web", **WEB), slice_of("web", ending("10.2.0.1", zone=ZONE)))
    assert inside(known) == ["10.2.0.1"]


def test_each_port_has_its_own_backends_and_what_comes_from_outside_its_own_policy(known: Known):
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080},
        {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"},
    ]
    spec: dict[str, Any] = {
        "type": "NodePort",
        "ports": ports,
        "externalTrafficPolicy": "Local",
        "externalIPs": ["192.0.2.9"],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
    }
    known.put(service("web", **spec, **WEB), pod("a", "10.1.0.1"), service("none", "None"))
    dns, http = FrontTable(known.directory).fronts()
    assert (http.node_port, http.outside, http.keeps_source, http.sticky_s) == (30080, ("192.0.2.9",), True, 60)
    assert http.outside_backends == (Backend(address="10.1.0.1", port=8080),)
    assert (dns.protocol, dns.inside_backends) == ("udp", (Backend(address="10.1.0.1", port=5353),))


FRONT = Front(
    service="d/web:http",
    family="IPv4",
    protocol="udp",
    port=80,
    addresses=("10.96.0.7",),
    outside=(),
    node_port=30080,
    sticky_s=0,
    inside_backends=(Backend(address="10.1.0.2", port=8080), Backend(address="10.1.0.3", port=8080)),
    outside_backends=(),
    keeps_source=False,
)


def test_datagrams_to_backends_that_are_gone_are_looked_at_anew():
    fewer = replace(FRONT, inside_backends=FRONT.inside_backends[:1])
    none = replace(FRONT, inside_backends=())
    at = [("10.96.0.7", 80), ("", 30080)]

    def flows(backend: str) -> list[Flow]:
        return sorted(Flow(family="IPv4", address=address, port=port, backend=backend) for address, port in at)

    assert stale_flows([FRONT], [fewer]) == flows("10.1.0.3")
    assert stale_flows([none], [FRONT]) == flows("")
    assert stale_flows([FRONT], []) == sorted([*flows("10.1.0.2"), *flows("10.1.0.3")])
    assert stale_flows([FRONT], [FRONT]) == []
    assert stale_flows([replace(FRONT, protocol="tcp")], []) == []


def test_of_two_services_with_one_outer_address_the_first_has_it():
    one = replace(FRONT, outside=("192.0.2.9",), outside_backends=FRONT.inside_backends)
    two = replace(one, service="d/z:http", addresses=("10.96.0.8",), outside_backends=())
    text = transaction("t", rules_of([one, two], [], "IPv4"), None)
    assert text.count("192.0.2.9 . udp . 80") == 1
    assert text.count("udp . 30080") == 1


BACKENDS = st.lists(
    st.builds(
        lambda number, port: Backend(address=f"10.1.0.{number}", port=port), st.integers(1, 5), st.integers(80, 82)
    ),
    max_size=4,
    unique=True,
).map(lambda found: tuple(sorted(found)))
FRONTS = st.lists(
    st.builds(
        lambda number, sticky, node_port, within, without, local: replace(
            FRONT,
            service=f"d/s{number}:",
            addresses=(f"10.96.0.{number}",),
            node_port=node_port and 30000 + number,
            sticky_s=sticky,
            inside_backends=within,
            outside_backends=without,
            keeps_source=local,
        ),
        st.integers(1, 4),
        st.sampled_from([0, 60]),
        st.sampled_from([0, 1]),
        BACKENDS,
        BACKENDS,
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda front: front.service,
)


@given(FRONTS, FRONTS)
def test_a_change_names_nothing_that_is_not_there_and_leaves_nothing_over(first: list[Front], second: list[Front]):
    before, after = rules_of(first, ["10.1.0.1"], "IPv4"), rules_of(second, ["10.1.0.2"], "IPv4")
    lines = transaction("t", after, before).splitlines()
    chains = {head.split()[0] for head, _ in before.chains}
    sets = {name for name, _ in before.sticky}
    for line in lines:
        words = line.split()
        match words[:2]:
            case ["add", "chain"]:
                chains.add(words[4])
            case ["add", "set"]:
                sets.add(words[4])
            case ["delete", "chain"]:
                chains.remove(words[4])
            case ["delete", "set"]:
                sets.remove(words[4])
            case ["flush", "chain"]:
                assert words[4] in chains
            case _:
                continue
    assert chains == {head.split()[0] for head, _ in after.chains}
    assert sets >= {name for name, _ in after.sticky}
    for _, rules in after.chains:
        for rule in rules:
            for word, target in zip(rule.split(), rule.replace(",", " ").split()[1:], strict=False):
                if word in ("goto", "jump"):
                    assert target in chains


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2), st.booleans()), max_size=25))
def test_what_is_kept_of_services_is_what_would_be_made_anew(steps: list[tuple[int, int, bool]]) -> None:
    known = Known()
    kept, made = FrontTable(known.directory), dict[Front, Any]()
    for kind, number, flag in steps:
        name, uid = f"s{number}", f"u-p{number}"
        slices = "endpointslices.discovery.k8s.io"
        match kind:
            case 0:
                known.put(service(name, f"10.96.0.{number + 1}", **(WEB if flag else {})))
            case 1:
                known.directory.delete(Key("services", "d", name))
            case 2:
                ends = [endpoint(f"10.2.0.{number}")] if flag else []
                known.directory.put(Key(slices, "d", f"x{number}"), slice_of(name, *ends))
            case 3:
                known.directory.delete(Key(slices, "d", f"x{number}"))
            case 4:
                known.directory.put(Key("pods", "d", f"p{number}"), pod(f"p{number}", f"10.1.0.{number}", ready=flag))
            case 5:
                known.directory.delete(Key("pods", "d", f"p{number}"))
            case 6:
                known.directory.told(uid, status(f"10.1.0.{number + 10}", ready=flag))
            case _:
                known.directory.gone = frozenset({"n2"} if flag else ())
        fronts = FrontTable(known.directory).fronts()
        assert kept.fronts() == fronts
        assert rules_of(kept.fronts(), [], "IPv4", made) == rules_of(fronts, [], "IPv4")
        assert {*made} == {*fronts}
