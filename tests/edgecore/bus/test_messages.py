"""KubeEdge's payloads, to the byte where we write them, and in all their forms where we read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgecore.bus import messages
from edgecore.bus.messages import Member, RefusedError, StateUpdate, Told, TwinUpdate, TwinView
from skerry.frozen import replace
from skerry.objects.desired import Vector

GOLDEN = dict(
    line.split(" ", 1) for line in (Path(__file__).parent / "golden.txt").read_text().splitlines() if line[0] != "#"
)
NOW = 1_750_000_000_000

TEMP = TwinView(
    type="INT",
    expected="25",
    expected_ms=NOW - 1000,
    expected_ver=Vector(cloud=3, edge=1),
    by_cloud=True,
    actual="21",
    actual_ms=NOW - 2000,
    actual_number=7,
)
FAN = TwinView(type="BOOLEAN", expected="true", expected_ms=NOW - 1000)
BOILER = Member(
    namespace="default",
    name="boiler",
    description="in the hall",
    state="online",
    last_online="2025-06-15T15:06:40Z",
)
WRITTEN = {
    "get_result": messages.get_result("e1", NOW, {"temp": TEMP, "fan": FAN}),
    "update_result": messages.update_result(
        "e1", NOW, {"temp": TEMP}, {"temp": Told(expected=None, actual="21", actual_ms=0)}
    ),
    "error_result": messages.refusal(RefusedError(404, messages.NO_DEVICE, "e1"), NOW),
    "delta": messages.delta("e1", NOW, {"temp": TEMP, "fan": FAN}),
    "document": messages.document("e1", NOW, {"temp": (TwinView(type="INT"), TEMP)}),
    "synced": messages.synced("e1", NOW, {"temp": TEMP}),
    "membership": messages.membership("e1", NOW, [BOILER]),
    "membership_added": messages.membership_change("e1", NOW, added=[BOILER], removed=[]),
    "membership_removed": messages.membership_change("e1", NOW, added=[], removed=[BOILER]),
    "state_result": messages.state_result("e1", NOW, replace(BOILER, description="")),
    "stale": messages.get_result("e1", NOW, {"temp": replace(TEMP, expected=None, quality="stale", reason="silent")}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_payload_is_as_kubeedge_writes_it(name: str) -> None:
    written = WRITTEN[name]
    assert written is not None and written.decode() == GOLDEN[name]


def test_every_golden_payload_is_written() -> None:
    assert set(GOLDEN) == set(WRITTEN)


def test_a_delta_is_of_what_differs_beyond_the_tolerance() -> None:
    assert messages.delta("e", NOW, {"temp": replace(TEMP, actual="25")}) is None
    near = replace(TEMP, type="FLOAT", actual="24.9", tolerance=0.2)
    assert messages.delta("e", NOW, {"temp": near}) is None
    assert messages.delta("e", NOW, {"temp": replace(near, actual="24.7")}) is not None
    assert messages.delta("e", NOW, {"temp": replace(TEMP, expected="")}) is None


def test_an_update_is_read_with_the_time_that_its_app_says() -> None:
    payload = {
        "event_id": "e1",
        "timestamp": 5_000_000_000_000,
        "twin": {
            "a": {
                "actual": {"value": "1", "metadata": {"timestamp": 4_000_000_000_000}},
                "metadata": {"type": "int"},
            },
            "b": {"actual": {"value": "2"}, "expected": {"value": "3"}},
            "c": {"expected": {"value": "", "metadata": {}}, "optional": True},
            "d": None,
        },
    }
    assert messages.read_update(json.dumps(payload).encode()) == TwinUpdate(
        event_id="e1",
        twin={
            "a": Told(expected=None, actual="1", actual_ms=4_000_000_000_000),
            "b": Told(expected="3", actual="2", actual_ms=5_000_000_000_000),
            "c": Told(expected="", actual=None, actual_ms=5_000_000_000_000),
            "d": None,
        },
    )


def test_seconds_of_old_mappers_are_understood() -> None:
    update = messages.read_update(b'{"timestamp": 1750000000, "twin": {"a": {"actual": {"value": "1"}}}}')
    assert update.twin["a"] == Told(expected=None, actual="1", actual_ms=1_750_000_000_000)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{", messages.UNREADABLE),
        (b"\xff", messages.UNREADABLE),
        (b"[" * 100_000, messages.UNREADABLE),
        (b'"messagetoDevice_Twin_update"', messages.UNREADABLE),
        (b'{"event_id": "\\ud800", "twin": {}}', messages.UNREADABLE),
        (b'{"event_id": "\xed\xa0\x80", "twin": {}}', messages.UNREADABLE),
        (b'{"twin": {"a": {"actual": {"value": "\\udfff"}}}}', messages.UNREADABLE),
        (b'{"event_id": 7, "twin": {}}', messages.UNREADABLE),
        (b'{"timestamp": "now", "twin": {}}', messages.UNREADABLE),
        (b"{}", messages.NO_TWIN),
        (b'{"twin": null}', messages.NO_TWIN),
        (b'{"twin": []}', messages.UNREADABLE),
        (b'{"twin": {"a b": {}}}', messages.BAD_KEY),
        (b'{"twin": {"' + b"a" * 129 + b'": {}}}', messages.BAD_KEY),
        (b'{"twin": {"a": 7}}', messages.UNREADABLE),
        (b'{"twin": {"a": {"actual": 7}}}', messages.UNREADABLE),
        (b'{"twin": {"a": {"actual": {"value": 7}}}}', messages.UNREADABLE),
        (b'{"twin": {"a": {"actual": {"value": "7", "metadata": "x"}}}}', messages.UNREADABLE),
        (b'{"twin": {"a": {"actual": {"value": "' + b"x" * 5000 + b'"}}}}', "a value is at most 4096 bytes long"),
    ],
)
def test_an_update_that_makes_no_sense_is_refused_in_kubeedges_words(payload: bytes, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        messages.read_update(payload)
    assert (refused.value.code, str(refused.value)) == (400, reason)


@pytest.mark.parametrize(
    ("state", "read"),
    [("online", "online"), ("OFFLINE", "offline"), ("ok", "ok"), ("unhealthy", "unhealthy"), ("gone", None)],
)
def test_a_state_is_one_of_kubeedges(state: str, read: str | None) -> None:
    said = messages.read_state(json.dumps({"state": state}).encode())
    assert said == (None if read is None else StateUpdate(state=read))


@given(some.binary(max_size=200) | some.text().map(str.encode))
def test_nothing_that_comes_in_is_more_than_refused(payload: bytes) -> None:
    for read in (messages.read_update, messages.read_get, messages.read_membership_get, messages.read_state):
        try:
            read(payload)
        except RefusedError as refused:
            json.loads(messages.refusal(refused, NOW))
