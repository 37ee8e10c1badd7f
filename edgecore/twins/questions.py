"""Answers to questions about devices, for the cloud over a stream and for the local API: the same ones.

Explaining asks nobody: it tells what is remembered, and so do the figures of lines. Reading goes to the device in its
turn, unless what was read last is fresh enough. Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from devices.port import Reading, Rehearsal
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.checkup import Beside, DeviceSight, checkup, files_of, files_shown
from edgecore.twins.explained import PropertySight, explained, reading_shown
from edgecore.twins.keeper import Keeper
from edgecore.twins.lines import line_shown
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.objects.device_models import DEVICES
from skerry.objects.device_questions import (
    Checkup,
    Discover,
    Explain,
    OfDevice,
    OfLine,
    Question,
    Read,
    question_of,
)
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key
from skerry.ports import Clock


class Discovery(Protocol):
    """Listens for what is no Device yet."""

    async def answer(self, question: Discover) -> JsonObject:
        """Raises `UnavailableError`."""
        ...


class DeviceQuestions:
    """A source of streams of kind `devices`, and of the local API."""

    def __init__(
        self,
        store: AsyncEdgeStore,
        keeper: Keeper,
        *,
        node: str,
        clock: Clock,
        discovery: Discovery | None = None,
        beside: Beside | None = None,
    ) -> None:
        """`discovery` None: the gateway has no broker. `beside`: what other rooms know; None: nothing."""
        self._beside = beside or Beside()
        self._store = store
        self._keeper = keeper
        self._node = node
        self._clock = clock
        self._discovery = discovery

    async def __call__(self, params: JsonObject) -> AsyncGenerator[bytes]:
        """One document."""
        yield encode_object(await self.answer(question_of(params)))

    async def answer(self, question: Question) -> JsonObject:
        """Raises `NotFoundError` for a device or property that is not on this gateway, `UnavailableError` for what
        can't be told now."""
        if isinstance(question, Discover):
            if self._discovery is None:
                raise UnavailableError(f"gateway {self._node} has no MQTT broker (edgecore run --mqtt-broker)")
            return await self._discovery.answer(question)
        device = self._device(question)
        match question:
            case Explain():
                return self._explain(device, question)
            case Read():
                return await self._read(device, question)
            case OfLine():
                return self._line(device)
            case Checkup():
                return await self._checkup(device)

    def _device(self, question: OfDevice) -> Key:
        key = Key(DEVICES, question.namespace, question.device)
        held = self._store.get(key)
        if held is None:
            raise NotFoundError(f'device "{question.device}" is not on this gateway ({self._node})')
        if question.uid and held.stamp.uid != question.uid:
            raise NotFoundError(
                f'device "{question.device}" was made again, and gateway {self._node} has the one before: ask again'
            )
        return key

    def _known(self, device: Key, prop: str) -> PropertySight:
        sight = self._keeper.sight(device, prop)
        if sight is None:
            known = ", ".join(self._keeper.properties(device)) or "none"
            raise NotFoundError(f"device {device.name} has no property {prop!r} (it has: {known})")
        return sight

    # --- explaining ---------------------------------------------------------------------------------------

    def _explain(self, device: Key, question: Explain) -> JsonObject:
        sight = self._known(device, question.prop)
        if question.value is not None:
            sight = self._rehearsed(sight, question.value)
        return explained(sight, node=self._node, now_ms=self._clock.wall_ms())

    def _rehearsed(self, sight: PropertySight, text: str) -> PropertySight:
        """What the model's checks say, then the driver's."""
        config = sight.config
        rehearsal: Rehearsal | None = None
        refusal = ""
        if config is None:
            refusal = sight.state_reason or "it is not served by this gateway"
        else:
            try:
                value = self._keeper.check_value(config, text)
            except InvalidError as error:
                refusal = str(error)
            else:
                rehearsal = self._keeper.rehearse(sight.device, sight.prop, value)
                if rehearsal is None:
                    refusal = self._keeper.refusal_of(sight.device) or "no driver serves it at this moment: ask again"
        if rehearsal is None:
            place = sight.explanation.place if sight.explanation is not None else ""
            rehearsal = Rehearsal(place=place, requests=(), steps=(), refusal=refusal)
        return sight.rehearsed(rehearsal, text)

    # --- lines --------------------------------------------------------------------------------------------

    def _line(self, device: Key) -> JsonObject:
        figures = self._keeper.line(device)
        if figures is None:
            reason = self._keeper.refusal_of(device)
            raise NotFoundError(
                f'device "{device.name}" is not served: {reason}'
                if reason
                else f'device "{device.name}" is on no line: only devices that share one (Modbus) have its figures'
            )
        return line_shown(figures, device, node=self._node, now_ms=self._clock.wall_ms())

    # --- checking up --------------------------------------------------------------------------------------

    async def _checkup(self, device: Key) -> JsonObject:
        known = self._keeper.known(device)
        files = await files_shown(files_of(known), self._beside.credentials)
        summary = next((one for one in self._keeper.devices() if one.device == device), None)
        figures = self._keeper.line(device)
        now_ms = self._clock.wall_ms()
        sights = (self._keeper.sight(device, name) for name in self._keeper.properties(device))
        sight = DeviceSight(
            device=device,
            known=known,
            state=summary.state if summary else "offline",
            reason=summary.reason if summary else "not looked at yet",
            last_online_ms=summary.last_online_ms if summary else 0,
            held_until_ms=summary.holding.until_ms if summary and summary.holding else None,
            properties=[each for each in sights if each is not None],
            line=line_shown(figures, device, node=self._node, now_ms=now_ms) if figures is not None else None,
        )
        return checkup(sight, self._beside, self._store, self._clock, node=self._node, files=files)

    # --- reading ------------------------------------------------------------------------------------------

    async def _read(self, device: Key, question: Read) -> JsonObject:
        names = question.props or self._keeper.properties(device)
        sights = {name: self._known(device, name) for name in names}
        told: JsonObject = {}
        asked: list[str] = []
        for name, sight in sights.items():
            fresh = sight.fresh
            if fresh is not None and fresh.value is not None and sight.fresh_age_s * 1000 <= question.fresh_ms:
                told[name] = self._shown(sight, fresh, asked=False)
            else:
                asked.append(name)
        if refusal := self._keeper.refusal_of(device):
            told |= {name: {"quality": "bad", "reason": refusal} for name in asked}
            asked = []
        async for name, reading in self._readings(device, asked, question.timeout_s):
            told[name] = self._shown(sights[name], reading, asked=True)
        for name in asked:
            if name not in told:
                told[name] = {"quality": "bad", "reason": f"not read within {question.timeout_s} s", "late": True}
        return {
            "kind": "DeviceReading",
            "apiVersion": "skerry.dev/v1",
            "metadata": {"namespace": device.namespace, "name": device.name},
            "node": self._node,
            "properties": {name: told[name] for name in names},
        }

    async def _readings(
        self, device: Key, names: Sequence[str], timeout_s: float
    ) -> AsyncGenerator[tuple[str, Reading]]:
        """One after the other, for as long as there is time."""
        until_s = self._clock.monotonic_s() + timeout_s
        for name in names:
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                return
            try:
                async with asyncio.timeout(left_s), self._keeper.turn(device):
                    reading = await self._keeper.read_now(device, name)
            except TimeoutError:
                return
            yield name, reading

    def _shown(self, sight: PropertySight, reading: Reading, *, asked: bool) -> JsonObject:
        told = reading_shown(reading, now_ms=self._clock.wall_ms())
        told["from"] = "device" if asked else "memory"
        if sight.config is not None:
            told |= {"type": sight.config.type, "unit": sight.config.unit}
        raw = self._keeper.raw(sight.device, sight.prop)
        if raw:
            told["raw"] = raw
        return told
