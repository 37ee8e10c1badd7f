"""What happens to a twin, in tables."""

from __future__ import annotations

import pytest

from devices.port import PropertyConfig, Reading, TwinConfig, WriteResult
from edgecore.twins.plan import Hold, Settle, Sight, Step, Write, next_step, observe, take, want, written
from skerry.frozen import replace
from skerry.objects.desired import Desired, Hlc, OnReconnect, Vector
from skerry.objects.meta import Key
from skerry.objects.twins import AckState, TwinState, ack, decode_state, encode_state

KEY = Key("devices.devices.kubeedge.io", "default", "d")
CONFIG = PropertyConfig(
    name="x", type="FLOAT", writable=True, unit="C", minimum=None, maximum=None, collect_ms=1000, visitor={}
)
NEW = TwinState(uid="u")


def wanted(value: str = "21", *, cloud: int = 1, edge: int = 0, expires_ms: int | None = None) -> Desired:
    return Desired(
        value=value,
        ver=Vector(cloud=cloud, edge=edge),
        hlc=Hlc(cloud, 0),
        side="cloud",
        origin="ann",
        expires_ms=expires_ms,
    )


def seen(value: float | None = None, *, source_seq: int | None = None, redelivered: bool = False) -> Reading:
    return Reading(
        device=KEY,
        prop="x",
        value=value,
        quality="bad" if value is None else "good",
        reason="silent" if value is None else "",
        source_ms=5,
        monotonic_s=1.0,
        source_seq=source_seq,
        redelivered=redelivered,
    )


def sight(fresh: Reading | None = None, *, now_ms: int = 1000, synced: bool = True, until_ms: int = 0) -> Sight:
    return Sight(now_ms=now_ms, clock_is_synced=synced, fresh=fresh, unread_until_ms=until_ms)


PENDING = want(NEW, wanted(), 1)


@pytest.mark.parametrize(
    ("state", "at", "step"),
    [
        (NEW, sight(), None),
        (PENDING, sight(seen(20.0)), Write(value=21.0, for_ver=Vector(cloud=1))),
        (PENDING, sight(until_ms=3000), Hold(reason="the first reading is awaited", until_ms=3000)),
        (PENDING, sight(until_ms=1000), Write(value=21.0, for_ver=Vector(cloud=1))),
        (PENDING, sight(seen(None)), Write(value=21.0, for_ver=Vector(cloud=1))),
        (PENDING, sight(seen(21.0)), Settle(ack=ack("verified", for_ver=Vector(cloud=1), at_ms=1000))),
        (want(NEW, wanted(expires_ms=1001), 1), sight(seen(20.0)), Write(value=21.0, for_ver=Vector(cloud=1))),
        (
            want(NEW, wanted(expires_ms=1000), 1),
            sight(seen(20.0)),
            Settle(ack=ack("expired", for_ver=Vector(cloud=1), at_ms=1000, reason="it was not carried out in time")),
        ),
    ],
)
def test_what_is_done_about_a_wanted_value(state: TwinState, at: Sight, step: Step) -> None:
    assert next_step(state, CONFIG, at) == step


@pytest.mark.parametrize("state", ["verified", "applied", "refused", "expired"])
def test_what_was_answered_for_good_is_left_alone_even_when_the_device_drifts(state: AckState) -> None:
    answered = replace(PENDING, ack=ack(state, for_ver=Vector(cloud=1), at_ms=2))
    assert next_step(answered, CONFIG, sight(seen(99.0))) is None


def test_what_failed_is_tried_again() -> None:
    failed = replace(PENDING, ack=ack("failed", for_ver=Vector(cloud=1), at_ms=2, reason="silent"))
    assert isinstance(next_step(failed, CONFIG, sight(seen(20.0))), Write)


def test_a_value_with_an_expiry_waits_for_a_right_clock() -> None:
    step = next_step(want(NEW, wanted(expires_ms=9999), 1), CONFIG, sight(seen(20.0), synced=False))
    assert isinstance(step, Hold) and step.until_ms is None


def test_a_device_that_is_to_be_spared_is_not_written_again_too_soon() -> None:
    spared = replace(CONFIG, twin=TwinConfig(write_interval_ms=10_000))
    lately = replace(sight(seen(20.0)), pause_until_ms=5000)
    why = "it was written a moment ago, and is written at most every 10 s"
    assert next_step(PENDING, spared, lately) == Hold(reason=why, until_ms=5000)
    assert isinstance(next_step(PENDING, spared, replace(lately, now_ms=5000)), Write)
    there = replace(sight(seen(21.0)), pause_until_ms=5000)
    assert isinstance(next_step(PENDING, spared, there), Settle), "what is there already needs no write"


