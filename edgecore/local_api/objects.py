"""The objects as this gateway knows them now: as the cloud sent them, with what has happened here since.

A pod's status is the one this gateway told last; a Device has the values wanted here; its DeviceStatus is made from
the twins. Keeps a short list of which keys changed, in memory, so that a watch can go on from a list; a restart of
the agent ends that list, and a client is told to list again (410), as Kubernetes does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from edgecore.local_api.kinds import COMMAND, DEVICE, DEVICE_RULE, DEVICE_STATUS, EVENT, POD
from edgecore.local_api.ports import DeviceSummary, LocalParts, PropertyTwin
from edgecore.local_api.told_events import ToldEvents
from edgecore.store.port import EdgeBatch, Held, NewReport
from skerry.errors import GoneError
from skerry.objects.commands import REPORT
from skerry.objects.device_desired import with_twins
from skerry.objects.device_rule_reports import STATUS_REPORT, with_status
from skerry.objects.device_twins import with_reported, with_state
from skerry.objects.holds import with_holding
from skerry.objects.json import JsonObject, decode_object, encode_object, ensure_map, map_at, str_at
from skerry.objects.meta import Key, labels_of, name_of, namespace_of, uid_of
from skerry.objects.mirror_pods import may_mirror, mirrored_uid
from skerry.objects.reports import POD_STATUS
from skerry.objects.scheme import Kind
from skerry.objects.twins import DeviceName, DeviceState, TwinReported, decode_device_state, state_of

CHANGES_KEPT: Final = 2048
GONE_BYTES_MAX: Final = 1 << 20
"""Of deleted objects, for those who watch from before."""
OWN: Final = 1 << 50
"""Numbers of this agent begin here: no revision of a cloud's store is taken for one."""
DEVICE_STATE: Final = "device_state"


class Change(NamedTuple):
    """An object looks different."""

    number: int
    key: Key
    shown: int
    """The `resourceVersion` that it shows since then, the cloud's; 0 for none."""
    labels: Mapping[str, str] | None
    """What it had before; None where there was none."""
    gone: bytes | None = None
    """What was deleted, as it was."""


