"""What reports come to, and what a node may not say."""

from __future__ import annotations

import json

import pytest

from cloudcore.hub.effects import Reporter
from cloudcore.hub.histories import READING_BYTES_MAX
from cloudcore.hub.liveness import with_heard, with_silence
from cloudcore.hub.outcomes import Outcome, kinds_in
from cloudcore.registry.kinds import builtin_scheme
from skerry.errors import ProtocolError
from skerry.frozen import replace
from skerry.objects.blocks import Reading, encode_block
from skerry.objects.conditions import condition_of
from skerry.objects.desired import Desired, Hlc, Side, Vector
from skerry.objects.device_desired import record_of, stamp_desired, with_desired
from skerry.objects.device_owner import owner_of, stamp_owner
from skerry.objects.events import event_object
from skerry.objects.json import JsonObject, clone, dig, encode_object, ensure_map, maps_at, str_at
from skerry.objects.local_changes import LocalChange
from skerry.objects.meta import Key
from skerry.objects.mirror_pods import CONFIG_MIRROR
from skerry.objects.reports import GapReport, NodeStatusReport, SeriesGapReport
from skerry.objects.twins import (
    DeviceName,
    DeviceState,
    Reported,
    Telemetry,
    TwinDesired,
    TwinReported,
    encode_device_state,
    encode_telemetry,
    encode_twin_desired,
    encode_twin_reported,
)
from skerry.objects.volumes import DIRECTORY, LOCAL, VolumeReport
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


SURE = Report(seq=7, kind="telemetry", key="", body=b"", wall_ms=0, age_ms=0)


def outcome(
    kind: str,
    body: bytes,
    *,
    node: str = "eu-1",
    device: JsonObject | None = DEVICE,
    record: JsonObject | None = None,
    key: str = "",
    wall_ms: int = 0,
) -> Outcome:
    report = Report(seq=1, kind=kind, key=key, body=body, wall_ms=wall_ms, age_ms=0)
    return reporter(node=node, device=device, record=record).outcome(DatedReport(report=report, at_ms=AT_MS))


def reporter(*, node: str = "eu-1", device: JsonObject | None = DEVICE, record: JsonObject | None = None) -> Reporter:
    """`record` is eu-1's, of devices that it had."""

    def lookup(key: Key) -> JsonObject | None:
        if key == Key("configmaps", "kube-system", "skerry-devices.eu-1"):
            return record
        return device if key == Key("devices.devices.kubeedge.io", "ns", "plc") else None

    return Reporter(node=node, kinds=kinds_in(builtin_scheme()), lookup=lookup)


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


@pytest.mark.parametrize("kind", ["twin_reported", "device_state"])
def test_what_was_told_before_a_device_went_to_another_gateway_and_came_back_is_nothing(kind: str) -> None:
    def effects(owner: int) -> int:
        name = replace(PLC, owner=owner)
        state = DeviceState(device=name, state="online", reason="", last_online_ms=AT_MS)
        body = told(name) if kind == "twin_reported" else encode_device_state(state)
        return len(outcome(kind, body, device=back_here).effects)

    assert owner_of(DEVICE) == 0
    here = stamp_owner(None, DEVICE)
    away = stamp_owner(here, with_node(here, "eu-2"))
    back_here = stamp_owner(away, with_node(away, "eu-1"))
    assert [owner_of(each) for each in (here, away, back_here)] == [1, 2, 3]
    assert effects(1) == 0, "told before it went, and sent when it was back"
    assert effects(3) == 2
    assert effects(0) == 2, "an older agent does not count"
    assert effects(4) == 2, "the cloud was restored since"


def with_node(device: JsonObject, node: str) -> JsonObject:
    moved = clone(device)
    ensure_map(moved, "spec")["nodeName"] = node
    return moved


