"""What is planned about commands: the four rules, and what may be forgotten."""

from __future__ import annotations

from edgecore.commands.plan import RECORDS_MAX, REMEMBERED_MAX, Begin, Forget, Keep, Seen, plan
from edgecore.commands.records import CommandRecord, Moment, delivered
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from tests.edgecore.commands.gateway import T0_MS, command

NOW = Moment(wall_ms=T0_MS, boot_id="b1", monotonic_ms=50_000)
SEEN = Seen(
    held={},
    records={},
    running=frozenset(),
    waiting=frozenset(),
    known=frozenset(),
    stopping=frozenset(),
    refusals={},
    incarnation="one",
    epoch="e1",
    cloud_ms=T0_MS + 1000,
    now=NOW,
)


def record(obj: JsonObject, uid: str = "u") -> CommandRecord:
    return delivered(obj, uid, NOW, "e1")


def test_a_record_that_is_running_and_has_nobody_is_unknown_for_good() -> None:
    begun = record(command()).running(NOW)
    (step,) = plan(replace(SEEN, held={"u": command()}, records={"u": begun})).steps
    assert isinstance(step, Keep) and (step.record.phase, step.record.reason) == ("Unknown", "Interrupted")
    assert plan(replace(SEEN, held={"u": command()}, records={"u": step.record})).steps == ()


def test_another_life_of_the_store_begins_nothing_of_the_former() -> None:
    (step,) = plan(replace(SEEN, held={"u": command()}, incarnation="two")).steps
    assert isinstance(step, Keep) and step.record.reason == "GatewayReset"


def test_an_end_is_forgotten_only_when_its_deadline_is_over_and_others_are_newer() -> None:
    done = record(command()).ended("Succeeded", "", "", NOW)
    records = {f"u{number}": replace(done, uid=f"u{number}") for number in range(REMEMBERED_MAX + 1)}
    assert plan(replace(SEEN, records=records)).steps == (), "it could come again"
    assert plan(replace(SEEN, records=records, cloud_ms=None)).steps == (), "nobody knows"
    late = plan(replace(SEEN, records=records, cloud_ms=T0_MS + 60_000)).steps
    assert late == (Forget(uid="u0"),)


def test_no_more_is_begun_than_can_be_remembered() -> None:
    done = record(command()).ended("Succeeded", "", "", NOW)
    full = {f"u{number}": replace(done, uid=f"u{number}") for number in range(RECORDS_MAX)}
    assert plan(replace(SEEN, held={"new": command("other")}, records=full)).steps == ()
    del full["u0"]
    (step,) = plan(replace(SEEN, held={"new": command("other")}, records=full)).steps
    assert isinstance(step, Begin)


def test_a_record_survives_being_written_and_read() -> None:
    whole = replace(record(command()).running(NOW).ended("Failed", "R", "m", NOW), result={"a": 1})
    assert CommandRecord.decode("u", whole.encode()) == whole


def test_an_age_across_a_boot_is_by_the_wall_clock_and_never_negative() -> None:
    then = replace(NOW, boot_id="b0", wall_ms=T0_MS - 5000)
    assert then.ago_ms(NOW) == 5000
    assert NOW.ago_ms(replace(NOW, monotonic_ms=51_000, wall_ms=0)) == 1000
    assert replace(NOW, boot_id="b0", wall_ms=T0_MS + 9000).ago_ms(NOW) == 0
