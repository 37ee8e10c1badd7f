"""Makes the Federated* kind of each type that is enabled, and says whether objects of it are carried out.

The kind outlives its FederatedTypeConfig, with all objects of it, as in KubeFed: who disables a type stops its
propagation, and nothing is deleted anywhere. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.federation.types import definition_of
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, CallerError, NotFoundError
from skerry.objects.federation import FEDERATED_TYPE, NAMESPACE, TYPES, federated_type
from skerry.objects.json import JsonObject, map_at
from skerry.objects.meta import Key, being_deleted, generation_of, labels_of, name_of, namespace_of, uid_of
from skerry.objects.scheme import split_api_version

DEFINITIONS: Final = "customresourcedefinitions.apiextensions.k8s.io"


class FederatedTypeController:
    """See the module."""

    name = "federatedtype-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._types = tools.kind(TYPES)
        self._definitions = tools.kind(DEFINITIONS)

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=TYPES, keys=lambda change: [change.key]),
            Keys(resource=DEFINITIONS, keys=self._configs_of),
        ]

    def _configs_of(self, change: Seen) -> Iterable[Key]:
        """What defines the federated kind, or the target."""
        named = labels_of(change.last).get(FEDERATED_TYPE, change.key.name)
        return [Key(TYPES, NAMESPACE, named)]

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None
        config = self._tools.cache.obj(stored)
        if being_deleted(config):
            return None
        why = await self._enable(config)
        await self._tell(key, config, why)
        return None

    async def _enable(self, config: JsonObject) -> str:
        """Why its objects are not carried out; "" when they are."""
        said = federated_type(config)
        if namespace_of(config) != NAMESPACE:
            return f"types are enabled in the namespace {NAMESPACE}"
        target = self._tools.scheme.named(*split_api_version(said.target_api_version), said.target_kind)
        if target is None or target.resource != said.name or target.namespaced != said.target_namespaced:
            return f"no {said.target_api_version} {said.target_kind} with the plural name and scope given is served"
        wanted = definition_of(config)
        served = self._tools.scheme.named(*split_api_version(said.api_version), said.kind)
        if served is not None and not served.custom:
            return f"{said.api_version} {said.kind} is a kind that is built in"
        try:
            await self._keep(wanted)
        except CallerError as error:
            return f"the definition of {said.kind}: {error}"
        return "" if said.enabled else "propagation is disabled"

    async def _keep(self, wanted: JsonObject) -> None:
        key = self._definitions.key("", name_of(wanted))
        if self._tools.objects.read(key) is None:
            try:
                await self._tools.objects.create(self._definitions, "", wanted)
            except AlreadyExistsError:
                return
            return

        def transform(current: JsonObject) -> JsonObject:
            if FEDERATED_TYPE not in labels_of(current):
                return current  # the user's own, from KubeFed's chart: it is as good
            return {**current, "spec": {**map_at(current, "spec"), **map_at(wanted, "spec")}}

        await self._tools.objects.update(self._definitions, key, transform)

    async def _tell(self, key: Key, config: JsonObject, why: str) -> None:
        status: JsonObject = {
            "observedGeneration": generation_of(config),
            "propagationController": "NotRunning" if why else "Running",
            "statusController": "Running" if not why and federated_type(config).collects else "NotRunning",
        }
        if why:
            status["message"] = why
        if map_at(config, "status") == status:
            return

        def told(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid_of(config) else current

        try:
            await self._tools.objects.update(self._types, key, told, subresource="status")
        except NotFoundError:
            return
