"""One list in every form."""

from __future__ import annotations

import csv
import io
import json

import pytest
import yaml

from skerry.cli.listing import Listing, Row, check_listed, cut, fields_of, print_listing
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
