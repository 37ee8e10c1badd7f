"""Keeps Endpoints and EndpointSlices in step with pods, services and nodes.

Three controllers, named as Kubernetes names them, since each may be told from what it wrote: Endpoints, slices of
services with a selector, slices that mirror Endpoints made by hand. They keep no data, and write only what says
something new; a crash leaves what was true before, and the next start looks at every service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cloudcore.controllers.endpoints import mirroring, slices, subsets
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import BY_OWNER, PODS_BY_NODE, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, ForbiddenError, NotFoundError
from skerry.objects.json import JsonObject, map_at, str_map_at
from skerry.objects.members import concerns, families_of, selects, zones_of
from skerry.objects.meta import Key, being_deleted, labels_of, name_of, namespace_of, uid_of
from skerry.objects.node_groups import group_of, keeps_to_group
from skerry.objects.scheme import Kind
from skerry.ports import Clock

_PODS_UNPACED: Final = 200
_PODS_PER_S: Final = 1000
"""Of one service, looked at in a second on average: some three hundredths of one processor's time."""
_PAUSE_S_MAX: Final = 10.0
SERVICES: Final = "services"
ENDPOINTS: Final = "endpoints"
SLICES: Final = "endpointslices.discovery.k8s.io"


class _Finder:
    """What the controllers of services with selectors look up, in the watch cache."""

    def __init__(self, tools: Tools) -> None:
        self._cache = tools.cache

    def watches(self) -> list[Keys]:
        return [
            Keys(resource=SERVICES, keys=lambda change: [change.key]),
            Keys(resource="pods", keys=self._of_pod),
            Keys(resource="nodes", keys=self._of_node),
        ]

    def _of_pod(self, change: Seen) -> Iterable[Key]:
        """The services that select the pod, or selected it, when that could say anything new to them."""
        before, after = change.before, change.after
        if concerns(before) == concerns(after):
            return []
        labels = [labels_of(pod) for pod in (before, after) if pod is not None]
        return self._selecting(change.key.namespace, labels)

    def _of_node(self, change: Seen) -> Iterable[Key]:
        """The services of the pods on a node that came, went, or changed its zone or its group."""
        before, after = (_whereabouts(node) for node in (change.before, change.after))
        if before == after:
            return []
        labels: dict[str, list[dict[str, str]]] = {}
        for stored in self._cache.indexed(PODS_BY_NODE, change.key.name):
            labels.setdefault(stored.key.namespace, []).append(labels_of(self._cache.obj(stored)))
        return [key for namespace, found in labels.items() for key in self._selecting(namespace, found)]

    def _selecting(self, namespace: str, labels: Sequence[dict[str, str]]) -> list[Key]:
        found: list[Key] = []
        for stored in self._cache.select(SERVICES, namespace=namespace):
            wanted = str_map_at(self._cache.obj(stored), "spec", "selector").items()
            if wanted and any(wanted <= each.items() for each in labels):
                found.append(stored.key)
        return found

    def service(self, key: Key) -> JsonObject | None:
        stored = self._cache.read(key)
        return None if stored is None else self._cache.obj(stored)

    def pods(self, service: JsonObject) -> list[JsonObject]:
        wanted = str_map_at(service, "spec", "selector").items()
        return [
            self._cache.obj(stored)
            for stored in self._cache.select("pods", namespace=namespace_of(service))
            if wanted <= self._cache.facts(stored).labels.items()
        ]

    def zones(self, pods: Iterable[JsonObject]) -> dict[str, str]:
        """Of the nodes that these pods are on, as far as they exist."""
        return zones_of(self._nodes(pods))

    def groups(self, service: JsonObject, pods: Iterable[JsonObject]) -> dict[str, str] | None:
        """The same with their groups; None for a service that is not kept to them."""
        return {name_of(node): group_of(node) for node in self._nodes(pods)} if keeps_to_group(service) else None

    def _nodes(self, pods: Iterable[JsonObject]) -> list[JsonObject]:
        names = dict.fromkeys(name for pod in pods if isinstance(name := map_at(pod, "spec").get("nodeName"), str))
        found = [self._cache.read(Key("nodes", "", name)) for name in names]
        return [self._cache.obj(stored) for stored in found if stored is not None]


