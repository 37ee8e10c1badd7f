"""How fast pods find their nodes: 5,000 pods on 500 nodes, the decision alone and with every binding made durable.

Run: python -m benchmarks.scheduler. Durable means the real store on this disk, the real registry and its rules, and
the `Scheduled` event of each pod. The goal is 300 pods a second (TARGETS.md); the machine is shared, so figures vary.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from cloudcore.registry.admission import STEPS
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.runtime.informer import INDEXES
from cloudcore.runtime.manager import Tools, run_controllers
from cloudcore.scheduler.ask import ask_of
from cloudcore.scheduler.cluster import Cluster
from cloudcore.scheduler.decide import decide
from cloudcore.scheduler.scheduler import Scheduler
from cloudcore.store.cache import following
from cloudcore.store.port import Change
from cloudcore.store.sql import open_sql_store
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key

Rows = list[tuple[str, str]]

NODES = 500
PODS = 5_000
_AT_A_TIME = 64


def node(number: int) -> JsonObject:
    return {
        "metadata": {"name": f"n{number}", "labels": {"zone": str(number % 10)}},
        "status": {
            "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(number: int) -> JsonObject:
    return {
        "metadata": {"name": f"p{number}", "namespace": "default"},
        "spec": {
            "nodeSelector": {"zone": str(number % 10)},
            "containers": [
                {"name": "c", "image": "app", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}
            ],
        },
    }


def decisions_per_s() -> float:
    """Pure decisions, each counted on its node before the next."""
    cluster = Cluster()
    for number in range(NODES):
        cluster.put_node(node(number))
    begin = time.perf_counter()
    start = 0
    for number in range(PODS):
        ask = ask_of(pod(number))
        decision = decide(ask, cluster, start=start)
        assert decision.node, "there is room for all"
        start += decision.looked_at
        cluster.put_pod(ask, decision.node)
    return PODS / (time.perf_counter() - begin)


async def bindings_per_s(folder: Path) -> float:
    """From the start of the scheduler on a full queue until the last pod is bound, durably."""
    clock, ids = SystemClock(), SystemIds()
    store = await open_sql_store(folder / "cloud.db", ids=ids)
    try:
        async with following(store, indexes=INDEXES) as cache:
            scheme = builtin_scheme()
            rules = KindRules(CustomKinds(scheme))
            objects = LocalObjects(store=store, cache=cache, rules=rules, clock=clock, ids=ids, steps=STEPS[:1])
            tools = Tools(objects=objects, cache=cache, scheme=scheme, clock=clock, ids=ids)
            await _fill(tools)
            return await _schedule(tools)
    finally:
        await store.close()


async def _fill(tools: Tools) -> None:
    await tools.objects.create(tools.kind("namespaces"), "", {"metadata": {"name": "default"}})
    work = [("nodes", "", node(number)) for number in range(NODES)]
    work += [("pods", "default", pod(number)) for number in range(PODS)]
    for start in range(0, len(work), _AT_A_TIME):
        async with asyncio.TaskGroup() as tasks:
            for resource, namespace, obj in work[start : start + _AT_A_TIME]:
                tasks.create_task(_create(tools, resource, namespace, obj))


async def _create(tools: Tools, resource: str, namespace: str, obj: JsonObject) -> None:
    kind = tools.kind(resource)
    await tools.objects.create(kind, namespace, {"apiVersion": kind.api_version, "kind": kind.kind, **obj})


async def _schedule(tools: Tools) -> float:
    scheduler = Scheduler(tools)
    async with asyncio.TaskGroup() as tasks:
        changes = tools.cache.watch("pods")
        begin = time.perf_counter()
        running = [
            tasks.create_task(run_controllers(tools.cache, tools.clock, [], [scheduler])),
            tasks.create_task(scheduler.run()),
        ]
        async with asyncio.timeout(300):
            await _all_bound(changes)
        took_s = time.perf_counter() - begin
        for task in running:
            task.cancel()
    return PODS / took_s


async def _all_bound(changes: AsyncIterator[Change]) -> None:
    bound: set[Key] = set()
    async for change in changes:
        if change.after is not None and b'"nodeName":' in change.after:
            bound.add(change.key)
            if len(bound) == PODS:
                return


def main() -> Rows:
    """Rows of (what, figure)."""
    with tempfile.TemporaryDirectory() as folder:
        durable = asyncio.run(bindings_per_s(Path(folder)))
    return [
        (f"scheduler: decisions, {PODS} pods on {NODES} nodes", f"{decisions_per_s():,.0f} pods/s"),
        (f"scheduler: bound durably, {PODS} pods on {NODES} nodes (goal 300)", f"{durable:,.0f} pods/s"),
    ]


if __name__ == "__main__":
    for what, figure in main():
        print(f"{what:<70} {figure}")
