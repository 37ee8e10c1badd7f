"""What is asked of a history, and long ones as steps."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadRequestError
from skerry.objects.history import (
    AGGREGATES,
    HistoryQuestion,
    Hole,
    Place,
    Point,
    Steps,
    Thinning,
    aggregates_of,
    answer_of,
    number_of,
    question_of,
    step_ms_of,
    token_of,
)
from skerry.objects.json import JsonObject, int_at, str_at


def thinned(*points: Point, step_ms: int = 60_000) -> list[JsonObject]:
    steps = Steps(Thinning(step_ms=step_ms, aggregates=AGGREGATES))
    return [*(row for point in points for row in steps.add(point)), *steps.end()]


def test_a_step_has_what_was_read_in_it_and_nothing_else() -> None:
    first, second = thinned(
        Point(60_000, "1"),
        Point(61_000, "4.50", uncertain=True),
        Point(62_000),
        Point(65_000, hole=Hole("eu-1", 1, 3)),
        Point(66_000, hole=Hole("eu-1", 1, 7)),
        Point(119_999, "2.5"),
        Point(185_000, "9"),
    )
    assert first == {
        "time": "1970-01-01T00:01:00.000000Z",
        "min": "1",
        "max": "4.50",
        "avg": "2.66666666666667",
        "first": "1",
        "last": "2.5",
        "count": 3,
        "uncertain": 1,
        "bad": 1,
        "dropped": 7,
    }, "of two that tell of one hole, the later stands; readings are in their own words"
    assert second["time"] == "1970-01-01T00:03:00.000000Z", "a step in which nothing was is left out"


def test_a_hole_that_is_told_again_later_counts_what_is_new() -> None:
    rows = thinned(
        Point(1000, hole=Hole("eu-1", 1, 3)),
        Point(61_000, hole=Hole("eu-1", 1, 5)),
        Point(62_000, hole=Hole("b", 1, 1)),
        Point(63_000, hole=Hole("eu-1", 1, 5)),
        Point(64_000, hole=Hole("eu-1", 1, 4)),
    )
    assert [row["dropped"] for row in rows] == [3, 3]


def test_what_is_no_number_has_no_mean_and_truth_has_one() -> None:
    (row,) = thinned(Point(1, "open"), Point(2, "shut"))
    assert [row[name] for name in ("min", "max", "avg", "first", "last", "count")] == [
        None,
        None,
        None,
        "open",
        "shut",
        2,
    ]
    (row,) = thinned(Point(1, "true"), Point(2, "false"))
    assert (row["avg"], row["min"], row["max"]) == ("0.5", "false", "true")
    (row,) = thinned(Point(1, "nan"), Point(2, "inf"), Point(3, "7"))
    assert (row["avg"], row["max"], row["count"]) == ("7", "7", 3)
    (row,) = thinned(Point(1, "1e308"), Point(2, "1e308"))
    assert (row["avg"], row["max"]) == ("1e+308", "1e308"), "their sum is no double, and their mean is"
    (row,) = thinned(*(Point(1, "1e308") for _ in range(5000)), *(Point(2, "-1e308") for _ in range(5000)))
    assert row["avg"] == "0"
    (row,) = thinned(Point(1, "1_000"), Point(2, " 7 "), Point(3, chr(0xFF15)), Point(4, "0x10"))
    assert (row["avg"], row["max"], row["count"]) == (None, None, 4), "texts that Python would read as numbers"


def test_of_large_whole_numbers_the_lowest_and_the_highest_are_what_was_read() -> None:
    """As doubles all of these are one."""
    whole = ["9007199254740992", "9007199254740993", "-9223372036854775807", "-9223372036854775808"]
    (row,) = thinned(*(Point(1, text) for text in whole))
    assert (row["min"], row["max"]) == (whole[3], whole[1])
    assert number_of("9" * 400) is None and number_of("-.5e1") == -5.0 and number_of("+7.") == 7.0


def paged(points: list[Point], step: str, limit: int) -> list[JsonObject]:
    """Page by page, as the cloud does."""
    shown, token = list[JsonObject](), ""
    while True:
        asked = question(step=step, aggregate="count", **({"continue": token} if token else {}))
        assert asked.steps is not None
        steps, page = Steps(asked.steps, asked.told), list[JsonObject]()
        for point in points:
            if point.at_ms >= asked.since_ms:
                page += steps.add(point)
            if len(page) >= limit:
                break
        else:
            return [*shown, *page, *steps.end()]
        shown, token = shown + page, steps.token


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.sampled_from(["a", "b.c"])), max_size=30),
    st.integers(1, 4),
)
def test_holes_count_once_over_any_pages(told: list[tuple[int, int, str]], limit: int) -> None:
    """Each is told again when it has grown."""
    counts: Counter[tuple[str, int]] = Counter()
    points: list[Point] = []
    for at_s, number, node in sorted(told):
        counts[node, number] += 1 + at_s % 3
        points.append(Point(at_s * 1000, hole=Hole(node, number, counts[node, number])))
    rows = paged(points, "5s", limit)
    assert rows == paged(points, "5s", 1000)
    assert sum(int_at(row, "dropped") for row in rows) == counts.total()


@given(st.lists(st.integers(0, 100_000), max_size=50), st.integers(1, 1000))
def test_no_reading_is_lost_or_counted_twice(times: list[int], step_s: int) -> None:
    rows = thinned(*(Point(at * 1000, str(at)) for at in sorted(times)), step_ms=step_s * 1000)
    assert sum(int_at(row, "count") for row in rows) == len(times)
    for row in rows:
        low, high = (int(str_at(row, name)) for name in ("min", "max"))
        assert low // step_s == high // step_s


def question(**given: str) -> HistoryQuestion:
    return question_of(lambda name: ({"property": "t"} | given).get(name, ""))


def test_a_question_by_time_by_arrival_and_by_steps() -> None:
    plain = question(sinceTime="1970-01-01T00:00:01Z", untilTime="1970-01-01T00:00:09Z", limit="7")
    assert (plain.since_ms, plain.until_ms, plain.limit, plain.order, plain.steps) == (1000, 9000, 7, "oldest", None)
    place = Place(5, 6, 7)
    later = question(**{"continue": token_of("newest", place)})
    assert (later.newest_first, later.place) == (True, place)
    assert question(after="4").after == 4
    steps = question(step="90s", aggregate="max, last,max", limit="99999")
    assert (steps.steps, steps.limit) == (Thinning(step_ms=90_000, aggregates=("max", "last")), 10_000)
    on = question(step="1m", sinceTime="1970-01-01T00:00:01Z", **{"continue": "step.120000~7~3~eu-1~9~1~eu.2"})
    assert on.since_ms == 120_000
    assert on.told == (Hole("eu-1", 7, 3), Hole("eu.2", 9, 1))
    told = answer_of(on, namespace="ns", name="plc", items=[], token="x")
    assert (told["stepMs"], told["aggregates"], told["metadata"]) == (
        60_000,
        ["min", "max", "avg"],
        {"name": "plc", "namespace": "ns", "continue": "x"},
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"step": "1m", "after": "1"}, "step: steps are in order of time"),
        ({"step": "1m", "order": "newest"}, "step: steps are in order of time"),
        ({"step": "0s"}, "step: '0s' is not a duration: write 500ms, 10s"),
        ({"step": "9999999d"}, "a year at most"),
        ({"step": "m"}, "is not a duration"),
        ({"step": "1m", "aggregate": "median"}, "aggregate: 'median' is none of min, max"),
        ({"step": "1m", "aggregate": ","}, "aggregate: name at least one"),
        ({"step": "1m", "continue": "oldest.1.2.3"}, "continue: must be what"),
        ({"aggregate": "min"}, "aggregate: of steps"),
        ({"property": ""}, "property: required"),
        ({"untilTime": "soon"}, "cannot parse"),
    ],
)
def test_a_question_that_makes_no_sense_names_the_parameter(given: dict[str, str], why: str) -> None:
    with pytest.raises(BadRequestError, match=why):
        question(**given)


def test_lengths_of_steps_and_names_of_aggregates() -> None:
    assert [step_ms_of(text) for text in ("500ms", "10s", "1m", "6h", "1d")] == [
        500,
        10_000,
        60_000,
        21_600_000,
        86_400_000,
    ]
    assert aggregates_of("min, max") == ("min", "max")
