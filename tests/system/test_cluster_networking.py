"""What Kubernetes' conformance tests of networking ask of one gateway, on containerd: Services, names, endpoints.

Each test is named after what it mirrors (`docs/reference/conformance.md`, "Cluster networking").
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, int_at, maps_at, str_at
from skerry.testkit.real.namespaces import new_namespace
from tests.system.cloud_process import CloudProcess
from tests.system.containerd import BUSYBOX_IMAGE, needs_containerd, until
from tests.system.real_fleet import EdgeProcess, RealFleet
from tests.system.test_site_containerd import Gateway, Lan, a_gateway

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(240)]

LAN = Lan("skt-net", "198.18.52")
NS = "/api/v1/namespaces/net"
ZONE = "svc.cluster.local"
SERVES = "mkdir /www && echo {} > /www/name && exec httpd -f -p 8080 -h /www"
LISTENS = (
    "mkdir /www /more && hostname > /www/name && echo more-$(hostname) > /more/name && "
    "httpd -p 9090 -h /more && exec httpd -f -p 8080 -h /www"
)


def asking(address: str, port: int, count: int = 1) -> str:
    ask = f"printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} {port} | tail -n 1"
    return f"for i in $(seq {count}); do said=$({ask}); echo ${{said:-refused}}; done"


class Stage:
    def __init__(self, fleet: RealFleet, gateway: Gateway) -> None:
        self.fleet = fleet
        self.gateway = gateway

    def service(self, name: str, **spec: object) -> JsonObject:
        ports: list[JsonObject] = [{"name": "http", "port": 80, "targetPort": 8080}]
        body: JsonObject = {"ports": [*ports], **spec}  # type: ignore[dict-item]
        return self.fleet.create(f"{NS}/services", {"kind": "Service", "metadata": {"name": name}, "spec": body})

    def change(self, name: str, **spec: object) -> JsonObject:
        return self.fleet.patch(f"{NS}/services/{name}", {"spec": {**spec}})  # type: ignore[dict-item]

    def said(self, *words: str, pod: str = "client") -> str:
        """In a pod's container."""
        held = self.fleet.find(f"{NS}/pods/{pod}")
        (container,) = maps_at(held, "status", "containerStatuses")
        return self.gateway.exec(str_at(container, "containerID").removeprefix("containerd://"), *words)

    def looked_up(self, name: str) -> str:
        return self.said("nslookup", name)

    def asked(self, address: str, port: int, count: int = 6, *, pod: str = "client") -> Counter[str]:
        return Counter(self.said("sh", "-c", asking(address, port, count), pod=pod).splitlines())

    def address(self, name: str) -> str:
        return str_at(self.fleet.find(f"{NS}/services/{name}"), "spec", "clusterIP")

    def becomes(self, address: str, port: int, wanted: set[str], count: int = 6) -> None:
        said: set[str] = set()

        def level() -> bool:
            nonlocal said
            said = {*self.asked(address, port, count)}
            return said == wanted

        until(level, f"{address}:{port} is {wanted}", lambda: f"{said}\n{self.gateway.edge.log[-3000:]}", 40)


def pod(name: str, *, command: str = LISTENS, **more: object) -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", command],
    }
    labels: JsonObject = {"app": "web"} if command == LISTENS else {"app": name}
    spec: JsonObject = {
        "nodeName": "g1",
        "containers": [container],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        **more,  # type: ignore[dict-item]
    }
    return {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    needs_containerd()
    try:
        new_namespace("try").close()
    except UnavailableError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("net")
    cloud = CloudProcess(data=directory / "cloud", flags=("--bind", LAN.cloud, "--cluster-cidr", "10.199.32.0/20"))
    with ExitStack() as stack:
        LAN.make(stack)
        fleet = RealFleet(cloud=cloud, edge=EdgeProcess(data=directory / "none"))
        stack.callback(fleet.leave)
        fleet.start_cloud()
        gateway = stack.enter_context(a_gateway(1, cloud, directory, LAN))
        fleet.create("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": "net"}})
        made = Stage(fleet, gateway)
        until(lambda: fleet.find(f"{NS}/serviceaccounts/default"), "the namespace is made")
        for each in (
            pod("client", command="sleep 100000"),
            pod("a", hostname="first", subdomain="pods"),
            pod("b"),
        ):
            fleet.create(f"{NS}/pods", each)
        for name in ("client", "a", "b"):
            until(lambda name=name: runs(fleet, name), f"{name} runs", lambda: gateway.edge.log[-3000:])
        yield made


