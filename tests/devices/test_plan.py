"""Joining reads, and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.plan import Boundary, Limits, Point, Table, gap_worth, parse_address, parse_range, plan_blocks, split
from skerry.errors import InvalidError


def point(address: int, count: int = 1, *, unit: int = 1, table: Table = "holding", alone: bool = False) -> Point:
    return Point(device="d", prop=f"{address}", unit=unit, table=table, address=address, count=count, alone=alone)


def spans(points: list[Point], **limits: int) -> list[tuple[int, int]]:
    return within(points, Limits(**limits))  # pyright: ignore[reportArgumentType] - a table of limits


def within(points: list[Point], limits: Limits) -> list[tuple[int, int]]:
    return [(block.address, block.count) for block in plan_blocks(points, limits)]


def test_neighbours_are_joined_and_strangers_are_not() -> None:
    assert spans([point(0), point(2, 2), point(200)]) == [(0, 4), (200, 1)]
    assert spans([point(0), point(18)], gap_max=16) == [(0, 1), (18, 1)]
    assert spans([point(0), point(17)], gap_max=16) == [(0, 18)]


def test_units_and_tables_are_never_joined() -> None:
    assert len(plan_blocks([point(0), point(1, unit=2), point(2, table="input")], Limits())) == 3


def test_a_block_stays_within_the_limit_and_never_splits_a_value() -> None:
    assert spans([point(at, 2) for at in range(0, 10, 2)], registers_max=5) == [(0, 4), (4, 4), (8, 2)]


def test_a_point_that_must_be_read_alone_is() -> None:
    assert spans([point(0), point(1, alone=True), point(2)]) == [(0, 1), (1, 1), (2, 1)]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 4), st.integers(1, 2)), max_size=30),
    st.integers(4, 125),
    st.integers(0, 20),
    st.frozensets(st.tuples(st.just(1), st.just("holding"), st.integers(0, 300)), max_size=3),
)
def test_every_point_is_read_exactly_once_whole_within_limits(
    places: list[tuple[int, int, int]],
    registers_max: int,
    gap_max: int,
    boundaries: frozenset[tuple[int, Table, int]],
) -> None:
    points = [point(address, count, unit=unit) for address, count, unit in places]
    blocks = plan_blocks(points, Limits(registers_max=registers_max, gap_max=gap_max), boundaries)
    assert sorted(map(repr, points)) == sorted(repr(inside) for block in blocks for inside in block.points)
    for block in blocks:
        assert block.count <= registers_max
        for inside in block.points:
            assert block.address <= inside.address and inside.address + inside.count <= block.end


def test_a_refused_block_is_halved_until_the_illegal_place_is_alone() -> None:
    points = [point(at) for at in range(8)]
    illegal = 5
    boundaries: frozenset[tuple[int, Table, int]] = frozenset()
    blocks = plan_blocks(points, Limits())
    while any(block.address <= illegal < block.end and len(block.points) > 1 for block in blocks):
        bad = next(block for block in blocks if block.address <= illegal < block.end)
        halves = split(bad)
        assert halves is not None
        boundary: Boundary = (1, "holding", halves[1].address)
        boundaries |= {boundary}
        blocks = plan_blocks(points, Limits(), boundaries)
    assert [(block.address, block.count) for block in blocks] == [(0, 4), (4, 1), (5, 1), (6, 2)]
    assert split(blocks[2]) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hr:0", "hr:0 (40001)"),
        ("40001", "hr:0 (40001)"),
        ("4x0001", "hr:0 (40001)"),
        ("400001", "hr:0 (40001)"),
        ("465536", "hr:65535 (465536)"),
        ("ir:0x10", "ir:16 (30017)"),
        ("30017", "ir:16 (30017)"),
        ("10001", "di:0 (10001)"),
        ("00001", "co:0 (00001)"),
        ("hr:5.3", "hr:5.3 (40006)"),
    ],
)
def test_addresses_in_the_forms_that_manuals_use(text: str, shown: str) -> None:
    assert str(parse_address(text)) == shown


@pytest.mark.parametrize("text", ["100", "0x0000", "40000", "hr:65536", "co:1.2", "hr:1.16", "xx:1", "", "20001"])
def test_what_can_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_address(text)


def test_a_gap_is_worth_what_another_request_would_cost_the_line() -> None:
    assert gap_worth(0) == 64
    assert gap_worth(11 / 1200) == 11
    assert gap_worth(11 / 9600) == 18
    assert gap_worth(10 / 115200) == 124


def test_places_that_must_not_be_read_are_not_read_along() -> None:
    no_read = (parse_range("hr:3-4"),)
    assert within([point(0), point(9)], Limits(no_read=no_read)) == [
        (0, 1),
        (9, 1),
    ]
    assert within([point(4), point(9)], Limits(no_read=no_read)) == [(4, 6)]
    other = (parse_range("ir:3-4"), parse_range("hr:200"))
    assert within([point(0), point(9)], Limits(no_read=other)) == [(0, 10)]


@pytest.mark.parametrize("text", ["hr:9-3", "40001-40009", "hr:1-x", "hr:1.3", "5", "hr:0-70000"])
def test_a_range_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_range(text)
