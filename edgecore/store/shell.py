"""The edge store as the agent's event loop sees it: writes in the store's one thread, commits told to listeners.

Keeps no data. The agent's rooms (link, pods, twins, local API) never import each other; each writes what it has
decided here, and hears here what the others committed. A crash loses only writes whose `apply` had not returned,
and nobody acknowledges those.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final, TypeAlias

from edgecore.store.port import EdgeBatch, EdgeStore, Held, OutboxReport, Push, PushQueue, StoreStats, TwinRow
from skerry.errors import DamagedError, UnavailableError
from skerry.objects.meta import Key, Stamp
from skerry.objects.spans import Span
from skerry.sync.ports import BootTimes, Taken
from skerry.wire.frames import Start

LOG: Final = logging.getLogger(__name__)

SALVAGE_AGAIN_S: Final = 10.0

CommitListener: TypeAlias = Callable[[EdgeBatch], None]
"""Called on the event loop after the batch is durable. Short: set an event, add a key to a queue. Never raises."""


BeforeListener: TypeAlias = Callable[[Sequence[Held]], None]
"""Called the same way, just before: with what the batch has put in another state or deleted, as it was."""


class AsyncEdgeStore:
    """Reads are direct (microseconds, from memory or the page cache); writes are awaited.

    Writes take effect in the order of the calls. A cancelled write may still happen: the thread can't be
    stopped halfway, so treat cancellation as "unknown" and read again.
    """

    def __init__(self, store: EdgeStore, writer: Executor | None = None) -> None:
        """`writer` carries the writes out, one after the other; by default a thread of its own, as SQLite wants."""
        self._store = store
        self._writer = writer or ThreadPoolExecutor(max_workers=1, thread_name_prefix="edge-store")
        self._listeners: list[CommitListener] = []
        self._before_listeners: list[BeforeListener] = []
        self._receipt_listeners: list[Callable[[], None]] = []
        self._lives_being_begun = 0

    def listen(self, listener: CommitListener) -> Callable[[], None]:
        """Hear of every commit from now on; the result ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def listen_before(self, listener: BeforeListener) -> Callable[[], None]:
        """Hear of what commits change, as it was before, from now on; the result ends it."""
        self._before_listeners.append(listener)
        return lambda: self._before_listeners.remove(listener)

    def listen_receipts(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Called whenever reports left the outbox because the cloud has them, from now on; the result ends it."""
        self._receipt_listeners.append(listener)
        return lambda: self._receipt_listeners.remove(listener)

    async def apply(self, batch: EdgeBatch) -> int:
        """Durable when it returns; the outbox's newest seq. Errors as `EdgeStore.apply`."""
        loop = asyncio.get_running_loop()
        before = self._before(batch)
        # Told from a callback of the write itself, so that a caller's cancellation can't keep a commit secret.
        future = self._writer.submit(self._store.apply, batch)
        future.add_done_callback(
            lambda done: (
                None if done.cancelled() or done.exception() else _later(loop, lambda: self._tell(batch, before))
            )
        )
        return await asyncio.wrap_future(future)

    def _before(self, batch: EdgeBatch) -> Sequence[Held]:
        if not self._before_listeners:
            return ()
        keys = dict.fromkeys((*(held.key for held in batch.puts), *batch.deletes))
        return [held for key in keys if (held := self._store.get(key)) is not None]

    def _tell(self, batch: EdgeBatch, before: Sequence[Held]) -> None:
        for hears in tuple(self._before_listeners):
            hears(before)
        for listener in tuple(self._listeners):
            listener(batch)

    async def begin_life(self, incarnation: str, settled: Sequence[tuple[int, Span]]) -> None:
        loop = asyncio.get_running_loop()
        self._lives_being_begun += 1
        future = self._writer.submit(self._store.begin_life, incarnation, settled)
        future.add_done_callback(lambda _: _later(loop, self._life_was_begun))
        await asyncio.wrap_future(future)

    def _life_was_begun(self) -> None:
        self._lives_being_begun -= 1
        self._tell_receipt()

    @property
    def is_beginning_life(self) -> bool:
        """Between the old `incarnation` and the new: which of them the outbox is of can't be told."""
        return self._lives_being_begun > 0

    def _tell_receipt(self) -> None:
        for listener in tuple(self._receipt_listeners):
            listener()

    async def prune_outbox(self, *, through: int, first: int = 1, lane: int | None = None) -> None:
        future = self._writer.submit(self._store.prune_outbox, through=through, first=first, lane=lane)
        await asyncio.wrap_future(future)
        self._tell_receipt()

    async def salvage(self) -> None:
        """Save what a damaged store had for the cloud; before it returns, nothing of the outbox may be told. Other
        writes go in between. Raises `DamagedError`; what else stands in the way, a full disk, is waited for."""
        told = False
        while True:
            try:
                if not await asyncio.wrap_future(self._writer.submit(self._store.salvage)):
                    return
            except DamagedError:
                raise
            except UnavailableError as error:
                if not told:
                    LOG.warning("what a damaged store had for the cloud can't be saved yet error=%s", error)
                told = True
                await asyncio.sleep(SALVAGE_AGAIN_S)

    @property
    def incarnation(self) -> str:
        return self._store.incarnation

    def get(self, key: Key) -> Held | None:
        return self._store.get(key)

    def list(self, resource: str, *, namespace: str = "") -> Sequence[Held]:
        return self._store.list(resource, namespace=namespace)

    def stamps(self) -> Iterable[tuple[Key, Stamp]]:
        return self._store.stamps()

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[OutboxReport]:
        return self._store.outbox(after=after, limit=limit, lane=lane)

    def take(
        self, *, after: int, limit: int, lane: int | None = None, until: int | None = None
    ) -> Taken[OutboxReport]:
        return self._store.take(after=after, limit=limit, lane=lane, until=until)

    def give_back(self, seqs: Sequence[int]) -> None:
        self._store.give_back(seqs)

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        self._store.welcomed(settled)

    def outbox_head(self) -> int:
        return self._store.outbox_head()

    def outbox_left(self) -> int:
        return self._store.outbox_left()

    def outbox_starts(self) -> Sequence[Start]:
        return self._store.outbox_starts()

    def note_sent(self, through: int) -> None:
        self._store.note_sent(through)

    def boots(self) -> Sequence[BootTimes]:
        return self._store.boots()

    def twins(self, device: Key | None = None) -> Sequence[TwinRow]:
        return self._store.twins(device)

    def pods(self) -> Sequence[tuple[str, bytes]]:
        return self._store.pods()

    def pod(self, uid: str) -> bytes | None:
        return self._store.pod(uid)

    def commands(self) -> Sequence[tuple[str, bytes]]:
        return self._store.commands()

    def pushes(self, queue: str, *, after: int = 0, limit: int) -> Sequence[Push]:
        return self._store.pushes(queue, after=after, limit=limit)

    def push_queues(self) -> Sequence[PushQueue]:
        return self._store.push_queues()

    def rules(self) -> Sequence[tuple[str, bytes]]:
        return self._store.rules()

    def meta(self, name: str) -> str | None:
        return self._store.meta(name)

    def stats(self) -> StoreStats:
        return self._store.stats()

    def damage(self) -> str:
        """As `EdgeStore.damage`: never from the loop's own thread."""
        return self._store.damage()

    def close(self) -> None:
        """Finish the writes that were begun, then close the store. Blocks for as long as those take."""
        self._writer.shutdown(wait=True)
        self._store.close()


def _later(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(act)
