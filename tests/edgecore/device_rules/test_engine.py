"""Rules at work on a gateway: what is committed, what is done, and what a crash in between leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from edgecore.device_rules import engine
from edgecore.device_rules.acting import DEVICES
from edgecore.store.port import EdgeBatch, TwinRow
from skerry.errors import InvalidError, StorageFullError, UnavailableError, UncertainError
from skerry.objects.device_models import MODELS
from skerry.objects.device_rule_reports import ALARM_REPORT, DEVICE_RULES, STATUS_REPORT
from skerry.objects.meta import Key
from skerry.objects.rule_calls import ServiceReply
from skerry.objects.twins import Reported, TwinState, encode_state
from tests.edgecore.device_rules.samples import DEVICE, MODEL, PUMP_OFF, PUMP_ON, obj
from tests.edgecore.device_rules.stage import BOILER, FakeTwins, Stage, running


async def test_a_value_over_a_limit_wants_another_value_on_the_same_gateway() -> None:
    async with running() as stage:
        await stage.rule(otherwise=[PUMP_OFF])
        stage.twins.read("temp", 70.0)
        stage.twins.read("temp", 81.0)
        await stage.until(lambda: stage.deeds() == [("done", "verified")])
        assert stage.twins.wanted == [("pump", "true", "rule:d/x#1.0")]
        assert stage.status()["active"]
        stage.twins.read("temp", 70.0)
        await stage.until(lambda: len(stage.twins.wanted) == 2)
        await stage.until(lambda: not stage.status()["active"])
        await stage.until(lambda: [each["status"]["active"] for each in stage.told(STATUS_REPORT)] == [False])
        assert stage.told(STATUS_REPORT)[0]["status"]["firings"] == 1


async def test_a_gateway_without_rules_loads_nothing_for_them() -> None:
    async with running() as stage:
        stage.twins.read("temp", 90.0)
        assert not stage.twins.hears
        await stage.rule()
        assert stage.twins.hears


async def test_what_a_twin_holds_back_as_too_small_a_change_a_rule_sees() -> None:
    """Readings come to rules as they are taken, whatever the deadband."""
    async with running() as stage:
        await stage.rule(when="t > 80.0")
        stage.twins.read("temp", 80.0)
        stage.twins.read("temp", 80.0001)
        await stage.until(lambda: stage.twins.wanted)


async def test_a_firing_is_durable_with_its_alarm_before_anything_is_done() -> None:
    async with running() as stage:
        alarm = {"alarm": {"severity": "Critical", "messageExpression": "'t is ' + string(t)"}}
        await stage.rule(actions=[alarm, PUMP_ON])
        stage.memory.fail_writes_with = StorageFullError("no room")
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.memory.attempts)
        assert not stage.twins.wanted
        stage.memory.fail_writes_with = None
        await stage.until(lambda: stage.deeds() == [("done", "raised"), ("done", "verified")])
        (told,) = stage.told(ALARM_REPORT)
        assert (told["severity"], told["message"], told["number"]) == ("Critical", "t is 90", 1)
        assert len(stage.twins.wanted) == 1


@pytest.mark.parametrize("full", [False, True])
async def test_a_pulse_that_is_over_before_the_store_has_answered_was_there(full: bool) -> None:
    alarm = {"alarm": {"messageExpression": "'t was ' + string(t)"}}
    async with running() as stage:
        await stage.rule(actions=[alarm])
        stage.twins.read("temp", 70.0)
        await stage.until(lambda: stage.status()["last"]["result"] == "False")
        if full:
            stage.memory.fail_writes_with = StorageFullError("no room")
        for value in (90.0, 71.0, 95.0, 72.0):  # the engine has no turn in between
            stage.twins.read("temp", value)
        if full:
            await stage.until(lambda: stage.memory.attempts)
            stage.memory.fail_writes_with = None
        await stage.until(lambda: stage.status().get("firings") == 2 and not stage.status()["active"])
        assert [each["message"] for each in stage.told(ALARM_REPORT)] == ["t was 90", "t was 95"]


async def test_a_break_that_nobody_had_time_to_look_at_is_a_break() -> None:
    async with running() as stage:
        await stage.rule(forSeconds=60)
        stage.twins.read("temp", 90.0)
        await stage.pass_(0)
        await stage.pass_(59)
        stage.twins.read("temp", 70.0)
        stage.twins.read("temp", 90.0)
        await stage.pass_(0)
        await stage.pass_(59)
        assert not stage.twins.wanted
        await stage.pass_(1)
        await stage.until(lambda: stage.twins.wanted)


async def test_values_that_change_faster_than_rules_look_stop_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule looks once in a pass, and then everybody else has as long a turn."""
    looks, rests = [0], list[float]()
    async with running() as stage:

        def slow(*args: Any) -> Any:
            looks[-1] += 1
            stage.clock.advance(0.001)
            return look(*args)

        async def rest(seconds: float) -> None:
            rests.append(seconds)
            looks.append(0)
            await sleep(0)

        look, sleep = engine.look, asyncio.sleep
        for number in range(100):
            await stage.put(DEVICE_RULES, obj(f"r{number}", when="t > 1000.0"))
        await stage.until(lambda: stage.status("r99"))
        await stage.pass_(11)
        monkeypatch.setattr(engine, "look", slow)
        monkeypatch.setattr(engine.asyncio, "sleep", rest)
        for number in range(20):
            stage.twins.read("temp", float(number))
        seen = [0]
        while stage.status("r99")["last"]["values"][0]["value"] != "19" or looks[-1]:
            await sleep(0.001)
            seen[0] += 1
            assert seen[0] < 20_000
        assert max(looks) == 100
        assert sum(looks) >= 8 * 100
        assert max(rests) == pytest.approx(engine.REST_S_MAX)