def _whereabouts(node: JsonObject | None) -> object:
    return None if node is None else (zones_of([node]), group_of(node))


class _Pace:
    """A service of thousands of pods is looked at a few times a minute, however often they change: each look is at
    all of them. Kept in memory, for those services alone; a crash lets one more look through."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._not_before_s: dict[Key, float] = {}

    def wait_s(self, key: Key) -> float | None:
        """How long the key has to wait; None for no time at all."""
        left_s = self._not_before_s.get(key, 0.0) - self._clock.monotonic_s()
        return left_s if left_s > 0 else None

    def looked(self, key: Key, pods: int) -> None:
        self._not_before_s.pop(key, None)
        if pods > _PODS_UNPACED:
            self._not_before_s[key] = self._clock.monotonic_s() + min(pods / _PODS_PER_S, _PAUSE_S_MAX)

    def forget(self, key: Key) -> None:
        self._not_before_s.pop(key, None)


class EndpointsController:
    """Endpoints of services with a selector; and none of a service that has gone."""

    name = "endpoint-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._find = _Finder(tools)
        self._pace = _Pace(tools.clock)
        self._kind = tools.kind(ENDPOINTS)

    def watches(self) -> Sequence[Keys]:
        return [*self._find.watches(), Keys(resource=ENDPOINTS, keys=_managed)]

    async def reconcile(self, key: Key) -> float | None:
        service = self._find.service(key)
        at = Key(ENDPOINTS, key.namespace, key.name)
        if service is None:
            self._pace.forget(key)
            await _delete(self._tools, self._kind, at)
        elif selects(service):
            wait_s = self._pace.wait_s(key)
            if wait_s is not None:
                return wait_s
            pods = self._find.pods(service)
            self._pace.looked(key, len(pods))
            await self._keep(at, subsets.endpoints_of(service, pods, self._find.zones(pods)))
        return None

    async def _keep(self, at: Key, wanted: JsonObject) -> None:
        stored = self._tools.cache.read(at)
        if stored is None:
            await _create(self._tools, self._kind, wanted)
            return
        held = self._tools.cache.obj(stored)
        if subsets.brought_up(held, wanted) == held:
            return
        try:
            await self._tools.objects.update(self._kind, at, lambda current: subsets.brought_up(current, wanted))
        except NotFoundError:
            return  # deleted just now; that change brings us here again


class EndpointSliceController:
    """EndpointSlices of services with a selector. Those of a service that has gone are garbage by their owner."""

    name = "endpointslice-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._find = _Finder(tools)
        self._pace = _Pace(tools.clock)

    def watches(self) -> Sequence[Keys]:
        return [*self._find.watches(), Keys(resource=SLICES, keys=_made_by(slices.MANAGER, SERVICES))]

    async def reconcile(self, key: Key) -> float | None:
        service = self._find.service(key)
        if service is None or being_deleted(service) or not selects(service):
            self._pace.forget(key)
            return None
        wait_s = self._pace.wait_s(key)
        if wait_s is not None:
            return wait_s
        pods = self._find.pods(service)
        self._pace.looked(key, len(pods))
        groups = self._find.groups(service, pods)
        wanted = slices.wanted(service, pods, self._find.zones(pods), groups)
        held = _slices_of(self._tools, service, key, slices.MANAGER)
        owner = slices.owner_of(service, groups)
        await _carry_out(self._tools, slices.plan(owner, families_of(service), wanted, held))
        return None


class EndpointSliceMirroringController:
    """EndpointSlices after Endpoints of services without a selector."""

    name = "endpointslicemirroring-controller"
    workers = 5

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=ENDPOINTS, keys=lambda change: [change.key]),
            Keys(
                resource=SERVICES,
                keys=lambda change: [Key(ENDPOINTS, change.key.namespace, change.key.name)],
            ),
            Keys(resource=SLICES, keys=_made_by(mirroring.MANAGER, ENDPOINTS)),
        ]

    async def reconcile(self, key: Key) -> float | None:
        cache = self._tools.cache
        stored = cache.read(key)
        if stored is None:
            return None
        endpoints = cache.obj(stored)
        held = _slices_of(self._tools, endpoints, key, mirroring.MANAGER)
        service = cache.read(Key(SERVICES, key.namespace, key.name))
        step = slices.Plan(delete=tuple(held))
        if service is not None and mirroring.is_mirrored(endpoints, cache.obj(service)):
            step = slices.plan(mirroring.owner_of(endpoints), (), mirroring.wanted(endpoints), held)
        await _carry_out(self._tools, step)
        return None


def _slices_of(tools: Tools, owner: JsonObject, key: Key, manager: str) -> list[JsonObject]:
    """Those that this manager made for this owner; of an owner that is gone they are garbage."""
    cache = tools.cache
    found = [cache.obj(stored) for stored in cache.indexed(BY_OWNER, uid_of(owner)) if stored.key.resource == SLICES]
    return [obj for obj in found if slices.is_of(obj, manager, key.name)]


async def _carry_out(tools: Tools, step: slices.Plan) -> None:
    kind = tools.kind(SLICES)
    async with asyncio.TaskGroup() as tasks:
        for made in step.create:
            tasks.create_task(_create(tools, kind, made))
        for wanted in step.update:
            tasks.create_task(_bring_up(tools, kind, wanted))
    # Last, so that no endpoint is in no slice at any moment.
    for obsolete in step.delete:
        await _delete(tools, kind, kind.key(namespace_of(obsolete), name_of(obsolete)))


async def _bring_up(tools: Tools, kind: Kind, wanted: JsonObject) -> None:
    """What is planned was planned for this state of the slice: another's write in between asks for another plan."""

    def transform(current: JsonObject) -> JsonObject:
        if uid_of(current) != uid_of(wanted):
            return current
        return wanted

    try:
        await tools.objects.update(kind, kind.key(namespace_of(wanted), name_of(wanted)), transform)
    except NotFoundError:
        return  # deleted just now; that change brings us here again


