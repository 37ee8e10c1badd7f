"""Tables of a server, one after the other, and names as kubectl gives them."""

from __future__ import annotations

import csv
import io
import json
import sys
import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from skerry.cli.output import (
    ServerTable,
    joined,
    one_line,
    plain,
    print_csv,
    print_data,
    print_table,
    print_warnings,
    resource_name,
    say,
    styled,
)
from skerry.objects.json import Json, JsonObject
from skerry.objects.scheme import Kind

PODS = Kind(group="", version="v1", kind="Pod", plural="pods", namespaced=True, singular="pod")
COLUMNS: list[Json] = [{"name": "Name", "priority": 0}, {"name": "Status"}, {"name": "Node", "priority": 1}]


def table(*cells: Json, columns: bool = False) -> JsonObject:
    row: JsonObject = {"cells": list(cells), "object": {"metadata": {"name": "x", "namespace": "plant"}}}
    made: JsonObject = {"kind": "Table", "rows": [row]}
    if columns:
        made["columnDefinitions"] = COLUMNS
    return made


def test_the_tables_of_a_watch_after_the_first_have_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ServerTable(wide=False, with_namespace=False)
    shown.show(table("web-12345", "Pending", "eu-1", columns=True))
    shown.show(table("db", "Running", "eu-1"))
    assert capsys.readouterr().out.splitlines() == [
        "NAME        STATUS",
        "web-12345   Pending",
        "db          Running",
    ]


def test_wide_tables_over_all_namespaces_name_both(capsys: pytest.CaptureFixture[str]) -> None:
    ServerTable(wide=True, with_namespace=True).show(table("db", "Running", "eu-1", columns=True))
    assert capsys.readouterr().out.splitlines() == [
        "NAMESPACE   NAME   STATUS    NODE",
        "plant       db     Running   eu-1",
    ]


def test_a_line_ends_with_its_last_word(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["VALUE", "QUALITY", "REASON"], [["1", "good", ""], ["2", "bad", "silent"]])
    assert capsys.readouterr().out == "VALUE   QUALITY   REASON\n1       good\n2       bad       silent\n"


def test_objects_are_named_as_kubectl_names_them() -> None:
    apps = Kind(group="apps", version="v1", kind="Deployment", plural="deployments", namespaced=True)
    assert resource_name(PODS, "web-1") == "pod/web-1"
    assert resource_name(apps, "web") == "deployment.apps/web"


HOSTILE = "\x1b]0;owned\x07\x1b[2Jall\x9b31m is\r well\nfault"


@given(st.text())
def test_no_control_character_but_tabs_and_ends_of_lines_is_printed_and_documents_stay_what_they_are(
    text: str,
) -> None:
    left = {char for char in plain(text) if unicodedata.category(char) == "Cc"}
    assert left <= {"\t", "\n", "\x85"}
    assert len(one_line(text).splitlines()) <= 1
    assert json.loads(plain(json.dumps([text], ensure_ascii=False))) == [text]
    assert plain(plain(text)) == plain(text)


def test_what_others_say_moves_no_cursor_and_makes_no_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME", "REASON"), [(HOSTILE, HOSTILE)])
    ServerTable(wide=False, with_namespace=False).show(table(HOSTILE, HOSTILE, columns=True))
    print_warnings([HOSTILE])
    say(HOSTILE, fg="red")
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2 + 2 + 2
    shown = "\\u001b]0;owned\\u0007\\u001b[2Jall\\u009b31m is\\u000d well"
    assert (told.out + told.err).count(shown) == 6
    assert not {"\x1b", "\x9b", "\r", "\x07"} & {*told.out, *told.err}


def test_our_own_colours_stay() -> None:
    assert styled("ok\x1b[2J", fg="green") == "\x1b[32mok\\u001b[2J\x1b[0m"
    assert plain(joined([styled("ok", fg="green"), "\x1b"])) == "\x1b[32mok\x1b[0m\\u001b"


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_documents_say_exactly_what_was_said_and_harm_no_terminal(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    print_data({"says": HOSTILE}, form)
    out = capsys.readouterr().out
    assert yaml.safe_load(out) == {"says": HOSTILE}
    assert not {"\x1b", "\x9b", "\r", "\x07"} & {*out}


def test_csv_is_exact_for_programs_and_harmless_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_csv([[HOSTILE]])
    assert [*csv.reader(io.StringIO(capsys.readouterr().out, newline=""))] == [[HOSTILE]]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_csv([[HOSTILE]])
    assert "\x1b" not in capsys.readouterr().out
