"""`cloudcore dns`: one process that holds the sockets and the zones, and forks those that answer.

Every socket belongs to it and outlives whoever reads from it. At a reload new processes, with the new zones, are
forked onto the same sockets, and when they are ready the old ones are told to finish: no query is lost or waits, and
none is answered from half of each (docs/decisions/0401, 0451). A process that dies is forked again. Keeps nothing on
disk but the control socket; a crash of this process ends the others, and everything is read back from the zone
files.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import ipaddress
import logging
import os
import secrets
import selectors
import signal
import socket
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloudcore.dns.access import Access, peer_of, read_networks
from cloudcore.dns.access import read_keys as read_transfer_keys
from cloudcore.dns.beat import Beat
from cloudcore.dns.control import Control, answer_line
from cloudcore.dns.cookies import KEY_SIZE, Cookies
from cloudcore.dns.counts import Counts, shared_memory, total
from cloudcore.dns.datagrams import Datagrams, datagram_socket
from cloudcore.dns.drains import Drain, drained_places, read_drains, write_drains
from cloudcore.dns.follower import SNAPSHOTS, Follower, silent_s
from cloudcore.dns.geography import GeoDatabase
from cloudcore.dns.handover import READY_S_MAX, WARM_S_MAX, Handover, Words
from cloudcore.dns.library import Library
from cloudcore.dns.limiter import Limiter, LimiterSettings, Pace
from cloudcore.dns.notify import notify_all
from cloudcore.dns.prober import Observing, Prober, Target, recall, targets_of
from cloudcore.dns.recent import Recent
from cloudcore.dns.responder import Desk, Identity, Responder
from cloudcore.dns.settings import (
    DnsSettings,
    export_of,
    exporter_name,
    read_cookie_keys,
    read_observers_key,
    secondary_of,
)
from cloudcore.dns.streams import Streams, StreamSettings, stream_socket
from cloudcore.dns.table import HealthTable
from cloudcore.dns.transfer import Delta
from cloudcore.dns.zone import Zone
from skerry.dns.names import text_of
from skerry.errors import InvalidError, SkerryError, UnavailableError
from skerry.listening import unix_socket
from skerry.objects.times import human_duration
from skerry.sdnotify import notify

if TYPE_CHECKING:
    from cloudcore.dns.signing import ZoneSigner

LOG: Final = logging.getLogger("cloudcore.dns")
RESPAWN_S: Final = 1.0
"""Between two starts of a process that dies at once."""
STOP_S_MAX: Final = 15.0
GARBAGE: Final = (10_000, 20, 50)
PORT_TRIES: Final = 20
PROBER: Final = -2
"""The seat of who tries endpoints."""
PROBER_PACE_S: Final = 5.0
"""And the longest time that a probe may take: so long a prober stays at least."""
FETCHER: Final = -3
"""The seat of who fetches zones of other servers."""
EXPORTER: Final = -4
"""The seat of who keeps the first of other servers in step; those of the others are below it."""
EXPORTER_PACE_S: Final = 5.0
"""So long it stays at least: it begins with a look at all that is there."""
EXPORTS: Final = "exports"
COPIES: Final = "copies"
CLOCK_S: Final = 10.0
FOLLOWER: Final = -1
"""The seat of who follows the cloud."""
SETTLE_S: Final = 0.1
"""Between two looks at whether a new process has ended before it was ready."""
RELOAD_PACE_S: Final = 0.2
"""Between two reloads that nobody asked for by name: a storm of changes is taken in together."""
CLOUD_SILENCE_S: Final = 120.0
_PR_SET_PDEATHSIG: Final = 1


@dataclass(slots=True)
class _Child:
    """One forked process."""

    seat: int
    """Which socket it reads from, and which counters are its own."""
    pid: int
    started_at: float
    leaving: bool = False
    """Whether it was told to end when it can, and another takes its seat then."""


class Supervisor:
    """`run` until SIGTERM or SIGINT; SIGHUP reads the zones again."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings
        snapshots = settings.state / SNAPSHOTS if settings.cloud else None
        copies = settings.state / COPIES if settings.secondary else None
        self._library = Library(Path(settings.zones) if settings.zones else None, snapshots, copies)
        self._secondaries = [secondary_of(text) for text in settings.secondary]
        self._exports = [export_of(text) for text in settings.export]
        servers = [*dict.fromkeys(server for _, server in self._exports)]
        self._exporters = {EXPORTER - number: server for number, server in enumerate(servers)}
        """By seat: the server that it keeps in step."""
        self._outdated: dict[int, float] = {}
        """Seats of exporters that know old zones, and when they are told to leave."""
        self._notified: tuple[int, int] = (-1, -1)
        """A pipe to who fetches zones: a byte says that one may have changed."""
        self._zones: Mapping[bytes, Zone] = {}
        self._problems: tuple[str, ...] = ()
        self._generation = 0
        self._handover: Handover | None = None
        """While processes of two generations are there."""
        self._has_let = False
        """Whether its new processes were told to read."""
        self._changed: set[str] = set()
        """Zones that no other server was told of yet: it would ask, and be told of those before."""
        self._recent: list[Recent] = []
        """By seat."""
        self._children: dict[int, _Child] = {}
        self._wanted: dict[int, Callable[[int], None]] = {}
        self._lasting: set[int] = {PROBER}
        """Seats whose process is the same before and after a reload."""
        self._due: dict[int, float] = {}
        self._stopping = False
        self._reload = False
        self._loaded_at = 0.0
        self._started_at = time.time()
        self._keys = (
            read_cookie_keys(Path(settings.cookie_keys)) if settings.cookie_keys else [secrets.token_bytes(KEY_SIZE)]
        )
        self._seed = secrets.token_bytes(16)
        self._tls: ssl.SSLContext | None = None
        self._access = Access(
            keys=read_transfer_keys(Path(settings.transfer_keys)) if settings.transfer_keys else {},
            networks=read_networks(settings.allow_transfer),
        )
        self._peers = [peer_of(text) for text in settings.notify]
        self._deltas: Mapping[bytes, tuple[Delta, ...]] = {}
        self._signers: Mapping[bytes, ZoneSigner] = {}
        self._geo: GeoDatabase | None = None
        self._table = HealthTable(())
        self._beat = Beat()
        self._targets: list[Target] = []
        self._aimed_at = self._aimed_due = 0.0
        """When the prober began; and is to be replaced, if it is."""
        self._drains: tuple[Drain, ...] = ()
        self._kept = True
        """Whether there is a directory to keep anything in."""
        self._hearing: socket.socket | None = None
        self._observing = _observing(settings)

    def run(self) -> None:
        """Raises `SkerryError` for what keeps it from starting."""
        with ExitStack() as stack:
            self._words = Words()
            stack.callback(self._words.close)
            self._kept = _make_state(self._settings)
            self._drains = read_drains(self._settings.state)
            self._load(first=True)
            udp, tcp, tls, port = _open_sockets(self._settings, stack)
            if self._secondaries:
                self._notified = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
                self._wanted[FETCHER] = lambda seat: self._fetch()
                self._lasting.add(FETCHER)
            for seat in self._exporters:
                self._wanted[seat] = self._export
                self._lasting.add(seat)
            if self._observing.peers:
                self._hearing = stack.enter_context(_observers_socket(self._settings))
            self._memory = shared_memory(2 * (len(udp) + 1))
            for seat, each in enumerate(udp):
                self._recent.append(Recent())
                self._wanted[seat] = lambda seat, each=each: self._answer_datagrams(each, seat)
            self._wanted[len(udp)] = lambda seat: self._answer_streams(tcp, tls, seat)
            if self._settings.cloud:
                self._wanted[FOLLOWER] = lambda seat: self._follow()
                self._lasting.add(FOLLOWER)
            control = stack.enter_context(unix_socket(self._settings.control, group="", backlog=16))
            stack.callback(self._settings.control.unlink, missing_ok=True)
            self._loop(control, lambda: self._announce(port))

    def _announce(self, port: int) -> None:
        LOG.info(
            "DNS answers addresses=%s port=%d zones=%d records=%d processes=%d",
            ",".join(self._settings.listen),
            port,
            len(self._zones),
            sum(zone.records for zone in self._zones.values()),
            len(self._wanted),
        )
        notify(os.environ, READY="1")

    def _loop(self, control: socket.socket, started: Callable[[], None]) -> None:
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._signalled)
        with selectors.DefaultSelector() as selector:
            selector.register(control, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            selector.register(self._words, selectors.EVENT_READ)
            self._fork_all()
            self._tell(list(self._zones.values()))
            started()
            while not self._stopping:
                for key, _ in selector.select(timeout=self._wait_s()):
                    if key.fileobj is control:
                        self._controlled(control)
                    elif key.fileobj == wake:
                        with suppress(BlockingIOError):
                            os.read(wake, 4096)
                self._reap()
                self._respawn()
                self._hand_over()
                self._aim_anew()
                self._export_anew()
                self._look_at_clock()
                if self._reload and self._may_reload():
                    self._reload = False
                    self._load()
        notify(os.environ, STOPPING="1")
        self._end_all()
        signal.set_wakeup_fd(-1)
        os.close(wake)
        os.close(waker)

    def _wait_s(self) -> float | None:
        reloads = self._reload and (self._handover is None or self._handover.failures > 0)
        due = [*self._due.values(), *([self._loaded_at + RELOAD_PACE_S] if reloads else [])]
        if self._handover is not None and (ready_by := self._handover.deadline) is not None:
            due.append(ready_by)
        due += [self._aimed_due] if self._aimed_due else []
        due += self._outdated.values()
        now_s = time.time()
        ends = [each.until_s - now_s for each in self._drains if each.until_s]
        waits = [*(at - time.monotonic() for at in due), *ends, *([CLOCK_S] if self._settings.cloud else [])]
        return max(0.0, min(waits)) if waits else None

    def _look_at_clock(self) -> None:
        """What changes by itself: drains end, and what the cloud told grows old."""
        now_s = time.time()
        if any(not each.holds(now_s) for each in self._drains):
            self._drains = tuple(each for each in self._drains if each.holds(now_s))
            self._drain()
            try:
                write_drains(self._settings.state, self._drains)
            except SkerryError as error:  # those that are over hold nowhere, whatever is written
                LOG.warning("drains that are over stay written down reason=%s", error)
        if self._settings.cloud:
            silence_s = silent_s(self._settings.state, now_s)
            self._table.set_stale(stale=silence_s is None or silence_s > CLOUD_SILENCE_S)

    def _set_drains(self, drains: Sequence[Drain]) -> None:
        """Write them down, then let them hold. Raises `UnavailableError`, `InvalidError`."""
        write_drains(self._settings.state, drains)
        self._drains = tuple(drains)
        self._drain()

    def _drain(self) -> None:
        held = drained_places(self._drains, self._zones, time.time())
        for place in self._table.slots:
            self._table.set_drained(place, drained=place in held)

    def _signalled(self, number: int, frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        elif number == signal.SIGHUP:
            self._reload = True

    def _load(self, *, first: bool = False) -> tuple[str, ...]:
        """Read what has changed; serve it. The zones that have."""
        try:
            self._tls = _tls_context(self._settings)
            self._geo = _opened_geo(self._settings)
            loaded = self._library.load()
            signers = _signers(self._settings, loaded.zones)
        except (InvalidError, UnavailableError) as error:
            if first:
                raise
            self._problems = (str(error),)
            LOG.error("zones are as they were: %s", error)
            return ()
        for problem in loaded.problems:
            LOG.error("zone not read: %s", problem)
        self._problems = loaded.problems
        self._loaded_at = time.monotonic()
        self._signers = signers
        signed = {origin: signer.zone for origin, signer in signers.items()}
        served = self._zones.keys()
        self._zones, self._deltas = {**loaded.zones, **signed}, loaded.deltas
        table = self._table
        self._table = HealthTable.of_zones(self._zones, None if first else table)
        if first and self._kept:
            recall(self._settings.state, self._table)
        self._drain()
        self._table.set_votes(service for zone in self._zones.values() for service in zone.services.values())
        moved = not self._table.shares(table)
        self._aim(moved=moved)
        others = {origin for origin in {*served, *self._zones} if text_of(origin) in loaded.changed}
        self._outdate({*self._zones} if moved else others | (served ^ self._zones.keys()))
        gc.collect()
        gc.freeze()  # what lasts is looked at no more, so that forked processes share its memory
        if not first:
            self._changed |= set(loaded.changed)
            self._begin_handover()
        return loaded.changed

    def _may_reload(self) -> bool:
        """A reload waits for the one before it, but not for one that does not come to an end."""
        if self._handover is not None and not self._handover.failures:
            return False
        return time.monotonic() >= self._loaded_at + RELOAD_PACE_S

    def _begin_handover(self) -> None:
        """Fork processes with these zones; those who answer are told nothing yet."""
        given_up = self._handover
        fresh = given_up.waiting if given_up is not None else ()
        for pid in fresh:
            self._children.pop(pid, None)
            os.kill(pid, signal.SIGKILL)
        before = {pid for pid, child in self._children.items() if child.seat >= 0 and not child.leaving}
        if given_up is None:
            self._generation += 1
        self._words.forget()
        self._has_let = False
        self._handover = Handover({seat for seat in self._wanted if seat >= 0}, before)
        self._fork_all()

    def _hand_over(self) -> None:
        """As far as the new processes are."""
        told = self._words.take()
        handover = self._handover
        if handover is None:
            return
        for pid, word in told:
            handover.told(pid, word)
        for pid in handover.overdue(time.monotonic()):
            LOG.error("a process with new zones is not ready pid=%d after_s=%g: another is started", pid, READY_S_MAX)
            os.kill(pid, signal.SIGKILL)
        if (handover.is_ready() or handover.let) and not self._has_let:
            self._words.let()
            self._has_let = True
        if not handover.is_over():
            return
        for pid in handover.before:
            self._children[pid].leaving = True
            os.kill(pid, signal.SIGTERM)
        self._handover = None
        changed, self._changed = self._changed, set()
        self._tell([zone for zone in self._zones.values() if text_of(zone.origin) in changed])
        LOG.info("zones read again changed=%d zones=%d", len(changed), len(self._zones))

    def _reload_now(self) -> tuple[str, ...]:
        """Until the new zones are what is answered; bounded."""
        self._settle()
        changed = self._load()
        self._settle()
        return changed

    def _settle(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._words, selectors.EVENT_READ)
            until = time.monotonic() + READY_S_MAX
            while self._handover is not None and not self._handover.failures and time.monotonic() < until:
                selector.select(timeout=SETTLE_S)
                self._reap()
                self._hand_over()

    def _aim(self, *, moved: bool) -> None:
        """At the endpoints of these zones. The prober of the zones before goes on where it has the same to try, and
        for long enough to see an end of what it tries in any case: else who changes endpoints without rest could
        keep everybody's from being tried."""
        targets = targets_of(self._zones)
        if {each.id: each for each in targets} != {each.id: each for each in self._targets} or moved:
            pace_s = PROBER_PACE_S + max((each.probe.timeout_s for each in self._targets), default=0.0)
            self._aimed_due = time.monotonic() if moved or not targets else self._aimed_at + pace_s
        self._targets = targets
        if targets:
            self._wanted[PROBER] = lambda seat: self._probe(self._targets)
        else:
            self._wanted.pop(PROBER, None)
            self._due.pop(PROBER, None)

    def _aim_anew(self) -> None:
        """Replace the prober by one that knows the newest endpoints."""
        if not self._aimed_due or time.monotonic() < self._aimed_due:
            return
        self._aimed_due = 0.0
        before = [child for child in self._children.values() if child.seat == PROBER]
        if PROBER in self._wanted and (before or PROBER not in self._due):
            self._fork(PROBER)
        for child in before:
            os.kill(child.pid, signal.SIGTERM)

    def _outdate(self, changed: Collection[bytes]) -> None:
        """Exporters that have one of these zones are replaced, by and by."""
        for child in self._children.values():
            server = self._exporters.get(child.seat)
            if any(origin in changed for origin, each in self._exports if each == server):
                self._outdated.setdefault(child.seat, child.started_at + EXPORTER_PACE_S)

    def _export_anew(self) -> None:
        now = time.monotonic()
        for seat in [seat for seat, at in self._outdated.items() if at <= now]:
            del self._outdated[seat]
            for child in self._children.values():
                if child.seat == seat:
                    child.leaving = True
                    os.kill(child.pid, signal.SIGUSR1)

    def _tell(self, zones: list[Zone]) -> None:
        """Whoever wants to know, by a process that ends by itself."""
        if zones and self._peers:
            key = next(iter(self._access.keys.values()), None)
            self._begin(lambda: notify_all(zones, self._peers, key))

    def _fork_all(self) -> None:
        there = {child.seat for child in self._children.values() if child.seat in self._lasting}
        self._due = {seat: at for seat, at in self._due.items() if seat in self._lasting}
        for seat in self._wanted:
            if seat not in there and seat not in self._due:
                self._fork(seat)

    def _fork(self, seat: int) -> None:
        pid = self._begin(lambda: self._wanted[seat](seat))
        self._children[pid] = _Child(seat=seat, pid=pid, started_at=time.monotonic())
        if self._handover is not None:
            self._handover.started(pid, seat, time.monotonic())
        if seat == PROBER:
            self._aimed_at, self._aimed_due = time.monotonic(), 0.0

    def _begin(self, work: Callable[[], None]) -> int:
        """Fork a process that does this and ends; which one it is."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            _become_child(parent)
            work()
            code = 0
        except UnavailableError as error:
            LOG.error("a process of the DNS server ends: %s", error)
        # The root of a process: whatever it is, it is told, and the parent forks another.
        except BaseException:
            LOG.exception("a process of the DNS server ends")
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is None or child.seat not in self._wanted:
                continue  # nobody wants its seat taken again
            if self._handover is not None and self._handover.ended(pid):
                LOG.error("a process with new zones ended before it answered seat=%d status=%d", child.seat, status)
                self._due[child.seat] = max(time.monotonic(), child.started_at + RESPAWN_S)
                continue
            if any(each.seat == child.seat and not each.leaving for each in self._children.values()):
                continue  # another has it
            if child.leaving:
                self._due[child.seat] = time.monotonic()
                continue
            LOG.error("a process of the DNS server ended by itself seat=%d status=%d", child.seat, status)
            self._due[child.seat] = max(time.monotonic(), child.started_at + RESPAWN_S)

    def _respawn(self) -> None:
        now = time.monotonic()
        for seat in [seat for seat, at in self._due.items() if at <= now]:
            del self._due[seat]
            self._fork(seat)

    def _end_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        while self._children and time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            self._children.pop(pid, None)
            if not pid:
                time.sleep(0.02)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _desk(self) -> Desk:
        settings = self._settings
        limits = LimiterSettings(rate=settings.amplified_rate, factor=settings.amplified_factor)
        return Desk(
            zones=self._zones,
            identity=Identity(nsid=settings.nsid, version=settings.version),
            cookies=Cookies(self._keys),
            limiter=Limiter(limits, self._seed),
            idle_s=settings.tcp_idle_s,
            access=self._access,
            deltas=self._deltas,
            primaries=self._primaries(),
            on_notify=self._on_notify,
            signers=self._signers,
            geo=self._geo,
            health=self._table if self._table.slots else None,
        )

    def _counts(self, seat: int) -> Counts:
        """Of a seat's newest process; the one before it still counts beside it."""
        return Counts(self._memory, 2 * seat + self._generation % 2)

    def _answer_datagrams(self, udp: socket.socket, seat: int) -> None:
        gc.disable()  # answering leaves no cycles, and a look at all that is ready would keep questions waiting
        datagrams = Datagrams(udp, Responder(self._desk()), self._counts(seat), self._recent[seat])
        if self._handover is not None and not self._handover.let:  # else nobody answers meanwhile
            datagrams.warm(time.monotonic() + WARM_S_MAX)
        self._wait_to_read()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: datagrams.stop())
        self._say_reading()
        datagrams.run()

    def _wait_to_read(self) -> None:
        """In a child that follows others: until it is let."""
        if self._handover is not None:
            self._words.say("ready")
            self._words.wait()

    def _say_reading(self) -> None:
        if self._handover is not None:
            self._words.say("reading")

    def _answer_streams(self, tcp: list[socket.socket], tls: list[socket.socket], seat: int) -> None:
        settings = self._settings
        stream_settings = StreamSettings(
            connections=settings.tcp_connections,
            connections_per_client=settings.tcp_connections_per_client,
            idle_s=settings.tcp_idle_s,
        )
        streams = Streams(Responder(self._desk()), self._counts(seat), stream_settings)

        self._wait_to_read()

        async def serve() -> None:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, streams.stop)
            await streams.run(tcp, tls, self._tls, self._say_reading)

        asyncio.run(serve())

    def _follow(self) -> None:
        """The cloud's zones, into files; the parent reads them."""
        parent = os.getppid()
        settings = self._settings
        Follower(Path(settings.cloud), settings.state, lambda: os.kill(parent, signal.SIGHUP), self._beat).run()

    def _primaries(self) -> dict[bytes, frozenset[bytes]]:
        found: dict[bytes, frozenset[bytes]] = {}
        for origin, peer in self._secondaries:
            found[origin] = found.get(origin, frozenset()) | {ipaddress.ip_address(peer.host).packed}
        return found

    def _on_notify(self, zone: bytes) -> None:
        number = next(at for at, (origin, _) in enumerate(self._secondaries) if origin == zone)
        with suppress(BlockingIOError):
            os.write(self._notified[1], number.to_bytes(2, "big"))

    def _fetch(self) -> None:
        """Zones of other servers, into files; the parent reads them."""
        from cloudcore.dns.fetcher import Fetcher, Secondary

        parent = os.getppid()
        key = next(iter(self._access.keys.values()), None)
        abouts = [Secondary(origin=origin, primary=peer) for origin, peer in self._secondaries]
        changed = lambda: os.kill(parent, signal.SIGHUP)  # noqa: E731 - the parent's pid is of this process
        Fetcher(abouts, self._settings.state, key, self._notified[0], changed).run()

    def _export(self, seat: int) -> None:
        """Zones of ours into another server."""
        from cloudcore.dns.exporter import Export, Exporter, Exporting

        told = self._exporters[seat]
        exports = [Export(origin=origin, server=server) for origin, server in self._exports if server == told]
        settings = self._settings
        about = Exporting(
            owner=settings.export_owner,
            by=exporter_name(settings),
            keys=Path(settings.transfer_keys),
            state=settings.state,
        )
        Exporter(exports, self._zones, self._table, about).run()

    def _export_problems(self) -> tuple[str, ...]:
        told: list[str] = []
        for origin, server in self._exports:
            with suppress(OSError):
                file = f"{text_of(origin).rstrip('.')}@{server.host}@{server.port}"
                if fault := (self._settings.state / EXPORTS / file).read_text():
                    told.append(f"{text_of(origin)} at {server.host} is not as here: {fault}")
        return tuple(told)

    def _probe(self, targets: Sequence[Target]) -> None:
        """Try the endpoints, and write into the table who is up."""
        state = self._settings.state if self._kept else None
        prober = Prober(targets, self._table, self._beat, state, self._observing, self._hearing)
        asyncio.run(prober.run())

    def _told_problems(self) -> tuple[str, ...]:
        settings = self._settings
        problems = (*self._problems, *self._export_problems())
        if self._handover is not None and self._handover.failures:
            problems = (*problems, "processes with the zones as they are now do not start; those before answer on")
        if not settings.cloud:
            return problems
        silence_s = silent_s(settings.state, time.time())
        if silence_s is not None and silence_s < CLOUD_SILENCE_S:
            return problems
        heard = "never" if silence_s is None else f"{human_duration(silence_s)} ago"
        return (*problems, f"the cloud was last heard {heard}; what it told is served")

    def _controlled(self, control: socket.socket) -> None:
        def values() -> dict[str, int]:
            seats = sum(seat >= 0 for seat in self._wanted)
            return total([Counts(self._memory, place).values() for place in range(2 * seats)])

        state = Control(
            zones=lambda: self._zones,
            problems=self._told_problems,
            counts=values,
            reload=self._reload_now,
            processes=len(self._children),
            up_s=time.time() - self._started_at,
            table=self._table,
            geo=self._geo,
            drains=self._drains,
            set_drains=self._set_drains,
        )
        with suppress(BlockingIOError):
            asked, _ = control.accept()
            with asked:
                answer_line(asked, state)


