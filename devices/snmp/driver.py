"""The SNMP driver: objects of one cycle are asked for together, values are set and read back.

Cycles, turns and silence are `devices.polling`'s. An answer counts when its request's number, its objects and, with
SNMP 3, its signature are right. Keeps what was answered last in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from devices.layouts import layout_steps, shown_payload
from devices.payload import read_payload
from devices.polling import PollingDriver, Sample
from devices.port import DeviceConfig, Rehearsal, Step, WriteResult
from devices.snmp.client import Bound, Connect, Engines, Refused, Session
from devices.snmp.config import SnmpDevice, SnmpProperty, parse_device, written_value
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.objects.twins import Value, format_value
from skerry.ports import Clock, Ids

_LATER: Final = frozenset(
    {
        "genErr",
        "tooBig",
        "inconsistentValue",
        "resourceUnavailable",
        "commitFailed",
        "undoFailed",
        "authorizationError",
    }
)
"""Errors of a moment, or of who asks; the others are of the value or the object (RFC 3416, 4.2.5)."""

_MISSING: Final[Mapping[str, str]] = {
    "NoSuchObject": "the device has no such object",
    "NoSuchInstance": "the device has the object, but no such instance of it: many OIDs end in .0",
    "EndOfMibView": "the device has nothing there",
    "Null": "the device says nothing of it",
}


def snmp_driver(*, clock: Clock, ids: Ids, connect: Connect | None = None) -> PollingDriver:
    """A `Driver`. `connect` makes what speaks to a device; None: pysnmp does, over the network."""
    making = connect or Engines().session

    def opening(config: DeviceConfig) -> SnmpPolled:
        device = parse_device(config)
        return SnmpPolled(device, making(device.access, device.target))

    return PollingDriver(opening, clock=clock, ids=ids)


class SnmpPolled:
    """A `PolledDevice`."""

    def __init__(self, device: SnmpDevice, session: Session) -> None:
        self._device = device
        self._session = session
        self._bound: dict[str, Bound] = {}
        """By property, what the device said last."""
        self._most = device.oids_max

    async def read(self, names: Sequence[str]) -> Mapping[str, Sample]:
        """See `PolledDevice`."""
        samples: dict[str, Sample] = {}
        left = list(names)
        while left:
            part = left[: self._most]
            answer = await self._session.get([self._device.properties[name].oid for name in part])
            if not isinstance(answer, Refused):
                for name, bound in zip(part, answer, strict=True):
                    self._bound[name] = bound
                    samples[name] = _sample(self._device.properties[name], bound)
                left = left[len(part) :]
            elif answer.status == "tooBig" and len(part) > 1:
                self._most = len(part) // 2
            elif 0 < answer.index <= len(part):
                # SNMP 1 has one error for all: without the one that it is about the others have values.
                name = left.pop(answer.index - 1)
                samples[name] = Sample(value=None, reason=_said(answer))
            else:
                samples |= {name: Sample(value=None, reason=_said(answer)) for name in part}
                left = left[len(part) :]
        return samples

    async def write(self, name: str, value: Value, *, once: bool) -> WriteResult:
        """See `PolledDevice`."""
        prop = self._device.properties[name]
        refused = await self._session.set(prop.oid, written_value(prop, value), once=once)
        if refused is not None:
            state = "failed" if refused.status in _LATER else "refused"
            return WriteResult(state=state, reason=_said(refused), read_back=None)
        if self._device.verify_delay_s:
            await asyncio.sleep(self._device.verify_delay_s)
        return WriteResult(state="applied", reason="", read_back=None)

    def readable(self, name: str) -> bool:
        """See `PolledDevice`."""
        return True

    def place(self, name: str) -> str:
        """See `PolledDevice`."""
        target = self._device.target
        return (
            f"{self._device.properties[name].oid} at {target.host}:{target.port} (SNMP {self._device.access.version})"
        )

    def explained(self, name: str) -> tuple[JsonObject, tuple[Step, ...]]:
        """See `PolledDevice`."""
        bound = self._bound.get(name)
        if bound is None:
            return {}, ()
        shown = shown_payload(bound.value) if isinstance(bound.value, bytes) else str(bound.value)
        raw: JsonObject = {"oid": bound.oid, "syntax": bound.syntax, "value": None if bound.value is None else shown}
        first = Step(name="object", says=bound.syntax if bound.value is None else f"{bound.syntax}: {shown}")
        return raw, (first, *layout_steps(self._device.properties[name].config.visitor))

    def rehearse(self, name: str, value: Value) -> Rehearsal:
        """See `PolledDevice`."""
        prop = self._device.properties[name]
        wanted = Step(name="value", says=f"{format_value(value)} ({prop.config.type})")
        try:
            written = written_value(prop, value)
        except InvalidError as error:
            return Rehearsal(place=self.place(name), requests=(), steps=(wanted,), refusal=str(error))
        shown = shown_payload(written.value) if isinstance(written.value, bytes) else str(written.value)
        request: JsonObject = {"oid": prop.oid, "type": written.kind, "value": shown}
        steps = (
            wanted,
            Step(name="sent", says=f"set {prop.oid} to {written.kind} {shown}"),
            Step(name="check", says=f"get {prop.oid} is to tell this value"),
        )
        return Rehearsal(place=self.place(name), requests=(request,), steps=steps, refusal="")

    async def close(self) -> None:
        """See `PolledDevice`."""
        await self._session.close()


def _said(refused: Refused) -> str:
    return f"the device answers {refused.status}"


def _sample(prop: SnmpProperty, bound: Bound) -> Sample:
    if bound.value is None:
        return Sample(value=None, reason=_MISSING.get(bound.syntax, f"the device says {bound.syntax}"))
    payload = bound.value if isinstance(bound.value, bytes) else str(bound.value).encode()
    try:
        said = read_payload(payload, prop.config.type, prop.layout)
    except InvalidError as error:
        return Sample(value=None, reason=f"{error} (it is {bound.syntax})")
    assert said is not None, "no layout of these fields is silent"
    return Sample(value=said.value)
