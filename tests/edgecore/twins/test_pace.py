"""Who was quiet may do much at once; who goes on and on, one an interval. Devices are told of all together, the last
values always."""

from __future__ import annotations

from edgecore.twins.pace import Credit, Pace
from skerry.objects.meta import Key

PLC, METER = (Key("devices.devices.kubeedge.io", "ns", name) for name in ("plc", "meter"))


def test_credit_is_spent_at_once_and_comes_back_one_by_one() -> None:
    credit = Credit(0.5, 3)
    for _ in range(3):
        assert credit.due_s() <= 10.0
        credit.spend(10.0)
    assert credit.due_s() == 10.5
    credit.spend(10.5)
    assert (credit.due_s(), credit.is_whole(11.9), credit.is_whole(12.0)) == (11.0, False, True)
    assert credit.due_s() <= 11.0
    credit.spend(100.0)
    assert credit.due_s() == 99.5, "what was not used is not added up"


def test_what_was_done_without_credit_is_not_owed_for_longer_than_all_of_it_takes() -> None:
    credit = Credit(0.5, 3)
    for _ in range(100):
        credit.spend(10.0)
    assert (credit.due_s(), credit.is_whole(11.5)) == (10.5, True)


def test_a_device_that_was_quiet_is_told_of_several_times_and_then_in_turn() -> None:
    pace = Pace(1.0, 3)
    for now_s in (10.0, 10.1, 10.2):
        pace.moved((PLC, "a"))
        assert pace.take(now_s) == {(PLC, "a")}
    pace.moved((PLC, "a"))
    assert (pace.take(10.3), pace.due_s()) == (set(), 11.0)


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


def test_what_is_told_at_once_takes_along_what_waits_and_costs_no_credit() -> None:
    pace = Pace(1.0)
    pace.moved((PLC, "a"))
    assert pace.take(10.0) == {(PLC, "a")}
    pace.moved((PLC, "a"))
    pace.moved((METER, "a"))
    assert pace.take(10.5, {(PLC, "b")}) == {(PLC, "a"), (METER, "a")}
    pace.moved((PLC, "a"))
    assert pace.due_s() == 11.0


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
    assert len(pace._spent) <= 2
