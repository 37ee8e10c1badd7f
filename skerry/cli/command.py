"""`skerry command`, `device call`, `device refresh`, `pod`: what gateways are asked to do once, and what came of it.

A command is given to the cloud and carried out by a gateway, at most once and not after its deadline, whether the
gateway is connected now or comes back in time. On a gateway, the same words show what its agent knows, link or no
link.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

import click

from skerry.cli.backlog import NODES
from skerry.cli.client import Client, path_of
from skerry.cli.gateway_acts import restart_here, start, stop
from skerry.cli.logs import seconds_of
from skerry.cli.options import everywhere_option, form_option, namespace_option, table_option
from skerry.cli.output import check_format, print_data, print_table, resource_name, say
from skerry.cli.target import DeadlineError, RefusedError, Target, with_target
from skerry.errors import BadRequestError, ForbiddenError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.commands import FINAL, GROUP, SILENT, action_of, described, phase_of
from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, bool_at, decode_object, int_at, map_at, maps_at, str_at, to_json
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.scheme import Kind
from skerry.objects.times import human_duration, ms_at

COMMANDS: Final = Kind(
    group=GROUP, version="v1", kind="Command", plural="commands", singular="command", namespaced=True
)
WORD_S: Final = 5.0
"""How long word of how it ended may be on its way."""
_DEADLINE: Final = click.option("--deadline", default="1h", help="Not begun any more after this: 60s, 15m, 1d.")
_TIME: Final = click.option("--time-limit", default="1m", help="How long it may take once it was begun.")
_WAIT: Final = click.option("--wait/--no-wait", default=True, help="Stay until it has ended (Ctrl-C leaves it).")
_TIMEOUT: Final = click.option(
    "--timeout",
    default="",
    help="How long --wait waits; if not given, until the deadline, or once it was begun until its time limit.",
)


@click.group("command")
def command() -> None:
    """What gateways were asked to do once, and what became of it."""


@command.command("list")
@namespace_option
@everywhere_option
@click.option("--node", default="", help="Only those for this node.")
@table_option
@with_target
def list_commands(target: Target, namespace: str, all_namespaces: bool, node: str, form: str) -> None:
    """List commands; on a gateway, those that its agent knows."""
    check_format(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    query = {"fieldSelector": f"spec.nodeName={node}"} if node else {}
    found = maps_at(client.request("GET", path_of(COMMANDS, place), query=query).obj, "items")
    if form in ("json", "yaml"):
        items: list[Json] = [*found]
        print_data({"kind": "List", "apiVersion": "v1", "items": items}, form)
    elif form == "name":
        for obj in found:
            say(resource_name(COMMANDS, name_of(obj)))
    elif found:
        _print_list(found, with_namespace=not place, wide=form == "wide")
    else:
        say("No commands found.", err=True)


@command.command("get")
@click.argument("name")
@namespace_option
@form_option
@with_target
def get(target: Target, name: str, namespace: str, form: str) -> None:
    """Show one command, its result included."""
    client = target.client()
    obj = client.request("GET", path_of(COMMANDS, namespace or client.namespace, name)).obj
    _show(obj, form)


@command.command("wait")
@click.argument("name")
@namespace_option
@_TIMEOUT
@form_option
@with_target
def wait(target: Target, name: str, namespace: str, timeout: str, form: str) -> None:
    """Stay until a command has ended, or its deadline is over and nothing says that it was begun.

    Exit codes: 5 it failed or was refused, 6 it expired or goes on, 1 unknown.
    """
    client = target.client()
    place = namespace or client.namespace
    obj = client.request("GET", path_of(COMMANDS, place, name)).obj
    _finish(_followed(client, place, obj, timeout), form)


@command.command("cancel")
@click.argument("name")
@namespace_option
@_WAIT
@_TIMEOUT
@form_option
@with_target
def cancel(target: Target, name: str, namespace: str, wait: bool, timeout: str, form: str) -> None:
    """Don't let a command begin, or let it stop before its next step. It ends Cancelled, unless it was too late."""
    client = target.client()
    place = namespace or client.namespace
    body: JsonObject = {"spec": {"cancel": True}}
    obj = client.request(
        "PATCH", path_of(COMMANDS, place, name), body=body, content_type="application/merge-patch+json"
    ).obj
    if not wait:
        say(f"{resource_name(COMMANDS, name)} is asked to stop")
        return
    obj = _followed(client, place, obj, timeout)
    if phase_of(obj) != "Cancelled":
        raise RefusedError(f"it was too late: {name} ended {_ending(obj)}")
    _show(obj, form)