def test_what_a_node_says_of_itself_is_of_the_life_that_its_node_had_when_it_came() -> None:
    status = NodeStatusReport(labels={}, status={}).encode()
    report = Report(seq=1, kind="node_status", key="", body=status, wall_ms=0, age_ms=0)
    told_of = replace(reporter(), node_uid="n1")
    assert [effect.uid for effect in told_of.outcome(DatedReport(report=report, at_ms=AT_MS)).effects] == ["n1"] * 2
    assert [effect.uid for effect in outcome("node_status", status).effects] == ["", ""], "the first one makes it"


def test_a_value_wanted_on_the_edge_is_merged_into_the_device() -> None:
    desired = Desired(
        value="7", ver=Vector(edge=1), hlc=Hlc(AT_MS, 0), side="edge", origin="local:uid 0", synced=True
    )
    body = encode_twin_desired(TwinDesired(device=PLC, prop="t", desired=desired, policy="newest"))
    (effect,) = outcome("twin_desired", body).effects
    (entry,) = maps_at(effect.transform(DEVICE), "spec", "properties")
    assert str_at(entry, "desired", "value") == "7"
    assert effect.subresource == ""


def wanting(side: Side, value: str, ver: Vector) -> Desired:
    return Desired(value=value, ver=ver, hlc=Hlc(AT_MS, 0), side=side, origin=f"the {side}'s")


def test_a_true_conflict_makes_an_event_that_names_both_values_once() -> None:
    device = with_desired(DEVICE, "t", wanting("cloud", "20", Vector(cloud=1)))
    rival = TwinDesired(device=PLC, prop="t", desired=wanting("edge", "7", Vector(edge=1)), policy="manual")
    told = outcome("twin_desired", encode_twin_desired(rival), device=device)
    change, event = told.effects
    shown = event.transform({})
    assert str_at(shown, "reason") == "TwinConflict" and "'7'" in str_at(shown, "message")
    assert "'20'" in str_at(shown, "message") and "a person is to choose" in str_at(shown, "message")
    assert told.event == event.key
    after = change.transform(device)
    assert len(outcome("twin_desired", encode_twin_desired(rival), device=after).effects) == 1, "it was told before"


def test_a_tombstone_that_the_gateway_has_seen_is_marked() -> None:
    gone = replace(wanting("edge", "", Vector(cloud=1, edge=1)), removed=True)
    device = with_desired(DEVICE, "t", gone)
    seen = TwinReported(device=PLC, prop="t", reported=None, observed=gone, ack=None)
    effects = outcome("twin_reported", encode_twin_reported(seen), device=device).effects
    assert [effect.subresource for effect in effects] == ["", "status", "status"]
    after = stamp_desired(device, effects[0].transform(device), now_ms=AT_MS, origin="hub", merging=True)
    assert record_of(after, "t") is None


def test_a_devices_connection_shows_in_both() -> None:
    body = encode_device_state(DeviceState(device=PLC, state="offline", reason="unit 3 is silent", last_online_ms=0))
    effects = outcome("device_state", body).effects
    assert [str_at(effect.transform(DEVICE), "status", "state") for effect in effects] == ["offline", "offline"]


def test_a_device_of_another_node_or_of_another_life_is_not_spoken_for() -> None:
    other_life = DeviceName(namespace="ns", name="plc", uid="uid-older")
    assert outcome("twin_reported", told(), node="us-1") == Outcome()
    assert outcome("twin_reported", told(other_life)) == Outcome()
    assert outcome("twin_reported", told(), device=None) == Outcome()


ELSEWHERE: JsonObject = {**DEVICE, "spec": {"nodeName": "us-1"}}
OTHER_LIFE = DeviceName(namespace="ns", name="plc", uid="uid-older")
RECORD: JsonObject = {"data": {"uid-plc": "2026-11-28T07:00:00Z ns/plc", "uid-older": "2026-11-28T06:00:00Z ns/plc"}}
NOTHING = Outcome(refused="reading-device")