async def test_rules_beyond_the_bound_say_so_and_have_their_turn_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "RULES_MAX", 2)
    async with running() as stage:
        for name in ("a", "b"):
            await stage.rule(name)
        await stage.until(lambda: _ready(stage) == {"a": "True", "b": "True"})
        await stage.rule("first", priority=1, actions=[PUMP_OFF])
        await stage.until(lambda: stage.status("b")["ready"]["status"] == "False")
        assert "carries out 2 rules, and has more" in stage.status("b")["ready"]["message"]
        await stage.until(lambda: _ready(stage) == {"a": "True", "b": "False", "first": "True"})
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.status("a").get("firings") and stage.status("first").get("firings"))
        assert "firings" not in stage.status("b")
        await stage.store.apply(EdgeBatch(deletes=(Key(DEVICE_RULES, "d", "first"),)))
        await stage.until(lambda: stage.status("b")["ready"]["status"] == "True")
        stage.twins.read("temp", 91.0)
        await stage.until(lambda: stage.status("b").get("firings"))


def _ready(stage: Stage) -> dict[str, str]:
    return {each["name"]: each["status"]["ready"]["status"] for each in stage.told(STATUS_REPORT)}


@pytest.mark.parametrize("step_ms", [86_400_000, -86_400_000])
async def test_a_deadline_is_as_long_as_it_says_though_the_clock_is_set(step_ms: int) -> None:
    async with running() as stage:
        stage.twins.refuse = UnavailableError("not now")
        await stage.rule()
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.twins.attempts)
        stage.clock.step_wall(step_ms)
        tried = stage.twins.attempts
        await stage.until(lambda: stage.twins.attempts > tried)
        assert stage.deeds()[0][0] == "begun"
        stage.clock.advance(31)
        await stage.until(lambda: stage.deeds() == [("failed", "not now")])


async def test_devices_that_are_all_off_do_not_use_up_the_time_of_what_comes_after_them() -> None:
    async with running() as stage:
        stage.twins.silent = True
        await stage.rule(actions=[*[PUMP_ON] * 15, {"publish": {"topic": "a", "payload": "1"}}])
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.published)
        assert stage.twins.waited_s == [5.0, *[1.0] * 14]
        await stage.until(lambda: {state for state, _ in stage.deeds()} == {"done"})


async def test_of_what_is_over_as_much_is_kept_as_is_shown() -> None:
    async with running() as stage:
        long = {"publish": {"topic": "a", "payload": "x" * 16_000}}
        await stage.rule(actions=[long] * 16)
        for number in range(8):
            stage.twins.read("temp", 90.0)
            await stage.until(lambda: stage.status().get("active"))
            await stage.until(lambda: len(stage.published) == 16 * (number + 1))  # noqa: B023
            stage.twins.read("temp", 70.0)
            await stage.until(lambda: not stage.status()["active"])
        assert {len(payload) for _, payload in stage.published} == {16_000}
        assert len(dict(stage.store.rules())["uid-x"]) < 50_000


