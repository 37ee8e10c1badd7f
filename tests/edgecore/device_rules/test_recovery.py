"""Rules after a power cut: what was done, what is done now, and what nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from edgecore.store.port import EdgeBatch
from skerry.errors import UnavailableError
from skerry.objects.device_rule_reports import DEVICE_RULES
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.edgecore.device_rules.samples import PUMP_OFF, PUMP_ON, obj
from tests.edgecore.device_rules.stage import running


async def test_what_was_not_begun_at_a_power_cut_is_done_after_it() -> None:
    async with running() as stage:
        await stage.rule(actions=[{"publish": {"topic": "a", "payload": "1"}}, PUMP_ON])
        stage.hangs = True
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.published)
    async with running(stage) as after:
        await after.until(lambda: after.twins.wanted)
        await after.until(
            lambda: after.deeds() == [("unknown", "the agent ended while it was under way"), ("done", "verified")]
        )
        assert not after.published, "nobody knows, and nobody said that twice is well"
        assert after.status()["unknownActions"] == 1
        assert after.status()["firings"] == 1


async def test_what_may_be_done_twice_is_done_again_after_a_power_cut() -> None:
    async with running() as stage:
        await stage.rule(actions=[{"publish": {"topic": "a", "payload": "1"}, "atLeastOnce": True}])
        stage.hangs = True
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.published)
    async with running(stage) as after:
        await after.until(lambda: after.deeds() == [("done", "acknowledged")])
        assert after.published == [("a", b"1")]


async def test_a_value_that_was_wanted_before_a_power_cut_is_not_wanted_twice() -> None:
    async with running() as stage:
        await stage.rule()
        stage.twins.dies_after = True
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.twins.wanted)
        stage.twins.want("pump", "false", "operator")  # and somebody wanted another value after it
    stage.twins.dies_after = False
    async with running(stage) as after:
        await after.until(lambda: [state for state, _ in after.deeds()] == ["done"])
        assert len(after.twins.wanted) == 1


async def test_a_value_that_was_not_wanted_yet_is_after_the_power_cut() -> None:
    async with running() as stage:
        await stage.rule()
        stage.twins.refuse = UnavailableError("the disk is busy")
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: b'"begun"' in dict(stage.store.rules()).get("uid-x", b""))
    stage.twins.refuse = None
    async with running(stage) as after:
        await after.until(lambda: after.deeds() == [("done", "verified")])
        assert len(after.twins.wanted) == 1


async def test_what_an_earlier_rule_of_this_name_wanted_is_not_taken_for_its_successors() -> None:
    """Firings of a rule that is made again count from one."""
    async with running() as stage:
        await stage.rule()
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds() == [("done", "verified")])
        await stage.store.apply(EdgeBatch(deletes=(Key(DEVICE_RULES, "d", "x"),)))
        await stage.until(lambda: not stage.store.rules())
        stage.clock.advance(60)
        body: Any = obj("x")
        body["metadata"]["uid"] = "uid-again"
        await stage.put(DEVICE_RULES, body)
        await stage.until(stage.status)
        stage.twins.refuse = UnavailableError("the disk is busy")
        stage.twins.read("temp", 89.0)
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: b'"begun"' in dict(stage.store.rules()).get("uid-again", b""))
    stage.twins.refuse = None
    async with running(stage) as after:
        await after.until(lambda: after.deeds() == [("done", "verified")])
        assert [origin for _, _, origin in after.twins.wanted] == ["rule:d/x#1.0", "rule:d/x#1.0"]


async def test_a_rule_in_force_stays_in_force_over_a_power_cut() -> None:
    async with running() as stage:
        await stage.rule(otherwise=[PUMP_OFF])
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds() == [("done", "verified")])
    async with running(stage) as after:
        await after.until(after.status)
        assert after.status()["active"]
        after.twins.read("temp", 91.0)
        after.twins.read("temp", 70.0)
        await after.until(lambda: [value for _, value, _ in after.twins.wanted] == ["true", "false"])


@pytest.mark.parametrize("form", ["call", "set"])
async def test_what_a_changed_rule_had_begun_is_never_done_as_the_new_one_says(form: str) -> None:
    """The power goes while an action of the old rule is under way."""
    began: JsonObject = {"publish": {"topic": "old", "payload": "old"}, "atLeastOnce": True}
    anew: JsonObject = {"publish": {"topic": "new", "payload": "new"}, "atLeastOnce": True}
    if form == "set":
        began, anew = PUMP_ON, {"set": {"device": "boiler", "property": "level", "value": "5"}}
    async with running() as stage:
        await stage.rule(actions=[{"alarm": {"message": "hot"}}, began, PUMP_OFF])
        stage.hangs, stage.twins.refuse = True, UnavailableError("the disk is busy")
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.published or stage.twins.attempts)
        await stage.rule(generation=2, when="t > 100.0", actions=[{"alarm": {"message": "x"}}, anew])
        await stage.until(lambda: b'"begun"' in dict(stage.store.rules())["uid-x"])
    stage.twins.refuse = None
    async with running(stage) as after:
        await after.until(lambda: after.deeds() and after.deeds()[1][0] not in ("begun", "staged"))
        states = [state for state, _ in after.deeds()]
        assert states == ["done", "cancelled" if form == "set" else "unknown", "cancelled"]
        assert "the rule was changed" in after.deeds()[1][1]
        assert (after.published, after.twins.wanted) == ([], [])
        after.twins.read("temp", 101.0)
        await after.until(lambda: after.published or after.twins.wanted)


async def test_a_changed_rule_with_fewer_actions_starts_again_after_a_power_cut() -> None:
    async with running() as stage:
        await stage.rule(actions=[{"alarm": {"message": "hot"}}, PUMP_ON])
        stage.twins.dies_after = True
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.twins.wanted)
        await stage.rule(generation=2, when="t > 100.0", actions=[PUMP_OFF])
        await stage.until(lambda: b'"begun"' in dict(stage.store.rules())["uid-x"])
    stage.twins.dies_after = False
    async with running(stage) as after:
        await after.until(lambda: after.deeds() and after.deeds()[1][0] == "done")
        assert [value for _, value, _ in after.twins.wanted] == ["true"], "it was wanted before: the log says so"
