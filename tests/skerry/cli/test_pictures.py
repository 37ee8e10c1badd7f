"""Long histories on one screen."""

from __future__ import annotations

from skerry.cli.pictures import Reading, columns_of, number_text, plot, reading_of, sparkline
from skerry.objects.json import JsonObject
from skerry.objects.times import micro_time_text


def row(at_s: int, value: str | None) -> JsonObject:
    return {"time": micro_time_text(at_s * 1000), "value": value, "quality": "good" if value else "bad"}


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


def test_numbers_are_short() -> None:
    assert (number_text(20.0), number_text(1 / 3)) == ("20", "0.3333333")
