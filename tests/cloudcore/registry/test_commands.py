"""Commands as they are given: found, numbered, and for good."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from cloudcore.registry.admission import STEPS
from cloudcore.registry.commands import IssuedCommands
from cloudcore.registry.port import WriteOptions
from skerry.authz.attributes import Actor
from skerry.errors import InvalidError
from skerry.objects.commands import INCARNATION
from skerry.objects.json import Json, JsonObject, clone, map_at, str_at
from tests.cloudcore.worlds import World, make_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(*STEPS, IssuedCommands("e1"), real_rules=True) as made:
        await made.create("namespaces", {"metadata": {"name": "d"}})
        await made.create("serviceaccounts", {"metadata": {"name": "default"}})
        await made.create("nodes", {"metadata": {"name": "eu-1", "annotations": {INCARNATION: "one"}}})
        await made.create("nodes", {"metadata": {"name": "new"}})
        await made.create("devices.devices.kubeedge.io", boiler())
        await made.create("pods", web())
        yield made


def boiler(name: str = "boiler", node: str = "eu-1") -> JsonObject:
    return {
        "metadata": {"name": name},
        "spec": {
            "deviceModelRef": {"name": "m"},
            "nodeName": node,
            "methods": [
                {"name": "ignite", "propertyNames": ["power", "flame"]},
                {"name": "tune", "propertyNames": ["spare"]},
            ],
        },
    }


def web() -> JsonObject:
    spec: JsonObject = {"nodeName": "eu-1", "containers": [{"name": "c", "image": "x"}]}
    return {"metadata": {"name": "web"}, "spec": spec}


def command(action: JsonObject, **spec: str | int | bool) -> JsonObject:
    return {"metadata": {"name": "c"}, "spec": {"action": action, **spec}}


IGNITE: JsonObject = {"deviceMethod": {"device": "boiler", "method": "ignite", "parameters": {"power": "3"}}}


async def test_a_command_learns_its_node_its_defaults_and_what_it_is_about(world: World) -> None:
    kind = world.kind("commands.skerry.dev")
    made = (await world.objects.create(kind, "d", command(IGNITE), WriteOptions(actor=Actor(name="ann")))).obj
    device = world.get("devices.devices.kubeedge.io", "boiler")
    spec, issued = map_at(made, "spec"), map_at(made, "spec", "issued")
    assert (spec["nodeName"], spec["expiresAfterSeconds"], spec["timeoutSeconds"]) == ("eu-1", 3600, 60)
    assert spec["ttlSecondsAfterFinished"] == 86_400
    assert issued["by"] == "ann" and issued["epoch"] == "e1" and issued["incarnation"] == "one"
    assert issued["targetUID"] == device["metadata"]["uid"]
    assert str_at(made, "status", "phase") == "Pending"


async def test_what_the_server_writes_can_not_be_said_by_a_client(world: World) -> None:
    said = command(IGNITE)
    map_at(said, "spec")["issued"] = {"by": "root", "incarnation": "mine", "time": "1970-01-01T00:00:00Z"}
    made = await world.create("commands.skerry.dev", said)
    assert made["spec"]["issued"]["incarnation"] == "one" and made["spec"]["issued"]["by"] != "root"


@pytest.mark.parametrize(
    ("action", "spec", "said"),
    [
        ({}, {}, "spec.action: Required value: must have exactly one of deviceMethod"),
        (
            {**IGNITE, "imagePull": {"image": "x"}},
            {},
            'spec.action: Invalid value: ["deviceMethod","imagePull"]: must have exactly one',
        ),
        ({"deviceRefresh": {"device": "x"}}, {}, 'spec.action.deviceRefresh.device: Not found: "x"'),
        (
            {"deviceMethod": {"device": "boiler", "method": "fly"}},
            {},
            'spec.action.deviceMethod.method: Invalid value: "fly": the device\'s methods are: ignite, tune',
        ),
        (
            {"deviceMethod": {"device": "boiler", "method": "ignite", "parameters": {"x": "1"}}},
            {},
            'spec.action.deviceMethod.parameters[x]: Invalid value: "1": the method\'s parameters are: power, flame',
        ),
        (
            {"podRestart": {"pod": "web", "container": "z"}},
            {},
            'spec.action.podRestart.container: Invalid value: "z": the pod has c',
        ),
        (
            IGNITE,
            {"nodeName": "new"},
            'spec.nodeName: Invalid value: "new": what the command is about is on node eu-1',
        ),
        ({"imagePull": {"image": "x"}}, {"nodeName": "new"}, "its gateway was never heard by this cloud"),
        ({"imagePull": {"image": "x"}}, {"nodeName": "none"}, 'spec.nodeName: Not found: "none"'),
        ({"imagePull": {"image": "x"}}, {}, "spec.nodeName: Required value"),
        ({"imagePull": {"image": ""}}, {"nodeName": "eu-1"}, "spec.action.imagePull.image: Required value"),
        (IGNITE, {"expiresAfterSeconds": 0}, "spec.expiresAfterSeconds: Invalid value: 0: must be from 1 to 2592000"),
        (IGNITE, {"timeoutSeconds": 4000}, "spec.timeoutSeconds: Invalid value: 4000: must be from 1 to 3600"),
        (IGNITE, {"cancel": True}, "spec.cancel: Forbidden"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_the_name_of_its_field(
    world: World, action: JsonObject, spec: dict[str, str | int | bool], said: str
) -> None:
    with pytest.raises(InvalidError, match=re.escape(said)):
        await world.create("commands.skerry.dev", command(action, **spec))


async def test_a_device_that_is_on_no_node_can_not_be_commanded(world: World) -> None:
    await world.create("devices.devices.kubeedge.io", boiler("loose", ""))
    with pytest.raises(InvalidError, match="is on no node yet"):
        await world.create("commands.skerry.dev", command({"deviceRefresh": {"device": "loose"}}))


async def test_a_command_stays_what_it_was_but_for_being_cancelled(world: World) -> None:
    await world.create("commands.skerry.dev", command(IGNITE))

    def changed(**fields: object) -> object:
        return lambda obj: {**clone(obj), "spec": {**obj["spec"], **fields}}

    with pytest.raises(InvalidError, match=r"can't be changed but for spec\.cancel"):
        await world.update("commands.skerry.dev", "c", changed(expiresAfterSeconds=7200))
    with pytest.raises(InvalidError, match="can't be changed"):
        await world.update("commands.skerry.dev", "c", changed(issued={}))
    assert (await world.update("commands.skerry.dev", "c", changed(cancel=True)))["spec"]["cancel"] is True
    with pytest.raises(InvalidError, match="can't be taken up again"):
        await world.update("commands.skerry.dev", "c", changed(cancel=False))


def model() -> JsonObject:
    properties: list[Json] = [
        {"name": "power", "type": "INT", "minimum": "0", "maximum": "10", "visitors": {}},
        {"name": "flame", "type": "BOOLEAN", "accessMode": "ReadOnly", "visitors": {}},
        {"name": "spare", "type": "INT"},
    ]
    return {"metadata": {"name": "m"}, "spec": {"properties": properties}}


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (
            {"deviceMethod": {"device": "boiler", "method": "ignite", "parameters": {"power": "11"}}},
            'spec.action.deviceMethod.parameters[power]: Invalid value: "11": 11 is above the maximum of 10',
        ),
        (
            {"deviceMethod": {"device": "boiler", "method": "ignite", "parameters": {"power": "much"}}},
            "spec.action.deviceMethod.parameters[power]: Invalid value: \"much\": 'much' is not an INT",
        ),
        (
            {"deviceMethod": {"device": "boiler", "method": "ignite", "parameters": {"flame": "true"}}},
            'spec.action.deviceMethod.parameters[flame]: Invalid value: "true": flame is read-only',
        ),
        (
            {"deviceMethod": {"device": "boiler", "method": "tune"}},
            'Invalid value: "tune": the method names spare; the device\'s properties are: power, flame',
        ),
        (
            {"deviceRefresh": {"device": "boiler", "properties": ["power", "bogus"]}},
            'deviceRefresh.properties[1]: Invalid value: "bogus": the device\'s properties are: power, flame',
        ),
    ],
)
async def test_what_the_device_s_model_does_not_have_is_refused_when_the_command_is_given(
    world: World, action: JsonObject, said: str
) -> None:
    await world.create("devicemodels.devices.kubeedge.io", model())
    with pytest.raises(InvalidError, match=re.escape(said)):
        await world.create("commands.skerry.dev", command(action))


async def test_what_the_model_has_is_taken(world: World) -> None:
    await world.create("devicemodels.devices.kubeedge.io", model())
    await world.create("commands.skerry.dev", command(IGNITE))
    refresh: JsonObject = {"deviceRefresh": {"device": "boiler", "properties": ["power"]}}
    await world.create("commands.skerry.dev", {**command(refresh), "metadata": {"name": "again"}})


async def test_without_a_model_the_gateway_decides(world: World) -> None:
    await world.create(
        "commands.skerry.dev", command({"deviceRefresh": {"device": "boiler", "properties": ["bogus"]}})
    )
