"""What a plan needs of its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.budget import Budget, LineCosts, budget, cost_s, round_up_ms
from devices.plan import Block, Point

SLOW = LineCosts(character_s=11 / 9600, silence_s=3.5 * 11 / 9600, answer_s=0.010)


def block(count: int, device: str = "default/meter", table: str = "holding") -> Block:
    point = Point(device=device, prop="x", unit=1, table=table, address=0, count=count)  # pyright: ignore
    return Block(unit=1, table=point.table, address=0, count=count, points=(point,))


def test_a_poll_costs_its_characters_its_silence_and_the_devices_time() -> None:
    # 8 bytes there, 5 and two for each register back, twice 3.5 characters, 10 ms.
    assert cost_s(block(10), SLOW) == pytest.approx((8 + 25 + 7) * 11 / 9600 + 0.010)
    assert cost_s(block(17, table="coil"), SLOW) == pytest.approx((8 + 8 + 7) * 11 / 9600 + 0.010)
    assert cost_s(block(125), LineCosts(character_s=0, answer_s=0.003)) == pytest.approx(0.003)
    text = LineCosts(character_s=10 / 9600, characters_a_byte=2, frame_bytes=3, answer_s=0)
    assert cost_s(block(1), text) == pytest.approx((8 + 7) * 2 * 10 / 9600)


def test_a_plan_with_room_is_not_spoken_of() -> None:
    plan = budget([(block(10), 1.0)], SLOW)
    assert plan.needs == pytest.approx(0.0558, abs=0.001) and plan.requests_s == 1
    assert plan.warning("/dev/ttyS0") == ""


def test_a_plan_that_needs_more_than_the_line_names_the_device_and_what_would_do() -> None:
    plan = budget([(block(100, "default/a"), 0.2), (block(10, "default/b"), 1.0)], SLOW)
    assert plan.needs > 1.2 and list(plan.by_device) == ["default/a", "default/b"]
    said = plan.warning("/dev/ttyS0 9600 8E1")
    assert "need 137% of the line /dev/ttyS0 9600 8E1; values come later than asked for" in said
    assert "default/a takes 131%; a collectCycle of 360 ms in place of 200 would do" in said
    mended = budget([(block(100, "default/a"), 0.36), (block(10, "default/b"), 1.0)], SLOW)
    assert mended.warning("x") == ""


def test_where_no_device_alone_can_mend_it_all_are_asked() -> None:
    plan = budget([(block(10, f"default/d{at}"), 0.1) for at in range(20)], SLOW)
    said = plan.warning("x")
    assert "20 devices share it; collectCycles 14.0 times as long would do" in said


def test_nearly_full_is_warned_of_without_lateness() -> None:
    plan = Budget(needs=0.9, by_device={"a": 0.9}, requests_s=1, periods_s={"a": 1.0})
    assert "values come later" not in plan.warning("x") and "90%" in plan.warning("x")


@given(st.lists(st.tuples(st.integers(1, 125), st.sampled_from("abc"), st.floats(0.01, 3600)), max_size=20))
def test_the_devices_parts_make_up_the_whole(polls: list[tuple[int, str, float]]) -> None:
    plan = budget([(block(count, device), period_s) for count, device, period_s in polls], SLOW)
    assert sum(plan.by_device.values()) == pytest.approx(plan.needs)
    if plan.needs > 1:
        assert plan.warning("x")


def test_periods_are_rounded_up_as_people_write_them() -> None:
    assert [round_up_ms(at) for at in (7, 99.2, 341, 1234, 12_001)] == [7, 100, 350, 1300, 13_000]
