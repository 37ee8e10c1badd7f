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

from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import Effect, Transform
from cloudcore.store.cache import following
from cloudcore.store.port import Advance, Batch, Change, Store
from skerry.errors import NotFoundError
from skerry.objects.json import Json, JsonObject, map_at, str_at
from skerry.objects.meta import Revision, uid_of
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