async def test_a_rule_that_was_elsewhere_meanwhile_asks_services_by_another_key() -> None:
    """It counts its firings anew; a service that takes the key for one that it has seen would do nothing."""
    async with running() as stage:
        for generation in (1, 2):
            await stage.rule(generation=generation, actions=[{"call": {"port": 80}}])
            stage.twins.read("temp", 90.0)
            await stage.until(lambda: stage.deeds() == [("done", "200 fine")])
            await stage.put(DEVICE_RULES, obj(actions=[{"call": {"port": 80}}], nodeName="elsewhere"))
            await stage.until(lambda: not stage.store.rules())
            stage.clock.advance(60)
            stage.twins.read("temp", 70.0)
        keys = [dict(asked.headers)["Idempotency-Key"] for asked, _ in stage.asked]
        assert len({*keys}) == 2, keys


async def test_what_can_not_be_done_is_tried_until_its_time_is_over() -> None:
    async with running() as stage:
        stage.twins.refuse = UnavailableError("not now")
        await stage.rule()
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.twins.attempts)
        stage.clock.advance(31)
        await stage.until(lambda: stage.deeds() == [("failed", "not now")])
        assert stage.status()["failedActions"] == 1
        assert "not now" in stage.status()["errors"][-1]


@pytest.mark.parametrize(
    ("prepare", "state", "words"),
    [
        (lambda twins: setattr(twins, "refuse", InvalidError("91 is above the maximum")), "failed", "maximum"),
        (lambda twins: setattr(twins, "answer", "refused"), "failed", "refused: no"),
        (lambda twins: setattr(twins, "answer", "failed"), "done", "failed"),
    ],
)
async def test_what_the_twin_says_no_to_is_said(prepare: Callable[[FakeTwins], None], state: str, words: str) -> None:
    async with running() as stage:
        prepare(stage.twins)
        await stage.rule()
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds() and stage.deeds()[0][0] == state)
        assert words in stage.deeds()[0][1]


async def test_services_are_asked_once_unless_twice_is_well() -> None:
    call = {"call": {"port": 80, "path": "/x", "bodyExpression": "string(t)"}}
    async with running() as stage:
        stage.answers = [UncertainError("broke off")]
        await stage.rule(actions=[call])
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds() == [("unknown", "broke off")])
        assert [(asked.method, asked.port, asked.target, body) for asked, body in stage.asked] == [
            ("POST", 80, "/x", b"90")
        ]
        stage.answers = [UncertainError("broke off"), ServiceReply(status=503, headers=(), body=b"busy")]
        await stage.rule("y", actions=[{**call, "atLeastOnce": True}])
        stage.twins.read("temp", 91.0)
        await stage.until(lambda: stage.deeds("y") == [("done", "200 fine")])
        keys = [dict(asked.headers)["Idempotency-Key"] for asked, _ in stage.asked[1:]]
        assert keys == ["uid-y-1790000000000-1-0"] * 3
        stage.answers = [ServiceReply(status=404, headers=(), body=b"")]
        await stage.rule("z", actions=[call])
        stage.twins.read("temp", 92.0)
        await stage.until(lambda: stage.deeds("z") == [("failed", "the service answers 404")])


async def test_without_a_broker_publishing_fails_with_the_mend() -> None:
    async with running(broker=False) as stage:
        await stage.rule(actions=[{"publish": {"topic": "a", "payload": "1"}}])
        stage.twins.read("temp", 90.0)
        await stage.until(stage.deeds)
        await stage.until(lambda: "--mqtt-broker" in stage.deeds()[0][1])


