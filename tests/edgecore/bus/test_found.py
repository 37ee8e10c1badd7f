"""What speaks on a broker and is no Device yet, as objects to apply."""

from __future__ import annotations

import json
from typing import Any

from devices.mqtt.discovery import Place
from edgecore.bus.found import BYTES_MAX, discovery_shown, known_of, mapper_filters
from edgecore.bus.topics import parse_topic
from skerry.objects.json import JsonObject, dig, maps_at, strs_at

PLACE = Place(node="eu-1", namespace="plant", protocol={})
NONE = known_of([])
FAN = {
    "dev": {"ids": "0x01", "name": "Hall fan", "mf": "Aqara"},
    "o": {"name": "fan2mqtt"},
    "cmps": {
        "rpm": {"p": "sensor", "stat_t": "hall/fan", "val_tpl": "{{ value_json.rpm }}"},
        "on": {"p": "switch", "stat_t": "hall/fan", "val_tpl": "{{ value_json.on }}", "cmd_t": "hall/fan/set"},
    },
}


def shown(documents: dict[str, Any], known: Any = NONE) -> JsonObject:
    encoded = {
        topic: said if isinstance(said, bytes) else json.dumps(said).encode() for topic, said in documents.items()
    }
    return discovery_shown(encoded, prefix="homeassistant", place=PLACE, known=known)


def twin(**entries: Any) -> JsonObject:
    return {"event_id": "1", "timestamp": 0, "twin": entries}


def test_a_device_of_home_assistants_is_told_with_its_objects() -> None:
    told = shown({"homeassistant/device/0x01/config": FAN})
    (fan,) = maps_at(told, "devices")
    assert (fan["name"], fan["namespace"], fan["source"]) == ("hall-fan", "plant", "Home Assistant")
    assert (fan["properties"], fan["writable"], fan["says"]) == (["rpm", "on"], 1, "0x01 Aqara")
    model, device = maps_at(fan, "objects")
    assert (model["kind"], device["kind"]) == ("DeviceModel", "Device")
    assert dig(device, "spec", "nodeName") == "eu-1"
    assert dig(device, "spec", "protocol", "configData") == {}, "the gateway's own broker is meant"
    assert told["leftOut"] == [] and told["known"] == 0


def test_what_reports_in_kubeedges_topics_becomes_a_device_that_waits_for_its_mapper() -> None:
    update = "$hw/events/device/{}/twin/update"
    told = shown(
        {
            update.format("default/lamp"): twin(
                level={"actual": {"value": "21"}, "metadata": {"type": "int"}},
                text={"actual": {"value": "1"}, "expected": {"value": "2"}},
            ),
            update.format("old"): twin(on={"actual": {"value": "true"}, "metadata": {"type": "Boolean"}}),
            "$hw/events/device/quiet/state/update": {"state": "online"},
        }
    )
    lamp, old = maps_at(told, "devices")
    assert (lamp["name"], lamp["namespace"], lamp["source"], lamp["says"]) == (
        "lamp", "default", "KubeEdge", "reports 2 properties",
    )  # fmt: skip
    model, device = maps_at(lamp, "objects")
    assert maps_at(model, "spec", "properties") == [
        {"name": "level", "type": "INT", "accessMode": "ReadOnly"},
        {"name": "text", "type": "STRING", "accessMode": "ReadWrite"},
    ]
    assert dig(device, "spec", "protocol") == {"protocolName": "customized"}
    assert (old["namespace"], maps_at(maps_at(old, "objects")[0], "spec", "properties")[0]["type"]) == (
        "plant",
        "BOOLEAN",
    )
    assert told["leftOut"] == ["plant/quiet: it told its state, and no property"]


def test_what_is_a_device_already_is_counted_and_not_told() -> None:
    documents = {
        "homeassistant/device/0x01/config": FAN,
        "$hw/events/device/default/lamp/twin/update": twin(level={"actual": {"value": "21"}}),
    }
    objects = [obj for each in maps_at(shown(documents), "devices") for obj in maps_at(each, "objects")]
    devices = [obj for obj in objects if obj["kind"] == "Device"]
    assert shown(documents, known_of(devices)) == {"devices": [], "known": 2, "leftOut": []}
    for device in devices:  # under another name it is the same device as long as its topics are
        device["metadata"] = {"name": "mine", "namespace": "plant"}
    assert [each["name"] for each in maps_at(shown(documents, known_of(devices)), "devices")] == ["lamp"]


def test_what_makes_no_sense_is_left_out_with_the_reason() -> None:
    update = "$hw/events/device/{}/twin/update"
    told = shown(
        {
            update.format("Lamp"): twin(a={}),
            update.format("torn"): b"{",
            update.format("empty"): {"timestamp": 0},
            update.format("odd"): twin(**{"a b": {}}),
            update.format("list"): [1],
            "homeassistant/sensor/x/config": b"[]",
        }
    )
    assert told["devices"] == []
    lines = " ".join(strs_at(told, "leftOut"))
    for why in ("lower-case letters", "is not JSON", "has no twin", "no model can have", "not a JSON object"):
        assert why in lines


def test_an_answer_has_a_bound_and_says_what_is_more() -> None:
    big = {f"p{number}": {"actual": {"value": "1"}} for number in range(300)}
    told = shown({f"$hw/events/device/d{number}/twin/update": twin(**big) for number in range(60)})
    count = len(maps_at(told, "devices"))
    assert 0 < count < 60 and len(json.dumps(told)) < BYTES_MAX * 1.1
    assert strs_at(told, "leftOut")[0] == f"{60 - count} more devices: apply these first, and ask again"
    wrong = shown({f"$hw/events/device/D{number}/twin/update": twin() for number in range(500)})
    assert len(strs_at(wrong, "leftOut")) == 201 and strs_at(wrong, "leftOut")[-1] == "300 more"


def test_only_what_reports_is_listened_to() -> None:
    for topic in mapper_filters("eu-1"):
        assert parse_topic(topic.replace("+", "x"), "eu-1") is not None
        assert topic.endswith(("/twin/update", "/state/update"))
    assert len(mapper_filters("eu-1")) == 4