class LocalObjects:
    """Reads, and news of changes. `revision` is this agent's own count, not the cloud's."""

    def __init__(self, parts: LocalParts) -> None:
        self._parts = parts
        # Begins at the time, so that no number of an earlier agent is taken for one of this one's.
        self._first = self._floor = self.revision = OWN + parts.clock.wall_ms()
        self._changes: deque[Change] = deque()
        self._gone_bytes = 0
        self._before: dict[Key, Held] = {}
        self._news: set[asyncio.Event] = set()
        self._events = ToldEvents(parts.store)

    def listen(self) -> Callable[[], None]:
        """Hear of commits from now on; the result ends it."""
        stops = (
            self._parts.store.listen(self._committed),
            self._parts.store.listen_before(self._changing),
            self._parts.static.listen(self._changed),
            self._events.listen(),
        )

        def stop() -> None:
            for each in stops:
                each()

        return stop

    def _changing(self, before: Sequence[Held]) -> None:
        self._before = {held.key: held for held in before}

    def _committed(self, batch: EdgeBatch) -> None:
        self._changed(changed_keys(batch), batch)
        self._before = {}

    def _changed(self, keys: Collection[Key], batch: EdgeBatch | None = None) -> None:
        """`batch`: what brought it about; None where that is no commit."""
        put = {held.key: held for held in batch.puts} if batch is not None else {}
        deleted = set(batch.deletes) if batch is not None else set[Key]()
        for key in keys:
            self.revision += 1
            before = self._before.get(key)
            if key in put or key in deleted:
                labels = None if before is None else labels_of(decode_object(before.body))
                shown = put[key].stamp.revision if key in put else 0
            else:
                shown, labels = self._as_is(key)
            gone = before.body if before is not None and key in deleted else None
            self._changes.append(Change(self.revision, key, shown, labels, gone))
            self._gone_bytes += len(gone or b"")
        while len(self._changes) > CHANGES_KEPT or self._gone_bytes > GONE_BYTES_MAX:
            dropped = self._changes.popleft()
            self._floor = dropped.number
            self._gone_bytes -= len(dropped.gone or b"")
        if keys:
            for event in self._news:
                event.set()

    def _as_is(self, key: Key) -> tuple[int, Mapping[str, str] | None]:
        """Of what changed here alone: number and labels stay."""
        held = self._parts.store.get(key)
        if held is None:
            return 0, {}
        return held.stamp.revision, labels_of(decode_object(held.body))

    def follow(self) -> tuple[asyncio.Event, Callable[[], None]]:
        """An event that is set at every change, and how to let go of it."""
        event = asyncio.Event()
        self._news.add(event)
        return event, lambda: self._news.discard(event)

    def changed_since(self, revision: int) -> list[Change]:
        """In order. Raises `GoneError` when that is not known (any more)."""
        if not self._floor <= revision <= self.revision:
            raise GoneError(f"too old resource version: {revision} ({self._floor})", compacted=self._floor)
        return [change for change in self._changes if change.number > revision]

    def is_own(self, revision: int) -> bool:
        """One of this agent's numbers, or of an earlier one's; the others are the cloud's."""
        return revision >= OWN

    def resume(self, kind: Kind, revision: int) -> int:
        """The number from which to go on for who has seen `revision`: of a list, a bookmark, or an object, which has
        the cloud's number. At most too much is told again. Raises `GoneError`."""
        if self.is_own(revision):
            self.changed_since(revision)
            return revision
        for change in self._changes:
            if change.shown == revision and change.key.resource == kind.resource:
                return change.number
        # It was there when this agent began, and nothing was forgotten since.
        known = any(held.stamp.revision == revision for held in self._parts.store.list(kind.resource))
        if not known or self._floor != self._first:
            raise GoneError(f"too old resource version: {revision} ({self._floor})", compacted=self._floor)
        return self._first

    def last_seen(self, kind: Kind, change: Change) -> JsonObject:
        """What was deleted."""
        head: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind}
        if change.gone is None:
            return {**head, "metadata": {**_metadata(change.key), "resourceVersion": str(change.number)}}
        obj: JsonObject = {**head, **decode_object(change.gone)}
        ensure_map(obj, "metadata")["resourceVersion"] = str(change.number)
        return obj

    def list(self, kind: Kind, namespace: str) -> list[JsonObject]:
        if kind is DEVICE_STATUS:
            devices = self._parts.store.list(DEVICE.resource, namespace=namespace)
            found = [self.get(kind, item.key.namespace, item.key.name) for item in devices]
            return [obj for obj in found if obj is not None]
        if kind is COMMAND:
            return [self._command(obj) for obj in self._parts.commands() if namespace in ("", namespace_of(obj))]
        if kind is EVENT:
            return [self._numbered(event) for event in self._events.list(namespace)]
        return [self._shown(kind, item.key, item.body) for item in self._held(kind, namespace)]

    def _held(self, kind: Kind, namespace: str) -> Iterable[_Held]:
        held = [_Held(item.key, item.body) for item in self._parts.store.list(kind.resource, namespace=namespace)]
        if kind is not POD or not self._parts.static.pods:
            return held
        named = {item.key: self._of_file(item) or item for item in held}
        for key, static in self._parts.static.pods.items():
            if namespace in ("", key.namespace):
                named.setdefault(key, _Held(key, encode_object(static.pod)))
        return [named[key] for key in sorted(named)]

    def _of_file(self, item: _Held) -> _Held | None:
        """What a file says where the cloud shows something older; None where it shows that, or a pod of its own."""
        static = self._parts.static.pods.get(item.key)
        if static is None or not may_mirror(item.body):
            return None
        shown = mirrored_uid(decode_object(item.body))
        return _Held(item.key, encode_object(static.pod)) if shown not in ("", static.uid) else None

    def get(self, kind: Kind, namespace: str, name: str) -> JsonObject | None:
        if kind is DEVICE_STATUS:
            held = self._parts.store.get(Key(DEVICE.resource, namespace, name))
            return self._device_status(held.key, decode_object(held.body)) if held is not None else None
        if kind in (COMMAND, EVENT):
            return next((obj for obj in self.list(kind, namespace) if name_of(obj) == name), None)
        key = Key(kind.resource, namespace, name)
        if kind is POD and key in self._parts.static.pods:
            return next(self._shown(kind, key, item.body) for item in self._held(kind, namespace) if item.key == key)
        held = self._parts.store.get(key)
        return self._shown(kind, held.key, held.body) if held is not None else None

    def _command(self, obj: JsonObject) -> JsonObject:
        return self._numbered({"apiVersion": COMMAND.api_version, "kind": COMMAND.kind, **obj})

    def _numbered(self, obj: JsonObject) -> JsonObject:
        ensure_map(obj, "metadata")["resourceVersion"] = str(self.revision)
        return obj

    def _shown(self, kind: Kind, key: Key, body: bytes) -> JsonObject:
        obj: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind, **decode_object(body)}
        held = self._parts.store.get(key)
        if held is not None:
            ensure_map(obj, "metadata")["resourceVersion"] = str(held.stamp.revision)
        if kind is POD:
            if held is None:
                ensure_map(obj, "metadata")["resourceVersion"] = str(self.revision)
            told = self._pod_status(mirrored_uid(obj) or uid_of(obj))
            if told:
                obj["status"] = {**map_at(obj, "status"), **told}
        elif kind is DEVICE:
            return self._device(key, obj)
        elif kind is DEVICE_RULE:
            told = self._parts.rule_status(key)
            return obj if told is None else with_status(obj, told, at_ms=self._parts.clock.wall_ms())
        return obj

    def _pod_status(self, uid: str) -> JsonObject:
        record = self._parts.store.pod(uid)
        return map_at(decode_object(record), "status") if record is not None else {}

    def _device(self, key: Key, obj: JsonObject) -> JsonObject:
        wanted = {
            twin.prop: twin.state.desired for twin in self._parts.twins.twins(key) if twin.state.desired is not None
        }
        summary = next((one for one in self._parts.twins.devices() if one.device == key), None)
        return with_holding(with_twins(obj, wanted), summary.holding if summary is not None else None)

    def _device_status(self, key: Key, device: JsonObject) -> JsonObject:
        status: JsonObject = {}
        for twin in self._parts.twins.twins(key):
            status = with_reported(status, _reported(key, device, twin), received_ms=twin_time_ms(twin))
        summary = next((one for one in self._parts.twins.devices() if one.device == key), None)
        if summary is not None:
            status = with_state(status, _state(key, device, summary))
        if not status:
            return {"apiVersion": DEVICE_STATUS.api_version, "kind": DEVICE_STATUS.kind, "metadata": _metadata(key)}
        ensure_map(status, "metadata")["resourceVersion"] = str(self.revision)
        return status


