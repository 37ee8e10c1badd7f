from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.faults.__main__ import CASES, ROOT, chosen, keep
from benchmarks.faults.case import NOT_TESTED, Case, Figure, exactly, number_text
from benchmarks.faults.page import KEPT, LIST, PAGE, Result, page, results_in
from skerry.frozen import replace

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
    text = page([CASE], [a_result(Figure(what="back after", value=9, unit="s", at_most=5, target=1))])
    assert "Of 15 cases 1 are measured, and 0 hold." in text and "**Broken**: 2." in text
    assert "| back after | 9 s | ≤ 5 | ≤ 1 | **broken** |" in text
    assert "not tested upstream" in text


def test_a_target_that_is_missed_is_marked_though_the_case_holds() -> None:
    figures = (Figure(what="back after", value=1.81, unit="s", at_most=5, target=1.5), exactly("lost", 0, 0))
    text = page([CASE], [a_result(*figures)])
    assert "Of 15 cases 1 are measured, and 1 hold." in text and "Broken" not in text
    assert "Of 1 figures with a target 1 misses it.\n\n- Case 2, back after: **1.81 s**, target ≤ 1.50\n" in text
    assert "| back after | 1.81 s | ≤ 5 | ≤ 1.50 | **missed** |" in text
    assert "| lost | 0 | = 0 |  | holds |" in text


def test_a_number_of_two_halves_counts_once_and_holds_where_both_do() -> None:
    other = replace(CASE, name="again")
    good, bad = exactly("lost", 0, 0), exactly("lost", 1, 0)
    for halves, held in (((good, good), 1), ((good, bad), 0)):
        results = [
            replace(a_result(figure), case=case.name) for figure, case in zip(halves, (CASE, other), strict=True)
        ]
        assert f"Of 15 cases 1 are measured, and {held} hold." in page([CASE, other], results)


def test_a_case_that_could_not_be_carried_out_does_not_hold() -> None:
    text = page([CASE], [a_result(failure="strace is not installed")])
    assert "and 0 hold" in text and "strace is not installed" in text


def test_a_case_that_was_not_run_is_not_on_the_page_and_named_as_missing() -> None:
    text = page([CASE], [])
    assert "Offline" not in text and f"Not measured: {', '.join(map(str, LIST))}." in text


def test_cases_are_chosen_by_name_and_number_each_once() -> None:
    assert [case.name for case in chosen(["12", "half-open", "1"])] == ["half-open", "recreated"]
    assert {case.number for case in chosen(["10"])} == {10} and len(chosen(["10"])) == 2
    assert chosen([]) == CASES
    with pytest.raises(ValueError, match="no such case: 0, half \\(there are: 1 half-open, 2 offline"):
        chosen(["0", "half", "2"])


def test_a_case_that_was_run_changes_its_own_section_alone(tmp_path: Path) -> None:
    for path in (KEPT, PAGE):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    before = (ROOT / PAGE).read_text().split("\n## ")
    keep(Result(case="recreated", machine="another", figures=(exactly("containers restarted", 0, 0),)), tmp_path)
    after = (tmp_path / PAGE).read_text().split("\n## ")
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1 and "`python -m benchmarks.faults recreated` on another" in changed[0]
    assert [each.case for each in results_in(tmp_path / KEPT)] == [case.name for case in CASES]


def test_the_page_in_the_repository_is_made_of_the_figures_beside_it() -> None:
    assert (ROOT / PAGE).read_text() == page(CASES, results_in(ROOT / KEPT)), "make faults writes both"
