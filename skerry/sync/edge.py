"""The edge's half of a session, without I/O: what to say, what to write, when to give up.

It keeps, in memory, the stamps of everything held (as they will be once all writes handed out are done), the
keys still to be fetched, and what of the outbox is on its way (`upstream`). A crash loses only this: the next
session starts from the store. Two rules carry the promises. *Write, then acknowledge*: an `Ack` is released by
`written` alone. *No going back*: an object is taken only where its revision is newer than the held one, a deletion
only where it is not older; only a new epoch of the cloud voids the revisions held.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from enum import Enum
from itertools import islice
from typing import Final

from skerry.errors import InvalidError, ProtocolError
from skerry.frozen import Frozen
from skerry.objects.blocks import CAPABILITY as BLOCKS
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.spans import Span
from skerry.sync.ages import Chronology
from skerry.sync.effects import BeginLife, CloseLink, EdgeEffect, Send, Welcomed, Write
from skerry.sync.hashes import BUCKETS, bucket_hashes, bucket_of, root_of
from skerry.sync.ports import Instant, Outbox, Reading, SyncSettings
from skerry.sync.priorities import Pace, Priority
from skerry.sync.received import Received
from skerry.sync.streams import Streams
from skerry.sync.tables import Table, check, row
from skerry.sync.upstream import Upstream
from skerry.wire.codec import size_of
from skerry.wire.dictionary import NUMBERS
from skerry.wire.frames import (
    PROTOCOL_VERSIONS,
    Ack,
    Close,
    CloseCode,
    Compare,
    Fetch,
    Frame,
    Hello,
    Objects,
    ObjectState,
    Ping,
    Pong,
    Receipt,
    Reports,
    Stamped,
    Stamps,
    StreamClose,
    StreamCredit,
    StreamData,
    StreamOpen,
    Welcome,
)

UNWRITTEN_MAX: Final = 64
"""Batches received and not yet written: far more than any window; a cloud that exceeds it is broken."""
GATHERED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one batch, all parts, as `size_of` counts."""
UNWRITTEN_BYTES_MAX: Final = 96 * 1024 * 1024
"""Of all batches received and not yet written, with the one that is being gathered: a window of batches that each
are at the limit of a group and end in one more object. The most that a session holds of what the cloud sends."""
STAMPS_MAX: Final = 200_000
"""Entries of one answer of stamps."""
STAMPS_BYTES_MAX: Final = 32 * 1024 * 1024
"""The same in bytes, as `size_of` counts: at the limit of entries there are 160 for each."""
PART_BYTES: Final = 64
"""What a part of a batch or of an answer costs by itself, so that endless empty ones come to an end."""
SERVER_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999: what a date can say."""
PING_HEARTBEATS: Final = 4 / 3
"""Of silence in either direction before the edge asks. Two end the session, so two thirds of one are left for the
answer; the cloud, which hears the question, asks by itself only after one and a half. One exchange shows each side
that the other lives, and is nearly all that an idle link costs: a quarter is saved by not asking after one."""
_UNANSWERED_MAX: Final = 64
"""Pings under way whose time is known; a link on which there are more answers none in useful time."""
HEARTBEAT_S_MAX: Final = 3600.0
"""No cloud can ask for longer silences: a gateway would never notice that its link is half-open."""


class EdgeState(Enum):
    GREETING = "greeting"
    """Hello is said; nothing counts before Welcome."""
    COMPARING = "comparing"
    """Hashes differ; the buckets are told, the stamps awaited."""
    CATCHING_UP = "catching_up"
    """Missing objects are being fetched, or written."""
    IN_STEP = "in_step"
    """All that the cloud named when both were compared last is written, and so is what was pushed before that."""
    CLOSED = "closed"


_S = EdgeState
_OPEN = ("Objects", "Receipt", "Ping", "Pong", "StreamOpen", "StreamData", "StreamCredit", "StreamClose", "written")
TABLE: Final[Table[EdgeState]] = {
    _S.GREETING: row(
        here=_S.GREETING, Welcome=(_S.IN_STEP, _S.COMPARING), Close=_S.CLOSED, deadline=_S.CLOSED, close=_S.CLOSED
    ),
    _S.COMPARING: row(
        *_OPEN,
        here=_S.COMPARING,
        Stamps=(_S.COMPARING, _S.CATCHING_UP, _S.IN_STEP),
        Close=_S.CLOSED,
        deadline=_S.CLOSED,
        close=_S.CLOSED,
    ),
    _S.CATCHING_UP: row(
        *(name for name in _OPEN if name != "written"),
        here=_S.CATCHING_UP,
        written=(_S.CATCHING_UP, _S.IN_STEP),
        Compare=_S.COMPARING,
        Close=_S.CLOSED,
        deadline=_S.CLOSED,
        close=_S.CLOSED,
    ),
    _S.IN_STEP: row(
        *_OPEN, here=_S.IN_STEP, Compare=_S.COMPARING, Close=_S.CLOSED, deadline=_S.CLOSED, close=_S.CLOSED
    ),
    _S.CLOSED: {},
}


class EdgeIdentity(Frozen):
    """What a session says of its side, and what it holds from before."""

    node: str
    agent_version: str
    incarnation: str
    boot_id: str
    epoch: str
    revision: Revision
    capabilities: tuple[str, ...] = ()
    leaving: bool = True
    """It is written that reports may leave; else it has to be before the first one does."""


class _Unwritten(Frozen):
    number: int
    ack: int
    """Batch to acknowledge once written; 0 for a write of our own."""
    size: int
    leaving: bool


class EdgeSession:
    """One session over one link. Make it when the link is open and every earlier write has ended."""

    def __init__(
        self,
        identity: EdgeIdentity,
        stamps: Iterable[tuple[Key, Stamp]],
        outbox: Outbox,
        now: Instant,
        settings: SyncSettings | None = None,
    ) -> None:
        self._identity = identity
        self._held = dict(stamps)
        self._outbox = outbox
        self._settings = settings or SyncSettings()
        self._state = EdgeState.GREETING
        self._effects: list[EdgeEffect] = []
        self.streams = Streams(first=2)
        self._heartbeat_s = self._settings.heartbeat_s
        self._opened_s = self._heard_s = self._progress_s = self._said_s = now.monotonic_s
        self._pace = Pace(self._settings.part_bytes)
        self._cap_bytes_s: int | None = None
        self._pinged_s = now.monotonic_s - PING_HEARTBEATS * self._heartbeat_s
        self._pings = 0
        self._unanswered: dict[int, float] = {}
        """When each ping was sent that may be answered yet, by its number."""
        self.confirmed_s: float | None = None
        """When the newest ping that was answered was sent, monotonic: the cloud heard this side then or later. None:
        none was answered yet."""
        self._compare_s = 0.0
        self._root_due = False
        self._batch = 0
        self._newest = identity.revision
        """Of the cloud's log, as far as it has told objects."""
        self._gathered: list[Objects] = []
        self._gathered_bytes = 0
        self._told: list[Stamped] = []
        self._told_bytes = 0
        self._lacking: deque[Key] = deque()
        self._asked: set[Key] = set()
        self._awaited: int | None = None
        """The write with which this side has caught up; None while something lacks, and when it is done."""
        self._writes = 0
        self._unwritten: deque[_Unwritten] = deque()
        self._unwritten_bytes = 0
        self._upstream = Upstream(outbox, self._settings)
        self._leaving = identity.leaving
        self.session = 0
        """The number the cloud gave; 0 before Welcome."""
        self.peer_is_capped = False
        """The cloud may be held back from sending what this side waits for: that takes its time, and is no fault."""
        self.dictionary = 0
        """What frames are deflated with; 0 before Welcome, and with a peer that knows none."""
        self._send(self._hello(), now)

    @property
    def state(self) -> EdgeState:
        return self._state

    @property
    def settled(self) -> bool:
        """No write is outstanding."""
        return not self._unwritten

    # --- what the shell tells ---

    def receive(self, frame: Frame | None, now: Instant) -> None:
        """A frame came (None: of a kind this version does not know). Bad ones end the session."""
        if self._state is EdgeState.CLOSED:
            return
        self._heard_s = self._progress_s = now.monotonic_s
        if frame is None:
            return
        try:
            if type(frame).__name__ not in TABLE[self._state]:
                raise ProtocolError(f"{type(frame).__name__} while {self._state.value}")
            self._take(frame, now)
        except ProtocolError as error:
            self.close(CloseCode.PROTOCOL, str(error), now)

    def written(self, number: int, now: Instant) -> None:
        """The write of that number is durable: say so."""
        if self._state is EdgeState.CLOSED:
            return
        assert self._unwritten and self._unwritten[0].number == number, "writes end in the order they were asked"
        done = self._unwritten.popleft()
        self._unwritten_bytes -= done.size
        if done.ack:
            self._send(Ack(batch=done.ack), now)
        if done.leaving:
            self._leaving = True
            self._send_reports(now)
        if self._awaited is not None and number >= self._awaited:
            self._in_step("written", now)
        elif self._root_due and self._state is EdgeState.IN_STEP:
            self._tell_root(now)

    def appended(self, now: Instant) -> None:
        """The outbox has something new (or may have)."""
        self._send_reports(now)

    def progressed(self, at_s: float) -> None:
        """Bytes came last at this time (monotonic), though perhaps no whole frame: a large one takes long on a slow
        link, and is no silence."""
        self._progress_s = max(self._progress_s, at_s)

    def sent(self, size: int, took_s: float) -> None:
        """The link took a frame of this many bytes in this time."""
        self._pace.sent(size, took_s=took_s, heartbeat_s=self._heartbeat_s)
        self.streams.chunks.sent(size, took_s)

    def capped(self, bytes_s: int | None) -> None:
        """The link may carry so many bytes in a second towards the cloud; None: all that it can."""
        self._cap_bytes_s = bytes_s
        self._pace.capped(bytes_s, heartbeat_s=self._heartbeat_s)

    def tick(self, now: Instant) -> None:
        """Time passed; call it at `deadline()` at the latest. Calling it early does nothing."""
        at = now.monotonic_s
        if self._state is EdgeState.CLOSED:
            return
        if self._state is EdgeState.GREETING:
            if at >= self._opened_s + self._settings.greeting_s_max:
                self._end("deadline", CloseLink(code=CloseCode.SILENT, reason="no Welcome came"))
            return
        if at >= self._progress_s + 2 * self._heartbeat_s:
            self._end("deadline", CloseLink(code=CloseCode.SILENT, reason="nothing heard for two heartbeats"))
            return
        if at >= self._ping_s():
            self._ping(now)
        if at >= self._compare_s:
            if self._state is EdgeState.IN_STEP:
                self._tell_root(now)
            elif self.peer_is_capped:
                self._compare_s = at + self._settings.compare_s
            else:
                self.close(CloseCode.FAILED, "catching up makes no progress", now)
        rested_s = self._upstream.deadline()
        if rested_s is not None and at >= rested_s:
            self._send_reports(now)

    def ask(self, now: Instant) -> None:
        """Whether the cloud is there: `confirmed_s` tells, once it has answered."""
        if self._state not in (EdgeState.GREETING, EdgeState.CLOSED):
            self._ping(now)

    def _ping(self, now: Instant) -> None:
        self._pings += 1
        self._pinged_s = self._unanswered[self._pings] = now.monotonic_s
        if len(self._unanswered) > _UNANSWERED_MAX:
            del self._unanswered[min(self._unanswered)]
        self._send(Ping(number=self._pings), now)

    def deadline(self) -> float | None:
        """When `tick` must be called next, monotonic seconds; None when closed."""
        if self._state is EdgeState.CLOSED:
            return None
        if self._state is EdgeState.GREETING:
            return self._opened_s + self._settings.greeting_s_max
        rested_s = self._upstream.deadline()
        waits = (self._ping_s(), self._progress_s + 2 * self._heartbeat_s, self._compare_s)
        return min(waits) if rested_s is None else min(*waits, rested_s)

    def close(self, code: int, reason: str, now: Instant) -> None:
        """End the session from this side."""
        if self._state is not EdgeState.CLOSED:
            self._send(Close(code=code, reason=reason[:1000]), now)
            self._end("close", CloseLink(code=code, reason=reason))

    def refuse(self, reason: str, now: Instant) -> None:
        """What came is no frame."""
        self.close(CloseCode.PROTOCOL, reason, now)

    def lost(self, reason: str) -> None:
        """The link is gone."""
        if self._state is not EdgeState.CLOSED:
            self._end("close", CloseLink(code=CloseCode.FAILED, reason=reason))

    def effects(self) -> list[EdgeEffect]:
        """What is to be done now, in order."""
        self._effects += self.streams.effects()
        taken, self._effects = self._effects, []
        return taken

    def idle_frame(self) -> Frame | None:
        """What may be sent when everything else is: streams come after state."""
        return self.streams.next_frame() if self._state not in (EdgeState.GREETING, EdgeState.CLOSED) else None

    def idle_priority(self) -> Priority | None:
        """The class of what `idle_frame` would give; None for nothing."""
        is_open = self._state not in (EdgeState.GREETING, EdgeState.CLOSED)
        return Priority.STREAMS if is_open and self.streams.waiting else None

    # --- frames ---

    def _take(self, frame: Frame, now: Instant) -> None:
        match frame:
            case Welcome():
                self._welcomed(frame, now)
            case Compare():
                self._tell_buckets("Compare", now)
            case Stamps():
                self._stamped(frame, now)
            case Objects():
                self._objects(frame, now)
            case Receipt():
                self._receipt(frame, now)
            case Ping():
                self._send(Pong(number=frame.number), now)
            case Close():
                retry_s = frame.retry_after_ms / 1000
                self._end(
                    "Close", CloseLink(code=frame.code, reason=frame.reason, by_peer=True, retry_after_s=retry_s)
                )
            case StreamOpen() | StreamData() | StreamCredit() | StreamClose():
                self.streams.receive(frame)
            case Pong():  # it counts by having been heard
                sent_s = self._unanswered.get(frame.number)
                if sent_s is not None:
                    self.confirmed_s = sent_s
                    self._unanswered = {n: at for n, at in self._unanswered.items() if n > frame.number}
            case Hello() | Fetch() | Ack() | Reports():
                pass  # they are in no row of the table

    def _welcomed(self, frame: Welcome, now: Instant) -> None:
        same_epoch = frame.epoch == self._identity.epoch
        if frame.version not in PROTOCOL_VERSIONS:
            raise ProtocolError(f"version {frame.version} was not offered")
        if frame.in_step and not same_epoch:
            raise ProtocolError("in step across epochs")
        if same_epoch and frame.revision < self._identity.revision:
            raise ProtocolError(f"the cloud is at revision {frame.revision}, behind {self._identity.revision}")
        if frame.server_ms > SERVER_MS_MAX:
            raise ProtocolError(f"the cloud's clock reads {frame.server_ms} ms, after the year 9999")
        received = self._received(frame)
        left = max(self._outbox.outbox_left(), frame.common)
        if received.top > left:
            self._begin_life(received, left, now)
            return
        self._outbox.note_sent(received.top)  # by this store, or by a copy in what is this one's past, too
        if frame.dictionary not in (0, *NUMBERS):
            raise ProtocolError(f"dictionary {frame.dictionary} was not offered")
        self.dictionary = frame.dictionary
        self.session = frame.session
        reading = Reading(
            said_ms=math.floor(self._opened_s * 1000),
            heard_ms=math.ceil(now.monotonic_s * 1000),
            server_ms=frame.server_ms,
        )
        self._effects.append(
            Welcomed(session=frame.session, server_ms=frame.server_ms, in_step=frame.in_step, reading=reading)
        )
        self._heartbeat_s = min(max(1.0, frame.heartbeat_ms / 1000), HEARTBEAT_S_MAX)
        self.capped(self._cap_bytes_s)
        self._pinged_s = now.monotonic_s - PING_HEARTBEATS * self._heartbeat_s
        self._compare_s = now.monotonic_s + self._settings.compare_s
        if not same_epoch:
            self._held = {key: Stamp(stamp.uid, Revision(0)) for key, stamp in self._held.items()}
            self._write(Write(number=0, epoch=frame.epoch, revision=Revision(0), void=True))
        chronology = Chronology(self._outbox.boots(), self._identity.boot_id, reading)
        blocks = BLOCKS in frame.capabilities
        self._effects += self._upstream.welcomed(frame.version, received, chronology, blocks=blocks)
        if not self._leaving:
            self._write(Write(number=0, leaving=True))
        if frame.in_step:
            self._enter("Welcome", EdgeState.IN_STEP)
        else:
            self._tell_buckets("Welcome", now)
        self._send_reports(now)

    def _tell_buckets(self, cause: str, now: Instant) -> None:
        self._compare_s = now.monotonic_s + self._settings.compare_s
        self._told, self._told_bytes, self._asked, self._awaited = [], 0, set(), None
        self._lacking.clear()
        self._enter(cause, EdgeState.COMPARING)
        buckets = bucket_hashes(self._held.items())
        self._send(Compare(batch=self._batch, root=root_of(buckets), buckets=buckets), now)

    def _tell_root(self, now: Instant) -> None:
        """A root is as good as an acknowledgement, so it waits until everything behind it is written."""
        self._compare_s = now.monotonic_s + self._settings.compare_s
        self._root_due = bool(self._unwritten)
        if self._root_due:
            return
        self._send(Compare(batch=self._batch, root=root_of(bucket_hashes(self._held.items()))), now)

    def _stamped(self, frame: Stamps, now: Instant) -> None:
        self._told_bytes += PART_BYTES + sum(size_of(entry) for entry in frame.entries)
        if len(self._told) + len(frame.entries) > STAMPS_MAX or self._told_bytes > STAMPS_BYTES_MAX:
            raise ProtocolError(f"more than {STAMPS_MAX} stamps or {STAMPS_BYTES_MAX} bytes of them")
        self._told += frame.entries
        self._compare_s = now.monotonic_s + self._settings.compare_s
        if frame.more:
            return
        entries, self._told, self._told_bytes = self._told, [], 0
        buckets = set(frame.buckets)
        wanted = {entry.key for entry in entries}
        self._doubt(max(frame.revision, self._newest))
        surplus = tuple(
            key
            for key, stamp in self._held.items()
            if key not in wanted and stamp.revision <= frame.revision and bucket_of(key) in buckets
        )
        if surplus:
            for key in surplus:
                del self._held[key]
            self._write(Write(number=0, deletes=surplus, revision=frame.revision))
        self._lacking.extend(entry.key for entry in entries if self._lacks(entry.key, entry.stamp))
        self._fetch("Stamps", now)

    def _doubt(self, newest: Revision) -> None:
        """A revision beyond everything that this cloud has said in its epoch was never told: the row is damaged. It
        counts as void, so that what the cloud has takes its place."""
        for key, stamp in self._held.items():
            if stamp.revision > newest:
                self._held[key] = Stamp(stamp.uid, Revision(0))

    def _lacks(self, key: Key, stamp: Stamp) -> bool:
        held = self._held.get(key)
        return held is None or held.revision < stamp.revision

    def _fetch(self, cause: str, now: Instant) -> None:
        """Ask for what there is room for. When nothing lacks, what has come is still to be written."""
        room = self._settings.fetch_keys - len(self._asked)
        if self._lacking and room >= self._settings.fetch_keys // 2:
            keys = tuple(islice(self._lacking, room))
            for _ in keys:
                self._lacking.popleft()
            self._asked.update(keys)
            self._send(Fetch(keys=keys), now)
        if not self._asked and not self._unwritten:
            self._in_step(cause, now)
            return
        if self._state is not EdgeState.CATCHING_UP:
            self._enter(cause, EdgeState.CATCHING_UP)
        if not self._asked and self._awaited is None:
            self._awaited = self._writes

    def _in_step(self, cause: str, now: Instant) -> None:
        self._awaited = None
        self._enter(cause, EdgeState.IN_STEP)
        self._tell_root(now)

    def _objects(self, frame: Objects, now: Instant) -> None:
        if frame.batch != self._batch + 1 or len(self._unwritten) >= UNWRITTEN_MAX:
            raise ProtocolError(f"batch {frame.batch} after {self._batch} with {len(self._unwritten)} unwritten")
        self._gathered.append(frame)
        size = PART_BYTES + sum(size_of(put) for put in frame.puts) + sum(size_of(key) for key in frame.deletes)
        self._gathered_bytes += size
        if self._gathered_bytes > GATHERED_BYTES_MAX:
            raise ProtocolError(f"a batch of more than {GATHERED_BYTES_MAX} bytes")
        if self._gathered_bytes + self._unwritten_bytes > UNWRITTEN_BYTES_MAX:
            raise ProtocolError(f"more than {UNWRITTEN_BYTES_MAX} bytes without an acknowledgement")
        if frame.more:
            return
        parts, self._gathered = self._gathered, []
        size, self._gathered_bytes = self._gathered_bytes, 0
        self._batch = frame.batch
        self._newest = max(self._newest, frame.revision)
        puts = tuple(put for part in parts for put in part.puts)
        deletes = tuple(key for part in parts for key in part.deletes)
        self._write(self._accepted(puts, deletes, frame.revision), ack=frame.batch, size=size)
        if self._state is EdgeState.CATCHING_UP:
            self._compare_s = now.monotonic_s + self._settings.compare_s
            self._asked.difference_update(deletes)
            self._asked.difference_update(put.key for put in puts)
            self._fetch("Objects", now)

    def _accepted(self, puts: tuple[ObjectState, ...], deletes: tuple[Key, ...], revision: Revision) -> Write:
        """What of a batch is newer than what is held."""
        newer: dict[Key, ObjectState] = {}
        for put in puts:
            if self._lacks(put.key, put.stamp):
                newer[put.key] = put
                self._held[put.key] = put.stamp
        gone = tuple(
            key
            for key in dict.fromkeys(deletes)
            if key not in newer and key in self._held and self._held[key].revision <= revision
        )
        for key in gone:
            del self._held[key]
        return Write(number=0, puts=tuple(newer.values()), deletes=gone, revision=revision)

    def _receipt(self, frame: Receipt, now: Instant) -> None:
        self._effects.append(self._upstream.receipt(frame))
        self._send_reports(now)

    # --- the outbox ---

    def _send_reports(self, now: Instant) -> None:
        if self._state in (EdgeState.GREETING, EdgeState.CLOSED) or not self._leaving:
            return
        for frame in self._upstream.frames(now, self._pace.part_bytes):
            self._outbox.note_sent(max(frame.through, frame.reports[-1].seq if frame.reports else 0))
            self._send(frame, now)

    def _received(self, frame: Welcome) -> Received:
        """What the cloud has of the outbox, checked against what was ever given out."""
        try:
            received = Received.told(frame.received, frame.lanes)
        except InvalidError as error:
            raise ProtocolError(str(error)) from error
        return received

    def _begin_life(self, received: Received, left: int, now: Instant) -> None:
        """The cloud has what is not this store's past: it is an older copy, of a card or of a machine's memory. Up to
        `left` numbers mean the same on both; beyond, the same numbers are other reports."""
        common = tuple(
            (lane, Span(span.first, min(span.through, left)))
            for lane, spans in enumerate(received.lanes)
            for span in spans.spans
            if span.first <= left
        )
        why = f"the cloud has report {received.top}, and this store's past ends with {left}: it is an older copy"
        self._effects.append(BeginLife(settled=common))
        self.close(CloseCode.FAILED, f"{why}, and begins a new life", now)

    # --- small things ---

    def _hello(self) -> Hello:
        return Hello(
            versions=PROTOCOL_VERSIONS,
            node=self._identity.node,
            agent_version=self._identity.agent_version,
            incarnation=self._identity.incarnation,
            epoch=self._identity.epoch,
            revision=self._identity.revision,
            root=root_of(bucket_hashes(self._held.items())),
            outbox_head=self._outbox.outbox_head(),
            capabilities=self._identity.capabilities,
            dictionaries=NUMBERS,
            starts=() if self._leaving else tuple(self._outbox.outbox_starts()),
        )

    def _write(self, write: Write, *, ack: int = 0, size: int = 0) -> None:
        self._writes += 1
        self._unwritten.append(_Unwritten(number=self._writes, ack=ack, size=size, leaving=write.leaving))
        self._unwritten_bytes += size
        self._effects.append(
            Write(
                number=self._writes,
                puts=write.puts,
                deletes=write.deletes,
                epoch=write.epoch,
                revision=write.revision,
                leaving=write.leaving,
                void=write.void,
            )
        )

    def _ping_s(self) -> float:
        """A ping is due when either direction was quiet for long, and the last ping is as old."""
        return max(min(self._heard_s, self._said_s), self._pinged_s) + PING_HEARTBEATS * self._heartbeat_s

    def _send(self, frame: Frame, now: Instant) -> None:
        self._said_s = now.monotonic_s
        self._effects.append(Send(frame=frame))

    def _enter(self, cause: str, state: EdgeState) -> None:
        check(TABLE, self._state, cause, state)
        self._state = state

    def _end(self, cause: str, how: CloseLink) -> None:
        self._enter(cause, EdgeState.CLOSED)
        self._gathered.clear()
        self._told.clear()
        self._lacking.clear()
        self.streams.end_all(how.reason)
        self._effects += self.streams.effects()
        self._effects.append(how)


assert BUCKETS == 64, "Compare carries 64 buckets"
