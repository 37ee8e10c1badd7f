"""What a technician does at the gateway by hand, link or no link: pods restarted, stopped, started; upgrades held.

Each act is written down with who and when before it is carried out, in one transaction with what will tell the cloud
of it. Kept in the edge store: in the pod's record that it is stopped, or which runs are to end; in `meta` the hold,
and the newest acts for who asks here. A crash leaves what was written, and the next agent carries it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from edgecore.pods.containers import policy_of, runs_of
from edgecore.pods.events import about_node, event_body
from edgecore.pods.holding import Stopped
from edgecore.pods.manager import PODS, PodManager
from edgecore.pods.port import Runtime
from edgecore.pods.records import PodRecord
from edgecore.pods.sources import GatewayPod
from edgecore.store.port import EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import ConflictError, InvalidError, NotFoundError
from skerry.frozen import Frozen, replace
from skerry.objects.events import event_object
from skerry.objects.json import JsonObject, decode_object, encode_object, maps_at, str_at
from skerry.objects.local_changes import EVENTS, LOCAL_CHANGE, WORDS_MAX, Entry, LocalChange, UpgradeHold, hold_of
from skerry.objects.meta import Key, being_deleted, generation_of
from skerry.ports import Clock, Ids

META_HOLD: Final = "upgrade_hold"
META_ACTS: Final = "local_acts"
ACTS_KEPT: Final = 200
"""Of the newest, for who asks on the gateway; the cloud has all."""


class Hold:
    """Whether upgrades are held, by the store that keeps it. Asked often, so it is remembered."""

    def __init__(self, store: AsyncEdgeStore, clock: Clock) -> None:
        self._clock = clock
        kept = store.meta(META_HOLD) or ""
        self._hold = hold_of(decode_object(kept.encode())) if kept else None

    def __call__(self) -> UpgradeHold | None:
        """None where they are not, or not any more."""
        hold = self._hold
        return hold if hold is not None and hold.holds(self._clock.wall_ms()) else None

    def set(self, hold: UpgradeHold | None) -> None:
        """It has been written down."""
        self._hold = hold


class ActParts(Frozen):
    """What they are done with."""

    store: AsyncEdgeStore
    runtime: Runtime
    pods: PodManager
    hold: Hold
    clock: Clock
    ids: Ids
    node: str


class LocalActs:
    """See the module. `by` is who asks, for people. Errors are those of `skerry.errors`."""

    def __init__(self, parts: ActParts) -> None:
        self._parts = parts
        self._turn = asyncio.Lock()
        """Whoever writes an act down reads first which there are: one after the other, or one of two is lost."""

    # --- pods ---

    async def restart(self, by: str, namespace: str, name: str, container: str) -> JsonObject:
        """End a pod's containers, or one, and have them start again. Answers which runs end."""
        found = self._found(namespace, name)
        names = [str_at(one, "name") for one in maps_at(found.pod, "spec", "containers")]
        if container and container not in names:
            raise NotFoundError(f'pod "{name}" has no container "{container}" (it has: {", ".join(names)})')
        if self._stopped(found.uid) is not None:
            raise ConflictError(f'pod "{name}" is stopped here: start it with `skerry pod start {name}`')
        attempts = await self._newest(found.uid, [container] if container else names)
        change = LocalChange(
            act="restart", by=by, at_ms=self._now_ms(), namespace=namespace, pod=name, container=container
        )
        await self._do(change, found, lambda record: replace(record, restarts={**record.restarts, **attempts}))
        self._parts.pods.restart(found.uid, attempts)
        return {"pod": name, "ends": {**attempts}}

    async def stop(self, by: str, namespace: str, name: str, reason: str) -> JsonObject:
        """End a pod's containers until it is started here, or changed in the cloud."""
        found = self._found(namespace, name)
        if self._stopped(found.uid) is not None:
            return {"pod": name, "stopped": True}
        now_ms = self._now_ms()
        stopped = Stopped(by=by, at_ms=now_ms, generation=generation_of(found.pod))
        change = LocalChange(act="stop", by=by, at_ms=now_ms, namespace=namespace, pod=name, reason=reason)
        await self._do(change, found, lambda record: replace(record, stopped=stopped, restarts={}))
        return {"pod": name, "stopped": True}

    async def start(self, by: str, namespace: str, name: str) -> JsonObject:
        """Let a pod's containers run again that was stopped here."""
        found = self._found(namespace, name)
        if self._stopped(found.uid) is None:
            raise ConflictError(f'pod "{name}" is not stopped here')
        names = [str_at(one, "name") for one in maps_at(found.pod, "spec", "containers")]
        attempts = await self._newest(found.uid, names)
        change = LocalChange(act="start", by=by, at_ms=self._now_ms(), namespace=namespace, pod=name)
        # The runs that were ended did not crash: what follows them waits for nothing.
        await self._do(change, found, lambda record: replace(record, stopped=None, restarts=attempts))
        self._parts.pods.restart(found.uid, attempts)
        return {"pod": name, "stopped": False}

    def _found(self, namespace: str, name: str) -> GatewayPod:
        found = self._parts.pods.find(Key(PODS, namespace, name))
        if found is None or not self._parts.pods.has(found.uid):
            raise NotFoundError(f'pods "{name}" not found on this gateway')
        if being_deleted(found.pod):
            raise ConflictError(f'pod "{name}" is being deleted')
        policy = policy_of(found.pod)
        if policy != "Always":
            raise InvalidError(f'pod "{name}" has restartPolicy {policy}: what is ended would not start again')
        return found

    def _stopped(self, uid: str) -> Stopped | None:
        return self._parts.pods.stopped(uid)

    async def _newest(self, uid: str, names: list[str]) -> dict[str, int]:
        states = await self._parts.runtime.list(uid)
        newest = {name: runs_of(states, name) for name in names}
        return {name: runs[-1].attempt for name, runs in newest.items() if runs}

    async def _do(self, change: LocalChange, found: GatewayPod, written: Callable[[PodRecord], PodRecord]) -> None:
        about: JsonObject = {"kind": "Pod", "apiVersion": "v1", "metadata": found.pod.get("metadata")}
        await self._write(change, about, lambda batch: self._parts.pods.write(found.uid, written, batch))

    async def enter(self, by: str, entry: Entry, namespace: str, name: str, where: str) -> None:
        """Somebody goes into a container, or to a port. Written before it is done; what is said never is."""
        found = self._parts.pods.find(Key(PODS, namespace, name))
        if found is None:
            raise NotFoundError(f'pods "{name}" not found on this gateway')
        is_port = entry == "port-forward"
        change = LocalChange(
            act=entry,
            by=by,
            at_ms=self._now_ms(),
            namespace=namespace,
            pod=name,
            container="" if is_port else where,
            reason=f"port {where}" if is_port else "",
        )
        about: JsonObject = {"kind": "Pod", "apiVersion": "v1", "metadata": found.pod.get("metadata")}
        await self._write(change, about, self._parts.store.apply)

    # --- upgrades ---

    def hold(self) -> UpgradeHold | None:
        return self._parts.hold()

    async def hold_upgrades(self, by: str, reason: str, until_ms: int | None) -> UpgradeHold:
        now_ms = self._now_ms()
        if until_ms is not None and until_ms <= now_ms:
            raise InvalidError("until: it is over already by the gateway's clock")
        hold = UpgradeHold(by=by, since_ms=now_ms, until_ms=until_ms, reason=reason[:WORDS_MAX])
        change = LocalChange(act="hold", by=by, at_ms=now_ms, reason=hold.reason, until_ms=until_ms)
        await self._write_hold(change, hold.encode())
        self._parts.hold.set(hold)
        self._parts.pods.refresh_all()
        return hold

    async def release_upgrades(self, by: str) -> None:
        if self._parts.hold() is None:
            raise ConflictError("upgrades are not held here")
        change = LocalChange(act="release", by=by, at_ms=self._now_ms())
        await self._write_hold(change, "")
        self._parts.hold.set(None)
        self._parts.pods.refresh_all()

    async def _write_hold(self, change: LocalChange, text: str) -> None:
        await self._write(
            change,
            about_node(self._parts.node),
            lambda batch: self._parts.store.apply(replace(batch, meta=(*batch.meta, (META_HOLD, text)))),
        )

    # --- what is told and kept ---

    def changes(self) -> list[JsonObject]:
        """The newest first, as this gateway knows them."""
        return [LocalChange.decode(row).shown() for row in reversed(self._rows())]

    def _rows(self) -> list[JsonObject]:
        kept = self._parts.store.meta(META_ACTS) or ""
        return maps_at(decode_object(kept.encode()), "acts") if kept else []

    async def _write(
        self, change: LocalChange, about: JsonObject, commit: Callable[[EdgeBatch], Awaitable[object]]
    ) -> None:
        async with self._turn:
            await commit(self._batch(change, about))

    def _batch(self, change: LocalChange, about: JsonObject) -> EdgeBatch:
        rows = [*self._rows(), change.body()][-ACTS_KEPT:]
        event = event_object(
            about,
            EVENTS[change.act],
            change.sentence(),
            node=self._parts.node,
            suffix=self._parts.ids.token_hex(8),
            now_ms=change.at_ms,
            warning=False,
        )
        kind, body = event_body(event)
        return EdgeBatch(
            reports=(
                NewReport(report_class="event", kind=LOCAL_CHANGE, key="", body=change.encode()),
                NewReport(report_class="event", kind=kind, key="", body=body),
            ),
            meta=((META_ACTS, encode_object({"acts": [*rows]}).decode()),),
        )

    def _now_ms(self) -> int:
        return self._parts.clock.wall_ms()
