"""Gathers where members serve a Service or an Ingress: KubeFed's records of DNS, and the DNSEndpoints made of them.

What a member has is in its row of the ledger. One that is silent keeps what it told last, with the time: who is gone
is found out by those who try its addresses, and not by a link that is down. Keeps, in memory, what names of load
balancers led to last; a crash forgets that, and they are asked for anew.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Final

from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS, NAMESPACE, Target, row_name
from skerry.objects.gslb import REGION_LABEL
from skerry.objects.hosts import is_address
from skerry.objects.json import Json, JsonObject, bool_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import Key, being_deleted, controller_of, labels_of, name_of, uid_of
from skerry.objects.multicluster_dns import (
    DOMAINS,
    ENDPOINTS,
    INGRESS_RECORDS,
    PREFIXES,
    RECORDS,
    SERVICE_RECORDS,
    endpoints_of,
    hosts_of,
)

RESOLVED_AGAIN_S: Final = 60.0
"""Between looks at what the name of a load balancer leads to."""
_RESOLVE_S_MAX: Final = 5.0
"""For all names of a record together: what is not answered by then is missing until the next look."""
_RESOLVED_MAX: Final = 10_000
_BALANCERS_MAX: Final = 16
"""That are taken of what a member tells of one object."""
_THREADS_MAX: Final = 32
"""Of names that are asked for at a time: names that are never answered hold up none of the rest of the process."""
_KINDS: Final = {
    SERVICE_RECORDS: ("v1", "Service"),
    INGRESS_RECORDS: ("networking.k8s.io/v1", "Ingress"),
}
_RECORD_OF: Final = {"Service": SERVICE_RECORDS, "Ingress": INGRESS_RECORDS}

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""Addresses of a host; none where they are not known now."""


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS_MAX, thread_name_prefix="resolve")


async def resolve(host: str) -> Sequence[str]:
    """By this machine's resolver."""
    ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.get_running_loop().run_in_executor(_threads(), ask)
    except (OSError, ValueError):  # of names that can't be any as well
        return ()
    return sorted({str(each[4][0]) for each in found})


class _Resolved(Frozen):
    addresses: tuple[str, ...]
    at_s: float


