"""The cloud's half of the reports of one session, without I/O: what may come, and what of it waits for a commit.

It keeps the received set as it will be once everything taken in is committed, and the frames that are not yet.
A frame of version 2 accounts for a span of its lane, which must not meet what is received already: so nothing takes
effect twice. Version 1 says no lanes; there a number below the position is refused, and what an earlier version 2
session got across is passed over by what the report is about. A crash loses only what had no receipt.
"""

from __future__ import annotations

from typing import Final

from skerry.errors import ProtocolError
from skerry.frozen import Frozen
from skerry.objects.blocks import TELEMETRY_BLOCK, count_of
from skerry.objects.spans import Span
from skerry.sync.effects import Commit, DatedReport
from skerry.sync.ports import Instant
from skerry.sync.received import Received
from skerry.wire.codec import size_of
from skerry.wire.frames import BULK, LANES, PROMPT, SPANS_MAX, Receipt, Report, Reports

WAITING_REPORTS_MAX: Final = 16_384
"""Reports received and not yet committed; an edge within its windows has at most 4,608."""
WAITING_FRAMES_MAX: Final = 128
"""The same in frames: one may hold no report at all. An edge within its windows has at most 18."""
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
"""The same in bytes, as `size_of` counts: 18 frames, each of one report as large as can travel, are 18 MiB."""
COMMIT_REPORTS_MAX: Final = 1024
"""No further frame joins a transaction that has this many reports; each reading of a block counts."""
LATE_AFTER: Final = 4
"""So many transactions of what is of now go before a backlog that waits; then one is of the backlog. Live readings
that never end would keep it away for ever; now and then they wait for the tenth of a second that it takes."""
FRAME_READINGS_MAX: Final = 8192
"""Of one frame, counted so: an edge sends some 2,500, and a frame is committed whole."""


class _Taken(Frozen):
    """One frame, waiting."""

    covered: tuple[tuple[int, Span], ...]
    """What it adds to the received set."""
    reports: tuple[DatedReport, ...]
    receipt: Receipt
    size: int
    readings: int
    """Its reports, each reading of a block counted."""
    late: bool = False
    """Of a backlog: it waits for what is of now, in a transaction of its own."""


