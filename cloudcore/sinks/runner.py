"""Sends the history on, for every Sink, from where it stopped. The leader's work: one task a Sink.

What a sink keeps is in its status: the number of the last row that was sent (`cursor`), and counts. It is written
after rows were taken, every few seconds, fenced as all that the leader writes: so a crash, or another leader,
sends again what was sent since, and leaves out nothing. A batch that is refused is halved until the row at fault is
found; that one is counted, named in the status, and passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from cloudcore.registry.port import Objects
from cloudcore.sinks.http import influx, prometheus, secret_of, webhook
from cloudcore.sinks.mqtt import MqttReceiver
from cloudcore.sinks.port import Receiver, RefusedRowsError, Secret
from cloudcore.sinks.rows import Row, Selector, row_of
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import Store
from skerry.errors import CallerError, FencedError, NotFoundError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Key, generation_of
from skerry.objects.scheme import Kind
from skerry.objects.times import micro_time_text, time_text
from skerry.ports import Clock

LOG: Final = logging.getLogger(__name__)

SINKS: Final = "sinks.skerry.dev"
BATCH: Final = 1000
LOOK_S: Final = 1.0
"""Between two looks for new rows, and for Sinks that came or went."""
TOLD_S: Final = 5.0
"""Between two writes of a status while rows move: what a crash has sent again."""
BACKOFF_S: Final = 1.0
BACKOFF_S_MAX: Final = 60.0


class SinkParts(Frozen):
    """What sinks are sent from."""

    objects: Objects
    """The leader's."""
    store: Store
    cache: WatchCache
    kind: Kind
    clock: Clock


class Progress(Frozen):
    """How far a sink is."""

    cursor: int
    sent: int = 0
    skipped: int = 0
    """Rows that the other side has no form for."""
    refused: int = 0
    trimmed: int = 0
    """Rows, of whatever device, that the history had given up before they were read."""
    last_refused: str = ""
    behind: int = 0

    @classmethod
    def of(cls, sink: JsonObject, *, newest: int) -> Progress:
        """As the status says; of a new sink, what comes from now on."""
        status = map_at(sink, "status")
        if "cursor" not in status:
            return cls(cursor=newest)
        return cls(
            cursor=min(int_at(status, "cursor"), newest),
            sent=int_at(status, "sent"),
            skipped=int_at(status, "skipped"),
            refused=int_at(status, "refused"),
            trimmed=int_at(status, "trimmed"),
            last_refused=str_at(status, "lastRefused"),
        )

    def shown(self) -> JsonObject:
        counts: JsonObject = {
            "cursor": self.cursor,
            "behind": self.behind,
            "sent": self.sent,
            "skipped": self.skipped,
            "refused": self.refused,
            "trimmed": self.trimmed,
        }
        return counts | ({"lastRefused": self.last_refused} if self.last_refused else {})


def receiver_of(sink: JsonObject, secret: Secret, *, epoch: str) -> Receiver:
    """Where a valid Sink leads."""
    spec = map_at(sink, "spec")
    name = f"{str_at(sink, 'metadata', 'namespace')}/{str_at(sink, 'metadata', 'name')}"
    if "webhook" in spec:
        return webhook(map_at(spec, "webhook"), secret, sink=name)
    if "influx" in spec:
        return influx(map_at(spec, "influx"), secret)
    if "prometheus" in spec:
        return prometheus(map_at(spec, "prometheus"), secret)
    if "postgres" in spec:
        from cloudcore.sinks.postgres import PostgresReceiver  # psycopg costs memory: only who has such a sink pays

        return PostgresReceiver(map_at(spec, "postgres"), secret, epoch=epoch)
    uid = str_at(sink, "metadata", "uid")
    return MqttReceiver(map_at(spec, "mqtt"), secret, client_id=f"skerry-{uid[:18]}")


MakeReceiver = Callable[[JsonObject, Secret], Receiver]


