"""The log of what was wanted of a device."""

from __future__ import annotations

from skerry.frozen import replace
from skerry.objects.desired import Vector, write_desired
from skerry.objects.desired_log import answer, changes, shown
from skerry.objects.device_desired import desired_of, merged_desired, stamp_desired
from skerry.objects.device_twins import with_reported
from skerry.objects.json import JsonObject
from skerry.objects.twins import DeviceName, TwinDesired, TwinReported, ack

NAME = DeviceName(namespace="default", name="boiler", uid="u1")


def device(**wanted: str) -> JsonObject:
    return {
        "metadata": {"name": "boiler", "namespace": "default", "uid": "u1", "generation": 1},
        "spec": {"properties": [{"name": name, "desired": {"value": value}} for name, value in wanted.items()]},
    }


def write(old: JsonObject | None, new: JsonObject, *, origin: str = "ann") -> JsonObject:
    return stamp_desired(old, new, now_ms=1000, origin=origin)


def rows(*bodies: JsonObject) -> list[tuple[int, str, JsonObject]]:
    """As they are read, the newest first."""
    return [(number, f"t{number}", body) for number, body in reversed([*enumerate(bodies, start=1)])]


def told(state: str, ver: Vector, reason: str = "") -> TwinReported:
    assert state in ("verified", "failed", "pending")
    return TwinReported(
        device=NAME, prop="t", reported=None, observed=None, ack=ack(state, for_ver=ver, at_ms=5, reason=reason)
    )


def test_each_change_says_who_wanted_what_instead_of_what_and_what_became_of_it() -> None:
    first = write(None, device(t="20"))
    second = write(first, device(t="21"), origin="bob")
    removed = write(second, device())
    log = [
        entry.body for old, new in ((None, first), (first, second), (second, removed)) for entry in changes(old, new)
    ]
    done = answer(told("verified", Vector(cloud=2)), None)
    assert done is not None
    items = shown(rows(log[0], log[1], done.body, log[2]))
    assert [(item["before"], item["value"], item["by"], item["version"]) for item in items] == [
        ("21", None, "ann", "3.0"),
        ("20", "21", "bob", "2.0"),
        (None, "20", "ann", "1.0"),
    ]
    assert [item.get("answer") for item in items] == [None, {"state": "verified", "reason": "", "time": "t3"}, None]
    assert len({str(item["revision"]) for item in items}) == 3


def test_what_a_write_leaves_alone_is_not_in_the_log_and_several_are_in_their_order() -> None:
    first = write(None, device(b="1", a="2"))
    assert [entry.prop for entry in changes(None, first)] == ["b", "a"]
    assert list(changes(first, write(first, device(b="1", a="2")))) == []
    assert [entry.prop for entry in changes(first, write(first, device(b="1", a="3")))] == ["a"]


def test_a_conflict_shows_who_lost() -> None:
    first = write(None, device(t="20"))
    rival = write_desired(None, value="25", side="edge", origin="op", now_ms=2000, synced=True, expires_ms=None)
    met = merged_desired(first, TwinDesired(device=NAME, prop="t", desired=rival, policy="newest"))
    (item,) = shown(rows(*(entry.body for entry in changes(first, met))))
    assert item["rivals"] == [{"value": "20", "origin": "ann", "side": "cloud"}] and item["by"] == "op"


def test_an_answer_is_noted_once_and_only_when_there_is_one() -> None:
    held = desired_of(write(None, device(t="20")), "t")
    assert held is not None
    failed = told("failed", held.ver, "unit 3 is silent")
    assert answer(failed, None) is not None
    status = with_reported({}, replace(failed, observed=held), received_ms=9)
    assert answer(failed, status) is None, "the DeviceStatus tells it already"
    assert answer(told("verified", held.ver), status) is not None
    assert answer(told("pending", held.ver), None) is None
