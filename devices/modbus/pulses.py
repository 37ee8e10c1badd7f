"""Pulses that have begun and are to end: each in a task of its own, and tried until it has.

Which ones are open is noted before they begin, so that an agent that dies in between leaves them to its successor
(`devices.modbus.guards`). What belongs to a device that is not served now waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from devices.modbus.guards import NOTE, PULSES_MAX, read_pulses, write_pulses
from devices.port import Notes, WriteResult
from skerry.errors import UnavailableError

LOG = logging.getLogger(__name__)

RETRY_S_MIN: Final = 0.2
RETRY_S_MAX: Final = 10.0

PulsePlace: TypeAlias = tuple[str, str]
"""`namespace/name` of a device, and a property."""
TakeBack: TypeAlias = Callable[[PulsePlace], Awaitable[WriteResult | None]]
"""Write it back, and read it; None where there is nothing to take back any more. Whatever else it comes to than that
the device has it (`verified`, or `applied` where it can't be read), it has to be tried again: a device that took the
write and still shows the pulse, or refuses it, has something on that was to be off."""


@dataclass(kw_only=True, eq=False)
class _Open:
    """One pulse."""

    due_s: float
    """By the loop's clock."""
    first: asyncio.Future[WriteResult | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """What came of the first attempt to end it."""


class Pulses:
    """Use: `begin` before a value is written, `end` once it is; `run` in a task."""

    def __init__(self, notes: Notes | None, take_back: TakeBack) -> None:
        self._notes = notes
        self._take_back = take_back
        self._open: dict[PulsePlace, _Open] = {}
        self._left = read_pulses(notes.read(NOTE) if notes else "")
        """By an agent before this one."""
        self._ending: dict[PulsePlace, _Open] = {}
        """Those that are to be taken back."""
        self._ready: dict[PulsePlace, _Open] = {}
        """Those of them that have no task yet."""
        self._wake = asyncio.Event()

    async def begin(self, place: PulsePlace) -> None:
        """Note that it is open. Raises `UnavailableError`: then nothing may be written."""
        if place in self._open:
            raise UnavailableError(f"{place[1]} is being taken back still")
        if len(self._open) >= PULSES_MAX:
            raise UnavailableError(f"{PULSES_MAX} pulses are under way already")
        self._open[place] = _Open(due_s=0.0)
        try:
            await self._note()
        except BaseException:
            del self._open[place]
            raise

    async def forget(self, place: PulsePlace) -> None:
        """Nothing was written: there is nothing to take back."""
        self._open.pop(place, None)
        await self._note_if_possible()

    async def end(self, place: PulsePlace, after_s: float) -> WriteResult | None:
        """Have it taken back in so many seconds; what came of the first attempt (see `TakeBack`), which others follow
        until the device has it."""
        opened = self._open[place]
        opened.due_s = asyncio.get_running_loop().time() + after_s
        self._ready[place] = self._ending[place] = opened
        self._wake.set()
        return await asyncio.shield(opened.first)

    async def run(self) -> None:
        """Until cancelled."""
        for device, props in self._left.items():
            for prop in props:
                self._ending[device, prop] = self._open[device, prop] = _Open(due_s=0.0)
        self._left = {}
        self._ready = {**self._ending}  # a run before this one may have ended in the middle of them
        async with asyncio.TaskGroup() as group:
            while True:
                for place, opened in self._ready.items():
                    group.create_task(self._bring_back(place, opened))
                self._ready.clear()
                await self._wake.wait()
                self._wake.clear()

    async def _bring_back(self, place: PulsePlace, opened: _Open) -> None:
        await asyncio.sleep(max(0.0, opened.due_s - asyncio.get_running_loop().time()))
        retry_s = RETRY_S_MIN
        while True:
            result = await self._take_back(place)
            if not opened.first.done():
                opened.first.set_result(result)
            if result is None or result.state not in ("failed", "refused"):
                break
            if retry_s == RETRY_S_MIN:
                LOG.warning("modbus_pulse_not_ended device=%s property=%s reason=%r", *place, result.reason)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, RETRY_S_MAX)
        self._ending.pop(place, None)
        self._open.pop(place, None)
        await self._note_if_possible()

    async def _note(self) -> None:
        if self._notes is None:
            return
        places: dict[str, frozenset[str]] = dict(self._left)
        for device, prop in self._open:
            places[device] = places.get(device, frozenset()) | {prop}
        await self._notes.write(NOTE, write_pulses(places))

    async def _note_if_possible(self) -> None:
        """A note that stays has a value taken back once more, which does no harm."""
        try:
            await self._note()
        except UnavailableError as error:
            LOG.warning("modbus_pulses_not_noted reason=%r", str(error))
