"""Device objects that changed in the store: what they want is merged into the twins, and drivers get their devices.

What an object means is decided by `devices.manifests`, what it changes in a twin by `edgecore.twins.plan`. In
memory; made anew from the store when the agent starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from devices.manifests import KnownDevice, known_devices
from devices.port import DeviceConfig, Driver, PropertyConfig, TwinConfig
from edgecore.store.port import META_EPOCH, EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.carrying import Carrying
from edgecore.twins.health import Health
from edgecore.twins.holds import Holds
from edgecore.twins.ledger import Ledger
from edgecore.twins.plan import observe, unserved
from edgecore.twins.readings import Readings
from edgecore.twins.served import Served
from edgecore.twins.settings import KeeperSettings
from edgecore.twins.stage import Place
from skerry.frozen import Frozen, replace
from skerry.objects.desired import UNSEEN, Desired
from skerry.objects.device_desired import record_of
from skerry.objects.device_models import DEVICES, MODELS
from skerry.objects.device_owner import owner_of
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import Key, name_of, namespace_of
from skerry.objects.twins import TwinState
from skerry.ports import Clock
from skerry.waits import until_set

LOG = logging.getLogger(__name__)

SECRETS: Final = "secrets"

DriverFactory: TypeAlias = "Callable[[], Driver]"
"""Makes a driver when the first device needs it."""


class Rooms(Frozen):
    """The other rooms of the keeper."""

    served: Served
    ledger: Ledger
    readings: Readings
    carrying: Carrying
    health: Health
    holds: Holds


class Configuring:
    """Hears of objects, configures drivers and keeps them running."""

    def __init__(
        self,
        store: AsyncEdgeStore,
        factories: Mapping[str, DriverFactory],
        rooms: Rooms,
        *,
        clock: Clock,
        settings: KeeperSettings,
        in_step: Callable[[], bool],
    ) -> None:
        """`factories` by protocol. `in_step`: whether what the cloud sends was written just now, and not while the
        gateway was away."""
        self._store = store
        self._factories = factories
        self._served = rooms.served
        self._ledger = rooms.ledger
        self._readings = rooms.readings
        self._carrying = rooms.carrying
        self._health = rooms.health
        self._holds = rooms.holds
        self._holds.changed = self._look_again
        self._clock = clock
        self._settings = settings
        self._in_step = in_step
        self._late: set[Key] | None = None
        """Devices that came after an absence and weren't looked at yet; None: any may have."""
        self._given: dict[str, Sequence[DeviceConfig]] = {}
        self._changed = asyncio.Event()
        self._changed.set()

    def objects_changed(self, keys: Iterable[Key]) -> None:
        """These objects in the store were put or deleted. Returns at once."""
        if any(key.resource in (DEVICES, MODELS, SECRETS) for key in keys):
            self._changed.set()

    def committed(self, batch: EdgeBatch) -> None:
        """Everything that the store commits."""
        self.objects_changed(held.key for held in batch.puts)
        if self._late is not None and not self._in_step():
            self._late |= {held.key for held in batch.puts if held.key.resource == DEVICES}
        self.objects_changed(batch.deletes)
        if any(name == META_EPOCH for name, _ in batch.meta):
            self._changed.set()

    async def configure_always(self, group: asyncio.TaskGroup) -> None:
        """Follow the objects, until cancelled; drivers run in `group`."""
        while True:
            await until_set(self._changed, within_s=self._holds.next_end_s())
            self._changed.clear()
            self._observe()
            await self._configure(group)

    def _look_again(self) -> None:
        self._changed.set()

    def _observe(self) -> None:
        """Read the objects anew, and merge what they want into the twins."""
        models = {
            (namespace_of(model), name_of(model)): model
            for model in (decode_object(held.body) for held in self._store.list(MODELS))
        }
        before, devices = self._served.known, self._store.list(DEVICES)
        bodies = (decode_object(held.body) for held in devices)
        self._served.known = known_devices(bodies, models, self._secret, self._factories)
        void = {held.key for held in devices if held.stamp.revision == 0}
        epoch = self._store.meta(META_EPOCH) or ""  # after the devices: theirs is no newer
        now_s = self._clock.monotonic_s()
        self._served.configs = {
            (key, prop.name): prop
            for key, known in self._served.known.items()
            if known.config
            for prop in known.config.properties
        }
        for key, known in self._served.known.items():
            held = before.get(key)
            if held is None or held.config != known.config:
                self._served.configured_s[key] = now_s
        for place in [place for place in self._ledger.twins if place[0] not in self._served.known]:
            self._forget(place)
        for device in self._holds.gone():
            self._holds.forget(device)
            self._ledger.stage.gone.add(device)
        if epoch != self._ledger.epoch:
            self._tell_anew(epoch)
        late, self._late = self._late, set()
        for place in {**self._served.configs, **self._ledger.twins}:
            self._observe_one(place, void=place[0] in void, late=late is None or place[0] in late)
        self._ledger.wish.set()

    def _secret(self, namespace: str, name: str) -> JsonObject | None:
        held = self._store.get(Key(SECRETS, namespace, name))
        return None if held is None else decode_object(held.body)

    def _tell_anew(self, epoch: str) -> None:
        """The cloud was restored: it may lack whatever was told before, and what it was seen to want says nothing.

        What it lacks of desired values it gets from here (docs/decisions/0105), by the rules of merging.
        """
        self._ledger.epoch = self._ledger.stage.epoch = epoch
        for place, state in self._ledger.twins.items():
            self._ledger.twins[place] = replace(state, seen=UNSEEN)
            self._ledger.stage.rows.add(place)
            self._ledger.stage.told.add(place)
            if state.desired is not None:
                config = self._served.configs.get(place)
                self._ledger.stage.wanted[place] = config.twin.policy if config else TwinConfig().policy
        self._ledger.stage.states |= self._health.states
        self._ledger.hurry()

    def _forget(self, place: Place) -> None:
        """The device is gone from this gateway."""
        del self._ledger.twins[place]
        self._ledger.pace.forget(place)
        self._served.forget(place)
        self._carrying.forget(place)
        self._health.forget(place[0])
        self._holds.forget(place[0])
        self._ledger.log.forget(place[0])
        self._ledger.stage.gone.add(place[0])
        self._ledger.hurry()

    def _observe_one(self, place: Place, *, void: bool, late: bool) -> None:
        """Merge what the Device object wants; with `void`, what it wanted in an earlier epoch."""
        known, config = self._served.known[place[0]], self._served.configs.get(place)
        held = self._ledger.twins.get(place)
        before = held or TwinState(uid=known.uid)
        if before.uid != known.uid:
            # Another life of the device: nothing of the old is true of it, but its history goes on counting.
            before = TwinState(uid=known.uid, seq=before.seq)
        wanted = _wanted(known, place[1], config)
        if config is None and (wanted is None or not wanted.removed):
            return  # of a property that isn't there, only that nothing is wanted of it any more is of interest
        policy = config.twin.policy if config else TwinConfig().policy
        observed = observe(before, wanted, policy, self._clock.wall_ms(), late=late)
        if void:
            observed = replace(observed, state=replace(observed.state, seen=before.seen))
        observed = replace(observed, state=replace(observed.state, owner=owner_of(known.body)))
        if held == observed.state and not observed.tell_desired:
            return
        self._ledger.twins[place] = observed.state
        self._ledger.stage.rows.add(place)
        if observed.tell_desired:
            self._ledger.stage.wanted[place] = policy
        if observed.state.desired != before.desired or observed.state.ack != before.ack:
            self._ledger.stage.told.add(place)
        elif observed.state.owner != before.owner and observed.state.reported is not None:
            self._ledger.stage.told.add(place)  # what was told when the device was here before counts no more
        self._ledger.hurry()

    async def _configure(self, group: asyncio.TaskGroup) -> None:
        """Give each driver its devices; drivers are made when they are first needed."""
        wanted: dict[str, list[DeviceConfig]] = {name: [] for name in self._served.drivers}
        refused: dict[Key, str] = {}
        held = {key: holding for key in self._served.known if (holding := self._holds.holding(key)) is not None}
        self._served.held = {*held}
        for key, known in self._served.known.items():
            if key in held:
                refused[key] = str(held[key])
            elif known.config is None:
                refused[key] = known.reason
            elif known.config.protocol not in self._factories:
                refused[key] = f"this agent has no driver for {known.config.protocol}"
            else:
                wanted.setdefault(known.config.protocol, []).append(known.config)
        for name, configs in wanted.items():
            if name not in self._served.drivers:
                driver = self._served.drivers[name] = self._factories[name]()
                group.create_task(self._drive(name, driver))
                group.create_task(self._readings.read_always(name, driver))
            if self._given.get(name) != configs:
                self._given[name] = configs
                kept = {
                    key: why for key, why in self._served.refused.items() if self._served.protocol_of(key) != name
                }
                self._served.refused = kept | dict(await self._served.drivers[name].configure(configs))
        self._served.refused = {
            key: why for key, why in self._served.refused.items() if self._served.is_served(key)
        } | refused
        for key, reason in self._served.refused.items():
            self._health.tell(key, "held" if key in held else "invalid", reason)
        self._set_unserved()

    def _set_unserved(self) -> None:
        """What isn't read any more must not go on looking like a good value."""
        now_ms = self._clock.wall_ms()
        for place, state in self._ledger.twins.items():
            device = place[0]
            known = self._served.known.get(device)
            if known is None or known.uid != state.uid:
                continue
            reason = self._served.refused.get(
                device, "" if place in self._served.configs else "the device has no such property now"
            )
            if reason:
                self._served.fresh.pop(place, None)
                paused = device in self._served.held
                self._ledger.answered(place, unserved(state, reason, now_ms=now_ms, paused=paused))

    async def _drive(self, name: str, driver: Driver) -> None:
        """A driver's root: a fault in one leaves the others, and the agent, alone."""
        while True:
            try:
                await driver.run()
            except Exception:
                LOG.exception("driver_failed driver=%s restart_s=%g", name, self._settings.restart_s)
                await asyncio.sleep(self._settings.restart_s)


def _wanted(known: KnownDevice, prop: str, config: PropertyConfig | None) -> Desired | None:
    """What the Device wants of a property. KubeEdge's manifests say "" where that is nothing."""
    record = record_of(known.body, prop)
    if record is not None and not record.value and config is not None and config.type not in ("STRING", "BYTES"):
        return replace(record, removed=True)
    return record
