"""Commands about devices: method calls and readings on demand, through the keeper of twins and its drivers.

A method (KubeEdge's `DeviceSpec.methods`) names properties that belong together. Its parameters are written in the
method's order, each once; the properties that got none are read afterwards: what the method answers. What is
wanted of a property (its desired value) stays as it is. Keeps nothing; what had been written when the agent died is
not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from devices.port import PropertyConfig, Reading, WriteResult
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.keeper import Keeper
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.commands import DeviceMethod, DeviceRefresh, Order, Outcome, Refusal
from skerry.objects.device_models import DEVICES
from skerry.objects.json import Json, JsonObject, decode_object, maps_at, str_at, strs_at
from skerry.objects.meta import Key
from skerry.objects.twins import Value, format_value

ARRIVES_S: Final = 20.0
"""A command may overtake the device it is about, and a driver takes a moment to know it."""


class _Writing(Frozen):
    prop: str
    config: PropertyConfig
    value: Value


class _Call(Frozen):
    """What one command comes to."""

    device: Key
    writes: tuple[_Writing, ...]
    reads: tuple[str, ...]


class _RefusedError(InvalidError):
    def __init__(self, reason: str, message: str, *, patience_s: float = 0.0) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason=reason, message=message, patience_s=patience_s)


class DeviceCalls:
    """An `Executor` for `DeviceMethod` and `DeviceRefresh`."""

    def __init__(self, store: AsyncEdgeStore, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper

    def refusal(self, order: Order) -> Refusal | None:
        """Everything that can be said against it is said before anything is written."""
        try:
            self._call(order)
        except _RefusedError as error:
            return error.refusal
        return None

    async def execute(self, order: Order, halt: asyncio.Event) -> Outcome:
        call = self._call(order)
        done: JsonObject = {}
        async with self._keeper.turn(call.device):
            for writing in call.writes:
                if halt.is_set():
                    return _halted(done)
                result = await self._keeper.write_once(call.device, writing.prop, writing.value)
                done[writing.prop] = _written(writing, result)
                if result.state not in ("verified", "applied"):
                    return _failed_write(writing.prop, result, done)
            bad: list[str] = []
            for prop in call.reads:
                if halt.is_set():
                    return _halted(done)
                reading = await self._keeper.read_now(call.device, prop)
                done[prop] = _read(reading)
                if reading.value is None:
                    bad.append(f"{prop}: {reading.reason}")
        if bad:
            return Outcome(phase="Failed", reason="NoValue", message="; ".join(bad), result={"properties": done})
        return Outcome(phase="Succeeded", reason="", message="", result={"properties": done})

    # --- what is meant ---

    def _call(self, order: Order) -> _Call:
        """Raises `_RefusedError`."""
        action = order.action
        assert isinstance(action, DeviceMethod | DeviceRefresh), "it was made for these"
        key = Key(DEVICES, order.namespace, action.device)
        held = self._store.get(key)
        if held is None:
            why = f'device "{action.device}" is not on this gateway'
            raise _RefusedError("NotFound", why, patience_s=ARRIVES_S)
        if order.target_uid and held.stamp.uid != order.target_uid:
            why = f'device "{action.device}" was deleted and made again since the command was given'
            raise _RefusedError("TargetReplaced", why, patience_s=ARRIVES_S)
        device = decode_object(held.body)
        if isinstance(action, DeviceRefresh):
            names = action.properties or self._all(key, device)
            return _Call(device=key, writes=(), reads=tuple(self._served(key, name) for name in names))
        return self._method(key, device, action)

    def _all(self, key: Key, device: JsonObject) -> Sequence[str]:
        names = [twin.prop for twin in self._keeper.twins(key) if self._keeper.config_of(key, twin.prop)]
        names += [str_at(prop, "name") for prop in maps_at(device, "spec", "properties")]
        return list(dict.fromkeys(names))

    def _served(self, key: Key, name: str) -> str:
        if self._keeper.config_of(key, name) is None:
            reason = self._keeper.refusal_of(key)
            why = f'property "{name}" of device "{key.name}" is not served on this gateway{reason and f": {reason}"}'
            raise _RefusedError("NotFound", why, patience_s=ARRIVES_S)
        return name

    def _method(self, key: Key, device: JsonObject, action: DeviceMethod) -> _Call:
        method = next(
            (each for each in maps_at(device, "spec", "methods") if str_at(each, "name") == action.method), None
        )
        if method is None:
            raise _RefusedError("NotFound", f'device "{key.name}" has no method "{action.method}"')
        given, names = dict(action.parameters), strs_at(method, "propertyNames")
        for name in given:
            if name not in names:
                why = f'parameter "{name}": method "{action.method}" has {", ".join(names) or "none"}'
                raise _RefusedError("InvalidParameter", why)
        writes: list[_Writing] = []
        for name in names:
            config = self._keeper.config_of(key, self._served(key, name))
            if name in given and config is not None:
                writes.append(self._writing(name, config, given[name]))
        return _Call(device=key, writes=tuple(writes), reads=tuple(name for name in names if name not in given))

    def _writing(self, name: str, config: PropertyConfig, text: str) -> _Writing:
        try:
            value = self._keeper.check_value(config, text)
        except InvalidError as error:
            raise _RefusedError("InvalidParameter", f'parameter "{name}": {error}') from error
        return _Writing(prop=name, config=config, value=value)


def _written(writing: _Writing, result: WriteResult) -> Json:
    told: JsonObject = {"state": result.state, "written": format_value(writing.value)}
    if result.read_back is not None and result.read_back.value is not None:
        told["value"] = format_value(result.read_back.value)
    if result.reason:
        told["reason"] = result.reason
    return told


def _read(reading: Reading) -> Json:
    told: JsonObject = {"quality": reading.quality}
    if reading.value is not None:
        told["value"] = format_value(reading.value)
    if reading.reason:
        told["reason"] = reading.reason
    return told


def _failed_write(prop: str, result: WriteResult, done: JsonObject) -> Outcome:
    """A device that refuses did not take it; after any other failure nobody knows whether it did."""
    if result.state == "refused":
        reason, message = "Refused", f"{prop}: {result.reason}"
    else:
        reason, message = "WriteFailed", f"{prop}: {result.reason}; it may have taken effect"
    return Outcome(phase="Failed", reason=reason, message=message, result={"properties": done})


def _halted(done: JsonObject) -> Outcome:
    message = f"stopped as asked, after {', '.join(done)}" if done else "stopped as asked, before its first step"
    return Outcome(phase="Cancelled", reason="Cancelled", message=message, result={"properties": done})
