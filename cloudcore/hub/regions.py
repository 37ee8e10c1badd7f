"""Regions that are members of a federation: the same session as a gateway's, one level up.

A region's view is its rows of the ledger (MemberObjects); what it reports becomes their status, and that of its
KubeFedCluster. Keeps sessions in memory; a crash loses nothing, as rows are in the store. Who is silent keeps what it
has, and is only said to be silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from cloudcore.hub.bounds import Bounds
from cloudcore.hub.flapping import Flapping
from cloudcore.hub.outcomes import Outcome
from cloudcore.hub.report_bodies import body_of
from cloudcore.hub.sessions import NodeSession, SessionParts, told_of
from cloudcore.registry.port import Effect, Objects
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_MEMBER
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import Advance, Change, Entry, Store, Stored
from skerry.errors import CallerError, GoneError, NotFoundError, ProtocolError, SkerryError, UnavailableError
from skerry.frozen import Frozen, field
from skerry.objects.conditions import Condition, is_true, with_condition
from skerry.objects.enrolment import (
    REGION_USER_PREFIX,
    TRUST_FIELD,
    TRUST_NAME,
    TRUST_NAMESPACE,
    region_refusal,
    with_authority,
)
from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    SESSION_PREFIX,
    is_of_membership,
    is_pulling,
    is_ready,
)
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
from skerry.objects.meta import Key, Revision, Stamp, uid_of
from skerry.objects.rooms import read_pods, read_rooms, shown_rooms
from skerry.objects.scheme import Kind
from skerry.objects.strays import read_strays
from skerry.objects.times import ms_at, time_text
from skerry.ports import Clock, Link
from skerry.sync.effects import DatedReport
from skerry.sync.ports import SyncSettings, View
from skerry.transport.gate import Gate
from skerry.waits import until_set
from skerry.wire.frames import CloseCode, ObjectState

log = logging.getLogger(__name__)

FENCE_S_MAX: Final = 10.0
LINKS_MAX: Final = 8
"""Links at once of one region: one, and some that broke."""
REGION_SHARE: Final = 0.1
"""Of the time, for the reports of one region (`SessionParts.share`)."""
_LOOK_S: Final = 1.0
REPORT_BYTES_MAX: Final = 128 * 1024
"""Of what a region says of one row; it sends no more."""
_DRIFTS_MAX: Final = 20
CLOCK_MS_MAX: Final = 60_000
"""A region's clock that is off by less is let be: what it tells twice is then the same."""
_GENERATION_MAX: Final = 2**63 - 1
_MESSAGE_LENGTH_MAX: Final = 1024


class RegionKinds(Frozen):
    member: Kind
    row: Kind


class RegionParts(Frozen):
    """What regions are served with."""

    store: Store
    cache: WatchCache
    objects: Objects
    clock: Clock
    bounds: Bounds
    kinds: RegionKinds
    sync: SyncSettings = field(default_factory=SyncSettings)
    hub: str = ""
    """Name of this one among several; "" where it is alone."""
    lives: Callable[[str], bool] = lambda hub: False
    """Whether another hub is to be believed in."""
    holds: Callable[[], bool] = lambda: True
    """Whether the others believe in this one."""
    authorities: Mapping[str, str] = field(default_factory=dict[str, str])
    """Ids of the authorities, by `Link.peer_issuer`."""


def region_user(name: str) -> str:
    """Of the name in a region's hello."""
    return REGION_USER_PREFIX + name.removeprefix(SESSION_PREFIX) if name.startswith(SESSION_PREFIX) else ""