class Intake:
    """See the module."""

    def __init__(self, version: int, received: Received) -> None:
        self._lanes_known = version >= 2
        self._received = received
        self._through = received.unbroken
        """How far a version 1 edge has got."""
        self._waiting: list[_Taken] = []
        """Short, and a hub has ten thousand of them: an empty deque takes 760 bytes."""
        self._committing: tuple[_Taken, ...] = ()
        self._reports = 0
        self._bytes = 0
        self._passed = 0
        """Transactions of what is of now, one after the other, while a backlog waited."""

    def take(self, frame: Reports, now: Instant) -> None:
        """A frame came. Raises `ProtocolError` where it breaks a rule or a limit."""
        size = sum(size_of(report) for report in frame.reports)
        if (
            self._reports + len(frame.reports) > WAITING_REPORTS_MAX
            or self._bytes + size > WAITING_BYTES_MAX
            or len(self._waiting) >= WAITING_FRAMES_MAX
        ):
            raise ProtocolError("more reports without a receipt than any window allows")
        readings = sum(count_of(report.kind, report.body) for report in frame.reports)
        if readings > FRAME_READINGS_MAX:
            raise ProtocolError(f"{readings} readings in one frame")
        if self._lanes_known:
            taken = self._lane(frame, now, size, readings)
        elif frame.reports:
            taken = self._all_lanes(frame, now, size, readings)
        else:
            return
        for lane, span in taken.covered:
            self._received = self._received.add(lane, span)
        self._reports += len(taken.reports)
        self._bytes += size
        self._waiting.append(taken)

    def _lane(self, frame: Reports, now: Instant, size: int, readings: int) -> _Taken:
        span = frame.span
        if frame.lane not in LANES:
            raise ProtocolError(f"lane {frame.lane} is not known")
        if not 1 <= span.first <= span.through:
            raise ProtocolError(f"reports that account for {span.first} to {span.through}")
        _check_order(frame, span)
        held = self._received.lanes[frame.lane]
        if held.meets(span):
            raise ProtocolError(f"reports {span.first} to {span.through} of lane {frame.lane}, received before")
        if frame.lane == PROMPT and span.first != held.unbroken + 1:
            raise ProtocolError(f"report {span.first} of the prompt lane after {held.unbroken}")
        if len(held.add(span)) > SPANS_MAX:
            raise ProtocolError(f"more than {SPANS_MAX} spans of lane {frame.lane}")
        return _Taken(
            covered=((frame.lane, span),),
            reports=tuple(_dated(report, now) for report in frame.reports),
            receipt=Receipt(lane=frame.lane, first=span.first, through=span.through),
            size=size,
            readings=readings,
            late=frame.late,
        )

    def _all_lanes(self, frame: Reports, now: Instant, size: int, readings: int) -> _Taken:
        span = Span(self._through + 1, frame.reports[-1].seq)
        _check_order(frame, span)
        self._through = span.through
        covered = tuple((lane, hole) for lane in LANES for hole in self._received.lanes[lane].holes(span.through))
        fresh = tuple(
            _dated(report, now)
            for report in frame.reports
            if report.seq not in self._received.lanes[lane_of_report(report)]
        )
        receipt = Receipt(through=span.through)
        return _Taken(covered=covered, reports=fresh, receipt=receipt, size=size, readings=readings)

    def commit(self, incarnation: str) -> Commit | None:
        """The next transaction, unless one is under way or nothing waits: of what is of now, or else of a backlog,
        which has its turn after `LATE_AFTER`. Either is in its own order; a receipt for both together would be of
        nothing that was sent."""
        if self._committing or not self._waiting:
            return None
        waits = any(taken.late for taken in self._waiting)
        late = waits and (self._passed >= LATE_AFTER or all(taken.late for taken in self._waiting))
        self._passed = self._passed + 1 if waits and not late else 0
        chosen: list[_Taken] = []
        left: list[_Taken] = []
        count = 0
        for taken in self._waiting:
            if taken.late == late and count < COMMIT_REPORTS_MAX:
                chosen.append(taken)
                count += taken.readings
            else:
                left.append(taken)
        self._waiting, self._committing = left, tuple(chosen)
        return Commit(
            incarnation=incarnation,
            reports=tuple(dated for taken in chosen for dated in taken.reports),
            covered=tuple(pair for taken in chosen for pair in taken.covered),
        )

    def committed(self) -> tuple[Receipt, ...]:
        """The commit is durable: what may be said now, neighbours in one."""
        assert self._committing, "nothing was being committed"
        receipts: list[Receipt] = []
        for taken in self._committing:
            receipt = taken.receipt
            self._reports -= len(taken.reports)
            self._bytes -= taken.size
            last = receipts[-1] if receipts else None
            if last is not None and (not receipt.first or _follows(last, receipt)):
                receipts[-1] = Receipt(lane=last.lane, first=last.first, through=receipt.through)
            else:
                receipts.append(receipt)
        self._committing = ()
        return tuple(receipts)

    def drop(self) -> None:
        """The session ended: what waits is sent again by the next."""
        self._waiting.clear()


def lane_of_report(report: Report) -> int:
    """The lane in which a version 1 edge would have sent this, did it know lanes: telemetry is its only bulk."""
    oversize = report.kind == "oversize" and report.body.startswith(b'{"kind":"telemetry",')
    return BULK if oversize or report.kind in ("telemetry", TELEMETRY_BLOCK) else PROMPT


def _check_order(frame: Reports, span: Span) -> None:
    before = span.first - 1
    for report in frame.reports:
        if not before < report.seq <= span.through:
            raise ProtocolError(f"report {report.seq} after {before}")
        before = report.seq


def _follows(last: Receipt, receipt: Receipt) -> bool:
    return last.lane == receipt.lane and last.through + 1 == receipt.first


def _dated(report: Report, now: Instant) -> DatedReport:
    return DatedReport(report=report, at_ms=max(0, now.wall_ms - report.age_ms))
