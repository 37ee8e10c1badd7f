"""The edge's half of the reports of one session, without I/O: what to send next, and what a receipt lets go.

Three channels, each with a window of its own: *prompt* (its lane, in order), *live* (what is written to the bulk
lane from now on) and the *backlog* (what the bulk lane held before, oldest first), which is sent when the other two
have nothing, or have sent much, and no faster than its rate. It keeps only what is on its way; a crash loses that,
and the next session is told what has arrived. To a version 1 cloud there is one channel with everything in order.

A block of readings travels as it lies in the outbox, to a cloud that unpacks blocks; any other is told each reading
alone. Either way each has its own number, so that what was told in part goes on from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.blocks import TELEMETRY_BLOCK, Reading, count_of, decode_block, part_of
from skerry.objects.spans import Span
from skerry.objects.twins import encode_telemetry
from skerry.sync.ages import Chronology
from skerry.sync.effects import Prune
from skerry.sync.ports import Instant, Outbox, OutboxItem, SyncSettings
from skerry.sync.received import Received
from skerry.wire.codec import size_of
from skerry.wire.frames import BULK, PROMPT, SPANS_MAX, Receipt, Report, Reports

REPORT_BODY_MAX: Final = 1024 * 1024
"""A larger report can't travel; a short one says so in its place."""
JUMP_SPANS_MAX: Final = SPANS_MAX - 4
"""With more spans than this received, live telemetry waits behind the backlog: it would open one more."""
WRITE_S: Final = 0.1
"""Until what a write had hold of is asked for again, where nobody says that it has ended."""
PASSED_MAX: Final = 32
"""So many frames of what is urgent go while the backlog waits for room in their windows; then a frame of the backlog
does. On a long way to the cloud the windows of who reads all the time are never open, and the link has room."""
BURST_S: Final = 8.0
"""Seconds of the backlog's rate that may be sent at once: a short outage is made up for without waiting."""


class _Part(Frozen):
    """A block, a part of it, or a reading of it: an `OutboxItem`."""

    seq: int
    kind: str
    key: str
    body: bytes
    wall_ms: int
    boot_id: str
    monotonic_ms: int

    @classmethod
    def of(cls, item: OutboxItem, *, seq: int, body: bytes) -> _Part:
        return cls(
            seq=seq,
            kind=item.kind,
            key=item.key,
            body=body,
            wall_ms=item.wall_ms,
            boot_id=item.boot_id,
            monotonic_ms=item.monotonic_ms,
        )

    @classmethod
    def alone(cls, item: OutboxItem, seq: int, reading: Reading) -> _Part:
        return cls(
            seq=seq,
            kind="telemetry",
            key=reading.series,
            body=encode_telemetry(reading.telemetry()),
            wall_ms=item.wall_ms - reading.ago_ms,
            boot_id=item.boot_id,
            monotonic_ms=item.monotonic_ms - reading.ago_ms,
        )


@dataclass(slots=True, kw_only=True)
class _Channel:
    """One stretch of the outbox being sent."""

    lane: int | None
    """None: all, to a version 1 cloud."""
    next: int
    """The lowest number not yet accounted for."""
    window: int
    """Frames that may lack a receipt."""
    until: int | None = None
    """The last number to account for; None: whatever comes."""
    late: bool = False
    in_flight: deque[Span] = field(default_factory=deque[Span])

    @property
    def full(self) -> bool:
        return len(self.in_flight) >= self.window