class RegionHub:
    """Run `run` in a task group, hand every link of a region to `handle`. A `cloudcore.hub.sessions.Registry`."""

    def __init__(self, parts: RegionParts) -> None:
        self._all = parts
        self._cache = parts.cache
        self._objects = parts.objects
        self._clock = parts.clock
        self._kinds = parts.kinds
        self._parts = SessionParts(
            objects=parts.objects,
            store=parts.store,
            clock=parts.clock,
            bounds=parts.bounds,
            sync=parts.sync,
            user_of=region_user,
            share=REGION_SHARE,
            hub=parts.hub,
        )
        self._at: dict[str, str] = {}
        """Hub that each member came to last, where there are several."""
        self._sessions: dict[str, NodeSession] = {}
        """By member."""
        self._open: set[NodeSession] = set()
        self._links: Counter[str] = Counter()
        self._flapping = Flapping()
        self._silent: dict[str, float] = {}
        """Members without a session, since when (monotonic)."""
        self._behind: set[NodeSession] = set()
        self._unnoted: set[str] = set()
        """Members that are heard, which is not written yet."""
        self._failing: set[str] = set()
        """Members of whom that could not be written, and it was said."""
        self._news = asyncio.Event()

    # --- links ---

    async def handle(self, link: Link) -> None:
        """Serve one link until it ends."""
        if self._links[link.peer_name] >= LINKS_MAX:
            link.abort()
            return
        self._links[link.peer_name] += 1
        session = NodeSession(link, self._parts, self)
        self._open.add(session)
        try:
            how = await session.run()
            log.info("region session ended region=%s code=%d reason=%s", session.node, how.code, how.reason)
        except Exception as error:
            # The root of a session's work: its fault ends it alone, and the region comes back.
            said, fault = told_of(error)
            log.warning("region session failed region=%s error=%s", session.node, said, exc_info=fault)
        finally:
            self._links[link.peer_name] -= 1
            self._open.discard(session)
            self._behind.discard(session)
            member = session.node.removeprefix(SESSION_PREFIX)
            if self._sessions.get(member) is session:
                del self._sessions[member]
                self._silent[member] = self._clock.monotonic_s()

    async def run(self) -> None:
        """Follow the store until cancelled; then every session is told to come back."""
        now = self._clock.monotonic_s()
        for stored in self._cache.select(MEMBERS, namespace=NAMESPACE):
            if is_pulling(self._cache.obj(stored)):
                self._silent[stored.key.name] = now
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                tasks.create_task(self._watch_silence())
                if self._all.hub:
                    tasks.create_task(self._follow_entries())
                    tasks.create_task(self._watch_own())
        finally:
            for session in tuple(self._open):
                session.close(CloseCode.DONE, "the cloud is stopping")

    async def _follow(self) -> None:
        while True:
            try:
                async for change in self._cache.watch(None, after=self._cache.revision):
                    self._see(change)
            except GoneError:
                for session in tuple(self._open):
                    session.close(CloseCode.BUSY, "the hub starts its views anew", retry_after_s=1)

    async def _watch_own(self) -> None:
        while True:
            self.look_at_own()
            await asyncio.sleep(_LOOK_S)

    def look_at_own(self) -> None:
        """Serve nobody while others take this hub for dead: nobody counts what its answers lend to its regions."""
        if self._all.holds():
            return
        for session in tuple(self._sessions.values()):
            session.close(CloseCode.BUSY, "this hub is cut off from its store", retry_after_s=1)

    async def _follow_entries(self) -> None:
        """A region that came to another hub has left its session here, however much that looks alive."""
        after = 0
        while True:
            try:
                async for entry in self._all.store.watch_entries(after=after):
                    after = entry.number
                    if entry.node.startswith(SESSION_PREFIX):
                        self._entered(entry)
            except UnavailableError as error:
                log.warning("where regions enter is not known error=%s", error)
                await asyncio.sleep(_LOOK_S)

    def _entered(self, entry: Entry) -> None:
        member = entry.node.removeprefix(SESSION_PREFIX)
        self._at[member] = entry.hub
        if entry.hub == self._all.hub:
            return
        session = self._sessions.get(member)
        if session is not None and session.fence is not None and session.fence.session < entry.session:
            session.close(CloseCode.FENCED, f"a newer session of this region is at hub {entry.hub}")

    def _see(self, change: Change) -> None:
        if change.key.resource == MEMBER_OBJECTS:
            self._row_changed(change)
        elif change.key.resource == MEMBERS:
            session = self._sessions.get(change.key.name)
            if session is not None and (why := self._refusal_of(change.key.name, session.peer_key)):
                session.close(CloseCode.REFUSED, why)
            self._member_changed(change)
        elif change.key == TRUST:
            for session in tuple(self._sessions.values()):
                session.changed([TRUST])
                session.push()
        for session in tuple(self._behind):
            session.changed(())
            session.push()

    def _member_changed(self, change: Change) -> None:
        member = change.key.name
        if change.after is None:
            self._silent.pop(member, None)
            self._at.pop(member, None)
            return
        session, obj = self._sessions.get(member), decode_object(change.after)
        if session is None:
            if self._all.hub and is_pulling(obj) and is_ready(obj):
                self._silent.setdefault(member, self._clock.monotonic_s())
        elif session.spoke_s is not None and not is_ready(obj):
            self._unnoted.add(member)  # another hub took this one for dead, say
            self._news.set()

    def _row_changed(self, change: Change) -> None:
        after = None if change.after is None else decode_object(change.after)
        before = None if change.before is None else decode_object(change.before)
        if after is not None and before is not None and _stamp(after) == _stamp(before):
            return  # its status
        session = self._sessions.get(str_at(after or before or {}, "spec", "member"))
        if session is not None:
            session.changed([change.key])
            session.push()

    # --- silence ---

    @property
    def waiting(self) -> int:
        """Members that will be said to be silent unless they turn up."""
        return len(self._silent)

    async def _watch_silence(self) -> None:
        """Write who is heard and who is not; what can't be written is tried again, and holds up nobody else."""
        while True:
            await self.note()
            self._news.clear()
            await until_set(self._news, within_s=_LOOK_S)

    async def note(self) -> None:
        """One look at whose state is to be written."""
        now_s = self._clock.monotonic_s()
        for member in self._silent:
            hub = self._at.get(member, self._all.hub)
            if hub != self._all.hub and self._all.lives(hub):
                self._silent[member] = now_s  # it is that hub's to say
        for member in sorted(self._unnoted):
            if member not in self._sessions or await self._noted(member, heard=True):
                self._unnoted.discard(member)
        grace_s = self._flapping.grace_s
        for member in [name for name, since in self._silent.items() if now_s - since >= grace_s(name, now_s)]:
            if member in self._sessions or await self._noted(member, heard=False):
                self._silent.pop(member, None)

    async def _noted(self, member: str, *, heard: bool) -> bool:
        try:
            await self._write_heard(member, heard=heard)
        except SkerryError as error:
            if member not in self._failing:
                log.warning("it is not noted how a region is region=%s heard=%s error=%s", member, heard, error)
            self._failing.add(member)
            return False
        self._failing.discard(member)
        if not heard:
            self._flapping.silent(member, self._clock.monotonic_s())
        return True

    async def _write_heard(self, member: str, *, heard: bool) -> None:
        now_ms = self._clock.wall_ms()

        def told(obj: JsonObject) -> JsonObject:
            if is_true(obj, "Ready") == heard and is_true(obj, "Offline") != heard:
                return obj
            status, conditions = map_at(obj, "status"), maps_at(obj, "status", "conditions")
            for condition in _conditions(heard=heard):
                conditions = [
                    each for each in with_condition(conditions, condition, now_ms=now_ms) if isinstance(each, dict)
                ]
            probed: JsonObject = {"lastProbeTime": time_text(now_ms)}
            return {**obj, "status": {**status, "conditions": [{**each, **probed} for each in conditions]}}

        key = self._kinds.member.key(NAMESPACE, member)
        try:
            await self._objects.update(self._kinds.member, key, told, subresource="status")
        except NotFoundError:
            return

    # --- what sessions ask ---

    def _member(self, name: str) -> JsonObject | None:
        stored = self._cache.read(self._kinds.member.key(NAMESPACE, name))
        return None if stored is None else self._cache.obj(stored)

    def _refusal_of(self, member: str, key: str) -> str:
        return region_refusal(member, self._member(member), key)

    async def refusal(self, node: str, key: str) -> str:
        return self._refusal_of(node.removeprefix(SESSION_PREFIX), key)

    async def refused(self, node: str, reason: str) -> None:
        log.warning("region refused region=%s reason=%s", node, reason)

    async def enter(self, session: NodeSession) -> bool:
        if not self._all.holds():
            raise UnavailableError("this hub is cut off from its store")
        member = session.node.removeprefix(SESSION_PREFIX)
        older = self._sessions.get(member)
        self._sessions[member] = session
        if older is not None:
            older.close(CloseCode.FENCED, "a newer session of this region took over")
            try:
                async with asyncio.timeout(FENCE_S_MAX):
                    await asyncio.shield(older.ended)
            except TimeoutError as error:
                raise UnavailableError("the region's older session does not end") from error
        log.info("region session opens region=%s", member)
        return self._sessions.get(member) is session

    def behind(self, session: NodeSession) -> None:
        self._behind.add(session)

    def view(self, node: str) -> View:
        return MemberView(self._cache, node.removeprefix(SESSION_PREFIX))

    def reporter(self, session: NodeSession, incarnation: str) -> RegionReporter:
        member = session.node.removeprefix(SESSION_PREFIX)
        return RegionReporter(member=member, kinds=self._kinds, cache=self._cache)

    def gate(self, node: str) -> Gate | None:
        return None

    async def met(self, session: Advance, *, issuer: str) -> None:
        authority = self._all.authorities.get(issuer, "")
        key = self._kinds.member.key(NAMESPACE, session.node.removeprefix(SESSION_PREFIX))
        known = self._member(key.name)
        if known is None or with_authority(known, authority) is known:
            return
        try:
            await self._objects.update(self._kinds.member, key, partial(with_authority, authority=authority))
        except NotFoundError:
            return

    def heard(self, session: NodeSession) -> None:
        member = session.node.removeprefix(SESSION_PREFIX)
        self._silent.pop(member, None)
        self._unnoted.add(member)
        self._news.set()

    def retry_after_s(self) -> float:
        return 1.0

    def settled(self, session: NodeSession) -> None:
        self._behind.discard(session)