class _Held:
    """Key and body of one object."""

    __slots__ = ("body", "key")

    def __init__(self, key: Key, body: bytes) -> None:
        self.key = key
        self.body = body


def _metadata(key: Key) -> JsonObject:
    return {"namespace": key.namespace, "name": key.name}


def _name(key: Key, device: JsonObject) -> DeviceName:
    return DeviceName(namespace=key.namespace, name=key.name, uid=uid_of(device))


def _reported(key: Key, device: JsonObject, twin: PropertyTwin) -> TwinReported:
    return TwinReported(
        device=_name(key, device),
        prop=twin.prop,
        reported=twin.state.reported,
        observed=twin.state.desired,
        ack=twin.state.ack,
    )


def _state(key: Key, device: JsonObject, summary: DeviceSummary) -> DeviceState:
    return DeviceState(
        device=_name(key, device),
        state=state_of(summary.state),
        reason=summary.reason,
        last_online_ms=summary.last_online_ms,
    )


def twin_time_ms(twin: PropertyTwin) -> int:
    """When this gateway took the value in: here that is also when it was received."""
    return twin.state.reported.gateway_ms if twin.state.reported is not None else 0


def changed_keys(batch: EdgeBatch) -> list[Key]:
    """Which objects look different after this batch, those that are made from other data included."""
    keys = [*(held.key for held in batch.puts), *batch.deletes]
    keys += [Key(DEVICE_STATUS.resource, key.namespace, key.name) for key in keys if key.resource == DEVICE.resource]
    for device in [*(twin.device for twin in batch.twins), *batch.twin_deletes]:
        keys += [device, Key(DEVICE_STATUS.resource, device.namespace, device.name)]
    keys += [key for report in batch.reports if (key := _key_of_report(report)) is not None]
    records = [decode_object(body) for _, body in batch.pods if body is not None]
    keys += [Key(POD.resource, str_at(each, "namespace"), str_at(each, "name")) for each in records]
    return list(dict.fromkeys(keys))


def _key_of_report(report: NewReport) -> Key | None:
    if report.kind == POD_STATUS:
        body = decode_object(report.body)
        return Key(POD.resource, str_at(body, "namespace"), str_at(body, "name"))
    if report.kind in (REPORT, STATUS_REPORT):
        body = decode_object(report.body)
        kind = COMMAND if report.kind == REPORT else DEVICE_RULE
        return Key(kind.resource, str_at(body, "namespace"), str_at(body, "name"))
    if report.kind == DEVICE_STATE:
        device = decode_device_state(report.body).device
        return Key(DEVICE_STATUS.resource, device.namespace, device.name)
    return None
