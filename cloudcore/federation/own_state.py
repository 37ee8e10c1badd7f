"""What a region says of itself to the global cloud: where it is, what is free on its nodes, whose pods find no node,
what it has of the federation without a row.

Looks at all nodes and pods each time, with pauses, as it is asked about once a minute. Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from cloudcore.runtime.informer import PODS_BY_NODE
from cloudcore.runtime.manager import Tools
from skerry.errors import CallerError
from skerry.frozen import Frozen
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.federation import REGION_OBJECTS, read_member_object
from skerry.objects.json import Json, JsonObject, bool_at, map_at, str_at
from skerry.objects.meta import labels_of
from skerry.objects.pods import is_over
from skerry.objects.quantity import parse_quantity
from skerry.objects.rooms import ROWS_MAX, WAITS_S_MIN, Room, rooms_of, shown_rooms
from skerry.objects.select import LabelSelector, label_selector
from skerry.objects.strays import is_stray, told_strays
from skerry.objects.times import ms_at

Requests: TypeAlias = "Callable[[JsonObject], Mapping[str, int]]"
"""What a pod asks of a node: cpu in thousandths, all else in units."""

_PODS_AT_A_TIME: Final = 200
_KUBERNETES: Final = "v1.36.0"
_ZONE: Final = "topology.kubernetes.io/zone"
_REGION: Final = "topology.kubernetes.io/region"
_REPLICATED: Final = frozenset({"Deployment", "ReplicaSet", "StatefulSet"})


class _Workload(Frozen, kw_only=False):
    row: str
    namespace: str
    selector: LabelSelector


async def own_state(tools: Tools, requests: Requests, *, steady_ms: int) -> JsonObject:
    """As it is told. `steady_ms`: now, by a clock that goes on when the wall clock is set."""
    nodes = [tools.cache.obj(each) for each in tools.cache.select("nodes")]
    zones = sorted({labels_of(node)[_ZONE] for node in nodes if _ZONE in labels_of(node)})
    regions = sorted({labels_of(node)[_REGION] for node in nodes if _REGION in labels_of(node)})
    takes = [node for node in nodes if is_true(node, "Ready") and not bool_at(node, "spec", "unschedulable")]
    free = [await _free_on(tools, node, requests) for node in takes]
    bound, waiting = await _pods(tools, (tools.clock.wall_ms(), steady_ms))
    named: list[Json] = [*zones]
    rows = [tools.cache.obj(each) for each in tools.cache.select(REGION_OBJECTS)]
    return {
        "strays": told_strays([row for row in rows if is_stray(row)]),
        "kubernetesVersion": _KUBERNETES,
        "zones": named,
        "region": regions[0] if regions else "",
        "nodes": len(nodes),
        "room": shown_rooms(rooms_of(free)),
        "bound": bound,
        "waiting": waiting,
    }


async def _free_on(tools: Tools, node: JsonObject, requests: Requests) -> Room:
    has = map_at(node, "status", "allocatable")
    cpu, memory, pods = _amount(has, "cpu", millis=True), _amount(has, "memory"), _amount(has, "pods")
    bound = tools.cache.indexed(PODS_BY_NODE, str_at(node, "metadata", "name"))
    for number, stored in enumerate(bound):
        if number % _PODS_AT_A_TIME == 0:
            await asyncio.sleep(0)
        pod = tools.cache.obj(stored)
        if not is_over(pod):
            asked = requests(pod)
            cpu, memory, pods = cpu - asked.get("cpu", 0), memory - asked.get("memory", 0), pods - 1
    return Room(cpu_millis=max(0, cpu), memory_bytes=max(0, memory), pods=max(0, pods))


def _amount(quantities: JsonObject, name: str, *, millis: bool = False) -> int:
    try:
        found = parse_quantity(str(quantities.get(name, "0")))
    except CallerError:
        return 0
    return found.millis if millis else found.units


async def _pods(tools: Tools, now_ms: Sequence[int]) -> tuple[JsonObject, JsonObject]:
    """By row of a workload: pods that have a node, and pods that have found none for long."""
    workloads: dict[str, list[_Workload]] = {}
    for workload in _workloads(tools):
        workloads.setdefault(workload.namespace, []).append(workload)
    bound, waiting = Counter[str](), Counter[str]()
    for namespace, here in workloads.items():
        for number, stored in enumerate(tools.cache.select("pods", namespace=namespace)):
            if number % _PODS_AT_A_TIME == 0:
                await asyncio.sleep(0)
            pod = tools.cache.obj(stored)
            if is_over(pod):
                continue
            counter = bound if str_at(pod, "spec", "nodeName") else waiting if _finds_none(pod, now_ms) else None
            if counter is not None:
                counter.update(each.row for each in here if each.selector.matches(labels_of(pod)))
    return told_pods(bound, waiting)


def told_pods(bound: Counter[str], waiting: Counter[str]) -> tuple[JsonObject, JsonObject]:
    """Of as many rows as are told. Whose pods wait is told together with how many have a node."""
    waits = dict(waiting.most_common(ROWS_MAX))
    first = {row: count for row, count in bound.most_common() if row in waits}
    others = {row: count for row, count in bound.most_common() if row not in waits}
    return {**dict([*first.items(), *others.items()][:ROWS_MAX])}, {**waits}


def _finds_none(pod: JsonObject, now_ms: Sequence[int]) -> bool:
    """For long, by each clock that makes sense of when it began: one that was set since makes it later than now, or
    much too early."""
    scheduled = condition_of(pod, "PodScheduled") or {}
    if str_at(scheduled, "status") != "False" or str_at(scheduled, "reason") != "Unschedulable":
        return False
    since_ms = ms_at(str_at(scheduled, "lastTransitionTime"), default=max(now_ms))
    return min((each - since_ms for each in now_ms if each >= since_ms), default=0) >= WAITS_S_MIN * 1000


def _workloads(tools: Tools) -> Iterable[_Workload]:
    for stored in tools.cache.select(REGION_OBJECTS):
        obj = tools.cache.obj(stored)
        row = read_member_object(obj)
        if row.target.kind not in _REPLICATED or row.removal or is_stray(obj):
            continue
        selector = map_at(row.manifest, "spec").get("selector")
        try:
            if isinstance(selector, dict) and selector:
                yield _Workload(stored.key.name, row.target.namespace, label_selector(selector))
        except CallerError:
            continue
