"""Pushes at work: queues in the store, to the places that Devices name, each queue in order.

One worker a queue, for as long as something waits in it. A queue is what one property pushes in one way to one place:
a place that is away holds up nobody else, and a push that its place turns away holds up none but its property's. How
a place does is known once for all queues: while it is away they wait together, and few try it. A push is staged in
the transaction of its reading and leaves the store when its place has it: a crash in between sends it twice, never
not at all. What waits goes when its Device no longer asks for it, and stays while the Device says something that
can't be done. Works without the cloud.

In memory: how each queue and each place does. What waits, and how many were dropped for want of room, is in the
store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from devices.mqtt.config import Broker
from devices.protocols import EXTERNAL, driver_of
from devices.pushes import (
    MqttPush,
    PushTarget,
    decode_push,
    methods_asked,
    payload_of,
    push_targets,
    queue_name,
    way_of,
)
from edgecore.push.places import Places, RefusedError, TurnedAwayError
from edgecore.push.plan import Progress, PushSettings
from edgecore.store.port import EdgeBatch, NewReport, Push, Pushed, PushQueue
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
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
"""Between two Events of one kind about one device and place."""
NAMED_MAX: Final = 3
"""Properties in a note."""

Targets: TypeAlias = "Mapping[str, PushTarget]"
"""By queue."""


class PushParts(Frozen):
    """What it is made of."""

    node: str
    store: AsyncEdgeStore
    places: Places
    clock: Clock
    ids: Ids
    drivers: Container[str] = ()
    """Protocols of which others have added a driver."""
    settings: PushSettings = PushSettings()


class QueueSight(Frozen):
    """A queue as people see it."""

    device: Key
    prop: str
    method: str
    place: str
    queue: PushQueue
    reason: str
    """Why it does not go on; "" when it does."""


@dataclass(slots=True)
class _PlaceState:
    """How a place does, for all queues that go there."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    progress: Progress = field(default_factory=Progress)
    until_s: float = 0.0
    """It is away, and not tried before."""


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
        self._places: dict[object, _PlaceState] = {}
        """By `PushTarget.server`."""
        self._dropped: dict[str, tuple[int, float]] = {}
        """By queue: how many were dropped when people were told, and when that was."""
        self._told_s: dict[tuple[Key, str], float] = {}
        """When people were told last that a device's pushes to a place fail."""
        self._told: set[tuple[Key, str]] = set()
        """Of which people believe that they fail."""

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
        away: dict[str, str] = {}
        own: dict[tuple[str, str], list[str]] = {}
        for queue in sorted(each for each in self._workers if each.startswith(of_device)):
            way, progress = way_of(queue), self._progress.get(queue, Progress())
            state = self._state(queue)
            if state.progress.failing:
                away[way.place] = state.progress.reason
            elif progress.failing:
                own.setdefault((way.place, progress.reason), []).append(way.prop)
        said = [f"pushes to {place} fail: {reason}" for place, reason in away.items()]
        for (place, reason), props in own.items():
            more = f" and {len(props) - NAMED_MAX} more" if len(props) > NAMED_MAX else ""
            said.append(f"pushes of {', '.join(props[:NAMED_MAX])}{more} to {place} fail: {reason}")
        return "; ".join(said)

    def sights(self) -> Sequence[QueueSight]:
        """Queues in which something waits, or from which something was dropped."""
        return [
            QueueSight(
                device=_device_of(each.queue),
                prop=way.prop,
                method=way.method,
                place=way.place,
                queue=each,
                reason=self._reason(each.queue) if each.waiting else "",
            )
            for each in self._parts.store.push_queues()
            for way in [way_of(each.queue)]
        ]

    def _reason(self, queue: str) -> str:
        if queue not in self._targets:
            return "waits until the Device's pushMethod is mended"
        state = self._state(queue)
        return state.progress.reason if state.until_s else self._progress.get(queue, Progress()).reason

    def _state(self, queue: str) -> _PlaceState:
        """Of where it goes."""
        target = self._targets.get(queue)
        return _PlaceState() if target is None else self._places.setdefault(target.server, _PlaceState())

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
        servers = {target.server for target in self._targets.values()}
        self._places = {server: state for server, state in self._places.items() if server in servers}
        waiting = {each.queue for each in store.push_queues()}
        pairs = {(_device_of(queue), way_of(queue).place) for queue in waiting | self._targets.keys()}
        self._told &= pairs
        self._told_s = {pair: at_s for pair, at_s in self._told_s.items() if pair in pairs}
        asked = asked_of(devices, self._parts.drivers)
        aimed = {(way.namespace, way.device, way.prop, way.method) for way in map(way_of, self._targets)}
        ends: list[PushQueue] = []
        for each in store.push_queues():
            way = way_of(each.queue)
            its = (way.namespace, way.device, way.prop, way.method)
            # What is asked and goes nowhere is a mistake that somebody will mend.
            if each.queue not in self._targets and (its in aimed or its not in asked):
                ends.append(each)
        if ends:
            await self._end(ends)
        await self._parts.places.keep(brokers_of(self._targets))

    async def _end(self, ends: Sequence[PushQueue]) -> None:
        """Drop what nobody asks for any more, and say so."""
        try:
            await self._parts.store.apply(EdgeBatch(push_ends=tuple(each.queue for each in ends)))
        except UnavailableError as error:  # a full disk: they go with the next change
            LOG.warning("push_queues_not_ended reason=%r", str(error))
            return
        for each in ends:
            LOG.warning("push_queue_ended queue=%r waiting=%d dropped=%d", each.queue, each.waiting, each.dropped)
            self._progress.pop(each.queue, None)
            self._dropped.pop(each.queue, None)
            if each.waiting:
                way = way_of(each.queue)
                message = (
                    f"{each.waiting} readings of {way.prop} for {way.place} were dropped: the Device's pushMethod "
                    "does not name it any more"
                )
                await self._event(_device_of(each.queue), "PushDropped", message, warning=True)

    async def _begin_workers(self, group: asyncio.TaskGroup) -> None:
        for each in self._parts.store.push_queues():
            if each.waiting and each.queue not in self._workers and each.queue in self._targets:
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
        """Until nothing waits in it, or it has nowhere to go."""
        while queue in self._targets and (waiting := self._parts.store.pushes(queue, limit=BATCH)):
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
            target = self._targets.get(queue)
            if target is None:
                return 0.0
            payload = payload_of(target, decode_push(queue, push.body), time_text=_time_text)
            if payload is None:
                done.append(
                    Pushed(queue, push.number, arrived=False)
                )  # its form has become one without a word for it
                continue
            wait_s = await self._send_one(queue, push, target, payload, done)
            if wait_s:
                await self._tell(queue)
                return wait_s
            if self._parts.clock.monotonic_s() >= until_s:
                return 0.0
        return 0.0

    async def _send_one(
        self, queue: str, push: Push, target: PushTarget, payload: bytes, done: list[Pushed]
    ) -> float:
        """Seconds until the next try; 0 when it arrived."""
        state = self._places.setdefault(target.server, _PlaceState())
        async with state.turns:
            left_s = state.until_s - self._parts.clock.monotonic_s()
            if left_s > 0:
                return left_s
            try:
                await self._parts.places.push(target, payload)
            except UnavailableError as error:
                return self._away(state, str(error))
            except (RefusedError, TurnedAwayError) as error:
                reason, refused = str(error), isinstance(error, RefusedError)
            except Exception as error:
                LOG.exception("push_fault queue=%r number=%d", queue, push.number)
                reason, refused = f"a fault in the agent, which its log has: {type(error).__name__}", False
            else:
                reason, refused = "", False
            state.progress, state.until_s = Progress(), 0.0
        if not reason:
            done.append(Pushed(queue, push.number))
            await self._arrived(queue)
            return 0.0
        if self._failed(queue, push, reason, refused=refused):
            done.append(Pushed(queue, push.number, arrived=False))
        return self._progress[queue].wait_s(self._parts.settings, self._parts.ids.unit())

    def _away(self, state: _PlaceState, reason: str) -> float:
        """Whoever tried it at the same time says nothing new."""
        now_s = self._parts.clock.monotonic_s()
        if now_s >= state.until_s:
            state.progress = state.progress.failed(reason, refused=False)
            state.until_s = now_s + state.progress.wait_s(self._parts.settings, self._parts.ids.unit())
        return max(state.until_s - now_s, self._parts.settings.retry_s_min / 2)

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
        self._progress.pop(queue, None)
        device, place = _device_of(queue), way_of(queue).place
        if (device, place) not in self._told:
            return
        if any(_device_of(each) == device and way_of(each).place == place for each in self._progress):
            return  # others of the device still fail there
        self._told.discard((device, place))
        LOG.info("push_resumed queue=%r", queue)
        await self._event(device, "PushResumed", f"pushes to {place} arrive again", warning=False)

    # --- for people ---------------------------------------------------------------------------------------

    async def _tell(self, queue: str) -> None:
        device, way, now_s = _device_of(queue), way_of(queue), self._parts.clock.monotonic_s()
        state = self._state(queue)
        is_away = state.progress.failing
        progress = state.progress if is_away else self._progress.get(queue, Progress())
        pair = (device, way.place)
        last_s = self._told_s.get(pair)
        if not progress.failing or pair in self._told or (last_s is not None and now_s - last_s < TOLD_S):
            return
        self._told_s[pair] = now_s
        self._told.add(pair)
        LOG.warning("push_fails queue=%r reason=%r", queue, progress.reason)
        which = "" if is_away else f"of {way.prop} "
        message = f"pushes {which}to {way.place} fail and wait: {progress.reason}"
        await self._event(device, "PushFailed", message, warning=True)

    async def _tell_drops(self, each: PushQueue) -> None:
        known, at_s = self._dropped.get(each.queue, (0, 0.0))
        now_s = self._parts.clock.monotonic_s()
        if each.dropped <= known or (at_s and now_s - at_s < TOLD_S):
            return
        self._dropped[each.queue] = (each.dropped, now_s)
        place = way_of(each.queue).place
        LOG.warning("push_dropped queue=%r count=%d", each.queue, each.dropped)
        message = f"{each.dropped - known} readings for {place} were dropped; {each.waiting} wait"
        await self._event(_device_of(each.queue), "PushDropped", message, warning=True)

    async def _event(self, device: Key, reason: str, message: str, *, warning: bool) -> None:
        held = self._parts.store.get(device)
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
    found: dict[str, PushTarget] = {}
    for device in _served(devices, drivers):
        namespace, name = namespace_of(device), name_of(device)
        model = models.get((namespace, str_at(device, "spec", "deviceModelRef", "name")))
        pushes, _ = push_targets(device, model)
        for prop, targets in pushes.items():
            found |= {queue_name(namespace, name, prop, target): target for target in targets}
    return found


def asked_of(devices: Sequence[JsonObject], drivers: Container[str] = ()) -> frozenset[tuple[str, str, str, str]]:
    """Namespace, device, property and method of all that is asked for, whether or not it can be done."""
    return frozenset(
        (namespace_of(device), name_of(device), *asked)
        for device in _served(devices, drivers)
        for asked in methods_asked(device)
    )


def _served(devices: Sequence[JsonObject], drivers: Container[str]) -> Sequence[JsonObject]:
    return [
        device
        for device in devices
        if driver_of(str_at(device, "spec", "protocol", "protocolName"), drivers) != EXTERNAL
    ]


def brokers_of(targets: Targets) -> frozenset[Broker]:
    """That something goes to."""
    return frozenset(target.to.broker for target in targets.values() if isinstance(target.to, MqttPush))


def _device_of(queue: str) -> Key:
    way = way_of(queue)
    return Key(DEVICES, way.namespace, way.device)


def _time_text(ms: int) -> str:
    """`2026-01-31 23:59:59`, as KubeEdge's mappers write it."""
    return time_text(ms).replace("T", " ").rstrip("Z")