class Upstream:
    """See the module. Nothing is sent before `welcomed`."""

    def __init__(self, outbox: Outbox, settings: SyncSettings) -> None:
        self._outbox = outbox
        self._settings = settings
        self._chronology: Chronology | None = None
        self._version = 0
        self._blocks = False
        self._urgent: list[_Channel] = []
        """What the backlog waits for."""
        self._backlog: _Channel | None = None
        self._holes: deque[Span] = deque()
        """Of the backlog, after the one being sent."""
        self._part_bytes = settings.part_bytes
        self._allowance = settings.backlog_bytes_s * BURST_S
        self._allowed_s = float("-inf")
        """When the allowance was counted."""
        self._resting = False
        """The backlog waits for its allowance, and for nothing else."""
        self._passed = 0
        """Frames of what is urgent that were sent since the backlog was."""
        self._asked_s: float | None = None
        """When a write had hold of what was asked for; None where none had."""

    def welcomed(
        self, version: int, received: Received, chronology: Chronology, *, blocks: bool = False
    ) -> list[Prune]:
        """The cloud said what it has, the time, and whether it knows blocks; what the outbox may forget for it.

        Raises `ProtocolError` where it can't have that.
        """
        self._version, self._chronology, self._blocks = version, chronology, blocks
        if version < 2:
            through = received.unbroken
            self._urgent = [_Channel(lane=None, next=through + 1, window=self._settings.report_frames)]
            return self._release([Prune(lane=None, first=1, through=through)] if through else [])
        prompt, bulk = received.lanes[PROMPT], received.lanes[BULK]
        if len(prompt) > 1 or prompt.top != prompt.unbroken:
            raise ProtocolError(f"the prompt lane was received in pieces: {prompt.text}")
        live = bulk.top + 1
        if len(bulk) <= JUMP_SPANS_MAX and self._is_long(after=bulk.top):
            live = self._outbox.outbox_head() + 1
        self._holes = deque(bulk.holes(live - 1))
        frames = self._settings.report_frames
        self._urgent = [
            _Channel(lane=PROMPT, next=prompt.top + 1, window=frames),
            _Channel(lane=BULK, next=live, window=frames),
        ]
        self._backlog = self._next_hole()
        return self._release(
            [
                Prune(lane=lane, first=span.first, through=span.through)
                for lane, spans in enumerate(received.lanes)
                for span in spans.spans
            ]
        )

    def _release(self, prunes: list[Prune]) -> list[Prune]:
        """Earlier sessions are over: what of theirs the cloud does not have now, it will have of this one alone."""
        self._outbox.welcomed([(prune.lane, Span(prune.first, prune.through)) for prune in prunes])
        return prunes

    def _is_long(self, *, after: int) -> bool:
        """More waits than one frame takes: worth overtaking, at the price of one more span."""
        settings = self._settings
        items = self._outbox.outbox(after=after, limit=settings.reports_max + 1, lane=BULK)
        readings = sum(count_of(item.kind, item.body) for item in items)
        return len(items) > settings.reports_max or readings > settings.readings_max

    def _next_hole(self) -> _Channel | None:
        if not self._holes:
            return None
        first, through = self._holes.popleft()
        window = self._settings.backlog_frames
        return _Channel(lane=BULK, next=first, until=through, window=window, late=True)

    def frames(self, now: Instant, part_bytes: int) -> list[Reports]:
        """All that may be sent now, what is urgent first, in frames of at most so many bytes (or one report)."""
        self._part_bytes = part_bytes
        self._asked_s = None
        made: list[Reports] = []
        held_back = False
        for channel in self._urgent:
            while not channel.full and (frame := self._frame(channel, now)) is not None:
                made.append(frame)
            held_back = held_back or channel.full
        self._resting = False
        self._passed += len(made)
        if self._backlog is not None and (not held_back or self._passed >= PASSED_MAX):
            made += self._from_backlog(self._backlog, now, frames=1 if held_back else self._backlog.window)
        return made

    def _from_backlog(self, channel: _Channel, now: Instant, *, frames: int) -> list[Reports]:
        made: list[Reports] = []
        self._refill(now)
        while not channel.full and len(made) < frames:
            if channel.until is not None and channel.next > channel.until:
                following = self._next_hole()
                if following is None:
                    break
                channel.next, channel.until = following.next, following.until
            if self._allowance <= 0:
                self._resting = True
                break
            frame = self._frame(channel, now)
            if frame is None:
                assert self._asked_s is not None, "a hole is accounted for, with reports or without"
                return made
            self._allowance -= sum(size_of(report) for report in frame.reports)
            self._passed = 0
            made.append(frame)
        if not channel.in_flight and not self._resting:
            self._backlog = None
        return made

    def _refill(self, now: Instant) -> None:
        rate = self._settings.backlog_bytes_s
        if self._allowed_s > float("-inf"):
            self._allowance += (now.monotonic_s - self._allowed_s) * rate
        self._allowance = min(self._allowance, rate * BURST_S)
        self._allowed_s = now.monotonic_s

    def deadline(self) -> float | None:
        """When `frames` has something that it has not now, unless somebody writes; monotonic seconds."""
        asked_s = None if self._asked_s is None else self._asked_s + WRITE_S
        if not self._resting:
            return asked_s
        rested_s = self._allowed_s + max(0.0, -self._allowance) / self._settings.backlog_bytes_s + 0.001
        return rested_s if asked_s is None else min(asked_s, rested_s)

    def receipt(self, receipt: Receipt) -> Prune:
        """What took effect may be forgotten. Raises `ProtocolError` for what was not sent."""
        channels = [*self._urgent, self._backlog] if self._backlog is not None else self._urgent
        for channel in channels:
            if _settled(channel, receipt):
                return Prune(lane=channel.lane, first=max(1, receipt.first), through=receipt.through)
        raise ProtocolError(
            f"a receipt for reports {receipt.first} to {receipt.through} of lane {receipt.lane}, which were not sent"
        )

    # --- frames ---

    def _frame(self, channel: _Channel, now: Instant) -> Reports | None:
        limit = self._settings.reports_max
        taken = self._outbox.take(after=channel.next - 1, limit=limit, lane=channel.lane, until=channel.until)
        items = taken.items
        if not taken.complete:
            self._asked_s = now.monotonic_s
        reports, used, complete = self._reports(items, channel, now)
        self._outbox.give_back([item.seq for item in items[used:]])
        through = reports[-1].seq if reports else 0
        if channel.until is not None and taken.complete and len(items) < limit and complete:
            through = channel.until  # the rest of the hole was replaced or dropped
        if not through:
            return None
        span = Span(channel.next, through)
        channel.next = through + 1
        channel.in_flight.append(span)
        if channel.lane is None:
            return Reports(reports=tuple(reports))
        last = reports[-1].seq if reports else 0
        return Reports(
            reports=tuple(reports),
            lane=channel.lane,
            first=span.first,
            through=0 if through == last else through,
            late=channel.late,
        )

    def _reports(
        self, items: Sequence[OutboxItem], channel: _Channel, now: Instant
    ) -> tuple[list[Report], int, bool]:
        """As many as one frame takes; of how many items they are; and whether that is all."""
        reports: list[Report] = []
        size = readings = used = 0
        for number, item in enumerate(items, 1):
            for part in self._parts(item, channel):
                report = self._report(part, now)
                size += size_of(report)
                readings += count_of(report.kind, report.body)
                full = size > self._part_bytes or readings > self._settings.readings_max
                if reports and (full or len(reports) >= self._settings.reports_max):
                    return reports, used, False
                reports.append(report)
                used = number
        return reports, used, True

    def _parts(self, item: OutboxItem, channel: _Channel) -> Iterator[OutboxItem]:
        """What of an item the channel is to account for, in the form that this cloud knows."""
        if item.kind != TELEMETRY_BLOCK:
            yield item
            return
        until = item.seq if channel.until is None else min(item.seq, channel.until)
        after = channel.next - 1
        try:
            if self._blocks:
                yield _Part.of(item, seq=until, body=part_of(item.body, last=item.seq, after=after, until=until))
                return
            block = decode_block(item.body)
        except ProtocolError:
            yield _Part.of(item, seq=until, body=item.body)  # the cloud, too, sees that it is none, and goes on
            return
        for seq, reading in enumerate(block, item.seq - len(block) + 1):
            if after < seq <= until:
                yield _Part.alone(item, seq, reading)

    def _report(self, item: OutboxItem, now: Instant) -> Report:
        assert self._chronology is not None, "nothing is sent before Welcome"
        age = self._chronology.age_of(item, now)
        kind, body = item.kind, item.body
        if len(body) > REPORT_BODY_MAX:
            body = f'{{"kind":"{kind}","bytes":{len(body)}}}'.encode()
            kind = "oversize"
        return Report(
            seq=item.seq,
            kind=kind,
            key=item.key,
            body=body,
            wall_ms=max(0, item.wall_ms),
            age_ms=age.ms,
            estimated=age.estimated,
            error_ms=(age.error_ms or 0) if self._version >= 2 else 0,
        )


def _settled(channel: _Channel, receipt: Receipt) -> bool:
    """Whether the receipt is of this channel's oldest frames, and then takes them off."""
    flying = channel.in_flight
    if channel.lane is None:
        # Version 1: everything up to a number; one that was sent before and is settled already does no harm.
        known = receipt.through < channel.next
        while known and flying and flying[0].through <= receipt.through:
            flying.popleft()
        return known
    if not flying or (channel.lane, flying[0].first) != (receipt.lane, receipt.first):
        return False
    if all(span.through != receipt.through for span in flying):
        return False
    while flying and flying[0].through <= receipt.through:
        flying.popleft()
    return True
