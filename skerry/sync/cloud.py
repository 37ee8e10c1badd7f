"""The cloud's half of a session, without I/O: what one edge lacks, what it may send, when it is gone.

It keeps, in memory, the keys that still have to be pushed, the numbers of unacknowledged batches and the
reports that wait for a commit (`intake`). Nothing about delivery of objects is stored: after a crash of either side
the hashes are compared again. Two rules carry the promises: a `Receipt` is released by `committed` alone, and while
the edge's buckets are being compared nothing is pushed, so that hashes are always of the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.blocks import CAPABILITY as BLOCKS
from skerry.objects.meta import Key, Revision
from skerry.sync.batches import next_contents, object_frames, stamp_frames
from skerry.sync.effects import Admit, CloseLink, CloudEffect, Heard, Send, Settled
from skerry.sync.hashes import BUCKETS, bucket_hashes, root_of
from skerry.sync.intake import Intake
from skerry.sync.ports import Instant, SyncSettings, View
from skerry.sync.priorities import Pace, Priority
from skerry.sync.queue import PushQueue
from skerry.sync.received import Received
from skerry.sync.streams import Streams
from skerry.sync.tables import Table, check, row
from skerry.wire.dictionary import agreed
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
    Ping,
    Pong,
    Receipt,
    Reports,
    Stamps,
    StreamClose,
    StreamCredit,
    StreamData,
    StreamOpen,
    Welcome,
)


class CloudState(Enum):
    WAITING = "waiting"
    """For Hello."""
    ADMITTING = "admitting"
    """The shell is finding out who this is."""
    BEHIND = "behind"
    """This replica's view is older than what the edge has acted on."""
    COMPARING = "comparing"
    """The edge's buckets are awaited; pushes wait."""
    CATCHING_UP = "catching_up"
    IN_STEP = "in_step"
    CLOSED = "closed"


_S = CloudState
_ENDS = {"Close": _S.CLOSED, "deadline": _S.CLOSED, "close": _S.CLOSED}
_OPEN = ("Ack", "Reports", "Ping", "Pong", "StreamOpen", "StreamData", "StreamCredit", "StreamClose")
TABLE: Final[Table[CloudState]] = {
    _S.WAITING: row(here=_S.WAITING, Hello=_S.ADMITTING, **_ENDS),
    _S.ADMITTING: row(here=_S.ADMITTING, admitted=(_S.BEHIND, _S.COMPARING, _S.IN_STEP), **_ENDS),
    _S.BEHIND: row(here=_S.BEHIND, changed=(_S.COMPARING, _S.IN_STEP), **_ENDS),
    _S.COMPARING: row(*_OPEN, here=_S.COMPARING, Compare=(_S.COMPARING, _S.CATCHING_UP), **_ENDS),
    _S.CATCHING_UP: row(
        *_OPEN, "Fetch", here=_S.CATCHING_UP, Compare=(_S.CATCHING_UP, _S.IN_STEP, _S.COMPARING), **_ENDS
    ),
    _S.IN_STEP: row(*_OPEN, here=_S.IN_STEP, Compare=(_S.IN_STEP, _S.COMPARING), **_ENDS),
    _S.CLOSED: {},
}


class Admission(Frozen):
    """What the shell found out about the edge that said hello."""

    view: View
    epoch: str
    session: int
    """Larger than any earlier session's of this edge."""
    received: Received
    """What took effect of the outbox whose incarnation is in Hello."""
    common: int = 0
    """Up to which that is the past of the store that said Hello (`skerry.sync.starts`); 0 for as far as it sent."""