def _make_state(settings: DnsSettings) -> bool:
    """Whether there is a directory to keep anything in; without a cloud it may be missing."""
    wanted = [settings.state]
    wanted += [settings.state / SNAPSHOTS] if settings.cloud else []
    wanted += [settings.state / COPIES] if settings.secondary else []
    wanted += [settings.state / EXPORTS] if settings.export else []
    try:
        for directory in wanted:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        if len(wanted) > 1:
            raise UnavailableError(f"--state {settings.state}: {error.strerror}") from error
        LOG.info("nothing is kept state=%s reason=%s", settings.state, error.strerror)
        return False
    return True


def _signers(settings: DnsSettings, zones: Mapping[bytes, Zone]) -> dict[bytes, ZoneSigner]:
    """Of the zones that there are keys for. Raises `InvalidError`, `UnavailableError`."""
    if not settings.dnssec_keys:
        return {}
    from cloudcore.dns.keys import by_zone, read_keys
    from cloudcore.dns.signing import ZoneSigner

    keys = by_zone(read_keys(Path(settings.dnssec_keys)))
    pace = Pace(settings.signatures_rate)
    return {origin: ZoneSigner(zones[origin], of, pace) for origin, of in keys.items() if origin in zones}


def _opened_geo(settings: DnsSettings) -> GeoDatabase | None:
    """Anew at each reload: the file may be another. Raises `InvalidError`, `UnavailableError`."""
    return GeoDatabase(Path(settings.geo)) if settings.geo else None


