"""`skerry rule`: rules that gateways carry out by themselves (DeviceRule), and those that carry messages between a
gateway and the cloud (KubeEdge's Rule).

The same words work against the cloud and, on a gateway, against its agent: there with what is the case now, link or
no link. `rule test` asks nobody what would happen: it works a rule out with values that are given.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

from skerry.cli.apply import read_manifests
from skerry.cli.client import Client, path_of
from skerry.cli.device_objects import DEVICES, MODELS, completing_client
from skerry.cli.options import data_option, everywhere_option, form_option, namespace_option, table_option
from skerry.cli.output import check_format, print_data, print_table, resource_name, say
from skerry.cli.rule_trial import given_of, trial_lines
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, ForbiddenError, NotFoundError, SkerryError
from skerry.objects.conditions import condition_of
from skerry.objects.device_models import properties_in
from skerry.objects.device_rule_values import View
from skerry.objects.device_rules import DeviceRule, followed_device, node_of_rule, read_rule
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.scheme import Kind
from skerry.objects.times import human_duration, ms_at

DEVICE_RULES: Final = Kind(
    group="skerry.dev", version="v1", kind="DeviceRule", plural="devicerules", singular="devicerule", namespaced=True
)
RULES: Final = Kind(
    group="rules.kubeedge.io", version="v1", kind="Rule", plural="rules", singular="rule", namespaced=True
)
MESSAGES: Final = Kind(
    group="skerry.dev",
    version="v1",
    kind="RuleMessage",
    plural="rulemessages",
    singular="rulemessage",
    namespaced=True,
)
NONE: Final = "<none>"
_PREFIXES: Final = {"devicerule": DEVICE_RULES, "drule": DEVICE_RULES, "devicerules": DEVICE_RULES} | {
    "rule": RULES,
    "rules": RULES,
}


def complete_rules(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of rules of both kinds, or of the one that is said before the slash."""
    prefix, slash, rest = incomplete.rpartition("/")
    kinds = [kind for kind in (DEVICE_RULES, RULES) if not slash or _PREFIXES.get(prefix) is kind]
    try:
        client, place = completing_client(ctx)
        found = [(kind, obj) for kind in kinds for obj in _items(client, kind, place)]
    except (SkerryError, OSError):
        return []
    return [
        CompletionItem(f"{prefix}{slash}{name_of(obj)}", help=_node_of(kind, obj))
        for kind, obj in found
        if name_of(obj).startswith(rest)
    ]


@click.group("rule")
def rule() -> None:
    """Rules of gateways: what they do by themselves, and what they carry to the cloud and back."""


@rule.command("list")
@namespace_option
@everywhere_option
@click.option("--node", default="", help="Only those of this gateway.")
@table_option
@with_target
def list_rules(target: Target, namespace: str, all_namespaces: bool, node: str, form: str) -> None:
    """List rules of both kinds; on a gateway, those that it holds."""
    check_format(form)
    client = target.client()
    place = "" if all_namespaces else namespace or client.namespace
    found = [(kind, obj) for kind in (DEVICE_RULES, RULES) for obj in _items(client, kind, place)]
    found = [(kind, obj) for kind, obj in found if not node or _node_of(kind, obj) == node]
    if form in ("json", "yaml"):
        items: list[Json] = [{"apiVersion": kind.api_version, "kind": kind.kind, **obj} for kind, obj in found]
        print_data({"kind": "List", "apiVersion": "v1", "items": items}, form)
    elif form == "name":
        for kind, obj in found:
            say(resource_name(kind, name_of(obj)))
    elif found:
        _print_list(found, with_namespace=not place, wide=form == "wide")
    else:
        say("No rules found.", err=True)


def _items(client: Client, kind: Kind, place: str) -> list[JsonObject]:
    try:
        return maps_at(client.request("GET", path_of(kind, place)).obj, "items")
    except NotFoundError:
        return []  # an older one that does not know the kind


def _node_of(kind: Kind, obj: JsonObject) -> str:
    if kind is DEVICE_RULES:
        return node_of_rule(obj)
    return str_map_at(obj, "spec", "sourceResource").get("node_name", "")


def _print_list(found: Sequence[tuple[Kind, JsonObject]], *, with_namespace: bool, wide: bool) -> None:
    headers = ["NAME", "NODE", "READY", "STATE", "DONE", "FAILED", "LAST", *(("WHEN", "WHY") if wide else ())]
    rows = [_row(kind, obj, wide=wide) for kind, obj in found]
    if with_namespace:
        headers.insert(0, "NAMESPACE")
        for row, (_, obj) in zip(rows, found, strict=True):
            row.insert(0, namespace_of(obj))
    print_table(headers, rows)


