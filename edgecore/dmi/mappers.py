"""The mappers of this gateway: who registered for which protocol, what each was told, and whether it lives.

A mapper registers with the path of its own socket and is brought up to date from the objects in the store: models,
devices, what is to be written. What it reports goes to `devices.external`, whose face for wanted values this is. A
report is answered when its readings are durable.

One mapper speaks a protocol; who registers later for it takes its place, as in KubeEdge. In the store's `meta`: the
mappers and fingerprints of what they know, so that an agent that was started anew finds them again: KubeEdge's
mappers register when they start, and never again. In memory: the values told last. A crash costs no more than a
device being told to its mapper once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Container, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from devices.dmi import messages
from devices.dmi.codec import encode
from devices.external import ExternalDriver, Report
from devices.protocols import EXTERNAL, driver_of
from edgecore.dmi.translate import device_message, fingerprint, model_message
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.device_models import DEVICES, MODELS
from skerry.objects.json import Json, JsonObject, decode_object, encode_object, maps_at, str_at, str_map_at
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.twins import TwinState, decode_state
from skerry.ports import Clock
from skerry.waits import until_set

LOG: Final = logging.getLogger(__name__)

META_MAPPERS: Final = "dmi_mappers"
"""Name in the store's `meta`."""

MAPPERS_MAX: Final = 64
NAME_MAX: Final = 253
PATH_MAX: Final = 107
"""Bytes of a unix socket's path (unix(7))."""
LOOK_S: Final = 5.0
"""Between two looks at whether a mapper lives."""
GRACE_S: Final = 10.0
"""After it registered, a mapper has so long to listen on its own socket: KubeEdge's register first."""
GRACE_LOOK_S: Final = 0.5
CALL_S: Final = 10.0
"""For an answer of a mapper, as KubeEdge. Some reach for their device before they answer."""
PING_S: Final = 3.0
REGISTER_BYTES_MAX: Final = 3_000_000
"""Of devices and models in an answer to a registration; those beyond are told one by one."""
UNSTORED_MAX: Final = 10_000
"""Readings that wait for the store. Beyond, reports wait before they are taken."""
FUTURE_MS_MAX: Final = 300_000
PAST_MS: Final = 978_307_200_000
"""2001: an earlier time was never set."""

ONLINE: Final = ("online", "ok")


class MapperClient(Protocol):
    """Calls to one mapper's socket."""

    async def call(self, name: str, request: object, *, timeout_s: float) -> object:
        """Raises `UnavailableError` when nobody answers, `InvalidError` with the mapper's words when it refuses."""
        ...

    def close(self) -> None: ...


class Sockets(Frozen):
    """What is spoken over."""

    dial: Callable[[str], MapperClient]
    """To the mapper's socket at this path. Returns at once."""
    serve: Callable[[Mappers], Coroutine[None, None, None]]
    """Serves mappers until it is cancelled."""


class MappersParts(Frozen):
    """What it is made of."""

    store: AsyncEdgeStore
    external: ExternalDriver
    clock: Clock
    sockets: Sockets
    drivers: Container[str] = ()
    """Protocols of which somebody has added a driver: no mapper is needed."""
    look_s: float = LOOK_S


