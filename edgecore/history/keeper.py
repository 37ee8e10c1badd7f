"""Remembers what the gateway's devices read, and answers for it without a cloud.

It hears of every commit of readings, whether the cloud has them or not, and writes them into `HistoryFile` once a
minute or when many wait, in order, in a thread of its own. In memory until then; a crash loses that minute of this
history, and nothing of what goes to the cloud. Where the disk is slower than what is read, what is too much is left
out of this history. Answers have the form of the cloud's (`skerry.objects.history`); what the numbers of a series
say is not kept here is shown as a gap.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

from edgecore.history.chunks import Chunk, Kept, Lacking, in_order, with_gaps
from edgecore.history.file import HistoryFile
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import ProtocolError, UnavailableError
from skerry.objects.history import (
    HistoryQuestion,
    Hole,
    Place,
    Point,
    Steps,
    Thinning,
    answer_of,
    token_of,
)
from skerry.objects.json import Json, JsonObject
from skerry.objects.times import micro_time_text
from skerry.objects.twins import series_of
from skerry.ports import Clock
from skerry.waits import until_set

LOG: Final = logging.getLogger(__name__)

FLUSH_S: Final = 60.0
WAITING_MAX: Final = 10_000
"""Readings in memory; beyond, they are written at once. Some 4 MB."""
HELD_MAX: Final = 2 * WAITING_MAX
"""Beyond, while others are being written, they are not kept here."""
SCANNED_MAX: Final = 1_000_000
"""Readings that are thinned for one answer, or its first step if that has more; the next page goes on."""
NOT_HERE: Final = "not kept on the gateway; the cloud may have them"


class HistoryKeeper:
    """See the module. `run` writes until it is cancelled."""

    def __init__(
        self, store: AsyncEdgeStore, file: HistoryFile, *, node: str, clock: Clock, trusted: Callable[[], bool]
    ) -> None:
        """`clock`: the one that the agent believes in; `trusted`: whether it is known to be right."""
        self._file = file
        self._node = node
        self._clock = clock
        self._trusted = trusted
        self._waiting: defaultdict[str, list[Kept]] = defaultdict(list)
        self._count = 0
        self._flushing = asyncio.Lock()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edge-history")
        """Also what somebody does not wait for any more is written before what comes next."""
        self._full = asyncio.Event()
        self._failed = False
        self._forget = store.listen(self._committed)

    def _committed(self, batch: EdgeBatch) -> None:
        if not batch.readings or self._count + len(batch.readings) > max(HELD_MAX, len(batch.readings)):
            return
        offset_ms = self._clock.wall_ms() - round(self._clock.monotonic_s() * 1000)
        sure = self._trusted()
        for new in batch.readings:
            kept = Kept(new.taken_ms + offset_ms, new.reading, sure)
            self._waiting[new.reading.series].append(kept)
        self._count += len(batch.readings)
        if self._count >= WAITING_MAX:
            self._full.set()

    async def run(self) -> None:
        try:
            while True:
                await until_set(self._full, within_s=FLUSH_S)
                await self.flush()
        finally:
            self._forget()
            await self.flush()
            await asyncio.get_running_loop().run_in_executor(self._writer, self._file.close)
            self._writer.shutdown(wait=False)

    async def flush(self) -> None:
        """Write what waits; when it returns, that is written, whoever began it. Where that can't be, it is lost for
        this history, and said once."""
        async with self._flushing:
            self._full.clear()
            waiting, self._waiting, self._count = self._waiting, defaultdict(list), 0
            if not waiting:
                return
            try:
                await asyncio.get_running_loop().run_in_executor(self._writer, self._file.keep, waiting)
                self._failed = False
            except UnavailableError as error:
                if not self._failed:
                    LOG.warning("the gateway's own history can't be written error=%s", error)
                self._failed = True

    # --- answering ---

    async def answer(self, namespace: str, name: str, question: HistoryQuestion) -> JsonObject:
        """Raises `UnavailableError` where the disk does not answer."""
        series = series_of(namespace, name, question.prop)
        await self.flush()
        items, token = await asyncio.to_thread(self._answer, series, question)
        return answer_of(question, namespace=namespace, name=name, items=items, token=token)

    def _answer(self, series: str, question: HistoryQuestion) -> tuple[list[Json], str]:
        if question.steps is not None:
            return self._steps(series, question, question.steps)
        if question.after is not None:
            return self._arrivals(series, question, question.after)
        return self._page(series, question)

    def _between(self, series: str, question: HistoryQuestion) -> Iterator[Kept]:
        """What lies in the time that is asked for, in order; and of the oldest first also what a page before had, so
        that a gap between both shows."""
        place, newest_first = question.place, question.newest_first
        since_ms, until_ms = question.since_ms, question.until_ms
        if place is not None and newest_first:
            until_ms = min(until_ms, place.at_ms)
        elif place is not None:
            since_ms = max(since_ms, place.at_ms)
        chunks = self._file.chunks(series, since_ms=since_ms, until_ms=until_ms, newest_first=newest_first)
        parts = ((chunk.last_ms if newest_first else chunk.first_ms, _readable(chunk)) for chunk in chunks)
        for kept in in_order(parts, newest_first=newest_first):
            if since_ms <= kept.at_ms <= until_ms:
                yield kept

    def _page(self, series: str, question: HistoryQuestion) -> tuple[list[Json], str]:
        limit, place = question.limit, question.place
        kept = self._between(series, question)
        rows = with_gaps(kept, newest_first=question.newest_first)
        behind = (row for row in rows if place is None or _is_behind(row, place, newest_first=question.newest_first))
        found = list(islice(behind, limit + 1))
        if len(found) <= limit:
            return [self._shown(row) for row in found], ""
        return [self._shown(row) for row in found[:limit]], token_of(
            question.order, Place(*_place(found[limit - 1]), 0)
        )

    def _arrivals(self, series: str, question: HistoryQuestion, after: int) -> tuple[list[Json], str]:
        rows = (
            kept
            for chunk in self._file.after(series, after)
            for kept in sorted(_readable(chunk), key=lambda each: each.number)
            if kept.number > after and question.since_ms <= kept.at_ms <= question.until_ms
        )
        found = list(islice(rows, question.limit + 1))
        token = str(found[question.limit - 1].number) if len(found) > question.limit else ""
        return [self._shown(row) for row in found[: question.limit]], token

    def _steps(self, series: str, question: HistoryQuestion, thinning: Thinning) -> tuple[list[Json], str]:
        steps, shown = Steps(thinning, question.told), list[Json]()
        for scanned, row in enumerate(with_gaps(self._between(series, question))):
            shown += steps.add(self._point(row))
            if steps.open_ms is not None and (len(shown) >= question.limit or (shown and scanned >= SCANNED_MAX)):
                return shown, steps.token
        return [*shown, *steps.end()], ""

    def _point(self, row: Kept | Lacking) -> Point:
        if isinstance(row, Lacking):
            return Point(row.from_ms, hole=Hole(self._node, row.first, row.number))
        return Point(row.at_ms, row.reading.value, row.reading.quality != "good")

    def _shown(self, row: Kept | Lacking) -> JsonObject:
        if isinstance(row, Lacking):
            gap: JsonObject = {
                "id": row.first,
                "count": row.number,
                "from": micro_time_text(row.from_ms),
                "to": micro_time_text(row.to_ms),
            }
            time = micro_time_text(row.from_ms)
            return {"number": row.first, "time": time, "node": self._node, "gap": gap, "reason": NOT_HERE}
        reading = row.reading
        shown: JsonObject = {
            "number": row.number,
            "time": micro_time_text(row.at_ms),
            "value": reading.value,
            "type": reading.type,
            "quality": reading.quality,
            "sequence": reading.seq,
            "node": self._node,
        }
        if not row.sure:
            shown["estimated"] = True
        if reading.reason:
            shown["reason"] = reading.reason
        if reading.source_seq is not None:
            shown["sourceSequence"] = reading.source_seq
        return shown


def _readable(chunk: Chunk) -> list[Kept]:
    """What a damaged page holds is a gap."""
    try:
        return chunk.kept()
    except ProtocolError:
        return []


def _place(row: Kept | Lacking) -> tuple[int, int]:
    return row.place if isinstance(row, Kept) else (row.from_ms, row.first)


def _is_behind(row: Kept | Lacking, place: Place, *, newest_first: bool) -> bool:
    ended = place.at_ms, place.seq
    return _place(row) < ended if newest_first else _place(row) > ended
