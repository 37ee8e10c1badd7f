"""Long histories on one screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.cli.downsampling import (
    AGGREGATES,
    Reading,
    aggregates_of,
    columns_of,
    number_text,
    plot,
    reading_of,
    sparkline,
    steps_of,
)
from skerry.errors import BadRequestError
from skerry.objects.json import JsonObject
from skerry.objects.times import micro_time_text


def row(at_s: int, value: str | None) -> JsonObject:
    return {"time": micro_time_text(at_s * 1000), "value": value, "quality": "good" if value else "bad"}


def hole(at_s: int, count: int, id: int = 1) -> JsonObject:
    return {"time": micro_time_text(at_s * 1000), "node": "eu-1", "gap": {"id": id, "count": count}}


def test_a_step_has_what_was_read_in_it_and_nothing_else() -> None:
    rows = [row(60, "1"), row(61, "4"), row(62, None), hole(65, 3), hole(66, 7), row(119, "2.5"), row(185, "9")]
    steps = steps_of(rows, 60_000)
    assert [step.at_ms for step in steps] == [60_000, 180_000], "a step in which nothing was is left out"
    first = {name: steps[0].aggregate(name) for name in AGGREGATES}
    assert first == {"min": "1", "max": "4", "avg": "2.5", "first": "1", "last": "2.5", "count": "3"}
    assert (steps[0].bad, steps[0].lost) == (1, 7), "of two that tell of one hole, the later stands"


def test_what_is_no_number_has_no_mean_and_truth_has_one() -> None:
    (step,) = steps_of([row(1, "open"), row(2, "shut")], 60_000)
    assert [step.aggregate(name) for name in ("min", "avg", "first", "last", "count")] == [
        "",
        "",
        "open",
        "shut",
        "2",
    ]
    (step,) = steps_of([row(1, "true"), row(2, "false")], 60_000)
    assert step.aggregate("avg") == "0.5"


@given(st.lists(st.integers(0, 100_000), max_size=50), st.integers(1, 1000))
def test_no_reading_is_lost_or_counted_twice(times: list[int], step_s: int) -> None:
    steps = steps_of([row(at, "1") for at in sorted(times)], step_s * 1000)
    assert sum(len(step.readings) for step in steps) == len(times)
    for step in steps:
        assert all(step.at_ms <= reading.at_ms < step.at_ms + step_s * 1000 for reading in step.readings)


def test_a_picture_is_blank_where_nothing_was_read() -> None:
    readings = [Reading(at_ms=at, text=str(value), number=value) for at, value in ((0, 0.0), (10, 7.0), (39, 3.5))]
    columns = columns_of(readings, since_ms=0, until_ms=40, width=4)
    assert columns == [0.0, 7.0, None, 3.5]
    assert sparkline(columns) == "▁█ ▅"
    assert sparkline([None, None]) == "  " and sparkline([5.0, 5.0]) == "▄▄"
    lines = plot(columns, 2)
    assert lines == ["7 ┤ █ ▁", "0 ┤▁█ █"]
    assert plot([None], 3) == []


def test_a_reading_outside_of_the_time_is_not_drawn() -> None:
    early = Reading(at_ms=5, text="1", number=1.0)
    assert columns_of([early], since_ms=10, until_ms=20, width=2) == [None, None]
    assert reading_of(row(1, None)) == Reading(at_ms=1000, text="", number=None)


def test_names_of_aggregates() -> None:
    assert aggregates_of("min, max") == ("min", "max")
    assert (number_text(20.0), number_text(1 / 3)) == ("20", "0.3333333")
    for text in ("median", "", "min,mean"):
        with pytest.raises(BadRequestError, match="min, max, avg"):
            aggregates_of(text)