@dataclass(slots=True, kw_only=True)
class _Mapper:
    name: str
    version: str
    protocol: str
    address: str
    client: MapperClient
    grace_until_s: float
    devices: dict[str, str] = field(default_factory=dict[str, str])
    """By namespace/name, the fingerprint of what it knows."""
    models: dict[str, str] = field(default_factory=dict[str, str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """What it did not take, device and model, by their fingerprints: not said again."""
    away: str = ""
    misses: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    worker: asyncio.Task[None] | None = None


class _Known(Frozen):
    """A device that mappers may speak to."""

    key: Key
    protocol: str
    body: JsonObject
    model: JsonObject


class Mappers:
    """See the module. Everything runs on one event loop."""

    def __init__(self, parts: MappersParts) -> None:
        self._parts = parts
        self._mappers: dict[str, _Mapper] = {}
        self._known: dict[Key, _Known] | None = None
        self._told: dict[tuple[Key, str], str] = {}
        self._group: asyncio.TaskGroup | None = None
        parts.external.attach(self, self._owns)

    async def run(self) -> None:
        """Work until cancelled."""
        stop_listening = self._parts.store.listen(self._committed)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._remember()
                await self._parts.sockets.serve(self)
        finally:
            self._group = None
            stop_listening()
            for mapper in self._mappers.values():
                mapper.client.close()

    # --- what mappers ask ---------------------------------------------------------------------------------

    async def register(self, request: messages.MapperRegisterRequest) -> messages.MapperRegisterResponse:
        """A mapper is there. Raises `InvalidError`, `ConflictError` where the gateway itself speaks the protocol."""
        info = _checked(request.mapper, self._parts.drivers)
        if info.protocol not in self._mappers and len(self._mappers) >= MAPPERS_MAX:
            raise ConflictError(f"{MAPPERS_MAX} mappers are registered here already")
        if self._group is None:
            raise UnavailableError("the agent is stopping")
        mapper = self._made(info.name, info.version, info.protocol, _path(info.address))
        answer = messages.MapperRegisterResponse()
        if request.with_data:
            answer = self._all_of(mapper)
        before = self._mappers.get(info.protocol)
        self._mappers[info.protocol] = mapper
        try:
            await self._save()
        except UnavailableError:
            if before is not None and self._mappers[info.protocol] is mapper:
                self._mappers[info.protocol] = before
            raise
        if before is not None:
            self._dismiss(before)
        LOG.info(
            "mapper_registered mapper=%s version=%s protocol=%s socket=%s devices=%d",
            *(mapper.name, mapper.version, mapper.protocol, mapper.address, len(mapper.devices)),
        )
        self._begin(mapper)
        return answer

    async def report(self, request: messages.ReportDeviceStatusRequest) -> messages.Nothing:
        """Values that a mapper read; returns when they are durable. Those that make sense are taken also when others
        do not: then it raises `InvalidError`, or `NotFoundError` where the device is not one of mappers'."""
        device = self._device(request.device_namespace, request.device_name)
        twins = request.reported_device.twins if request.reported_device else ()
        if not twins:
            raise InvalidError("reportedDevice.twins: required")
        while self._parts.external.waiting >= UNSTORED_MAX:  # noqa: ASYNC110 - rare, and any of many may have gone
            await asyncio.sleep(0.05)
        wrong: list[str] = []
        waiting: list[asyncio.Event] = []
        for twin in twins:
            if twin.reported is None:
                wrong.append(f"{twin.property_name}: reported: required")
                continue
            stored = asyncio.Event()
            told = Report(prop=twin.property_name, value=twin.reported.value, source_ms=self._time_of(twin.reported))
            try:
                self._parts.external.report(device, [told], stored.set)
            except InvalidError as error:
                self._parts.external.doubt(device, told.prop, f"its mapper told what is no value of it: {error}")
                wrong.append(f"{told.prop}: {error}")
            except NotFoundError as error:
                wrong.append(str(error))
            else:
                waiting.append(stored)
        for stored in waiting:
            await stored.wait()
        if wrong:
            raise InvalidError("; ".join(wrong[:10]))
        return messages.Nothing()

    async def report_state(self, request: messages.ReportDeviceStatesRequest) -> messages.Nothing:
        """How a device is, in a mapper's words."""
        device = self._device(request.device_namespace, request.device_name)
        state = request.state.lower()
        if not state:
            raise InvalidError("state: required")
        online = state in ONLINE
        reason = "" if online else f"its mapper says that it is {request.state[:NAME_MAX]}"
        self._parts.external.say(device, online=online, reason=reason)
        return messages.Nothing()

    def _time_of(self, told: messages.TwinProperty) -> int:
        """When it was read, by the mapper's clock; now, where it says nothing believable."""
        now_ms, text = self._parts.clock.wall_ms(), told.metadata.get("timestamp", "")
        source_ms = int(text) if text.isdecimal() and len(text) < 16 else 0
        return source_ms if PAST_MS <= source_ms <= now_ms + FUTURE_MS_MAX else now_ms

    def _device(self, namespace: str, name: str) -> Key:
        """Mappers before KubeEdge 1.16 give no namespace. Raises `NotFoundError`."""
        found = [key for key in self._objects() if key.name == name and namespace in ("", key.namespace)]
        if len(found) != 1:
            whole = f"{namespace}/{name}" if namespace else name
            why = "is of several namespaces here" if found else "is not one that mappers speak to on this gateway"
            raise NotFoundError(f'device "{whole}" {why}')
        return found[0]

    # --- what is wanted -----------------------------------------------------------------------------------

    def _owns(self, device: Key) -> bool:
        known = self._objects().get(device)
        return known is not None and known.protocol in self._mappers

    async def tell(self, device: Key, prop: str, value: str) -> str:
        """See `devices.external.Face`."""
        known = self._objects().get(device)
        mapper = self._mappers.get(known.protocol) if known else None
        if known is None or mapper is None:
            return "no mapper has registered for its protocol"
        self._told[device, prop] = value
        try:
            async with mapper.turn:
                if not await self._bring(mapper, known):
                    request = messages.DeviceRequest(device=self._message(known))
                    await mapper.client.call("UpdateDevice", request, timeout_s=CALL_S)
        except UnavailableError as error:
            return f"mapper {mapper.name} is away: {error}"
        except InvalidError as error:
            return f"mapper {mapper.name} refuses: {error}"
        return ""

    def _message(self, known: _Known) -> messages.Device:
        return device_message(known.body, known.model, self._to_hold(known.key))

    def _to_hold(self, device: Key) -> dict[str, str]:
        """What a mapper that begins with the device is to write: what was carried out, or told last. What is only
        wanted is told when its time has come."""
        out: dict[str, str] = {}
        for row in self._parts.store.twins():
            if row.device == device and row.is_twin:
                state = decode_state(row.body)
                if state.desired is not None and _carried_out(state):
                    out[row.prop] = state.desired.value
        return out | {prop: value for (key, prop), value in self._told.items() if key == device}

    # --- objects ------------------------------------------------------------------------------------------

    def _committed(self, batch: EdgeBatch) -> None:
        touched = {held.key.resource for held in batch.puts} | {key.resource for key in batch.deletes}
        if touched & {DEVICES, MODELS}:
            self._known = None
            for mapper in self._mappers.values():
                mapper.wake.set()

    def _objects(self) -> Mapping[Key, _Known]:
        """Devices that no driver here speaks to, with their models."""
        if self._known is not None:
            return self._known
        store = self._parts.store
        models = {
            (namespace_of(model), name_of(model)): model
            for model in (decode_object(held.body) for held in store.list(MODELS))
        }
        self._known = {}
        for held in store.list(DEVICES):
            body = decode_object(held.body)
            protocol = str_at(body, "spec", "protocol", "protocolName")
            model = models.get((held.key.namespace, str_at(body, "spec", "deviceModelRef", "name")))
            if protocol and model is not None and driver_of(protocol, self._parts.drivers) == EXTERNAL:
                self._known[held.key] = _Known(key=held.key, protocol=protocol, body=body, model=model)
        for place in [place for place in self._told if place[0] not in self._known]:
            del self._told[place]
        return self._known

    def _of(self, mapper: _Mapper) -> list[_Known]:
        return [known for known in self._objects().values() if known.protocol == mapper.protocol]

    def _all_of(self, mapper: _Mapper) -> messages.MapperRegisterResponse:
        """Everything the mapper is to serve, as far as it fits; noted as known to it."""
        devices: list[messages.Device] = []
        models: dict[str, messages.DeviceModel] = {}
        size = 0
        for known in self._of(mapper):
            device, model = self._message(known), model_message(known.model)
            name = _name(model)
            size += len(encode(device)) + (0 if name in models else len(encode(model)))
            if size > REGISTER_BYTES_MAX:
                break
            devices.append(device)
            models[name] = model
            mapper.devices[_name(device)] = fingerprint(device)
            mapper.models[name] = fingerprint(model)
        return messages.MapperRegisterResponse(device_list=tuple(devices), model_list=tuple(models.values()))

    # --- mappers ------------------------------------------------------------------------------------------

    def _made(self, name: str, version: str, protocol: str, address: str) -> _Mapper:
        return _Mapper(
            name=name,
            version=version,
            protocol=protocol,
            address=address,
            client=self._parts.sockets.dial(address),
            grace_until_s=self._parts.clock.monotonic_s() + GRACE_S,
        )

    def _begin(self, mapper: _Mapper) -> None:
        assert self._group is not None, "it runs"
        self._parts.external.announce(mapper.protocol, mapper.name)
        mapper.worker = self._group.create_task(self._serve(mapper))

    def _dismiss(self, mapper: _Mapper) -> None:
        if mapper.worker is not None:
            mapper.worker.cancel()
        mapper.client.close()

    def _remember(self) -> None:
        """The mappers of before."""
        for saved in maps_at(decode_object((self._parts.store.meta(META_MAPPERS) or "{}").encode()), "mappers"):
            texts = (str_at(saved, name) for name in ("name", "version", "protocol", "address"))
            mapper = self._made(*texts)
            mapper.devices, mapper.models = str_map_at(saved, "devices"), str_map_at(saved, "models")
            self._mappers[mapper.protocol] = mapper
            self._begin(mapper)

    async def _save(self) -> None:
        saved: list[Json] = [
            {
                "name": mapper.name,
                "version": mapper.version,
                "protocol": mapper.protocol,
                "address": mapper.address,
                "devices": {**mapper.devices},
                "models": {**mapper.models},
            }
            for mapper in self._mappers.values()
        ]
        await self._parts.store.apply(EdgeBatch(meta=((META_MAPPERS, encode_object({"mappers": saved}).decode()),)))

    async def _serve(self, mapper: _Mapper) -> None:
        """Keep one mapper up to date, and look whether it lives."""
        unsaved = False
        while True:
            mapper.wake.clear()
            try:
                async with mapper.turn:
                    unsaved |= await self._bring_all(mapper)
                    await self._ping(mapper)
                self._found(mapper)
            except UnavailableError as error:
                self._missed(mapper, str(error))
            except Exception as error:  # whatever a mapper makes of gRPC, the agent lives
                LOG.exception("mapper_call_failed mapper=%s", mapper.name)
                self._missed(mapper, type(error).__name__)
            if unsaved:
                with contextlib.suppress(UnavailableError):  # a full disk; at worst it is told once more
                    await self._save()
                    unsaved = False
            in_grace = mapper.misses and self._parts.clock.monotonic_s() < mapper.grace_until_s
            await until_set(mapper.wake, within_s=GRACE_LOOK_S if in_grace else self._parts.look_s)

    async def _ping(self, mapper: _Mapper) -> None:
        """Ask for a device without a name: every mapper refuses that at once, without looking at any device."""
        with contextlib.suppress(InvalidError):
            await mapper.client.call("GetDevice", messages.Named(), timeout_s=PING_S)

    def _found(self, mapper: _Mapper) -> None:
        mapper.misses = 0
        if not mapper.away:
            return
        mapper.away = ""
        LOG.info("mapper_back mapper=%s protocol=%s", mapper.name, mapper.protocol)
        # What it has reported before we looked is online already.
        self._say_all(mapper, f"mapper {mapper.name} is back and has not reported it yet", but_online=True)

    def _missed(self, mapper: _Mapper, reason: str) -> None:
        mapper.misses += 1
        if mapper.away or mapper.misses < 2 or self._parts.clock.monotonic_s() < mapper.grace_until_s:
            return
        mapper.away = f"mapper {mapper.name} is away: {reason}"
        LOG.warning("mapper_away mapper=%s protocol=%s reason=%r", mapper.name, mapper.protocol, reason)
        self._say_all(mapper, mapper.away)

    def _say_all(self, mapper: _Mapper, reason: str, *, but_online: bool = False) -> None:
        online = {each.device for each in self._parts.external.health() if each.online} if but_online else set[Key]()
        for known in self._of(mapper):
            if self._parts.external.serves(known.key) and known.key not in online:
                self._parts.external.say(known.key, online=False, reason=reason)

    # --- bringing a mapper up to date ---------------------------------------------------------------------

    async def _bring_all(self, mapper: _Mapper) -> bool:
        """Whether it knows anything now that it did not. Raises `UnavailableError`."""
        before = dict(mapper.devices), dict(mapper.models)
        wanted = self._of(mapper)
        for known in wanted:
            try:
                await self._bring(mapper, known)
            except InvalidError as error:
                self._refuses(mapper, known, str(error))
        devices = {f"{known.key.namespace}/{known.key.name}" for known in wanted}
        models = {f"{known.key.namespace}/{name_of(known.model)}" for known in wanted}
        await self._remove(mapper, "RemoveDevice", mapper.devices, devices)
        await self._remove(mapper, "RemoveDeviceModel", mapper.models, models)
        return before != (mapper.devices, mapper.models)

    def _refuses(self, mapper: _Mapper, known: _Known, reason: str) -> None:
        name = f"{known.key.namespace}/{known.key.name}"
        LOG.warning("mapper_refuses mapper=%s device=%s reason=%r", mapper.name, name, reason)
        if self._parts.external.serves(known.key):
            self._parts.external.say(known.key, online=False, reason=f"mapper {mapper.name} refuses it: {reason}")

    async def _bring(self, mapper: _Mapper, known: _Known) -> bool:
        """Tell a mapper of a device that it does not know so; whether that was needed. Raises `UnavailableError`, and
        `InvalidError` the first time that it refuses what it is told."""
        device, model = self._message(known), model_message(known.model)
        name, model_name = _name(device), _name(model)
        now, model_now = fingerprint(device), fingerprint(model)
        call, both = mapper.client.call, f"{now}/{model_now}"
        if mapper.refused.get(name) == both:
            return False
        try:
            if mapper.models.get(model_name) != model_now:
                verb = "UpdateDeviceModel" if model_name in mapper.models else "CreateDeviceModel"
                await call(verb, messages.ModelRequest(model=model), timeout_s=CALL_S)
                mapper.models[model_name] = model_now
            if mapper.devices.get(name) == now:
                return False
            verb = "UpdateDevice" if name in mapper.devices else "RegisterDevice"
            await call(verb, messages.DeviceRequest(device=device), timeout_s=CALL_S)
        except InvalidError:
            mapper.refused[name] = both
            raise
        mapper.refused.pop(name, None)
        mapper.devices[name] = now
        return True

    async def _remove(self, mapper: _Mapper, verb: str, held: dict[str, str], wanted: set[str]) -> None:
        for whole in [name for name in held if name not in wanted]:
            namespace, _, name = whole.partition("/")
            try:
                request = messages.Named(name=name, namespace=namespace)
                await mapper.client.call(verb, request, timeout_s=CALL_S)
            except InvalidError as error:
                LOG.warning("mapper_keeps mapper=%s name=%s reason=%r", mapper.name, whole, str(error))
            del held[whole]


def _name(message: messages.Device | messages.DeviceModel) -> str:
    return f"{message.namespace}/{message.name}"


def _carried_out(state: TwinState) -> bool:
    answer = state.ack
    return (
        state.desired is not None
        and answer is not None
        and answer.state in ("applied", "verified")
        and answer.for_ver.covers(state.desired.ver)
    )


def _checked(info: messages.MapperInfo | None, drivers: Container[str]) -> messages.MapperInfo:
    """Raises `InvalidError`, `ConflictError`."""
    if info is None:
        raise InvalidError("mapper: required")
    for name, text in (("name", info.name), ("protocol", info.protocol)):
        if not text or len(text) > NAME_MAX or not text.isprintable():
            raise InvalidError(f"mapper.{name}: must be a text of 1 to {NAME_MAX} characters")
    if len(info.version) > NAME_MAX:
        raise InvalidError(f"mapper.version: longer than {NAME_MAX} characters")
    if driver_of(info.protocol, drivers) != EXTERNAL:
        raise ConflictError(
            f"mapper.protocol: the gateway itself speaks {info.protocol}; give the mapper, and protocolName of its "
            "devices, another name"
        )
    _path(info.address)
    return info


def _path(address: bytes) -> str:
    """Raises `InvalidError`."""
    path = address.decode(errors="replace").removeprefix("unix://")
    if not path.startswith("/") or "\0" in path or len(path.encode()) > PATH_MAX:
        raise InvalidError(
            f"mapper.address: must be the absolute path of the mapper's own unix socket, at most {PATH_MAX} bytes"
        )
    return path