def test_a_read_only_property_refuses() -> None:
    step = next_step(PENDING, replace(CONFIG, writable=False), sight(seen(20.0)))
    assert isinstance(step, Settle) and (step.ack.state, step.ack.reason) == ("refused", "x is read-only")


def test_the_answer_to_an_older_wish_is_not_taken_for_one_to_the_newer() -> None:
    result = WriteResult(state="verified", reason="", read_back=None)
    newer = want(PENDING, wanted("22", cloud=2), 3)
    assert written(newer, Vector(cloud=1), result, 4) == newer
    done = written(newer, Vector(cloud=2), result, 4)
    assert done.ack is not None and done.ack.state == "verified"


def test_the_cloud_is_told_only_what_it_does_not_hold() -> None:
    first = observe(NEW, wanted(), "newest", 1)
    assert not first.tell_desired and first.state.ack is not None and first.state.ack.state == "pending"
    assert observe(first.state, wanted(), "newest", 2) == replace(first, tell_desired=False)
    rival = replace(wanted("30", cloud=0, edge=1), side="edge", hlc=Hlc(9, 0))
    met = observe(want(NEW, rival, 1), wanted(), "newest", 2)
    assert met.tell_desired and met.state.desired is not None and met.state.desired.value == "30"
    restored = observe(replace(met.state, seen=Vector(cloud=1, edge=1)), wanted(), "newest", 3)
    assert restored.tell_desired, "a cloud that came back from a backup is told again"


def test_what_the_cloud_took_away_is_forgotten_unless_it_never_had_it() -> None:
    known = observe(NEW, wanted(), "newest", 1).state
    assert observe(known, None, "newest", 2).state.desired is None
    mine = want(NEW, replace(wanted(cloud=0, edge=1), side="edge"), 1)
    assert observe(mine, None, "newest", 2).state == mine


def test_readings_are_recorded_when_they_tell_something() -> None:
    config = replace(CONFIG, twin=TwinConfig(deadband=1.0, silence_ms_max=60_000))
    first = take(NEW, config, seen(20.0), now_ms=0, synced=True)
    assert first.record and first.urgent and first.state.seq == 1
    still = take(first.state, config, seen(20.9), now_ms=1000, synced=True)
    assert not still.record and still.state == first.state
    assert take(first.state, config, seen(21.1), now_ms=1000, synced=True).record
    assert take(first.state, config, seen(20.0), now_ms=60_000, synced=True).record
    assert take(first.state, config, seen(20.0), now_ms=-5, synced=True).record, "the clock was set back"
    assert take(first.state, config, seen(20.5), now_ms=1, synced=True, verbatim=True).record
    lost = take(first.state, config, seen(None), now_ms=1000, synced=True)
    assert lost.urgent and lost.state.reported is not None
    assert (lost.state.reported.value, lost.state.reported.quality) == ("20.0", "stale")


@pytest.mark.parametrize(
    ("source_seq", "redelivered", "repeated"),
    [(5, False, True), (4, True, True), (4, False, False), (6, True, False), (None, True, False)],
)
def test_a_repeated_reading_is_recognised_by_its_number(
    source_seq: int | None, redelivered: bool, repeated: bool
) -> None:
    before = take(NEW, CONFIG, seen(20.0, source_seq=5), now_ms=0, synced=True).state
    before = replace(before, source_holes=())  # as an agent left it that kept none
    again = seen(21.0, source_seq=source_seq, redelivered=redelivered)
    assert take(before, CONFIG, again, now_ms=1, synced=True).repeated is repeated


def test_what_was_overtaken_on_its_way_is_taken_once_and_the_twin_stays_at_what_is_newer() -> None:
    state = take(NEW, CONFIG, seen(20.0, source_seq=3), now_ms=0, synced=True).state
    state = take(state, CONFIG, seen(27.0, source_seq=7), now_ms=1, synced=True).state
    late = take(state, CONFIG, seen(25.0, source_seq=5, redelivered=True), now_ms=2, synced=True)
    assert (late.repeated, late.record, late.late) == (False, True, True)
    assert late.state.reported == state.reported, "an older value is no news of the device"
    assert (late.state.seq, late.state.source_seq) == (3, 7)
    again = take(late.state, CONFIG, seen(25.0, source_seq=5, redelivered=True), now_ms=3, synced=True)
    assert (again.repeated, again.late, again.state) == (True, True, late.state)
    for number in (4, 6):
        assert not take(
            late.state, CONFIG, seen(1.0, source_seq=number, redelivered=True), now_ms=3, synced=True
        ).repeated
    assert not take(state, CONFIG, seen(1.0, source_seq=2, redelivered=True), now_ms=3, synced=True).repeated


