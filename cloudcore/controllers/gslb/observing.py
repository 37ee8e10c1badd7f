"""Has gateways try the addresses of GlobalServices and Gslbs, through their sessions, and writes down how they vote.

A DnsZone says which gateways look (`spec.observers`); a GlobalService or Gslb of it, how, or the zone for all. Keeps
counters in memory; the votes are in `status.observations` of the object, from where they go into the zone's snapshot
when they change. A leader that begins counts anew, and the votes stay as they were until it knows more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from cloudcore.controllers.gslb.draft import node_facts, zone_of
from cloudcore.controllers.gslb.handover import has_moved
from cloudcore.controllers.gslb.vantage import (
    COUNT_DEFAULT,
    COUNT_MAX,
    Ballot,
    Gateway,
    Target,
    is_public,
    shared,
    target_of,
    vantage_points,
)
from cloudcore.runtime.manager import Tools
from skerry.errors import BadRequestError, InvalidError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.gslb import DNS_ZONES, WISHES, probe_for, probe_said
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    encode_object,
    int_at,
    map_at,
    maps_at,
    read_json,
    str_at,
    strs_at,
)
from skerry.objects.meta import Key, labels_of, uid_of
from skerry.objects.select import label_selector
from skerry.probing.asking import PROBES, TRIES_MAX, Try, is_one_host, question
from skerry.probing.probe import NOT_PERMITTED

LOG: Final = logging.getLogger(__name__)
LOOK_S: Final = 1.0
CHOOSE_S: Final = 10.0
"""Gateways are chosen anew so often."""
BEGIN_S: Final = 60.0
"""How long the votes of the leader before are kept."""
ANSWER_S_MAX: Final = 5.0
"""Beyond the time that the probes may take."""
ANSWER_BYTES_MAX: Final = 64 << 10
QUESTIONS_MAX: Final = 8
"""On their way to one gateway at a time."""
_Asked = tuple[str, str]
"""A gateway, and the namespace whose addresses it tries."""

Reads = Callable[[str, str, bytes], AsyncGenerator[bytes]]
"""Asks a node on a stream: node, kind, parameters."""


class _Watch(Frozen):
    """An address of a GlobalService or a Gslb, and who looks at it."""

    owner: Key
    host: str
    target: Target
    gateways: tuple[str, ...]


class GatewayObservers:
    """`run` for ever, in the leader."""

    def __init__(self, tools: Tools, reads: Reads) -> None:
        self._tools = tools
        self._reads = reads
        self._ballot = Ballot()
        self._asking: set[_Asked] = set()
        self._last: dict[_Asked, float] = {}
        """When what was asked last."""
        self._silent: dict[_Asked, float] = {}
        """What was not answered, and when it is asked again."""
        self._chosen: dict[str, tuple[str, ...]] = {}
        self._choose_at = 0.0
        self._fault = ""
        """Why votes could not be written down last."""
        self._begun_s = tools.clock.monotonic_s() + BEGIN_S

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(LOOK_S)
                watches = self._watches()
                for who, due in self._due(watches):
                    tasks.create_task(self._ask(who, due))
                await self._write(watches)

    async def look(self) -> None:
        """Once, at all that is due, until it has ended."""
        watches = self._watches()
        async with asyncio.TaskGroup() as tasks:
            for who, due in self._due(watches):
                tasks.create_task(self._ask(who, due))
        await self._write(watches)

    def _due(self, watches: list[_Watch]) -> list[tuple[_Asked, list[Target]]]:
        """What is to be asked: each namespace's by itself, so that what is slow in one holds no other up."""
        asked: dict[_Asked, dict[str, Target]] = {}
        watching: dict[str, set[str]] = {}
        owners: dict[str, str] = {}
        for watch in watches:
            owners.setdefault(watch.target.id, f"{watch.owner.resource}/{watch.owner.name}")
            for gateway in watch.gateways:
                asked.setdefault((gateway, watch.owner.namespace), {})[watch.target.id] = watch.target
                watching.setdefault(gateway, set()).add(watch.target.id)
        self._ballot.keep(watching)
        self._last = {who: at for who, at in self._last.items() if who in asked}
        self._silent = {who: at for who, at in self._silent.items() if who in asked}
        now_s = self._tools.clock.monotonic_s()
        found: list[tuple[_Asked, list[Target]]] = []
        busy = Counter(gateway for gateway, _ in self._asking)
        for who in sorted(asked, key=lambda who: self._last.get(who, -math.inf)):
            gateway = who[0]
            if who in self._asking or now_s < self._silent.get(who, 0.0) or busy[gateway] >= QUESTIONS_MAX:
                continue
            if due := self._ballot.due(gateway, [*asked[who].values()], now_s):
                busy[gateway] += 1
                self._asking.add(who)
                self._last[who] = now_s
                found.append((who, shared(due, owners, TRIES_MAX)))
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
        for stored in [stored for resource in WISHES for stored in cache.select(resource)]:
            obj = cache.obj(stored)
            if has_moved(stored.key, obj):
                continue
            said = probe_said(stored.key, obj)
            for row in maps_at(obj, "status", "endpoints"):
                host, address = str_at(row, "host"), str_at(row, "address")
                zone = zone_of(host, zones)
                chosen = self._chosen.get(zone, ()) if zone else ()
                probe = probe_for(said, zones.get(zone, {}))
                if not chosen or probe is None or not _may_try(address, zones[zone]):
                    continue
                try:
                    target = target_of(Try(address=address, host=host.removeprefix("*."), given=probe))
                except InvalidError:
                    continue  # told where the zone is made
                found.append(_Watch(owner=stored.key, host=host, target=target, gateways=chosen))
        return found

    async def _ask(self, who: _Asked, targets: list[Target]) -> None:
        gateway = who[0]
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
            reasons = strs_at(read_json(bytes(told), "its answer"), "reasons")
            if len(reasons) != len(targets):
                raise InvalidError("answers to something else")
        except (SkerryError, TimeoutError) as error:
            # It has no vote while it says nothing; the session tells that it is away.
            LOG.debug("gateway does not look node=%s: %s", gateway, error)
            self._silent[who] = self._tools.clock.monotonic_s() + ANSWER_S_MAX
        else:
            self._silent.pop(who, None)
            pairs = zip(targets, reasons, strict=True)
            results = [(target, None if reason == NOT_PERMITTED else not reason) for target, reason in pairs]
            self._ballot.take(gateway, results, begin_s)
        finally:
            self._asking.discard(who)

    async def _write(self, watches: list[_Watch]) -> None:
        now_s = self._tools.clock.monotonic_s()
        rows: dict[Key, list[Json]] = {}
        for watch in watches:
            up, down = self._ballot.votes(watch.target, watch.gateways, now_s)
            if up or down:
                row: JsonObject = {"host": watch.host, "address": watch.target.given.address, "up": up, "down": down}
                rows.setdefault(watch.owner, []).append(row)
        watched = {watch.owner for watch in watches}
        for stored in [stored for resource in WISHES for stored in self._tools.cache.select(resource)]:
            obj = self._tools.cache.obj(stored)
            before = maps_at(obj, "status", "observations")
            after = rows.get(stored.key, [])
            # Who has just begun will know more soon; later, nobody's votes are nobody's.
            if before == after or (not after and stored.key in watched and now_s < self._begun_s):
                continue
            try:
                await self._write_one(stored.key, uid_of(obj), after)
            except UnavailableError as error:
                self._tell(str(error))
                return  # nothing can be written just now; all of it is tried again in a second
            except SkerryError as error:
                self._tell(f"{stored.key.namespace}/{stored.key.name}: {error}")
            else:
                self._fault = ""

    def _tell(self, fault: str) -> None:
        if fault != self._fault:
            LOG.warning("what gateways see is not written down: %s", fault)
        self._fault = fault

    async def _write_one(self, key: Key, uid: str, rows: list[Json]) -> None:
        def transform(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid:
                return current
            status = {name: value for name, value in map_at(current, "status").items() if name != "observations"}
            return {**current, "status": {**status, "observations": rows} if rows else status}

        try:
            await self._tools.objects.update(self._tools.kind(key.resource), key, transform, subresource="status")
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
    try:
        one_host = is_one_host(address)
    except ValueError:
        return False
    return one_host and (bool_at(zone, "observers", "privateAddresses") or is_public(address))
