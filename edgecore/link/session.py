"""The gateway's side of the link: dial, run a session over the store, and again, for ever.

What it keeps is in the edge store: objects with their stamps, the outbox, and in `meta` the cloud's epoch, the
newest revision acted on and the newest time known. A crash at any point leaves a store that the next session
compares; nothing here is needed to keep pods or devices going.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from edgecore.link.bandwidth import Caps
from edgecore.link.cloud_time import HeardTime
from edgecore.link.dial import Dialer, WayMissingError
from edgecore.link.streams import StreamKinds
from edgecore.link.traffic import TrafficKeeper
from edgecore.store.port import (
    META_CUT,
    META_EPOCH,
    META_KNOWN_MS,
    META_LEAVING,
    META_REVISION,
    META_WAY,
    EdgeBatch,
    Held,
)
from edgecore.store.shell import AsyncEdgeStore
from skerry.daemon import leaves
from skerry.errors import DamagedError, IdentityRefusedError, SkerryError, UnansweredError, UnavailableError
from skerry.frozen import Frozen, field
from skerry.objects.bandwidth import BandwidthPlan
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.traffic import Usage
from skerry.ports import Clock, Ids, Pipe
from skerry.sync.ages import cloud_time
from skerry.sync.dial import WAYS, DialPolicy, Way
from skerry.sync.edge import EdgeIdentity, EdgeSession, EdgeState
from skerry.sync.effects import BeginLife, CloseLink, EdgeEffect, Prune, Welcomed, Write
from skerry.sync.ports import Reading, SyncSettings
from skerry.transport.driver import Driver, now_of
from skerry.transport.gate import Gate
from skerry.transport.session_shell import Attempt, DialledRun
from skerry.waits import until_set
from skerry.wire.frames import CloseCode

log = logging.getLogger(__name__)

KNOWN_STEP_MS: Final = 600_000
"""The cloud's time is written when what is written is this much older: a flash card need not know the minute."""


def _nothing(*_: object) -> None:
    """Where nobody wants to know."""


def _yes() -> bool:
    return True


class LinkSettings(Frozen):
    """Who this gateway is, and where its cloud is."""

    node: str
    agent_version: str
    boot_id: str
    """Changes with each boot of the machine (/proc/sys/kernel/random/boot_id)."""
    addresses: tuple[str, ...]
    """`host:port`, tried in turn."""
    ways: tuple[Way, ...] = ("websocket",)
    """How they may be dialled, in order of preference."""
    sync: SyncSettings = field(default_factory=SyncSettings)
    bandwidth: BandwidthPlan | None = None
    """What this gateway may send at what time of day, beside what its Node says; None: all it can."""


class LinkParts(Frozen):
    """What the link is made of."""

    store: AsyncEdgeStore
    dialer: Dialer
    """Dials over WebSocket, and every way that has no dialer of its own."""
    dialers: Mapping[Way, Dialer] = field(default_factory=dict[Way, Dialer])
    clock: Clock
    ids: Ids
    streams: StreamKinds = field(default_factory=StreamKinds)
    """What this gateway does on streams that the cloud opens (`logs`, `rules`, `exec`)."""
    capabilities: Sequence[str] = ()
    """What it can besides (`commands`)."""
    doubted: Callable[[], None] = _nothing
    """Told when the cloud may not take this gateway's certificate any more."""
    heard: Callable[[Reading], None] = _nothing
    """Told of each reading of the cloud's clock, before anybody hears of the `Welcome`."""
    knows_time: Callable[[], bool] = _yes
    """Whether the clock's time of day is to be believed."""


class LinkStatus(Frozen):
    """For the local API and people."""

    state: str
    """`cut`, `waiting`, `dialing`, or the session's state."""
    address: str
    transport: str
    """The way that is in use or dialled next: `quic`, `websocket`, or `proxy`."""
    session: int
    """0 when there is none."""
    since_ms: int
    """Wall clock of the last change between connected and not."""
    last_error: str
    """Why the last session or dial ended; "" before the first."""