def _row(kind: Kind, obj: JsonObject, *, wide: bool) -> list[str]:
    ready = condition_of(obj, "Ready") or {}
    errors = strs_at(obj, "status", "errors")
    why = str_at(ready, "message") if str_at(ready, "status") == "False" else (errors[-1] if errors else NONE)
    head = [
        f"{kind.singular}/{name_of(obj)}",
        _node_of(kind, obj) or NONE,
        str_at(ready, "status", default="Unknown"),
    ]
    if kind is RULES:
        waiting = int_at(obj, "status", "waitingMessages")
        done, failed = int_at(obj, "status", "successMessages"), int_at(obj, "status", "failMessages")
        ways = f"{_end(obj, 'source')} > {_end(obj, 'target')}"
        cells = [f"{waiting} wait" if waiting else "idle", str(done), str(failed), NONE, ways]
    else:
        mode = str_at(obj, "spec", "mode", default="Enforce")
        active = "active" if bool_at(obj, "status", "active") else "waiting"
        failed = int_at(obj, "status", "failedActions") + int_at(obj, "status", "unknownActions")
        fired = str_at(obj, "status", "lastFiredTime")
        cells = [
            active if mode == "Enforce" else f"{active} ({mode.lower()})",
            str(int_at(obj, "status", "firings") + int_at(obj, "status", "shadowFirings")),
            str(failed),
            _ago(fired) if fired else NONE,
            str_at(obj, "spec", "when") or str_at(obj, "spec", "schedule"),
        ]
    return [*head, *cells[: None if wide else 4], *((why,) if wide else ())]


def _place(kind: Kind, obj: JsonObject) -> str:
    """Where a rule is, for people."""
    device = followed_device(obj) if kind is DEVICE_RULES else ""
    node = _node_of(kind, obj)
    if device:
        return f"{node or 'no gateway'}, with device {device}"
    return node or "any gateway"


def _end(obj: JsonObject, end: str) -> str:
    where = str_map_at(obj, "spec", f"{end}Resource")
    said = next((where[key] for key in ("path", "topic", "target_url", "resource") if key in where), "")
    return f"{str_at(obj, 'spec', end)}:{said}"


def _ago(text: str) -> str:
    return human_duration(max(0.0, time.time() - ms_at(text) / 1000))


@rule.command("get")
@click.argument("name", shell_complete=complete_rules)
@namespace_option
@form_option
@with_target
def get(target: Target, name: str, namespace: str, form: str) -> None:
    """Show one rule. Of two kinds with one name: `devicerule/NAME` or `rule/NAME`."""
    client = target.client()
    kind, obj = _found(client, name, namespace)
    if form in ("json", "yaml"):
        print_data(obj, form)
    elif form == "name":
        say(resource_name(kind, name_of(obj)))
    else:
        _check_text(form, "text", "json", "yaml", "name")
        _print_list([(kind, obj)], with_namespace=False, wide=True)


def _check_text(form: str, *known: str) -> None:
    if form != "text":
        raise BadRequestError(f"-o {form}: use one of {', '.join(known or ('text', 'json', 'yaml'))}")


def _found(client: Client, name: str, namespace: str) -> tuple[Kind, JsonObject]:
    """Raises `NotFoundError`, and `BadRequestError` where two are meant."""
    place = namespace or client.namespace
    prefix, slash, rest = name.partition("/")
    if slash and prefix not in _PREFIXES:
        raise BadRequestError(f"{name!r}: write devicerule/NAME, rule/NAME or NAME")
    kinds = (_PREFIXES[prefix],) if slash else (DEVICE_RULES, RULES)
    name = rest if slash else name
    found: list[tuple[Kind, JsonObject]] = []
    for kind in kinds:
        try:
            found.append((kind, client.request("GET", path_of(kind, place, name)).obj))
        except NotFoundError:
            continue
    if not found:
        raise NotFoundError(f'rule "{name}" not found in namespace {place}')
    if len(found) > 1:
        raise BadRequestError(f"there are two rules of the name {name}: write devicerule/{name} or rule/{name}")
    return found[0]


# --- describing -------------------------------------------------------------------------------------------


@rule.command("describe")
@click.argument("name", shell_complete=complete_rules)
@namespace_option
@with_target
def describe(target: Target, name: str, namespace: str) -> None:
    """Show what a rule says, whether it works, and what it did."""
    client = target.client()
    kind, obj = _found(client, name, namespace)
    say(f"{kind.kind} {namespace_of(obj)}/{name_of(obj)} on {_place(kind, obj)}")
    for line in _said(kind, obj):
        say(line)
    for line in (*_condition_lines(obj), *_count_lines(obj)):
        say(line)
    if kind is DEVICE_RULES:
        for line in _why_lines(obj):
            say(line)


