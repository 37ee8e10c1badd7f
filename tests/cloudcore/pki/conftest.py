"""A cloud's keys, and an enroller over the registry in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudcore.pki.directory import Pki, open_pki
from cloudcore.pki.enrolment import Enroller, EnrollerParts
from cloudcore.pki.serving import now_of
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import Subresource
from cloudcore.store.cache import following
from cloudcore.store.memory import MemoryState, MemoryStore
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import Cause
from skerry.objects.enrolment import JoinToken, token_secret
from skerry.objects.json import JsonObject, decode_object, to_json
from skerry.objects.meta import Key
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text

NOW_MS = 1_795_000_000_000
"""2026-11-18: the real time has to be after this, for what checks dates by the machine's clock."""


class NoRules:
    """Kinds without defaults or schema."""

    def defaulted(self, kind: Kind, obj: JsonObject) -> JsonObject:
        return obj

    def filled(self, kind: Kind, obj: JsonObject) -> JsonObject:
        return obj

    def validate(
        self, kind: Kind, obj: JsonObject, old: JsonObject | None, subresource: Subresource
    ) -> tuple[Cause, ...]:
        return ()

    def warnings(self, kind: Kind, obj: JsonObject, old: JsonObject | None) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    pki: Pki
    objects: LocalObjects
    enroller: Enroller
    clock: ManualClock

    async def issue(
        self, node: str, *, ttl_s: int = 3600, labels: dict[str, str] | None = None, id_: str = "0123456789"
    ) -> JoinToken:
        token = JoinToken(id=id_, secret="ab" * 16, pin=self.pki.authority.pin, node=node)
        secret = token_secret(token, expires=time_text(self.clock.wall_ms() + ttl_s * 1000), labels=labels or {})
        await self.objects.create(kind("secrets"), "kube-system", secret)
        return token

    def now(self, resource: str, name: str, namespace: str = "") -> JsonObject:
        stored = self.objects.read(Key(resource, namespace, name))
        assert stored is not None
        return decode_object(stored.body)


def kind(resource: str) -> Kind:
    found = builtin_scheme().of_resource(resource)
    assert found is not None
    return found


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    clock = ManualClock(wall_ms=NOW_MS)
    pki = open_pki(tmp_path / "cloud", now=now_of(clock))
    store = MemoryStore(MemoryState(epoch="e1"))
    async with following(store) as cache:
        objects = LocalObjects(store=store, cache=cache, rules=NoRules(), clock=clock, ids=SeededIds(1))
        namespace: JsonObject = {"metadata": to_json({"name": "kube-system"})}
        await objects.create(kind("namespaces"), "", namespace)
        parts = EnrollerParts(
            authorities=pki.authorities,
            objects=objects,
            secrets=kind("secrets"),
            nodes=kind("nodes"),
            members=kind("kubefedclusters.core.kubefed.io"),
            namespaces=kind("namespaces"),
            clock=clock,
            hub_port=lambda: 10443,
        )
        yield Cloud(pki=pki, objects=objects, enroller=Enroller(parts), clock=clock)
