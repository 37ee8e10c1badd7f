"""What is written down of one pod and what the cloud is to hear of it, in one transaction.

Keeps the pod's record as it was written last, and what has happened since. A crash before the transaction loses
events of what happened in that moment, nothing else: a status is compared with what was told, not assumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgecore.pods.event_counts import Counts, observed
from edgecore.pods.events import Happening, event_body, event_object
from edgecore.pods.parts import PodParts
from edgecore.pods.records import PodRecord
from edgecore.pods.sources import GatewayPods
from edgecore.store.port import META_EPOCH, EdgeBatch, NewReport
from skerry.frozen import replace
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.pods import GRACE_S
from skerry.objects.reports import POD_STATUS, PodStatusReport
from skerry.objects.times import time_text


class Telling:
    """See the module."""

    def __init__(self, parts: PodParts, pod: Key, uid: str, record: PodRecord | None) -> None:
        self._store, self._clock, self._ids = parts.store, parts.clock, parts.ids
        self._node = parts.node.name
        self._key = pod
        self._uid = uid
        self._pods = GatewayPods(parts.store, parts.files)
        self.record = record
        """As it is now; None before the pod was looked at."""
        self._saved = record
        self._happened: list[Happening] = []
        self._counts = Counts()
        self._writing = asyncio.Lock()
        """One transaction after the other."""

    def happens(self, *what: Happening) -> None:
        """To be told with the next `save`; what waits to be told already is not told twice."""
        self._happened += [each for each in what if each not in self._happened]

    async def write(self, change: Callable[[PodRecord], PodRecord], batch: EdgeBatch) -> None:
        """Commit a change of the record with what else belongs to it; only then it is heeded."""
        async with self._writing:
            record = change(self.record or PodRecord.new(self._key, now_ms=self._clock.wall_ms(), grace_s=GRACE_S))
            await self._store.apply(replace(batch, pods=(*batch.pods, (self._uid, record.encode()))))
            self.record = change(self.record or record)

    async def save(self, pod: JsonObject) -> None:
        """Write down what is new, and what the cloud is to hear of it. Raises `UnavailableError`."""
        async with self._writing:
            await self._commit(pod)

    async def _commit(self, pod: JsonObject) -> None:
        assert self.record is not None
        before = self._saved
        to = self._pods.told_uid(self._key, self._uid)
        now = self.record = replace(self.record, epoch=self._store.meta(META_EPOCH) or "", told_uid=to)
        reports: list[NewReport] = []
        if to and (before is None or _told(before) != _told(now)):
            told = PodStatusReport(
                namespace=self._key.namespace, name=self._key.name, uid=to, status=now.status, gone=now.gone
            )
            reports.append(NewReport(report_class="state", kind=POD_STATUS, key=self._uid, body=told.encode()))
        happened, self._happened = self._happened, []
        counts = self._counts
        for number, what in enumerate(happened):
            counts, report = self._event(pod, what, number, counts)
            reports.append(report)
        if not reports and now == before:
            return
        try:
            await self._store.apply(EdgeBatch(reports=tuple(reports), pods=((self._uid, now.encode()),)))
        except BaseException:
            self._happened = happened + self._happened
            raise
        self._saved, self._counts = now, counts

    def _event(self, pod: JsonObject, what: Happening, number: int, counts: Counts) -> tuple[Counts, NewReport]:
        now_ms = self._clock.wall_ms()
        # Names are in order of time, as a kubelet's are: lists show what happened in one second in that order.
        suffix = f"{now_ms * 1_000_000 + min(number, 999) * 1000 + int(self._ids.token_hex(2), 16) % 1000:x}"
        counts, now = observed(counts, what, suffix=suffix, now_ms=now_ms)
        event = event_object(
            pod, replace(what, message=now.message), node=self._node, suffix=now.suffix, now_ms=now_ms
        )
        event |= {"count": now.count, "firstTimestamp": time_text(now.first_ms)}
        kind, body = event_body(event)
        return counts, NewReport(report_class="event", kind=kind, key="", body=body)


def _told(record: PodRecord) -> tuple[JsonObject, bool, str, str]:
    """What the cloud is to know, of what, and which cloud."""
    return record.status, record.gone, record.told_uid, record.epoch
