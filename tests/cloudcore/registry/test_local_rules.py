"""Device rules are checked when they are written, with what their devices say as far as those are there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloudcore.registry.admission import STEPS
from cloudcore.registry.local_rules import fitting_device_rules
from skerry.errors import InvalidError
from skerry.objects.device_rule_reports import DEVICE_RULES
from tests.cloudcore.worlds import World, make_world
from tests.edgecore.device_rules.samples import DEVICE, MODEL, PUMP_ON, obj

DEVICES, MODELS = "devices.devices.kubeedge.io", "devicemodels.devices.kubeedge.io"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(*STEPS, fitting_device_rules, real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": "d"}})
        yield made


def fresh(**more: Any) -> dict[str, Any]:
    made: Any = obj(**more)
    return {**made, "metadata": {"name": "x", "namespace": "d"}}


async def devices(world: World) -> None:
    model: Any = MODEL
    device: Any = DEVICE
    await world.create(MODELS, {"metadata": {"name": "m"}, "spec": model["spec"]})
    spec = {**device["spec"], "nodeName": "eu-1", "protocol": {"protocolName": "virtual"}}
    await world.create(DEVICES, {"metadata": {"name": "boiler"}, "spec": spec})


async def refused(world: World, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidError) as caught:
        await world.create(DEVICE_RULES, fresh(**more))
    return {cause.field: cause.message for cause in caught.value.causes}


async def test_a_rule_is_taken_before_its_devices_are_there(world: World) -> None:
    await world.create(DEVICE_RULES, fresh())
    assert world.names(DEVICE_RULES) == ["x"]


async def test_what_is_wrong_with_a_rule_by_itself_is_refused_at_once(world: World) -> None:
    found = await refused(world, when="t >", mode="Enforce", limit={"count": 0})
    assert "at character 4" in found["spec.when"]
    assert "spec.limit.count" in found


async def test_what_its_devices_do_not_take_is_refused_with_its_field(world: World) -> None:
    await devices(world)
    assert "never equal" in (await refused(world, when="t == 'hot'"))["spec.when"]
    wrong: Any = {"set": {"device": "boiler", "property": "temp", "value": "7"}}
    assert "read-only" in (await refused(world, actions=[wrong]))["spec.actions[0].set.value"]
    values = [{"name": "t", "device": "boiler", "property": "nothing"}]
    assert "no such property" in (await refused(world, values=values))["spec.values[0].property"]
    await world.create(DEVICE_RULES, fresh())


async def test_labels_can_be_written_when_its_devices_have_become_others(world: World) -> None:
    await world.create(
        DEVICE_RULES,
        fresh(when="t == 7", values=[{"name": "t", "device": "boiler", "property": "temp"}], actions=[PUMP_ON]),
    )
    model: Any = {"metadata": {"name": "m"}, "spec": {"properties": [{"name": "temp", "type": "STRING"}]}}
    await world.create(MODELS, model)
    device: Any = DEVICE
    spec = {**device["spec"], "properties": [{"name": "temp"}], "protocol": {"protocolName": "virtual"}}
    await world.create(DEVICES, {"metadata": {"name": "boiler"}, "spec": spec})
    kind = world.kind(DEVICE_RULES)
    await world.objects.update(
        kind,
        kind.key("d", "x"),
        lambda held: {**held, "metadata": {**held["metadata"], "labels": {"a": "b"}}},  # type: ignore[dict-item]
    )
    assert world.get(DEVICE_RULES, "x")["metadata"]["labels"] == {"a": "b"}