async def _create(tools: Tools, kind: Kind, made: JsonObject) -> None:
    try:
        await tools.objects.create(kind, namespace_of(made), made)
    except AlreadyExistsError:
        return  # made just now by somebody else; that change brings us here again
    except ForbiddenError:
        namespace = tools.cache.read(Key("namespaces", "", namespace_of(made)))
        if namespace is not None and not being_deleted(tools.cache.obj(namespace)):
            raise


async def _delete(tools: Tools, kind: Kind, key: Key) -> None:
    if tools.cache.read(key) is None:
        return
    try:
        await tools.objects.delete(kind, key, DeleteOptions())
    except NotFoundError:
        return


def _managed(change: Seen) -> Iterable[Key]:
    """The service of Endpoints that this controller made, or that are gone."""
    told = [obj for obj in (change.before, change.after) if obj is not None]
    ours = any(subsets.MANAGED_BY.items() <= labels_of(obj).items() for obj in told)
    return [Key(SERVICES, change.key.namespace, change.key.name)] if ours or change.deleted else []


def _made_by(manager: str, resource: str) -> Callable[[Seen], Iterable[Key]]:
    """The owners of slices that this manager made, as keys of `resource`."""

    def keys(change: Seen) -> Iterable[Key]:
        for obj in (change.before, change.after):
            labels = {} if obj is None else labels_of(obj)
            if labels.get(slices.MANAGER_LABEL) == manager and slices.SERVICE_LABEL in labels:
                yield Key(resource, change.key.namespace, labels[slices.SERVICE_LABEL])

    return keys
