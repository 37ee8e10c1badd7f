"""Who may take a lease, when, and what it then says."""

from cloudcore.runtime.candidacy import (
    ElectionSettings,
    LeaseRecord,
    Observed,
    claim,
    free_at_s,
    leads_until_s,
    observe,
    record_of,
    released,
    with_record,
)
from skerry.frozen import replace
from skerry.objects.json import JsonObject

SETTINGS = ElectionSettings()
HELD = LeaseRecord(holder="a", duration_s=15, transitions=3, acquired="t1", renewed="t2")


def test_a_lease_is_free_when_it_did_not_change_for_as_long_as_it_says() -> None:
    seen = observe(None, HELD, 100.0)
    assert free_at_s(seen, "b") == 115.0
    assert observe(seen, HELD, 114.0).since_s == 100.0, "seen before, and no other"
    renewed = observe(seen, replace(HELD, renewed="t3"), 114.0)
    assert free_at_s(renewed, "b") == 129.0
    assert free_at_s(observe(None, replace(HELD, duration_s=60), 0.0), "b") == 60.0, "its own duration, not ours"


def test_a_lease_of_nobody_and_ones_own_are_free_at_once() -> None:
    assert free_at_s(observe(None, None, 7.0), "b") == 7.0
    assert free_at_s(observe(None, replace(HELD, holder=""), 7.0), "b") == 7.0
    assert free_at_s(observe(None, HELD, 7.0), "a") == 7.0


def test_each_taking_over_is_counted_and_a_renewal_is_not() -> None:
    first = claim(Observed(record=None, since_s=0.0), "a", now="t1", settings=SETTINGS)
    assert first == LeaseRecord(holder="a", duration_s=15, transitions=0, acquired="t1", renewed="t1")
    renewed = claim(Observed(record=first, since_s=0.0), "a", now="t2", settings=SETTINGS)
    assert renewed == replace(first, renewed="t2")
    taken = claim(Observed(record=renewed, since_s=0.0), "b", now="t3", settings=SETTINGS)
    assert taken == LeaseRecord(holder="b", duration_s=15, transitions=1, acquired="t3", renewed="t3")
    left = released(taken, now="t4")
    assert (left.holder, left.duration_s, left.transitions) == ("", 1, 1)
    assert claim(Observed(record=left, since_s=0.0), "a", now="t5", settings=SETTINGS).transitions == 2


def test_a_leader_that_cannot_renew_stops_before_its_lease_ends() -> None:
    assert leads_until_s(100.0, SETTINGS) == 110.0
    assert leads_until_s(0.0, SETTINGS) + 2 * SETTINGS.retry_s < SETTINGS.lease_s


def test_the_lease_object_keeps_what_else_is_in_it() -> None:
    lease: JsonObject = {
        "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {"holderIdentity": "a", "strategy": "OldestEmulationVersion"},
    }
    assert record_of(lease) == LeaseRecord(holder="a", duration_s=0, transitions=0, acquired="", renewed="")
    told = with_record(lease, HELD)
    assert record_of(told) == HELD
    assert told["metadata"] == lease["metadata"]
    assert record_of(with_record({"metadata": {}}, HELD)) == HELD
    assert record_of(lease).holder == "a", "the one that was given is as it was"
