"""`skerry device diff|apply`: see what manifests would change, to the register, and make it so, all of it or nothing.

Every object is read, understood and checked by the server before the first is written (`skerry.cli.device_carrying`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import click

from skerry.cli.apply import read_manifests
from skerry.cli.client import Client
from skerry.cli.device_carrying import carry_out
from skerry.cli.device_objects import output_option
from skerry.cli.device_plan import Planned, planned, sent_lines
from skerry.cli.device_set import DONE, wait_for_device
from skerry.cli.listing import LISTED, Listing, Row, print_listing
from skerry.cli.logs import seconds_of
from skerry.cli.options import namespace_option
from skerry.cli.output import one_line, resource_name, say, styled
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, ConflictError, SkerryError
from skerry.objects.device_manifests import FieldChange, bare
from skerry.objects.json import Json, JsonObject, map_at

_SIGNS: Final = {"create": "+", "change": "~", "nothing": " "}
_SECRET: Final = ("password", "secret", "token", "community", "authorization")
_COLOURS: Final = {"+": "green", "-": "red", "~": "yellow"}
_files = click.option(
    "-f", "--filename", "files", multiple=True, required=True, help="File, directory or - for standard input."
)
_form = output_option("text", "text, table, wide, json, yaml, jsonl, csv or name")


class DiffersError(ConflictError):
    """What is there is not what the manifests say."""


@click.command("diff")
@_files
@namespace_option
@click.option("--check", is_flag=True, help="End with exit code 4 where anything would change.")
@_form
@with_target
def diff(target: Target, files: Sequence[str], namespace: str, check: bool, form: str) -> None:
    """Show what `skerry device apply` would change: per property, and the registers that would be written.

    Nothing is stored. On a gateway itself, link or no link, desired values may be applied and nothing else.
    """
    plan = _read_plan(target.client(), files, namespace, form)
    print_plan(plan, form)
    changed = [one for one in plan if one.action != "nothing"]
    if check and changed:
        raise DiffersError(f"{len(changed)} of {len(plan)} objects are not as the manifests have them")


@click.command("apply")
@_files
@namespace_option
@click.option("--dry-run", is_flag=True, help="As `skerry device diff`: show it, and store nothing.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask on a terminal.")
@click.option(
    "--wait", "wait_for", type=click.Choice(["applied", "verified"]), default=None, help="Until the devices have it."
)
@click.option("--timeout", default="30s", help="How long --wait waits, for each device.")
@_form
@with_target
def apply(
    target: Target,
    files: Sequence[str],
    namespace: str,
    dry_run: bool,
    yes: bool,
    wait_for: str | None,
    timeout: str,
    form: str,
) -> None:
    """Make devices and models as the manifests have them: all of them, or none.

    Fields and properties that the manifests don't name stay as they are, values that somebody set among them.
    """
    client = target.client()
    deadline_s = seconds_of(timeout)
    plan = _read_plan(client, files, namespace, form)
    if dry_run:
        print_plan(plan, form)
        return
    changed = [one for one in plan if one.action != "nothing"]
    if changed and not yes and sys.stdin.isatty() and sys.stdout.isatty():
        print_plan(plan, "text")
        if not click.confirm("Apply this?", err=True):
            raise SkerryError("nothing is applied")
    carry_out(client, changed)
    _print_applied(plan, form)
    if wait_for is not None:
        for one in changed:
            props = [prop for prop, value in one.wanted.items() if value is not None]
            if props:
                wait_for_device(client, one.namespace, one.name, props, DONE[wait_for], deadline_s)


def _read_plan(client: Client, files: Sequence[str], namespace: str, form: str) -> list[Planned]:
    if form not in ("text", *LISTED):
        raise BadRequestError(f"-o {form}: use one of {', '.join(('text', *LISTED))}")
    manifests = [found for file in files for found in read_manifests(file)]
    if not manifests:
        raise BadRequestError(f"no objects in {', '.join(files)}")
    return planned(client, manifests, namespace)


# --- showing it -------------------------------------------------------------------------------------------


def print_plan(plan: Sequence[Planned], form: str) -> None:
    """In that form: text for people, a row a change in tables, an object a device for programs."""
    if form == "text":
        for line in plan_lines(plan):
            say(line)
    elif form in ("table", "wide", "csv"):
        print_listing(changes_listed(plan), form, empty="Nothing would change.")
    else:
        print_listing(objects_listed(plan), form, empty="Nothing would change.")


def plan_lines(plan: Sequence[Planned]) -> Iterator[str]:
    """As people read it, with colours."""
    words = {"create": "will be made", "change": "will be changed"}
    for one in plan:
        if one.action == "nothing":
            continue
        sign = _SIGNS[one.action]
        yield styled(f"{sign} {one.title} {words[one.action]}", bold=True, fg=_COLOURS[sign])
        width = max((len(change.field) for change in one.changes), default=0)
        for change in one.changes:
            yield styled(
                one_line(f"    {change.sign} {change.field:<{width}}  {_says(change)}".rstrip()),
                fg=_COLOURS[change.sign],
            )
            yield from (f"        sends {line}" for line in _sent(one, change))
        yield ""
    yield summary(plan)


def _says(change: FieldChange) -> str:
    match change.sign:
        case "+":
            return _shown(change, change.after)
        case "-":
            return _shown(change, change.before)
        case "~":
            return f"{_shown(change, change.before)} -> {_shown(change, change.after)}"


def _open(change: FieldChange, value: Json) -> Json:
    """What anybody may see of it."""
    if value is not None and any(word in change.field.rpartition(".")[2].lower() for word in _SECRET):
        return "(hidden)"
    return value


def _shown(change: FieldChange, value: Json) -> str:
    """As text; nothing secret."""
    value = _open(change, value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _sent(one: Planned, change: FieldChange) -> list[str]:
    """Requests to the device, where the change is of a value that is wanted and they can be told beforehand."""
    if not change.field.endswith(".desired.value"):
        return []
    return sent_lines(map_at(one.writes, change.prop))


def summary(plan: Sequence[Planned]) -> str:
    """`1 to make, 2 to change, 1 as it is; 3 writes to devices.`"""
    count = {action: sum(one.action == action for one in plan) for action in ("create", "change", "nothing")}
    if not count["create"] and not count["change"]:
        return "Nothing would change: all is as the manifests have it."
    values = sum(value is not None for one in plan for value in one.wanted.values())
    parts = [
        f"{number} to {word}" if word else f"{number} as {'it is' if number == 1 else 'they are'}"
        for number, word in ((count["create"], "make"), (count["change"], "change"), (count["nothing"], ""))
        if number
    ]
    wanted = f"; {values} value{'' if values == 1 else 's'} to be written to devices" if values else ""
    return f"{', '.join(parts)}{wanted}."


def changes_listed(plan: Sequence[Planned]) -> Listing:
    """One row a change."""
    rows = [
        Row(
            cells=(
                one.kind.kind,
                one.namespace,
                one.name,
                change.sign,
                change.field,
                "" if change.sign == "+" else _shown(change, change.before),
                "" if change.sign == "-" else _shown(change, change.after),
                "; ".join(_sent(one, change)),
            ),
            obj={"kind": one.kind.kind, "namespace": one.namespace, "name": one.name, **change_shown(change)},
            name=resource_name(one.kind, one.name),
        )
        for one in plan
        for change in one.changes
    ]
    titles = ("KIND", "NAMESPACE", "NAME", "SIGN", "FIELD", "BEFORE", "AFTER", "SENT")
    return Listing(titles=titles, rows=tuple(rows), wide=frozenset({"NAMESPACE", "SENT"}))


def objects_listed(plan: Sequence[Planned]) -> Listing:
    """One row an object that would be another."""
    rows = tuple(
        Row(
            cells=(one.kind.kind, one.namespace, one.name, one.action),
            obj={
                "kind": one.kind.kind,
                "namespace": one.namespace,
                "name": one.name,
                "action": one.action,
                "changes": [change_shown(change) for change in one.changes],
                "writes": one.writes,
            },
            name=resource_name(one.kind, one.name),
        )
        for one in plan
        if one.action != "nothing"
    )
    return Listing(titles=("KIND", "NAMESPACE", "NAME", "ACTION"), rows=rows)


def change_shown(change: FieldChange) -> JsonObject:
    """One change, for programs; nothing secret."""
    before, after = _open(change, change.before), _open(change, change.after)
    return {"field": change.field, "sign": change.sign, "before": before, "after": after}


def _print_applied(plan: Sequence[Planned], form: str) -> None:
    done = {"create": "created", "change": "configured", "nothing": "unchanged"}
    if form == "text":
        for one in plan:
            say(f"{resource_name(one.kind, one.name)} {done[one.action]}")
    else:
        rows = tuple(
            Row(
                cells=(one.kind.kind, one.namespace, one.name, done[one.action]),
                obj={**bare(one.after), "result": done[one.action]},
                name=resource_name(one.kind, one.name),
            )
            for one in plan
        )
        listing = Listing(titles=("KIND", "NAMESPACE", "NAME", "RESULT"), rows=rows)
        print_listing(listing, form)
