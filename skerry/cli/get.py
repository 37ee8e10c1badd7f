"""`skerry get` and `skerry delete`: the everyday look at the fleet."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import click

from skerry.cli import kinds
from skerry.cli.client import TABLE, Client, path_of
from skerry.cli.output import check_format, print_data, print_names, print_server_table, print_warnings
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError
from skerry.objects.json import JsonObject, bool_at, decode_object, dig, int_at, maps_at, str_at
from skerry.objects.meta import being_deleted, name_of
from skerry.objects.scheme import Kind
from skerry.objects.times import human_duration, ms_at


@click.command("get")
@click.argument("what")
@click.argument("names", nargs=-1)
@click.option("-n", "--namespace", default="", help="Namespace (default: the context's).")
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@click.option("-l", "--selector", default="", help="Label selector, as kubectl's.")
@click.option("-o", "--output", "form", default="table", help="table, wide, json, yaml or name.")
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
    for word in what.split(","):
        kind_word, slash, name = word.partition("/")
        kind = kinds.resolve(client, kind_word)
        place = "" if all_namespaces else namespace or client.namespace
        wanted = [name] if slash else list(names)
        query = {"labelSelector": selector} if selector else {}
        if watch:
            _watch(client, kind, place, wanted, query, form)
        else:
            _show(client, kind, place, wanted, query, form)


def _show(client: Client, kind: Kind, place: str, names: Sequence[str], query: dict[str, str], form: str) -> None:
    paths = [path_of(kind, place, name) for name in names] or [path_of(kind, place)]
    for path in paths:
        if form in ("table", "wide"):
            answer = client.request("GET", path, query=query, accept=TABLE)
            print_warnings(answer.warnings)
            _print_answer(answer.obj, kind, place, wide=form == "wide", headers=True)
            continue
        answer = client.request("GET", path, query=query)
        if form == "name":
            objects = maps_at(answer.obj, "items") if "items" in answer.obj else [answer.obj]
            print_names(objects, kind.resource)
        else:
            print_data(answer.obj, form)


def _print_answer(obj: JsonObject, kind: Kind, place: str, *, wide: bool, headers: bool) -> None:
    if str_at(obj, "kind") != "Table":
        obj = plain_table(maps_at(obj, "items") if "items" in obj else [obj], kind, now_s=time.time())
    if not dig(obj, "rows") and headers:
        where = f" in namespace {place}" if place and kind.namespaced else ""
        click.echo(f"No {kind.plural} found{where}.", err=True)
        return
    print_server_table(obj, wide=wide, with_namespace=kind.namespaced and not place, headers=headers)


def plain_table(objects: Sequence[JsonObject], kind: Kind, *, now_s: float) -> JsonObject:
    """For a server that computes no tables (the local agent): what a technician looks for, in a Table's form."""
    columns = ["Name", "Ready", "Status", "Restarts", "Age"] if kind.kind == "Pod" else ["Name", "Age"]
    return {
        "columnDefinitions": [{"name": name} for name in columns],
        "rows": [{"cells": [*_cells(obj, kind, now_s)], "object": obj} for obj in objects],
    }


def _cells(obj: JsonObject, kind: Kind, now_s: float) -> list[str]:
    created = ms_at(str_at(obj, "metadata", "creationTimestamp"))
    age = human_duration(now_s - created / 1000) if created else "<unknown>"
    if kind.kind != "Pod":
        return [name_of(obj), age]
    containers = maps_at(obj, "status", "containerStatuses")
    wanted = len(maps_at(obj, "spec", "containers"))
    ready = sum(bool_at(container, "ready") for container in containers)
    restarts = sum(int_at(container, "restartCount") for container in containers)
    return [name_of(obj), f"{ready}/{wanted}", _pod_status(obj, containers), str(restarts), age]


def _pod_status(pod: JsonObject, containers: Sequence[JsonObject]) -> str:
    """One word, as `kubectl get pods` finds it: what a container waits for or ended with says more than the phase."""
    if being_deleted(pod):
        return "Terminating"
    for container in containers:
        for state in ("waiting", "terminated"):
            reason = str_at(container, "state", state, "reason")
            if reason:
                return reason
    return str_at(pod, "status", "reason") or str_at(pod, "status", "phase") or "Unknown"


def _watch(client: Client, kind: Kind, place: str, names: Sequence[str], query: dict[str, str], form: str) -> None:
    if len(names) > 1:
        raise BadRequestError("--watch follows one object or a whole collection, not several names")
    query = {**query, "watch": "true"}
    if names:
        query["fieldSelector"] = f"metadata.name={names[0]}"
    tables = form in ("table", "wide")
    first = True
    for line in client.lines(path_of(kind, place), query=query, accept=TABLE if tables else "application/json"):
        event = decode_object(line)
        obj = event.get("object")
        if str_at(event, "type") == "ERROR" or not isinstance(obj, dict):
            raise BadRequestError(str_at(event, "object", "message") or "the watch ended")
        if tables:
            _print_answer(obj, kind, place, wide=form == "wide", headers=first)
            first = False
        elif form == "name":
            print_names([obj], kind.resource)
        elif form == "json":
            click.echo(json.dumps(obj))
        else:
            click.echo("---")
            print_data(obj, form)


@click.command("delete")
@click.argument("what")
@click.argument("names", nargs=-1)
@click.option("-n", "--namespace", default="")
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
        click.echo(f"{kind.resource}/{name} deleted")
