"""What reports come to, and what a node may not say."""

from __future__ import annotations

from cloudcore.hub.effects import Outcome, Reporter, kinds_in
from cloudcore.hub.liveness import with_heard, with_silence
from cloudcore.registry.kinds import builtin_scheme
from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import Key
from skerry.objects.twins import (
    Desired,
    DeviceName,
    DeviceState,
    Hlc,
    Reported,
    Telemetry,
    TwinDesired,
    TwinReported,
    Vector,
    encode_device_state,
    encode_telemetry,
    encode_twin_desired,
    encode_twin_reported,
)
from skerry.sync.effects import DatedReport
from skerry.wire.frames import Report

AT_MS = 1_790_000_000_000
PLC = DeviceName(namespace="ns", name="plc", uid="uid-plc")
DEVICE: JsonObject = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "Device",
    "metadata": {"namespace": "ns", "name": "plc", "uid": "uid-plc"},
    "spec": {"nodeName": "eu-1", "properties": [{"name": "t"}]},
}


def outcome(kind: str, body: bytes, *, node: str = "eu-1", device: JsonObject | None = DEVICE) -> Outcome:
    def lookup(key: Key) -> JsonObject | None:
        return device if key == Key("devices.devices.kubeedge.io", "ns", "plc") else None

    reporter = Reporter(node=node, kinds=kinds_in(builtin_scheme()), lookup=lookup)
    report = Report(seq=1, kind=kind, key="", body=body, wall_ms=0, age_ms=0)
    return reporter.outcome(DatedReport(report=report, at_ms=AT_MS))


def told(device: DeviceName = PLC) -> bytes:
    reported = Reported(
        value="21.5", type="FLOAT", unit="C", quality="good", reason="", source_ms=AT_MS, gateway_ms=AT_MS
    )
    return encode_twin_reported(TwinReported(device=device, prop="t", reported=reported, observed=None, ack=None))


def telemetry(device: DeviceName = PLC) -> bytes:
    return encode_telemetry(
        Telemetry(device=device, prop="t", seq=1, value="1", type="INT", quality="good", reason="", source_ms=AT_MS)
    )


def test_a_reported_value_shows_in_the_device_status_and_the_device() -> None:
    status, device = outcome("twin_reported", told()).effects
    assert (status.kind.kind, status.uid) == ("DeviceStatus", ""), "made where it is absent"
    (twin,) = maps_at(status.transform({}), "status", "twins")
    assert str_at(twin, "reported", "value") == "21.5"
    assert (device.kind.kind, device.uid, device.subresource) == ("Device", "uid-plc", "status")
    (copy,) = maps_at(device.transform(DEVICE), "status", "twins")
    assert str_at(copy, "reported", "value") == "21.5"


def test_a_value_wanted_on_the_edge_is_merged_into_the_device() -> None:
    desired = Desired(
        value="7", ver=Vector(edge=1), hlc=Hlc(AT_MS, 0), side="edge", origin="local:uid 0", synced=True
    )
    body = encode_twin_desired(TwinDesired(device=PLC, prop="t", desired=desired, policy="newest"))
    (effect,) = outcome("twin_desired", body).effects
    (entry,) = maps_at(effect.transform(DEVICE), "spec", "properties")
    assert str_at(entry, "desired", "value") == "7"
    assert effect.subresource == ""


def test_a_devices_connection_shows_in_both() -> None:
    body = encode_device_state(DeviceState(device=PLC, state="offline", reason="unit 3 is silent", last_online_ms=0))
    effects = outcome("device_state", body).effects
    assert [str_at(effect.transform(DEVICE), "status", "state") for effect in effects] == ["offline", "offline"]


def test_a_device_of_another_node_or_of_another_life_is_not_spoken_for() -> None:
    other_life = DeviceName(namespace="ns", name="plc", uid="uid-older")
    assert outcome("twin_reported", told(), node="us-1") == Outcome()
    assert outcome("twin_reported", told(other_life)) == Outcome()
    assert outcome("twin_reported", told(), device=None) == Outcome()
    elsewhere: JsonObject = {**DEVICE, "spec": {"nodeName": "us-1"}}
    assert outcome("telemetry", telemetry(other_life), device=elsewhere) == Outcome()


def test_history_is_kept_of_devices_that_were_here() -> None:
    elsewhere: JsonObject = {**DEVICE, "spec": {"nodeName": "us-1"}}
    for device in (DEVICE, None, elsewhere):
        (record,) = outcome("telemetry", telemetry(), device=device).records
        assert (record.series, record.at_ms) == ("ns/plc/t", AT_MS)


def test_silence_and_hearing_change_ready_alone_and_only_once() -> None:
    node: JsonObject = {
        "status": {
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "EdgeReady"},
                {"type": "GatewayReady", "status": "True", "reason": "EdgeReady"},
                {"type": "DiskPressure", "status": "False"},
            ]
        }
    }
    assert with_heard(node, now_ms=AT_MS) is node
    silent = with_silence(node, now_ms=AT_MS)
    assert str_at(condition_of(silent, "Ready"), "status") == "Unknown"
    assert str_at(condition_of(silent, "DiskPressure"), "status") == "False"
    assert with_silence(silent, now_ms=AT_MS + 60_000) == silent
    again = with_heard(silent, now_ms=AT_MS + 60_000)
    ready = condition_of(again, "Ready")
    assert (str_at(ready, "status"), str_at(ready, "reason")) == ("True", "EdgeReady")
    assert with_heard({}, now_ms=AT_MS) == {}
