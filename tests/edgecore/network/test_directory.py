"""Who stands behind a service, as one gateway knows it."""

from __future__ import annotations

from typing import Any

from edgecore.network.directory import SLICES
from skerry.objects.meta import Key
from tests.edgecore.network.conftest import NODE, Known, endpoint, pod, service, slice_of, status

WEB: dict[str, Any] = {"selector": {"app": "web"}}


def addresses(known: Known, *, ready: bool = True) -> list[str]:
    return [each.address for each in known.directory.members("d", "web") if each.ready is ready]


def test_a_gateways_own_pods_count_as_it_knows_them_whatever_the_cloud_last_said(known: Known):
    known.put(service("web", **WEB), slice_of("web", endpoint("10.1.0.9", NODE), endpoint("10.2.0.1")))
    assert addresses(known) == ["10.2.0.1"]
    known.put(pod("a", "10.1.0.1", ready=False))
    assert addresses(known) == ["10.2.0.1"]
    assert addresses(known, ready=False) == ["10.1.0.1"]
    known.directory.told("u-a", status("10.1.0.2", ready=True))
    assert addresses(known) == ["10.1.0.2", "10.2.0.1"]
    known.directory.told("u-a", status("10.1.0.2", ready=False))
    assert addresses(known) == ["10.2.0.1"]
    known.directory.told("u-a", None)
    known.directory.delete(Key("pods", "d", "a"))
    assert addresses(known, ready=False) == []


def test_ports_are_those_of_each_pod(known: Known):
    named = service("web", ports=[{"name": "http", "port": 80, "targetPort": "web"}], **WEB)
    container = {"name": "c", "ports": [{"name": "web", "containerPort": 9000}]}
    known.put(named, pod("a", "10.1.0.1", containers=[container]))
    (member,) = known.directory.members("d", "web")
    assert [(port.name, port.number) for port in member.ports] == [("http", 9000)]


def test_a_service_without_selector_has_what_its_slices_say(known: Known):
    old = {"addresses": ["10.3.0.1"], "conditions": {}}
    known.put(service("web"), slice_of("web", endpoint("10.1.0.9", NODE), old), pod("a", "10.1.0.1"))
    assert addresses(known) == ["10.1.0.9", "10.3.0.1"]
    known.directory.delete(Key(SLICES, "d", "slice-1"))
    assert addresses(known) == []
    known.directory.delete(Key("services", "d", "web"))
    assert known.directory.members("d", "web") == []


def test_a_slice_that_changes_hands_is_behind_its_new_service_alone(known: Known):
    known.put(service("web"), slice_of("web", endpoint("10.2.0.1")), service("other"))
    key = Key(SLICES, "d", "slice-1")
    known.directory.put(key, slice_of("other", endpoint("10.2.0.1")))
    assert addresses(known) == []
    assert [each.address for each in known.directory.members("d", "other")] == ["10.2.0.1"]


def test_endpoints_that_are_names_are_not_for_routing(known: Known):
    known.put(service("web"), slice_of("web", endpoint("example.com"), family="FQDN"))
    assert addresses(known) == []


def test_a_service_that_is_kept_to_node_groups_has_those_of_the_gateways_group_its_own_and_those_on_no_node(
    known: Known,
):
    kept: Any = service("web", **WEB)
    kept["metadata"]["annotations"] = {"apps.kubeedge.io/service-topology": "range-nodegroup"}
    by_hand: Any = {"addresses": ["10.3.0.1"], "conditions": {}}
    slices: list[Any] = [slice_of("web", endpoint("10.1.0.9", "n3")), slice_of("web", endpoint("10.2.0.1"))]
    slices += [slice_of("web", by_hand), slice_of("web", endpoint("10.4.0.1", "n4"))]
    for slice_, group in zip(slices, ("north", "south"), strict=False):
        slice_["metadata"]["labels"]["apps.kubeedge.io/belonging-to"] = group
    known.put(kept, *slices, pod("a", "10.1.0.1"))
    assert addresses(known) == ["10.1.0.1", "10.3.0.1", "10.4.0.1"], "a gateway of no group has nobody of a group"
    labels: Any = {"apps.kubeedge.io/belonging-to": "south"}
    known.directory.put(Key("nodes", "", NODE), {"metadata": {"name": NODE, "labels": labels}})
    assert addresses(known) == ["10.1.0.1", "10.2.0.1", "10.3.0.1"]
    known.put(service("web", **WEB))
    assert addresses(known) == ["10.1.0.1", "10.1.0.9", "10.2.0.1", "10.3.0.1", "10.4.0.1"]
