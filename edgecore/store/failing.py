"""An edge store that fails on plan: for tests of what its users do then.

Wraps any other form. Writes fail while `fail_writes_with` holds an error, and nothing of them is kept; reads
always work, as they do on a full disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgecore.store.port import EdgeBatch, EdgeStore, Held, OutboxReport, Push, PushQueue, StoreStats, TwinRow
from skerry.errors import UnavailableError
from skerry.objects.meta import Key, Stamp
from skerry.objects.spans import Span
from skerry.sync.ports import BootTimes, Taken
from skerry.wire.frames import Start


class FailingEdgeStore:
    """See `EdgeStore`. `attempts` counts the writes that were refused."""

    def __init__(self, inner: EdgeStore) -> None:
        self._inner = inner
        self.fail_writes_with: UnavailableError | None = None
        self.attempts = 0

    def _check(self) -> None:
        if self.fail_writes_with is not None:
            self.attempts += 1
            raise self.fail_writes_with

    @property
    def incarnation(self) -> str:
        return self._inner.incarnation

    def apply(self, batch: EdgeBatch) -> int:
        self._check()
        return self._inner.apply(batch)

    def outbox_left(self) -> int:
        return self._inner.outbox_left()

    def outbox_starts(self) -> Sequence[Start]:
        return self._inner.outbox_starts()

    def note_sent(self, through: int) -> None:
        self._inner.note_sent(through)

    def begin_life(self, incarnation: str, settled: Sequence[tuple[int, Span]]) -> None:
        self._check()
        self._inner.begin_life(incarnation, settled)

    def prune_outbox(self, *, through: int, first: int = 1, lane: int | None = None) -> None:
        self._check()
        self._inner.prune_outbox(through=through, first=first, lane=lane)

    def salvage(self) -> bool:
        self._check()
        return self._inner.salvage()

    def get(self, key: Key) -> Held | None:
        return self._inner.get(key)

    def list(self, resource: str, *, namespace: str = "") -> Sequence[Held]:
        return self._inner.list(resource, namespace=namespace)

    def stamps(self) -> Iterable[tuple[Key, Stamp]]:
        return self._inner.stamps()

    def outbox(self, *, after: int, limit: int, lane: int | None = None) -> Sequence[OutboxReport]:
        return self._inner.outbox(after=after, limit=limit, lane=lane)

    def take(
        self, *, after: int, limit: int, lane: int | None = None, until: int | None = None
    ) -> Taken[OutboxReport]:
        return self._inner.take(after=after, limit=limit, lane=lane, until=until)

    def give_back(self, seqs: Sequence[int]) -> None:
        self._inner.give_back(seqs)

    def welcomed(self, settled: Sequence[tuple[int | None, Span]]) -> None:
        self._inner.welcomed(settled)

    def outbox_head(self) -> int:
        return self._inner.outbox_head()

    def boots(self) -> Sequence[BootTimes]:
        return self._inner.boots()

    def twins(self, device: Key | None = None) -> Sequence[TwinRow]:
        return self._inner.twins(device)

    def pods(self) -> Sequence[tuple[str, bytes]]:
        return self._inner.pods()

    def pod(self, uid: str) -> bytes | None:
        return self._inner.pod(uid)

    def commands(self) -> Sequence[tuple[str, bytes]]:
        return self._inner.commands()

    def pushes(self, queue: str, *, after: int = 0, limit: int) -> Sequence[Push]:
        return self._inner.pushes(queue, after=after, limit=limit)

    def push_queues(self) -> Sequence[PushQueue]:
        return self._inner.push_queues()

    def rules(self) -> Sequence[tuple[str, bytes]]:
        return self._inner.rules()

    def meta(self, name: str) -> str | None:
        return self._inner.meta(name)

    def stats(self) -> StoreStats:
        return self._inner.stats()

    def damage(self) -> str:
        return self._inner.damage()

    def close(self) -> None:
        self._inner.close()