def runs(fleet: RealFleet, name: str) -> bool:
    conditions = maps_at(fleet.find(f"{NS}/pods/{name}"), "status", "conditions")
    return any(str_at(each, "type") == "Ready" and str_at(each, "status") == "True" for each in conditions)


BOTH = {"first", "b"}


def test_names_of_the_cluster_services_and_pods_with_hostname_and_subdomain(stage: Stage) -> None:
    """DNS: for the cluster, for services, for pods for Hostname and Subdomain, partial names, /etc/hosts entries."""
    stage.service("web", selector={"app": "web"})
    stage.service("pods", selector={"app": "web"}, clusterIP="None")
    address = stage.address("web")
    assert f"search net.{ZONE} {ZONE} cluster.local" in stage.said("cat", "/etc/resolv.conf")
    for name in ("web", f"web.net.{ZONE}"):
        until(lambda name=name: address in stage.looked_up(name), f"{name} is known", lambda: stage.looked_up("web"))
    assert "10.96.0.1" in stage.looked_up(f"kubernetes.default.{ZONE}")
    own = str_at(stage.fleet.find(f"{NS}/pods/a"), "status", "podIP")
    until(lambda: own in stage.looked_up(f"first.pods.net.{ZONE}"), "a pod by its hostname")
    assert f"{own}\tfirst.pods.net.{ZONE}\tfirst" in stage.said("cat", "/etc/hosts", pod="a")
    assert own in stage.looked_up(f"pods.net.{ZONE}")
    stage.becomes(address, 80, BOTH)


def test_the_type_changes_to_an_external_name_and_back_and_to_a_node_port(stage: Stage) -> None:
    """Services: able to change the type between ClusterIP, ExternalName and NodePort."""
    stage.service("turn", selector={"app": "web"})
    first = stage.address("turn")
    stage.becomes(first, 80, BOTH)
    stage.change("turn", type="ExternalName", externalName=f"web.net.{ZONE}")
    until(lambda: "web.net" in stage.looked_up(f"turn.net.{ZONE}"), "an alias")
    assert stage.address("web") in stage.looked_up(f"turn.net.{ZONE}")
    ports: list[JsonObject] = [{"name": "http", "port": 80, "targetPort": 8080}]
    changed = stage.change("turn", type="NodePort", externalName=None, ports=ports)
    (port,) = maps_at(changed, "spec", "ports")
    stage.becomes(stage.address("turn"), 80, BOTH)
    stage.becomes(LAN.address(1), int_at(port, "nodePort"), BOTH)
    stage.change("turn", type="ExternalName", externalName=f"web.net.{ZONE}")
    until(lambda: "web.net" in stage.looked_up(f"turn.net.{ZONE}"), "an alias again")
    stage.becomes(LAN.address(1), int_at(port, "nodePort"), {"refused"}, 1)


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_session_affinity_is_switched_on_and_off_and_ends_with_its_time(stage: Stage, kind: str) -> None:
    """Services: have session affinity work, be able to switch it, timeouts."""
    name = f"sticky-{kind.lower()}"
    config: JsonObject = {"clientIP": {"timeoutSeconds": 3}}
    made = stage.service(
        name, selector={"app": "web"}, type=kind, sessionAffinity="ClientIP", sessionAffinityConfig=config
    )
    (port,) = maps_at(made, "spec", "ports")
    place = (stage.address(name), 80) if kind == "ClusterIP" else (LAN.address(1), int_at(port, "nodePort"))
    until(lambda: "refused" not in stage.asked(*place, 1), "it is led", lambda: stage.gateway.edge.log[-3000:])
    assert len(stage.asked(*place, 8)) == 1
    seen: Counter[str] = Counter()
    for _ in range(4):  # a pause ends it, and turns go on
        seen += stage.asked(*place, 1)
        time.sleep(4)
    assert {*seen} == BOTH, "past its time a client is led anew"
    stage.change(name, sessionAffinity="None", sessionAffinityConfig=None)
    stage.becomes(*place, BOTH)
    stage.change(name, sessionAffinity="ClientIP")
    until(lambda: len(stage.asked(*place, 8)) == 1, "one alone again")