def test_history_is_kept_of_devices_that_are_or_were_here() -> None:
    made_again: JsonObject = {**DEVICE, "metadata": {"namespace": "ns", "name": "plc", "uid": "uid-newest"}}
    for device in (DEVICE, None, ELSEWHERE, made_again):
        for told in (PLC, OTHER_LIFE):
            (record,) = outcome("telemetry", telemetry(told), device=device, record=RECORD).records
            assert (record.series, record.at_ms) == ("ns/plc/t", AT_MS)
    assert outcome("telemetry", telemetry()).records, "a device that is here needs no record"


def test_what_a_node_had_is_asked_only_where_the_device_does_not_say_so_itself() -> None:
    """The record of a node with a thousand devices is read for what was moved or deleted, not for each reading."""
    asked: list[str] = []
    quick = reporter()

    def lookup(key: Key) -> JsonObject | None:
        asked.append(key.resource)
        return quick.lookup(key)

    hole = SeriesGapReport(first_seq=1, dropped=1, first_wall_ms=1, last_wall_ms=1).encode()
    for kind, key, body in (("telemetry", "", telemetry()), ("series_gap", "ns/plc/t", hole)):
        report = Report(seq=1, kind=kind, key=key, body=body, wall_ms=0, age_ms=0)
        assert replace(quick, lookup=lookup).outcome(DatedReport(report=report, at_ms=AT_MS)).records
    assert asked == ["devices.devices.kubeedge.io"] * 2


def test_no_history_of_devices_that_never_were_here() -> None:
    for device, told in ((None, PLC), (ELSEWHERE, PLC), (ELSEWHERE, OTHER_LIFE), (DEVICE, OTHER_LIFE)):
        assert outcome("telemetry", telemetry(told), device=device) == NOTHING
    renamed = DeviceName(namespace="ns", name="other", uid="uid-plc")
    assert outcome("telemetry", telemetry(renamed), record=RECORD) == NOTHING
    assert outcome("telemetry", telemetry(), device=ELSEWHERE, node="asia-1", record=RECORD) == NOTHING
    assert outcome("telemetry", telemetry(DeviceName(namespace="ns", name="plc", uid=""))) == NOTHING


def test_only_what_is_known_of_a_reading_is_stored_and_bounded() -> None:
    more = {"node": "us-1", "gap": {"id": 1}, "padding": "x" * 100_000, "reason": "r" * 5000}
    sent = json.loads(telemetry()) | more
    (record,) = outcome("telemetry", json.dumps(sent).encode()).records
    kept = json.loads(record.body)
    assert kept == json.loads(telemetry()) | {"node": "eu-1", "reason": "r" * 1024}
    for field in ("value", "type", "prop"):
        large = json.loads(telemetry()) | {field: "x" * 20_000}
        assert outcome("telemetry", json.dumps(large).encode()) == Outcome(refused="reading-size")


def test_a_reading_has_its_number_and_says_how_sure_its_time_is() -> None:
    (sure,) = outcome("telemetry", telemetry()).records
    assert (sure.seq, sure.error_ms, sure.hole) == (1, 0, False)
    assert "dated" not in json.loads(sure.body)
    for estimated, error_ms, kept in ((False, 40, 40), (True, 90_000, 90_000), (True, 0, None)):
        report = replace(SURE, body=telemetry(), estimated=estimated, error_ms=error_ms)
        (record,) = reporter().outcome(DatedReport(report=report, at_ms=AT_MS)).records
        assert (record.seq, record.error_ms) == (7, kept)
        assert json.loads(record.body)["dated"] == {"estimated": estimated, "errorMs": error_ms}


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


# --- holes ---

HOLE = SeriesGapReport(first_seq=4, dropped=7, first_wall_ms=1_000, last_wall_ms=61_000)


