"""A control plane in memory whose controllers are driven by hand: no workers, no waiting, no real time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from cloudcore.registry.admission import Step
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import DeleteOptions, Propagation, Subresource
from cloudcore.runtime.informer import INDEXES, Seen
from cloudcore.runtime.manager import Controller, Tools, UnfinishedError
from cloudcore.store.cache import WatchCache, following
from cloudcore.store.memory import MemoryState, MemoryStore
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import Cause, ConflictError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text


class PlainRules:
    """Kinds without defaults and schema; what is annotated `refuse-pods` makes no pods."""

    def defaulted(self, kind: Kind, obj: JsonObject) -> JsonObject:
        return obj

    def filled(self, kind: Kind, obj: JsonObject) -> JsonObject:
        return obj

    def validate(
        self, kind: Kind, obj: JsonObject, old: JsonObject | None, subresource: Subresource
    ) -> tuple[Cause, ...]:
        labels: Any = obj["metadata"].get("labels", {})  # type: ignore[union-attr]
        if kind.resource == "pods" and labels.get("refuse") == "yes" and old is None:
            return (Cause(field="spec", reason="FieldValueInvalid", message="Invalid value: is refused"),)
        return ()

    def warnings(self, kind: Kind, obj: JsonObject, old: JsonObject | None) -> tuple[str, ...]:
        return ()


class World:
    """Objects, and a way to let controllers see and act until they are content."""

    def __init__(self, store: MemoryStore, cache: WatchCache, steps: tuple[Step, ...], *, real_rules: bool) -> None:
        self.store = store
        self.cache = cache
        self.clock = ManualClock()
        self.scheme = builtin_scheme()
        self.ids = SeededIds(7)
        self.custom = CustomKinds(self.scheme)
        rules = KindRules(self.custom) if real_rules else PlainRules()
        self.objects = LocalObjects(
            store=store, cache=cache, rules=rules, clock=self.clock, ids=self.ids, steps=steps
        )
        self.tools = Tools(objects=self.objects, cache=cache, scheme=self.scheme, clock=self.clock, ids=self.ids)
        self.seen_until = Revision(0)
        self.later: dict[str, float] = {}
        """What the last settling asked to look at again, by key's name, in seconds."""

    def kind(self, resource: str) -> Kind:
        return self.tools.kind(resource)

    def key(self, resource: str, name: str, namespace: str = "d") -> Key:
        kind = self.kind(resource)
        return kind.key(namespace if kind.namespaced else "", name)

    async def create(self, resource: str, obj: Any, namespace: str = "d") -> Any:
        kind = self.kind(resource)
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        return (await self.objects.create(kind, namespace if kind.namespaced else "", body)).obj

    async def update(self, resource: str, name: str, change: Any, *, subresource: Subresource = "") -> Any:
        key = self.key(resource, name)
        return (await self.objects.update(self.kind(resource), key, change, subresource=subresource)).obj

    async def set_spec(self, resource: str, name: str, **fields: Any) -> Any:
        return await self.update(resource, name, lambda obj: {**obj, "spec": {**obj["spec"], **fields}})

    async def set_status(self, resource: str, name: str, **fields: Any) -> Any:
        def told(obj: Any) -> Any:
            return {**obj, "status": {**obj.get("status", {}), **fields}}

        return await self.update(resource, name, told, subresource="status")

    async def delete(
        self, resource: str, name: str, propagation: Propagation = "Background", grace_s: int | None = None
    ) -> None:
        options = DeleteOptions(propagation=propagation, grace_s=grace_s)
        await self.objects.delete(self.kind(resource), self.key(resource, name), options)

    def get(self, resource: str, name: str, namespace: str = "d") -> Any:
        stored = self.objects.read(self.key(resource, name, namespace))
        return None if stored is None else self.cache.obj(stored)

    def all(self, resource: str) -> list[Any]:
        return [self.cache.obj(stored) for stored in self.objects.select(self.kind(resource).stored_as)]

    def names(self, resource: str) -> list[str]:
        return [obj["metadata"]["name"] for obj in self.all(resource)]

    def events(self, reason: str) -> list[Any]:
        return [event for event in self.all("events") if event["reason"] == reason]

    async def settle(self, *controllers: Controller, rounds: int = 60) -> None:
        """Show every change to every controller, and reconcile what it names, until nothing changes any more."""
        failed: dict[tuple[int, Key], int] = {}
        again: set[tuple[int, Key]] = set()
        for _ in range(rounds):
            changes = await self.store.changes(after=self.seen_until)
            if not changes and not again:
                return
            todo = dict.fromkeys(again)
            again = set()
            for change in changes:
                self.seen_until = change.revision
                seen = Seen(change)
                for number, controller in enumerate(controllers):
                    todo |= dict.fromkeys((number, key) for key in _keys(controller, seen))
            for number, key in todo:
                try:
                    wait_s = await controllers[number].reconcile(key)
                except (ConflictError, UnfinishedError):
                    failed[number, key] = failed.get((number, key), 0) + 1
                    if failed[number, key] < 4:
                        again.add((number, key))
                else:
                    if wait_s is not None:
                        self.later[key.name] = wait_s
        raise AssertionError(f"not settled after {rounds} rounds")

    async def run_pods(self, *, ready: bool = True) -> None:
        """Be every kubelet: start the pods that there are, and end those that are being deleted."""
        for pod in self.all("pods"):
            name = pod["metadata"]["name"]
            if pod["metadata"].get("deletionTimestamp"):
                await self.delete("pods", name, grace_s=0)
            elif ready and pod.get("status", {}).get("phase") != "Running":
                conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": _now(self)}]
                await self.set_status("pods", name, phase="Running", conditions=conditions)


def _now(world: World) -> str:
    return time_text(world.clock.wall_ms())


def _keys(controller: Controller, seen: Seen) -> Sequence[Key]:
    return [
        key for watch in controller.watches() if watch.resource in ("", seen.key.resource) for key in watch.keys(seen)
    ]


@asynccontextmanager
async def make_world(*steps: Step, real_rules: bool = False) -> AsyncGenerator[World, None]:
    store = MemoryStore(MemoryState(epoch="e1"))
    async with following(store, indexes=INDEXES) as cache:
        yield World(store, cache, steps, real_rules=real_rules)
