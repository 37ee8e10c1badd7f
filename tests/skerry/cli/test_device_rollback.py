"""Going back to what was wanted before: which changes are taken back, and what is wanted then."""

from __future__ import annotations

import pytest

from skerry.cli.device_acks import wanted_listed
from skerry.cli.device_objects import Twin
from skerry.cli.device_rollback import LIMIT_MAX, Return, returns, taken_back
from skerry.errors import BadRequestError, GoneError, NotFoundError
from skerry.objects.json import Json, JsonObject, ensure_map
from skerry.objects.times import micro_time_text


def entry(number: int, prop: str, before: str | None, value: str | None, revision: str) -> JsonObject:
    return {
        "number": number,
        "time": micro_time_text(number * 1000),
        "property": prop,
        "before": before,
        "value": value,
        "version": f"{number}.0",
        "revision": revision,
        "by": "ann",
        "side": "cloud",
    }


LOG = [
    entry(5, "fan", "false", "true", "r3"),
    entry(4, "t", "20", "30", "r3"),
    entry(3, "t", "10", "20", "r2"),
    entry(1, "t", None, "10", "r1"),
]


def device(**values: str) -> JsonObject:
    properties: list[Json] = [{"name": prop, "desired": {"value": value}} for prop, value in values.items()]
    return {"metadata": {"name": "boiler", "namespace": "ns"}, "spec": {"properties": properties}}


def back(*, to: str = "", since_ms: int | None = None, prop: str = "", log: list[JsonObject] = LOG) -> list[int]:
    found = taken_back(log, to=to, since_ms=since_ms, prop=prop)
    return [number for item in found if isinstance(number := item["number"], int)]


def test_without_a_moment_the_last_write_is_taken_back_whole() -> None:
    assert back() == [5, 4]
    with pytest.raises(NotFoundError):
        back(log=[])


def test_a_moment_is_a_number_a_revision_a_version_or_a_time() -> None:
    assert back(to="3") == back(to="r2") == [5, 4]
    assert back(to="3.0", prop="t", log=LOG[1:]) == [4]
    assert back(to="1") == [5, 4, 3]
    assert back(to="r3") == []
    assert back(since_ms=3000) == [5, 4]
    assert back(since_ms=0) == [5, 4, 3, 1]
    with pytest.raises(NotFoundError, match="skerry device history NAME --desired"):
        back(to="7")
    with pytest.raises(BadRequestError, match="NAME/PROP"):
        back(to="3.0")


def test_a_log_that_does_not_reach_back_so_far_is_no_reason_to_guess() -> None:
    long = [entry(number, "t", "1", "2", f"r{number}") for number in range(LIMIT_MAX + 1, 1, -1)]
    with pytest.raises(GoneError):
        back(since_ms=500, log=long)
    assert len(back(since_ms=5000, log=long)) == LIMIT_MAX - 4


def test_each_property_is_wanted_as_it_was_before_the_oldest_of_the_changes() -> None:
    assert returns(device(t="30", fan="true"), LOG[:3]) == [
        Return(prop="fan", before="true", after="false", number=5),
        Return(prop="t", before="30", after="10", number=3),
    ]
    assert returns(device(t="30"), LOG) == [
        Return(prop="fan", before=None, after="false", number=5),
        Return(prop="t", before="30", after=None, number=1),
    ]
    assert returns(device(t="20", fan="false"), LOG[:2]) == [], "it is so already"


def test_answers_and_differences_are_of_what_is_wanted() -> None:
    held: dict[str, dict[str, Json]] = {
        "t": {"value": "30.1", "metadata": {"type": "DOUBLE", "quality": "good", "ackState": "verified"}},
        "fan": {"value": "", "metadata": {"type": "BOOLEAN", "quality": "bad", "ackState": "failed"}},
        "p": {"value": "12", "metadata": {"type": "DOUBLE", "quality": "good", "ackState": "verified"}},
    }
    for told in held.values():
        ensure_map(told, "metadata")["ackFor"] = "1.0"
    reported: list[Json] = [{"propertyName": prop, "reported": told} for prop, told in held.items()]
    twins = [Twin(device=device(t="30", fan="true", p="10"), status={"status": {"twins": reported}})]
    rows = wanted_listed(twins, lambda _view: True, 0).rows
    assert [(row.cells[2], row.cells[3], row.cells[5], row.cells[9]) for row in rows] == [
        ("t", "30", "-", "verified"),
        ("fan", "true", "unknown", "failed"),
        ("p", "10", "+2", "was verified"),
    ]
