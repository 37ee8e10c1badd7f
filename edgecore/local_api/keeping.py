"""Writes that need not wait for a link: Events, and annotations of this gateway's pods. The cloud takes them later.

Each is decided by the roles that came down, written to the outbox in one transaction, and answered when that is
durable: it survives a power cut, goes up once and in order with the gateway's own events, and has a part of their
room and no more. Every other write is refused as before. Keeps nothing but the outbox's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgecore.local_api.answers import Answer, json_answer
from edgecore.local_api.requests import Request
from edgecore.store.port import EdgeBatch, NewReport, OutboxReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import BadRequestError, TooManyRequestsError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject, decode_object, int_at, map_at, str_at
from skerry.objects.kept_writes import (
    POD_ANNOTATIONS,
    WRITTEN_BY,
    PodAnnotations,
    annotations_in,
    event_in,
)
from skerry.objects.meta import Key, annotations_of, uid_of
from skerry.objects.reports import EVENT, EventReport
from skerry.objects.times import time_text
from skerry.ports import Clock, Ids

BODY_BYTES_MAX: Final = 16 * 1024
KEPT_MAX: Final = 1000
"""That wait at once: the agent's own events have the same room, and are not to be crowded out."""
WAITING_READ_MAX: Final = 20_000
_MERGES: Final = ("application/merge-patch+json", "application/strategic-merge-patch+json")
_SUBJECTS: Final = {"Pod": "pods", "Node": "nodes", "Device": "devices.devices.kubeedge.io"}
"""What Events may be about: the cloud takes those of what is on this gateway."""
WARNING: Final = '299 - "there is no link to the cloud: kept on this gateway, and written there when there is one"'


class Asker(Frozen):
    """Whose write it is, and where it goes."""

    by: str
    group: str
    plural: str
    namespace: str
    name: str
    subresource: str


def can_be_kept(request: Request, asker: Asker) -> bool:
    """By its form alone."""
    if asker.subresource or len(request.body) > BODY_BYTES_MAX or not asker.namespace:
        return False
    if asker.plural == "events" and asker.group in ("", "events.k8s.io"):
        return request.method == "POST" and not asker.name and _type(request) in ("", "application/json")
    return request.method == "PATCH" and asker.plural == "pods" and asker.group == "" and _type(request) in _MERGES


def _type(request: Request) -> str:
    return request.header("content-type").partition(";")[0].strip().lower()


class KeptWrites:
    """See the module."""

    def __init__(self, store: AsyncEdgeStore, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def keep(self, request: Request, asker: Asker) -> Answer | None:
        """The answer to a write that is kept; None for one that can't be. Whoever asks may write it, as far as is
        known here. Raises the errors of `skerry.errors`."""
        try:
            body = decode_object(request.body)
        except (ValueError, AssertionError) as error:
            raise BadRequestError(f"the body is no JSON object: {error}") from error
        if request.text("dryRun"):
            return None
        if asker.plural == "events":
            return await self._event(asker, body)
        return await self._annotations(asker, body)

    async def _event(self, asker: Asker, body: JsonObject) -> Answer | None:
        now_ms = self._clock.wall_ms()
        event = event_in(
            body,
            group=asker.group,
            namespace=asker.namespace,
            by=asker.by,
            suffix=self._ids.token_hex(5),
            now_ms=now_ms,
        )
        about = map_at(event, "involvedObject")
        resource = _SUBJECTS.get(str_at(about, "kind"))
        if resource is None:
            return None
        place = "" if resource == "nodes" else str_at(about, "namespace")
        held = self._store.get(Key(resource, place, str_at(about, "name")))
        if held is None or str_at(about, "uid") not in ("", held.stamp.uid, str_at(about, "name")):
            return None
        if resource != "nodes":
            about["uid"] = held.stamp.uid  # a part of what was made here
        await self._write(NewReport(report_class="event", kind=EVENT, key="", body=EventReport(event=event).encode()))
        metadata: JsonObject = {**map_at(body, "metadata"), **map_at(event, "metadata")}
        return _answer({**body, "metadata": metadata}, 201)

    async def _annotations(self, asker: Asker, body: JsonObject) -> Answer | None:
        wanted = annotations_in(body)
        held = self._store.get(Key("pods", asker.namespace, asker.name))
        if held is None or wanted is None:
            return None
        pod = self._seen(decode_object(held.body))
        before = annotations_of(pod)
        told = PodAnnotations(
            by=asker.by,
            at_ms=self._clock.wall_ms(),
            namespace=asker.namespace,
            pod=asker.name,
            uid=uid_of(pod),
            wanted=wanted,
            before={name: before.get(name) for name in wanted},
        )
        await self._write(NewReport(report_class="event", kind=POD_ANNOTATIONS, key="", body=told.encode()))
        return _answer(told.applied(pod), 200)

    def _seen(self, pod: JsonObject) -> JsonObject:
        """The pod as it is with what waits: who writes twice is in no conflict with himself."""
        for report in self._waiting():
            if report.kind == POD_ANNOTATIONS:
                told = PodAnnotations.decode(decode_object(report.body))
                if told.uid == uid_of(pod):
                    pod = told.applied(pod)
        return pod

    async def _write(self, report: NewReport) -> None:
        if len(self._waiting()) >= KEPT_MAX:
            raise TooManyRequestsError(
                f"{KEPT_MAX} writes wait for the cloud already, and no more are kept", retry_after_s=60
            )
        await self._store.apply(EdgeBatch(reports=(report,)))

    def _waiting(self) -> Sequence[OutboxReport]:
        return waiting(self._store)


def _answer(obj: JsonObject, code: int) -> Answer:
    return replace(json_answer(obj, code), headers=(("Warning", WARNING),))


def waiting(store: AsyncEdgeStore) -> Sequence[OutboxReport]:
    """Kept writes that are still here, oldest first."""
    return [report for report in store.outbox(after=0, limit=WAITING_READ_MAX) if _is_kept(report)]


def _is_kept(report: OutboxReport) -> bool:
    return report.kind == POD_ANNOTATIONS or (report.kind == EVENT and WRITTEN_BY.encode() in report.body)


def shown(report: OutboxReport) -> JsonObject:
    """For people."""
    body = decode_object(report.body)
    if report.kind == POD_ANNOTATIONS:
        told = PodAnnotations.decode(body)
        what = [f"{name}={value}" if value is not None else f"{name}-" for name, value in told.wanted.items()]
        target, by, at_ms = f"{told.namespace}/{told.pod}", told.by, told.at_ms
        return {"kind": "annotations", "by": by, "time": time_text(at_ms), "target": target, "what": ", ".join(what)}
    about = map_at(body, "involvedObject")
    return {
        "kind": "event",
        "by": str_at(body, "metadata", "annotations", WRITTEN_BY),
        "time": str_at(body, "lastTimestamp"),
        "target": "/".join(part for part in (str_at(about, "namespace"), str_at(about, "name")) if part),
        "what": f"{str_at(body, 'reason')}: {str_at(body, 'message')}"[:200],
        "count": int_at(body, "count"),
    }
