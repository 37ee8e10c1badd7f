"""A registry in memory with the default roles, an authorizer, an authenticator and the desk of reviews."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cloudcore.api.authn import Authenticator
from cloudcore.api.authz.authorizer import Authorizer
from cloudcore.api.authz.defaults import keep_defaults
from cloudcore.api.authz.escalation import escalation_step
from cloudcore.api.authz.manifests import manifests_step
from cloudcore.api.authz.signers import signers_step
from cloudcore.api.reviews import ReviewDesk
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.pki.token_keys import new_token_keys
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import Subresource, WriteOptions
from cloudcore.registry.references import references_of
from cloudcore.store.cache import WatchCache, following
from cloudcore.store.memory import MemoryState, MemoryStore
from skerry.authz.attributes import Actor
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import Cause
from skerry.objects.json import JsonObject, str_at
from skerry.objects.scheme import Kind

SCHEME = builtin_scheme()
RBAC = "rbac.authorization.k8s.io"
ADMIN = Actor(name="root", groups=("system:masters",))
JANE = Actor(name="jane", groups=("devs", "system:authenticated"))


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
class Bound:
    """What is bound to a node, looked up the slow way."""

    cache: WatchCache

    def pods(self, node: str) -> Iterable[JsonObject]:
        return self._of("pods", node)

    def commands(self, node: str) -> Iterable[JsonObject]:
        return self._of("commands.skerry.dev", node)

    def devices(self, node: str) -> Iterable[JsonObject]:
        return self._of("devices.devices.kubeedge.io", node)

    def volumes(self, node: str) -> Iterable[str]:
        claims = {key for pod in self.pods(node) for key in references_of(pod)}
        return [
            str_at(self.cache.obj(stored), "spec", "volumeName")
            for stored in self.cache.select("persistentvolumeclaims")
            if stored.key in claims
        ]

    def _of(self, resource: str, node: str) -> Iterable[JsonObject]:
        objects = [self.cache.obj(stored) for stored in self.cache.select(resource)]
        return [obj for obj in objects if str_at(obj, "spec", "nodeName") == node]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    objects: LocalObjects
    authorizer: Authorizer
    authenticator: Authenticator
    tokens: ServiceTokens
    desk: ReviewDesk
    clock: ManualClock

    async def create(
        self, resource: str, obj: JsonObject, *, namespace: str = "", actor: Actor = ADMIN
    ) -> JsonObject:
        written = await self.objects.create(kind(resource), namespace, obj, WriteOptions(actor=actor))
        return written.obj

    async def give(self, role: str, user: str, *, namespace: str = "") -> None:
        """Bind a ClusterRole to a user."""
        obj: JsonObject = {
            "metadata": {"name": f"{role}-{user}".replace(":", "-")},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user}],
        }
        await self.create(
            f"{'rolebindings' if namespace else 'clusterrolebindings'}.{RBAC}", obj, namespace=namespace
        )


def kind(resource: str) -> Kind:
    found = SCHEME.of_resource(resource)
    assert found is not None, resource
    return found


@asynccontextmanager
async def world() -> AsyncGenerator[World]:
    clock, ids = ManualClock(), SeededIds(5)
    store = MemoryStore(MemoryState(epoch="e1"))
    async with following(store) as cache:
        authorizer = Authorizer(cache, Bound(cache=cache))
        steps = (escalation_step(authorizer), signers_step(authorizer), manifests_step(authorizer, SCHEME.named))
        objects = LocalObjects(store=store, cache=cache, rules=NoRules(), clock=clock, ids=ids, steps=steps)
        tokens = ServiceTokens(new_token_keys(), clock, ids)
        authenticator = Authenticator(tokens=tokens, objects=objects, gate=authorizer, clock=clock)
        desk = ReviewDesk(authorizer=authorizer, authenticator=authenticator, tokens=tokens, objects=objects)
        made = World(
            objects=objects,
            authorizer=authorizer,
            authenticator=authenticator,
            tokens=tokens,
            desk=desk,
            clock=clock,
        )
        for namespace in ("a", "b"):
            await made.create("namespaces", {"metadata": {"name": namespace}})
        await keep_defaults(objects, SCHEME)
        yield made
