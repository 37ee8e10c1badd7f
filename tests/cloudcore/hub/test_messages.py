"""Messages from a gateway's outbox to the cloud's queue: through the real hub, link and registry, once each."""

from __future__ import annotations

from typing import Any

from cloudcore.hub.bounds import BoundSettings
from cloudcore.hub.hub import HubSettings
from skerry.objects.json import JsonObject
from skerry.objects.rules import MESSAGE, MESSAGES, RULES, RuleMessage
from tests.cloudcore.hub.fleet import SETTINGS, Fleet, Gateway, a_fleet, eventually

SPEC: JsonObject = {
    "source": "e",
    "sourceResource": {"topic": "t", "node_name": "eu-1"},
    "target": "r",
    "targetResource": {"resource": "http://a"},
}


async def tell(gateway: Gateway, payload: bytes, *, rule: str = "x", left_out: int = 0) -> None:
    told = RuleMessage(namespace="ns", rule=rule, topic="ns/t", payload=payload, left_out_bytes=left_out)
    await gateway.tell("message", MESSAGE, "", told.encode())


def waiting(fleet: Fleet) -> list[Any]:
    found: list[Any] = [fleet.cache.obj(stored) for stored in fleet.cache.select(MESSAGES)]
    return sorted(found, key=lambda each: each["spec"]["order"])


async def told(gateway: Gateway) -> None:
    await eventually(lambda: not gateway.store.outbox(after=0, limit=1), "the cloud has it")


async def test_messages_become_objects_of_their_rule_in_order() -> None:
    async with a_fleet() as fleet:
        made: Any = await fleet.create(RULES, "x", spec=SPEC)
        async with fleet.gateway() as gateway:
            for payload in (b"one", b"\xff\0"):
                await tell(gateway, payload)
            await told(gateway)
        first, second = waiting(fleet)
        assert (first["spec"]["payload"], second["spec"]["payloadBase64"]) == ("one", "/wA=")
        assert (first["spec"]["rule"], first["spec"]["nodeName"], first["spec"]["topic"]) == ("x", "eu-1", "ns/t")
        assert first["status"] == {"phase": "Pending"}
        assert first["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]


async def test_a_message_is_one_however_often_its_link_is_cut() -> None:
    async with a_fleet() as fleet:
        await fleet.create(RULES, "x", spec=SPEC)
        async with fleet.gateway() as gateway:
            for number in range(30):
                await tell(gateway, str(number).encode())
                if number % 7 == 0 and gateway.wire is not None:
                    gateway.wire.cut()
            await told(gateway)
        assert [each["spec"]["payload"] for each in waiting(fleet)] == [str(number) for number in range(30)]


async def test_a_gateway_speaks_for_its_own_rules_alone() -> None:
    async with a_fleet() as fleet:
        other: JsonObject = {**SPEC, "sourceResource": {"topic": "t", "node_name": "eu-2"}}
        await fleet.create(RULES, "x", spec=other)
        async with fleet.gateway() as gateway:
            await tell(gateway, b"one")
            await tell(gateway, b"two", rule="missing")
            await told(gateway)
        assert not waiting(fleet)
        assert fleet.hub.bounds.refusals == {"message-rule": 2}


async def test_what_was_too_large_is_counted_where_its_rule_is_looked_at() -> None:
    async with a_fleet() as fleet:
        await fleet.create(RULES, "x", spec=SPEC)
        async with fleet.gateway() as gateway:
            await tell(gateway, b"", left_out=9_000_000)
            await told(gateway)
        rule: Any = fleet.now(RULES, "x")
        assert rule["status"]["failMessages"] == 1
        assert "9000000 bytes was too large" in rule["status"]["errors"][0]
        assert not waiting(fleet)


async def test_beyond_the_room_of_a_node_messages_fail_and_are_counted() -> None:
    settings = HubSettings(
        sync=SETTINGS.sync, liveness=SETTINGS.liveness, places=SETTINGS.places, bounds=BoundSettings(messages_max=2)
    )
    async with a_fleet(settings=settings) as fleet:
        await fleet.create(RULES, "x", spec=SPEC)
        async with fleet.gateway() as gateway:
            for number in range(4):
                await tell(gateway, str(number).encode())
                await told(gateway)
        assert [each["spec"]["payload"] for each in waiting(fleet)] == ["0", "1"]
        rule: Any = fleet.now(RULES, "x")
        assert rule["status"]["failMessages"] == 2
        assert fleet.hub.bounds.refusals == {"message-room": 2}


async def test_messages_that_were_given_up_leave_the_room_of_their_node_to_new_ones() -> None:
    settings = HubSettings(
        sync=SETTINGS.sync, liveness=SETTINGS.liveness, places=SETTINGS.places, bounds=BoundSettings(messages_max=2)
    )
    async with a_fleet(settings=settings) as fleet:
        await fleet.create(RULES, "x", spec=SPEC)
        async with fleet.gateway() as gateway:
            for number in range(2):
                await tell(gateway, str(number).encode())
            await told(gateway)
            for each in waiting(fleet):
                await fleet.objects.update(
                    fleet.kind(MESSAGES),
                    fleet.kind(MESSAGES).key("ns", each["metadata"]["name"]),
                    lambda obj: {**obj, "status": {"phase": "Dead"}},
                    subresource="status",
                )
            await tell(gateway, b"new")
            await told(gateway)
        assert [each["spec"]["payload"] for each in waiting(fleet)] == ["0", "1", "new"]
        assert not fleet.hub.bounds.refusals


async def test_a_gateway_holds_its_rules_with_their_endpoints_and_learns_of_changes() -> None:
    async with a_fleet() as fleet:
        await fleet.create("ruleendpoints.rules.kubeedge.io", "e", spec={"ruleEndpointType": "eventbus"})
        await fleet.create(RULES, "x", spec=SPEC)
        await fleet.create(RULES, "down", spec={**SPEC, "sourceResource": {"path": "/a"}})
        async with fleet.gateway() as gateway:
            await eventually(lambda: gateway.holds(RULES, "x"))
            await eventually(lambda: gateway.holds("ruleendpoints.rules.kubeedge.io", "e"))
            assert not gateway.holds(RULES, "down")

            def moved(obj: JsonObject) -> JsonObject:
                return {**obj, "spec": {**SPEC, "sourceResource": {"topic": "t", "node_name": "eu-2"}}}

            await fleet.update(RULES, "x", moved)
            await eventually(lambda: not gateway.holds(RULES, "x"))
            await eventually(lambda: not gateway.holds("ruleendpoints.rules.kubeedge.io", "e"))