class Sinks:
    """See the module. `run` until it is cancelled."""

    def __init__(self, parts: SinkParts, make: MakeReceiver | None = None) -> None:
        self._parts = parts
        self._make: MakeReceiver = make or partial(receiver_of, epoch=parts.store.epoch)
        self._running: dict[Key, tuple[object, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._follow(tasks)
                await asyncio.sleep(LOOK_S)

    async def _follow(self, tasks: asyncio.TaskGroup) -> None:
        """One task for each Sink as it is now; one that changed begins anew when the old one has ended."""
        cache = self._parts.cache
        wanted = {stored.key: _identity(cache.obj(stored), cache) for stored in cache.select(SINKS)}
        ending: list[asyncio.Task[None]] = []
        for key, (identity, task) in list(self._running.items()):
            if wanted.get(key) != identity or task.done():
                task.cancel()
                ending.append(task)
                del self._running[key]
        if ending:
            await asyncio.wait(ending)
        for key, identity in wanted.items():
            stored = cache.read(key)
            if key not in self._running and stored is not None:
                sink = cache.obj(stored)
                if bool_at(sink, "spec", "paused"):
                    continue
                work = SinkTask(self._parts, key, stored.uid, sink, self._make)
                self._running[key] = identity, tasks.create_task(work.run(), name=f"sink {key.namespace}/{key.name}")


def _identity(sink: JsonObject, cache: WatchCache) -> object:
    """What, when it changes, makes another sink of it: its life, what it is to do, its Secret."""
    secret = cache.read(_secret_key(sink))
    return (
        str_at(sink, "metadata", "uid"),
        generation_of(sink),
        bool_at(sink, "spec", "paused"),
        None if secret is None else secret.revision,
    )


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
        self._batch = int_at(sink, "spec", "batch") or BATCH
        self._told: tuple[Progress, Condition] | None = None
        self._told_s = float("-inf")

    async def run(self) -> None:
        try:
            newest = await self._newest()
            progress = Progress.of(self._sink, newest=newest)
            if "cursor" not in map_at(self._sink, "status") and str_at(self._sink, "spec", "from") == "Beginning":
                progress = Progress(cursor=await self._before_oldest(newest))
            await self._send_all(progress)
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

    async def _send_all(self, progress: Progress) -> None:
        receiver: Receiver | None = None
        failures = 0
        try:
            while True:
                try:
                    if receiver is None:
                        receiver = self._make(self._sink, self._secret())
                    progress, moved = await self._step(receiver, progress)
                    failures = 0
                except (FencedError, NotFoundError):
                    raise
                except Exception as error:
                    # What a library says of a Sink's or a Secret's words is that Sink's trouble, and no other's.
                    failures += 1
                    why = str(error) if isinstance(error, UnavailableError) else _unforeseen(self._key, error)
                    await self._tell(await self._counted(progress), _failing(self._sink, why), urgent=True)
                    if receiver is not None:
                        await receiver.close()
                        receiver = None
                    await asyncio.sleep(min(BACKOFF_S * 2 ** min(failures - 1, 10), BACKOFF_S_MAX))
                    continue
                await self._tell(progress, _ready(self._sink), urgent=not moved)
                if not moved:
                    await asyncio.sleep(LOOK_S)
        finally:
            if receiver is not None:
                await receiver.close()

    def _secret(self) -> Secret:
        if not str_at(self._sink, "spec", "secretRef", "name"):
            return {}
        key = _secret_key(self._sink)
        stored = self._parts.cache.read(key)
        if stored is None:
            raise UnavailableError(f"spec.secretRef: there is no Secret {key.name} in {key.namespace}")
        return secret_of(self._parts.cache.obj(stored))

    async def _counted(self, progress: Progress) -> Progress:
        newest = await self._newest()
        return replace(progress, behind=max(0, newest - progress.cursor))

    async def _step(self, receiver: Receiver, progress: Progress) -> tuple[Progress, bool]:
        """The next rows; whether there were any."""
        records = await self._parts.store.tail(after=progress.cursor, limit=self._batch)
        if not records:
            return await self._counted(progress), False
        last = records[-1].number
        rows = [row for record in records if (row := row_of(record)) is not None and self._selector.takes(row)]
        progress = replace(progress, trimmed=progress.trimmed + last - progress.cursor - len(records))
        if rows:
            progress = await self._sent(receiver, rows, progress)
        return await self._counted(replace(progress, cursor=last)), True

    async def _sent(self, receiver: Receiver, rows: Sequence[Row], progress: Progress) -> Progress:
        try:
            skipped = await receiver.send(rows)
        except RefusedRowsError as error:
            if len(rows) == 1:
                (row,) = rows
                where = f"{row.namespace}/{row.device}/{row.prop} of {micro_time_text(row.at_ms)}"
                return replace(progress, refused=progress.refused + 1, last_refused=f"{where}: {error}"[:500])
            middle = len(rows) // 2
            progress = await self._sent(receiver, rows[:middle], progress)
            return await self._sent(receiver, rows[middle:], progress)
        return replace(progress, sent=progress.sent + len(rows) - skipped, skipped=progress.skipped + skipped)

    # --- what is told ---

    async def _tell(self, progress: Progress, condition: Condition, *, urgent: bool) -> None:
        """Write the status where it says something new: at once where nothing moves, else once a second."""
        now_s = self._parts.clock.monotonic_s()
        if self._told == (progress, condition) or (not urgent and now_s < self._told_s + TOLD_S):
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


def _unforeseen(key: Key, error: Exception) -> str:
    """Without the error's own words, which may hold what is secret; the log has where it comes from."""
    LOG.warning("a sink fails sink=%s", key, exc_info=error)
    return (
        f"its spec or its Secret can't be used as it is ({type(error).__name__}): look at the host's name, for line "
        "ends, and for signs that are no ASCII"
    )


def _ready(sink: JsonObject) -> Condition:
    return Condition(type="Ready", status="True", reason="Sending", observed_generation=generation_of(sink))


def _failing(sink: JsonObject, why: str) -> Condition:
    return Condition(
        type="Ready", status="False", reason="Failing", message=why[:500], observed_generation=generation_of(sink)
    )