class CloudSession:
    """One session over one link, from the moment the link is open."""

    def __init__(self, now: Instant, settings: SyncSettings | None = None) -> None:
        self._settings = settings or SyncSettings()
        self._state = CloudState.WAITING
        self._effects: list[CloudEffect] = []
        self.streams = Streams(first=1)
        self._opened_s = self._heard_s = self._progress_s = self._pinged_s = now.monotonic_s
        self._pings = 0
        self._pace = Pace(self._settings.part_bytes)
        self._is_capped = False
        self._is_heard = False
        """Since Welcome."""
        self._hello: Hello | None = None
        self._admission: Admission | None = None
        self._queue = PushQueue()
        self._parts: Iterator[Objects] | Iterator[Stamps] | None = None
        """What is left of an answer of stamps or of the batch of number `_batch`."""
        self._parts_urgent = False
        """They hold up what is urgent, or are it."""
        self._batch = 0
        self._acked = 0
        self._asked_s = float("-inf")
        self._intake: Intake | None = None
        self.dictionary = 0
        """What frames are deflated with, once the edge has said what it knows; 0 for none."""
        self._root: tuple[Revision, int] | None = None

    @property
    def state(self) -> CloudState:
        return self._state

    @property
    def heard_s(self) -> float:
        """When something was heard of the edge last, monotonic seconds; at first, when the link opened."""
        return self._progress_s

    @property
    def open(self) -> bool:
        """Welcomed and not ended."""
        return self._state in (CloudState.COMPARING, CloudState.CATCHING_UP, CloudState.IN_STEP)

    @property
    def unacknowledged(self) -> int:
        """Batches on their way."""
        return self._batch - self._acked

    @property
    def waiting(self) -> int:
        """Objects in the push queue."""
        return len(self._queue)

    # --- what the shell tells ---

    def receive(self, frame: Frame | None, now: Instant) -> None:
        """A frame came (None: of a kind this version does not know). Bad ones end the session."""
        if self._state is CloudState.CLOSED:
            return
        self._heard_s = self._progress_s = now.monotonic_s
        was_open = self.open
        if frame is not None:
            try:
                if type(frame).__name__ not in TABLE[self._state]:
                    raise ProtocolError(f"{type(frame).__name__} while {self._state.value}")
                self._take(frame, now)
            except ProtocolError as error:
                self.close(CloseCode.PROTOCOL, str(error))
        if was_open and self.open and not self._is_heard:
            self._is_heard = True
            self._effects.append(Heard())

    def ask(self, now: Instant) -> None:
        """Have the edge say something now, where it has nothing to say of its own: one that is in step is silent for
        more than a heartbeat."""
        if self._state is CloudState.IN_STEP and not self._is_heard:
            self._ping(now.monotonic_s)

    def admitted(self, admission: Admission, now: Instant) -> None:
        """The answer to `Admit`."""
        if self._state is not CloudState.ADMITTING:
            return
        assert self._hello is not None, "somebody is admitted after Hello"
        self._admission = admission
        self._intake = Intake(self._version(self._hello), admission.received)
        self._opened_s = now.monotonic_s
        if self._is_behind():
            self._enter("admitted", CloudState.BEHIND)
        else:
            self._welcome("admitted", now)

    def changed(self, keys: Iterable[Key], now: Instant) -> None:
        """The view changed, by these keys (none: only its revision moved). Call it after the view says so."""
        if self._state is CloudState.BEHIND:
            if not self._is_behind():
                self._welcome("changed", now)
        elif self.open:
            self._queue.add(keys, self._greeting()[1].view.prompt)

    def committed(self) -> None:
        """The commit is durable: say so."""
        assert self._intake is not None, "reports come after Welcome"
        receipts = self._intake.committed()
        if self._state is CloudState.CLOSED:
            return
        for receipt in receipts:
            self._send(receipt)
        self._commit()

    def progressed(self, at_s: float) -> None:
        """Bytes came last at this time (monotonic), though perhaps no whole frame: a large one takes long on a slow
        link, and is no silence."""
        self._progress_s = max(self._progress_s, at_s)

    def sent(self, size: int, took_s: float) -> None:
        """The link took a frame of this many bytes in this time."""
        self._pace.sent(size, took_s=took_s, heartbeat_s=self._settings.heartbeat_s)
        self.streams.chunks.sent(size, took_s)

    def capped(self, bytes_s: int | None) -> None:
        """The link may carry so many bytes in a second towards the edge; None: all that it can."""
        self._is_capped = bytes_s is not None
        self._pace.capped(bytes_s, heartbeat_s=self._settings.heartbeat_s)

    def tick(self, now: Instant) -> None:
        """Time passed; call it at `deadline()` at the latest. Calling it early does nothing."""
        at = now.monotonic_s
        if not self.open:
            if self._state is CloudState.BEHIND and at >= self._opened_s + self._settings.behind_s_max:
                self.close(CloseCode.BUSY, "this replica is behind what the node has seen", retry_after_s=2)
            elif self._state is not CloudState.CLOSED and at >= self._opened_s + self._settings.greeting_s_max:
                self._end("deadline", CloseLink(code=CloseCode.SILENT, reason="no greeting in time"))
            return
        if at >= self._silence_s():
            self._end("deadline", CloseLink(code=CloseCode.SILENT, reason="nothing heard for two heartbeats"))
        elif at >= self._ping_s():
            self._ping(at)

    def deadline(self) -> float | None:
        """When `tick` must be called next, monotonic seconds; None when closed."""
        if self._state is CloudState.CLOSED:
            return None
        if self._state is CloudState.BEHIND:
            return self._opened_s + self._settings.behind_s_max
        if not self.open:
            return self._opened_s + self._settings.greeting_s_max
        return min(self._ping_s(), self._silence_s())

    def close(self, code: int, reason: str, *, retry_after_s: float = 0.0) -> None:
        """End the session from this side; the edge may come back after `retry_after_s`."""
        if self._state is not CloudState.CLOSED:
            self._send(Close(code=code, reason=reason[:1000], retry_after_ms=round(retry_after_s * 1000)))
            self._end("close", CloseLink(code=code, reason=reason))

    def refuse(self, reason: str, now: Instant) -> None:
        """What came is no frame."""
        self._heard_s = now.monotonic_s
        self.close(CloseCode.PROTOCOL, reason)

    def lost(self, reason: str) -> None:
        """The link is gone."""
        if self._state is not CloudState.CLOSED:
            self._end("close", CloseLink(code=CloseCode.FAILED, reason=reason))

    def effects(self) -> list[CloudEffect]:
        """What is to be done now, in order."""
        self._effects += self.streams.effects()
        taken, self._effects = self._effects, []
        return taken

    def idle_frame(self) -> Frame | None:
        """What may be sent when everything in `effects` is: the view, and after it streams.

        Made only when the link has room, so that what waits is a set of keys and not megabytes of frames, an object
        goes out in its newest form, and a prompt one goes before what came earlier.
        """
        if not self.open:
            return None
        if self._parts is None:
            self._next_batch()
        if self._parts is not None:
            part = next(self._parts)
            if not part.more:
                self._parts = None
            return part
        return self.streams.next_frame()

    def idle_priority(self) -> Priority | None:
        """The class of what `idle_frame` would give; None for nothing.

        What a prompt object waits behind is as urgent as itself, and so are stamps: nothing is pushed before them.
        """
        if not self.open:
            return None
        begins = self._parts is None and self._may_begin()
        if self._parts is not None or begins:
            urgent = self._queue.prompt or (self._parts is not None and self._parts_urgent)
            return Priority.PROMPT if urgent else Priority.OBJECTS
        return Priority.STREAMS if self.streams.waiting else None

    # --- frames ---

    def _take(self, frame: Frame, now: Instant) -> None:
        match frame:
            case Hello():
                self._greeted(frame)
            case Compare():
                self._compare(frame, now)
            case Fetch():
                self._fetch(frame)
            case Ack():
                self._acknowledged(frame)
            case Reports():
                self._reports(frame, now)
            case Ping():
                self._send(Pong(number=frame.number))
            case Close():
                retry_s = frame.retry_after_ms / 1000
                self._end(
                    "Close", CloseLink(code=frame.code, reason=frame.reason, by_peer=True, retry_after_s=retry_s)
                )
            case StreamOpen() | StreamData() | StreamCredit() | StreamClose():
                self.streams.receive(frame)
            case Welcome() | Stamps() | Objects() | Receipt() | Pong():
                pass  # Pong counts by having been heard; the others are in no row of the table

    def _greeted(self, hello: Hello) -> None:
        if not set(hello.versions) & set(PROTOCOL_VERSIONS):
            raise ProtocolError(f"no common version: {hello.versions} here {PROTOCOL_VERSIONS}")
        self._hello = hello
        self.dictionary = agreed(hello.dictionaries)
        self._enter("Hello", CloudState.ADMITTING)
        self._effects.append(Admit(hello=hello))

    def _is_behind(self) -> bool:
        hello, admission = self._greeting()
        return hello.epoch == admission.epoch and admission.view.revision < hello.revision

    def _welcome(self, cause: str, now: Instant) -> None:
        hello, admission = self._greeting()
        same_root = hello.root == self._root_of_view()
        in_step = same_root and hello.epoch == admission.epoch
        version = self._version(hello)
        self._pinged_s = now.monotonic_s
        self._enter(cause, CloudState.IN_STEP if in_step else CloudState.COMPARING)
        self._asked_s = now.monotonic_s
        self._send(
            Welcome(
                version=version,
                session=admission.session,
                server_ms=now.wall_ms,
                heartbeat_ms=round(self._settings.heartbeat_s * 1000),
                epoch=admission.epoch,
                revision=admission.view.revision,
                received=admission.received.unbroken,
                in_step=in_step,
                lanes=admission.received.beyond if version >= 2 else (),
                dictionary=self.dictionary,
                common=admission.common,
                capabilities=(BLOCKS,) if version >= 2 else (),
            )
        )

    def _compare(self, frame: Compare, now: Instant) -> None:
        if frame.batch > self._batch:
            raise ProtocolError(f"compares after batch {frame.batch}, which was not sent")
        if frame.buckets:
            self._tell_stamps(frame)
        elif self._state is not CloudState.COMPARING:
            self._compare_root(frame, now)

    def _tell_stamps(self, frame: Compare) -> None:
        if self._state is not CloudState.COMPARING or len(frame.buckets) != BUCKETS:
            raise ProtocolError("all 64 buckets are told once, when asked for")
        view = self._greeting()[1].view
        mine = bucket_hashes(view.stamps())
        stale = tuple(number for number in range(BUCKETS) if mine[number] != frame.buckets[number])
        self._parts, self._parts_urgent = stamp_frames(view, stale, self._pace.part_bytes), True
        self._queue.clear()  # whatever waited is in a stale bucket, and in the stamps in its newest form
        self._enter("Compare", CloudState.CATCHING_UP)

    def _compare_root(self, frame: Compare, now: Instant) -> None:
        """Compare what both mean by now. With pushes on their way there is nothing to compare: next time."""
        comparable = frame.batch == self._batch and not self._queue and self._parts is None
        mine = self._root_of_view() if comparable else frame.root
        if mine == frame.root:
            self._enter("Compare", CloudState.IN_STEP)
        elif now.monotonic_s >= self._asked_s + self._settings.compare_s_min:
            self._asked_s = now.monotonic_s
            self._enter("Compare", CloudState.COMPARING)
            self._send(Compare())

    def _fetch(self, frame: Fetch) -> None:
        if len(self._queue) + len(frame.keys) > self._settings.fetch_keys * 16 and not self._known(frame.keys):
            raise ProtocolError("fetches more than it may hold")
        self._queue.add(frame.keys, self._greeting()[1].view.prompt)

    def _known(self, keys: tuple[Key, ...]) -> bool:
        """Keys of the view, which bounds the queue by itself."""
        view = self._greeting()[1].view
        return all(view.state(key) is not None for key in keys)

    def _acknowledged(self, frame: Ack) -> None:
        if not self._acked <= frame.batch <= self._batch:
            raise ProtocolError(f"acknowledges batch {frame.batch} of {self._acked}..{self._batch}")
        self._acked = frame.batch

    def _next_batch(self) -> None:
        """Begin the next batch, where there is one and the window has room for it."""
        if not self._may_begin():
            return
        self._parts_urgent = self._queue.prompt
        view, part_bytes = self._greeting()[1].view, self._pace.part_bytes
        batch_bytes = min(self._settings.batch_bytes, 2 * part_bytes)
        if self._is_capped and self._parts_urgent:
            batch_bytes = 1  # what is urgent takes nothing along that is not
        contents = next_contents(self._queue, view, self._settings, batch_bytes=batch_bytes)
        self._batch += 1
        self._parts = object_frames(self._batch, view.revision, contents, part_bytes, view.secret)

    def _may_begin(self) -> bool:
        room = self.unacknowledged < self._settings.window_batches
        return bool(self._queue) and room and self._state is not CloudState.COMPARING

    # --- reports ---

    def _reports(self, frame: Reports, now: Instant) -> None:
        assert self._intake is not None, "the table takes reports after Welcome"
        self._intake.take(frame, now)
        self._commit()

    def _commit(self) -> None:
        hello, _ = self._greeting()
        assert self._intake is not None, "nothing is committed before Welcome"
        commit = self._intake.commit(hello.incarnation)
        if commit is not None:
            self._effects.append(commit)

    # --- small things ---

    def _root_of_view(self) -> int:
        """Of the view as it is, worked out once for each of its revisions: an edge may ask as often as it likes."""
        view = self._greeting()[1].view
        if self._root is None or self._root[0] != view.revision:
            self._root = view.revision, root_of(bucket_hashes(view.stamps()))
        return self._root[1]

    @staticmethod
    def _version(hello: Hello) -> int:
        """The best that both speak; `Hello` was checked to have one."""
        return max(set(hello.versions) & set(PROTOCOL_VERSIONS))

    def _greeting(self) -> tuple[Hello, Admission]:
        assert self._hello is not None, "nothing happens before Hello"
        assert self._admission is not None, "nothing happens before the edge is admitted"
        return self._hello, self._admission

    def _ping(self, at_s: float) -> None:
        self._pings += 1
        self._pinged_s = at_s
        self._send(Ping(number=self._pings))

    def _ping_s(self) -> float:
        """The edge asks after one and a third (version 1: after one); one and a half without a word are worth a
        question of our own."""
        return max(self._heard_s, self._pinged_s) + 1.5 * self._settings.heartbeat_s

    def _silence_s(self) -> float:
        return self._progress_s + 2 * self._settings.heartbeat_s

    def _send(self, frame: Frame) -> None:
        self._effects.append(Send(frame=frame))

    def _enter(self, cause: str, state: CloudState) -> None:
        check(TABLE, self._state, cause, state)
        if state is CloudState.IN_STEP and self._state is not state:
            self._effects.append(Settled())
        self._state = state

    def _end(self, cause: str, how: CloseLink) -> None:
        self._enter(cause, CloudState.CLOSED)
        self._queue.clear()
        self._parts = None
        if self._intake is not None:
            self._intake.drop()
        self.streams.end_all(how.reason)
        self._effects += self.streams.effects()
        self._effects.append(how)
