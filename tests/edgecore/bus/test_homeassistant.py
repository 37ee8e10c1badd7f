"""What Home Assistant is told of a device, and what it may want of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from devices.mqtt.port import Delivery, Hooks, Outgoing
from edgecore.bus import homeassistant
from edgecore.bus.announcer import Announcer, AnnouncerParts
from edgecore.bus.homeassistant import Topics
from edgecore.store.port import EdgeBatch
from skerry.errors import InvalidError
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.twins import Reported, TwinState
from tests.edgecore.bus.stage import BOILER, LAMP, Stage, device, playing

TOPICS = Topics(prefix="homeassistant", node="eu-1", device=Key("d", "default", "hall.1"))


def entity(**over: Any) -> dict[str, Any]:
    """The entity of a property `x` of this model, whose instance has the visitor `visitor`."""
    visitor = over.pop("visitor", {})
    annotation = over.pop("annotation", {})
    model: JsonObject = {"spec": {"properties": [{"name": "x", "visitors": {}, **over}]}}
    placed: JsonObject = {"spec": {"properties": [{"name": "x", "visitors": {"configData": visitor}}]}}
    document = homeassistant.document(TOPICS, placed, model, annotation, "v1")
    return json.loads(document)["components"]["x"] if document else {}


@pytest.mark.parametrize(
    ("prop", "expects"),
    [
        ({"type": "BOOLEAN", "accessMode": "ReadOnly"}, {"platform": "binary_sensor", "payload_on": "true"}),
        ({"type": "BOOLEAN"}, {"platform": "switch", "state_on": "true", "payload_off": "false"}),
        (
            {"type": "FLOAT", "accessMode": "ReadOnly", "unit": "°C"},
            {"platform": "sensor", "device_class": "temperature", "state_class": "measurement"},
        ),
        (
            {"type": "INT", "accessMode": "ReadOnly", "unit": "kWh"},
            {"device_class": "energy", "state_class": "total", "unit_of_measurement": "kWh"},
        ),
        (
            {"type": "FLOAT", "minimum": "-5.5", "maximum": "90"},
            {"platform": "number", "min": -5.5, "max": 90, "step": 0.001, "mode": "box"},
        ),
        ({"type": "INT", "minimum": "", "maximum": "wide"}, {"min": -1_000_000_000, "max": 1_000_000_000, "step": 1}),
        ({"type": "STRING", "accessMode": "ReadOnly"}, {"platform": "sensor"}),
        ({"type": "STRING"}, {"platform": "text", "max": 255}),
        (
            {"type": "STRING", "visitor": {"values": {"0": "off", "1": "heat", "2": "heat"}}},
            {"platform": "select", "options": ["off", "heat"]},
        ),
        ({"type": "BOOLEAN", "annotation": {"x": {"platform": "button"}}}, {"payload_press": "true"}),
        (
            {"type": "FLOAT", "unit": "%", "annotation": {"x": {"device_class": "humidity"}}},
            {"device_class": "humidity"},
        ),
    ],
)
def test_a_property_becomes_the_entity_that_its_type_and_access_allow(
    prop: dict[str, Any], expects: dict[str, Any]
) -> None:
    made = entity(**prop)
    assert {name: made.get(name) for name in expects} == expects
    writable = prop.get("accessMode") != "ReadOnly"
    assert made.get("command_topic") == ("skerry/eu-1/default/hall.1/x/set" if writable else None)
    assert made["unique_id"] == "skerry_default_hall_1_x"
    if made["platform"] == "button":
        assert not [name for name in made if name.startswith(("state", "value_", "payload_o"))]


def test_a_text_has_no_class_and_what_is_left_out_is_not_there() -> None:
    assert "state_class" not in entity(type="STRING", accessMode="ReadOnly")
    assert entity(type="INT", annotation={"x": None}) == {}


def test_a_document_has_what_home_assistant_requires() -> None:
    model: JsonObject = {"spec": {"properties": [{"name": "x", "type": "INT", "visitors": {}}]}}
    document = homeassistant.document(TOPICS, {"metadata": {"uid": "u1"}, "spec": {}}, model, {}, "v1")
    assert document is not None and TOPICS.config == "homeassistant/device/skerry_default_hall_1/config"
    said = json.loads(document)
    assert said["device"]["identifiers"] == ["skerry_default_hall_1"] and said["device"]["name"] == "hall.1"
    assert said["origin"] == {"name": "skerry", "sw_version": "v1"}
    assert [each["topic"] for each in said["availability"]] == [
        "skerry/eu-1/presence",
        "skerry/eu-1/default/hall.1/availability",
    ]
    assert homeassistant.is_ours(document, "eu-1") and not homeassistant.is_ours(document, "eu-2")
    assert not homeassistant.is_ours(b"rubbish", "eu-1")


def reported(value: str | None, quality: Any = "good") -> TwinState:
    held = Reported(value=value, type="", unit="", quality=quality, reason="", source_ms=1, gateway_ms=1, synced=True)
    return TwinState(uid="u", reported=held)


def test_only_what_holds_now_is_a_value() -> None:
    types = {"a": "FLOAT", "b": "BOOLEAN", "c": "STRING", "d": "INT", "e": "INT", "f": "BYTES", "g": "INT"}
    twins = {
        "a": reported("21.5"),
        "b": reported("true", "uncertain"),
        "c": reported("on"),
        "d": reported("7", "stale"),
        "e": reported(None, "bad"),
        "f": reported("AAE="),
    }
    assert json.loads(homeassistant.state(types, twins)) == {
        "a": 21.5,
        "b": True,
        "c": "on",
        "d": None,
        "e": None,
        "f": "AAE=",
        "g": None,
    }


@pytest.mark.parametrize("text", ["{", "7", '{"x": 7}', "true"])
def test_an_annotation_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        homeassistant.overrides_of({"metadata": {"annotations": {homeassistant.ANNOTATION: text}}})


def test_a_device_may_be_kept_from_home_assistant() -> None:
    assert homeassistant.overrides_of({"metadata": {"annotations": {homeassistant.ANNOTATION: "false"}}}) is None
    assert homeassistant.overrides_of({}) == {}


@dataclass
class Home:
    """Home Assistant and its broker."""

    version: int = 5
    hooks: Hooks | None = None
    held: dict[str, bytes] = field(default_factory=dict[str, bytes])
    told: list[str] = field(default_factory=list[str])
    acknowledged: list[int] = field(default_factory=list[int])
    topics: set[str] = field(default_factory=set[str])

    def open(self, hooks: Hooks) -> Home:
        self.hooks = hooks
        return self

    def start(self) -> None:
        assert self.hooks is not None
        self.hooks.connected(False)

    async def stop(self) -> None:
        pass

    def subscribe(self, topics: set[str]) -> None:
        self.topics = topics

    def acknowledge(self, delivery: Delivery) -> bool:
        self.acknowledged.append(delivery.mid)
        return True

    async def settled(self, *, timeout_s: float) -> bool:
        return True

    async def publish(self, message: Outgoing, *, timeout_s: float) -> bool:
        assert message.retain
        self.told.append(message.topic)
        self.held[message.topic] = message.payload
        return True

    def says(self, topic: str, payload: str, *, mid: int = 1, retained: bool = False) -> None:
        assert self.hooks is not None
        self.hooks.delivered(
            Delivery(
                life=1, mid=mid, topic=topic, payload=payload.encode(), qos=1, retained=retained, redelivered=False
            )
        )

    def json(self, topic: str) -> Any:
        return json.loads(self.held.get(topic) or b"null")


@asynccontextmanager
async def home(held: dict[str, bytes] | None = None) -> AsyncGenerator[tuple[Stage, Home]]:
    async with playing() as stage:
        made = Home(held=dict(held or {}))
        announcer = Announcer(
            AnnouncerParts(
                prefix="homeassistant",
                node="eu-1",
                version="v1",
                store=stage.store,
                twins=stage.keeper,
                open=made.open,
            )
        )
        task = asyncio.create_task(announcer.run())
        await stage.until(lambda: made.topics)
        for topic, payload in (held or {}).items():
            made.says(topic, payload.decode(), retained=True)
        yield stage, made
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


ROOT = "skerry/eu-1/default/boiler"
DOCUMENT = "homeassistant/device/skerry_default_boiler/config"


async def test_a_device_is_announced_with_its_values_and_whether_it_is_there() -> None:
    async with home() as (stage, made):
        await stage.until(lambda: made.json(f"{ROOT}/state") == {"level": 20, "name": None})
        assert made.json(DOCUMENT)["components"]["level"]["platform"] == "number"
        await stage.until(lambda: made.held.get(f"{ROOT}/availability") == b"online")
        assert made.held["skerry/eu-1/default/lamp/availability"] == b"offline"
        count = made.told.count(DOCUMENT)
        made.says("homeassistant/status", "online")
        await stage.until(lambda: made.told.count(DOCUMENT) == count + 1)


async def test_a_command_is_wanted_by_the_edge_and_an_old_one_is_not() -> None:
    async with home() as (stage, made):
        made.says(f"{ROOT}/level/set", "40", mid=2, retained=True)
        made.says(f"{ROOT}/level/set", "95", mid=3)
        made.says(f"{ROOT}/level/set", "30", mid=4)
        made.says("skerry/eu-1/default/nobody/level/set", "1", mid=5)
        await stage.until(lambda: made.json(f"{ROOT}/state") == {"level": 30, "name": None})
        assert made.acknowledged == [2, 3, 4, 5]
        desired = stage.twin(BOILER).desired
        assert desired is not None and (desired.value, desired.origin, str(desired.ver)) == (
            "30",
            "homeassistant",
            "0.1",
        )


async def test_what_went_is_removed_also_when_it_went_while_the_agent_was_down() -> None:
    theirs = json.dumps({"origin": {"name": "Zigbee2MQTT"}}).encode()
    gone = json.dumps({"origin": {"name": "skerry"}, "state_topic": "skerry/eu-1/default/fan/state"}).encode()
    other = replace(TOPICS, device=LAMP)
    assert other.config.endswith("lamp/config")
    held = {
        "homeassistant/device/z/config": theirs,
        "homeassistant/device/skerry_default_fan/config": gone,
    }
    async with home(held) as (stage, made):
        await stage.until(lambda: made.held["homeassistant/device/skerry_default_fan/config"] == b"")
        assert made.held["homeassistant/device/z/config"] == theirs
        await stage.until(lambda: made.held.get(DOCUMENT))
        await stage.store.apply(EdgeBatch(deletes=(BOILER,)))
        await stage.until(lambda: made.held[DOCUMENT] == b"")
        assert made.held[f"{ROOT}/state"] == b""


async def test_a_device_that_is_changed_is_announced_anew() -> None:
    async with home() as (stage, made):
        await stage.until(lambda: made.held.get(DOCUMENT))
        changed = device("boiler", "virtual", initial=20)
        changed["metadata"]["annotations"] = {homeassistant.ANNOTATION: "false"}  # type: ignore[index, call-overload]
        await stage.put(BOILER, changed)
        await stage.until(lambda: made.held[DOCUMENT] == b"")
