"""Writing through one process while another has written what this one's cache does not show yet.

The other process is the registry of the fixture; this one has the same store, and a cache that stands still until
the store is asked for its revision, or written to: whoever decides before that goes by what is old.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cloudcore.registry.addresses import ServiceAddresses
from cloudcore.registry.admission import STEPS
from cloudcore.registry.custom import RESOURCE as DEFINITIONS
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import Effect, Transform
from cloudcore.store.cache import following
from cloudcore.store.port import Advance, Batch, Change, Store
from skerry.errors import ForbiddenError, InvalidError, NotFoundError
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Revision, uid_of
from skerry.objects.scheme import Kind
from skerry.objects.spans import Span
from skerry.wire.frames import PROMPT
from tests.cloudcore.registry.conftest import Registry, make_objects

ADVANCE = Advance(node="n", incarnation="i", session=1, covered=((PROMPT, Span(1, 1)),))


@dataclass(slots=True)
class LaggingStore:
    """A store with other writers, whose news wait until somebody asks how far it is, or writes."""

    inner: Store
    current: asyncio.Event = field(default_factory=asyncio.Event)
    shared: bool = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        revisions = await self.inner.commit(batch)
        self.current.set()
        return revisions

    async def revision(self) -> Revision:
        self.current.set()
        return await self.inner.revision()

    async def watch(self, *, after: Revision) -> AsyncIterator[Change]:
        async for change in self.inner.watch(after=after):
            await self.current.wait()
            yield change


@pytest.fixture
async def lagging(registry: Registry) -> AsyncIterator[LocalObjects]:
    """As of a ConfigMap "c" that says a=1, a Pod "p" and its session; what is written next it does not see."""
    await registry.create("configmaps", {"metadata": {"name": "c"}, "data": {"a": "1"}})
    await registry.create("pods", pod())
    await registry.store.enter("n", "i")
    store = LaggingStore(inner=registry.store)
    async with following(store) as cache:  # type: ignore[arg-type]
        store.current.clear()
        yield make_objects(store, cache, registry.clock)  # type: ignore[arg-type]


def pod(**status: Json) -> JsonObject:
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
        "status": dict(status),
    }


def saying(value: str) -> Transform:
    return lambda obj: {**obj, "data": {"a": value}}


def in_phase(phase: str) -> Transform:
    return lambda obj: {**obj, "status": {**map_at(obj, "status"), "phase": phase}}


async def report(registry: Registry, objects: LocalObjects, *, uid: str, phase: str) -> None:
    kind, key = registry.kind("pods"), registry.key("pods", "p")
    effect = Effect(kind=kind, key=key, uid=uid, transform=in_phase(phase), subresource="status", gone=False)
    await objects.report(ADVANCE, [effect], [])


async def test_setting_what_this_one_still_shows_takes_back_what_another_set(
    registry: Registry, lagging: LocalObjects
) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    await registry.objects.update(kind, key, saying("2"))
    written = await lagging.update(kind, key, saying("1"))
    assert registry.now("configmaps", "c") == written.obj
    assert written.obj["data"] == {"a": "1"}


async def test_an_update_of_nothing_says_that_another_deleted_the_object(
    registry: Registry, lagging: LocalObjects
) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "c")
    await registry.objects.delete(kind, key)
    with pytest.raises(NotFoundError):
        await lagging.update(kind, key, lambda obj: obj)


async def test_an_update_of_nothing_that_nobody_else_changed_takes_no_revision(
    registry: Registry, lagging: LocalObjects
) -> None:
    before = await registry.store.revision()
    await lagging.update(registry.kind("configmaps"), registry.key("configmaps", "c"), lambda obj: obj)
    assert await registry.store.revision() == before


async def test_a_delete_that_would_repeat_one_is_for_the_life_that_is_there(
    registry: Registry, lagging: LocalObjects
) -> None:
    kind, key = registry.kind("pods"), registry.key("pods", "p")
    await lagging.delete(kind, key)
    assert str_at(registry.now("pods", "p"), "metadata", "deletionTimestamp")
    lagging.store.current.clear()  # type: ignore[attr-defined]
    uid = uid_of(registry.now("pods", "p") or {})
    gone = Effect(kind=kind, key=key, uid=uid, transform=in_phase("Succeeded"), subresource="status", gone=True)
    await registry.objects.report(ADVANCE, [gone], [])
    await registry.create("pods", pod())
    await lagging.delete(kind, key)
    now = registry.now("pods", "p")
    assert now is not None
    assert str_at(now, "metadata", "deletionTimestamp")


async def test_a_report_of_what_this_one_still_shows_is_not_passed_over(
    registry: Registry, lagging: LocalObjects
) -> None:
    kind, key = registry.kind("pods"), registry.key("pods", "p")
    before = registry.now("pods", "p") or {}
    phase = str_at(before, "status", "phase")
    await registry.objects.update(kind, key, in_phase("Running"), subresource="status")
    await report(registry, lagging, uid=uid_of(before), phase=phase)
    assert str_at(registry.now("pods", "p"), "status", "phase") == phase


async def test_a_report_of_a_life_that_this_one_does_not_show_yet_takes_effect(
    registry: Registry, lagging: LocalObjects
) -> None:
    kind, key = registry.kind("configmaps"), registry.key("configmaps", "new")
    made = await registry.create("configmaps", {"metadata": {"name": "new"}})
    effect = Effect(kind=kind, key=key, uid=uid_of(made), transform=saying("9"), subresource="", gone=False)
    await lagging.report(ADVANCE, [effect], [])
    assert (registry.now("configmaps", "new") or {})["data"] == {"a": "9"}


async def test_a_report_into_a_namespace_that_this_one_does_not_show_yet_is_not_refused(
    registry: Registry, lagging: LocalObjects, caplog: pytest.LogCaptureFixture
) -> None:
    await registry.create("namespaces", {"metadata": {"name": "later"}})
    kind = registry.kind("configmaps")
    key = kind.key("later", "c")
    named: JsonObject = {"metadata": {"name": "c", "namespace": "later"}, "data": {"a": "9"}}
    effect = Effect(kind=kind, key=key, uid="", transform=lambda _: named, subresource="", gone=False)
    await lagging.report(ADVANCE, [effect], [])
    assert registry.now("configmaps", "c", namespace="later") is not None
    assert "refused" not in caplog.text


async def test_a_create_in_a_namespace_that_this_one_does_not_show_yet_is_not_refused(
    registry: Registry, lagging: LocalObjects
) -> None:
    await registry.create("namespaces", {"metadata": {"name": "later"}})
    await lagging.create(registry.kind("configmaps"), "later", {"metadata": {"name": "c"}})
    assert registry.now("configmaps", "c", namespace="later") is not None


@pytest.fixture
async def both(registry: Registry, lagging: LocalObjects) -> tuple[LocalObjects, LocalObjects]:
    """The same two processes, where services get addresses."""
    steps = (*STEPS, ServiceAddresses("10.96.0.0/29"))
    return replace(registry.objects, steps=steps), replace(lagging, steps=steps)


async def expose(objects: LocalObjects, registry: Registry, name: str, **spec: Json) -> JsonObject:
    wanted: JsonObject = {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}], **spec}
    made = await objects.create(registry.kind("services"), "ns", {"metadata": {"name": name}, "spec": wanted})
    return map_at(made.obj, "spec")


async def test_no_address_is_given_out_twice_by_two_processes(
    registry: Registry, both: tuple[LocalObjects, LocalObjects]
) -> None:
    given: list[JsonObject] = []
    for turn in range(3):
        both[1].store.current.clear()  # type: ignore[attr-defined]
        given.append(await expose(both[0], registry, f"a{turn}"))
        given.append(await expose(both[1], registry, f"b{turn}"))
    assert len({str_at(spec, "clusterIP") for spec in given}) == 6
    assert len({int_at(port, "nodePort") for spec in given for port in maps_at(spec, "ports")}) == 6


async def test_of_two_processes_at_once_each_gives_out_what_the_other_has_not(
    registry: Registry, both: tuple[LocalObjects, LocalObjects]
) -> None:
    given = await asyncio.gather(*(expose(both[n % 2], registry, f"s{n}") for n in range(6)))
    assert len({str_at(spec, "clusterIP") for spec in given}) == 6


async def test_an_address_that_another_process_has_just_given_is_refused_to_who_asks_for_it(
    registry: Registry, both: tuple[LocalObjects, LocalObjects]
) -> None:
    await expose(both[0], registry, "first", clusterIP="10.96.0.5")
    with pytest.raises(InvalidError, match="provided IP is already allocated"):
        await expose(both[1], registry, "second", clusterIP="10.96.0.5")
    made = await expose(both[1], registry, "third", clusterIP="10.96.0.6")
    (port,) = maps_at(made, "ports")
    both[1].store.current.clear()  # type: ignore[attr-defined]
    await expose(both[0], registry, "fourth", ports=[{"port": 80, "protocol": "TCP", "nodePort": 30001}])

    def asking(obj: JsonObject) -> JsonObject:
        return {**obj, "spec": {**map_at(obj, "spec"), "ports": [{**port, "nodePort": 30001}]}}

    with pytest.raises(InvalidError, match="provided port is already allocated"):
        await both[1].update(registry.kind("services"), registry.key("services", "third"), asking)


async def test_no_object_outlives_the_definition_of_its_kind(registry: Registry, lagging: LocalObjects) -> None:
    definitions = registry.kind(DEFINITIONS)
    widgets = Kind(
        group="example.com",
        version="v1",
        kind="Widget",
        plural="widgets",
        singular="widget",
        namespaced=True,
        custom=True,
    )
    await registry.objects.create(definitions, "", {"metadata": {"name": widgets.resource}})
    lagging.store.current.set()  # type: ignore[attr-defined]
    await lagging.create(widgets, "ns", {"metadata": {"name": "one"}})
    lagging.store.current.clear()  # type: ignore[attr-defined]

    def held(obj: JsonObject) -> JsonObject:
        return {**obj, "metadata": {**map_at(obj, "metadata"), "finalizers": ["example.com/x"]}}

    key = definitions.key("", widgets.resource)
    await registry.objects.update(definitions, key, held)
    await registry.objects.delete(definitions, key)
    with pytest.raises(ForbiddenError, match="terminating"):
        await lagging.create(widgets, "ns", {"metadata": {"name": "late"}})
    assert [stored.key.name for stored in registry.objects.select(widgets.stored_as)] == ["one"]