def _said(kind: Kind, obj: JsonObject) -> Iterator[str]:
    if kind is RULES:
        yield f"  from {_end(obj, 'source')}"
        yield f"  to   {_end(obj, 'target')}"
        return
    spec = map_at(obj, "spec")
    for value in maps_at(spec, "values"):
        accept = strs_at(value, "accept")
        said = f" ({', '.join(accept)})" if accept else ""
        yield f"  {str_at(value, 'name')} is {str_at(value, 'device')}/{str_at(value, 'property')}{said}"
    fields = ("mode", "priority", "when", "forSeconds", "until", "repeatSeconds", "schedule", "timeZone")
    for name in (*fields, "cooldownSeconds"):
        if name in spec:
            yield f"  {name}: {spec[name]}"
    for name in ("actions", "otherwise"):
        for action in maps_at(spec, name):
            yield f"  {name}: {_action_text(action)}"


def _action_text(action: JsonObject) -> str:
    form = next((form for form in ("set", "publish", "call", "alarm") if form in action), "?")
    body = map_at(action, form)
    return f"{form} " + " ".join(f"{name}={value}" for name, value in body.items())


def _condition_lines(obj: JsonObject) -> Iterator[str]:
    for condition in maps_at(obj, "status", "conditions"):
        since = str_at(condition, "lastTransitionTime")
        when = f" for {_ago(since)}" if since else ""
        message = str_at(condition, "message")
        yield f"{str_at(condition, 'type')}: {str_at(condition, 'status')}{when}{f': {message}' if message else ''}"


def _count_lines(obj: JsonObject) -> Iterator[str]:
    status = map_at(obj, "status")
    counts = {
        name: value for name, value in status.items() if isinstance(value, int) and name != "observedGeneration"
    }
    told = ", ".join(f"{name} {value}" for name, value in counts.items() if not isinstance(value, bool) and value)
    if told:
        yield f"counts: {told}"


# --- why --------------------------------------------------------------------------------------------------


@rule.command("why")
@click.argument("name", shell_complete=complete_rules)
@namespace_option
@data_option
@with_target
def why(target: Target, name: str, namespace: str, form: str) -> None:
    """Show why a rule did what it did: values, condition, what was done and what was answered.

    In the cloud as its gateway told it last; on the gateway as it is now.
    """
    client = target.client()
    kind, obj = _found(client, name, namespace)
    messages = _messages(client, obj) if kind is RULES and not client.local else []
    if form in ("json", "yaml"):
        told: JsonObject = {**map_at(obj, "status")}
        if kind is RULES:
            told["messages"] = [*messages]
        print_data(told, form)
        return
    _check_text(form)
    say(f"{kind.kind} {namespace_of(obj)}/{name_of(obj)} on {_place(kind, obj)}")
    for line in _condition_lines(obj):
        say(line)
    for line in _why_lines(obj) if kind is DEVICE_RULES else _message_lines(obj, messages):
        say(line)


def _why_lines(obj: JsonObject) -> Iterator[str]:
    status = map_at(obj, "status")
    if not status:
        yield "its gateway has told nothing of it yet: it is away, or its agent is of an older release"
        return
    last = map_at(status, "last")
    if last:
        yield f"condition: {str_at(last, 'result')}{_because(last)}"
        yield from _value_lines(last, "  ")
    yield f"in force: {'yes' if bool_at(status, 'active') else 'no'}"
    for firing in reversed(maps_at(status, "recent")):
        yield f"#{int_at(firing, 'number')} {str_at(firing, 'what')} {_ago(str_at(firing, 'time'))} ago"
        yield f"  condition: {str_at(firing, 'condition')}"
        yield from _value_lines(firing, "  ")
        for deed in maps_at(firing, "actions"):
            reason, answer = str_at(deed, "reason"), str_at(deed, "answer")
            said = str_at(deed, "said")
            ends = f"{f' ({answer})' if answer else ''}{f': {reason}' if reason else ''}"
            shown = f" = {said}" if said else ""
            yield f"  {str_at(deed, 'form')} {str_at(deed, 'target')}{shown}  {str_at(deed, 'state')}{ends}"
    for alarm in reversed(maps_at(status, "alarms")):
        yield f"alarm {_ago(str_at(alarm, 'time'))} ago: {str_at(alarm, 'severity')}: {str_at(alarm, 'message')}"
    for error in reversed(strs_at(status, "errors")):
        yield f"error {error}"