class EdgeLink:
    """See the module. Run `run` in a task group; everything else may be called at any time from the same loop."""

    def __init__(self, settings: LinkSettings, parts: LinkParts) -> None:
        self._settings = settings
        self._parts = parts
        self._remembered = _way(parts.store.meta(META_WAY))
        self._policy = DialPolicy(settings.addresses, settings.ways, remembered=self._remembered)
        self._wake = asyncio.Event()
        self._session: EdgeSession | None = None
        self._driver: Driver[EdgeEffect] | None = None
        self._run: DialledRun | None = None
        self._cut = parts.store.meta(META_CUT) == "yes"
        self._dialing = False
        self._answered = True
        """By the last that was dialled: somebody was there."""
        self._since_ms = parts.clock.wall_ms()
        self._last_error = ""
        self._said: dict[tuple[Way, str], str] = {}
        """Why the link was down last, by way and address, since it was up."""
        self._said_s = 0.0
        self._heard_time: HeardTime | None = None
        self._traffic = TrafficKeeper(parts.store, self._usage, self._now_ms)
        self._welcome_listeners: list[Callable[[], None]] = []
        self._gate = Gate("up", parts.clock, parts.knows_time)
        self._caps = Caps(settings.node, settings.bandwidth, parts.store, self._gate)

    # --- what others may ask ---

    @property
    def connected(self) -> bool:
        """A session is welcomed, and has not ended."""
        session = self._session
        return session is not None and session.session > 0 and session.state is not EdgeState.CLOSED

    @property
    def status(self) -> LinkStatus:
        session = self._session
        if session is not None:
            state = session.state.value
        else:
            state = "cut" if self._cut else "dialing" if self._dialing else "waiting"
        return LinkStatus(
            state=state,
            address=self._policy.address,
            transport=self._policy.way,
            session=session.session if session else 0,
            since_ms=self._since_ms,
            last_error=self._last_error,
        )

    async def cut(self) -> None:
        """Take the link down and keep it down until `heal`, over restarts and power cuts as well.

        Raises `UnavailableError` when that can't be remembered; then nothing is cut.
        """
        await self._parts.store.apply(EdgeBatch(meta=((META_CUT, "yes"),)))
        self._cut = True
        if self._session is not None and self._driver is not None:
            self._session.close(CloseCode.CUT, "cut by an operator", self._driver.now())
            self._driver.kick()
        self._wake.set()

    async def heal(self) -> None:
        """Undo `cut`, and dial at once. Raises `UnavailableError` when that can't be remembered."""
        await self._parts.store.apply(EdgeBatch(meta=((META_CUT, ""),)))
        self._cut = False
        self._policy.now()
        self._wake.set()

    @property
    def is_cut(self) -> bool:
        return self._cut

    def pipe(self, kind: str, params: bytes) -> AbstractAsyncContextManager[Pipe]:
        """A stream to the cloud, hung up at the end of the block. Raises `UnavailableError` where there is no session
        or no room, at once or in the first step."""
        if not self.connected or self._run is None:
            status = self.status
            why = f": {status.last_error}" if status.last_error else ""
            raise UnavailableError(f"the cloud can't be reached now ({status.state}{why})")
        return self._run.streams.open(kind, params, full="too many streams are open to the cloud")

    def cloud_ms(self) -> int | None:
        """The latest that the cloud's clock may read now; None before the first Welcome since the start."""
        heard = self._heard_time
        return None if heard is None else heard.latest_ms(self._parts.clock.monotonic_s())

    def traffic(self) -> JsonObject:
        """Bytes on the link by hour and day, up to now, and the caps in force."""
        bandwidth = self._caps.shown()
        return {**self._traffic.shown(), **({"bandwidth": bandwidth} if bandwidth else {})}

    def bandwidth(self) -> JsonObject:
        """The caps in force (`skerry.objects.bandwidth.shown_bandwidth`); empty for none."""
        return self._caps.shown()

    def _usage(self) -> Usage:
        return self._driver.usage(sent_is_up=True) if self._driver is not None else Usage()

    def _now_ms(self) -> int:
        """The cloud's time where it is known, else this gateway's own."""
        return self.cloud_ms() or self._parts.clock.wall_ms()

    def on_welcome(self, listener: Callable[[], None]) -> None:
        """Call it whenever a session is welcomed, for as long as the link lives. Short; never raises."""
        self._welcome_listeners.append(listener)

    # --- the loop ---

    async def run(self) -> None:
        """Until cancelled."""
        stop = self._parts.store.listen(self._committed)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._traffic.run())
                tasks.create_task(self._caps.run())
                await self._dial_always()
        finally:
            stop()

    async def _dial_always(self) -> None:
        while True:
            await self._wait()
            started_s = self._parts.clock.monotonic_s()
            self._answered = True
            unusable = False
            try:
                how, welcomed = await self._once()
            except WayMissingError as error:
                unusable = True
                log.warning("this gateway does without a way to the cloud way=%s why=%s", self._policy.way, error)
                how, welcomed = CloseLink(code=CloseCode.FAILED, reason=str(error)), False
            except Exception as error:
                # The root of this worker: whatever broke one session, the next one starts from the store.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # A task group that ends by an error of its own keeps to itself that it was cancelled meanwhile.
                    raise asyncio.CancelledError from error
                damage = next((leaf for leaf in leaves(error) if isinstance(leaf, DamagedError)), None)
                if damage is None:
                    log.exception("session failed cloud=%s", self._policy.address)
                else:  # the guard of the store ends the agent, and says why in one line
                    log.debug("session failed cloud=%s error=%s", self._policy.address, damage)
                how, welcomed = CloseLink(code=CloseCode.FAILED, reason=str(damage or error)), False
            attempt = Attempt(
                how=how,
                started_s=started_s,
                ended_s=self._parts.clock.monotonic_s(),
                welcomed=welcomed,
                answered=self._answered,
                unusable=unusable,
            )
            self._policy.ended(attempt.ended, self._parts.ids.unit())

    async def _wait(self) -> None:
        """Until a dial is due and allowed."""
        while True:
            self._wake.clear()
            delay = self._policy.due_s - self._parts.clock.monotonic_s()
            if self._cut:
                await self._wake.wait()
            elif delay <= 0:
                return
            else:
                await until_set(self._wake, within_s=delay)

    async def _once(self) -> tuple[CloseLink, bool]:
        """One dial and, if it comes to that, one session: how it ended, and whether it was welcomed."""
        self._dialing = True
        try:
            dialer = self._parts.dialers.get(self._policy.way, self._parts.dialer)
            link = await dialer(self._policy.address)
        except WayMissingError:
            raise
        except UnavailableError as error:
            if isinstance(error, IdentityRefusedError):
                self._parts.doubted()
            self._answered = not isinstance(error, UnansweredError)
            self._note_end(str(error))
            return CloseLink(code=CloseCode.FAILED, reason=str(error)), False
        finally:
            self._dialing = False
        if self._cut:  # while it was dialled
            await link.close(code=CloseCode.CUT, reason="cut by an operator")
            return CloseLink(code=CloseCode.CUT, reason="cut by an operator"), False
        self._said_s = self._parts.clock.monotonic_s()
        session = self._open()
        driver: Driver[EdgeEffect] = Driver(link, session, self._parts.clock)
        run = DialledRun(
            _StoreKeeping(self._parts.store, self._parts.ids),
            session,
            driver,
            self._welcomed,
            whose="the gateway's",
            talker=self._parts.streams.talker,
        )
        self._session, self._driver, self._run = session, driver, run
        self._limit()
        try:
            how = await driver.run(run.perform)
        finally:
            self._traffic.note(self._usage())
            self._session = self._driver = self._run = None
            self._since_ms = self._parts.clock.wall_ms()
        if isinstance(driver.fault, IdentityRefusedError):
            self._parts.doubted()
        self._note_end(how.reason)
        return how, session.session > 0

    def _open(self) -> EdgeSession:
        store, settings = self._parts.store, self._settings
        identity = EdgeIdentity(
            node=settings.node,
            agent_version=settings.agent_version,
            incarnation=store.incarnation,
            boot_id=settings.boot_id,
            epoch=store.meta(META_EPOCH) or "",
            revision=Revision(_number(store.meta(META_REVISION))),
            capabilities=tuple(
                sorted({*self._parts.streams.sources, *self._parts.streams.talkers, *self._parts.capabilities})
            ),
            leaving=store.meta(META_LEAVING) == "yes",
        )
        return EdgeSession(identity, store.stamps(), store, now_of(self._parts.clock), settings.sync)

    def _welcomed(self, effect: Welcomed) -> None:
        self._parts.heard(effect.reading)
        self._since_ms = self._parts.clock.wall_ms()
        self._last_error = ""
        self._said.clear()
        self._heard_time = HeardTime(server_ms=effect.server_ms, said_s=self._said_s)
        for listener in self._welcome_listeners:
            listener()
        self._policy.welcomed(self._parts.clock.monotonic_s())
        if self._policy.preferred != self._remembered and self._driver is not None:
            self._driver.spawn(self._remember_way())
        log.info(
            "link up cloud=%s way=%s session=%d in_step=%s",
            self._policy.address,
            self._policy.way,
            effect.session,
            str(effect.in_step).lower(),
        )
        is_news = _is_news(effect.reading, self._parts.store.boots()[-1].reading)
        if is_news and self._run is not None and self._driver is not None:
            self._driver.spawn(self._remember_time(effect.reading, self._run))

    async def _remember_time(self, reading: Reading, run: DialledRun) -> None:
        meta = ((META_KNOWN_MS, str(reading.server_ms)),)
        try:
            await self._parts.store.apply(EdgeBatch(meta=meta, reading=reading))
        except SkerryError as error:
            run.fail(error)

    def _limit(self) -> None:
        if self._session is not None and self._driver is not None:
            self._session.peer_is_capped = self._caps.peer_is_capped
            self._driver.limit(self._gate)

    async def _remember_way(self) -> None:
        way = self._policy.preferred
        try:
            await self._parts.store.apply(EdgeBatch(meta=((META_WAY, way),)))
        except UnavailableError as error:
            # The session goes on without: what is remembered saves time at the next start, and nothing else.
            log.warning("the way to the cloud is not remembered way=%s error=%s", way, error)
        else:
            self._remembered = way

    def _note_end(self, reason: str) -> None:
        """Say it once, not at every retry; each way and address fails for its own reason."""
        tried = self._policy.way, self._policy.address
        if reason != self._said.get(tried):
            log.warning("link down cloud=%s way=%s reason=%s", self._policy.address, self._policy.way, reason)
        self._said[tried] = reason
        self._last_error = reason

    def _committed(self, batch: EdgeBatch) -> None:
        """Somebody in this agent committed: reports may wait, and the Node may say something else."""
        if self._caps.touches(batch) and self._caps.reread():
            self._limit()
        if (batch.reports or batch.readings) and self._session is not None and self._driver is not None:
            self._session.appended(self._driver.now())
            self._driver.kick()


