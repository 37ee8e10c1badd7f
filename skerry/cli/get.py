"""`skerry get` and `skerry delete`: the everyday look at the fleet."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import click

from skerry.cli import kinds
from skerry.cli.client import TABLE, Client, path_of
from skerry.cli.options import everywhere_option, namespace_option, table_option
from skerry.cli.output import ServerTable, check_format, print_data, print_names, print_warnings, resource_name, say
from skerry.cli.plain_table import plain_table
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.objects.json import JsonObject, decode_object, dig, maps_at, str_at
from skerry.objects.scheme import Kind


@click.command("get")
@click.argument("what")
@click.argument("names", nargs=-1)
@namespace_option
@everywhere_option
@click.option("-l", "--selector", default="", help="Label selector, as kubectl's.")
@table_option
@click.option("-w", "--watch", is_flag=True, help="Stay, and show changes as they come.")
@with_target
def get(
    target: Target,
    what: str,
    names: Sequence[str],
    namespace: str,
    all_namespaces: bool,
    selector: str,
    form: str,
    watch: bool,
) -> None:
    """List objects: `skerry get pods`, `skerry get nodes,devices -o wide`, `skerry get deploy/web -o yaml`."""
    check_format(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    query = {"labelSelector": selector} if selector else {}
    words = what.split(",")
    if watch and len(words) > 1:
        raise BadRequestError("--watch follows one kind: it can't take turns between several")
    answers: list[JsonObject] = []
    for word in words:
        kind_word, slash, name = word.partition("/")
        kind = kinds.resolve(client, kind_word)
        wanted = [name] if slash else list(names)
        if watch:
            _watch(client, kind, place, wanted, query, form)
        else:
            answers += _show(client, kind, place, wanted, query, form)
    if answers:
        print_data(answers[0] if len(answers) == 1 else _list_of(answers), form)


def _show(
    client: Client, kind: Kind, place: str, names: Sequence[str], query: dict[str, str], form: str
) -> list[JsonObject]:
    """Print what can be printed piece by piece; give back what becomes one document of JSON or YAML."""
    if place == "" and kind.namespaced and names:
        raise BadRequestError("an object can't be named across all namespaces: give its namespace with -n")
    paths = [path_of(kind, place, name) for name in names] or [path_of(kind, place)]
    table = ServerTable(wide=form == "wide", with_namespace=kind.namespaced and not place)
    documents: list[JsonObject] = []
    for path in paths:
        if form in ("table", "wide"):
            answer = client.request("GET", path, query=query, accept=TABLE)
            print_warnings(answer.warnings)
            _print_answer(answer.obj, kind, place, table)
            continue
        answer = client.request("GET", path, query=query)
        if form == "name":
            print_names(_items(answer.obj), kind)
        else:
            documents.append(answer.obj)
    return documents


def _items(obj: JsonObject) -> list[JsonObject]:
    return maps_at(obj, "items") if "items" in obj else [obj]


def _list_of(answers: Sequence[JsonObject]) -> JsonObject:
    """Several answers as one List, which a program can read."""
    return {"apiVersion": "v1", "kind": "List", "items": [item for answer in answers for item in _items(answer)]}


def _print_answer(obj: JsonObject, kind: Kind, place: str, table: ServerTable) -> None:
    if str_at(obj, "kind") != "Table":
        obj = plain_table(_items(obj), kind.kind, round(time.time() * 1000))
    if not dig(obj, "rows"):
        where = f" in namespace {place}" if place and kind.namespaced else ""
        say(f"No {kind.plural} found{where}.", err=True)
        return
    table.show(obj)


def _watch(client: Client, kind: Kind, place: str, names: Sequence[str], query: dict[str, str], form: str) -> None:
    if len(names) > 1:
        raise BadRequestError("--watch follows one object or a whole collection, not several names")
    query = {**query, "watch": "true"}
    if names:
        query["fieldSelector"] = f"metadata.name={names[0]}"
    tables = form in ("table", "wide")
    table = ServerTable(wide=form == "wide", with_namespace=kind.namespaced and not place)
    for line in client.lines(path_of(kind, place), query=query, accept=TABLE if tables else "application/json"):
        event = decode_object(line)
        obj = event.get("object")
        if str_at(event, "type") == "ERROR" or not isinstance(obj, dict):
            raise BadRequestError(str_at(event, "object", "message") or "the watch ended")
        if tables:
            _print_answer(obj, kind, place, table)
        elif form == "name":
            print_names([obj], kind)
        elif form == "json":
            say(json.dumps(obj))
        else:
            say("---")
            print_data(obj, form)


@click.command("delete")
@click.argument("what")
@click.argument("names", nargs=-1)
@namespace_option
@click.option("--cascade", type=click.Choice(["background", "foreground", "orphan"]), default="background")
@click.option("--grace-period", type=int, default=None, help="Seconds pods get to stop; 0 removes at once.")
@with_target
def delete(
    target: Target, what: str, names: Sequence[str], namespace: str, cascade: str, grace_period: int | None
) -> None:
    """Delete objects by name: `skerry delete pod web-1`, `skerry delete deploy/web`."""
    client = target.client()
    kind_word, slash, name = what.partition("/")
    wanted = [name] if slash else list(names)
    if not wanted:
        raise BadRequestError(f"delete what? Name one or more {kind_word}: skerry delete {kind_word} NAME")
    kind = kinds.resolve(client, kind_word)
    body: JsonObject = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": cascade.capitalize(),
    }
    if grace_period is not None:
        body["gracePeriodSeconds"] = grace_period
    for name in wanted:
        client.request("DELETE", path_of(kind, namespace or client.namespace, name), body=body)
        say(f"{resource_name(kind, name)} deleted")
