"""Home Assistant told of this gateway's devices, and commands taken from it.

A document a device, retained; its values in one retained message, published after the commit that changed them;
whether it is there. A command is a wanted value of the edge, acknowledged to the broker when it is durable.
Documents are published again when Home Assistant says that it has started, and those of devices that went
while the agent was down are found on the broker and removed.

In memory: what is still to be published, the newest of each topic.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from devices.mqtt.port import Connection, Delivery, Hooks, Outgoing
from edgecore.bus import homeassistant
from edgecore.bus.homeassistant import OFFLINE, ONLINE, Topics
from edgecore.bus.port import PUBLISH_S_MAX, Open, Twins, begin
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import CallerError, InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.device_models import DEVICES, MODELS, served_properties
from skerry.objects.json import JsonObject, decode_object, str_at
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.twins import decode_state

LOG = logging.getLogger(__name__)

COMMANDS_MAX: Final = 1000
"""That wait for the store; beyond, the newest of QoS 0 are dropped."""
LOOK_S: Final = 1.0
"""Between two looks at whether devices live."""
ORIGIN: Final = "homeassistant"


class AnnouncerParts(Frozen):
    """What it is made of."""

    prefix: str
    """`homeassistant`, as Home Assistant has it unless told otherwise."""
    node: str
    version: str
    store: AsyncEdgeStore
    twins: Twins
    open: Open


class Announcer:
    """See the module."""

    def __init__(self, parts: AnnouncerParts) -> None:
        self._parts = parts
        self._connection: Connection | None = None
        self._connected = False
        self._shown: dict[Key, tuple[Topics, bytes, dict[str, str]]] = {}
        """What is announced: topics, document, types by property."""
        self._available: dict[Key, bool] = {}
        self._outgoing: dict[str, bytes] = {}
        """By topic: the newest alone is worth publishing."""
        self._found: dict[str, bytes] = {}
        """Documents on the broker that are not looked at yet."""
        self._commands: deque[Delivery] = deque()
        self._changed_devices: set[Key] = set()
        self._objects_changed = True
        self._work = asyncio.Event()
        self._work.set()

    async def run(self) -> None:
        """Work until cancelled."""
        parts = self._parts
        stop_listening = parts.store.listen(self._committed)
        hooks = Hooks(connected=self._begin, disconnected=self._end, delivered=self._deliver, refused=_withheld)
        connection = self._connection = parts.open(hooks)
        try:
            await begin(connection)
            status, ours = f"{parts.prefix}/status", f"{parts.prefix}/device/+/config"
            connection.subscribe({status, ours, homeassistant.command_topics(parts.node)})
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work_always())
                group.create_task(self._look_always())
        finally:
            stop_listening()
            await connection.stop()

    # --- what comes in ------------------------------------------------------------------------------------

    def _begin(self, _resumed: bool) -> None:
        self._connected = True
        LOG.info("homeassistant_connected")
        self._announce_all()

    def _end(self, reason: str) -> None:
        if self._connected:
            LOG.info("homeassistant_disconnected reason=%r", reason)
        self._connected = False

    def _committed(self, batch: EdgeBatch) -> None:
        self._changed_devices |= {row.device for row in batch.twins}
        touched = {held.key.resource for held in batch.puts} | {key.resource for key in batch.deletes}
        self._objects_changed |= bool(touched & {DEVICES, MODELS})
        self._work.set()

    def _deliver(self, delivery: Delivery) -> None:
        if delivery.topic == f"{self._parts.prefix}/status":
            if delivery.payload == ONLINE.encode():
                self._announce_all()
        elif delivery.topic.startswith(f"{self._parts.prefix}/device/"):
            self._found[delivery.topic] = delivery.payload
            self._work.set()
        elif delivery.retained:
            LOG.info("homeassistant_retained_command topic=%r", delivery.topic)  # of another day: never followed
        elif delivery.qos or len(self._commands) < COMMANDS_MAX:
            self._commands.append(delivery)
            self._work.set()
            return
        self._acknowledge(delivery)

    def _look_at_found(self) -> None:
        """Documents that were ours, of devices that went while the agent was down."""
        current = {topics.config for topics, _, _ in self._shown.values()}
        found, self._found = self._found, {}
        for topic, payload in found.items():
            if topic not in current and payload and homeassistant.is_ours(payload, self._parts.node):
                self._publish(topic, b"")

    def _acknowledge(self, delivery: Delivery) -> None:
        if self._connection is not None:
            self._connection.acknowledge(delivery)

    # --- what goes out ------------------------------------------------------------------------------------

    async def _work_always(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            if self._objects_changed:
                self._objects_changed = False
                self._observe()
            self._look_at_found()
            changed, self._changed_devices = self._changed_devices, set[Key]()
            for device in changed & set(self._shown):
                self._tell_state(device)
            while self._commands:
                await self._follow(self._commands.popleft())
            await self._publish_all()

    async def _look_always(self) -> None:
        while True:
            for summary in self._parts.twins.devices():
                online = summary.state == "online"
                if summary.device in self._shown and self._available.get(summary.device) != online:
                    self._available[summary.device] = online
                    self._tell_availability(summary.device)
            await asyncio.sleep(LOOK_S)

    def _observe(self) -> None:
        store = self._parts.store
        models = {
            (namespace_of(model), name_of(model)): model
            for model in (decode_object(held.body) for held in store.list(MODELS))
        }
        before, self._shown = self._shown, {}
        for held in store.list(DEVICES):
            device = decode_object(held.body)
            model = models.get((held.key.namespace, str_at(device, "spec", "deviceModelRef", "name")), {})
            self._show(held.key, device, model)
        for key, (topics, _, _) in before.items():
            if key not in self._shown:
                self._available.pop(key, None)
                for topic in (topics.config, topics.state, topics.availability):
                    self._publish(topic, b"")
        for key, shown in self._shown.items():
            if before.get(key) != shown:
                self._announce(key)

    def _show(self, key: Key, device: JsonObject, model: JsonObject) -> None:
        topics = Topics(prefix=self._parts.prefix, node=self._parts.node, device=key)
        try:
            overrides = homeassistant.overrides_of(device)
        except InvalidError as error:
            LOG.warning("homeassistant_annotation device=%s/%s reason=%r", key.namespace, key.name, str(error))
            overrides = {}
        if overrides is None:
            return
        document = homeassistant.document(topics, device, model, overrides, self._parts.version)
        if document is not None:
            types = {name: str_at(prop, "type").upper() for name, prop in served_properties(device, model).items()}
            self._shown[key] = topics, document, types

    def _announce_all(self) -> None:
        for key in self._shown:
            self._announce(key)

    def _announce(self, key: Key) -> None:
        topics, document, _ = self._shown[key]
        self._publish(topics.config, document)
        self._tell_availability(key)
        self._tell_state(key)

    def _tell_state(self, key: Key) -> None:
        topics, _, types = self._shown[key]
        twins = {row.prop: decode_state(row.body) for row in self._parts.store.twins(key)}
        self._publish(topics.state, homeassistant.state(types, twins))

    def _tell_availability(self, key: Key) -> None:
        online = self._available.get(key, False)
        self._publish(self._shown[key][0].availability, (ONLINE if online else OFFLINE).encode())

    def _publish(self, topic: str, payload: bytes) -> None:
        self._outgoing[topic] = payload
        self._work.set()

    async def _publish_all(self) -> None:
        while self._connected and self._outgoing:
            assert self._connection is not None, "it is running"
            topic = next(iter(self._outgoing))
            payload = self._outgoing.pop(topic)
            try:
                await self._connection.publish(
                    Outgoing(topic=topic, payload=payload, retain=True), timeout_s=PUBLISH_S_MAX
                )
            except UnavailableError as error:
                self._outgoing.setdefault(topic, payload)  # unless something newer waits
                LOG.info("homeassistant_unpublished topic=%r reason=%r", topic, str(error))
                return  # everything is announced again when the broker is back

    # --- commands -----------------------------------------------------------------------------------------

    async def _follow(self, delivery: Delivery) -> None:
        named = homeassistant.commanded(delivery.topic, self._parts.node)
        if named is None:
            self._acknowledge(delivery)
            return
        namespace, name, prop = named
        device = Key(DEVICES, namespace, name)
        try:
            await self._parts.twins.set_desired(device, prop, delivery.payload.decode(), origin=ORIGIN)
        except (CallerError, UnicodeDecodeError) as error:
            LOG.warning("homeassistant_command device=%s/%s property=%s reason=%r", namespace, name, prop, str(error))
        except UnavailableError as error:
            # The store takes nothing now. The broker has not heard that it may forget the command.
            LOG.warning("homeassistant_command device=%s/%s property=%s reason=%r", namespace, name, prop, str(error))
            return
        self._acknowledge(delivery)
        if device in self._shown:
            self._tell_state(device)  # what was refused is shown as it is


def _withheld(topic: str, reason: str) -> None:
    LOG.warning("homeassistant_topic_refused topic=%r reason=%r", topic, reason)
