"""Rules against their endpoints, as far as those are there: what a rule must say, and that no two listen alike.

An admission step, with the checks of KubeEdge's admission webhook. An endpoint may come after its rules, as manifests
are applied in the order of their files' names: a rule whose endpoint is missing is taken, and says in its status what
it waits for. What the objects say together is read in one place (`route_faults`), at admission and by the controller
that writes that status. Keeps no data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from cloudcore.registry.admission import Reader, Request
from cloudcore.registry.refusals import invalid
from skerry.errors import Cause
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key
from skerry.objects.rules import (
    ENDPOINTS,
    EVENT_BUS,
    PAIRS,
    REST,
    RULES,
    SERVICE_BUS,
    SOURCE_KEYS,
    TARGET_KEYS,
    EndpointType,
    Rule,
    endpoint_type,
    heard_topic,
    rule_of,
    topic_faults,
)
from skerry.validation.faults import duplicate, required
from skerry.validation.faults import invalid as wrong

_SOURCE: Final = "spec.sourceResource"
_TARGET: Final = "spec.targetResource"


def fitting_rules(request: Request, reader: Reader) -> JsonObject:
    """The step."""
    if request.kind.resource != RULES or request.subresource or request.operation == "DELETE":
        return request.obj
    if request.old is not None and map_at(request.old, "spec") == map_at(request.obj, "spec"):
        return request.obj  # its endpoint may have changed meanwhile; labels can still be written
    rule = rule_of(request.obj)
    rule_types = types_of(rule, reader)
    others = (rule_of(reader.obj(stored)) for stored in reader.select(RULES, namespace=request.key.namespace))
    causes = [
        *route_faults(rule, *rule_types),
        *_doubles(rule, rule_types[0], (other for other in others if other.name != request.key.name), reader),
    ]
    if causes:
        raise invalid(request.kind, request.key.name, causes)
    return request.obj


def types_of(rule: Rule, reader: Reader) -> tuple[EndpointType | None, EndpointType | None]:
    """The types of its source and its target; None for an endpoint that is not there."""
    return _type(rule.namespace, rule.source, reader), _type(rule.namespace, rule.target, reader)


def _type(namespace: str, name: str, reader: Reader) -> EndpointType | None:
    stored = reader.read(Key(ENDPOINTS, namespace, name))
    return None if stored is None else endpoint_type(reader.obj(stored))


def route_faults(rule: Rule, source: EndpointType | None, target: EndpointType | None) -> Iterator[Cause]:
    """What does not fit its endpoints; nothing is said of one that is not there (None)."""
    if source is not None and target is not None and (source, target) not in PAIRS:
        goes = " or ".join(sorted(to for of, to in PAIRS if of == source))
        yield wrong("spec.target", rule.target, f"is of type {target}; from {source} a rule leads to {goes}")
    if source is not None:
        yield from _missing(_SOURCE, rule.source_resource, SOURCE_KEYS[source], source)
        yield from _source_faults(rule, source)
    if target is not None:
        yield from _missing(_TARGET, rule.target_resource, TARGET_KEYS[target], target)
        yield from _target_faults(rule, target)


def _missing(field: str, said: Mapping[str, str], keys: Iterable[str], type_: EndpointType) -> Iterator[Cause]:
    for key in keys:
        if key not in said or (not said[key] and key != "path"):
            yield required(f"{field}[{key}]", f"an endpoint of type {type_} needs it")


def _source_faults(rule: Rule, source: EndpointType) -> Iterator[Cause]:
    said = rule.source_resource
    if source == EVENT_BUS and said.get("topic"):
        for fault in topic_faults(said["topic"], wildcards=True):
            yield wrong(f"{_SOURCE}[topic]", said["topic"], fault)
    if source == REST and not said.get("path", "-").strip("/"):
        yield wrong(f"{_SOURCE}[path]", said.get("path"), "must name a path, such as /orders")
    if source == SERVICE_BUS and said.get("target_url"):
        yield from _url_faults(f"{_SOURCE}[target_url]", said["target_url"])


def _target_faults(rule: Rule, target: EndpointType) -> Iterator[Cause]:
    said = rule.target_resource
    if target == EVENT_BUS and said.get("topic"):
        for fault in topic_faults(said["topic"], wildcards=False):
            yield wrong(f"{_TARGET}[topic]", said["topic"], fault)
    if target == REST and said.get("resource"):
        yield from _url_faults(f"{_TARGET}[resource]", said["resource"])


def _url_faults(field: str, url: str) -> Iterator[Cause]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        yield wrong(field, url, f"is no URL: {error}")
        return
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield wrong(field, url, "must be a URL with http:// or https:// and a host")


def _doubles(rule: Rule, source: EndpointType | None, others: Iterable[Rule], reader: Reader) -> Iterator[Cause]:
    """KubeEdge has one rule for a path of a namespace, and one for a topic of a node."""
    mine = _place(rule, source)
    if not mine:
        return
    for other in others:
        if _place(other, types_of(other, reader)[0]) == mine:
            key = "path" if source == REST else "topic" if source == EVENT_BUS else "target_url"
            cause = duplicate(f"{_SOURCE}[{key}]", rule.source_resource.get(key))
            yield Cause(
                field=cause.field,
                reason=cause.reason,
                message=f"{cause.message}: rule {other.namespace}/{other.name} has the same source",
            )


def _place(rule: Rule, source: EndpointType | None) -> tuple[str, ...]:
    said = rule.source_resource
    if source == REST:
        return (source, said.get("path", "").strip("/"))
    if source == EVENT_BUS:
        return (source, rule.node, heard_topic(rule.namespace, said.get("topic", "")))
    if source == SERVICE_BUS:
        return (source, rule.node, said.get("target_url", ""))
    return ()
