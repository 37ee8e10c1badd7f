"""A registry over the memory store, with kinds' rules that add nothing: what is tested is the registry itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from cloudcore.registry.admission import STEPS, Step
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import Subresource
from cloudcore.store.cache import WatchCache, following
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Store
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import Cause
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key
from skerry.objects.scheme import Kind

SCHEME = builtin_scheme()


class PlainRules:
    """Rules of kinds without defaults or schema. Data that says "bad" is invalid, to have something that is."""

    def defaulted(self, kind: Kind, obj: JsonObject) -> JsonObject:
        return obj

    def filled(self, kind: Kind, obj: JsonObject) -> JsonObject:
        return obj

    def validate(
        self, kind: Kind, obj: JsonObject, old: JsonObject | None, subresource: Subresource
    ) -> tuple[Cause, ...]:
        if "bad" not in obj.get("data", {}):  # type: ignore[operator]
            return ()
        return (Cause(field="data.bad", reason="FieldValueInvalid", message='Invalid value: "bad": is bad'),)

    def warnings(self, kind: Kind, obj: JsonObject, old: JsonObject | None) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    objects: LocalObjects
    store: Store
    cache: WatchCache
    clock: ManualClock

    def kind(self, resource: str) -> Kind:
        found = SCHEME.of_resource(resource)
        assert found is not None
        return found

    async def create(self, resource: str, obj: JsonObject, *, namespace: str = "ns") -> JsonObject:
        kind = self.kind(resource)
        return (await self.objects.create(kind, namespace if kind.namespaced else "", obj)).obj

    def now(self, resource: str, name: str, *, namespace: str = "ns") -> JsonObject | None:
        kind = self.kind(resource)
        stored = self.objects.read(kind.key(namespace if kind.namespaced else "", name))
        return None if stored is None else self.cache.obj(stored)

    def key(self, resource: str, name: str) -> Key:
        kind = self.kind(resource)
        return kind.key("ns" if kind.namespaced else "", name)


def make_objects(
    store: Store, cache: WatchCache, clock: ManualClock, steps: tuple[Step, ...] = STEPS
) -> LocalObjects:
    return LocalObjects(store=store, cache=cache, rules=PlainRules(), clock=clock, ids=SeededIds(7), steps=steps)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    store, clock = MemoryStore(MemoryState(epoch="e1")), ManualClock()
    async with following(store) as cache:
        made = Registry(objects=make_objects(store, cache, clock), store=store, cache=cache, clock=clock)
        await made.create("namespaces", {"metadata": {"name": "ns"}})
        await made.create("serviceaccounts", {"metadata": {"name": "default"}})
        yield made


def name_of(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "name")