class MulticlusterDnsController:
    """See the module. Its keys are records."""

    name = "multicluster-dns-controller"
    workers = 2

    def __init__(self, tools: Tools, resolve: Resolve = resolve, within_s: float = _RESOLVE_S_MAX) -> None:
        self._tools = tools
        self._resolve = resolve
        self._within_s = within_s
        self._resolved: dict[str, _Resolved] = {}

    def watches(self) -> Sequence[Keys]:
        return [
            *(Keys(resource=resource, keys=lambda change: [change.key]) for resource in RECORDS),
            Keys(resource=DOMAINS, keys=self._of_domain),
            Keys(resource=MEMBERS, keys=self._of_member),
            Keys(resource=MEMBER_OBJECTS, keys=self._of_row),
            Keys(resource=ENDPOINTS, keys=_of_endpoint),
        ]

    def _records(self, *resources: str) -> Iterable[Key]:
        for resource in resources:
            for stored in self._tools.cache.select(resource):
                yield stored.key

    def _of_domain(self, change: Seen) -> Iterable[Key]:
        if change.key.namespace == NAMESPACE:
            yield from self._records(SERVICE_RECORDS)

    def _of_member(self, change: Seen) -> Iterable[Key]:
        before, after = change.before, change.after
        if before is None or after is None or _place(before) != _place(after):
            yield from self._records(*RECORDS)

    def _of_row(self, change: Seen) -> Iterable[Key]:
        target = map_at(change.last, "spec", "object")
        if resource := _RECORD_OF.get(str_at(target, "kind")):
            yield Key(resource, str_at(target, "namespace"), str_at(target, "name"))

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            return None  # its DNSEndpoint is collected with it
        record = self._tools.cache.obj(stored)
        if being_deleted(record):
            return None
        status, again_s = await self._status(key, record)
        told: JsonObject = {**record, "status": status}
        await self._keep_endpoint(key, told)
        if map_at(record, "status") != status:
            await self._write_status(key, record, status)
        return again_s

    # --- what members have ---

    async def _status(self, key: Key, record: JsonObject) -> tuple[JsonObject, float | None]:
        rows: list[JsonObject] = []
        for stored in sorted(self._tools.cache.select(MEMBERS, namespace=NAMESPACE), key=lambda each: each.key.name):
            member = self._tools.cache.obj(stored)
            if being_deleted(member):
                continue
            rows.append(self._row(key, record, member))
        named = {host for row in rows for host in hosts_of(map_at(row, "loadBalancer")) if not is_address(host)}
        found = await self._addresses(named)
        for row in rows:
            hosts = hosts_of(map_at(row, "loadBalancer"))
            if all(is_address(host) for host in hosts):
                continue
            row["addresses"] = [*sorted({each for host in hosts for each in found.get(host, (host,))})]
            if missing := [host for host in hosts if not found.get(host, (host,))]:
                row["message"] = f"no address is known of {', '.join(missing)}"
        again_s = RESOLVED_AGAIN_S if named else None
        status: JsonObject = {"dns": [*rows]} if rows else {}
        if key.resource == SERVICE_RECORDS and (domain := self._domain(str_at(record, "spec", "domainRef"))):
            status["domain"] = domain
        return status, again_s

    def _domain(self, name: str) -> str:
        stored = self._tools.cache.read(Key(DOMAINS, NAMESPACE, name))
        return "" if stored is None else str_at(self._tools.cache.obj(stored), "domain")

    def _row(self, key: Key, record: JsonObject, member: JsonObject) -> JsonObject:
        api_version, kind = _KINDS[key.resource]
        target = Target(api_version=api_version, kind=kind, namespace=key.namespace, name=key.name)
        told: JsonObject = {"cluster": name_of(member), "loadBalancer": {}}
        region, zones = _place(member)
        if region:
            told["region"] = region
        if zones and key.resource == SERVICE_RECORDS:
            told["zones"] = [*zones]
        stored = self._tools.cache.read(Key(MEMBER_OBJECTS, "", row_name(name_of(member), target)))
        row: JsonObject = {} if stored is None else self._tools.cache.obj(stored)
        if str_at(row, "spec", "remove") or not map_at(row, "status"):
            return told
        if at := str_at(row, "status", "observedAt"):
            told["observedAt"] = at
        allowed = key.resource == INGRESS_RECORDS or bool_at(record, "spec", "allowServiceWithoutEndpoints")
        if allowed or map_at(row, "status").get("backed", True):
            told["loadBalancer"] = _balancer(row)
        else:
            told["message"] = "no endpoint is ready there"
        return told

    async def _addresses(self, hosts: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Of each name: what it leads to, or led to last; none where that was never known."""
        found: dict[str, tuple[str, ...]] = {}
        asked: dict[str, asyncio.Task[Sequence[str]]] = {}
        now_s = self._tools.clock.monotonic_s()
        for host in hosts:
            known = self._resolved.get(host)
            found[host] = () if known is None else known.addresses
            if known is None or now_s - known.at_s >= RESOLVED_AGAIN_S:
                asked[host] = asyncio.create_task(_ask(self._resolve, host))
        if not asked:
            return found
        try:
            await asyncio.wait(asked.values(), timeout=self._within_s)
        finally:
            for task in asked.values():
                task.cancel()
        for host, task in asked.items():
            fresh = tuple(task.result()) if task.done() and not task.cancelled() else ()
            found[host] = fresh or found[host]
            self._keep(host, _Resolved(addresses=found[host], at_s=now_s))
        return found

    def _keep(self, host: str, resolved: _Resolved) -> None:
        self._resolved.pop(host, None)
        self._resolved[host] = resolved  # the newest is the last
        while len(self._resolved) > _RESOLVED_MAX:
            del self._resolved[next(iter(self._resolved))]

    # --- what comes of it ---

    async def _write_status(self, key: Key, record: JsonObject, status: JsonObject) -> None:
        def transform(current: JsonObject) -> JsonObject:
            return {**current, "status": status} if uid_of(current) == uid_of(record) else current

        try:
            await self._tools.objects.update(self._tools.kind(key.resource), key, transform, subresource="status")
        except NotFoundError:
            return

    async def _keep_endpoint(self, record_key: Key, record: JsonObject) -> None:
        """One of that name is this record's, whoever made it: KubeFed's say nobody owns them."""
        kind = self._tools.kind(ENDPOINTS)
        there = kind.key(record_key.namespace, f"{PREFIXES[record_key.resource]}-{record_key.name}")
        endpoints = endpoints_of(record_key, record)
        owner: JsonObject = {
            "apiVersion": str_at(record, "apiVersion"),
            "kind": str_at(record, "kind"),
            "name": name_of(record),
            "uid": uid_of(record),
            "controller": True,
        }
        stored = self._tools.cache.read(there)
        wanted: JsonObject = {"endpoints": endpoints}

        def transform(current: JsonObject) -> JsonObject:
            owners = maps_at(current, "metadata", "ownerReferences")
            if map_at(current, "spec") == wanted and owner in owners:
                return current
            return {
                **current,
                "metadata": {**map_at(current, "metadata"), "ownerReferences": [owner]},
                "spec": wanted,
            }

        if stored is None:
            body: JsonObject = {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": there.name, "ownerReferences": [owner]},
                "spec": wanted,
            }
            try:
                await self._tools.objects.create(kind, there.namespace, body)
            except AlreadyExistsError:
                return  # the change that tells of it wakes this
        elif transform(self._tools.cache.obj(stored)) is not self._tools.cache.obj(stored):
            try:
                await self._tools.objects.update(kind, there, transform)
            except NotFoundError:
                return  # as above


async def _ask(resolve: Resolve, host: str) -> Sequence[str]:
    return await resolve(host)


def _place(member: JsonObject) -> tuple[str, tuple[str, ...]]:
    """What of a member records show, and not whether it is heard: each flap of one would write every record, and
    `observedAt` says how old it is what a member told."""
    region = str_at(member, "status", "region") or labels_of(member).get(REGION_LABEL, "")
    return region, tuple(strs_at(member, "status", "zones"))


def _balancer(row: JsonObject) -> JsonObject:
    """Where it is reached there: as its load balancer says, else by addresses that lead to it from outside."""
    told = maps_at(row, "status", "remote", "loadBalancer", "ingress")
    outside = strs_at(row, "spec", "manifest", "spec", "externalIPs")
    rows: list[Json] = [*sorted(told, key=lambda each: (str_at(each, "ip"), str_at(each, "hostname")))]
    rows = rows or [{"ip": address} for address in sorted(outside)]
    return {"ingress": rows[:_BALANCERS_MAX]} if rows else {}


def _of_endpoint(change: Seen) -> Iterable[Key]:
    """The record that it is made of."""
    owner = controller_of(change.last)
    for resource, prefix in PREFIXES.items():
        if owner is not None and change.key.name == f"{prefix}-{owner.name}":
            yield Key(resource, change.key.namespace, owner.name)