def test_a_device_that_counts_anew_has_no_holes_of_its_former_count() -> None:
    state = take(NEW, CONFIG, seen(20.0, source_seq=3), now_ms=0, synced=True).state
    state = take(state, CONFIG, seen(21.0, source_seq=900), now_ms=0, synced=True).state
    anew = take(state, CONFIG, seen(22.0, source_seq=0), now_ms=0, synced=True).state
    assert (anew.source_seq, anew.source_holes) == (0, ())
    unnumbered = take(state, CONFIG, seen(22.0), now_ms=0, synced=True).state
    assert unnumbered.source_holes == state.source_holes


def test_a_conflict_that_waits_for_a_person_is_not_carried_out_and_says_so() -> None:
    rival = replace(wanted("30", cloud=0, edge=1), side="edge")
    met = observe(want(NEW, rival, 1), wanted(), "manual", 2).state
    step = next_step(met, CONFIG, sight(seen(20.0)))
    assert isinstance(step, Hold) and step.tell and "'30'" in step.reason and "'21'" in step.reason
    assert met.desired is not None
    chosen = replace(wanted("21", cloud=2, edge=1), hlc=Hlc(9, 0))
    assert isinstance(next_step(observe(met, chosen, "manual", 3).state, CONFIG, sight(seen(20.0))), Write)


LATE_STEPS: list[tuple[OnReconnect | None, OnReconnect, type[Write | Hold | Settle]]] = [
    (None, "apply", Write),
    (None, "confirm", Hold),
    (None, "drop", Settle),
    ("apply", "drop", Write),
    ("drop", "apply", Settle),
]


@pytest.mark.parametrize(("asked", "by_default", "step"), LATE_STEPS)
def test_what_becomes_of_a_value_that_was_written_while_the_gateway_was_away(
    asked: OnReconnect | None, by_default: OnReconnect, step: type[Write | Hold | Settle]
) -> None:
    config = replace(CONFIG, twin=TwinConfig(on_reconnect=by_default))
    late = observe(NEW, replace(wanted(), on_reconnect=asked), "newest", 1, late=True).state
    assert isinstance(next_step(late, config, sight(seen(20.0))), step)
    assert decode_state(encode_state(late)) == late, "a restart changes nothing"
    in_time = observe(late, replace(wanted("21", cloud=2), on_reconnect=asked), "newest", 2).state
    assert isinstance(next_step(in_time, config, sight(seen(20.0))), Write), "it was wanted once more"


def test_what_was_being_carried_out_is_not_late_when_the_cloud_is_seen_again() -> None:
    known = observe(NEW, wanted(), "newest", 1).state
    assert observe(replace(known, seen=Vector()), wanted(), "newest", 2, late=True).state.late is None


def test_a_finished_write_is_not_repeated_because_somebody_elses_lost_against_it() -> None:
    done = replace(PENDING, ack=ack("verified", for_ver=Vector(cloud=1), at_ms=2))
    rival = replace(wanted("30", cloud=0, edge=1), side="edge")
    met = observe(done, rival, "cloud", 3).state
    assert met.desired is not None and met.desired.ver == Vector(cloud=1, edge=1)
    assert next_step(met, CONFIG, sight(seen(99.0))) is None
    assert met.ack is not None and (met.ack.state, met.ack.for_ver) == ("verified", met.desired.ver)


def test_of_a_tombstone_nothing_is_carried_out_and_it_is_kept_for_a_cloud_that_is_restored() -> None:
    gone = replace(wanted("", cloud=2), removed=True)
    state = observe(PENDING, gone, "newest", 2).state
    assert state.ack is None and next_step(state, CONFIG, sight(seen(20.0))) is None
    assert observe(state, None, "newest", 3).state.desired == gone
    back = observe(replace(state, seen=Vector()), wanted(), "newest", 4)
    assert back.state.desired == gone
