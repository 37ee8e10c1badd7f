"""Tries the endpoints of services, hears what other observers say, and writes into the table who is up.

A process of its own, forked with each generation of zones; the counters go on in the table. What a server that starts
goes on from is on disk (`lastknown`). A crash costs the probes that were on their way.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import random
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cloudcore.dns.access import Peer
from cloudcore.dns.beat import Beat
from cloudcore.dns.exchange import WORD_SIZE, SkewError, Told, datagrams, read_datagram, target_id
from cloudcore.dns.lastknown import LastKnown
from cloudcore.dns.observer import NO_VOTES, Observer, Watched
from cloudcore.dns.table import HealthTable, Place
from cloudcore.dns.turns import Turns
from cloudcore.dns.zone import Zone
from skerry.dns.names import text_of
from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.probing.attempts import tried
from skerry.probing.monitor import State, period_s
from skerry.probing.probe import NOT_PERMITTED, Probe

LOG: Final = logging.getLogger(__name__)
TOGETHER_MAX: Final = 200
"""Probes on their way at a time; the others wait for their turn."""
SHARE_MAX: Final = 50
"""Of one service: what is slow in one holds nobody else up."""
TELL_S: Final = 1.0
SKEW_TELL_S: Final = 3600.0
TELL_SOON_S: Final = 0.02
GREET_S_MIN: Final = 0.2
"""Who begins anew is answered at once, but no more often than this."""


class Target(Frozen):
    id: bytes
    address: str
    probe: Probe
    places: tuple[Place, ...]


class Observing(Frozen):
    """How observers know each other."""

    name: str
    key: bytes = b""
    peers: tuple[Peer, ...] = ()


def targets_of(zones: Mapping[bytes, Zone]) -> list[Target]:
    """What is tried: an address in one way, however many services have it."""
    found: dict[bytes, Target] = {}
    for zone in zones.values():
        for service in zone.services.values():
            if service.probe is None:
                continue
            for each in service.endpoints:
                identity = target_id(each.address, service.probe)
                before = found[identity].places if identity in found else ()
                address = str(ipaddress.ip_address(each.address))
                places = (*before, (service.name, each.address))
                found[identity] = Target(id=identity, address=address, probe=service.probe, places=places)
    return [*found.values()]


class Prober:
    """`run` for ever."""

    def __init__(
        self,
        targets: Sequence[Target],
        table: HealthTable,
        beat: Beat,
        state: Path | None,
        observing: Observing,
        port: socket.socket | None,
    ) -> None:
        self._targets = targets
        self._table = table
        self._known = LastKnown(state)
        self._observing = observing
        self._port = port
        self._by_id = {each.id: each for each in targets}
        self._observer = Observer(
            observing.name,
            {each.id: Watched(address=each.address, probe=each.probe) for each in targets},
            len(observing.peers),
            time.monotonic(),
            counters={each.id: table.counter(each.places[0]) for each in targets},
            held={each.id: "down" if table.is_down(each.places[0]) else "up" for each in targets},
            votes=lambda target: table.votes(self._by_id[target].places[0]) if beat.is_heard() else NO_VOTES,
            good_s={each.id: at for each in targets if (at := table.good_s(each.places[0])) is not None},
        )
        self._told: dict[bytes, State] = {each.id: self._observer.judged(each.id).state for each in targets}
        """What the table has."""
        self._told_at = 0.0
        self._telling = False
        self._reasons: dict[bytes, str] = {}
        self._isolated = False
        self._forbidden = False
        """Whether it was told that something may not be tried."""
        self._skewed: dict[str, float] = {}
        """When it was told last whose clock is not ours."""
        self._turns = Turns(TOGETHER_MAX, SHARE_MAX)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for target in self._targets:
                tasks.create_task(self._watch(target))
            if self._port is not None:
                tasks.create_task(self._tell_for_ever())
                asyncio.get_running_loop().add_reader(self._port, self._hear)

    async def _watch(self, target: Target) -> None:
        loop = asyncio.get_running_loop()
        # Not all at once; those who are unsure sooner.
        await asyncio.sleep(random.random() * min(target.probe.interval_s, 1.0))  # noqa: S311 - only spreads probes
        while True:
            begin = loop.time()
            async with self._turns.of(target.places[0][0]):
                reason = await tried(target.address, target.probe)
            if reason == NOT_PERMITTED:
                self._not_seen(target)
            else:
                self._seen(target, reason)
            wait_s = period_s(self._observer.counter(target.id), target.probe) - (loop.time() - begin)
            await asyncio.sleep(max(0.0, wait_s))

    def _not_seen(self, target: Target) -> None:
        """What may not be tried is not down for it."""
        if not self._forbidden:
            self._forbidden = True
            LOG.warning("endpoints are not tried name=%s: %s", text_of(target.places[0][0]), NOT_PERMITTED)
        self._write(self._observer.cannot_see(target.id, time.monotonic()))

    def _seen(self, target: Target, reason: str) -> None:
        before = self._observer.counter(target.id).state
        if reason:
            self._reasons[target.id] = reason
        judged = self._observer.seen(target.id, time.monotonic(), good=not reason)
        if self._observer.counter(target.id).state != before and not self._telling:
            self._telling = True  # with what else has changed in this moment
            asyncio.get_running_loop().call_later(TELL_SOON_S, self._tell)
        self._write(judged)

    def _write(self, targets: Iterable[bytes]) -> None:
        """What was judged, into the table."""
        if self._observer.isolated != self._isolated:
            self._isolated = self._observer.isolated
            LOG.warning("observer is cut off and abstains" if self._isolated else "observer sees again")
        moved, now_s = False, time.monotonic()
        for target in (self._by_id[each] for each in targets):
            judged = self._observer.judged(target.id)
            down = judged.state == "down"
            for place in target.places:
                self._table.set_verdict(
                    place, down=down, unsure=judged.unsure, counter=judged.counter, good_s=judged.good_s
                )
            moved |= self._known.is_behind(target.id, judged, now_s)
            if judged.state == self._told[target.id]:
                continue
            self._told[target.id], moved = judged.state, True
            LOG.info(
                "endpoint is %s name=%s address=%s reason=%s",
                judged.state,
                text_of(target.places[0][0]),
                target.address,
                self._reasons.get(target.id, "others say so") if down else "",
            )
        if moved:
            judged_all = ((each.id, self._observer.judged(each.id), each.places) for each in self._targets)
            self._known.write(judged_all, now_s)

    # --- other observers ---

    async def _tell_for_ever(self) -> None:
        while True:
            self._tell()
            self._write(self._observer.tick(time.monotonic()))
            await asyncio.sleep(TELL_S)

    def _tell(self) -> None:
        self._telling = False
        if self._port is None:
            return
        self._told_at = time.monotonic()
        told = self._observer.tell(self._told_at, int(time.time() * 1000), os.urandom(WORD_SIZE))
        for data in datagrams(told, self._observing.key):
            for peer in self._observing.peers:
                try:
                    self._port.sendto(data, (peer.host, peer.port))
                except OSError:
                    continue  # it is told again in a second

    def _hear(self) -> None:
        assert self._port is not None, "who hears has a socket"
        for _ in range(100):
            try:
                data, _ = self._port.recvfrom(4096)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # what a peer that is not there gave back
            try:
                told = read_datagram(data, self._observing.key, int(time.time() * 1000))
            except SkewError as error:
                # Not heard until somebody mends a clock, so it is worth a word; but not one a second.
                self._tell_skew(error)
                continue
            except ProtocolError as error:
                LOG.debug("%s", error)
                continue
            self._take(told)

    def _tell_skew(self, error: SkewError) -> None:
        now = time.monotonic()
        if now >= self._skewed.get(error.observer, -SKEW_TELL_S) + SKEW_TELL_S:
            self._skewed[error.observer] = now
            LOG.warning("an observer is not heard: %s", error)

    def _take(self, told: Told) -> None:
        now = time.monotonic()
        self._write(self._observer.take(told, now))
        if not self._observer.knows_us(told) and now >= self._told_at + GREET_S_MIN:
            self._tell()
