"""Device rules between the cloud and the gateway that carries them out: held there, and told of here."""

from __future__ import annotations

from typing import Any

from cloudcore.hub.bounds import BoundSettings
from cloudcore.hub.hub import HubSettings
from edgecore.store.port import NewReport
from skerry.objects.conditions import condition_of
from skerry.objects.device_rule_reports import (
    ALARM_REPORT,
    ALARMS_KEPT,
    DEVICE_RULES,
    STATUS_REPORT,
    RuleAlarm,
    RuleStatus,
)
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, uid_of
from tests.cloudcore.hub.fleet import SETTINGS, Fleet, Gateway, a_fleet, eventually

SPEC: JsonObject = {"nodeName": "eu-1", "when": "true", "actions": [{"alarm": {"message": "m"}}]}


async def tell(gateway: Gateway, uid: str, **status: Any) -> None:
    told = RuleStatus(namespace="ns", name="x", uid=uid, status={**status})
    await gateway.tell("state", STATUS_REPORT, uid, told.encode())


def alarm(uid: str, number: int) -> NewReport:
    told = RuleAlarm(
        namespace="ns",
        name="x",
        uid=uid,
        severity="Critical",
        message=f"hot {number}",
        number=number,
        index=0,
        at_ms=0,
    )
    return NewReport(report_class="alarm", kind=ALARM_REPORT, key="", body=told.encode())


async def raise_alarm(gateway: Gateway, uid: str, number: int) -> None:
    report = alarm(uid, number)
    await gateway.tell(report.report_class, report.kind, report.key, report.body)


async def told(gateway: Gateway) -> None:
    await eventually(lambda: not gateway.store.outbox(after=0, limit=1), "the cloud has it")


def status(fleet: Fleet) -> Any:
    found: Any = fleet.now(DEVICE_RULES, "x") or {}
    return found.get("status", {})


async def put(fleet: Fleet, node: str) -> None:
    """The cloud puts a rule that follows its device on a gateway."""
    kind, key = fleet.kind(DEVICE_RULES), Key(DEVICE_RULES, "ns", "x")
    await fleet.objects.update(kind, key, lambda held: {**held, "status": {"nodeName": node}}, subresource="status")


def events(fleet: Fleet) -> list[Any]:
    found: list[Any] = [fleet.cache.obj(stored) for stored in fleet.cache.select("events")]
    return [each for each in found if each["involvedObject"]["kind"] == "DeviceRule"]


async def test_a_gateway_holds_its_device_rules_and_no_others() -> None:
    async with a_fleet() as fleet:
        await fleet.create(DEVICE_RULES, "x", spec=SPEC)
        await fleet.create(DEVICE_RULES, "y", spec={**SPEC, "nodeName": "eu-2"})
        async with fleet.gateway() as gateway:
            await eventually(lambda: gateway.holds(DEVICE_RULES, "x"))
            assert not gateway.holds(DEVICE_RULES, "y")
            await fleet.update(DEVICE_RULES, "x", lambda obj: {**obj, "spec": {**SPEC, "nodeName": "eu-2"}})
            await eventually(lambda: not gateway.holds(DEVICE_RULES, "x"))


async def test_what_its_gateway_tells_of_a_rule_is_its_status() -> None:
    async with a_fleet() as fleet:
        uid = uid_of(await fleet.create(DEVICE_RULES, "x", spec=SPEC))
        async with fleet.gateway() as gateway:
            ready: JsonObject = {"status": "True", "reason": "Works", "message": "fine"}
            await tell(gateway, uid, ready=ready, active=True, firings=2)
            await told(gateway)
            assert (status(fleet)["active"], status(fleet)["firings"]) == (True, 2)
            assert "ready" not in status(fleet)
            since: Any = condition_of(fleet.now(DEVICE_RULES, "x") or {}, "Ready")
            assert (since["status"], since["reason"]) == ("True", "Works")
            await raise_alarm(gateway, uid, 1)
            await tell(gateway, uid, ready=ready, active=False, firings=3)
            await told(gateway)
            assert (status(fleet)["active"], status(fleet)["firings"], status(fleet)["alarmCount"]) == (False, 3, 1)
            assert condition_of(fleet.now(DEVICE_RULES, "x") or {}, "Ready") == since