class Inventory(Protocol):
    """What `batch_of` reads: either form of the edge store."""

    def stamps(self) -> Iterable[tuple[Key, Stamp]]: ...
    def get(self, key: Key) -> Held | None: ...


def batch_of(write: Write, store: Inventory) -> EdgeBatch:
    """A session's write as the edge store's transaction."""
    meta: list[tuple[str, str]] = []
    if write.epoch:
        meta.append((META_EPOCH, write.epoch))
    if write.leaving:
        meta.append((META_LEAVING, "yes"))
    if write.revision is not None:
        meta.append((META_REVISION, str(write.revision)))
    puts = [Held(key=put.key, stamp=put.stamp, body=put.body) for put in write.puts]
    if write.void:
        held = [store.get(key) for key, _ in store.stamps()]
        puts += [
            Held(key=item.key, stamp=Stamp(item.stamp.uid, Revision(0)), body=item.body) for item in held if item
        ]
    return EdgeBatch(puts=tuple(puts), deletes=write.deletes, meta=tuple(meta))


class _StoreKeeping:
    """The edge store, as `skerry.transport.session_shell.Keeping`."""

    def __init__(self, store: AsyncEdgeStore, ids: Ids) -> None:
        self._store = store
        self._ids = ids

    async def write(self, write: Write) -> None:
        await self._store.apply(batch_of(write, self._store))

    async def begin_life(self, effect: BeginLife) -> None:
        incarnation = self._ids.token_hex(8)
        await self._store.begin_life(incarnation, effect.settled)
        log.warning(
            "the gateway's store is an older copy of what it was: what was written since and had not reached the "
            "cloud is lost; what waits goes up as a new life incarnation=%s",
            incarnation,
        )

    async def prune(self, prune: Prune) -> None:
        await self._store.prune_outbox(through=prune.through, first=prune.first, lane=prune.lane)


def _is_news(reading: Reading, kept: Reading | None) -> bool:
    """Whether the cloud's clock is worth writing: not known in this boot, long ago, or stepped since."""
    if kept is None or reading.heard_ms >= kept.heard_ms + KNOWN_STEP_MS:
        return True
    before = cloud_time(kept, reading.heard_ms)
    now = cloud_time(reading, reading.heard_ms)
    return before.latest_ms < now.earliest_ms or now.latest_ms < before.earliest_ms


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _way(text: str | None) -> Way | None:
    return next((way for way in WAYS if way == text), None)