def test_a_hole_in_a_history_is_a_row_of_it_by_the_clouds_clock() -> None:
    (record,) = outcome("series_gap", HOLE.encode(), key="ns/plc/t", wall_ms=91_000).records
    assert (record.series, record.at_ms) == ("ns/plc/t", AT_MS - 30_000), "where it ends"
    assert (record.seq, record.hole, record.error_ms) == (4, True, None)
    gap = {"id": 4, "count": 7, "fromMs": AT_MS - 90_000, "toMs": AT_MS - 30_000}
    assert json.loads(record.body) == {"gap": gap, "node": "eu-1"}


def test_a_hole_says_of_which_life_of_the_outbox_its_number_is() -> None:
    report = Report(seq=1, kind="series_gap", key="ns/plc/t", body=HOLE.encode(), wall_ms=0, age_ms=0)
    dated = DatedReport(report=report, at_ms=AT_MS)
    lives: list[str] = []
    for incarnation in ("i1", "i1", "i2"):
        (record,) = replace(reporter(), incarnation=incarnation).outcome(dated).records
        lives.append(json.loads(record.body)["gap"]["life"])
    assert lives[0] == lives[1] != lives[2] and all(len(life) == 8 for life in lives)


def test_a_hole_is_never_dated_into_the_future() -> None:
    hole = SeriesGapReport(first_seq=4, dropped=7, first_wall_ms=2 * AT_MS, last_wall_ms=3 * AT_MS)
    (record,) = outcome("series_gap", hole.encode(), key="ns/plc/t").records
    gap = json.loads(record.body)["gap"]
    assert (gap["fromMs"], gap["toMs"]) == (AT_MS, AT_MS)


def test_no_node_makes_holes_in_what_another_tells() -> None:
    for device, node in ((DEVICE, "eu-2"), (None, "eu-1"), (ELSEWHERE, "eu-1")):
        assert outcome("series_gap", HOLE.encode(), device=device, node=node, key="ns/plc/t") == NOTHING
        assert outcome("series_gap", HOLE.encode(), device=device, record=RECORD, key="ns/plc/t").records
    long = f"ns/plc/{'t' * 300}"
    assert outcome("series_gap", HOLE.encode(), key=long) == Outcome(refused="reading-size")


@pytest.mark.parametrize("key", ["", "ns", "ns/plc", "ns//t", "/plc/t"])
def test_a_hole_is_somewhere(key: str) -> None:
    with pytest.raises(ProtocolError, match="namespace/device/property"):
        outcome("series_gap", HOLE.encode(), key=key)


@pytest.mark.parametrize("seq", [-1, 2**63])
def test_a_hole_begins_at_a_number_that_a_store_can_keep(seq: int) -> None:
    with pytest.raises(ProtocolError, match="firstSeq a number"):
        outcome("series_gap", replace(HOLE, first_seq=seq).encode(), key="ns/plc/t")


@pytest.mark.parametrize(
    ("dropped", "damaged", "unknown", "said"),
    [
        (
            5,
            4,
            False,
            (
                "5 alarm reports (900 bytes) that waited for the cloud were dropped (1 because the outbox was "
                "full, 4 because the gateway's store was damaged), "
            ),
        ),
        (
            0,
            0,
            True,
            (
                "an unknown number of alarm reports that waited for the cloud were dropped (an unknown number "
                "because the gateway's store was damaged), "
            ),
        ),
        (
            1,
            0,
            True,
            (
                "at least 1 alarm reports (900 bytes) that waited for the cloud were dropped (1 because the "
                "outbox was full, an unknown number because the gateway's store was damaged), "
            ),
        ),
    ],
)
def test_an_event_says_what_was_lost_with_a_damaged_store(
    *, dropped: int, damaged: int, unknown: bool, said: str
) -> None:
    gap = GapReport(
        report_class="alarm",
        dropped=dropped,
        size_bytes=900,
        total=9,
        first_seq=1,
        last_seq=9,
        first_wall_ms=0,
        last_wall_ms=0,
        damaged=damaged,
        unknown=unknown,
    )
    (effect,) = outcome("gap", gap.encode()).effects
    event = effect.transform({})
    assert event is not None
    assert str_at(event, "message") == said + "9 since the gateway's outbox was made"


