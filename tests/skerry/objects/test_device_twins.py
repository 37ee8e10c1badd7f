"""Twins as KubeEdge's objects show them."""

from __future__ import annotations

from skerry.objects.desired import Vector, write_desired
from skerry.objects.device_desired import desired_of, merged_desired, ms_of, stamp_desired, with_desired
from skerry.objects.device_twins import COPY_MS_MIN, twin_views, with_reported, with_reported_copy, with_state
from skerry.objects.json import JsonObject, clone, dig, maps_at, str_at
from skerry.objects.twins import (
    DeviceName,
    DeviceState,
    Reported,
    TwinDesired,
    TwinReported,
    ack,
    decode_device_state,
    encode_device_state,
)

NAME = DeviceName(namespace="default", name="boiler", uid="u1")


def device(value: str | None = "20", *, metadata: JsonObject | None = None, generation: int = 1) -> JsonObject:
    desired: JsonObject = {} if value is None else {"desired": {"value": value, "metadata": metadata or {}}}
    return {
        "metadata": {"name": "boiler", "namespace": "default", "uid": "u1", "generation": generation},
        "spec": {"properties": [{"name": "setpoint", **desired}]},
    }


def set_value(obj: JsonObject, value: str) -> JsonObject:
    out = clone(obj)
    desired = dig(maps_at(out, "spec", "properties")[0], "desired")
    assert isinstance(desired, dict)
    desired["value"] = value
    return out


def version(obj: JsonObject) -> Vector:
    desired = desired_of(obj, "setpoint")
    assert desired is not None
    return desired.ver


def told(value: str, *, source_ms: int = 1, state: str = "verified") -> TwinReported:
    reported = Reported(
        value=value, type="FLOAT", unit="C", quality="good", reason="", source_ms=source_ms, gateway_ms=source_ms
    )
    assert state == "verified"
    return TwinReported(
        device=NAME,
        prop="setpoint",
        reported=reported,
        observed=None,
        ack=ack("verified", for_ver=Vector(cloud=1), at_ms=5),
    )


def test_a_new_value_gets_a_version_and_an_author_and_an_untouched_one_keeps_them() -> None:
    first = stamp_desired(None, device("20"), now_ms=1000, origin="ann")
    assert version(first) == Vector(cloud=1)
    again = stamp_desired(first, device("20"), now_ms=2000, origin="bob")
    assert desired_of(again, "setpoint") == desired_of(first, "setpoint")
    second = stamp_desired(first, set_value(first, "21"), now_ms=2000, origin="bob")
    desired = desired_of(second, "setpoint")
    assert desired is not None
    assert (desired.value, desired.ver, desired.origin) == ("21", Vector(cloud=2), "bob")


def test_stamping_leaves_an_object_without_changes_as_it_is() -> None:
    first = stamp_desired(None, device("20"), now_ms=1000, origin="ann")
    assert stamp_desired(first, first, now_ms=2000, origin="bob") is first


def test_a_value_that_was_removed_and_set_again_is_newer_than_what_the_edge_may_hold() -> None:
    first = stamp_desired(None, device("20"), now_ms=1000, origin="ann")
    second = stamp_desired(first, set_value(first, "21"), now_ms=2000, origin="ann")
    removed = device(None, generation=3)
    back = stamp_desired(removed, device("22"), now_ms=3000, origin="ann")
    assert version(back).covers(version(second)) and version(back) != version(second)


def test_a_users_own_metadata_stay_beside_ours() -> None:
    stamped = stamp_desired(None, device("20", metadata={"ticket": "OPS-1"}), now_ms=1000, origin="ann")
    assert str_at(maps_at(stamped, "spec", "properties")[0], "desired", "metadata", "ticket") == "OPS-1"


def test_the_same_value_asked_for_again_is_a_new_version() -> None:
    first = stamp_desired(None, device("20", metadata={"requested": "1"}), now_ms=1000, origin="ann")
    again = clone(first)
    desired = dig(maps_at(again, "spec", "properties")[0], "desired")
    assert isinstance(desired, dict)
    metadata = desired["metadata"]
    assert isinstance(metadata, dict)
    metadata["requested"] = "2"
    stamped = stamp_desired(first, again, now_ms=2000, origin="ann")
    assert version(stamped).covers(version(first)) and version(stamped) != version(first)