@click.command("call")
@click.argument("device")
@click.argument("method")
@click.argument("parameters", nargs=-1)
@namespace_option
@_DEADLINE
@_TIME
@_WAIT
@_TIMEOUT
@form_option
@with_target
def call(
    target: Target,
    device: str,
    method: str,
    parameters: Sequence[str],
    namespace: str,
    deadline: str,
    time_limit: str,
    wait: bool,
    timeout: str,
    form: str,
) -> None:
    """Call a method of a device once: `skerry device call boiler ignite power=3 --deadline 60s`."""
    given = dict(_parameter(text) for text in parameters)
    action: JsonObject = {
        "deviceMethod": {"device": device, "method": method, "parameters": to_json(given)},
    }
    _give(target, _Ask(f"{device}-", action, namespace, deadline, time_limit, wait=wait, timeout=timeout, form=form))


@click.command("refresh")
@click.argument("device")
@click.argument("properties", nargs=-1)
@namespace_option
@_DEADLINE
@_TIME
@_WAIT
@_TIMEOUT
@form_option
@with_target
def refresh(
    target: Target,
    device: str,
    properties: Sequence[str],
    namespace: str,
    deadline: str,
    time_limit: str,
    wait: bool,
    timeout: str,
    form: str,
) -> None:
    """Read a device now, all of its properties or those named."""
    body: JsonObject = {"device": device}
    if properties:
        body["properties"] = [*properties]
    ask = _Ask(
        f"{device}-", {"deviceRefresh": body}, namespace, deadline, time_limit, wait=wait, timeout=timeout, form=form
    )
    _give(target, ask)


@click.group("pod")
def pod() -> None:
    """Pods on their gateways."""


@pod.command("restart")
@click.argument("name")
@namespace_option
@click.option("-c", "--container", default="", help="Only this container.")
@_DEADLINE
@_TIME
@_WAIT
@_TIMEOUT
@form_option
@with_target
def restart(
    target: Target,
    name: str,
    namespace: str,
    container: str,
    deadline: str,
    time_limit: str,
    wait: bool,
    timeout: str,
    form: str,
) -> None:
    """End a pod's containers and let them start again, in place: `skerry pod restart web-1`.

    On the gateway itself this works without a link; the cloud learns later who did it, and when.
    """
    name = name.removeprefix("pods/").removeprefix("pod/")
    client = target.client()
    if client.local:
        restart_here(client, name, namespace, container, wait=wait, timeout=timeout)
        return
    body: JsonObject = {"pod": name}
    if container:
        body["container"] = container
    ask = _Ask(
        f"{name}-", {"podRestart": body}, namespace, deadline, time_limit, wait=wait, timeout=timeout, form=form
    )
    _give(target, ask)


pod.add_command(stop)
pod.add_command(start)


@pod.command("static")
@click.option("-o", "--output", "form", default="table", help="table, json or yaml.")
@with_target
def static(target: Target, form: str) -> None:
    """Show the pods that files on this gateway want, and what is wrong with these files (asks the local agent).

    Exit code 5 where a file is wrong.
    """
    client = target.client()
    if not client.local:
        raise BadRequestError("this asks a gateway's own agent: name its data directory with --data, or its --socket")
    if form not in ("table", "json", "yaml"):
        raise BadRequestError(f"-o {form}: use one of table, json, yaml")
    found = client.request("GET", "/skerry/static-pods").obj
    if form != "table":
        print_data(found, form)
        return
    rows = [
        [
            str_at(each, "namespace"),
            str_at(each, "name"),
            str_at(each, "file"),
            str_at(each, "phase"),
            "yes" if bool_at(each, "mirrored") else str_at(each, "refusal") or "no",
        ]
        for each in maps_at(found, "items")
    ]
    if rows:
        print_table(["NAMESPACE", "NAME", "FILE", "PHASE", "IN THE CLOUD"], rows)
    faults = maps_at(found, "faults")
    if not rows and not faults:
        say("No static pods.", err=True)
    if faults:
        raise RefusedError("; ".join(f"{str_at(each, 'file')}: {str_at(each, 'reason')}" for each in faults))


