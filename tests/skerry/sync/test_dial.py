"""When and where an edge dials next."""

from __future__ import annotations

from skerry.sync.dial import DialPolicy, Ended


def failed(at_s: float) -> Ended:
    return Ended(at_s=at_s)


def lived(at_s: float, *, clean: bool = False, seconds: float = 100, retry_after_s: float = 0) -> Ended:
    return Ended(at_s=at_s, welcomed=True, lived_s=seconds, clean=clean, retry_after_s=retry_after_s)


def test_failures_wait_longer_and_longer_up_to_a_minute_with_full_jitter() -> None:
    policy = DialPolicy(("a",))
    assert policy.due_s == 0
    delays: list[float] = []
    for _ in range(9):
        policy.ended(failed(100), 0.5)
        delays.append(policy.due_s - 100)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    policy.ended(failed(100), 0.0)
    assert policy.due_s == 100


def test_several_addresses_are_tried_at_once_then_the_waiting_starts() -> None:
    policy = DialPolicy(("a", "b", "c"))
    seen: list[tuple[str, float]] = []
    for _ in range(6):
        seen.append((policy.address, policy.due_s))
        policy.ended(failed(10), 0.5)
    assert seen == [("a", 0), ("b", 10), ("c", 10), ("a", 10.5), ("b", 10), ("c", 10)]
    assert policy.due_s == 11


def test_a_clean_end_dials_at_once_and_a_lost_link_almost() -> None:
    policy = DialPolicy(("a",))
    for _ in range(5):
        policy.ended(failed(0), 0.5)
    policy.ended(lived(50, clean=True), 0.5)
    assert policy.due_s == 50
    policy.ended(lived(60), 0.5)
    assert policy.due_s == 60.5


def test_a_session_that_ends_at_once_is_a_failure_however_clean() -> None:
    policy = DialPolicy(("a", "b"))
    for _ in range(4):
        policy.ended(lived(0, clean=True, seconds=1), 0.5)
    assert policy.due_s == 4
    assert policy.address == "a", "the address works"


def test_the_cloud_may_ask_for_patience() -> None:
    policy = DialPolicy(("a",))
    policy.ended(lived(10, clean=True, retry_after_s=20), 0.5)
    assert policy.due_s == 10 + 20 * 1.125


def test_healing_dials_at_once() -> None:
    policy = DialPolicy(("a",))
    for _ in range(9):
        policy.ended(failed(100), 0.9)
    policy.now()
    assert policy.due_s == 0
    policy.ended(failed(100), 0.5)
    assert policy.due_s == 100.5
