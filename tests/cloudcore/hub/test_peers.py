"""Which hubs live, by the clock of who looks."""

from __future__ import annotations

from cloudcore.hub.peers import HubLease, Peers, hub_lease, lease_name, renewed_lease
from skerry.objects.json import JsonObject, map_at

A = HubLease(hub="a", duration_s=40, renewed="1970-01-01T00:00:00Z", address="a:1")


def lease(name: str, namespace: str = "kube-system") -> JsonObject:
    return {"metadata": {"name": name, "namespace": namespace}}


def test_a_hub_lives_for_its_lease_from_when_its_renewal_was_seen_whatever_its_clock_says() -> None:
    peers = Peers()
    peers.see(A, 1000.0)
    peers.see(A, 1039.0)
    assert peers.lives("a", 1039.9)
    assert not peers.lives("a", 1040.0), "seen again is not renewed"
    assert (peers.dead(1039.9), peers.dead(1040.0)) == ([], ["a"])
    assert (peers.living(1039.9), peers.living(1040.0)) == (["a"], [])
    peers.see(HubLease(hub="a", duration_s=40, renewed="1969-01-01T00:00:00Z", address="a:1"), 1041.0)
    assert peers.lives("a", 1080.0)
    assert peers.dead(1080.0) == []


def test_a_hub_that_was_never_seen_or_has_left_does_not_live() -> None:
    peers = Peers()
    assert not peers.lives("a", 0.0)
    peers.see(A, 0.0)
    assert peers.address("a") == "a:1"
    peers.forget("a")
    peers.forget("a")
    assert not peers.lives("a", 0.0)
    assert (peers.address("a"), peers.dead(100.0)) == ("", [])


def test_the_next_end_is_of_who_lives() -> None:
    peers = Peers()
    assert peers.next_end_s(0.0) is None
    peers.see(A, 0.0)
    peers.see(HubLease(hub="b", duration_s=40, renewed="x", address=""), 30.0)
    assert [peers.next_end_s(at_s) for at_s in (0.0, 39.0, 40.0, 69.0, 70.0)] == [40.0, 40.0, 70.0, 70.0, None]


def test_a_lease_says_whose_it_is_and_where_that_is_reached() -> None:
    made = renewed_lease(lease("skerry-hub-a"), now="t1", duration_s=40, address="10.0.0.1:6443")
    assert hub_lease(made) == HubLease(hub="a", duration_s=40, renewed="t1", address="10.0.0.1:6443")
    again = renewed_lease(made, now="t2", duration_s=40, address="10.0.0.2:6443")
    assert map_at(again, "spec")["acquireTime"] == "t1"
    assert hub_lease(again) == HubLease(hub="a", duration_s=40, renewed="t2", address="10.0.0.2:6443")
    assert map_at(made, "spec")["renewTime"] == "t1", "what was given is not changed"


def test_other_leases_are_no_hubs() -> None:
    for other in (lease("skerry-hub"), lease("skerry-cloudcore"), lease("skerry-hub-a", "default")):
        assert hub_lease(other) is None
    assert (lease_name(""), lease_name("a")) == ("skerry-hub", "skerry-hub-a")


def test_a_lease_that_says_nonsense_is_believed_within_bounds() -> None:
    for said, meant in ((0, 1), (-5, 1), (10**9, 3600)):
        found = hub_lease({**lease("skerry-hub-a"), "spec": {"leaseDurationSeconds": said}})
        assert found is not None
        assert found.duration_s == meant