# --- giving and following ---------------------------------------------------------------------------------


class _Ask(Frozen, kw_only=False):
    """One command to be given, and what its giver wants to see of it."""

    base: str
    action: JsonObject
    namespace: str
    deadline: str
    time_limit: str
    wait: bool
    timeout: str
    form: str


def _give(target: Target, ask: _Ask) -> None:
    client = target.client()
    if client.local:
        raise BadRequestError(
            "commands are given to the cloud, so that it knows of them: name it with --kubeconfig or --data; on the "
            "gateway itself, `skerry device set` works without it"
        )
    place = ask.namespace or client.namespace
    body: JsonObject = {
        "apiVersion": COMMANDS.api_version,
        "kind": COMMANDS.kind,
        "metadata": {"generateName": ask.base[:50]},
        "spec": {
            "action": ask.action,
            "expiresAfterSeconds": seconds_of(ask.deadline),
            "timeoutSeconds": seconds_of(ask.time_limit),
        },
    }
    obj = client.request("POST", path_of(COMMANDS, place), body=body).obj
    if ask.wait:
        _finish(_followed(client, place, obj, ask.timeout), ask.form)
    elif ask.form in ("json", "yaml"):
        print_data(obj, ask.form)
    else:
        say(resource_name(COMMANDS, name_of(obj)) if ask.form == "name" else f"{name_of(obj)} given")


def _parameter(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadRequestError(f"{text!r}: write PARAMETER=VALUE")
    return name, value


def _followed(client: Client, place: str, obj: JsonObject, timeout: str) -> JsonObject:
    """The command when it has ended. Raises `DeadlineError` when that is not in time."""
    patience = Patience(seconds_of(timeout) if timeout else None, _left_s(obj))
    if phase_of(obj) not in FINAL:
        _tell_what_for(client, obj, patience)
    told = ""
    while phase_of(obj) not in FINAL:
        if phase_of(obj) != told:
            told = phase_of(obj)
            say(f"  {told.lower()}", err=True)
            if told == "Running":
                patience.begin(int_at(obj, "spec", "timeoutSeconds"))
        left_s = patience.left_s()
        if left_s <= 0:
            raise DeadlineError(f"{name_of(obj)} {patience.over(told.lower())}; it goes on (see skerry command wait)")
        news = next(_changes(client, place, obj, timeout_s=max(1, min(int(left_s) + 1, 60))), None)
        obj = news or client.request("GET", path_of(COMMANDS, place, name_of(obj))).obj
    return obj


class Patience:
    """How long a command is waited for: as long as was asked for; else until its deadline, or once it was begun for
    the time that it may take. The gateway's and the cloud's word of it may take a moment more."""

    def __init__(self, asked_s: int | None, deadline_s: float) -> None:
        now_s = time.monotonic()
        self.asked_s = asked_s
        self.until_s = now_s + (deadline_s + WORD_S if asked_s is None else asked_s)
        self._begun = False

    def begin(self, limit_s: int) -> None:
        """It was begun, as far as is known here just now."""
        if self.asked_s is None and not self._begun:
            self.until_s = time.monotonic() + limit_s + WORD_S
        self._begun = True

    def left_s(self) -> float:
        return self.until_s - time.monotonic()

    def over(self, phase: str) -> str:
        """What there is to say when it is over."""
        if self.asked_s is not None:
            return f"is {phase} after {self.asked_s} s"
        if self._begun:
            return "is running, and its time limit is over: its gateway has not told how it ended"
        return f"is {phase}, and its deadline is over: not begun in time, as far as is known here"


def _left_s(obj: JsonObject) -> float:
    """Until the deadline. Counted on this machine's clock, and never more than the whole time."""
    whole_s = int_at(obj, "spec", "expiresAfterSeconds")
    given = str_at(obj, "spec", "issued", "time")
    return max(0.0, min(whole_s, whole_s - (time.time() - ms_at(given) / 1000))) if given else whole_s


def _tell_what_for(client: Client, obj: JsonObject, patience: Patience) -> None:
    """On stderr, so that nobody wonders at a screen that says nothing."""
    node = str_at(obj, "spec", "nodeName")
    away = ", which is not heard now" if node and not client.local and not _is_heard(client, node) else ""
    if patience.asked_s is None:
        until = f"until its deadline, in {human_duration(max(0.0, patience.left_s() - WORD_S))}"
    else:
        until = f"for {human_duration(patience.asked_s)}"
    say(f"{name_of(obj)}: waiting for {node or 'its node'}{away}, {until}", err=True)


def _is_heard(client: Client, node: str) -> bool:
    """As the cloud knows; who may not read the Node is told nothing of it."""
    try:
        obj = client.request("GET", path_of(NODES, "", node)).obj
    except (NotFoundError, ForbiddenError):
        return True
    return str_at(condition_of(obj, "Ready"), "status") != "Unknown"


def _changes(client: Client, place: str, obj: JsonObject, *, timeout_s: int) -> Iterator[JsonObject]:
    """The command whenever it is not as it was. Raises `NotFoundError` when it is deleted."""
    query = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name_of(obj)}",
        "timeoutSeconds": str(timeout_s),
    }
    for line in client.lines(path_of(COMMANDS, place), query=query):
        event = decode_object(line)
        kind, found = str_at(event, "type"), map_at(event, "object")
        if kind == "ERROR":
            raise UnavailableError(str_at(found, "message") or "the watch ended")
        if kind == "DELETED" or (kind == "ADDED" and str_at(found, "metadata", "uid") != _uid(obj)):
            raise NotFoundError(f"command {name_of(obj)} was deleted")
        if kind in ("ADDED", "MODIFIED") and phase_of(found) != phase_of(obj):
            yield found