async def test_rules_that_lead_to_each_other_without_an_end_are_stopped_with_an_alarm() -> None:
    pump = {"name": "p", "device": "boiler", "property": "pump"}
    async with running() as stage:
        await stage.rule("on", values=[pump], when="!p", actions=[PUMP_ON], limit={"count": 1000})
        await stage.rule("off", values=[pump], when="p", actions=[PUMP_OFF], limit={"count": 1000})
        assert stage.status("on")["ready"]["reason"] == "MayGoRound"
        stage.twins.read("pump", False)
        await stage.until(lambda: stage.told(ALARM_REPORT))
        (told,) = stage.told(ALARM_REPORT)
        assert "lead to each other" in told["message"]
        stopped = told["name"]
        await stage.until(lambda: stage.status(stopped)["ready"]["status"] == "False")
        assert stage.status(stopped)["ready"]["reason"] == "Halted"
        count = len(stage.twins.wanted)
        assert count < 10
        await stage.pass_(60)
        assert len(stage.twins.wanted) <= count + 1
        await stage.rule(stopped, generation=2, values=[pump], when="p && !p", actions=[PUMP_ON])
        assert stage.status(stopped)["ready"]["status"] == "True", "somebody changed it"


async def test_a_rule_that_repeats_by_time_what_it_reads_is_no_circle() -> None:
    """The other side watches whether the gateway is alive: a bit that is turned over every second."""
    turn = {"set": {"device": "boiler", "property": "pump", "valueExpression": "!pump"}}
    async with running() as stage:
        await stage.rule(repeatSeconds=1, limit={"count": 100, "seconds": 100}, actions=[turn])
        stage.twins.read("pump", False)
        stage.twins.read("temp", 90.0)
        for count in range(1, 9):
            await stage.until(lambda: len(stage.twins.wanted) == count)  # noqa: B023
            await stage.pass_(1)
        assert stage.status()["ready"]["reason"] == "Works"
        assert [value for _, value, _ in stage.twins.wanted][:4] == ["true", "false", "true", "false"]


async def test_many_rules_that_want_the_same_are_no_circle() -> None:
    async with running() as stage:
        names = [f"r{number:02d}" for number in range(20)]
        for number, name in enumerate(names):
            await stage.rule(name, when=f"t > {80 + number}.5 || pump && t > 1000.0")
        for number in range(len(names) + 1):
            stage.twins.read("temp", 80.0 + number)
            await stage.until(lambda: len(stage.twins.wanted) == number)  # noqa: B023  it is waited for here
            stage.twins.read("pump", number % 2 == 0)
        assert not stage.told(ALARM_REPORT)
        assert all(stage.status(name)["ready"]["status"] == "True" for name in names)


async def test_what_somebody_wanted_a_moment_ago_stands_where_the_rule_yields() -> None:
    yields = {"set": {"device": "boiler", "property": "pump", "value": "true", "yieldSeconds": 60}}
    async with running() as stage:
        await stage.rule(actions=[yields])
        stage.twins.want("pump", "false", "operator")
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds() and stage.deeds()[0][0] == "yielded")
        assert "operator wanted 'false'" in stage.deeds()[0][1]
        stage.clock.advance(61)
        stage.twins.read("temp", 70.0)
        await stage.until(lambda: not stage.status()["active"])
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.twins.wanted)


async def test_what_was_wanted_by_a_clock_that_was_ahead_is_not_yielded_to_for_years() -> None:
    yields = {"set": {"device": "boiler", "property": "pump", "value": "true", "yieldSeconds": 60}}
    async with running() as stage:
        stage.clock.step_wall(10 * 365 * 86_400_000)
        stage.twins.want("pump", "false", "operator")
        stage.clock.step_wall(-10 * 365 * 86_400_000)
        await stage.rule(actions=[yields])
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds() == [("done", "verified")])


async def test_of_two_rules_the_one_that_goes_before_has_its_way_while_it_is_in_force() -> None:
    async with running() as stage:
        await stage.rule("guard", priority=10, when="t > 80.0", actions=[PUMP_OFF])
        await stage.rule("comfort", when="t > 70.0")
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds("guard") == [("done", "verified")])
        await stage.until(lambda: stage.deeds("comfort")[0][0] == "yielded")
        state, why = stage.deeds("comfort")[0]
        assert state == "yielded"
        assert "rule guard is in force" in why
        stage.twins.read("temp", 60.0)
        await stage.until(lambda: not stage.status("guard")["active"] and not stage.status("comfort")["active"])
        stage.twins.read("temp", 75.0)
        await stage.until(lambda: stage.deeds("comfort") == [("done", "verified")])


