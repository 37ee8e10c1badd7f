"""Pushes at work: queues in the store, to the places that Devices name, each queue in order.

One worker a queue, for as long as something waits in it; what goes to one place from one device is one queue, so a
place that is away holds up nobody else. A push is staged in the transaction of its reading and leaves the store when
its place has it: a crash in between sends it twice, never not at all. Works without the cloud.

In memory: how each queue does, for people. What waits, and how many were dropped for want of room, is in the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Mapping, Sequence
from typing import Final, TypeAlias

from devices.mqtt.config import Broker
from devices.protocols import EXTERNAL, driver_of
from devices.pushes import MqttPush, PushTarget, decode_push, device_of, payload_of, push_targets, queue_name
from edgecore.push.places import Places, RefusedError
from edgecore.push.plan import Progress, PushSettings
from edgecore.store.port import EdgeBatch, NewReport, Push, Pushed, PushQueue
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.frozen import Frozen, field, replace
from skerry.objects.device_models import DEVICES, MODELS
from skerry.objects.events import event_object
from skerry.objects.json import JsonObject, decode_object, str_at
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.reports import EVENT, EventReport
from skerry.objects.times import time_text
from skerry.ports import Clock, Ids

LOG = logging.getLogger(__name__)

BATCH: Final = 50
"""Taken from a queue at once, and at most as many are sent twice after a crash."""
NOTED_S: Final = 2.0
"""What arrived is noted this often at least: one disk sync for many."""
AT_ONCE: Final = 8
"""Pushes to one place: a hundred devices that come back together are no reason to open a hundred connections."""
RESTART_S: Final = 5.0
"""After a fault of our own in a worker."""
TOLD_S: Final = 600.0
"""Between two Events of one kind about one queue."""

Targets: TypeAlias = "Mapping[tuple[str, str], tuple[PushTarget, ...]]"
"""By queue and property."""


class PushParts(Frozen):
    """What it is made of."""

    node: str
    store: AsyncEdgeStore
    places: Places
    clock: Clock
    ids: Ids
    drivers: Container[str] = ()
    """Protocols of which others have added a driver."""
    settings: PushSettings = field(default_factory=PushSettings)


class QueueSight(Frozen):
    """A queue as people see it."""

    device: Key
    place: str
    queue: PushQueue
    reason: str
    """Why it does not go on; "" when it does."""


class Pusher:
    """See the module. Everything runs on one event loop."""

    def __init__(self, parts: PushParts) -> None:
        self._parts = parts
        self._changed = True
        self._wake = asyncio.Event()
        self._wake.set()
        self._targets: Targets = {}
        self._progress: dict[str, Progress] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, asyncio.Semaphore] = {}
        """By place."""
        self._dropped: dict[str, tuple[int, float]] = {}
        """By queue: how many were dropped when people were told, and when that was."""
        self._told_s: dict[str, float] = {}
        """When people were told last that a queue fails."""

    async def run(self) -> None:
        """Work until cancelled."""
        store = self._parts.store
        self._dropped = {each.queue: (each.dropped, 0.0) for each in store.push_queues()}
        stop_listening = store.listen(self._committed)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    if self._changed:
                        self._changed = False
                        await self._configure()
                    await self._begin_workers(group)
        finally:
            stop_listening()
            await self._parts.places.close()

    def note_of(self, device: Key) -> str:
        """Why pushes of a device don't arrive, beside its state; "" when they do. Changes rarely."""
        of_device = f"{device.namespace}/{device.name} "
        failing = [
            f"pushes to {queue.rpartition(' ')[2]} fail: {progress.reason}"
            for queue, progress in sorted(self._progress.items())
            if progress.failing and queue.startswith(of_device)
        ]
        return "; ".join(failing)

    def sights(self) -> Sequence[QueueSight]:
        """Queues in which something waits, or from which something was dropped."""
        return [
            QueueSight(
                device=Key(DEVICES, *device_of(each.queue)),
                place=each.queue.rpartition(" ")[2],
                queue=each,
                reason=self._progress[each.queue].reason if each.queue in self._progress else "",
            )
            for each in self._parts.store.push_queues()
        ]

    # --- what there is to do ------------------------------------------------------------------------------

    def _committed(self, batch: EdgeBatch) -> None:
        touched = {held.key.resource for held in batch.puts} | {key.resource for key in batch.deletes}
        if touched & {DEVICES, MODELS}:
            self._changed = True
            self._wake.set()
        if batch.pushes:
            self._wake.set()

    async def _configure(self) -> None:
        """Read anew where readings go. What waits for a place that nobody names any more goes."""
        store = self._parts.store
        models = {
            (namespace_of(model), name_of(model)): model
            for model in (decode_object(held.body) for held in store.list(MODELS))
        }
        devices = [decode_object(held.body) for held in store.list(DEVICES)]
        self._targets = targets_of(devices, models, self._parts.drivers)
        places = {target.place for found in self._targets.values() for target in found}
        self._turns = {place: turn for place, turn in self._turns.items() if place in places}
        wanted = {queue for queue, _ in self._targets}
        ends = [each for each in store.push_queues() if each.queue not in wanted]
        for each in ends:
            LOG.warning("push_queue_ended queue=%r waiting=%d dropped=%d", each.queue, each.waiting, each.dropped)
            for known in (self._progress, self._dropped, self._told_s):
                known.pop(each.queue, None)
        if ends:
            try:
                await store.apply(EdgeBatch(push_ends=tuple(each.queue for each in ends)))
            except UnavailableError as error:  # a full disk: they go with the next change
                LOG.warning("push_queues_not_ended reason=%r", str(error))
        await self._parts.places.keep(brokers_of(self._targets))

    async def _begin_workers(self, group: asyncio.TaskGroup) -> None:
        for each in self._parts.store.push_queues():
            if each.waiting and each.queue not in self._workers:
                self._workers[each.queue] = group.create_task(self._keep(each.queue))
            await self._tell_drops(each)

    async def _keep(self, queue: str) -> None:
        """A worker's root: a fault in one queue is told, and leaves the others alone."""
        try:
            while True:
                try:
                    await self._work(queue)
                    return
                except Exception:
                    LOG.exception("push_failed queue=%r restart_s=%g", queue, RESTART_S)
                    await asyncio.sleep(RESTART_S)
        finally:
            self._workers.pop(queue, None)
            self._wake.set()  # something may have come while the last was sent

    # --- one queue ----------------------------------------------------------------------------------------

    async def _work(self, queue: str) -> None:
        """Until nothing waits in it."""
        while waiting := self._parts.store.pushes(queue, limit=BATCH):
            done: list[Pushed] = []
            try:
                wait_s = await self._send(queue, waiting, done)
            finally:
                if done:
                    await self._note(done)
            if wait_s:
                await asyncio.sleep(wait_s)

    async def _note(self, done: Sequence[Pushed]) -> None:
        """What is done with leaves the store, also when this is cancelled meanwhile: else it is sent again."""
        noting = asyncio.ensure_future(self._apply(EdgeBatch(pushed=tuple(done))))
        try:
            await asyncio.shield(noting)
        except asyncio.CancelledError:
            await asyncio.wait({noting}, timeout=self._parts.settings.store_again_s)
            raise

    async def _send(self, queue: str, waiting: Sequence[Push], done: list[Pushed]) -> float:
        """Send them in order, until one fails; seconds until the next try."""
        until_s = self._parts.clock.monotonic_s() + NOTED_S
        for push in waiting:
            method, told = decode_push(queue, push.body)
            target = next((each for each in self._targets.get((queue, told.prop), ()) if each.method == method), None)
            payload = payload_of(target, told, time_text=_time_text) if target is not None else None
            if target is None or payload is None:
                done.append(Pushed(queue, push.number, arrived=False))  # the property goes elsewhere by now
                continue
            try:
                async with self._turns.setdefault(target.place, asyncio.Semaphore(AT_ONCE)):
                    await self._parts.places.push(target, payload)
            except (UnavailableError, RefusedError) as error:
                if self._failed(queue, push, str(error), refused=isinstance(error, RefusedError)):
                    done.append(Pushed(queue, push.number, arrived=False))
                await self._tell(queue)
                return self._progress[queue].wait_s(self._parts.settings, self._parts.ids.unit())
            done.append(Pushed(queue, push.number))
            await self._arrived(queue)
            if self._parts.clock.monotonic_s() >= until_s:
                return 0.0
        return 0.0

    def _failed(self, queue: str, push: Push, reason: str, *, refused: bool) -> bool:
        """Whether this push is given up."""
        progress = self._progress.get(queue, Progress()).failed(reason, refused=refused)
        given_up = progress.gives_up
        if given_up:
            LOG.warning("push_given_up queue=%r number=%d reason=%r", queue, push.number, reason)
            progress = progress.passed_over()
        self._progress[queue] = progress
        return given_up

    async def _arrived(self, queue: str) -> None:
        before = self._progress.pop(queue, None)
        if before is not None and before.told:
            LOG.info("push_resumed queue=%r", queue)
            await self._event(
                queue, "PushResumed", f"pushes to {queue.rpartition(' ')[2]} arrive again", warning=False
            )

    # --- for people ---------------------------------------------------------------------------------------

    async def _tell(self, queue: str) -> None:
        progress, now_s = self._progress[queue], self._parts.clock.monotonic_s()
        last_s = self._told_s.get(queue)
        if progress.failing and not progress.told and (last_s is None or now_s - last_s >= TOLD_S):
            self._told_s[queue] = now_s
            LOG.warning("push_fails queue=%r reason=%r", queue, progress.reason)
            self._progress[queue] = replace(progress, told=True)
            message = f"pushes to {queue.rpartition(' ')[2]} fail and wait: {progress.reason}"
            await self._event(queue, "PushFailed", message, warning=True)

    async def _tell_drops(self, each: PushQueue) -> None:
        known, at_s = self._dropped.get(each.queue, (0, 0.0))
        now_s = self._parts.clock.monotonic_s()
        if each.dropped <= known or (at_s and now_s - at_s < TOLD_S):
            return
        self._dropped[each.queue] = (each.dropped, now_s)
        place = each.queue.rpartition(" ")[2]
        LOG.warning("push_dropped queue=%r count=%d", each.queue, each.dropped)
        message = f"{each.dropped - known} readings for {place} were dropped; {each.waiting} wait"
        await self._event(each.queue, "PushDropped", message, warning=True)

    async def _event(self, queue: str, reason: str, message: str, *, warning: bool) -> None:
        held = self._parts.store.get(Key(DEVICES, *device_of(queue)))
        if held is None:
            return
        event = event_object(
            decode_object(held.body),
            reason,
            message,
            node=self._parts.node,
            suffix=f"push-{self._parts.ids.token_hex(4)}",
            now_ms=self._parts.clock.wall_ms(),
            warning=warning,
        )
        body = EventReport(event=event).encode()
        report = NewReport(report_class="event", kind=EVENT, key="", body=body)
        try:
            await self._parts.store.apply(EdgeBatch(reports=(report,)))
        except UnavailableError as error:  # the log has it, and a full disk has other worries
            LOG.warning("push_event_not_stored reason=%r", str(error))

    async def _apply(self, batch: EdgeBatch) -> None:
        """Until it is durable: a full disk is waited for."""
        told = ""
        while True:
            try:
                await self._parts.store.apply(batch)
            except UnavailableError as error:
                if str(error) != told:
                    LOG.warning("push_not_noted reason=%r", str(error))
                told = str(error)
                await asyncio.sleep(self._parts.settings.store_again_s)
            else:
                return


def targets_of(
    devices: Sequence[JsonObject],
    models: Mapping[tuple[str, str], JsonObject],
    drivers: Container[str] = (),
) -> Targets:
    """Of all devices that the gateway speaks to itself: a mapper pushes its own."""
    found: dict[tuple[str, str], tuple[PushTarget, ...]] = {}
    for device in devices:
        if driver_of(str_at(device, "spec", "protocol", "protocolName"), drivers) == EXTERNAL:
            continue
        namespace, name = namespace_of(device), name_of(device)
        model = models.get((namespace, str_at(device, "spec", "deviceModelRef", "name")))
        pushes, _ = push_targets(device, model)
        for prop, targets in pushes.items():
            for target in targets:
                place = (queue_name(namespace, name, target), prop)
                found[place] = (*found.get(place, ()), target)
    return found


def brokers_of(targets: Targets) -> frozenset[Broker]:
    """That something goes to."""
    return frozenset(
        target.to.broker for found in targets.values() for target in found if isinstance(target.to, MqttPush)
    )


def _time_text(ms: int) -> str:
    """`2026-01-31 23:59:59`, as KubeEdge's mappers write it."""
    return time_text(ms).replace("T", " ").rstrip("Z")
