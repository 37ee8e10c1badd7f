"""`skerry pod stop|start`, `skerry pod restart` on a gateway, `skerry upgrade`, `skerry node local-changes`: what a
technician does at the gateway itself, link or no link, and what the cloud knows of it later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import click

from skerry.cli.client import Client, path_of
from skerry.cli.logs import seconds_of
from skerry.cli.options import namespace_option
from skerry.cli.output import print_data, print_table, say
from skerry.cli.target import DeadlineError, Target, with_target
from skerry.errors import BadRequestError, NotFoundError
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.scheme import Kind
from skerry.objects.times import parse_time, time_text

_POD: Final = Kind(group="", version="v1", kind="Pod", plural="pods", namespaced=True)
LOOK_S: Final = 0.2
WAIT_S: Final = 90.0
"""As long as a usual grace, and the start after it."""


def gateway_of(target: Target) -> Client:
    """The agent of this gateway. Raises `BadRequestError` for a cloud."""
    client = target.client()
    if not client.local:
        raise BadRequestError(
            "this is done at the gateway itself: name its data directory with --data, or its --socket"
        )
    return client


# --- pods ---------------------------------------------------------------------------------------------------------


def restart_here(client: Client, name: str, namespace: str, container: str, *, wait: bool, timeout: str) -> None:
    """On the gateway itself, without the cloud."""
    place = namespace or client.namespace
    answer = client.request("POST", _path(place, name, "restart"), body={"container": container}).obj
    ends = map_at(answer, "ends")
    if not wait:
        say(f"{name} is being restarted")
        return

    def again(pod: JsonObject) -> bool:
        statuses = {str_at(each, "name"): each for each in maps_at(pod, "status", "containerStatuses")}
        return all(
            int_at(statuses.get(each), "restartCount", default=-1) > int_at(ends, each)
            and bool(str_at(statuses.get(each), "state", "running", "startedAt"))
            for each in ends
        )

    _await(client, place, name, again, timeout, "does not run again")
    say(f"{name} restarted")


@click.command("stop")
@click.argument("name")
@namespace_option
@click.option("--reason", default="", help="Why, for those who look in the cloud.")
@click.option("--wait/--no-wait", default=True, help="Stay until its containers have ended.")
@click.option("--timeout", default="", help="How long --wait waits; if not given, a minute and a half.")
@with_target
def stop(target: Target, name: str, namespace: str, reason: str, wait: bool, timeout: str) -> None:
    """End a pod's containers until `skerry pod start`, or until the cloud changes the pod (asks the local agent).

    It stays stopped across restarts and power cuts, and without a link; the cloud learns who did it, and when.
    """
    client, name = gateway_of(target), _bare(name)
    place = namespace or client.namespace
    client.request("POST", _path(place, name, "stop"), body={"reason": reason})
    if wait:
        _await(client, place, name, lambda pod: not _running(pod), timeout, "still runs")
    say(f"{name} {'stopped' if wait else 'is being stopped'}; `skerry pod start {name}` lets it run again")


@click.command("start")
@click.argument("name")
@namespace_option
@click.option("--wait/--no-wait", default=True, help="Stay until its containers run.")
@click.option("--timeout", default="", help="How long --wait waits; if not given, a minute and a half.")
@with_target
def start(target: Target, name: str, namespace: str, wait: bool, timeout: str) -> None:
    """Let a pod run again that was stopped with `skerry pod stop` (asks the local agent)."""
    client, name = gateway_of(target), _bare(name)
    place = namespace or client.namespace
    client.request("POST", _path(place, name, "start"), body={})
    if wait:
        _await(client, place, name, _all_run, timeout, "does not run yet")
    say(f"{name} {'started' if wait else 'is being started'}")


def _path(namespace: str, name: str, act: str) -> str:
    return f"{path_of(_POD, namespace, name)}/{act}"


def _bare(name: str) -> str:
    return name.removeprefix("pods/").removeprefix("pod/")


def _running(pod: JsonObject) -> bool:
    each = [*maps_at(pod, "status", "containerStatuses"), *maps_at(pod, "status", "initContainerStatuses")]
    return any(map_at(one, "state").get("running") is not None for one in each)


def _all_run(pod: JsonObject) -> bool:
    statuses = maps_at(pod, "status", "containerStatuses")
    return bool(statuses) and all(map_at(one, "state").get("running") is not None for one in statuses)


def _await(
    client: Client, place: str, name: str, level: Callable[[JsonObject], bool], timeout: str, what: str
) -> None:
    until_s = time.monotonic() + (seconds_of(timeout) if timeout else WAIT_S)
    while not level(client.request("GET", path_of(_POD, place, name)).obj):
        if time.monotonic() > until_s:
            raise DeadlineError(f"{name} {what}; it goes on by itself (skerry describe pod {name})")
        time.sleep(LOOK_S)


# --- upgrades -----------------------------------------------------------------------------------------------------


@click.group("upgrade")
def upgrade() -> None:
    """Upgrades from the cloud, as the gateway itself lets them in (asks the local agent)."""


@upgrade.command("hold")
@click.option("--until", default="", help="When they are let in by themselves: 8h, 2d, or a time (RFC 3339).")
@click.option("--reason", default="", help="Why, for those who look in the cloud.")
@with_target
def hold(target: Target, until: str, reason: str) -> None:
    """Keep what runs here as it is: what the cloud sends, changes or deletes waits until `skerry upgrade release`.

    It holds across restarts and power cuts. The cloud shows it as the Node's condition UpgradesHeld.
    """
    body: JsonObject = {"reason": reason}
    if until:
        body["until"] = time_text(_until_ms(until))
    answer = gateway_of(target).request("PUT", "/skerry/upgrade-hold", body=body).obj
    say(f"upgrades are held, {_until(answer)}; `skerry upgrade release` lets them in")


@upgrade.command("release")
@with_target
def release(target: Target) -> None:
    """Let in what the cloud has sent, changed and deleted meanwhile."""
    gateway_of(target).request("DELETE", "/skerry/upgrade-hold")
    say("upgrades are let in")


@upgrade.command("status")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json", "yaml"]), default="text")
@with_target
def status(target: Target, form: str) -> None:
    """Say whether upgrades are held here, by whom, since when and why."""
    answer = gateway_of(target).request("GET", "/skerry/upgrade-hold").obj
    if form != "text":
        print_data(answer, form)
        return
    held = map_at(answer, "hold")
    if not held:
        say("upgrades are let in", fg="green")
        return
    say(f"upgrades are held, {_until(held)}", fg="yellow")
    for name in ("by", "since", "reason"):
        if str_at(held, name):
            say(f"  {name}: {str_at(held, name)}")


def _until(held: JsonObject) -> str:
    until = str_at(held, "until")
    return f"until {until}" if until else "until they are released"


def _until_ms(text: str) -> int:
    """A time, or a span from now."""
    if "T" in text:
        return parse_time(text)
    return round(time.time() * 1000) + 1000 * seconds_of(text)


# --- what was done ------------------------------------------------------------------------------------------------


@click.command("local-changes")
@click.argument("name", required=False, default="")
@click.option("--since", default="", help="Of how long: 1h, 1d, 30d; all that is known if not given.")
@click.option("-n", "--limit", default=100, show_default=True, help="At most so many, the newest.")
@click.option("-o", "--output", "form", default="table", help="table, json or yaml.")
@with_target
def local_changes(target: Target, name: str, since: str, limit: int, form: str) -> None:
    """Show what was done at a gateway by hand: who restarted, stopped or held what there, and when.

    The cloud has what was told it; on the gateway, without NAME, the newest that its agent knows.
    """
    if form not in ("table", "json", "yaml"):
        raise BadRequestError(f"-o {form}: use one of table, json, yaml")
    client = target.client()
    if client.local:
        path = "/skerry/local-changes"
    elif name:
        path = f"/api/v1/nodes/{name.removeprefix('nodes/').removeprefix('node/')}/localchanges"
    else:
        raise BadRequestError("name the node: skerry node local-changes NODE")
    query = {"limit": str(limit)}
    if since:
        query["sinceTime"] = time_text(round(time.time() * 1000) - 1000 * seconds_of(since))
    found = client.request("GET", path, query=query).obj
    if form != "table":
        print_data(found, form)
        return
    rows = maps_at(found, "items")
    if client.local and name and name != str_at(found, "metadata", "name"):
        raise NotFoundError(f"this is the gateway of {str_at(found, 'metadata', 'name')}; ask the cloud for {name}")
    if not rows:
        say("Nothing was done there by hand, as far as is known here.", err=True)
        return
    print_table(["TIME", "BY", "ACT", "TARGET", "DETAIL"], [_row(row) for row in rows])


def _row(row: JsonObject) -> list[str]:
    pod = str_at(row, "pod")
    place = f"{str_at(row, 'namespace')}/{pod}" if pod else "upgrades"
    detail = [
        *(f"container {text}" for text in (str_at(row, "container"),) if text),
        *(f"until {text}" for text in (str_at(row, "until"),) if text),
        *(text for text in (str_at(row, "reason"),) if text),
    ]
    return [str_at(row, "time"), str_at(row, "by"), str_at(row, "act"), place, ", ".join(detail) or "<none>"]
