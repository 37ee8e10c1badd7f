"""One list in every form."""

from __future__ import annotations

import csv
import io
import json

import pytest
import yaml

from skerry.cli.listing import Listing, Row, check_listed, cut, fields_of, narrowed, print_listing
from skerry.errors import BadRequestError

LISTING = Listing(
    titles=("NAME", "MODEL", "VALUES"),
    rows=(
        Row(cells=("a", "m1", 'x=1, "y"'), obj={"spec": {"node": "n", "ports": [{"at": 7}]}}, name="device/a"),
        Row(cells=("b", "m2", "z"), obj={"spec": {}}, name="device/b"),
    ),
    wide=frozenset({"MODEL"}),
)


def shown(capsys: pytest.CaptureFixture[str], form: str, fields: str = "", *, one: bool = False) -> str:
    print_listing(LISTING, form, fields_of(fields), one=one)
    return capsys.readouterr().out


def test_tables_are_for_people_and_wide_ones_have_all_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "table").splitlines() == ["NAME   VALUES", 'a      x=1, "y"', "b      z"]
    assert shown(capsys, "wide").splitlines()[0] == "NAME   MODEL   VALUES"
    assert shown(capsys, "name").splitlines() == ["device/a", "device/b"]


def test_programs_get_whole_objects_one_a_line_or_in_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert [json.loads(line) for line in shown(capsys, "jsonl").splitlines()] == [row.obj for row in LISTING.rows]
    assert json.loads(shown(capsys, "json"))["items"] == [row.obj for row in LISTING.rows]
    assert yaml.safe_load(shown(capsys, "yaml"))["kind"] == "List"
    rows = list(csv.reader(io.StringIO(shown(capsys, "csv"))))
    assert rows == [["name", "model", "values"], ["a", "m1", 'x=1, "y"'], ["b", "m2", "z"]]


def test_fields_are_columns_or_places_in_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    fields = "name,.spec.node,.spec.ports[0].at"
    assert shown(capsys, "table", fields).splitlines() == [
        "NAME   NODE     AT",
        "a      n        7",
        "b      <none>   <none>",
    ]
    assert json.loads(shown(capsys, "jsonl", fields).splitlines()[0]) == {
        "name": "a",
        "spec.node": "n",
        "spec.ports[0].at": 7,
    }
    assert shown(capsys, "csv", "NAME,.spec.node").splitlines() == ["NAME,spec.node", "a,n", "b,<none>"]
    assert json.loads(shown(capsys, "json", "name")) == [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize(
    ("field", "why"),
    [("nmae", "use name, model, values"), (".spec..node", "a path is written as"), (".", "a path is")],
)
def test_a_field_that_there_is_not_is_named_with_those_that_there_are(field: str, why: str) -> None:
    with pytest.raises(BadRequestError, match=why):
        print_listing(LISTING, "csv", (field,))
    with pytest.raises(BadRequestError, match=why):
        print_listing(Listing(titles=LISTING.titles, rows=()), "table", (field,))


def test_nothing_is_told_to_people_and_is_an_empty_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = Listing(titles=("NAME",), rows=())
    print_listing(nothing, "table", empty="No devices found.")
    assert capsys.readouterr() == ("", "No devices found.\n")
    print_listing(nothing, "json", empty="x")
    assert json.loads(capsys.readouterr().out)["items"] == []
    print_listing(nothing, "csv", empty="x")
    assert capsys.readouterr() == ("name\n", "")


def test_one_thing_that_was_asked_for_is_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    only = Listing(titles=("NAME",), rows=LISTING.rows[:1])
    print_listing(only, "json", one=True)
    assert json.loads(capsys.readouterr().out) == LISTING.rows[0].obj


def test_what_does_not_fit_ends_in_an_ellipsis() -> None:
    assert (cut("abcdef", 6), cut("abcdef", 5), cut("abcdef", 1)) == ("abcdef", "abcd…", "…")


def test_a_form_that_there_is_not_names_those_that_there_are() -> None:
    with pytest.raises(BadRequestError, match="jsonl, csv"):
        check_listed("xml")


TITLES = ("TIME", "PROPERTY", "BEFORE", "WANTED", "BY", "REASON")
WANTED = [
    ["2026-11-28T16:46:25.519000Z", "setpoint", "(nothing)", "21.5", "system:serviceaccount:plant", "a long story"],
    ["2026-11-28T16:46:28.793000Z", "fan", "false", "true", "ann", ""],
]  # fmt: skip


def line_lengths(columns: int) -> list[int]:
    rows = narrowed(WANTED, TITLES, columns)
    widths = [max(len(line[at]) for line in (TITLES, *rows)) for at in range(len(TITLES))]
    return [sum(widths[:-1]) + 15 + len(row[-1]) for row in rows]


def test_a_table_fits_on_the_terminal_whatever_gives_way() -> None:
    for columns in range(76, 200):
        assert max(line_lengths(columns)) <= columns, columns
    assert narrowed(WANTED, TITLES, 200) == WANTED, "where there is room nothing is cut"


def test_at_eighty_columns_fractions_go_and_the_widest_is_cut() -> None:
    assert narrowed(WANTED, TITLES, 80) == [
        ["2026-11-28T16:46:25Z", "setpoint", "(nothing)", "21.5", "system:servicea…", "a lon…"],
        ["2026-11-28T16:46:28Z", "fan", "false", "true", "ann", ""],
    ]


def test_the_name_stays_whole_and_so_does_a_table_that_can_t_be_made_to_fit() -> None:
    assert narrowed([["x" * 100, "abc"]], ("NAME", "A"), 80) == [["x" * 100, "abc"]]
    assert narrowed([["x" * 100]], ("NAME",), 80) == [["x" * 79 + "…"]]


def test_on_a_terminal_columns_in_which_nothing_stands_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (Row(cells=("a", "", "1"), obj={}), Row(cells=("b", "", "2"), obj={}))
    listing = Listing(titles=("NAME", "REASON", "N"), rows=rows)
    print_listing(listing, "table")
    assert capsys.readouterr().out == "NAME   REASON   N\na               1\nb               2\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_listing(listing, "table")
    assert "REASON" not in capsys.readouterr().out
    print_listing(listing, "wide")
    assert "REASON" in capsys.readouterr().out
