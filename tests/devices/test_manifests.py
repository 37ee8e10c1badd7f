"""Device and model objects, read as one."""

from __future__ import annotations

import base64

import pytest

from devices.manifests import KnownDevice, device_config, known_devices
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

KEY = Key("devices.devices.kubeedge.io", "default", "d")


def model(**prop: object) -> JsonObject:
    made: JsonObject = {"name": "x", "type": "INT", **prop}  # pyright: ignore[reportAssignmentType]
    return {"metadata": {"name": "m", "namespace": "default"}, "spec": {"properties": [made]}}


def device(*props: JsonObject, protocol: str = "modbus", model: str = "m", **data: object) -> JsonObject:
    config: JsonObject = {**data}  # pyright: ignore[reportAssignmentType]
    return {
        "metadata": {"name": "d", "namespace": "default", "uid": "u"},
        "spec": {
            "deviceModelRef": {"name": model},
            "protocol": {"protocolName": protocol, "configData": config},
            "properties": [*props],
        },
    }


def test_the_instance_overrides_the_model() -> None:
    twin: JsonObject = {"tolerance": 0.5, "writeIntervalMs": 5000}
    of_model = model(
        minimum="1", maximum="", unit="C", accessMode="ReadOnly",
        visitors={"configData": {"register": "HoldingRegister", "offset": 1, "twin": twin}},
    )  # fmt: skip
    of_model["spec"]["protocolConfigData"] = {"timeoutMs": 5, "ip": "a"}  # pyright: ignore[reportIndexIssue, reportArgumentType, reportCallIssue, reportOptionalSubscript]
    prop: JsonObject = {
        "name": "x",
        "collectCycle": 250,
        "reportCycle": 5000,
        "visitors": {"configData": {"offset": 9}},
    }
    config = device_config(KEY, device(prop, ip="b"), {("default", "m"): of_model})
    assert config.protocol_config == {"timeoutMs": 5, "ip": "b"}
    (made,) = config.properties
    assert made.visitor == {"register": "HoldingRegister", "offset": 9}
    assert (made.minimum, made.maximum, made.unit, made.writable, made.collect_ms) == (1.0, None, "C", False, 250)
    assert made.twin.write_interval_ms == 5000
    assert (made.twin.tolerance, made.twin.silence_ms_max, made.twin.every_reading) == (0.5, 5000, False)


def test_a_property_that_the_instance_does_not_name_is_served_when_the_model_places_it() -> None:
    placed = model(visitors={"configData": {"address": "hr:0"}})
    assert len(device_config(KEY, device(), {("default", "m"): placed}).properties) == 1
    assert device_config(KEY, device(), {("default", "m"): model()}).properties == ()


def test_what_sensors_tell_by_themselves_is_all_kept() -> None:
    (made,) = device_config(KEY, device({"name": "x"}, protocol="MQTT"), {("default", "m"): model()}).properties
    assert made.twin.every_reading


@pytest.mark.parametrize(
    ("obj", "of_model", "says"),
    [
        (device(protocol=""), model(), "spec.protocol.protocolName: required"),
        (device(model=""), model(), "spec.deviceModelRef.name: required"),
        (device(model="other"), model(), "there is no DeviceModel 'other' in default"),
        (device({"name": "y"}), model(), "spec.properties[y]: not in DeviceModel 'm'"),
        (device({"name": "x"}), model(type="STREAM"), "STREAM is served by mappers only"),
        (device({"name": "x"}), model(type="COMPLEX"), "'COMPLEX' is not one of INT"),
        (device({"name": "x"}), model(minimum="low"), "minimum: must be a number"),
        (device({"name": "x", "collectCycle": 10**14}), model(), "collectCycle: must be a whole number"),
        (device({"name": "x", "reportCycle": 100_000_000}), model(), "milliseconds up to 86400000 (a day)"),
        (device({"name": "x", "visitors": {"configData": {"twin": {"policy": "x"}}}}), model(), "twin.policy"),
        (device({"name": "x", "visitors": {"configData": {"twin": {"deadband": -1}}}}), model(), "negative"),
        (device({"name": "x", "visitors": {"configData": {"twin": {"dead": 1}}}}), model(), "did you mean deadband?"),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_the_field(obj: JsonObject, of_model: JsonObject, says: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        device_config(KEY, obj, {("default", "m"): of_model})
    assert says in str(refusal.value)
    (known,) = known_devices([obj], {("default", "m"): of_model}).values()
    assert known.config is None and says in known.reason


def test_what_no_driver_here_speaks_is_left_to_a_mapper() -> None:
    of_model = model(type="STREAM")
    config = device_config(KEY, device({"name": "x"}, protocol="onvif", any=[1]), {("default", "m"): of_model})
    assert (config.protocol, config.named, config.properties) == ("external", "onvif", ())
    config = device_config(KEY, device({"name": "x"}, protocol="onvif", any=[1]), {("default", "m"): model()})
    assert [prop.name for prop in config.properties] == ["x"] and config.protocol_config == {"any": [1]}


@pytest.mark.parametrize(
    ("given", "collect_ms"), [(0, 1000), (5000, 5000), (86_400_000, 86_400_000), (10**10, 10_000)]
)
def test_a_cycle_that_can_be_nothing_but_nanoseconds_is_one(given: int, collect_ms: int) -> None:
    """As in KubeEdge's samples for its mappers before 1.16."""
    placed: JsonObject = {"name": "x", "collectCycle": given}
    (made,) = device_config(KEY, device(placed), {("default", "m"): model()}).properties
    assert made.collect_ms == collect_ms


def secret(type: str = "skerry.dev/device", **data: str) -> JsonObject:
    encoded: JsonObject = {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}
    return {"metadata": {"name": "s", "namespace": "default"}, "type": type, "data": encoded}


def with_secret(protocol: str, found: JsonObject | None) -> KnownDevice:
    obj: JsonObject = {
        "metadata": {"name": "one", "namespace": "default", "uid": "u"},
        "spec": {
            "deviceModelRef": {"name": "m"},
            "protocol": {"protocolName": protocol, "configData": {"url": "http://plc/", "secretRef": {"name": "s"}}},
            "properties": [],
        },
    }
    model: JsonObject = {"metadata": {"name": "m", "namespace": "default"}, "spec": {"properties": []}}

    def secrets(namespace: str, name: str) -> JsonObject | None:
        return found if (namespace, name) == ("default", "s") else None

    (known,) = known_devices([obj], {("default", "m"): model}, secrets).values()
    return known


def test_a_device_gets_what_is_in_its_secret_and_shows_it_to_nobody() -> None:
    known = with_secret("http", secret(token="t0ken"))
    assert known.config is not None and known.config.secret == {"token": b"t0ken"}
    assert known.config.protocol_config == {"url": "http://plc/"}
    assert "t0ken" not in repr(known)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "secretRef.name: there is no Secret 's' in default"),
        (secret("Opaque", token="t0ken"), "Secret 's' is not of type skerry.dev/device"),
        ({"type": "skerry.dev/device", "data": {"token": "%"}}, "not base64"),
    ],
)
def test_a_secret_that_is_not_for_devices_is_not_used(found: JsonObject | None, said: str) -> None:
    known = with_secret("http", found)
    assert known.config is None and said in known.reason


def test_a_mapper_reads_what_stands_in_its_devices_itself() -> None:
    known = with_secret("acme", None)
    assert known.config is not None and known.config.protocol_config["secretRef"] == {"name": "s"}
    assert known.config.secret == {}
