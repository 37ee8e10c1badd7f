"""Has gateways try the addresses of GlobalServices, through their sessions, and writes down how they vote.

A DnsZone says which gateways look (`spec.observers`); a GlobalService of it, how (`spec.probe`). Keeps counters in
memory; the votes are in `status.observations` of the GlobalService, from where they go into the zone's snapshot when
they change. A leader that begins counts anew, and the votes stay as they were until it knows more.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from cloudcore.controllers.gslb.draft import node_facts
from cloudcore.controllers.gslb.plan import zone_of
from cloudcore.controllers.gslb.vantage import (
    COUNT_DEFAULT,
    COUNT_MAX,
    Ballot,
    Gateway,
    Target,
    target_of,
    vantage_points,
)
from cloudcore.runtime.manager import Tools
from skerry.errors import BadRequestError, InvalidError, NotFoundError, SkerryError
from skerry.frozen import Frozen
from skerry.objects.gslb import DNS_ZONES, GLOBAL_SERVICES
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    decode_object,
    encode_object,
    int_at,
    map_at,
    maps_at,
    str_at,
    strs_at,
)
from skerry.objects.meta import Key, labels_of, uid_of
from skerry.objects.select import label_selector
from skerry.probing.asking import PROBES, TRIES_MAX, Try, question

LOG: Final = logging.getLogger(__name__)
LOOK_S: Final = 1.0
CHOOSE_S: Final = 10.0
"""Gateways are chosen anew so often."""
BEGIN_S: Final = 60.0
"""How long the votes of the leader before are kept."""
ANSWER_S_MAX: Final = 5.0
"""Beyond the time that the probes may take."""
ANSWER_BYTES_MAX: Final = 64 << 10

Reads = Callable[[str, str, bytes], AsyncGenerator[bytes]]
"""Asks a node on a stream: node, kind, parameters."""


class _Watch(Frozen):
    """An address of a GlobalService, and who looks at it."""

    service: Key
    host: str
    target: Target
    gateways: tuple[str, ...]


class GatewayObservers:
    """`run` for ever, in the leader."""

    def __init__(self, tools: Tools, reads: Reads) -> None:
        self._tools = tools
        self._reads = reads
        self._ballot = Ballot()
        self._asking: set[str] = set()
        self._silent: dict[str, float] = {}
        """Gateways that did not answer, and when they are asked again."""
        self._chosen: dict[str, tuple[str, ...]] = {}
        self._choose_at = 0.0
        self._begun_s = tools.clock.monotonic_s() + BEGIN_S

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(LOOK_S)
                watches = self._watches()
                for gateway, due in self._due(watches):
                    tasks.create_task(self._ask(gateway, due))
                await self._write(watches)

    async def look(self) -> None:
        """Once, at all that is due, until it has ended."""
        watches = self._watches()
        async with asyncio.TaskGroup() as tasks:
            for gateway, due in self._due(watches):
                tasks.create_task(self._ask(gateway, due))
        await self._write(watches)

    def _due(self, watches: list[_Watch]) -> list[tuple[str, list[Target]]]:
        by_gateway: dict[str, dict[str, Target]] = {}
        for watch in watches:
            for gateway in watch.gateways:
                by_gateway.setdefault(gateway, {})[watch.target.id] = watch.target
        self._ballot.keep(by_gateway)
        now_s = self._tools.clock.monotonic_s()
        found: list[tuple[str, list[Target]]] = []
        for gateway, targets in by_gateway.items():
            if gateway in self._asking or now_s < self._silent.get(gateway, 0.0):
                continue
            if due := self._ballot.due(gateway, [*targets.values()], now_s)[:TRIES_MAX]:
                self._asking.add(gateway)
                found.append((gateway, due))
        return found

    def _watches(self) -> list[_Watch]:
        cache, now_s = self._tools.cache, self._tools.clock.monotonic_s()
        zones = {stored.key.name: map_at(cache.obj(stored), "spec") for stored in cache.select(DNS_ZONES)}
        if not any("observers" in spec for spec in zones.values()):
            return []
        if now_s >= self._choose_at:
            self._choose_at = now_s + CHOOSE_S
            gateways = [_gateway(cache.obj(stored)) for stored in cache.select("nodes")]
            self._chosen = {zone: _points(zone, spec, gateways) for zone, spec in zones.items()}
        found: list[_Watch] = []
        for stored in cache.select(GLOBAL_SERVICES):
            obj = cache.obj(stored)
            if not (probe := map_at(obj, "spec", "probe")):
                continue
            for row in maps_at(obj, "status", "endpoints"):
                host, address = str_at(row, "host"), str_at(row, "address")
                zone = zone_of(host, zones)
                chosen = self._chosen.get(zone, ()) if zone else ()
                if not chosen or not _may_try(address, zones[zone]):
                    continue
                try:
                    target = target_of(Try(address=address, host=host.removeprefix("*."), given=probe))
                except InvalidError:
                    continue  # told where the zone is made
                found.append(_Watch(service=stored.key, host=host, target=target, gateways=chosen))
        return found

    async def _ask(self, gateway: str, targets: list[Target]) -> None:
        begin_s = self._tools.clock.monotonic_s()
        limit_s = ANSWER_S_MAX + sum(sorted(each.probe.timeout_s for each in targets)[-(len(targets) // 20 + 1) :])
        told = bytearray()
        try:
            params = encode_object(question(each.given for each in targets))
            async with asyncio.timeout(limit_s), aclosing(self._reads(gateway, PROBES, params)) as pieces:
                async for piece in pieces:
                    told += piece
                    if len(told) > ANSWER_BYTES_MAX:
                        raise InvalidError(f"answers more than {ANSWER_BYTES_MAX} bytes")
            reasons = strs_at(decode_object(bytes(told)), "reasons")
            if len(reasons) != len(targets):
                raise InvalidError("answers to something else")
        except (SkerryError, TimeoutError) as error:
            # It has no vote while it says nothing; the session tells that it is away.
            LOG.debug("gateway does not look node=%s: %s", gateway, error)
            self._silent[gateway] = self._tools.clock.monotonic_s() + ANSWER_S_MAX
        else:
            self._silent.pop(gateway, None)
            pairs = zip(targets, reasons, strict=True)
            self._ballot.take(gateway, [(target, not reason) for target, reason in pairs], begin_s)
        finally:
            self._asking.discard(gateway)

    async def _write(self, watches: list[_Watch]) -> None:
        now_s = self._tools.clock.monotonic_s()
        rows: dict[Key, list[Json]] = {}
        for watch in watches:
            up, down = self._ballot.votes(watch.target, watch.gateways, now_s)
            if up or down:
                row: JsonObject = {"host": watch.host, "address": watch.target.given.address, "up": up, "down": down}
                rows.setdefault(watch.service, []).append(row)
        watched = {watch.service for watch in watches}
        for stored in [*self._tools.cache.select(GLOBAL_SERVICES)]:
            obj = self._tools.cache.obj(stored)
            before = maps_at(obj, "status", "observations")
            after = rows.get(stored.key, [])
            # Who has just begun will know more soon; later, nobody's votes are nobody's.
            if before == after or (not after and stored.key in watched and now_s < self._begun_s):
                continue
            await self._write_one(stored.key, uid_of(obj), after)

    async def _write_one(self, key: Key, uid: str, rows: list[Json]) -> None:
        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid:
                return current
            status = {name: value for name, value in map_at(current, "status").items() if name != "observations"}
            return {**current, "status": {**status, "observations": rows} if rows else status}

        try:
            await self._tools.objects.update(self._tools.kind(GLOBAL_SERVICES), key, transform, subresource="status")
        except NotFoundError:
            return


def _gateway(node: JsonObject) -> Gateway:
    facts = node_facts(node)
    return Gateway(
        name=str_at(node, "metadata", "name"), region=facts.region, heard=facts.heard, labels=labels_of(node)
    )


def _points(zone: str, spec: JsonObject, gateways: list[Gateway]) -> tuple[str, ...]:
    if "observers" not in spec:
        return ()
    observers = map_at(spec, "observers")
    count = min(int_at(observers, "count", default=COUNT_DEFAULT), COUNT_MAX)
    try:
        selector = label_selector({"matchLabels": map_at(observers, "matchLabels")})
    except BadRequestError:
        return ()
    return vantage_points(gateways, selector, count, zone)


def _may_try(address: str, zone: JsonObject) -> bool:
    """Who writes a GlobalService must not look into networks of sites with it, unless the zone's owner allows it."""
    return bool_at(zone, "observers", "privateAddresses") or ipaddress.ip_address(address).is_global
