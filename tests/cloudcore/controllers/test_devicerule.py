"""Where rules are that name no gateway: with the device that they follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.devicerule.controller import DEVICES, DeviceRuleController
from skerry.objects.conditions import condition_of
from skerry.objects.device_rule_reports import DEVICE_RULES, with_status
from tests.cloudcore.worlds import World, make_world
from tests.edgecore.device_rules.samples import PUMP_ON


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


async def rule(world: World, **spec: Any) -> None:
    values = [{"name": "t", "device": "boiler", "property": "temp"}]
    made = {"values": values, "when": "t > 1.0", "actions": [{"alarm": {"message": "m"}}]} | spec
    await world.create(DEVICE_RULES, {"metadata": {"name": "x"}, "spec": made})


async def place(world: World, name: str, node: str) -> None:
    await world.create(DEVICES, {"metadata": {"name": name}, "spec": {"nodeName": node} if node else {}})


def told(world: World) -> tuple[str | None, str, str]:
    """Node, and the condition with its reason."""
    found = world.get(DEVICE_RULES, "x")
    ready: Any = condition_of(found, "Ready") or {"status": "", "reason": ""}
    return found.get("status", {}).get("nodeName"), ready["status"], ready["reason"]


async def test_a_rule_is_where_its_device_is_and_moves_with_it(world: World) -> None:
    controller = DeviceRuleController(world.tools)
    await place(world, "boiler", "eu-1")
    await rule(world)
    await world.settle(controller)
    assert told(world) == ("eu-1", "Unknown", "NotTold")
    ready = {"status": "True", "reason": "Works", "message": ""}
    await world.update(
        DEVICE_RULES,
        "x",
        lambda held: with_status(held, {"ready": ready, "firings": 3}, at_ms=1),  # type: ignore[dict-item]
        subresource="status",
    )
    await world.settle(controller)
    assert told(world) == ("eu-1", "True", "Works"), "what its gateway tells leaves it where it is"
    await world.set_spec(DEVICES, "boiler", nodeName="us-1")
    await world.settle(controller)
    assert told(world) == ("us-1", "Unknown", "NotTold")


async def test_a_rule_whose_device_is_nowhere_is_on_no_gateway_and_says_why(world: World) -> None:
    controller = DeviceRuleController(world.tools)
    await rule(world)
    await world.settle(controller)
    assert told(world) == ("", "False", "NoGateway")
    assert (
        "boiler, whose gateway it follows, is not there"
        in world.get(DEVICE_RULES, "x")["status"]["conditions"][0]["message"]
    )
    await place(world, "boiler", "")
    await world.settle(controller)
    assert "is on no gateway" in world.get(DEVICE_RULES, "x")["status"]["conditions"][0]["message"]
    await world.set_spec(DEVICES, "boiler", nodeName="eu-1")
    await world.settle(controller)
    assert told(world) == ("eu-1", "Unknown", "NotTold")
    await world.delete(DEVICES, "boiler")
    await world.settle(controller)
    assert told(world) == ("", "False", "NoGateway")


async def test_a_rule_without_values_follows_what_it_sets_and_one_that_names_its_gateway_nothing(
    world: World,
) -> None:
    controller = DeviceRuleController(world.tools)
    await place(world, "boiler", "eu-1")
    await place(world, "other", "us-1")
    await rule(world, values=[], when="true", actions=[{"alarm": {"message": "m"}}, PUMP_ON])
    await world.settle(controller)
    assert told(world)[0] == "eu-1"
    values = [{"name": "t", "device": "other", "property": "temp"}]
    await world.set_spec(DEVICE_RULES, "x", values=values)
    await world.settle(controller)
    assert told(world)[0] == "us-1"
    await world.set_spec(DEVICE_RULES, "x", nodeName="eu-9")
    await world.settle(controller)
    assert told(world)[0] is None


async def test_what_does_not_move_is_not_written(world: World) -> None:
    controller = DeviceRuleController(world.tools)
    await place(world, "boiler", "eu-1")
    await rule(world)
    await world.settle(controller)
    before = world.get(DEVICE_RULES, "x")["metadata"]["resourceVersion"]
    await world.set_spec(DEVICES, "boiler", labels={"a": "b"})
    await world.settle(controller)
    assert world.get(DEVICE_RULES, "x")["metadata"]["resourceVersion"] == before
