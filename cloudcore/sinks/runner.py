"""Sends the history on, for every Sink, from where it stopped. The leader's work: one task a Sink.

What a sink keeps is in its status: the number of the last row that was sent (`cursor`), and counts. It is written
after rows were taken, every few seconds and at the end, fenced as all that the leader writes: so a crash, or another
leader, sends again what was sent since, and leaves out nothing. Rows that are refused are counted, the last one named
in the status, and passed over where others are taken; where none is, all of them wait (`cloudcore.sinks.halving`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from cloudcore.registry.port import Objects
from cloudcore.sinks.halving import Sent, send_halving
from cloudcore.sinks.http import influx, prometheus, secret_of, webhook
from cloudcore.sinks.mqtt import MqttReceiver
from cloudcore.sinks.port import Receiver, RefusedRowsError, Secret, SlowError
from cloudcore.sinks.progress import Held, HeldError, Progress, failing, paused, sending, within
from cloudcore.sinks.rows import Row, Selector, row_of
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import Store, StoredRecord
from skerry.errors import CallerError, FencedError, NotFoundError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Key, generation_of
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text
from skerry.ports import Clock

LOG: Final = logging.getLogger(__name__)

SINKS: Final = "sinks.skerry.dev"
BATCH: Final = 1000
LOOK_S: Final = 1.0
"""Between two looks for new rows, and for Sinks that came or went."""
TOLD_S: Final = 5.0
"""Between two writes of a status that say how far it is: what a crash has sent again."""
LAST_S: Final = 5.0
"""For the last write of a status, and for a receiver to close."""
BACKOFF_S: Final = 1.0
BACKOFF_S_MAX: Final = 60.0
REFUSED_MAX: Final = 100
"""Rows that are refused one by one, without one that is taken, before that is no fault of theirs; and how many more
are tried at each later look."""
TRUST_S: Final = 600.0
"""Who took a row so lately is tried with a whole batch of them: Prometheus takes what is of now, and refuses a
backlog row by row."""
QUICK_S: Final = 5.0
"""A batch that was taken so soon may be larger the next time, where it was made smaller."""
BYTES_MAX: Final = 4 << 20
"""Of the records of a batch, or a single one: however many rows somebody wants at once, there is room for them."""


class SinkParts(Frozen):
    """What sinks are sent from."""

    objects: Objects
    """The leader's."""
    store: Store
    cache: WatchCache
    kind: Kind
    clock: Clock


def receiver_of(sink: JsonObject, secret: Secret, *, epoch: str) -> Receiver:
    """Where a valid Sink leads."""
    spec = map_at(sink, "spec")
    name = f"{str_at(sink, 'metadata', 'namespace')}/{str_at(sink, 'metadata', 'name')}"
    if "webhook" in spec:
        return webhook(map_at(spec, "webhook"), secret, sink=name, epoch=epoch)
    if "influx" in spec:
        return influx(map_at(spec, "influx"), secret, epoch=epoch)
    if "prometheus" in spec:
        return prometheus(map_at(spec, "prometheus"), secret, epoch=epoch)
    if "postgres" in spec:
        from cloudcore.sinks.postgres import PostgresReceiver  # psycopg costs memory: only who has such a sink pays

        return PostgresReceiver(spec, secret, epoch=epoch)
    uid = str_at(sink, "metadata", "uid")
    return MqttReceiver(map_at(spec, "mqtt"), secret, client_id=f"skerry-{uid[:18]}", epoch=epoch)


MakeReceiver = Callable[[JsonObject, Secret], Receiver]


