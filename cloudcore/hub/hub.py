"""The hub: every node that is connected to this process, and the views they are kept in step with.

Keeps sessions and views in memory; both are made again after a crash, from the links that come back and from
the store. Nothing about a node is sticky to a hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import orjson

from cloudcore.hub.bandwidth import Bandwidths
from cloudcore.hub.bounds import Bounds, BoundSettings
from cloudcore.hub.effects import Reporter
from cloudcore.hub.elsewhere import Client, NodesElsewhere, NodesHere
from cloudcore.hub.keys import NodeKeys
from cloudcore.hub.leases import HubLeases, LeaseParts
from cloudcore.hub.lending import PodLending
from cloudcore.hub.liveness import SILENT_REASON, Liveness, LivenessSettings
from cloudcore.hub.messages import MessageRoom
from cloudcore.hub.node_writes import gateway_annotations
from cloudcore.hub.orphans import Orphans, fence_of
from cloudcore.hub.outcomes import Kinds
from cloudcore.hub.places import Places, PlaceSettings
from cloudcore.hub.pushing import Pushing
from cloudcore.hub.references import ARRIVAL, NODES, PODS
from cloudcore.hub.sessions import Carried, NodeSession, SessionParts, told_of
from cloudcore.hub.streams import NodeCalls, NodeDevices, NodeLogs, NodePipes
from cloudcore.hub.traffic import TrafficLedger, TrafficSources
from cloudcore.hub.usage import NodeUsages
from cloudcore.hub.views import Views
from cloudcore.registry.port import Objects
from cloudcore.runtime.election import Leadership
from cloudcore.runtime.events import EventRecorder
from cloudcore.runtime.informer import EVENTS_BY_HOST
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import Advance, Entry, Store
from skerry.errors import FencedError, GoneError, NotFoundError, SkerryError, UnavailableError
from skerry.frozen import Frozen, field
from skerry.objects.enrolment import with_authority
from skerry.objects.json import Json, JsonObject, str_at
from skerry.objects.meta import Key, uid_of, with_annotations
from skerry.ports import Clock, Ids, Link
from skerry.sync.cloud import CloudState
from skerry.sync.effects import CloseLink
from skerry.sync.ports import SyncSettings, View
from skerry.transport.gate import Gate
from skerry.transport.hosting import StreamHost
from skerry.waits import until_set
from skerry.wire.frames import CloseCode

log = logging.getLogger(__name__)

_SILENT: Final = SILENT_REASON.encode()
_STOPPING: Final = "the cloud is stopping"
_LAST_WRITE_S_MAX: Final = 2.0
"""For the counts of traffic and the Lease, when the hub stops."""
_RETRY_S: Final = 1.0
"""Before the store is asked again who entered elsewhere."""


class HubSettings(Frozen):
    sync: SyncSettings = field(default_factory=SyncSettings)
    liveness: LivenessSettings = field(default_factory=LivenessSettings)
    bounds: BoundSettings = field(default_factory=BoundSettings)
    places: PlaceSettings = field(default_factory=PlaceSettings)
    fence_s_max: float = 10.0
    """How long a node's older session may take to end."""
    links_of_peer_max: int = 16
    """Links at once of one certificate. A gateway has one, and some that broke or were never greeted; each costs some
    60 KB for the twenty seconds in which nothing need be said."""
    record_days: int = 30
    """How long records are kept, those of traffic among them."""


class HubParts(Frozen):
    """What the hub is made of."""

    objects: Objects
    store: Store
    cache: WatchCache
    kinds: Kinds
    clock: Clock
    ids: Ids
    leadership: Leadership
    replicas: Client | None = None
    """How others on this store are asked; None: there are none."""
    authorities: Mapping[str, str] = field(default_factory=dict[str, str])
    """Ids of those who sign certificates, by their keys' identifiers."""


