"""`skerry describe`: one object with all that explains it, its events last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import click

from skerry.cli import kinds
from skerry.cli.client import Client, path_of
from skerry.cli.options import namespace_option
from skerry.cli.output import say
from skerry.cli.target import Target, with_target
from skerry.errors import BadRequestError, NotFoundError, SkerryError
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at, to_json
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.objects.scheme import Kind
from skerry.objects.times import human_duration, ms_at

_CHOSEN_KEYS = frozenset(
    {
        *("annotations", "labels", "matchLabels", "nodeSelector", "configData"),
        *("binaryData", "data", "stringData"),
        *("allocatable", "capacity", "limits", "requests"),
    }
)
"""Fields whose keys are people's own words, and are shown as they are."""
_LABEL_SELECTOR = frozenset({"matchLabels", "matchExpressions"})
"""What a `selector` has in workloads; in a Service it is a map of labels."""
_EVENTS = Kind(group="", version="v1", kind="Event", plural="events", namespaced=True)


@click.command("describe")
@click.argument("what")
@click.argument("names", nargs=-1)
@namespace_option
@click.option("-l", "--selector", default="")
@with_target
def describe(target: Target, what: str, names: Sequence[str], namespace: str, selector: str) -> None:
    """Show one object, or each of a collection, in full: `skerry describe pod web-1`."""
    client = target.client()
    word, slash, name = what.partition("/")
    kind = kinds.resolve(client, word)
    place = namespace or client.namespace
    wanted = [name] if slash else list(names)
    if wanted:
        objects = [client.request("GET", path_of(kind, place, name)).obj for name in wanted]
    else:
        query = {"labelSelector": selector} if selector else {}
        objects = maps_at(client.request("GET", path_of(kind, place), query=query).obj, "items")
    if not objects:
        raise NotFoundError(f"no {kind.plural} found")
    for number, obj in enumerate(objects):
        if number:
            say()
        for line in lines_of(obj, kind.kind):
            say(line)
        _print_events(client, obj, kind)


def lines_of(obj: JsonObject, kind: str) -> Iterator[str]:
    """The object's own lines. Secrets show the size of their values, never the values."""
    yield f"{'Name:':<18}{name_of(obj)}"
    if namespace_of(obj):
        yield f"{'Namespace:':<18}{namespace_of(obj)}"
    yield from _string_map("Labels:", map_at(obj, "metadata", "labels"))
    yield from _string_map("Annotations:", map_at(obj, "metadata", "annotations"))
    yield f"{'Created:':<18}{str_at(obj, 'metadata', 'creationTimestamp')}"
    owners = [f"{str_at(ref, 'kind')}/{str_at(ref, 'name')}" for ref in maps_at(obj, "metadata", "ownerReferences")]
    if owners:
        yield f"{'Controlled By:':<18}{', '.join(owners)}"
    for name, value in obj.items():
        if name in ("apiVersion", "kind", "metadata"):
            continue
        if kind == "Secret" and name in ("data", "stringData"):
            sizes = {key: f"{len(str(text))} characters of base64" for key, text in map_at(obj, name).items()}
            value = to_json(sizes)
        yield from _tree(name, value, "")


def _string_map(title: str, values: JsonObject) -> Iterator[str]:
    pairs = [f"{key}={value}" for key, value in values.items() if not key.endswith("last-applied-configuration")]
    yield f"{title:<18}{pairs[0] if pairs else '<none>'}"
    for pair in pairs[1:]:
        yield " " * 18 + pair


def _tree(name: str, value: Json, indent: str, *, field: bool = True) -> Iterator[str]:
    """`field` says that the name is one of the kind's, not a key that somebody chose."""
    title = f"{name[:1].upper()}{name[1:]}:" if field else f"{name}:"
    if isinstance(value, dict) and value:
        yield f"{indent}{title}"
        chosen = name in _CHOSEN_KEYS or (name == "selector" and not _LABEL_SELECTOR & value.keys())
        for key, inner in value.items():
            yield from _tree(key, inner, indent + "  ", field=field and not chosen)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield f"{indent}{title}"
        for item in value:
            yield from _item(item, indent + "  ")
    elif isinstance(value, list):
        yield f"{indent}{title:<{max(1, 18 - len(indent))}} {', '.join(_text(item) for item in value) or '<none>'}"
    else:
        text = _text(value)
        first, *rest = text.splitlines() or [""]
        yield f"{indent}{title:<{max(1, 18 - len(indent))}} {first}"
        for line in rest:
            yield f"{indent}    {line}"


def _item(item: Json, indent: str) -> Iterator[str]:
    if not isinstance(item, dict):
        yield f"{indent}- {_text(item)}"
        return
    lead = f"{indent}- "
    for key, value in item.items():
        for line in _tree(key, value, indent + "  "):
            yield lead + line[len(lead) :] if lead.strip() else line
            lead = indent + "  "


def _text(value: Json) -> str:
    if value is None or value == {}:
        return "<none>"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _print_events(client: Client, obj: JsonObject, kind: Kind) -> None:
    if client.local:
        return  # a gateway keeps its events in its outbox; the cloud shows them
    place = namespace_of(obj) if kind.namespaced else "default"
    query = {"fieldSelector": f"involvedObject.uid={uid_of(obj)}"} if uid_of(obj) else {}
    try:
        events = maps_at(client.request("GET", path_of(_EVENTS, place), query=query).obj, "items")
    except (BadRequestError, SkerryError) as error:
        say(f"Events:           (not to be had: {error})")
        return
    if not events:
        say("Events:           <none>")
        return
    say("Events:")
    now_s = time.time()
    for event in sorted(events, key=_when):
        age = human_duration(now_s - ms_at(_when(event)) / 1000) if _when(event) else "?"
        source = str_at(event, "source", "component") or str_at(event, "reportingComponent")
        reason = str_at(event, "reason")
        say(f"  {str_at(event, 'type'):<8} {reason:<22} {age:<8} {source:<20} {str_at(event, 'message')}")


def _when(event: JsonObject) -> str:
    return (
        str_at(event, "lastTimestamp") or str_at(event, "eventTime") or str_at(event, "metadata", "creationTimestamp")
    )