TRUST: Final = Key("configmaps", TRUST_NAMESPACE, TRUST_NAME)


class MemberView:
    """`skerry.sync.ports.View` of one member: its rows, and the authorities that it is to trust. A status that
    changes is no change of what is to be held. Rows of an earlier membership under its name are on their way out."""

    def __init__(self, cache: WatchCache, member: str) -> None:
        self._cache = cache
        self._member = member

    @property
    def revision(self) -> Revision:
        return self._cache.revision

    def stamps(self) -> Iterator[tuple[Key, Stamp]]:
        for stored in self._cache.indexed(MEMBER_OBJECTS_BY_MEMBER, self._member):
            obj = self._cache.obj(stored)
            if self._is_mine(obj):
                yield stored.key, _stamp(obj)
        trust = self._cache.read(TRUST)
        if trust is not None:
            yield TRUST, Stamp(trust.uid, trust.revision)

    def state(self, key: Key) -> ObjectState | None:
        if key == TRUST:
            return self._trust()
        stored = self._row(key)
        if stored is None:
            return None
        obj = self._cache.obj(stored)
        return ObjectState(key=key, stamp=_stamp(obj), body=encode_object({"spec": map_at(obj, "spec")}))

    def _trust(self) -> ObjectState | None:
        stored = self._cache.read(TRUST)
        if stored is None:
            return None
        said: JsonObject = {"data": {TRUST_FIELD: str_at(self._cache.obj(stored), "data", TRUST_FIELD)}}
        return ObjectState(key=TRUST, stamp=Stamp(stored.uid, stored.revision), body=encode_object(said))

    def _row(self, key: Key) -> Stored | None:
        stored = self._cache.read(key) if key.resource == MEMBER_OBJECTS else None
        if stored is None or str_at(self._cache.obj(stored), "spec", "member") != self._member:
            return None
        return stored if self._is_mine(self._cache.obj(stored)) else None

    def _is_mine(self, row: JsonObject) -> bool:
        member = self._cache.read(Key(MEMBERS, NAMESPACE, self._member))
        return member is None or is_of_membership(row, self._cache.obj(member))

    def closure(self, key: Key) -> Sequence[Key]:
        return ()

    def secret(self, key: Key) -> bool:
        stored = self._row(key)
        return stored is not None and str_at(self._cache.obj(stored), "spec", "object", "kind") == "Secret"

    def prompt(self, key: Key) -> bool:
        return False


