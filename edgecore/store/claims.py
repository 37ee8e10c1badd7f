"""Who has which rows of the outbox in hand: the transaction under way, or the link that sends them.

A row that a transaction may put into another, or drop, is not given out to be sent before that has ended: it would be
sent and told of as dropped, or twice. What was sent is not dropped while nobody knows whether it has arrived, so that
a gap counts what is lost and nothing else. The next session's cloud says what has: all else is nobody's then, and of
what was read for a frame only what went into it is kept so. Else a link on which nothing is ever receipted would keep
all that is old, and a full outbox would drop what is new. In memory: after a crash nothing is under way, and what was
given out may have arrived, which a gap can't know.

Asked from two threads. Nobody waits for a disk: who comes too early is told so (`Taken.complete`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from edgecore.store.packing import Tails
from edgecore.store.port import OutboxReport, ReportClass
from skerry.frozen import replace
from skerry.objects.spans import Span
from skerry.sync.ports import Taken


class _Out(NamedTuple):
    """A row that was given out."""

    report_class: ReportClass
    first: int
    """The lowest of its numbers; the row's own is the last."""


class Claims:
    """Of the outbox of one open store."""

    def __init__(self, tails: Tails | None = None) -> None:
        self._lock = threading.Lock()
        self._tails = tails or Tails()
        """Blocks that may grow."""
        self._growing: frozenset[int] = frozenset()
        """Rows that the transaction under way may put into others."""
        self._dropping: set[ReportClass] = set()
        """Classes of which it drops some."""
        self._out: dict[int, _Out] = {}
        """Rows that were given out and of which nobody has said that they arrived. As many as the windows of one
        session allow, and what the cloud said to have and is not forgotten yet."""

    @property
    def growing(self) -> frozenset[int]:
        """Of the transaction under way."""
        return self._growing

    def begin(self, now_ms: int, *, packs: bool) -> Tails:
        """A transaction begins; `packs`: with new readings."""
        with self._lock:
            self._growing = self._tails.growing(now_ms) if packs else frozenset()
            return self._tails

    def spared(self, report_class: ReportClass) -> frozenset[int]:
        """The transaction under way drops some of a class, but not these."""
        with self._lock:
            self._dropping.add(report_class)
            return frozenset(seq for seq, each in self._out.items() if each.report_class == report_class)

    def end(self, tails: Tails | None) -> None:
        """It has ended. What may grow now; None: as before."""
        with self._lock:
            if tails is not None:
                self._tails = replace(self._tails, rows=tails.rows)
            self._growing = frozenset()
            self._dropping.clear()

    def take(
        self,
        read: Callable[[], Sequence[OutboxReport]],
        classes: Collection[ReportClass],
        now_ms: int,
        *,
        until: int | None = None,
    ) -> Taken[OutboxReport]:
        """Give out what `read` finds, which is of these classes and in order, and begins no later than `until`."""
        with self._lock:
            if self._dropping.intersection(classes):
                return Taken(items=(), complete=False)
            found = [report for report in read() if until is None or report.seq - report.count < until]
            end = next((at for at, report in enumerate(found) if report.seq in self._growing), len(found))
            given = found[:end]
            self._tails = self._tails.after_taking(given, now_ms)
            for report in given:
                self._out[report.seq] = _Out(report.report_class, report.seq - report.count + 1)
            return Taken(items=given, complete=end == len(found))

    def give_back(self, seqs: Iterable[int]) -> None:
        """Nothing of these rows was sent."""
        with self._lock:
            for seq in seqs:
                self._out.pop(seq, None)

    def sent(self, through: int) -> None:
        """An agent that takes nothing, of an older release, sends what it reads: rows up to this number stay as they
        are."""
        with self._lock:
            self._tails = replace(self._tails, taken=max(self._tails.taken, through))

    def arrived(self, first: int, through: int, classes: Collection[ReportClass]) -> None:
        """The cloud has these."""
        with self._lock:
            here = [
                seq for seq, each in self._out.items() if first <= seq <= through and each.report_class in classes
            ]
            for seq in here:
                del self._out[seq]

    def welcomed(self, settled: Sequence[tuple[Collection[ReportClass], Span]]) -> None:
        """A session begins, and the cloud has these. What it has nothing of has not arrived; what it has is out until
        it is forgotten, as it is not lost."""
        with self._lock:
            self._out = {
                seq: each
                for seq, each in self._out.items()
                if any(
                    each.report_class in classes and each.first <= span.through and span.first <= seq
                    for classes, span in settled
                )
            }

    def reset(self, tails: Tails) -> None:
        """Another life of the outbox: nothing of it was given out."""
        with self._lock:
            self._tails = tails
            self._out.clear()
