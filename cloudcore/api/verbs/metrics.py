"""What nodes and pods use (metrics.k8s.io/v1beta1), asked of the gateways when somebody asks (`kubectl top`).

A gateway that does not answer has no row in a list, as a node that metrics-server can't reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.conversion import version_of
from cloudcore.api.selection import Selection, selection_of
from cloudcore.api.writing import list_metadata, list_reply, object_reply
from cloudcore.registry.refusals import not_found
from cloudcore.store.port import Stored
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, encode_object, map_at, str_at
from skerry.objects.usage import NodeUsed, node_metrics, pod_metrics

GROUP: Final = "metrics.k8s.io"
_ASKED_AT_ONCE: Final = 64
"""Gateways. Each takes a second to count."""


async def get_metrics(call: Call) -> Reply:
    """Of one node or pod. Raises `NotFoundError`, and `UnavailableError` where its gateway does not answer."""
    selection = selection_of(call)
    for stored in _selected(call, selection):
        used = await call.parts.usages.used(_node_of(call, stored))
        found = _shown(call, stored, used)
        if found is not None:
            return object_reply(call, version_of(call.parts.scheme, call.kind), found)
    raise not_found(call.kind, call.target.name)


async def list_metrics(call: Call) -> Reply:
    """Of all nodes or pods that match the selectors."""
    chosen = _selected(call, selection_of(call))
    answers = await _asked(call, {_node_of(call, stored) for stored in chosen})
    shown = [
        found
        for stored in chosen
        if (used := answers.get(_node_of(call, stored))) is not None
        and (found := _shown(call, stored, used)) is not None
    ]
    metadata = list_metadata(revision=call.parts.cache.revision)
    version = version_of(call.parts.scheme, call.kind)
    return list_reply(call, version, [encode_object(each) for each in shown], metadata)


def _selected(call: Call, selection: Selection) -> Sequence[Stored]:
    """Nodes, or pods that have one."""
    cache = call.parts.cache
    found = cache.select(call.kind.plural, namespace=call.target.namespace)
    matching = selection.of(found, cache, version_of(call.parts.scheme, call.kind))
    return [stored for stored in matching if _node_of(call, stored)]


def _node_of(call: Call, stored: Stored) -> str:
    if call.kind.plural == "nodes":
        return stored.key.name
    return str_at(call.parts.cache.obj(stored), "spec", "nodeName")


async def _asked(call: Call, nodes: Iterable[str]) -> Mapping[str, NodeUsed]:
    turns = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(node: str) -> NodeUsed | None:
        async with turns:
            try:
                return await call.parts.usages.used(node)
            except UnavailableError:
                return None  # it has no row

    names = sorted(nodes)
    answers = await asyncio.gather(*(ask(node) for node in names))
    return {node: answer for node, answer in zip(names, answers, strict=True) if answer is not None}


def _shown(call: Call, stored: Stored, used: NodeUsed) -> JsonObject | None:
    obj = call.parts.cache.obj(stored)
    labels = map_at(obj, "metadata", "labels")
    if call.kind.plural == "nodes":
        return None if used.node is None else node_metrics(stored.key.name, labels, used.node)
    containers = used.pods.get(stored.uid)
    return pod_metrics(stored.key.namespace, stored.key.name, labels, containers) if containers else None