def test_an_event_says_why_reports_were_dropped() -> None:
    gap = GapReport(
        report_class="telemetry",
        dropped=9,
        size_bytes=900,
        total=10,
        first_seq=1,
        last_seq=9,
        first_wall_ms=0,
        last_wall_ms=0,
        expired=2,
        for_room=3,
    )
    (effect,) = outcome("gap", gap.encode()).effects
    event = effect.transform({})
    assert event is not None
    assert str_at(event, "message") == (
        "9 telemetry reports (900 bytes) that waited for the cloud were dropped (4 because the outbox was full, "
        "2 because their time was over, 3 because the disk was nearly full), 10 since the gateway's outbox was made"
    )


A_READING = Reading(PLC, "t", 4, "21.5", "FLOAT", "good", "", AT_MS, None, 250)


def told_block(*block: Reading, seq: int = 9, estimated: bool = False, error_ms: int = 0, **of: object) -> Outcome:
    of_block = replace(SURE, seq=seq, kind="telemetry_block", body=encode_block(block))
    report = replace(of_block, estimated=estimated, error_ms=error_ms)
    return reporter(**of).outcome(DatedReport(report=report, at_ms=AT_MS))  # type: ignore[arg-type]


def test_a_block_is_history_of_each_of_its_properties_with_numbers_and_times_of_their_own() -> None:
    bad = A_READING._replace(
        prop="u", seq=1, value=None, quality="bad", reason="x" * 2000, source_seq=2**70, ago_ms=0
    )
    first, second = told_block(A_READING, bad, estimated=True, error_ms=5).records
    assert (first.series, first.seq, first.at_ms) == ("ns/plc/t", 8, AT_MS - 250)
    assert (second.series, second.seq, second.at_ms) == ("ns/plc/u", 9, AT_MS)
    assert (first.error_ms, second.error_ms) == (5, 5)
    assert json.loads(first.body) == {
        "seq": 4,
        "value": "21.5",
        "type": "FLOAT",
        "q": "good",
        "ts_src": AT_MS,
        "node": "eu-1",
        "dated": {"estimated": True, "errorMs": 5},
    }
    assert json.loads(second.body)["source_seq"] == 2**70
    assert len(json.loads(second.body)["reason"]) == 1024
    (unsure,) = told_block(A_READING, estimated=True).records
    assert unsure.error_ms is None


def test_a_block_of_what_is_not_here_or_can_not_be_is_not_history() -> None:
    assert told_block(A_READING, device=ELSEWHERE) == NOTHING
    assert told_block(A_READING, device=ELSEWHERE, record=RECORD).records, "it was here"
    mixed = told_block(A_READING._replace(device=replace(PLC, name="other")), A_READING)
    assert ([record.seq for record in mixed.records], mixed.refused) == ([9], "reading-device")
    with pytest.raises(ProtocolError, match="whose last has number 1"):
        told_block(A_READING, A_READING, seq=1)
    with pytest.raises(ProtocolError, match="NUL"):
        told_block(A_READING._replace(prop="a\0b"))
    with pytest.raises(ProtocolError):
        outcome("telemetry_block", encode_block((A_READING,))[:-1])


def test_a_reading_that_is_too_large_leaves_the_others_of_its_block() -> None:
    large, long = A_READING._replace(value="x" * READING_BYTES_MAX), A_READING._replace(prop="x" * 300)
    found = told_block(large, A_READING, long)
    assert (len(found.records), found.refused) == (1, "reading-size")


def going_volume(node: str = "eu-1", *finalizers: str) -> JsonObject:
    csi: JsonObject = {"driver": LOCAL, "volumeHandle": "pvc-1", "volumeAttributes": {"skerry.dev/node": node}}
    return {
        "metadata": {
            "name": "pvc-1",
            "uid": "pv-uid",
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": [*(finalizers or (DIRECTORY,))],
        },
        "spec": {"csi": csi, "persistentVolumeReclaimPolicy": "Delete"},
        "status": {"phase": "Released"},
    }