def test_an_expiry_set_by_a_user_is_kept_and_one_that_has_passed_is_not_inherited_by_a_new_value() -> None:
    expiring = device("20", metadata={"expires": "1970-01-01T00:00:10Z"})
    first = stamp_desired(None, expiring, now_ms=1000, origin="ann")
    desired = desired_of(first, "setpoint")
    assert desired is not None and desired.expires_ms == 10_000
    late = desired_of(stamp_desired(first, set_value(first, "21"), now_ms=20_000, origin="ann"), "setpoint")
    assert late is not None and late.expires_ms is None


def test_a_write_of_the_edge_is_merged_into_the_device_once() -> None:
    first = stamp_desired(None, device("20"), now_ms=1000, origin="ann")
    wish = write_desired(
        desired_of(first, "setpoint"), value="25", side="edge", origin="op", now_ms=5, synced=True, expires_ms=None
    )
    report = TwinDesired(device=NAME, prop="setpoint", desired=wish, policy="newest")
    merged = merged_desired(first, report)
    assert desired_of(merged, "setpoint") == wish
    assert merged_desired(merged, report) is merged
    # The API server's stamping lets the decided merge stand.
    assert desired_of(stamp_desired(first, merged, now_ms=9000, origin="node", merging=True), "setpoint") == wish


def test_a_property_the_instance_does_not_name_is_added_when_it_is_wanted() -> None:
    wish = write_desired(None, value="1", side="edge", origin="op", now_ms=5, synced=True, expires_ms=None)
    assert desired_of(with_desired(device(), "fan", wish), "fan") == wish


def test_reports_make_and_fill_a_device_status_that_its_device_owns() -> None:
    status = with_reported({}, told("20.5"), received_ms=99)
    assert str_at(status, "kind") == "DeviceStatus"
    assert maps_at(status, "metadata", "ownerReferences")[0]["uid"] == "u1"
    twin = maps_at(status, "status", "twins")[0]
    assert str_at(twin, "reported", "value") == "20.5"
    metadata = dig(twin, "reported", "metadata")
    assert isinstance(metadata, dict)
    assert metadata["ackState"] == "verified" and metadata["quality"] == "good" and metadata["received"] == "99"


def test_a_device_follows_a_moving_value_slowly_and_anything_else_at_once() -> None:
    one = with_reported_copy(device(), told("20"), received_ms=1000)
    assert with_reported_copy(one, told("21"), received_ms=1000 + COPY_MS_MIN - 1) is one
    later = with_reported_copy(one, told("21"), received_ms=1000 + COPY_MS_MIN)
    assert str_at(maps_at(later, "status", "twins")[0], "reported", "value") == "21"
    assert with_reported_copy(later, told("21"), received_ms=10**9) is later
    bad = TwinReported(device=NAME, prop="setpoint", reported=None, observed=None, ack=None)
    at_once = with_reported_copy(later, bad, received_ms=1001 + COPY_MS_MIN)
    assert str_at(maps_at(at_once, "status", "twins")[0], "reported", "metadata", "quality") == "bad"


def test_the_state_of_a_device_is_shown_with_its_reason() -> None:
    report = DeviceState(device=NAME, state="offline", reason="unit 3 is silent", last_online_ms=1000)
    shown = with_state(device(), report)
    assert str_at(shown, "status", "state") == "offline"
    assert str_at(shown, "status", "lastOnlineTime") == "1970-01-01T00:00:01Z"
    assert maps_at(shown, "status", "conditions")[0]["message"] == "unit 3 is silent"
    assert maps_at(with_state({}, report), "status", "extensions", "conditions")[0]["reason"] == "DeviceSilent"
    waits = DeviceState(device=NAME, state="waiting", reason="waits for a mapper of protocol x", last_online_ms=0)
    assert decode_device_state(encode_device_state(waits)) == waits
    (ready,) = maps_at(with_state(device(), waits), "status", "conditions")
    assert (ready["status"], ready["reason"]) == ("False", "WaitingForMapper")


def test_a_view_says_pending_until_the_answer_is_for_the_value_wanted_now() -> None:
    first = stamp_desired(None, device("20"), now_ms=1000, origin="ann")
    answered = with_reported_copy(first, told("20"), received_ms=1000)
    assert twin_views(answered)[0].ack_state == "verified"
    second = stamp_desired(answered, set_value(answered, "21"), now_ms=2000, origin="ann")
    view = twin_views(second)[0]
    assert (view.ack_state, view.reported, view.desired and view.desired.value) == ("pending", "20", "21")


def test_times_are_read_as_rfc3339_or_milliseconds() -> None:
    assert ms_of("1970-01-01T00:00:01Z") == 1000
    assert ms_of("1234") == 1234
    assert ms_of("tomorrow") is None