def _observing(settings: DnsSettings) -> Observing:
    if not settings.observers:
        return Observing(name=settings.nsid)
    return Observing(
        name=settings.nsid or f"{socket.gethostname()}@{settings.listen[0]}",
        key=read_observers_key(Path(settings.observers_key)),
        peers=tuple(peer_of(text) for text in settings.observers),
    )


def _observers_socket(settings: DnsSettings) -> socket.socket:
    """Raises `UnavailableError`."""
    address = settings.listen[0]
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.bind((address, settings.observe_port))
    except OSError as error:
        made.close()
        raise UnavailableError(f"can't hear observers on {address} port {settings.observe_port}: {error}") from error
    return made


def _become_child(parent: int) -> None:
    """Without what is the parent's alone; it ends when the parent does."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)
    gc.set_threshold(*GARBAGE)


def _tls_context(settings: DnsSettings) -> ssl.SSLContext | None:
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["dot"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidError(f"--tls-certificate, --tls-key: {error}") from error
    return context


def _open_sockets(
    settings: DnsSettings, stack: ExitStack
) -> tuple[list[socket.socket], list[socket.socket], list[socket.socket], int]:
    """UDP (one for each worker and address), TCP, TLS; and the port. Raises `UnavailableError`."""
    workers = settings.workers or os.cpu_count() or 1
    port = settings.port
    for left in reversed(range(PORT_TRIES)):
        with ExitStack() as opened:
            first = opened.enter_context(datagram_socket(settings.listen[0], settings.port))
            port = first.getsockname()[1]
            try:
                tcp = [opened.enter_context(stream_socket(address, port)) for address in settings.listen]
                udp = [
                    first if number == place == 0 else opened.enter_context(datagram_socket(address, port))
                    for place, address in enumerate(settings.listen)
                    for number in range(workers)
                ]
            except UnavailableError:
                if settings.port or not left:
                    raise
                continue  # somebody has the port that UDP was given for TCP: another one
            tls = (
                [opened.enter_context(stream_socket(address, settings.tls_port)) for address in settings.listen]
                if settings.tls_certificate
                else []
            )
            stack.enter_context(opened.pop_all())
            return udp, tcp, tls, port
    raise UnavailableError(f"no port is free on {settings.listen[0]} for both UDP and TCP")