async def test_a_gateway_speaks_for_its_own_rules_alone() -> None:
    async with a_fleet() as fleet:
        uid = uid_of(await fleet.create(DEVICE_RULES, "x", spec={**SPEC, "nodeName": "eu-2"}))
        async with fleet.gateway() as gateway:
            await tell(gateway, uid, active=True)
            await tell(gateway, "another life", active=True)
            await raise_alarm(gateway, uid, 1)
            await told(gateway)
        assert not status(fleet)
        assert fleet.hub.bounds.refusals == {"message-rule": 1}


async def test_alarms_are_kept_with_the_rule_and_are_events_once_however_often_the_link_is_cut() -> None:
    async with a_fleet() as fleet:
        uid = uid_of(await fleet.create(DEVICE_RULES, "x", spec=SPEC))
        async with fleet.gateway() as gateway:
            for number in range(1, ALARMS_KEPT + 6):
                await raise_alarm(gateway, uid, number)
                if number % 7 == 0 and gateway.wire is not None:
                    gateway.wire.cut()
            await told(gateway)
        assert status(fleet)["alarmCount"] == ALARMS_KEPT + 5
        assert [each["message"] for each in status(fleet)["alarms"]] == [
            f"hot {number}" for number in range(6, ALARMS_KEPT + 6)
        ]
        found = events(fleet)
        assert sorted(each["message"] for each in found) == sorted(f"hot {n}" for n in range(1, ALARMS_KEPT + 6))
        event = next(each for each in found if each["message"] == "hot 1")
        assert (event["reason"], event["type"], event["message"]) == ("CriticalAlarm", "Warning", "hot 1")
        assert event["involvedObject"]["kind"] == "DeviceRule"


async def test_an_alarm_for_whose_event_there_is_no_room_is_kept_with_the_rule() -> None:
    settings = HubSettings(
        sync=SETTINGS.sync, liveness=SETTINGS.liveness, places=SETTINGS.places, bounds=BoundSettings(events_max=0)
    )
    async with a_fleet(settings=settings) as fleet:
        uid = uid_of(await fleet.create(DEVICE_RULES, "x", spec=SPEC))
        async with fleet.gateway() as gateway:
            await raise_alarm(gateway, uid, 1)
            await told(gateway)
        assert status(fleet)["alarmCount"] == 1
        assert not events(fleet)


async def test_alarms_of_a_rule_that_was_made_again_are_events_of_their_own() -> None:
    async with a_fleet() as fleet:
        async with fleet.gateway() as gateway:
            for _ in range(2):
                uid = uid_of(await fleet.create(DEVICE_RULES, "x", spec=SPEC))
                for _ in range(2):  # halted twice, after one firing
                    await raise_alarm(gateway, uid, 1)
                await told(gateway)
                await fleet.objects.delete(fleet.kind(DEVICE_RULES), Key(DEVICE_RULES, "ns", "x"))
        assert len(events(fleet)) == 4


async def test_a_rule_that_follows_its_device_is_held_and_told_of_where_the_cloud_put_it() -> None:
    follows: JsonObject = {
        "when": "t > 1",
        "values": [{"name": "t", "device": "boiler", "property": "temp"}],
        "actions": [{"alarm": {"message": "m"}}],
    }
    async with a_fleet() as fleet:
        uid = uid_of(await fleet.create(DEVICE_RULES, "x", spec=follows))
        await put(fleet, "eu-1")
        async with fleet.gateway() as gateway:
            await eventually(lambda: gateway.holds(DEVICE_RULES, "x"))
            await tell(gateway, uid, active=True, nodeName="us-9")
            await told(gateway)
            assert (status(fleet)["active"], status(fleet)["nodeName"]) == (True, "eu-1")
            await put(fleet, "us-1")
            await eventually(lambda: not gateway.holds(DEVICE_RULES, "x"))
            await tell(gateway, uid, active=True)
            await raise_alarm(gateway, uid, 1)
            await told(gateway)
            assert status(fleet) == {"nodeName": "us-1"}, "a gateway that never had the device"
            await fleet.had_device("eu-1", "old", "boiler")
            await tell(gateway, uid, active=True)
            await raise_alarm(gateway, uid, 2)
            await told(gateway)
        assert "active" not in status(fleet), "it is another gateway's to tell now"
        assert (status(fleet)["alarmCount"], len(events(fleet))) == (1, 1)
