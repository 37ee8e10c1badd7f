"""When rules fire and when they are over, whatever comes in whatever order."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.device_rules.plan import Now, Watch, circles, fire, halted, look, recovered
from edgecore.device_rules.records import ActionRecord, RuleRecord, decode_record, shown_record
from skerry.frozen import replace
from skerry.objects.device_rule_values import Seen
from skerry.objects.device_rules import DeviceRule
from skerry.objects.twins import Quality
from tests.edgecore.device_rules.samples import PUMP_OFF, PUMP_ON, rule

START_MS = 1_790_000_000_000


@dataclass
class Play:
    """A rule, and time."""

    rule: DeviceRule
    record: RuleRecord = field(default_factory=RuleRecord)
    watch: Watch = field(default_factory=Watch)
    view: dict[tuple[str, str], Seen] = field(default_factory=dict[tuple[str, str], Seen])
    now: Now = field(default_factory=lambda: Now(wall_ms=START_MS, monotonic_s=1000.0))
    events: list[str] = field(default_factory=list[str])
    wait_s: float | None = None

    def see(self, value: float | None, quality: Quality = "good", prop: str = "temp") -> None:
        held = self.view.get(("boiler", prop))
        self.view["boiler", prop] = Seen(
            value=value, quality=quality, at_s=self.now.monotonic_s, previous=held.value if held else None
        )
        self.look()

    def look(self, *, seconds: float = 0.0) -> None:
        self.now = Now(wall_ms=self.now.wall_ms + round(1000 * seconds), monotonic_s=self.now.monotonic_s + seconds)
        looked = look(self.rule, self.record, self.watch, self.view, self.now)
        self.record, self.watch, self.wait_s = looked.record, looked.watch, looked.wait_s
        if looked.event in ("fire", "end"):
            what = "fired" if looked.event == "fire" else "ended"
            self.events.append(what)
            self.record = fire(self.rule, self.record, what, self.view, self.now)
            self.finish()
        elif looked.event:
            self.events.append(looked.event)

    def finish(self) -> None:
        """Its actions are done."""
        while self.record.current is not None:
            index, action = next(
                (index, action)
                for index, action in enumerate(self.record.current.actions)
                if action.state == "staged"
            )
            self.record = self.record.with_action(index, replace(action, state="done"))


def play(**more: Any) -> Play:
    return Play(rule(**more))


def test_a_rule_fires_once_when_its_condition_comes_to_hold_and_ends_when_it_does_not() -> None:
    it = play()
    for value in (70.0, 81.0, 85.0, 90.0, 79.0, 70.0, 95.0):
        it.see(value)
    assert it.events == ["fired", "ended", "fired"]
    assert it.record.active


def test_a_condition_has_to_hold_for_a_while_without_a_break() -> None:
    it = play(forSeconds=30)
    it.see(81.0)
    assert it.wait_s == 30
    it.look(seconds=29)
    it.see(79.0)
    it.see(81.0)
    it.look(seconds=29.9)
    assert not it.events
    it.look(seconds=0.1)
    assert it.events == ["fired"]


def test_between_two_limits_nothing_changes() -> None:
    it = play(until="t < 75.0")
    for value in (81.0, 79.0, 76.0, 81.0, 74.0, 76.0, 81.0):
        it.see(value)
    assert it.events == ["fired", "ended", "fired"]


@pytest.mark.parametrize("quality", ["uncertain", "bad", "stale"])
def test_what_is_not_good_begins_nothing_and_ends_nothing(quality: Quality) -> None:
    it = play()
    it.see(90.0, quality)
    assert not it.events
    assert it.watch.result is None
    assert "t has no value now" in it.watch.why
    it.see(90.0)
    it.see(70.0, quality)
    assert it.events == ["fired"]
    it.see(70.0)
    assert it.events == ["fired", "ended"]


def test_a_break_in_what_is_known_is_a_break_in_what_held() -> None:
    it = play(forSeconds=10)
    it.see(90.0)
    it.look(seconds=9)
    it.see(None, "bad")
    it.see(90.0)
    it.look(seconds=9)
    assert not it.events


def test_what_is_bad_counts_where_a_rule_asks_for_it() -> None:
    values = [{"name": "t", "device": "boiler", "property": "temp", "accept": ["good", "stale"]}]
    it = play(values=values, when="quality.t != 'good'", forSeconds=60)
    it.see(20.0)
    it.see(20.0, "stale")
    it.look(seconds=60)
    assert it.events == ["fired"]
    it.see(21.0)
    assert it.events == ["fired", "ended"]
    assert play(values=values).rule.sources[0].accept == {"good", "stale"}


def test_a_value_that_does_not_come_any_more_is_noticed_by_its_age() -> None:
    it = play(when="age.t > 60.0")
    it.see(20.0)
    assert it.wait_s is not None
    assert it.wait_s <= 1
    it.look(seconds=61)
    assert it.events == ["fired"]


def test_jumps_are_seen_against_the_value_before() -> None:
    it = play(when="t - previous.t > 5.0")
    for value in (70.0, 71.0, 77.0, 78.0):
        it.see(value)
    assert it.events == ["fired", "ended"]


def test_a_rule_rests_after_it_fired_and_then_fires_if_there_is_still_reason_to() -> None:
    it = play(cooldownSeconds=60)
    it.see(81.0)
    it.see(70.0)
    it.see(81.0)
    assert it.events == ["fired", "ended"]
    assert it.wait_s == 60
    it.look(seconds=60)
    assert it.events == ["fired", "ended", "fired"]


def test_a_clock_that_is_put_back_makes_no_rest_longer() -> None:
    it = play(cooldownSeconds=60)
    it.see(81.0)
    it.see(70.0)
    it.now = Now(wall_ms=START_MS - 86_400_000, monotonic_s=it.now.monotonic_s)
    it.see(81.0)
    assert it.wait_s == 60
    it.look(seconds=60)
    assert it.events == ["fired", "ended", "fired"]


@pytest.mark.parametrize("back", [3_600, 10 * 365 * 86_400])
@pytest.mark.parametrize("crash", [False, True])
def test_a_clock_that_was_ahead_holds_nothing_up_when_it_is_right_again(back: int, crash: bool) -> None:
    it = play(cooldownSeconds=60, limit={"count": 2, "seconds": 100}, until="t < 75.0", repeatSeconds=30)
    it.now = Now(wall_ms=START_MS + 1000 * back, monotonic_s=0.0)
    it.see(81.0)
    it.look(seconds=61)
    assert it.events == ["fired", "fired"]
    it.now = Now(wall_ms=it.now.wall_ms - 1000 * back, monotonic_s=it.now.monotonic_s)
    if crash:
        it.watch = Watch()
    it.look()
    assert it.wait_s is not None
    assert it.wait_s <= 100
    it.look(seconds=100)
    assert it.events == ["fired", "fired", "fired"]
    shown: Any = shown_record(it.record)
    assert shown["recent"][0]["time"] != shown["lastFiredTime"]


def test_a_clock_that_is_put_forward_ends_no_rest() -> None:
    """A compressor has to rest, whatever the time is."""
    it = play(cooldownSeconds=300, limit={"count": 5, "seconds": 300})
    it.now = Now(wall_ms=0, monotonic_s=10.0)
    it.see(81.0)
    it.see(70.0)
    it.look(seconds=100)
    it.now = Now(wall_ms=START_MS, monotonic_s=it.now.monotonic_s)
    it.see(81.0)
    assert it.events == ["fired", "ended"]
    assert it.wait_s == 200
    it.look(seconds=200)
    assert it.events == ["fired", "ended", "fired"]


def test_a_halted_rule_rests_for_an_hour_whatever_the_clock_and_is_told_as_ready_after_it() -> None:
    it = play()
    it.record = halted(it.record, ("x", "x"), it.now)
    it.see(90.0)
    it.look(seconds=1800)
    it.now = Now(wall_ms=it.now.wall_ms - 86_400_000, monotonic_s=it.now.monotonic_s)
    it.see(70.0)
    assert it.record.halted
    assert it.wait_s == 1800
    it.look(seconds=1800)
    assert not it.record.halted
    it.record, it.watch = halted(it.record, ("x", "x"), replace(it.now, wall_ms=2 * START_MS)), Watch()
    it.look()
    assert it.wait_s == 3600


@pytest.mark.parametrize("back", [5, 60])
def test_minutes_that_a_clock_repeats_as_it_is_put_back_come_once(back: int) -> None:
    it = play(schedule="0 6 * * *")
    it.now = Now(wall_ms=1_790_056_800_000 - 60_000, monotonic_s=0.0)
    it.see(90.0)
    it.look(seconds=60)
    assert it.events == ["fired"]
    it.now = replace(it.now, wall_ms=it.now.wall_ms - 60_000 * back)
    for _ in range(back + 10):
        it.look(seconds=60)
    assert it.events == ["fired"]
    it.look(seconds=86_400 - 600)
    assert it.events == ["fired", "fired"]
    it.now = replace(it.now, wall_ms=it.now.wall_ms - 86_400_000 * 30)
    it.look()
    it.look(seconds=86_400)
    assert it.events == ["fired", "fired", "fired"], "that clock was wrong by a month: it begins anew"


def test_a_rule_fires_so_often_and_no_more() -> None:
    it = play(limit={"count": 2, "seconds": 100})
    for _ in range(5):
        it.see(81.0)
        it.see(70.0)
    assert it.events.count("fired") == 2
    it.see(81.0)
    it.look(seconds=100)
    assert it.events.count("fired") == 3


def test_a_rule_may_repeat_while_it_is_in_force() -> None:
    it = play(repeatSeconds=60)
    it.see(81.0)
    it.look(seconds=59)
    assert it.events == ["fired"]
    it.look(seconds=1)
    it.see(82.0)
    assert it.events == ["fired", "fired"]
    it.see(70.0)
    it.look(seconds=600)
    assert it.events == ["fired", "fired", "ended"]


def test_at_its_time_a_rule_fires_where_its_condition_holds() -> None:
    it = play(schedule="0 6 * * *")
    minute_ms = 60_000
    it.now = Now(wall_ms=1_790_056_800_000 - 5 * minute_ms, monotonic_s=0.0)  # 06:00 UTC is five minutes away
    assert (1_790_056_800_000 // 3_600_000) % 24 == 6
    it.see(90.0)
    it.look(seconds=299)
    assert not it.events
    it.look(seconds=1)
    it.look(seconds=30)
    assert it.events == ["fired"]
    assert not it.record.active
    it.see(None, "bad")
    it.look(seconds=86_400 - 30)
    assert it.events == ["fired", "skip"]
    it.see(20.0)
    it.look(seconds=86_400)
    assert it.events == ["fired", "skip"]


def test_a_rule_that_is_off_does_nothing_and_one_in_shadow_tells_what_it_would_do() -> None:
    off = play(mode="Off")
    off.see(90.0)
    assert not off.events
    shadow = play(mode="Shadow", otherwise=[PUMP_OFF])
    shadow.see(90.0)
    shadow.see(70.0)
    assert shadow.events == ["fired", "ended"]
    shown: Any = shown_record(shadow.record)
    assert shown["shadowFirings"] == 1
    assert [deed["state"] for firing in shown["recent"] for deed in firing["actions"]] == ["shadow", "shadow"]


def test_nothing_new_begins_while_something_is_under_way() -> None:
    it = play()
    it.finish = lambda: None
    it.see(90.0)
    it.see(70.0)
    it.see(90.0)
    assert it.events == ["fired"]


def test_what_is_said_is_worked_out_when_it_fires_and_a_fault_fails_that_action_alone() -> None:
    said = {"publish": {"topic": "a", "payloadExpression": "'t=' + string(t)"}}
    wrong = {"publish": {"topic": "a", "payloadExpression": "string(1 / (int(t) - 90))"}}
    it = play(actions=[said, wrong, PUMP_ON])
    it.finish = lambda: None
    it.see(90.5)
    assert it.record.current is not None
    assert [(action.state, action.said) for action in it.record.current.actions] == [
        ("staged", "t=90.5"),
        ("failed", ""),
        ("staged", "true"),
    ]
    assert "1 / 0" in it.record.errors[-1]
    assert it.record.current.condition == "t > 80.0 is true"
    assert it.record.current.values == (("t", "90.5", "good"), ("pump", "", "bad"))


def test_after_a_crash_what_was_begun_is_looked_up_done_again_or_unknown() -> None:
    call = {"call": {"port": 80}}
    again = {"call": {"port": 81}, "atLeastOnce": True}
    made = rule(actions=[PUMP_ON, PUMP_OFF, call, again, call])
    record = fire(made, RuleRecord(), "fired", {}, Now(wall_ms=START_MS, monotonic_s=0.0))
    for index in range(4):
        assert record.current is not None
        record = record.with_action(index, replace(record.current.actions[index], state="begun"))
    kept = decode_record(record.encode())
    assert kept == record
    after = recovered(kept, made.actions, lambda index: index == 0, Now(wall_ms=START_MS, monotonic_s=0.0))
    assert after.current is not None
    assert [action.state for action in after.current.actions] == ["done", "staged", "unknown", "staged", "staged"]
    cancelled = after.cancelled("the rule was changed", START_MS)
    assert cancelled.current is None
    assert [action.state for action in cancelled.recent[-1].actions][1:] == [
        "cancelled",
        "unknown",
        "cancelled",
        "cancelled",
    ]


def test_rules_that_lead_back_to_themselves_are_found() -> None:
    level = {"name": "l", "device": "boiler", "property": "level"}
    pump = {"name": "p", "device": "boiler", "property": "pump"}
    set_level = {"set": {"device": "boiler", "property": "level", "value": "1"}}
    rules = {
        "a": rule("a", values=[pump], when="p", actions=[set_level]),
        "b": rule("b", values=[level], when="l > 0", actions=[PUMP_ON]),
        "c": rule("c", values=[level], when="l > 0", actions=[{"alarm": {"message": "m"}}]),
        "self": rule("self", when="!pump", actions=[PUMP_ON]),
    }
    found = circles(rules)
    assert found["a"] == ("a", "b", "a")
    assert found["b"] == ("b", "a", "b")
    assert "c" not in found
    alone = {"self": rules["self"]}
    assert not circles(alone)


EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("see"), st.floats(60, 100), st.sampled_from(["good", "good", "good", "uncertain", "stale"])
        ),
        st.tuples(st.just("wait"), st.floats(0, 100), st.just("good")),
        st.tuples(st.just("crash"), st.just(0.0), st.just("good")),
        st.tuples(st.just("clock"), st.floats(-(10**6), 10**6), st.just("good")),
    ),
    max_size=60,
)


@given(EVENTS, st.integers(0, 20), st.integers(0, 50), st.integers(1, 3), st.booleans())
def test_whatever_happens_firings_and_endings_take_turns_within_their_limits(
    events: list[tuple[str, float, Quality]], hold: int, cooldown: int, count: int, two: bool
) -> None:
    it = play(
        forSeconds=hold,
        cooldownSeconds=cooldown,
        limit={"count": count, "seconds": 100},
        **({"until": "t < 70.0"} if two else {}),
    )
    fired_s: list[float] = []
    holds_since: float | None = None
    for what, number, quality in events:
        before = len(it.events)
        if what == "see":
            it.see(number, quality)
        elif what == "wait":
            it.look(seconds=number)
        elif what == "clock":
            it.now = replace(it.now, wall_ms=it.now.wall_ms + round(number))
        else:
            it.record, it.watch, it.view = decode_record(it.record.encode()), Watch(), {}
        seen = it.view.get(("boiler", "temp"))
        holds = seen is not None and seen.quality == "good" and isinstance(seen.value, float) and seen.value > 80.0
        if what in ("see", "crash"):
            holds_since = (it.now.monotonic_s if holds_since is None else holds_since) if holds else None
        for event in it.events[before:]:
            if event == "fired":
                assert holds_since is not None
                assert it.now.monotonic_s - holds_since >= hold
                fired_s.append(it.now.monotonic_s)
            else:
                assert seen is not None
                assert seen.quality == "good"
        if what == "crash":
            fired_s.clear()  # how long it was off is the wall clock's to say
    for one, other in pairwise(fired_s):
        assert other - one >= cooldown - 1, "whatever the wall clock showed"
    for one, other in zip(fired_s, fired_s[count:], strict=False):
        assert other - one >= 100 - 1
    assert all(one != other for one, other in zip(it.events, it.events[1:], strict=False))
    assert it.events[:1] in ([], ["fired"])
    assert it.record.active == (it.events[-1:] == ["fired"])
    assert len(it.record.fired) <= count


def test_records_that_make_no_sense_are_read_as_far_as_they_do() -> None:
    assert decode_record(b"{}") == RuleRecord()
    odd = b'{"current": {"actions": [{"state": "what"}], "values": [1]}, "fired": ["a", 1]}'
    record = decode_record(odd)
    assert record.fired == (1,)
    assert record.current is not None
    assert record.current.actions == (ActionRecord(form="", target="", said="", state="unknown"),)
