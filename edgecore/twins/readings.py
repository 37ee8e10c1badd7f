"""Readings are taken into twins here: from what drivers read by themselves, and from what is read on demand.

What a reading changes is decided by `edgecore.twins.plan.take`. In memory; what was not committed is read again, or
sent again by its broker.
"""

from __future__ import annotations

from collections.abc import Callable

from devices.port import Driver, PropertyConfig, Reading
from devices.pushes import Told, encode_push, queue_name, says
from edgecore.store.port import NewPush, NewReading
from edgecore.twins.ledger import Ledger
from edgecore.twins.plan import Taken, is_settled, take
from edgecore.twins.served import Served
from edgecore.twins.stage import Place, name_of_device
from skerry.objects.blocks import Reading as BlockReading
from skerry.objects.twins import TwinState, format_value
from skerry.ports import Clock


class Readings:
    """One for all drivers."""

    def __init__(
        self, served: Served, ledger: Ledger, *, clock: Clock, synced: Callable[[], bool], pushes: bool
    ) -> None:
        self._pushes = pushes
        self._served = served
        self._ledger = ledger
        self._clock = clock
        self._synced = synced
        self.repeated = 0
        """Readings recognised as taken before."""
        self.listeners: dict[Callable[[Reading], None], None] = {}
        """Told of every reading that is newer than those before, whatever the deadband."""

    async def read_always(self, name: str, driver: Driver) -> None:
        """Take what a driver reads, for as long as it has readings."""
        async for reading in driver.readings():
            await self._ledger.has_room()
            self._take(name, reading)

    def _take(self, name: str, reading: Reading) -> None:
        place = (reading.device, reading.prop)
        config = self._served.configs.get(place)
        known = self._served.known.get(reading.device)
        if reading.receipt:
            self._ledger.stage.receipts.append((name, reading.receipt))
            self._ledger.staged()
        if config is None or known is None:
            return  # configured away while it was read
        if reading.device in self._served.held and not reading.receipt:
            return  # held while it was read; what somebody waits for is kept
        first = place not in self._served.fresh
        before = self._ledger.twins.get(place) or TwinState(uid=known.uid)
        taken = take(before, config, reading, now_ms=self._clock.wall_ms(), synced=self._synced())
        if not taken.late:
            self._freshen(place, reading)
        self._keep(place, config, reading, taken)
        self.repeated += taken.repeated
        if taken.urgent:
            self._ledger.hurry()
        if first or (not is_settled(taken.state) and taken.record):
            self._ledger.wish.set()

    def _freshen(self, place: Place, reading: Reading) -> None:
        self._served.fresh[place] = reading
        for hear in self.listeners:
            hear(reading)

    def _keep(
        self, place: Place, config: PropertyConfig, reading: Reading, taken: Taken, *, at_once: bool = False
    ) -> None:
        """Stage a twin after a reading, and the reading itself when it is to be part of the history."""
        state = taken.state
        if self._ledger.twins.get(place) == state:
            return
        self._ledger.twins[place] = state
        self._ledger.stage.rows.add(place)
        if taken.record and self._pushes:
            self._push(place, config, reading, state.seq)
        if taken.record and config.report_to_cloud:
            if at_once or taken.urgent:
                self._ledger.stage.told.add(place)
            else:
                self._ledger.pace.moved(place)
            told = BlockReading(
                device=name_of_device(place[0], state.uid),
                prop=place[1],
                seq=state.seq,
                value=None if reading.value is None else format_value(reading.value),
                type=config.type,
                quality=reading.quality,
                reason=reading.reason,
                source_ms=reading.source_ms,
                source_seq=reading.source_seq,
                ago_ms=0,
            )
            taken_ms = round(self._clock.monotonic_s() * 1000)
            self._ledger.stage.telemetry.append(NewReading(reading=told, taken_ms=taken_ms))
        self._ledger.staged()

    def _push(self, place: Place, config: PropertyConfig, reading: Reading, seq: int) -> None:
        """Stage it for the places that the Device names, with the twin that it changed."""
        device, prop = place
        known = self._served.known.get(device)
        targets = known.pushes.get(prop, ()) if known is not None else ()
        if not targets:
            return
        told = Told(
            namespace=device.namespace,
            device=device.name,
            prop=prop,
            value=None if reading.value is None else format_value(reading.value),
            type=config.type,
            unit=config.unit,
            quality=reading.quality,
            reason=reading.reason,
            source_ms=reading.source_ms,
            seq=seq,
        )
        body = encode_push(told)
        for target in targets:
            if says(target, told):
                queue = queue_name(device.namespace, device.name, prop, target)
                self._ledger.stage.pushes.append(NewPush(queue, body))

    def take_back(self, place: Place, config: PropertyConfig, reading: Reading) -> TwinState:
        """A value read back after a write is told at once, whatever the deadband."""
        self._freshen(place, reading)
        known = self._served.known.get(place[0])
        taken = take(
            self._ledger.twins.get(place) or TwinState(uid=known.uid if known else ""),
            config,
            reading,
            now_ms=self._clock.wall_ms(),
            synced=self._synced(),
            verbatim=True,
        )
        self._keep(place, config, reading, taken, at_once=True)
        return self._ledger.twins[place]
