"""What a pod says again is the same Event with a higher count; what it says in ever new words is combined."""

from __future__ import annotations

from edgecore.pods.event_counts import COMBINED, KEPT_MAX, SIMILAR_MS, Counts, Occurrence, observed
from edgecore.pods.events import Happening


class Pod:
    """Tells events, one a second."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.now_ms = 0
        self.told = 0

    def tells(
        self, message: str, reason: str = "Unhealthy", container: str = "app", *, warning: bool = True
    ) -> Occurrence:
        self.now_ms += 1000
        self.told += 1
        what = Happening(reason=reason, message=message, container=container, warning=warning)
        self.counts, now = observed(self.counts, what, suffix=str(self.told), now_ms=self.now_ms)
        return now


def test_the_same_again_is_the_same_event_with_a_higher_count() -> None:
    pod = Pod()
    first, second, third = pod.tells("down"), pod.tells("down"), pod.tells("down")
    assert first == Occurrence(suffix="1", message="down", count=1, first_ms=1000)
    assert second == Occurrence(suffix="1", message="down", count=2, first_ms=1000)
    assert third.count == 3


def test_what_differs_in_anything_is_another_event() -> None:
    pod = Pod()
    told = [
        pod.tells("down"),
        pod.tells("away"),
        pod.tells("down", reason="BackOff"),
        pod.tells("down", container="side"),
        pod.tells("down", warning=False),
    ]
    assert [each.count for each in told] == [1] * 5 and len({each.suffix for each in told}) == 5


def test_ever_new_words_for_one_reason_are_combined() -> None:
    pod = Pod()
    told = [pod.tells(f"port {number} is closed", container=f"c{number % 2}") for number in range(12)]
    assert [each.count for each in told] == [1] * 10 + [2, 3]
    assert told[8].message == "port 8 is closed" and told[9].message == f"{COMBINED}port 9 is closed"
    assert told[11] == Occurrence(suffix="10", message=f"{COMBINED}port 11 is closed", count=3, first_ms=10_000)
    assert pod.tells("another reason", reason="BackOff").count == 1


def test_after_a_quiet_time_words_are_told_one_by_one_again() -> None:
    pod = Pod()
    for number in range(12):
        pod.tells(f"port {number} is closed")
    pod.now_ms += SIMILAR_MS
    assert pod.tells("port 99 is closed").message == "port 99 is closed"


def test_what_is_remembered_has_an_end_and_the_oldest_goes_first() -> None:
    pod = Pod()
    for number in range(KEPT_MAX + 1):
        pod.tells("it", reason=f"R{number}")
    assert len(pod.counts.seen) == len(pod.counts.similar) == KEPT_MAX
    assert pod.tells("it", reason=f"R{KEPT_MAX}").count == 2
    assert pod.tells("it", reason="R0").count == 1