async def test_a_rule_that_follows_its_device_is_carried_out_where_the_cloud_put_it() -> None:
    async with running() as stage:
        for name, node in (("here", "eu-1"), ("there", "us-1"), ("nowhere", "")):
            made: Any = obj(name)
            del made["spec"]["nodeName"]
            await stage.put(DEVICE_RULES, {**made, "status": {"nodeName": node}})
        await stage.until(lambda: stage.status("here"))
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.twins.wanted)
        assert stage.twins.wanted == [("pump", "true", "rule:d/here#1.0")]
        assert not stage.status("there") and not stage.status("nowhere")
        await stage.put(DEVICE_RULES, {**made, "metadata": obj("here")["metadata"], "status": {"nodeName": "us-1"}})
        await stage.until(lambda: not stage.status("here"))


async def test_a_rule_in_shadow_goes_before_none_by_what_it_wanted_when_it_was_not() -> None:
    async with running() as stage:
        await stage.rule("guard", priority=10, actions=[PUMP_OFF])
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds("guard") == [("done", "verified")])
        await stage.rule("guard", generation=2, priority=10, actions=[PUMP_OFF], mode="Shadow")
        await stage.until(lambda: stage.status("guard")["active"])
        await stage.rule("comfort", when="t > 70.0")
        await stage.until(lambda: stage.deeds("comfort") == [("done", "verified")])


async def test_a_value_that_is_wanted_at_its_deadline_is_told_as_wanted() -> None:
    """It is carried out when the device comes back: to say that it failed would be wrong."""
    async with running() as stage:
        stage.twins.silent = True
        await stage.rule(actions=[{**PUMP_ON, "deadlineSeconds": 2}])
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.deeds() and stage.deeds()[0][0] not in ("staged", "begun"))
        assert stage.deeds()[0][0] == "done"
        assert stage.deeds()[0][1].startswith("not yet")
        assert max(stage.twins.waited_s) <= 2.0


async def test_a_rule_waits_for_its_devices_and_says_so() -> None:
    async with running() as stage:
        await stage.store.apply(EdgeBatch(deletes=(BOILER,)))
        await stage.rule()
        ready = stage.status()["ready"]
        assert (ready["status"], ready["reason"]) == ("False", "DoesNotFit")
        assert "device boiler is not on this gateway" in ready["message"]
        await stage.put(DEVICES, DEVICE)
        await stage.until(lambda: stage.status()["ready"]["status"] == "True")
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.twins.wanted)
        model: Any = {**MODEL, "spec": {"properties": [{"name": "temp", "type": "STRING"}]}}
        await stage.put(MODELS, model)
        await stage.until(lambda: stage.status()["ready"]["status"] == "False")


async def test_a_changed_rule_begins_anew_and_does_not_do_what_was_not_begun() -> None:
    async with running() as stage:
        await stage.rule(actions=[{"publish": {"topic": "a", "payload": "1"}}, PUMP_ON])
        stage.hangs = True
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.published)
        await stage.rule(generation=2, when="t > 100.0", actions=[PUMP_OFF])
        assert not stage.status()["active"]
        states = [each["state"] for each in stage.status()["recent"][-1]["actions"]]
        assert states == ["begun", "cancelled"]
        stage.let_go.set()
        stage.twins.read("temp", 101.0)
        await stage.until(lambda: stage.twins.wanted)
        assert [value for _, value, _ in stage.twins.wanted] == ["false"]


async def test_a_deleted_rule_leaves_nothing() -> None:
    async with running() as stage:
        await stage.rule()
        stage.twins.read("temp", 90.0)
        await stage.until(stage.store.rules)
        await stage.store.apply(EdgeBatch(deletes=(Key(DEVICE_RULES, "d", "x"),)))
        await stage.until(lambda: not stage.store.rules())
        assert stage.status() == {}
        stage.twins.read("temp", 70.0)
        stage.twins.read("temp", 90.0)
        await stage.pass_(1)
        assert len(stage.twins.wanted) == 1
    await stage.put(DEVICE_RULES, obj("y"))
    await stage.store.apply(EdgeBatch(rules=(("gone", b"{}"),)))
    async with running(stage) as after:
        await after.until(lambda: not after.store.rules() or "gone" not in dict(after.store.rules()))


