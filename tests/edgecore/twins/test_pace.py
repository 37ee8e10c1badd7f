"""A device whose values move is told once in a while, all of them together, and the last ones always."""

from __future__ import annotations

from edgecore.twins.pace import Pace
from skerry.objects.meta import Key

PLC, METER = (Key("devices.devices.kubeedge.io", "ns", name) for name in ("plc", "meter"))


def test_a_quiet_device_is_told_at_once_and_a_busy_one_in_turn() -> None:
    pace = Pace(1.0)
    assert pace.due_s() is None
    pace.moved((PLC, "a"))
    due_s = pace.due_s()
    assert due_s is not None and due_s <= 0
    assert pace.take(10.0) == {(PLC, "a")}
    assert pace.due_s() is None
    pace.moved((PLC, "a"))
    pace.moved((PLC, "b"))
    assert (pace.due_s(), pace.take(10.9)) == (11.0, set())
    pace.moved((METER, "a"))
    assert pace.take(10.9) == {(METER, "a")}, "each device has its own turn"
    assert pace.take(11.0) == {(PLC, "a"), (PLC, "b")}
    assert pace.pending == frozenset()


def test_what_is_told_at_once_takes_along_what_waits_and_is_the_devices_turn() -> None:
    pace = Pace(1.0)
    pace.moved((PLC, "a"))
    assert pace.take(10.0) == {(PLC, "a")}
    pace.moved((PLC, "a"))
    pace.moved((METER, "a"))
    assert pace.take(10.5, {(PLC, "b")}) == {(PLC, "a"), (METER, "a")}
    pace.moved((PLC, "a"))
    assert pace.due_s() == 11.5


def test_what_is_gone_is_not_told() -> None:
    pace = Pace(1.0)
    pace.moved((PLC, "a"))
    pace.moved((PLC, "b"))
    pace.forget((PLC, "a"))
    pace.forget((METER, "a"))
    assert pace.pending == {(PLC, "b")}
    pace.forget((PLC, "b"))
    assert pace.due_s() is None
    assert pace.take(5.0) == set()


def test_devices_that_were_told_long_ago_are_forgotten() -> None:
    pace = Pace(1.0)
    for number in range(100):
        pace.moved((Key("devices.devices.kubeedge.io", "ns", f"d-{number}"), "a"))
        pace.take(float(number))
    assert len(pace._told_s) <= 2
