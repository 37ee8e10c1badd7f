"""Sees to it that each namespace has the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

Pods get both without asking (Kubernetes "Service Accounts"). Keeps nothing but the certificate it was given; what a
crash leaves unmade is made after the next start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, ForbiddenError, NotFoundError
from skerry.objects.enrolment import TRUST_FIELD, TRUST_NAME
from skerry.objects.json import JsonObject, map_at, str_map_at
from skerry.objects.meta import Key, being_deleted

ACCOUNT = "default"


class ServiceAccountController:
    """`ca_pem` is the certificate (or bundle) by which pods know the API server."""

    name = "serviceaccount-controller"
    workers = 2

    def __init__(self, tools: Tools, *, ca_pem: str) -> None:
        self._tools = tools
        self._ca_pem = ca_pem

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource="namespaces", keys=lambda change: [] if change.deleted else [change.key]),
            Keys(resource="serviceaccounts", keys=lambda change: _its_namespace(change, ACCOUNT)),
            Keys(resource="configmaps", keys=lambda change: _its_namespace(change, TRUST_NAME)),
        ]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None or being_deleted(self._tools.cache.obj(stored)):
            return None
        try:
            await self._account(key.name)
            await self._trust(key.name)
        except (ForbiddenError, NotFoundError):
            # The namespace is going, or has gone since we looked.
            return None
        return None

    async def _account(self, namespace: str) -> None:
        kind = self._tools.kind("serviceaccounts")
        if self._tools.objects.read(kind.key(namespace, ACCOUNT)) is None:
            account: JsonObject = {"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": ACCOUNT}}
            await self._create("serviceaccounts", namespace, account)

    async def _trust(self, namespace: str) -> None:
        kind = self._tools.kind("configmaps")
        key = kind.key(namespace, TRUST_NAME)
        stored = self._tools.objects.read(key)
        if stored is None:
            data: JsonObject = {TRUST_FIELD: self._ca_pem}
            await self._create(
                "configmaps",
                namespace,
                {"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": TRUST_NAME}, "data": data},
            )
        elif str_map_at(self._tools.cache.obj(stored), "data").get(TRUST_FIELD) != self._ca_pem:
            await self._tools.objects.update(kind, key, self._trusting)

    def _trusting(self, current: JsonObject) -> JsonObject:
        return {**current, "data": {**map_at(current, "data"), TRUST_FIELD: self._ca_pem}}

    async def _create(self, resource: str, namespace: str, obj: JsonObject) -> None:
        try:
            await self._tools.objects.create(self._tools.kind(resource), namespace, obj)
        except AlreadyExistsError:
            # A user was faster.
            return


def _its_namespace(change: Seen, name: str) -> Iterable[Key]:
    """The namespace, when the object of that name in it was changed or deleted."""
    return [Key("namespaces", "", change.key.namespace)] if change.key.name == name else []
