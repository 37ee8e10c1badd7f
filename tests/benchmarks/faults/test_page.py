from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.faults.case import NOT_TESTED, Case, Figure, exactly, number_text
from benchmarks.faults.page import Result, page, results_in

CASE = Case(number=2, name="offline", title="Offline", method="Cut it.", kubeedge=NOT_TESTED, run=lambda: ())


def a_result(*figures: Figure, failure: str = "") -> Result:
    return Result(case="offline", machine="2 cores", figures=figures, failure=failure)


@pytest.mark.parametrize(
    ("figure", "holds", "limit"),
    [
        (Figure(what="w", value=5, at_most=5), True, "≤ 5"),
        (Figure(what="w", value=5.01, at_most=5), False, "≤ 5"),
        (Figure(what="w", value=4, at_least=5), False, "≥ 5"),
        (Figure(what="w", value=5, at_least=5), True, "≥ 5"),
        (exactly("w", 0, 0), True, "= 0"),
        (exactly("w", 1, 0), False, "= 0"),
        (Figure(what="w", value=1e9), True, ""),
    ],
)
def test_a_figure_holds_within_its_limits(figure: Figure, *, holds: bool, limit: str) -> None:
    assert (figure.holds, figure.limit_text) == (holds, limit)


def test_numbers_have_no_digits_that_mean_nothing() -> None:
    assert [number_text(value) for value in (0, 12345, 0.123, 12.345, 1234.5)] == [
        "0",
        "12,345",
        "0.12",
        "12.3",
        "1,234",
    ]


def test_results_are_read_as_they_were_kept(tmp_path: Path) -> None:
    results = [a_result(Figure(what="w", value=1, unit="s", at_most=2)), a_result(failure="no strace")]
    (tmp_path / "faults.json").write_text(json.dumps([each.as_json() for each in results]))
    assert results_in(tmp_path / "faults.json") == results
    assert results_in(tmp_path / "nothing.json") == []


def test_the_page_shows_each_figure_beside_its_limit_and_what_is_broken() -> None:
    text = page([CASE], [a_result(Figure(what="back after", value=9, unit="s", at_most=5))])
    assert "0 of 1 cases hold" in text
    assert "| back after | 9 s | ≤ 5 | **broken** |" in text
    assert "not tested upstream" in text


def test_a_case_that_could_not_be_carried_out_does_not_hold() -> None:
    text = page([CASE], [a_result(failure="strace is not installed")])
    assert "0 of 1 cases hold" in text and "strace is not installed" in text


def test_a_case_that_was_not_run_is_not_on_the_page() -> None:
    assert "Offline" not in page([CASE], [])
