"""Tables of a server, one after the other, and names as kubectl gives them."""

from __future__ import annotations

import pytest

from skerry.cli.output import ServerTable, print_table, resource_name
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
