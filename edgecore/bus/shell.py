"""The event bus at work: between the MQTT broker, the twins, and the driver of devices that apps speak to.

A message is acknowledged to the broker when what it said is durable: a wanted value when the keeper of twins has
committed it, a read one when its reading is stored. The answer to an app is published then, not before. What changed
is published after the commit that changed it, from what was committed; whoever committed it.

In memory: the twins as they were published last, who asked in which form of topics, and answers on their way out. A
crash costs answers, and news that an app learns by asking (`twin/get`); what was said to us comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from devices.external import ExternalDriver, Report
from devices.mqtt.port import Connection, Delivery, Hooks, Outgoing
from edgecore.bus import messages
from edgecore.bus.catalogue import KnownDevice, catalogue
from edgecore.bus.messages import Member, RefusedError, Told, TwinUpdate, TwinView
from edgecore.bus.port import PUBLISH_S_MAX, Open, Summary, Twins, begin
from edgecore.bus.topics import (
    DevicePath,
    DeviceRequest,
    MembershipRequest,
    News,
    membership_topic,
    parse_topic,
    subscriptions,
)
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.desired import Vector
from skerry.objects.device_models import DEVICES, MODELS
from skerry.objects.json import decode_object
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.times import time_text
from skerry.objects.twins import TwinState, decode_state, parse_value
from skerry.ports import Clock, Ids

LOG = logging.getLogger(__name__)

OUTGOING_MAX: Final = 1000
"""Answers and news that wait for the broker. Beyond, the oldest go: a newer document or delta says more."""
UNHEARD_MAX: Final = 1000
"""Messages of QoS 0, which no broker keeps, that wait for their turn; beyond, the newest are dropped."""
UNSTORED_MAX: Final = 10_000
"""Readings that wait for the store. Beyond, messages of QoS 0 are dropped as well."""
AWAY_S_MAX: Final = 30.0
"""As for MQTT devices: a broker that is restarted is back before; after it values are old."""
LOOK_S: Final = 0.5
ORIGIN: Final = "mqtt"

Place: TypeAlias = "tuple[Key, str]"


class BusParts(Frozen):
    """What the bus is made of."""

    node: str
    store: AsyncEdgeStore
    twins: Twins
    external: ExternalDriver
    open: Open
    clock: Clock
    ids: Ids


@dataclass(slots=True)
class _Taken:
    """A message that was followed, or is being, and that the broker does not know to be done."""

    delivery: Delivery
    settled: bool = False


@dataclass(slots=True)
class _Changes:
    """What was committed and not yet published."""

    rows: dict[Place, bytes] = field(default_factory=dict[Place, bytes])
    devices: bool = True


class EventBus:
    """See the module. Everything runs on one event loop."""

    def __init__(self, parts: BusParts) -> None:
        self._parts = parts
        self._connection: Connection | None = None
        self._connected = False
        self._away_since_s: float | None = None
        self._known: dict[Key, KnownDevice] = {}
        self._members: set[Key] | None = None
        """Those that apps were told of; None before the first look."""
        self._shown: dict[Place, TwinView] = {}
        self._acquainted: dict[Place, Vector] = {}
        """The newest wanted value that an app has shown to know, by repeating it."""
        self._short: set[Key] = set()
        """Devices that somebody called by their name alone."""
        self._heard: deque[_Taken] = deque()
        self._taken: dict[int, _Taken] = {}
        """By packet id."""
        self._updating: dict[Key, int] = {}
        """Updates that are followed just now: what they change is told with their result."""
        self._outgoing: deque[Outgoing] = deque(maxlen=OUTGOING_MAX)
        self._changes = _Changes()
        self._work = asyncio.Event()
        self._out = asyncio.Event()
        parts.external.attach(self)

    async def run(self) -> None:
        """Work until cancelled."""
        stop_listening = self._parts.store.listen(self._committed)
        hooks = Hooks(connected=self._begin, disconnected=self._end, delivered=self._deliver, refused=self._withheld)
        connection = self._connection = self._parts.open(hooks)
        try:
            await begin(connection)
            connection.subscribe(subscriptions(self._parts.node))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work_always())
                group.create_task(self._publish_always())
                group.create_task(self._look_always())
        finally:
            stop_listening()
            await connection.stop()

    # --- the broker ---------------------------------------------------------------------------------------

    def _begin(self, _resumed: bool) -> None:
        self._connected, self._away_since_s = True, None
        LOG.info("bus_connected")
        for device in self._known:
            if self._parts.external.serves(device):
                self._tell_delta(device)  # what was wanted while the broker was away

    def _end(self, reason: str) -> None:
        if self._connected or self._away_since_s is None:
            LOG.info("bus_disconnected reason=%r", reason)
            self._away_since_s = self._parts.clock.monotonic_s()
        self._connected = False

    def _withheld(self, topic: str, reason: str) -> None:
        LOG.warning("bus_topic_refused topic=%r reason=%r", topic, reason)

    def _deliver(self, delivery: Delivery) -> None:
        if not delivery.qos and (len(self._heard) >= UNHEARD_MAX or self._parts.external.waiting >= UNSTORED_MAX):
            LOG.warning("bus_dropped topic=%r reason='of QoS 0, and too many wait'", delivery.topic)
            return
        held = self._taken.get(delivery.mid) if delivery.qos else None
        if held is not None and delivery.redelivered and held.delivery.payload == delivery.payload:
            held.delivery = delivery  # it is acknowledged on the connection on which it came last
            if held.settled:
                self._acknowledge(held)
            return
        taken = _Taken(delivery)
        if delivery.qos:
            self._taken[delivery.mid] = taken
        self._heard.append(taken)
        self._work.set()

    def _acknowledge(self, taken: _Taken) -> None:
        taken.settled = True
        if self._connection is None or not self._connection.acknowledge(taken.delivery):
            return  # it comes again, and is recognised then
        if self._taken.get(taken.delivery.mid) is taken:
            del self._taken[taken.delivery.mid]

    async def _look_always(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            away_s = self._parts.clock.monotonic_s() - self._away_since_s if self._away_since_s is not None else 0.0
            if away_s > AWAY_S_MAX:
                self._parts.external.lose("the MQTT broker over which it is heard of is away")

    # --- the store ----------------------------------------------------------------------------------------

    def _committed(self, batch: EdgeBatch) -> None:
        self._changes.rows |= {(row.device, row.prop): row.body for row in batch.twins}
        touched = {held.key.resource for held in batch.puts} | {key.resource for key in batch.deletes}
        self._changes.devices |= bool(touched & {DEVICES, MODELS})
        if self._changes.rows or self._changes.devices:
            self._work.set()

    async def _work_always(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            self._show_changes()
            while self._heard:
                await self._hear(self._heard.popleft())
                self._show_changes()

    def _show_changes(self) -> None:
        changes, self._changes = self._changes, _Changes(devices=False)
        if changes.devices:
            self._observe()
        rows: dict[Key, dict[str, bytes]] = {}
        for (device, prop), body in changes.rows.items():
            if device in self._updating:
                self._changes.rows[device, prop] = body
            elif device in self._known:
                rows.setdefault(device, {})[prop] = body
        for device, its in sorted(rows.items()):
            self._show(device, self._took(device, its))

    def _observe(self) -> None:
        """Read the objects anew, and tell apps of devices that came and went."""
        store = self._parts.store
        models = {
            (namespace_of(model), name_of(model)): model
            for model in (decode_object(held.body) for held in store.list(MODELS))
        }
        self._known = catalogue((decode_object(held.body) for held in store.list(DEVICES)), models)
        states = {(row.device, row.prop): decode_state(row.body) for row in store.twins() if row.is_twin}
        for place in [place for place in self._shown if not self._has(place)]:
            del self._shown[place]
            self._acquainted.pop(place, None)
        for device, known in self._known.items():
            for prop in known.properties:
                self._shown.setdefault((device, prop), self._view(device, prop, states.get((device, prop))))
        members = set(self._known)
        if self._members is not None:
            for device in sorted(members - self._members):
                self._tell_membership(added=self._members_now([device]))
            for device in sorted(self._members - members):
                gone = Member(namespace=device.namespace, name=device.name, description="", state="", last_online="")
                self._tell_membership(removed=[gone])
                self._short.discard(device)
        self._members = members

    def _has(self, place: Place) -> bool:
        known = self._known.get(place[0])
        return known is not None and place[1] in known.properties

    def _view(self, device: Key, prop: str, state: TwinState | None) -> TwinView:
        of_model = self._known[device].properties[prop]
        return messages.view_of(of_model.type, of_model.tolerance, state)

    def _took(self, device: Key, rows: Mapping[str, bytes]) -> dict[str, tuple[TwinView, TwinView]]:
        """What these rows change in what was published, before and after."""
        changed: dict[str, tuple[TwinView, TwinView]] = {}
        for prop, body in rows.items():
            before = self._shown.get((device, prop))
            if before is None:
                continue
            now = self._shown[device, prop] = self._view(device, prop, decode_state(body))
            if before != now:
                changed[prop] = before, now
        return changed

    def _show(self, device: Key, changed: Mapping[str, tuple[TwinView, TwinView]]) -> None:
        """Tell apps what a commit changed: document, what differs now, and what one side tells the other."""
        if not changed:
            return
        self._say(device, "twin/update/document", messages.document(self._id(), self._now_ms(), changed))
        # What is wanted of a device that apps speak to is told by its driver, when it may be carried out.
        if not (self._parts.external.serves(device) and any(_is_wish(*pair) for pair in changed.values())):
            self._tell_delta(device)
        self._tell_sides(device, changed)

    def _tell_sides(self, device: Key, changed: Mapping[str, tuple[TwinView, TwinView]]) -> None:
        from_cloud = {prop: pair[1] for prop, pair in changed.items() if pair[1].by_cloud and _is_wish(*pair)}
        from_edge = {prop: pair[1] for prop, pair in changed.items() if prop not in from_cloud}
        if from_cloud:
            self._say(device, "twin/cloud_updated", messages.synced(self._id(), self._now_ms(), from_cloud))
        if from_edge:
            self._say(device, "twin/edge_updated", messages.synced(self._id(), self._now_ms(), from_edge))

    def _now_ms(self) -> int:
        return self._parts.clock.wall_ms()

    def _views(self, device: Key) -> dict[str, TwinView]:
        return {prop: self._shown[device, prop] for prop in self._known[device].properties}

    def _tell_delta(self, device: Key) -> None:
        said = messages.delta(self._id(), self._now_ms(), self._views(device))
        if said is not None:
            self._say(device, "twin/update/delta", said)

    def _members_now(self, devices: Iterable[Key]) -> list[Member]:
        states = {each.device: each for each in self._parts.twins.devices()}
        return [self._member(device, states.get(device)) for device in devices]

    def _member(self, device: Key, summary: Summary | None) -> Member:
        return Member(
            namespace=device.namespace,
            name=device.name,
            description=self._known[device].description,
            state=summary.state if summary else "unknown",
            last_online=time_text(summary.last_online_ms) if summary and summary.last_online_ms else "",
        )

    # --- what apps ask ------------------------------------------------------------------------------------

    async def _hear(self, taken: _Taken) -> None:
        delivery = taken.delivery
        asked = parse_topic(delivery.topic, self._parts.node)
        if asked is None or delivery.retained:
            self._acknowledge(taken)  # a retained request is one of some other day
            return
        if isinstance(asked, MembershipRequest):
            self._tell_members(delivery.payload)
            self._acknowledge(taken)
            return
        try:
            match asked.request:
                case "twin/get":
                    self._tell_twins(asked, delivery.payload)
                    self._acknowledge(taken)
                case "state/update":
                    self._take_state(asked, delivery.payload)
                    self._acknowledge(taken)
                case "twin/update":
                    await self._update(asked, taken)
        except RefusedError as refused:
            self._answer(asked, messages.refusal(refused, self._now_ms()))
            self._acknowledge(taken)

    def _tell_twins(self, asked: DeviceRequest, payload: bytes) -> None:
        event_id = messages.read_get(payload)
        device = self._device(asked, event_id)
        self._answer(asked, messages.get_result(event_id, self._now_ms(), self._views(device)))

    def _device(self, asked: DeviceRequest, event_id: str) -> Key:
        """Raises `RefusedError` for a device that is not here, or not here alone under a name without namespace."""
        named = asked.device
        found = [
            key
            for key in self._known
            if key.name == named.name and key.namespace == (named.namespace or key.namespace)
        ]
        if len(found) != 1:
            reason = messages.NO_DEVICE
            if asked.request == "twin/get":
                whole = f"{named.namespace}/{named.name}" if named.namespace else named.name
                reason = f"Device {whole} not found while getting twin"
            raise RefusedError(messages.NOT_FOUND, reason, event_id)
        if not named.namespace:
            self._short.add(found[0])
        return found[0]

    def _take_state(self, asked: DeviceRequest, payload: bytes) -> None:
        said = messages.read_state(payload)
        if said is None:
            return
        device = self._device(asked, "")
        online = said.state in ("online", "ok")
        try:
            reason = "" if online else f"its app or mapper says that it is {said.state}"
            self._parts.external.say(device, online=online, reason=reason)
        except NotFoundError as error:
            raise RefusedError(messages.CONFLICT, f"{device.name} is spoken to by the gateway itself") from error
        member = Member(
            namespace=device.namespace,
            name=device.name,
            description="",
            state=said.state,
            last_online=time_text(self._now_ms()) if online else "",
        )
        self._answer(asked, messages.state_result(self._id(), self._now_ms(), member))

    async def _update(self, asked: DeviceRequest, taken: _Taken) -> None:
        """All of an update is followed or nothing of it."""
        update = messages.read_update(taken.delivery.payload)
        device = self._device(asked, update.event_id)
        told = {prop: said for prop, said in update.twin.items() if said is not None}
        self._check(device, told, update.event_id)
        before = {prop: self._shown[device, prop] for prop in told}
        self._updating[device] = self._updating.get(device, 0) + 1

        def stored() -> None:
            self._updated(device)
            self._tell_update(asked, device, update, before)
            self._acknowledge(taken)

        try:
            for prop, said in told.items():
                if self._is_wish_of((device, prop), said):
                    await self._want(device, prop, said, update.event_id)
            self._report(device, {prop: said for prop, said in told.items() if said.actual is not None}, stored)
        except BaseException:
            self._updated(device)
            raise

    def _updated(self, device: Key) -> None:
        left = self._updating.pop(device) - 1
        if left:
            self._updating[device] = left

    def _tell_update(
        self, asked: DeviceRequest, device: Key, update: TwinUpdate, before: Mapping[str, TwinView]
    ) -> None:
        """In KubeEdge's order: result, document, delta, and what the edge tells the cloud."""
        rows = {prop: body for (at, prop), body in self._changes.rows.items() if at == device}
        for prop in rows:
            del self._changes.rows[device, prop]
        changed = self._took(device, rows)
        now = {prop: view for prop in before if (view := self._shown.get((device, prop))) is not None}
        self._answer(asked, messages.update_result(update.event_id, self._now_ms(), now, update.twin))
        if device not in self._known:
            return
        pairs = {prop: (before[prop], view) for prop, view in now.items()} | changed
        if pairs:
            self._say(device, "twin/update/document", messages.document(update.event_id, self._now_ms(), pairs))
        if not any(_is_wish(*pair) for pair in changed.values()) or not self._parts.external.serves(device):
            self._tell_delta(device)
        if changed:
            self._tell_sides(device, changed)

    def _check(self, device: Key, told: Mapping[str, Told], event_id: str) -> None:
        """Raises `RefusedError` for what can't be followed."""
        for prop, said in told.items():
            if not self._has((device, prop)):
                reason = f'"{prop}" is not among the properties of device "{device.name}"; add it to its DeviceModel'
                raise RefusedError(messages.NOT_FOUND, reason, event_id)
            type = self._shown[device, prop].type
            for value in (said.actual, said.expected if said.actual is None else None):
                try:
                    if value is not None:
                        parse_value(type, value)
                except InvalidError as error:
                    raise RefusedError(messages.BAD_REQUEST, messages.mistyped(type, str(error)), event_id) from error
            if said.actual is not None and not self._parts.external.serves(device):
                reason = f'device "{device.name}" is read by the gateway itself: nobody else tells its actual values'
                raise RefusedError(messages.CONFLICT, reason, event_id)

    def _is_wish_of(self, place: Place, said: Told) -> bool:
        """Whether an app wishes for something.

        Mappers repeat, with what they read, the value that they took for wanted. One that was superseded, and of
        which they have not heard, must not come back by that: such a value counts when somebody has shown before to
        know what is wanted now.
        """
        shown = self._shown[place]
        if said.expected is None:
            return False
        if said.expected == shown.expected:
            self._acquainted[place] = shown.expected_ver
            return False
        if said.actual is None:
            return True
        if said.expected == "":
            return False
        return shown.expected is None or self._acquainted.get(place) == shown.expected_ver

    async def _want(self, device: Key, prop: str, said: Told, event_id: str) -> None:
        assert said.expected is not None, "it is a wish"
        try:
            await self._parts.twins.set_desired(device, prop, said.expected, origin=ORIGIN)
        except NotFoundError as error:
            raise RefusedError(messages.NOT_FOUND, str(error), event_id) from error
        except InvalidError as error:
            raise RefusedError(messages.BAD_REQUEST, str(error), event_id) from error
        except UnavailableError as error:
            raise RefusedError(messages.INTERNAL, str(error), event_id) from error

    def _report(self, device: Key, actual: Mapping[str, Told], stored: Callable[[], None]) -> None:
        now_ms = self._now_ms()
        reports = [
            Report(prop=prop, value=said.actual, source_ms=said.actual_ms or now_ms)
            for prop, said in actual.items()
            if said.actual is not None
        ]
        if reports:
            self._parts.external.report(device, reports, stored)
        else:
            stored()

    # --- what they are told -------------------------------------------------------------------------------

    async def tell(self, device: Key, prop: str, value: str) -> str:
        """See `devices.external.Face`."""
        if not self._connected:
            return "the MQTT broker is away"
        self._show_changes()
        if device not in self._known or (device, prop) not in self._shown:
            return "not known yet"
        views = self._views(device)
        if views[prop].expected != value:  # its commit is still on the way
            views[prop] = replace(views[prop], expected=value, expected_ms=self._now_ms())
        said = messages.delta(self._id(), self._now_ms(), views)
        if said is not None:
            self._say(device, "twin/update/delta", said)
        return ""

    def _tell_members(self, payload: bytes) -> None:
        try:
            event_id = messages.read_membership_get(payload)
            said = messages.membership(event_id, self._now_ms(), self._members_now(sorted(self._known)))
        except RefusedError as refused:
            said = messages.refusal(refused, self._now_ms())
        self._publish(membership_topic(self._parts.node, "get/result"), said)

    def _tell_membership(self, *, added: Sequence[Member] = (), removed: Sequence[Member] = ()) -> None:
        said = messages.membership_change(self._id(), self._now_ms(), added=added, removed=removed)
        self._publish(membership_topic(self._parts.node, "updated"), said)

    def _say(self, device: Key, news: News, payload: bytes) -> None:
        """In the form of topics that KubeEdge has, and in that of its past where somebody used it."""
        self._publish(DevicePath(device.namespace, device.name).topic(news), payload)
        if device in self._short:
            self._publish(DevicePath("", device.name).topic(news), payload)

    def _answer(self, asked: DeviceRequest, payload: bytes) -> None:
        """In the form of topics in which it was asked."""
        match asked.request:
            case "twin/get":
                topic = asked.device.topic("twin/get/result")
            case "twin/update":
                topic = asked.device.topic("twin/update/result")
            case "state/update":
                topic = asked.device.topic("state/update/result")
        self._publish(topic, payload)

    def _publish(self, topic: str, payload: bytes) -> None:
        if self._connected:  # else nobody is there to hear it
            self._outgoing.append(Outgoing(topic=topic, payload=payload))
            self._out.set()

    async def _publish_always(self) -> None:
        while True:
            await self._out.wait()
            self._out.clear()
            while self._outgoing:
                message = self._outgoing.popleft()
                assert self._connection is not None, "it is running"
                try:
                    await self._connection.publish(message, timeout_s=PUBLISH_S_MAX)
                except UnavailableError as error:
                    LOG.info("bus_unpublished topic=%r reason=%r", message.topic, str(error))

    def _id(self) -> str:
        return self._parts.ids.uid()


def _is_wish(last: TwinView, now: TwinView) -> bool:
    return now.expected is not None and last.expected_ver != now.expected_ver