class RegionReporter(Frozen):
    """Reads the reports of one region, which speaks of its own rows alone."""

    member: str
    kinds: RegionKinds
    cache: WatchCache

    def outcome(self, dated: DatedReport) -> Outcome:
        if len(dated.report.body) > REPORT_BYTES_MAX:
            raise ProtocolError(f"a report of {len(dated.report.body)} bytes: at most {REPORT_BYTES_MAX}")
        body = body_of(dated)
        observed = time_text(dated.at_ms)
        match dated.report.kind:
            case "member_object":
                return self._row(dated, body, observed)
            case "member":
                return self._self(body, observed)
            case kind:
                raise ProtocolError(f"reports of kind {kind} are not known of a region")

    def _row(self, dated: DatedReport, body: JsonObject, observed: str) -> Outcome:
        name = dated.report.key
        if not name.startswith(f"{self.member}."):
            raise ProtocolError("a region reports of its own objects alone")
        told = _told(body)
        if told.get("drift"):
            told["drift"] = by_our_clock(maps_at(told, "drift"), dated)
        transform = partial(_with_told, told=told, observed=observed)
        key = self.kinds.row.key("", name)
        return Outcome(
            effects=(
                Effect(
                    kind=self.kinds.row, key=key, uid=str_at(body, "uid"), subresource="status", transform=transform
                ),
            )
        )

    def _self(self, body: JsonObject, observed: str) -> Outcome:
        key = self.kinds.member.key(NAMESPACE, self.member)
        stored = self.cache.read(key)
        if stored is None:
            return Outcome()
        left = bool_at(body, "left")
        told: JsonObject = {
            "kubernetesVersion": str_at(body, "kubernetesVersion")[:64],
            "region": str_at(body, "region")[:63],
            "zones": [zone[:63] for zone in strs_at(body, "zones")[:100]],
            "nodes": max(0, min(int_at(body, "nodes"), 2**31 - 1)),
            "observedAt": observed,
        }
        rooms = read_rooms(body)
        if rooms is not None:
            told["room"] = shown_rooms(rooms)
        for kind in ("bound", "waiting"):
            pods = read_pods(body, kind)
            told[kind] = {row: count for row, count in pods.items() if row.startswith(f"{self.member}.")}

        def transform(obj: JsonObject) -> JsonObject:
            if left:
                return {**obj, "status": {**map_at(obj, "status"), "leftAt": observed}}
            status: JsonObject = {**map_at(obj, "status"), **told}
            status.pop("strays", None)
            status.pop("leftAt", None)
            strays = read_strays(map_at(body, "strays"), obj)
            return {**obj, "status": {**status, "strays": strays} if strays else status}

        effect = Effect(
            kind=self.kinds.member,
            key=key,
            uid=uid_of(self.cache.obj(stored)),
            subresource="status",
            transform=transform,
        )
        return Outcome(effects=(effect,))


