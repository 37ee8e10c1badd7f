"""When a node's Lease was renewed, as its readers are told."""

from __future__ import annotations

from skerry.objects.json import JsonObject, dig, str_at
from skerry.objects.meta import Key
from skerry.objects.node_leases import DURATION_S, is_hub, lease_key, new_lease, renewed

NOW = "2026-11-20T10:00:00.000000Z"
LATER = "2026-11-20T10:00:10.000000Z"


def node(status: str = "", since: str = "2026-11-20T09:00:40Z") -> JsonObject:
    conditions: list[JsonObject] = (
        [{"type": "Ready", "status": status, "lastTransitionTime": since}] if status else []
    )
    return {"metadata": {"name": "g1", "uid": "u1"}, "status": {"conditions": [*conditions]}}


def hub(time: str) -> JsonObject:
    return {"metadata": {"name": "skerry-hub", "namespace": "kube-system"}, "spec": {"renewTime": time}}


def renewal(the_node: JsonObject | None, *hubs: JsonObject, stored: str = "") -> str:
    lease = new_lease(node())
    if stored:
        lease["spec"] = {"holderIdentity": "g1", "renewTime": stored}
    return str_at(renewed(lease, the_node, hubs), "spec", "renewTime")


def test_it_is_the_nodes_own_and_goes_with_it() -> None:
    lease = new_lease(node())
    assert (dig(lease, "spec", "holderIdentity"), dig(lease, "spec", "leaseDurationSeconds")) == ("g1", DURATION_S)
    owner = {"apiVersion": "v1", "kind": "Node", "name": "g1", "uid": "u1"}
    assert dig(lease, "metadata", "ownerReferences") == [owner]
    assert lease_key("g1") == Key("leases.coordination.k8s.io", "kube-node-lease", "g1")


def test_one_that_is_heard_renews_it_with_the_hubs() -> None:
    assert renewal(node("True"), hub(NOW), hub(LATER)) == LATER
    assert renewal(node("False"), hub(NOW)) == NOW, "a gateway that is not ready speaks"
    assert renewal(node("True")) == ""


def test_one_that_is_silent_let_it_end_when_that_was_said() -> None:
    assert renewal(node("Unknown"), hub(LATER)) == "2026-11-20T09:00:00.000000Z"
    assert renewal(node("Unknown", since=""), hub(LATER)) == ""


def test_nothing_is_made_up_of_a_node_that_was_never_heard_or_is_gone() -> None:
    assert renewal(node(), hub(NOW)) == "" and renewal(None, hub(NOW)) == ""


def test_who_renews_it_all_the_same_is_believed_where_that_is_newer() -> None:
    assert renewal(node("True"), hub(NOW), stored=LATER) == LATER
    assert renewal(node("True"), hub(LATER), stored=NOW) == LATER


def test_leases_of_others_are_left_alone() -> None:
    other: JsonObject = {"metadata": {"name": "g1", "namespace": "default"}, "spec": {}}
    assert renewed(other, node("True"), [hub(NOW)]) is other
    assert is_hub(Key("leases.coordination.k8s.io", "kube-system", "skerry-hub-a"))
    assert not is_hub(Key("leases.coordination.k8s.io", "default", "skerry-hub"))
