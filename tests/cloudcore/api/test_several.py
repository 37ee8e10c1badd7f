"""A replica whose cache does not show yet what another one wrote: it asks before it refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from msgspec.structs import force_setattr

from cloudcore.api.authn import ANONYMOUS, AUTHENTICATED
from cloudcore.api.call import Whole
from cloudcore.api.dispatch import Incoming, dispatch
from cloudcore.api.routing import Query, Target
from cloudcore.controllers.crd.serving import ServedDefinitions
from cloudcore.registry.bodies import body_of
from cloudcore.registry.custom import RESOURCE
from cloudcore.store.cache import following
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Batch, Put
from skerry.authz.attributes import Actor, Attributes
from skerry.errors import ForbiddenError, NotFoundError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from tests.cloudcore.api.conftest import ApiWorld
from tests.cloudcore.api.test_verbs import tides
from tests.cloudcore.registry.test_replicas import LaggingStore

SOMEBODY = Actor(name="jane", groups=(AUTHENTICATED,))
GRANT = Key("configmaps", "default", "grant")


class Follower:
    """One replica that lags, and the store that another one writes to."""

    def __init__(self, store: MemoryStore, lagging: LaggingStore, world: ApiWorld) -> None:
        self.store, self.lagging, self.world = store, lagging, world
        force_setattr(cast("Any", world.parts), "gate", self)
        force_setattr(cast("Any", world.parts), "refresh", ServedDefinitions(world.custom, world.cache).refresh)

    def require(self, attributes: Attributes) -> None:
        """As roles would: nobody may anything before it was granted."""
        del attributes
        if self.world.cache.read(GRANT) is None:
            raise ForbiddenError("not granted")

    async def write(self, key: Key, obj: JsonObject) -> None:
        await self.store.commit(Batch(writes=(Put(key=key, uid=f"u-{key.name}", body=body_of(obj), expected=None),)))

    async def grant(self) -> None:
        await self.write(GRANT, {"metadata": {"name": "grant", "namespace": "default"}})

    async def list(self, actor: Actor, *, group: str = "", version: str = "v1", plural: str = "configmaps") -> int:
        target = Target(group=group, version=version, plural=plural, namespace="default")

        async def read() -> bytes:
            return b""

        incoming = Incoming(target=target, verb="list", query=Query(values={}))
        reply = await dispatch(self.world.parts, incoming, actor, read, [])
        assert isinstance(reply, Whole)
        return len(json.loads(reply.body)["items"])


@pytest.fixture
async def follower() -> AsyncIterator[Follower]:
    store = MemoryStore(MemoryState(epoch="e1"))
    lagging = LaggingStore(inner=store)
    async with following(lagging) as cache:  # type: ignore[arg-type]
        yield Follower(store, lagging, ApiWorld(lagging, cache))  # type: ignore[arg-type]


async def test_what_was_granted_just_now_counts(follower: Follower) -> None:
    with pytest.raises(ForbiddenError):
        await follower.list(SOMEBODY)
    await follower.grant()
    follower.lagging.current.clear()
    assert await follower.list(SOMEBODY) == 1


async def test_the_store_is_not_asked_for_everybody(follower: Follower) -> None:
    await follower.grant()
    follower.lagging.current.clear()
    with pytest.raises(ForbiddenError):
        await follower.list(ANONYMOUS)
    assert not follower.lagging.current.is_set()


async def test_a_kind_that_was_established_just_now_is_served(follower: Follower) -> None:
    await follower.grant()
    where = {"group": "sea.example.com", "version": "v1", "plural": "tides"}
    with pytest.raises(NotFoundError):
        await follower.list(SOMEBODY, **where)
    crd = tides("v1")
    status = crd["status"]
    assert isinstance(status, dict)
    status["conditions"] = [{"type": "Established", "status": "True"}]
    follower.lagging.current.clear()
    await follower.write(Key(RESOURCE, "", "tides.sea.example.com"), crd)
    assert await follower.list(SOMEBODY, **where) == 0
