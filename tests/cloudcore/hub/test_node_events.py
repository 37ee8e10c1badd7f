"""What is kept of an event that a node tells."""

from __future__ import annotations

import pytest

from cloudcore.hub.node_events import bounded_event
from skerry.errors import ProtocolError
from skerry.objects.json import Json, JsonObject, encode_object, map_at, str_at
from skerry.objects.times import parse_time

WALL_MS = parse_time("2026-11-28T07:00:00Z")


def told(**fields: Json) -> JsonObject:
    about: JsonObject = {
        "kind": "Pod",
        "namespace": "ns",
        "name": "web",
        "uid": "u",
        "fieldPath": "spec.containers{c}",
    }
    return {"metadata": {"namespace": "ns", "name": "web.1"}, "involvedObject": about, "reason": "Started", **fields}


def test_what_people_read_is_kept() -> None:
    event = bounded_event(
        told(
            message="it runs",
            type="Warning",
            count=3,
            source={"component": "edgecore", "host": "alice"},
            action="Start",
            reportingComponent="edgecore",
            reportingInstance="eu-1",
            lastTimestamp="2026-11-28T07:00:00Z",
            eventTime=None,
        ),
        node="eu-1",
        wall_ms=WALL_MS,
        at_ms=WALL_MS + 4000,
    )
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "ns", "name": "web.1"},
        "involvedObject": {
            "kind": "Pod",
            "namespace": "ns",
            "name": "web",
            "uid": "u",
            "fieldPath": "spec.containers{c}",
        },
        "reason": "Started",
        "message": "it runs",
        "type": "Warning",
        "count": 3,
        "source": {"component": "edgecore", "host": "eu-1"},
        "action": "Start",
        "reportingComponent": "edgecore",
        "reportingInstance": "eu-1",
        "lastTimestamp": "2026-11-28T07:00:00Z",
    }


def test_times_are_moved_where_the_clock_is_off() -> None:
    for shift_ms, time in (
        (5000, "2026-11-28T07:00:00Z"),
        (5001, "2026-11-28T07:00:05Z"),
        (-6000, "2026-11-28T06:59:54Z"),
    ):
        event = bounded_event(
            told(firstTimestamp="2026-11-28T07:00:00Z"), node="eu-1", wall_ms=WALL_MS, at_ms=WALL_MS + shift_ms
        )
        assert str_at(event, "firstTimestamp") == time


def test_a_time_that_is_the_clouds_already_stays_where_the_wall_clock_says_1970() -> None:
    for first, shown in (
        ("1970-01-01T00:01:00Z", "2026-11-28T07:00:00Z"),
        ("2026-11-28T07:00:03Z", "2026-11-28T07:00:03Z"),
    ):
        event = bounded_event(told(firstTimestamp=first), node="eu-1", wall_ms=60_000, at_ms=WALL_MS)
        assert str_at(event, "firstTimestamp") == shown


def test_texts_are_cut_and_what_is_not_known_is_left_out() -> None:
    long = "ä" * 100_000
    names = ("reason", "message", "type", "action", "reportingComponent", "reportingInstance", "related", "x")
    everything: dict[str, Json] = dict.fromkeys(names, long)
    about: JsonObject = {"kind": long, "uid": long, "fieldPath": long, "resourceVersion": long, "y": long}
    source: JsonObject = {"component": long, "z": long}
    sent: JsonObject = told(**everything, source=source, series={"a": long}, count=2**40)
    sent["involvedObject"] = about
    event = bounded_event(sent, node="eu-1", wall_ms=WALL_MS, at_ms=WALL_MS)
    assert (len(str_at(event, "reason")), len(str_at(event, "message"))) == (128, 1024)
    assert str_at(event, "type") == "Normal"
    assert event["count"] == 2**31 - 1
    assert not {"related", "series", "x"} & event.keys()
    assert not {"resourceVersion", "y"} & map_at(event, "involvedObject").keys()
    assert len(encode_object(event)) < 8192


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"namespace": "a/b", "name": "x"}, "namespace"),
        ({"namespace": "n" * 64, "name": "x"}, "namespace"),
        ({"namespace": "ns", "name": "../x"}, "name"),
        ({"namespace": "ns", "name": "x\0"}, "name"),
        ({"namespace": "ns", "name": "n" * 254}, "name"),
    ],
)
def test_a_name_is_a_name(metadata: JsonObject, field: str) -> None:
    with pytest.raises(ProtocolError, match=f"metadata.{field} is not a name"):
        bounded_event(told(metadata=metadata), node="eu-1", wall_ms=WALL_MS, at_ms=WALL_MS)


def test_a_time_is_a_time() -> None:
    with pytest.raises(ProtocolError, match="lastTimestamp is not a time"):
        bounded_event(told(lastTimestamp="yesterday" * 1000), node="eu-1", wall_ms=WALL_MS, at_ms=WALL_MS)