def _told(body: JsonObject) -> JsonObject:
    """What a region says of a row, each field of the type that others rely on."""
    told: JsonObject = {"revision": int_at(body, "revision")}
    for name in ("code", "message", "version", "plannedAt"):
        if text := str_at(body, name):
            told[name] = text[:_MESSAGE_LENGTH_MAX]
    for name in ("removed", "leasePending"):
        if bool_at(body, name):
            told[name] = True
    if remote := map_at(body, "remote"):
        told["remote"] = remote
    if 0 < (generation := int_at(body, "generation")) <= _GENERATION_MAX:
        told["generation"] = generation
    if "backed" in body:
        told["backed"] = bool_at(body, "backed")
    drift: list[Json] = [
        {name: str_at(each, name)[:_MESSAGE_LENGTH_MAX] for name in ("path", "found", "outcome", "at")}
        for each in maps_at(body, "drift")[:_DRIFTS_MAX]
    ]
    if drift:
        told["drift"] = drift
    return told


def by_our_clock(drift: Sequence[JsonObject], dated: DatedReport) -> list[Json]:
    """Times that a region gives by a clock of its own, which may be a year off, as this cloud's clock has them."""
    off_ms = dated.at_ms - dated.report.wall_ms
    shifted: list[Json] = []
    for each in drift:
        try:
            at_ms = ms_at(str_at(each, "at"))
        except CallerError:
            shifted.append({name: value for name, value in each.items() if name != "at"})
            continue
        at_ms = at_ms + off_ms if abs(off_ms) > CLOCK_MS_MAX else at_ms
        shifted.append({**each, "at": time_text(max(0, min(at_ms, dated.at_ms)))} if at_ms else each)
    return shifted


def _with_told(obj: JsonObject, *, told: JsonObject, observed: str) -> JsonObject:
    before = map_at(obj, "status")
    known = int_at(before, "revision")
    if known > int_at(told, "revision") and known <= int_at(obj, "spec", "revision", default=known):
        return obj  # of an older wish; what was said of none that there ever was stands in nobody's way
    return {**obj, "status": {**told, "observedAt": observed}}


def _stamp(obj: JsonObject) -> Stamp:
    return Stamp(uid_of(obj), Revision(int_at(obj, "spec", "revision")))


def _conditions(*, heard: bool) -> tuple[Condition, Condition]:
    """In KubeFed's words."""
    if heard:
        return (
            Condition(type="Ready", status="True", reason="ClusterReady", message="its session is open"),
            Condition(type="Offline", status="False", reason="ClusterReachable", message="cluster is reachable"),
        )
    return (
        Condition(type="Ready", status="False", reason="ClusterNotReachable", message="it has no session"),
        Condition(type="Offline", status="True", reason="ClusterNotReachable", message="cluster is not reachable"),
    )