def of_volume(held: JsonObject | None, fault: str = "", *, uid: str = "pv-uid") -> JsonObject | None:
    """The volume after a gateway's report; None where the report comes to nothing."""
    parts = replace(reporter(), lookup=lambda key: held if key == Key("persistentvolumes", "", "pvc-1") else None)
    body = VolumeReport(name="pvc-1", uid=uid, fault=fault).encode()
    report = Report(seq=1, kind="volume", key=uid, body=body, wall_ms=0, age_ms=0)
    effects = parts.outcome(DatedReport(report=report, at_ms=AT_MS)).effects
    if not effects:
        return None
    (effect,) = effects
    assert held is not None
    assert effect.subresource == ("status" if fault else "")
    return effect.transform(clone(held))


def test_a_volume_whose_directory_is_removed_may_go() -> None:
    after = of_volume(going_volume())
    assert after is not None
    assert after["metadata"]["finalizers"] == []  # type: ignore[index,call-overload]


def test_a_directory_that_stays_is_told_in_the_volumes_status() -> None:
    after = of_volume(going_volume(), "it is a mount point")
    assert after is not None
    assert after["status"] == {"phase": "Failed", "message": "it is a mount point"}


def test_a_gateway_speaks_of_its_own_directories_and_of_those_that_are_to_go() -> None:
    assert of_volume(going_volume("us-1")) is None
    assert of_volume(None) is None
    assert of_volume(going_volume(), uid="another-life") is None
    held = going_volume("eu-1", DIRECTORY, "kubernetes.io/pv-protection")
    assert of_volume(held) == held
    with pytest.raises(ProtocolError):
        outcome("volume", b"{}")


# --- static pods ---------------------------------------------------------------------------------------------------


def _static_event(name: str, uid: str) -> bytes:
    about: JsonObject = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ns", "uid": uid}}
    event = event_object(about, "Started", "m", node="eu-1", suffix="1", now_ms=0, warning=False)
    return encode_object(event)


def _mirror(name: str, *, node: str = "eu-1", of: str = "s-1") -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": "ns", "uid": "m-1", "annotations": {CONFIG_MIRROR: of}}
    return {"metadata": metadata, "spec": {"nodeName": node}}


@pytest.mark.parametrize(
    ("pod", "name", "taken"),
    [
        (None, "web-eu-1", True),
        (_mirror("web-eu-1"), "web-eu-1", True),
        (_mirror("web-eu-1", of="other"), "web-eu-1", False),
        (_mirror("web-eu-1", node="eu-2"), "web-eu-1", False),
        (None, "web", False),
        (None, "web-eu-2", False),
    ],
)
def test_events_of_static_pods_are_taken_before_their_mirror_is_there_too(
    pod: JsonObject | None, name: str, taken: bool
) -> None:
    found = replace(reporter(), lookup=lambda key: pod if key.resource == "pods" else None)
    report = Report(seq=1, kind="event", key="", body=_static_event(name, "s-1"), wall_ms=0, age_ms=0)
    told = found.outcome(DatedReport(report=report, at_ms=AT_MS))
    assert (told.refused is None) == taken
    if taken:
        event = told.effects[0].transform({})
        assert dig(event, "involvedObject", "uid") == "s-1"


# --- acts at the gateway -------------------------------------------------------------------------------------------


def test_what_was_done_at_a_gateway_is_a_row_of_its_node() -> None:
    change = LocalChange(act="stop", by="root (uid 0)", at_ms=5, namespace="ns", pod="web")
    found = outcome("local_change", change.encode())
    (record,) = found.records
    assert (record.series, record.at_ms, found.effects) == ("local-changes:eu-1", AT_MS, ())
    assert LocalChange.decode(json.loads(record.body)) == change
    with pytest.raises(ProtocolError):
        outcome("local_change", b'{"act":"explode"}')