def _because(last: JsonObject) -> str:
    reason, held = str_at(last, "reason"), str_at(last, "heldUp")
    return f"{f' ({reason})' if reason else ''}{f', held up: {held}' if held else ''}"


def _value_lines(holder: JsonObject, indent: str) -> Iterator[str]:
    for value in maps_at(holder, "values"):
        shown = str_at(value, "value")
        yield f"{indent}{str_at(value, 'name')} = {shown or NONE} ({str_at(value, 'quality')})"


def _messages(client: Client, obj: JsonObject) -> list[JsonObject]:
    query = {"fieldSelector": f"spec.rule={name_of(obj)}"}
    try:
        return maps_at(client.request("GET", path_of(MESSAGES, namespace_of(obj)), query=query).obj, "items")
    except (NotFoundError, ForbiddenError):
        return []


def _message_lines(obj: JsonObject, messages: Sequence[JsonObject]) -> Iterator[str]:
    yield from _count_lines(obj)
    for message in messages:
        status = map_at(message, "status")
        told = f"{str_at(status, 'phase', default='Pending')}, tried {int_at(status, 'attempts')} times"
        yield f"message {name_of(message)} on {str_at(message, 'spec', 'topic')}: {told}"
        if str_at(status, "message"):
            yield f"  {str_at(status, 'message')}"
    for error in reversed(strs_at(obj, "status", "errors")):
        yield f"error {error}"


# --- trying -----------------------------------------------------------------------------------------------


@rule.command("test")
@click.argument("name", default="", shell_complete=complete_rules)
@click.option("-f", "--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--given", "given", multiple=True, help="NAME=VALUE of the rule's values, and NAME.quality=stale, "
              "NAME.previous=VALUE, NAME.age=SECONDS. Repeat it.")  # fmt: skip
@click.option("--active", is_flag=True, help="As if it were in force: what would end it?")
@namespace_option
@data_option
@with_target
def test(
    target: Target, name: str, file: Path | None, given: Sequence[str], active: bool, namespace: str, form: str
) -> None:
    """Work a DeviceRule out with given values and say what would be done; do nothing.

    `skerry rule test overheat --given temp=85 --given pump=false`. Values that are not given are missing. With -f the
    rule is read from a file, and nobody is asked.
    """
    if bool(name) == (file is not None):
        raise BadRequestError("name a rule, or a file with -f")
    types: dict[tuple[str, str], JsonObject] = {}
    if file is not None:
        obj = _from_file(file)
    else:
        client = target.client()
        kind, obj = _found(client, name, namespace)
        if kind is not DEVICE_RULES:
            raise BadRequestError("only a DeviceRule can be tried: a Rule has no condition")
        types = _types(client, obj)

    def type_of(device: str, prop: str) -> JsonObject | None:
        return types.get((device, prop))

    found: DeviceRule = read_rule(obj, type_of)
    view = given_of(found, types, [_pair(text) for text in given])
    _print_trial(found, view, active=active, form=form)


def _print_trial(found: DeviceRule, given: View, *, active: bool, form: str) -> None:
    outcome, lines = trial_lines(found, given, active=active)
    if form in ("json", "yaml"):
        print_data(outcome, form)
        return
    _check_text(form)
    for line in lines:
        say(line)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadRequestError(f"--given {text!r}: write NAME=VALUE")
    return name, value


def _from_file(path: Path) -> JsonObject:
    rules = [obj for _, obj in read_manifests(str(path)) if str_at(obj, "kind") == DEVICE_RULES.kind]
    if len(rules) != 1:
        raise BadRequestError(f"{path}: has {len(rules)} DeviceRules, and one is tried at a time")
    return rules[0]


def _types(client: Client, obj: JsonObject) -> dict[tuple[str, str], JsonObject]:
    """What models say of the properties that a rule names, as far as they are there."""
    found: dict[tuple[str, str], JsonObject] = {}
    bodies = (map_at(action, "set") for name in ("actions", "otherwise") for action in maps_at(obj, "spec", name))
    for entry in (*maps_at(obj, "spec", "values"), *bodies):
        device, prop = str_at(entry, "device"), str_at(entry, "property")
        if not device or (device, prop) in found:
            continue
        try:
            held = client.request("GET", path_of(DEVICES, namespace_of(obj), device)).obj
            model_name = str_at(held, "spec", "deviceModelRef", "name")
            model = client.request("GET", path_of(MODELS, namespace_of(obj), model_name)).obj
        except (NotFoundError, ForbiddenError):
            continue
        said = properties_in(model).get(prop)
        if said is not None:
            found[device, prop] = said
    return found