def test_ports_of_several_protocols_and_endpoints_of_several_slices(stage: Stage) -> None:
    """Services: same port and different protocols, multiport. EndpointSlice: several IPs, several ports."""
    ports: list[JsonObject] = [
        {"name": "tcp", "port": 80, "targetPort": 8080, "protocol": "TCP"},
        {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"},
        {"name": "more", "port": 81, "targetPort": 9090, "protocol": "TCP"},
    ]
    stage.service("several", selector={"app": "web"}, ports=ports)
    address = stage.address("several")
    stage.becomes(address, 80, BOTH)
    stage.becomes(address, 81, {f"more-{each}" for each in BOTH})
    rules = stage.gateway.space.run("nft", "list", "map", "ip", "skerry-services", "addresses")
    assert f"{address} . udp . 80 :" in rules and f"{address} . tcp . 80 :" in rules

    stage.service("by-hand", ports=[{"name": "one", "port": 80}, {"name": "two", "port": 81}])
    one, two = (str_at(stage.fleet.find(f"{NS}/pods/{name}"), "status", "podIP") for name in ("a", "b"))
    for name, port, number, where in (("x", "one", 8080, one), ("y", "two", 9090, two), ("z", "one", 8080, two)):
        slice_: JsonObject = {
            "kind": "EndpointSlice",
            "metadata": {"name": f"by-hand-{name}", "labels": {"kubernetes.io/service-name": "by-hand"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [where]}],
            "ports": [{"name": port, "port": number, "protocol": "TCP"}],
        }
        stage.fleet.create("/apis/discovery.k8s.io/v1/namespaces/net/endpointslices", slice_)
    stage.becomes(stage.address("by-hand"), 80, BOTH)
    stage.becomes(stage.address("by-hand"), 81, {"more-b"})


def test_host_ports_differ_by_address_and_protocol(stage: Stage) -> None:
    """HostPort: no conflict between pods with same hostPort but different hostIP and protocol."""
    for name, host, protocol in (
        ("h1", "127.0.0.1", "TCP"),
        ("h2", LAN.address(1), "TCP"),
        ("h3", LAN.address(1), "UDP"),
    ):
        made = pod(name, command=SERVES.format("$(hostname)"))
        container = made["spec"]["containers"][0]  # type: ignore[index,call-overload]
        container["ports"] = [{"containerPort": 8080, "hostPort": 54323, "hostIP": host, "protocol": protocol}]  # type: ignore[index,call-overload]
        stage.fleet.create(f"{NS}/pods", made)
    for name in ("h1", "h2", "h3"):
        until(lambda name=name: runs(stage.fleet, name), f"{name} runs", lambda: stage.gateway.edge.log[-3000:])
    for host, name in (("127.0.0.1", "h1"), (LAN.address(1), "h2")):
        said = stage.gateway.space.run("sh", "-c", asking(host, 54323).replace("nc ", "busybox nc "))
        assert said.strip() == name
    for name in ("h1", "h2", "h3"):
        stage.fleet.api().request("DELETE", f"{NS}/pods/{name}")


def test_the_gateway_reaches_services_and_a_pod_itself_through_its_own(stage: Stage) -> None:
    """Networking: node-pod communication, and hairpin."""
    stage.service("itself", selector={"app": "alone"})
    stage.fleet.create(f"{NS}/pods", pod("alone", command=SERVES.format("alone")))
    until(lambda: runs(stage.fleet, "alone"), "it runs", lambda: stage.gateway.edge.log[-3000:])
    address = stage.address("itself")
    until(
        lambda: {*stage.asked(address, 80, 1, pod="alone")} == {"alone"},
        "it reaches itself",
        lambda: str(stage.asked(address, 80, 1)),
    )
    assert stage.gateway.space.run("sh", "-c", asking(address, 80).replace("nc ", "busybox nc ")).strip() == "alone"


def test_a_pod_that_ends_serves_while_nobody_else_does(stage: Stage) -> None:
    """Services: endpoints that end are used while there are none that are ready (KEP-1669)."""
    stage.service("ending", selector={"app": "slow"})
    slow = pod("slow", command=SERVES.format("slow"), terminationGracePeriodSeconds=25)
    stage.fleet.create(f"{NS}/pods", slow)
    until(lambda: runs(stage.fleet, "slow"), "it runs", lambda: stage.gateway.edge.log[-3000:])
    address = stage.address("ending")
    stage.becomes(address, 80, {"slow"}, 1)
    stage.fleet.api().request("DELETE", f"{NS}/pods/slow")
    time.sleep(3)
    assert {*stage.asked(address, 80, 3)} == {"slow"}
    until(lambda: stage.fleet.find(f"{NS}/pods/slow") is None, "it is gone", seconds=60)
    stage.becomes(address, 80, {"refused"}, 1)