@dataclasses.dataclass(slots=True)
class _Slot:
    """One node's place: at most one session, and one at a time that enters."""

    entering: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    session: NodeSession | None = None
    waiting: NodeSession | None = None
    """It enters when the one before it has; a newer one takes its place."""
    elsewhere: int = 0
    """Number of the node's newest session at another hub that was heard of while it was here."""


class Hub:
    """Run `run` in a task group, hand every link of a node to `handle`."""

    def __init__(self, parts: HubParts, settings: HubSettings | None = None) -> None:
        self._parts = parts
        self._settings = settings or HubSettings()
        self._name = parts.leadership.identity if parts.store.shared else ""
        self.bounds = Bounds(
            clock=parts.clock,
            events_of=lambda node: parts.cache.count_indexed(EVENTS_BY_HOST, node),
            messages_of=MessageRoom(parts.cache).of,
            settings=self._settings.bounds,
        )
        self.lending = PodLending(parts.cache, parts.objects, parts.kinds.pod, parts.clock)
        """Lends gateways what must never run twice in a federation."""
        self._session_parts = SessionParts(
            objects=parts.objects,
            store=parts.store,
            clock=parts.clock,
            bounds=self.bounds,
            sync=self._settings.sync,
            hub=self._name,
            carried=lambda: self.carried,
            lending=self.lending,
        )
        self.carried: Carried | None = None
        """What answers requests to the API that gateways carry here: whoever composes both says it."""
        self._views = Views(_parse)
        self._slots: dict[str, _Slot] = {}
        self._open: set[NodeSession] = set()
        self._links: Counter[str] = Counter()
        """By who showed a certificate."""
        self._behind: set[NodeSession] = set()
        self._pushing = Pushing()
        self._places = Places(self._settings.places)
        self._loaded = asyncio.Event()
        self._stops = False
        """Who still comes is told so: it was at the door before that closed."""
        self.liveness = Liveness(parts.objects, parts.kinds, parts.clock, self._settings.liveness)
        self.leases = HubLeases(_lease_parts(parts), hub=self._name, renew_s=self._settings.liveness.lease_s)
        recorder = EventRecorder(parts.objects, parts.kinds.event, parts.clock, component="skerry-hub")
        self.bandwidths = Bandwidths(parts.clock, recorder, self._node, lambda: parts.leadership.leading)
        """The caps on what is sent to nodes."""
        elsewhere = NodesElsewhere(parts.store, self.leases, parts.replicas)
        self.lending.elsewhere = elsewhere.lent_ago_s
        self._keys = NodeKeys(parts.cache, recorder, parts.clock)
        self.traffic = TrafficLedger(
            parts.store,
            parts.clock,
            recorder,
            TrafficSources(
                sessions=lambda: self._open,
                node_of=self._node,
                caps_of=self.bandwidths.shown,
                elsewhere=elsewhere.counted if self._name else None,
            ),
            days_kept=self._settings.record_days,
        )
        """Bytes on the nodes' links, for the API."""
        self.pipes = NodePipes(self._streams_of, elsewhere)
        """Streams to nodes, for the API."""
        self.logs = NodeLogs(self.pipes)
        """Pod logs, for the API."""
        self.usages = NodeUsages(self.pipes, parts.clock)
        """What gateways use, for the API."""
        self.devices = NodeDevices(self.pipes)
        self.calls = NodeCalls(self.pipes)
        """What gateways are asked of their devices, for the API."""
        self.here = NodesHere(self._streams_of, self.traffic, self.lending.ago_here_s)
        """What other replicas ask of this one."""

    @property
    def connected(self) -> Sequence[str]:
        """Names of the nodes whose session is welcomed, sorted."""
        return sorted(name for name, slot in self._slots.items() if slot.session is not None)

    async def run(self) -> None:
        """Follow the store until cancelled; then every session is told to come back."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                tasks.create_task(self._pushing.run())
                tasks.create_task(self.liveness.run())
                tasks.create_task(self.leases.run())
                tasks.create_task(self.traffic.run())
                tasks.create_task(self.bandwidths.run())
                if self._name:
                    tasks.create_task(self._follow_entries())
                    tasks.create_task(self._orphans().run())
        finally:
            self._stops = True
            self._close_all(CloseCode.DONE, _STOPPING, spread=False)
            with contextlib.suppress(TimeoutError, SkerryError):
                async with asyncio.timeout(_LAST_WRITE_S_MAX):
                    await self.leases.release()
                    await self.traffic.write()

    async def handle(self, link: Link) -> None:
        """Serve one link until it ends."""
        peer = link.peer_name
        if self._links[peer] >= self._settings.links_of_peer_max:
            log.debug("link refused peer=%s reason=too many at once", peer)
            link.abort()
            return
        self._links[peer] += 1
        try:
            await self._serve(link)
        finally:
            self._links[peer] -= 1
            if not self._links[peer]:
                del self._links[peer]

    async def _serve(self, link: Link) -> None:
        session = NodeSession(link, self._session_parts, self)
        self._open.add(session)
        if self._stops:
            session.close(CloseCode.DONE, _STOPPING)
        how = None
        try:
            how = await session.run()
            log.info("node session ended node=%s code=%d reason=%s", session.node, how.code, how.reason)
        except Exception as error:
            # The root of a session's work: its fault ends it alone, and the node comes back.
            said, fault = told_of(error)
            log.warning("node session failed node=%s error=%s", session.node, said, exc_info=fault)
        finally:
            self._open.discard(session)
            self._behind.discard(session)
            self._places.leave(session)
            self._pushing.discard(session)
            self.traffic.note(session.node, session.take_usage())
            self._leave(session, how)

    # --- what sessions ask ---

    async def refusal(self, node: str, key: str) -> str:
        return await self._keys.refusal(node, key)

    async def refused(self, node: str, reason: str) -> None:
        log.warning("gateway refused node=%s reason=%s", node, reason)
        await self._keys.tell(node, reason)

    async def enter(self, session: NodeSession) -> bool:
        if not await until_set(self._loaded, within_s=self._settings.fence_s_max):
            raise UnavailableError("the hub is still reading its store")
        slot = self._slots.setdefault(session.node, _Slot())
        if slot.waiting is not None:
            slot.waiting.close(CloseCode.FENCED, "a newer session of this node took over")
        slot.waiting = session
        async with slot.entering:
            if slot.waiting is session:
                slot.waiting = None
            if session.is_over:
                raise FencedError("a newer session of this node took over")
            # Inside, so that a node has one place at most: whoever dials in a loop keeps nobody else out.
            if not self._places.take(session, self._parts.clock.monotonic_s()):
                return False
            older = slot.session
            if older is not None:
                older.close(CloseCode.FENCED, "a newer session of this node took over")
                try:
                    async with asyncio.timeout(self._settings.fence_s_max):
                        await asyncio.shield(older.ended)
                except TimeoutError as error:
                    raise UnavailableError("the node's older session does not end") from error
            if session.is_over:
                return False
            slot.session = session
        log.info("node session opens node=%s", session.node)
        return True

    def behind(self, session: NodeSession) -> None:
        self._behind.add(session)

    def view(self, node: str) -> View:
        return self._views.view(node)

    def gate(self, node: str) -> Gate | None:
        return self.bandwidths.gate(node)

    def reporter(self, session: NodeSession, incarnation: str) -> Reporter:
        known = self._lookup(Key(NODES, "", session.node)) if session.peer_key else None
        return Reporter(
            node=session.node,
            kinds=self._parts.kinds,
            lookup=self._lookup,
            incarnation=incarnation,
            capabilities=session.capabilities,
            node_uid="" if known is None else uid_of(known),
            departed=partial(self.bounds.was_on, session.node),
            holds=partial(self._held_by, session.node),
        )

    def _held_by(self, node: str, key: Key) -> bool:
        return self._views.held(node, key) is not None

    async def met(self, session: Advance, *, issuer: str) -> None:
        node, incarnation = session.node, session.incarnation
        slot = self._slots.get(node)
        if slot is not None and slot.elsewhere > session.session:
            raise FencedError(f"node {node} has come to another hub meanwhile")
        kind = self._parts.kinds.node
        key = kind.key("", node)
        known = self._lookup(key)
        capabilities = () if slot is None or slot.session is None else slot.session.capabilities
        said = gateway_annotations(incarnation, capabilities)
        noted = partial(_noting, said=said, authority=self._parts.authorities.get(issuer, ""))
        if known is None or noted(known) is known:
            return  # where there is no Node yet, its first report makes it
        try:
            await self._parts.objects.update(kind, key, noted)
        except NotFoundError:
            return

    def heard(self, session: NodeSession) -> None:
        if session.fence is not None:
            self.liveness.heard(session.fence)

    def retry_after_s(self) -> float:
        return self._places.appointment(self._parts.clock.monotonic_s(), self._parts.ids.unit())

    def settled(self, session: NodeSession) -> None:
        self._places.settled(session, self._parts.clock.monotonic_s())

    # --- following the store ---

    async def _follow(self) -> None:
        while True:
            try:
                await self._follow_once()
            except GoneError:
                # This watcher fell behind and was dropped. The views start anew, and so do the sessions.
                log.warning("hub fell behind the store and starts its views anew")
                self._loaded.clear()
                self._close_all(CloseCode.BUSY, "the hub starts its views anew", spread=True)

    async def _follow_once(self) -> None:
        cache = self._parts.cache
        start = cache.revision
        self._views = Views(_parse)
        self._views.load((stored for name in ARRIVAL for stored in cache.select(name)), start)
        changes = cache.watch(None, after=start)
        if not self._name:
            self.liveness.start(self._views.nodes())
        for node in self.bandwidths.load(cache.select(NODES)):
            self._limit(node)
        self.traffic.budgets.load(cache.select(NODES))
        self._loaded.set()
        async for change in changes:
            self.traffic.budgets.apply(change)
            if (capped := self.bandwidths.apply(change)) is not None:
                self._limit(capped)
            if change.key.resource == NODES and change.after is not None and _SILENT in change.after:
                self._contradict(change.key.name)
            if change.key.resource == NODES:
                self._recheck(change.key.name)
            if change.key.resource == PODS and change.after is None and change.before is not None:
                self._note_departure(change.key, _parse(change.before))
            for node, keys in self._views.apply(change).items():
                slot = self._slots.get(node)
                if slot is not None and slot.session is not None:
                    slot.session.changed(keys)
                    self._pushing.add(slot.session)
            for session in tuple(self._behind):
                session.changed(())
                self._pushing.add(session)
                if session.state is not CloudState.BEHIND:
                    self._behind.discard(session)

    def _recheck(self, node: str) -> None:
        """The Node changed: end the session of a gateway that was replaced or sent away."""
        slot = self._slots.get(node)
        session = None if slot is None else slot.session
        if session is None:
            return
        reason = self._keys.refusal_now(node, session.peer_key)
        if reason:
            session.close(CloseCode.REFUSED, reason)

    def _note_departure(self, key: Key, pod: JsonObject) -> None:
        if node := str_at(pod, "spec", "nodeName"):
            self.bounds.left(node, uid_of(pod), key)

    def _contradict(self, node: str) -> None:
        """Somebody wrote that nothing is heard of the node: a leader that took this hub for dead, say."""
        slot = self._slots.get(node)
        if slot is not None and slot.session is not None and slot.session.spoke_s is not None:
            self.heard(slot.session)

    async def _follow_entries(self) -> None:
        """A gateway that came to another hub has left its session here, however much that looks alive. One may have
        come here without this hub's knowing: the store's answer was lost, or came when the link had ended.
        """
        after = 0
        while True:
            try:
                async for entry in self._parts.store.watch_entries(after=after):
                    after = entry.number
                    if entry.hub == self._name:
                        self._entered_here(entry)
                    else:
                        self._entered_elsewhere(entry)
            except UnavailableError as error:
                log.warning("who enters at other hubs is not known error=%s", error)
                await asyncio.sleep(_RETRY_S)

    def _entered_here(self, entry: Entry) -> None:
        slot = self._slots.get(entry.node)
        session = None if slot is None else slot.session
        if session is None or session.fence is None or session.fence.session < entry.session:
            self.liveness.entered(fence_of(entry))

    def _entered_elsewhere(self, entry: Entry) -> None:
        slot = self._slots.get(entry.node)
        if slot is None:
            return
        slot.elsewhere = max(slot.elsewhere, entry.session)
        session = slot.session
        if session is not None and session.fence is not None and session.fence.session < entry.session:
            session.close(CloseCode.FENCED, f"a newer session of this node is at hub {entry.hub}")

    def _orphans(self) -> Orphans:
        parts = self._parts
        return Orphans(
            parts.store,
            self.leases,
            self.liveness,
            parts.leadership,
            lambda: [stored.key.name for stored in parts.cache.select(NODES)],
        )

    def _limit(self, node: str) -> None:
        slot = self._slots.get(node)
        if slot is not None and slot.session is not None:
            slot.session.limit(self.bandwidths.gate(node))

    def _close_all(self, code: int, reason: str, *, spread: bool) -> None:
        for session in tuple(self._open):
            session.close(code, reason, retry_after_s=self.retry_after_s() if spread else 0.0)

    def _leave(self, session: NodeSession, how: CloseLink | None) -> None:
        """It has ended; `how` is None where that was a fault in here."""
        slot = self._slots.get(session.node)
        if slot is not None:
            if slot.session is session:
                slot.session = None
            if slot.waiting is session:
                slot.waiting = None
            if slot.session is None and slot.waiting is None and not slot.entering.locked():
                del self._slots[session.node]
        if session.fence is None:
            if session.may_have_entered and not self._name and (slot is None or slot.session is None):
                self.liveness.unanswered(session.node)
            return
        if self._is_failure(session, how):
            self.liveness.failed(session.fence)
        else:
            is_mute = how is not None and how.code == CloseCode.SILENT and not how.by_peer
            self.liveness.silent(session.fence, heard_s=session.heard_s if is_mute else None)

    def _is_failure(self, session: NodeSession, how: CloseLink | None) -> bool:
        """Whether the session says nothing of its gateway being any good: it never spoke, was at fault, or broke as
        soon as it was open."""
        if session.spoke_s is None:
            return True
        code = CloseCode.FAILED if how is None else how.code
        lived_s = self._parts.clock.monotonic_s() - session.spoke_s
        broke = code == CloseCode.FAILED and lived_s < self._settings.liveness.trial_s
        return broke or code in (CloseCode.PROTOCOL, CloseCode.REFUSED)

    def _lookup(self, key: Key) -> JsonObject | None:
        stored = self._parts.cache.read(key)
        return None if stored is None else self._parts.cache.obj(stored)

    def _node(self, name: str) -> JsonObject | None:
        return self._lookup(Key(NODES, "", name))

    def _streams_of(self, node: str) -> StreamHost | None:
        slot = self._slots.get(node)
        return slot.session.streams if slot is not None and slot.session is not None else None


def _lease_parts(parts: HubParts) -> LeaseParts:
    return LeaseParts(
        objects=parts.objects,
        store=parts.store,
        cache=parts.cache,
        kind=parts.kinds.lease,
        clock=parts.clock,
    )


def _noting(node: JsonObject, *, said: Mapping[str, str], authority: str) -> JsonObject:
    """The Node with what a session that opens shows of its gateway; itself where that is no news."""
    return with_authority(with_annotations(node, said), authority)


def _parse(body: bytes) -> JsonObject:
    value: Json = orjson.loads(body)
    assert isinstance(value, dict), "stored objects are JSON objects"
    return value