async def test_a_property_that_is_not_read_any_more_counts_as_unknown() -> None:
    async with running() as stage:
        await stage.rule(forSeconds=10)
        stage.twins.read("temp", 90.0)
        await stage.until(lambda: stage.status()["last"]["result"] == "True")
        reported = Reported(
            value="90.0", type="DOUBLE", unit="", quality="stale", reason="held", source_ms=0, gateway_ms=0
        )
        row = TwinRow(device=BOILER, prop="temp", body=encode_state(TwinState(uid="boiler", reported=reported)))
        await stage.store.apply(EdgeBatch(twins=(row,)))
        await stage.until(lambda: stage.status()["last"]["result"] == "Unknown")
        await stage.pass_(60)
        assert not stage.twins.wanted
        stage.twins.read("temp", None, "bad")
        assert stage.status()["last"]["values"][0] == {"name": "t", "value": "90", "quality": "stale"}


@pytest.mark.parametrize("digits", [20, 400, 5000])
async def test_a_whole_number_that_no_device_has_ends_nothing(digits: int) -> None:
    """A driver of others gives it. It was neither a double nor a text, and that ended every rule."""
    more = [{"name": "level", "device": "boiler", "property": "level"}]
    values = [{"name": "t", "device": "boiler", "property": "temp"}, *more]
    async with running() as stage:
        await stage.rule(values=values, when="t > 80.0 || double(level) > 5.0 || string(level) == 'x'")
        stage.twins.read("temp", 10**digits)
        stage.twins.read("level", 10**digits)
        await stage.pass_(1)
        assert stage.status()["last"]["result"] == "Unknown"
        assert [seen["quality"] for seen in stage.status()["last"]["values"]] == ["bad", "bad"]
        stage.twins.read("level", 6)
        await stage.until(lambda: stage.twins.wanted)


async def test_whole_numbers_of_a_double_are_doubles() -> None:
    async with running() as stage:
        await stage.rule(when="t + 1.0 > 90.0")
        stage.twins.read("temp", 90)
        await stage.until(lambda: stage.twins.wanted)


async def test_the_cloud_is_told_of_what_happens_and_not_of_every_value() -> None:
    async with running() as stage:
        await stage.rule(when="t > 1000.0")
        stage.twins.read("temp", 1.0)
        await stage.until(lambda: stage.status()["last"]["result"] == "False")
        await stage.pass_(11)
        await stage.until(lambda: stage.told(STATUS_REPORT)[-1]["status"]["last"]["result"] == "False")
        head = stage.store.outbox_head()
        for number in range(50):
            stage.twins.read("temp", float(number))
            await stage.pass_(11)
        assert stage.store.outbox_head() == head


async def test_however_much_there_is_to_tell_it_fits_a_report() -> None:
    names = [f"v{number}" for number in range(16)]
    values = [{"name": name, "device": "boiler", "property": "note"} for name in names]
    long = "x" * 4000
    actions = [{"publish": {"topic": "a/" + "t" * 200, "payloadExpression": "v0 + v1"}}] * 16
    async with running() as stage:
        model: Any = {**MODEL, "spec": {"properties": [{"name": "note", "type": "STRING"}]}}
        device: Any = {**DEVICE, "spec": {"deviceModelRef": {"name": "m"}, "properties": [{"name": "note"}]}}
        await stage.put(MODELS, model)
        await stage.put(DEVICES, device)
        condition = " && ".join(f"{name} != 'end'" for name in names)
        await stage.rule(values=values, when=condition, actions=actions, limit={"count": 1000})
        for number in range(6):
            stage.answers = [InvalidError(long)] * 16
            stage.twins.read("note", f"{number}{long}")
            await stage.until(lambda: stage.status().get("active"))
            await stage.until(lambda: all(state == "failed" for state, _ in stage.deeds()) and stage.deeds())
            stage.twins.read("note", "end")
            await stage.until(lambda: not stage.status()["active"])
        await stage.until(lambda: stage.told(STATUS_REPORT)[-1]["status"]["active"] is False)
        sizes = [len(each.body) for each in stage.store.outbox(after=0, limit=100) if each.kind == STATUS_REPORT]
        assert max(sizes) < 60_000
