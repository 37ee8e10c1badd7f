"""Which ports of the gateway pods ask for, and who has them."""

from __future__ import annotations

from edgecore.pods.host_ports import HostPorts
from skerry.objects.json import Json
from skerry.objects.pods import HostPort, host_ports_of
from tests.edgecore.pods.pods_of import container, pod, pod_with


def port(number: int, protocol: str = "TCP", address: str = "") -> HostPort:
    return HostPort(protocol=protocol, number=number, address=address)


def test_a_pod_asks_for_host_ports_and_with_the_gateways_network_for_all() -> None:
    ports: Json = [{"containerPort": 80}, {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "::"}]
    assert host_ports_of(pod(container(ports=ports))) == {port(5353, "UDP")}
    listens: Json = [container(ports=[{"containerPort": 80}, {"containerPort": 81, "hostIP": "127.0.0.1"}])]
    assert host_ports_of(pod_with({"hostNetwork": True, "containers": listens})) == {
        port(80),
        port(81, address="127.0.0.1"),
    }
    inits: Json = [
        container("once", ports=[{"containerPort": 1, "hostPort": 1}]),
        container("stays", restartPolicy="Always", ports=[{"containerPort": 2, "hostPort": 2}]),
    ]
    assert host_ports_of(pod_with({"initContainers": inits})) == {port(2)}


def test_no_two_have_one_port_of_one_address() -> None:
    held = HostPorts()
    held.hold("a", frozenset({port(80, address="127.0.0.1")}))
    assert held.are_free("a", frozenset({port(80)}))
    assert not held.are_free("b", frozenset({port(80)}))
    assert not held.are_free("b", frozenset({port(81), port(80, address="127.0.0.1")}))
    assert held.are_free("b", frozenset({port(80, "UDP"), port(80, address="127.0.0.2")}))
    held.release("a")
    assert held.are_free("b", frozenset({port(80)}))