def _uid(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "uid")


# --- showing ----------------------------------------------------------------------------------------------


def _finish(obj: JsonObject, form: str) -> None:
    """Show how it ended; any end but success is an error with its exit code."""
    _show(obj, form)
    match phase_of(obj):
        case "Succeeded":
            return
        case "Expired":
            raise DeadlineError(_ending(obj))
        case "Unknown":
            raise SkerryError(_ending(obj))
        case _:
            raise RefusedError(_ending(obj))


def _ending(obj: JsonObject) -> str:
    reason, message = str_at(obj, "status", "reason"), str_at(obj, "status", "message")
    return f"{phase_of(obj)}{f' ({reason})' if reason else ''}{f': {message}' if message else ''}"


def _show(obj: JsonObject, form: str) -> None:
    if form in ("json", "yaml"):
        print_data(obj, form)
        return
    if form == "name":
        say(resource_name(COMMANDS, name_of(obj)))
        return
    if form != "text":
        raise BadRequestError(f"-o {form}: use one of text, json, yaml, name")
    kind, aim = described(action_of(map_at(obj, "spec", "action")))
    say(f"{name_of(obj)}: {kind} {aim} on {str_at(obj, 'spec', 'nodeName') or '<none>'}")
    colour = "green" if phase_of(obj) == "Succeeded" else "red" if phase_of(obj) in FINAL else "yellow"
    say(_ending(obj), fg=colour)
    for name, value in map_at(obj, "status", "result").items():
        say(f"{name}:")
        for part, told in value.items() if isinstance(value, dict) else ():
            words = " ".join(f"{key}={text}" for key, text in told.items()) if isinstance(told, dict) else str(told)
            say(f"  {part}: {words}")


def _print_list(objects: Sequence[JsonObject], *, with_namespace: bool, wide: bool) -> None:
    now_ms = time.time() * 1000
    headers = ["NAME", "NODE", "ACTION", "TARGET", "PHASE", "REASON", "AGE", *(("MESSAGE",) if wide else ())]
    rows: list[list[str]] = []
    for obj in objects:
        kind, aim = described(action_of(map_at(obj, "spec", "action")))
        created = str_at(obj, "metadata", "creationTimestamp")
        reason = str_at(obj, "status", "reason")
        rows.append(
            [
                name_of(obj),
                str_at(obj, "spec", "nodeName") or "<none>",
                kind,
                aim or "<none>",
                phase_of(obj),
                f"{reason} (open)" if reason == SILENT else reason or "<none>",
                human_duration((now_ms - ms_at(created)) / 1000) if created else "<unknown>",
                *((str_at(obj, "status", "message"),) if wide else ()),
            ]
        )
    if with_namespace:
        headers.insert(0, "NAMESPACE")
        for row, obj in zip(rows, objects, strict=True):
            row.insert(0, namespace_of(obj))
    print_table(headers, rows)