class Sinks:
    """See the module. `run` until it is cancelled."""

    def __init__(self, parts: SinkParts, make: MakeReceiver | None = None) -> None:
        self._parts = parts
        self._make: MakeReceiver = make or partial(receiver_of, epoch=parts.store.epoch)
        self._running: dict[Key, tuple[object, asyncio.Task[None]]] = {}
        self._ending: dict[Key, asyncio.Task[None]] = {}
        """Told to end. The next one of a key begins when the one before has ended; the others wait for neither."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._follow(tasks)
                await asyncio.sleep(LOOK_S)

    def _follow(self, tasks: asyncio.TaskGroup) -> None:
        """One task for each Sink as it is now; one that changed begins anew when the old one has ended."""
        cache = self._parts.cache
        wanted = {stored.key: _identity(cache.obj(stored), cache) for stored in cache.select(SINKS)}
        for key, (identity, task) in list(self._running.items()):
            if wanted.get(key) != identity or task.done():
                task.cancel()
                self._ending[key] = task
                del self._running[key]
        self._ending = {key: task for key, task in self._ending.items() if not task.done()}
        for key, identity in wanted.items():
            stored = cache.read(key)
            if key not in self._running and key not in self._ending and stored is not None:
                work = SinkTask(self._parts, key, stored.uid, cache.obj(stored), self._make)
                self._running[key] = identity, tasks.create_task(work.run(), name=f"sink {key.namespace}/{key.name}")


def _identity(sink: JsonObject, cache: WatchCache) -> object:
    """What, when it changes, makes another sink of it: its life, what it is to do, its Secret."""
    secret = cache.read(_secret_key(sink))
    return str_at(sink, "metadata", "uid"), generation_of(sink), None if secret is None else secret.revision


def _secret_key(sink: JsonObject) -> Key:
    return Key("secrets", str_at(sink, "metadata", "namespace"), str_at(sink, "spec", "secretRef", "name"))


class SinkTask:
    """One Sink, for as long as it stays as it is."""

    def __init__(self, parts: SinkParts, key: Key, uid: str, sink: JsonObject, make: MakeReceiver) -> None:
        self._parts = parts
        self._key = key
        self._uid = uid
        self._sink = sink
        self._make = make
        self._selector = Selector.of(sink)
        self._skips = str_at(sink, "spec", "refusalPolicy") == "Skip"
        self._batch = int_at(sink, "spec", "batch") or BATCH
        self._size = min(self._batch, BATCH)
        """Records that are read at once: fewer where they are long, or the other side is too slow for more."""
        self._slow = 0
        """Times that it did not answer, one after the other."""
        self._through: int | None = None
        """The last number of the batch that was tried: it is the same when it is tried again, and is told to be."""
        self._held: Held | None = None
        self._taken_s = float("-inf")
        """When a row was taken last; monotonic."""
        self._progress: Progress = Progress(cursor=0)
        self._told: tuple[Progress, Condition] | None = None
        self._told_s = float("-inf")

    async def run(self) -> None:
        try:
            newest = await self._newest()
            self._progress = Progress.of(self._sink, newest=newest)
            if "cursor" not in map_at(self._sink, "status") and str_at(self._sink, "spec", "from") == "Beginning":
                self._progress = Progress(cursor=await self._before_oldest(newest))
            try:
                await (self._rest() if bool_at(self._sink, "spec", "paused") else self._send_all())
            except asyncio.CancelledError:
                await self._say_last()
                raise
        except (FencedError, NotFoundError):
            return  # another leads, or the Sink is gone

    async def _before_oldest(self, newest: int) -> int:
        """Waits as `_newest` does."""
        while True:
            try:
                oldest = await self._parts.store.tail(after=0, limit=1)
                return oldest[0].number - 1 if oldest else newest
            except UnavailableError:
                await asyncio.sleep(BACKOFF_S)

    async def _newest(self) -> int:
        """Waits for a store that does not answer."""
        while True:
            try:
                return await self._parts.store.newest_record()
            except UnavailableError:
                await asyncio.sleep(BACKOFF_S)

    async def _rest(self) -> None:
        """Nothing is sent, and what waits is counted."""
        while True:
            await self._count()
            await self._tell(paused(self._sink))
            await asyncio.sleep(LOOK_S)

    async def _send_all(self) -> None:
        receiver: Receiver | None = None
        failures = 0
        try:
            while True:
                try:
                    if receiver is None:
                        receiver = self._make(self._sink, self._secret())
                    moved = await self._step(receiver)
                    failures = 0
                except (FencedError, NotFoundError):
                    raise
                except Exception as error:
                    # What a library says of a Sink's or a Secret's words is that Sink's trouble, and no other's.
                    failures += 1
                    why = error if isinstance(error, UnavailableError) else _unforeseen(self._key, error)
                    await self._count()
                    await self._tell(failing(self._sink, why))
                    if receiver is not None:
                        await _close(receiver)
                        receiver = None
                    await asyncio.sleep(min(BACKOFF_S * 2 ** min(failures - 1, 10), BACKOFF_S_MAX))
                    continue
                await self._tell(sending(self._sink))
                if not moved:
                    await asyncio.sleep(LOOK_S)
        finally:
            if receiver is not None:
                await _close(receiver)

    def _secret(self) -> Secret:
        if not str_at(self._sink, "spec", "secretRef", "name"):
            return {}
        key = _secret_key(self._sink)
        stored = self._parts.cache.read(key)
        if stored is None:
            raise UnavailableError(f"spec.secretRef: there is no Secret {key.name} in {key.namespace}")
        return secret_of(self._parts.cache.obj(stored))

    async def _count(self) -> None:
        self._lag(await self._newest())

    def _lag(self, newest: int) -> None:
        self._progress = replace(self._progress, behind=max(0, newest - self._progress.cursor))

    # --- sending ---

    async def _step(self, receiver: Receiver) -> bool:
        """The next rows; whether there were any."""
        newest = await self._parts.store.newest_record()  # asked first: all up to it can be read, or was trimmed
        try:
            if self._held is not None:
                return await self._try_held(receiver, self._held)
            return await self._send_next(receiver, newest)
        finally:
            self._lag(newest)

    async def _send_next(self, receiver: Receiver, newest: int) -> bool:
        store, cursor = self._parts.store, self._progress.cursor
        records = await store.tail(after=cursor, limit=self._size)
        if self._through is not None:
            records = [record for record in records if record.number <= self._through] or records
        if len(few := within(records, BYTES_MAX)) < len(records):
            records, self._size = few, min(self._size, 2 * len(few))
        if not records:
            self._progress = self._progress.moved((), max(cursor, newest))
            return newest > cursor
        self._through = records[-1].number
        await self._send(receiver, records, self._rows(records))
        self._through = None
        return True

    def _rows(self, records: Sequence[StoredRecord]) -> list[Row]:
        return [row for record in records if (row := row_of(record)) is not None and self._selector.takes(row)]

    async def _send(self, receiver: Receiver, records: Sequence[StoredRecord], rows: Sequence[Row]) -> None:
        """Rows of these records. What was taken of them is done with also where it ends early."""
        sent = Sent()
        begun_s = self._parts.clock.monotonic_s()
        if rows:
            try:
                await send_halving(receiver, rows, sent, refused_max=self._patience)
            except SlowError:
                self._slower(len(records))
                raise
            finally:
                self._note_taken(sent)
                if sent.taken and sent.through < rows[-1].number:
                    self._progress = self._progress.moved(records, sent.through).counted(sent)
        small = 2 * sum(len(record.body) for record in records) <= BYTES_MAX
        if small and self._parts.clock.monotonic_s() - begun_s < QUICK_S:
            self._size = min(self._batch, 2 * self._size)
        self._slow = 0
        if sent.proves_nothing and not self._skips:
            self._held, self._through = Held.of(records, sent), None
            raise HeldError(self._held.text)
        self._progress = self._progress.moved(records, records[-1].number).counted(sent)

    @property
    def _patience(self) -> int:
        """How many rows are tried one by one in vain."""
        lately = self._parts.clock.monotonic_s() - self._taken_s < TRUST_S
        return self._batch if self._skips or lately else REFUSED_MAX

    def _note_taken(self, sent: Sent) -> None:
        if sent.taken:
            self._taken_s = self._parts.clock.monotonic_s()

    def _slower(self, tried: int) -> None:
        """Once more the same, as it may have arrived; then half of it."""
        self._slow += 1
        if self._slow > 1:
            self._size = max(1, tried // 2)
            self._through = None

    async def _try_held(self, receiver: Receiver, held: Held) -> bool:
        """The first of them again, and then some behind them. Raises `HeldError` where none is taken."""
        try:
            skipped = await receiver.send([held.first.row])
        except RefusedRowsError:
            pass
        else:
            self._progress = held.first_taken(self._progress, skipped=skipped)
            self._held = None
            return True
        records = await self._parts.store.tail(after=held.through, limit=min(self._size, self._patience))
        rows, sent = self._rows(records), Sent()
        if rows:
            await send_halving(receiver, rows, sent, refused_max=len(rows))
        self._note_taken(sent)
        if sent.taken:
            self._progress = held.passed_over(self._progress).moved(records, records[-1].number).counted(sent)
            self._held = None
            return True
        self._held = held.widened(records, sent)
        raise HeldError(self._held.text)

    # --- what is told ---

    async def _say_last(self) -> None:
        """How far it is, where the last status does not say so: else another sends again what was sent since."""
        condition = sending(self._sink) if self._told is None else self._told[1]
        with suppress(FencedError, NotFoundError, TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self._tell(condition, now=True)

    async def _tell(self, condition: Condition, *, now: bool = False) -> None:
        """Write the status where it says something new: at once where that is the condition, and how far it is every
        few seconds. Where readings come all the time, each look finds a few and then no more."""
        now_s, progress = self._parts.clock.monotonic_s(), self._progress
        known = self._told is not None and self._told[1] == condition
        if self._told == (progress, condition) or (known and not now and now_s < self._told_s + TOLD_S):
            return
        now_ms = self._parts.clock.wall_ms()
        before = self._told[0].sent if self._told is not None else progress.sent

        def told(sink: JsonObject) -> JsonObject:
            if str_at(sink, "metadata", "uid") != self._uid:
                raise NotFoundError("another Sink of this name")
            status = map_at(sink, "status")
            conditions: list[Json] = with_condition(maps_at(status, "conditions"), condition, now_ms=now_ms)
            made: JsonObject = {**status, **progress.shown(), "conditions": conditions}
            if progress.sent != before:
                made["lastSentTime"] = time_text(now_ms)
            return {**sink, "status": made}

        try:
            await self._parts.objects.update(self._parts.kind, self._key, told, subresource="status")
        except (FencedError, NotFoundError):
            raise
        except (CallerError, UnavailableError) as error:
            LOG.warning("a sink's status can't be written sink=%s error=%s", self._key, error)
            return
        self._told, self._told_s = (progress, condition), now_s


async def _close(receiver: Receiver) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_S):
            await receiver.close()


def _unforeseen(key: Key, error: Exception) -> UnavailableError:
    """Without the error's own words, which may hold what is secret; the log has where it comes from."""
    LOG.warning("a sink fails sink=%s", key, exc_info=error)
    return UnavailableError(
        f"its spec or its Secret can't be used as it is ({type(error).__name__}): look at the host's name, for line "
        "ends, and for signs that are no ASCII"
    )
