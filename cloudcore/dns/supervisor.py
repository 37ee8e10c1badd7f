"""`cloudcore dns`: one process that holds the sockets and the zones, and forks those that answer.

Every socket belongs to it, or to who passed it, and outlives whoever reads from it (`sockets`). At a reload new
processes, with the new zones, are forked onto the same sockets, and when they are ready the old ones are told to
finish: no query is lost or waits, and none is answered from half of each (`processes`; docs/decisions/0401, 0451).
Here is what is read, when it is read again, and what is told of it. Keeps nothing on disk but the control socket; a
crash of this process ends the others, and everything is read back from the zone files.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import secrets
import selectors
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloudcore.dns import work
from cloudcore.dns.access import peer_of
from cloudcore.dns.beat import Beat
from cloudcore.dns.control import Control, answer_line
from cloudcore.dns.cookies import Cookies
from cloudcore.dns.counts import Counts, shared_memory, total
from cloudcore.dns.drains import Drain, drained_places, read_drains, write_drains
from cloudcore.dns.equipment import Equipment
from cloudcore.dns.follower import SNAPSHOTS, silent_s
from cloudcore.dns.lastknown import recall
from cloudcore.dns.library import Library
from cloudcore.dns.limiter import Limiter, LimiterSettings, Pace
from cloudcore.dns.notify import notify_all
from cloudcore.dns.prober import Observing, Prober, Target, targets_of
from cloudcore.dns.processes import Processes
from cloudcore.dns.recent import Recent
from cloudcore.dns.responder import Desk, Identity
from cloudcore.dns.settings import (
    DnsSettings,
    export_of,
    read_observers_key,
    secondary_of,
)
from cloudcore.dns.sockets import Sockets, observers_socket, open_sockets
from cloudcore.dns.streams import StreamSettings
from cloudcore.dns.table import HealthTable
from cloudcore.dns.transfer import Delta
from cloudcore.dns.zone import Zone
from skerry.activation import Passed
from skerry.dns.names import text_of
from skerry.errors import InvalidError, SkerryError, UnavailableError
from skerry.listening import unix_socket
from skerry.objects.times import human_duration
from skerry.sdnotify import notify

if TYPE_CHECKING:
    from cloudcore.dns.signing import ZoneSigner

LOG: Final = logging.getLogger("cloudcore.dns")
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
RELOAD_PACE_S: Final = 0.2
"""Between two reloads that nobody asked for by name: a storm of changes is taken in together."""
CLOUD_SILENCE_S: Final = 120.0


class Supervisor:
    """`run` until SIGTERM or SIGINT; SIGHUP reads the zones again."""

    def __init__(self, settings: DnsSettings, passed: Sequence[Passed] = ()) -> None:
        self._settings = settings
        self._passed = passed
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
        self._changed: set[str] = set()
        """Zones that no other server was told of yet: it would ask, and be told of those before."""
        self._recent: list[Recent] = []
        """By seat."""
        self._stopping = False
        self._reload = False
        self._loaded_at = 0.0
        self._started_at = time.time()
        self._seed = secrets.token_bytes(16)
        self._equipment = Equipment(settings)
        self._peers = [peer_of(text) for text in settings.notify]
        self._deltas: Mapping[bytes, tuple[Delta, ...]] = {}
        self._signers: Mapping[bytes, ZoneSigner] = {}
        self._table = HealthTable(())
        self._beat = Beat()
        self._targets: list[Target] = []
        self._targets_at = self._aimed_due = 0.0
        """Since when these are the targets; and when the prober is to be replaced, if it is."""
        self._drains: tuple[Drain, ...] = ()
        self._kept = True
        """Whether there is a directory to keep anything in."""
        self._hearing: socket.socket | None = None
        self._observing = _observing(settings)
        self._sockets = Sockets(udp=(), tcp=(), tls=(), port=0)

    def run(self) -> None:
        """Raises `SkerryError` for what keeps it from starting."""
        with ExitStack() as stack:
            self._processes = stack.enter_context(closing(Processes()))
            self._kept = _make_state(self._settings)
            self._drains = read_drains(self._settings.state)
            self._load(first=True)
            self._sockets = open_sockets(self._settings, self._passed, stack)
            if self._secondaries:
                self._notified = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._observing.peers:
                self._hearing = stack.enter_context(observers_socket(self._settings))
            self._take_seats()
            control = stack.enter_context(unix_socket(self._settings.control, group="", backlog=16))
            stack.callback(self._settings.control.unlink, missing_ok=True)
            self._loop(control)

    def _take_seats(self) -> None:
        processes, udp = self._processes, self._sockets.udp
        self._memory = shared_memory(2 * (len(udp) + 1))
        processes.lasting |= {PROBER, FETCHER, FOLLOWER, *self._exporters}
        for seat, each in enumerate(udp):
            self._recent.append(Recent())
            processes.want(seat, lambda seat, each=each: self._answer_datagrams(each, seat))
        processes.want(len(udp), self._answer_streams)
        if self._secondaries:
            processes.want(FETCHER, lambda seat: self._fetch())
        for seat in self._exporters:
            processes.want(seat, self._export)
        if self._settings.cloud:
            processes.want(FOLLOWER, lambda seat: work.follow(self._settings, self._beat))
        self._aim(moved=False)

    def _announce(self) -> None:
        LOG.info(
            "DNS answers addresses=%s port=%d zones=%d records=%d processes=%d passed=%d",
            ",".join(dict.fromkeys(str(each.getsockname()[0]) for each in self._sockets.udp)),
            self._sockets.port,
            len(self._zones),
            sum(zone.records for zone in self._zones.values()),
            len(self._processes.wanted),
            len(self._passed),
        )
        notify(os.environ, READY="1")

    def _loop(self, control: socket.socket) -> None:
        processes = self._processes
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._signalled)
        with selectors.DefaultSelector() as selector:
            selector.register(control, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            selector.register(processes.words, selectors.EVENT_READ)
            processes.fork_all()
            self._tell(list(self._zones.values()))
            self._announce()
            while not self._stopping:
                for key, _ in selector.select(timeout=self._wait_s()):
                    if key.fileobj is control:
                        self._controlled(control)
                    elif key.fileobj == wake:
                        with suppress(BlockingIOError):
                            os.read(wake, 4096)
                processes.reap()
                processes.respawn()
                if processes.hand_over():
                    self._handed_over()
                self._aim_anew()
                self._export_anew()
                self._look_at_clock()
                if self._reload and self._may_reload():
                    self._reload = False
                    self._load()
        notify(os.environ, STOPPING="1")
        processes.end_all(last=range(len(self._sockets.udp)))
        signal.set_wakeup_fd(-1)
        os.close(wake)
        os.close(waker)

    def _wait_s(self) -> float | None:
        reloads = self._reload and (self._processes.handover is None or self._processes.is_stuck)
        due = [*self._processes.deadlines(), *([self._loaded_at + RELOAD_PACE_S] if reloads else [])]
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
            faults = self._equip(first=first)
            loaded = self._library.load()
            signers = _signers(self._settings, self._equipment, loaded.zones)
        except (InvalidError, UnavailableError) as error:
            if first:
                raise
            self._problems = (str(error),)
            LOG.error("zones are as they were: %s", error)
            return ()
        for problem in loaded.problems:
            LOG.error("zone not read: %s", problem)
        self._problems = (*faults, *loaded.problems)
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
        if not first:
            self._aim(moved=moved)
        others = {origin for origin in {*served, *self._zones} if text_of(origin) in loaded.changed}
        self._outdate({*self._zones} if moved else others | (served ^ self._zones.keys()))
        gc.collect()
        gc.freeze()  # what lasts is looked at no more, so that forked processes share its memory
        if not first:
            self._changed |= set(loaded.changed)
            self._processes.begin_handover()
        return loaded.changed

    def _equip(self, *, first: bool) -> tuple[str, ...]:
        """Keys and all else beside the zones; what could not be read."""
        before = self._equipment.access.keys
        faults = self._equipment.read(first=first)
        for fault in faults:
            LOG.error("%s", fault)
        if self._equipment.access.keys != before:
            self._processes.leave(FETCHER, signal.SIGTERM)  # it signs with the first
        return faults

    def _may_reload(self) -> bool:
        """A reload waits for the one before it, but not for one that does not come to an end."""
        if self._processes.handover is not None and not self._processes.is_stuck:
            return False
        return time.monotonic() >= self._loaded_at + RELOAD_PACE_S

    def _handed_over(self) -> None:
        changed, self._changed = self._changed, set()
        self._tell([zone for zone in self._zones.values() if text_of(zone.origin) in changed])
        LOG.info("zones read again changed=%d zones=%d", len(changed), len(self._zones))

    def _reload_now(self) -> tuple[str, ...]:
        """Until the new zones are what is answered; bounded."""
        self._processes.settle(self._handed_over)
        changed = self._load()
        self._processes.settle(self._handed_over)
        return changed

    def _aim(self, *, moved: bool) -> None:
        """At the endpoints of these zones. The prober of the zones before goes on where it has the same to try, and
        for long enough to see an end of what it tries in any case: else who changes endpoints without rest could
        keep everybody's from being tried."""
        targets = targets_of(self._zones)
        if {each.id: each for each in targets} != {each.id: each for each in self._targets} or moved:
            pace_s = PROBER_PACE_S + max((each.probe.timeout_s for each in self._targets), default=0.0)
            begun = max((child.started_at for child in self._processes.at(PROBER)), default=0.0)
            self._aimed_due = time.monotonic() if moved or not targets else begun + pace_s
            self._targets_at = time.monotonic()
        self._targets = targets
        if targets:
            self._processes.want(PROBER, lambda seat: self._probe(self._targets))
        else:
            self._processes.want_nobody(PROBER)

    def _aim_anew(self) -> None:
        """Replace the prober by one that knows the newest endpoints."""
        if not self._aimed_due or time.monotonic() < self._aimed_due:
            return
        self._aimed_due = 0.0
        if not any(child.started_at >= self._targets_at for child in self._processes.at(PROBER)):
            self._processes.replace(PROBER)

    def _outdate(self, changed: Collection[bytes]) -> None:
        """Exporters that have one of these zones are replaced, by and by."""
        for seat, server in self._exporters.items():
            if any(origin in changed for origin, each in self._exports if each == server):
                for child in self._processes.at(seat):
                    self._outdated.setdefault(seat, child.started_at + EXPORTER_PACE_S)

    def _export_anew(self) -> None:
        now = time.monotonic()
        for seat in [seat for seat, at in self._outdated.items() if at <= now]:
            del self._outdated[seat]
            self._processes.leave(seat, signal.SIGUSR1)

    def _tell(self, zones: list[Zone]) -> None:
        """Whoever wants to know, by a process that ends by itself."""
        if zones and self._peers:
            key = next(iter(self._equipment.access.keys.values()), None)
            self._processes.begin(lambda: notify_all(zones, self._peers, key))

    def _desk(self) -> Desk:
        settings = self._settings
        limits = LimiterSettings(rate=settings.amplified_rate, factor=settings.amplified_factor)
        return Desk(
            zones=self._zones,
            identity=Identity(nsid=settings.nsid, version=settings.version),
            cookies=Cookies(self._equipment.cookie_keys),
            limiter=Limiter(limits, self._seed),
            idle_s=settings.tcp_idle_s,
            access=self._equipment.access,
            deltas=self._deltas,
            primaries=self._primaries(),
            on_notify=self._on_notify,
            signers=self._signers,
            geo=self._equipment.geo,
            health=self._table if self._table.slots else None,
        )

    def _counts(self, seat: int) -> Counts:
        """Of a seat's newest process; the one before it still counts beside it."""
        return Counts(self._memory, 2 * seat + self._processes.generation % 2)

    def _answer_datagrams(self, udp: socket.socket, seat: int) -> None:
        work.answer_datagrams(udp, self._desk(), self._counts(seat), self._recent[seat], self._processes)

    def _answer_streams(self, seat: int) -> None:
        settings = StreamSettings(
            connections=self._settings.tcp_connections,
            connections_per_client=self._settings.tcp_connections_per_client,
            idle_s=self._settings.tcp_idle_s,
        )
        counts = self._counts(seat)
        work.answer_streams(self._sockets, self._equipment.tls, self._desk(), counts, settings, self._processes)

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
        work.fetch(self._secondaries, self._settings, self._equipment.access, self._notified[0])

    def _export(self, seat: int) -> None:
        exports = [each for each in self._exports if each[1] == self._exporters[seat]]
        work.export(exports, self._zones, self._table, self._settings)

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
        if self._processes.is_stuck:
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
            seats = sum(seat >= 0 for seat in self._processes.wanted)
            return total([Counts(self._memory, place).values() for place in range(2 * seats)])

        state = Control(
            zones=lambda: self._zones,
            problems=self._told_problems,
            counts=values,
            reload=self._reload_now,
            processes=len(self._processes),
            up_s=time.time() - self._started_at,
            table=self._table,
            geo=self._equipment.geo,
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


def _signers(settings: DnsSettings, equipment: Equipment, zones: Mapping[bytes, Zone]) -> dict[bytes, ZoneSigner]:
    """Of the zones that there are keys for."""
    if not equipment.signing:
        return {}
    from cloudcore.dns.signing import ZoneSigner

    pace = Pace(settings.signatures_rate)
    return {
        origin: ZoneSigner(zones[origin], of, pace) for origin, of in equipment.signing.items() if origin in zones
    }


def _observing(settings: DnsSettings) -> Observing:
    if not settings.observers:
        return Observing(name=settings.nsid)
    return Observing(
        name=settings.nsid or f"{socket.gethostname()}@{settings.listen[0]}",
        key=read_observers_key(Path(settings.observers_key)),
        peers=tuple(peer_of(text) for text in settings.observers),
    )
