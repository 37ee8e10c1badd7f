"""Prometheus' text format."""

from __future__ import annotations

import pytest

from skerry.forms.exposition import Family, Sample, counter, exposition, gauge, histogram


def test_a_page_names_each_family_once_and_escapes_labels() -> None:
    families = [
        Family("x", "gauge", "One\nline.", (Sample(1, (("a", 'q"\\\n'),)), Sample(2.5, (("a", "b"),), "", 7))),
        counter("y_total", "Y.", 3),
        Family("z", "gauge", "Nothing.", ()),
    ]
    assert exposition(families).decode() == (
        "# HELP x One\\nline.\n# TYPE x gauge\n"
        'x{a="q\\"\\\\\\n"} 1\nx{a="b"} 2.5 7\n'
        "# HELP y_total Y.\n# TYPE y_total counter\ny_total 3\n"
    )


def test_a_histogram_counts_up_to_each_bound() -> None:
    page = exposition([histogram("t", "T.", bounds=(0.5, 1.0), counts=[1, 2, 4], total=9.25)]).decode()
    assert page.splitlines()[2:] == [
        't_bucket{le="0.5"} 1',
        't_bucket{le="1"} 3',
        't_bucket{le="+Inf"} 7',
        "t_sum 9.25",
        "t_count 7",
    ]


@pytest.mark.parametrize(("value", "shown"), [(True, "1"), (0.1, "0.1"), (1e15, "1000000000000000")])
def test_numbers_are_written_so_that_none_is_lost(value: float, shown: str) -> None:
    assert exposition([gauge("g", "G.", value)]).decode().splitlines()[-1] == f"g {shown}"
