"""Tries the endpoints of services, hears what other observers say, and writes into the table who is up.

A process of its own, forked with each generation of zones; the counters go on in the table. Keeps `health` below the
state directory, the last known state of each target, written when one changes: a server that starts goes on from it
rather than from nothing. A crash costs the probes that were on their way.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cloudcore.dns.access import Peer
from cloudcore.dns.exchange import WORD_SIZE, Told, datagrams, read_datagram, target_id
from cloudcore.dns.hearing import Hearing
from cloudcore.dns.quorum import is_isolated, verdict
from cloudcore.dns.table import HealthTable, Place
from cloudcore.dns.turns import Turns
from cloudcore.dns.zone import Zone
from skerry.dns.names import name_of, text_of
from skerry.errors import BadRequestError, InvalidError, ProtocolError, UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object, encode_object, map_at, str_at
from skerry.probing.attempts import tried
from skerry.probing.monitor import Counter, State, counted, period_s
from skerry.probing.probe import Probe

LOG: Final = logging.getLogger(__name__)
HEALTH: Final = "health"
TOGETHER_MAX: Final = 200
"""Probes on their way at a time; the others wait for their turn."""
SHARE_MAX: Final = 50
"""Of one service: what is slow in one holds nobody else up."""
TELL_S: Final = 1.0
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
        state: Path | None,
        observing: Observing,
        port: socket.socket | None,
    ) -> None:
        self._targets = targets
        self._table = table
        self._state = state
        self._observing = observing
        self._port = port
        self._counters = {each.id: table.counter(each.places[0]) for each in targets}
        self._verdicts: dict[bytes, State] = {
            each.id: "down" if table.is_down(each.places[0]) else "up" for each in targets
        }
        self._hearing = Hearing(observing.name, len(observing.peers), time.monotonic())
        self._told_at = 0.0
        self._telling = False
        self._reasons: dict[bytes, str] = {}
        self._isolated = False
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
            self._seen(target, reason)
            wait_s = period_s(self._counters[target.id], target.probe) - (loop.time() - begin)
            await asyncio.sleep(max(0.0, wait_s))

    def _seen(self, target: Target, reason: str) -> None:
        before = self._counters[target.id]
        after = self._counters[target.id] = counted(before, target.probe, good=not reason)
        if reason:
            self._reasons[target.id] = reason
        if after.state != before.state and not self._telling:
            self._telling = True  # with what else has changed in this moment
            asyncio.get_running_loop().call_later(TELL_SOON_S, self._tell)
        self._look()
        self._judge(target)

    def _look(self) -> None:
        """Whether this observer had better not be believed; what others say is judged anew where that changes."""
        failing = sum(counter.state == "down" or counter.failures > 0 for counter in self._counters.values())
        if not self._hearing.settled(time.monotonic()):
            return  # who is there to be heard is not known yet
        addresses = {each.address for each in self._targets}
        isolated = len(addresses) > 1 and is_isolated(
            failing=failing,
            targets=len(self._counters),
            peers_heard=len(self._present()),
            peers=len(self._observing.peers),
        )
        if isolated != self._isolated:
            self._isolated = isolated
            LOG.warning("observer is cut off and abstains" if isolated else "observer sees again")
            for target in self._targets:
                self._judge(target)

    def _present(self) -> list[Told]:
        return self._hearing.present(time.monotonic())

    def _judge(self, target: Target) -> None:
        held = found = self._verdicts[target.id]
        # Who has just begun waits until the others are heard, or are not there: alone it would overrule them.
        if self._hearing.settled(time.monotonic()):
            own: list[State] = [] if self._isolated else [self._counters[target.id].state]
            votes = own + [
                told.votes[target.id] for told in self._present() if not told.isolated and target.id in told.votes
            ]
            up, down = self._table.votes(target.places[0])
            votes += _repeated("up", up) + _repeated("down", down)
            found = self._verdicts[target.id] = verdict(votes, held)
        counter = self._counters[target.id]
        unsure = counter.unsure or counter.state != found
        for place in target.places:
            self._table.set_verdict(place, down=found == "down", unsure=unsure, counter=counter)
        if found != held:
            reason = self._reasons.get(target.id, "others say so") if found == "down" else ""
            LOG.info(
                "endpoint is %s name=%s address=%s reason=%s",
                found,
                text_of(target.places[0][0]),
                target.address,
                reason,
            )
            self._keep()

    # --- other observers ---

    async def _tell_for_ever(self) -> None:
        while True:
            self._tell()
            self._look()
            for target in self._targets:
                self._judge(target)  # who is not heard any more has no vote
            await asyncio.sleep(TELL_S)

    def _tell(self) -> None:
        self._telling = False
        if self._port is None:
            return
        word, now = os.urandom(WORD_SIZE), time.monotonic()
        self._hearing.say(word, now)
        self._told_at = now
        told = Told(
            observer=self._observing.name,
            at_ms=int(time.time() * 1000),
            isolated=self._isolated,
            votes={each.id: self._counters[each.id].state for each in self._targets},
            word=word,
            echoes=self._hearing.echoes(now),
        )
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
            except ProtocolError as error:
                LOG.debug("%s", error)
                continue
            self._take(told)

    def _take(self, told: Told) -> None:
        now = time.monotonic()
        changed = self._hearing.take(told, now)
        for target in self._targets:
            if target.id in changed:
                self._judge(target)
        if not self._hearing.knows_us(told) and now >= self._told_at + GREET_S_MIN:
            self._tell()

    # --- disk ---

    def _keep(self) -> None:
        if self._state is None:
            return
        rows: JsonObject = {}
        for target in self._targets:
            for name, address in target.places:
                key = f"{text_of(name)} {ipaddress.ip_address(address)}"
                rows[key] = self._verdicts[target.id]
        try:
            write_private(self._state / HEALTH, encode_object({"states": rows}))
        except UnavailableError as error:
            LOG.error("who is up is not written down: %s", error)


def _repeated(state: State, times: int) -> list[State]:
    return [state] * times


def recall(state: Path, table: HealthTable) -> int:
    """Fill a table with what was known last; how many are down."""
    try:
        told = decode_object((state / HEALTH).read_bytes())
    except (OSError, BadRequestError, ValueError):
        return 0
    count = 0
    for key in map_at(told, "states"):
        name, _, address = key.partition(" ")
        try:
            place = name_of(name), ipaddress.ip_address(address).packed
        except (InvalidError, ValueError):
            continue
        if place in table.slots and str_at(told, "states", key) == "down":
            table.set_verdict(place, down=True, unsure=True, counter=Counter(state="down"))
            count += 1
    return count
