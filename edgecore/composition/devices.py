"""Devices and all that is made of them: twins, drivers, rules, the gateway's own history, pushes, and buses."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, cast

from devices.external import ExternalDriver
from devices.protocols import EXTERNAL
from edgecore.composition.ground import AGENT_VERSION, Ground
from edgecore.device_rules.keeper import DeviceRules
from edgecore.device_rules.port import RuleParts
from edgecore.history.keeper import HistoryKeeper
from edgecore.push.keeper import Pushes, PushGround
from edgecore.rules.services import Services
from edgecore.twins.checkup import Beside
from edgecore.twins.configuring import DriverFactory
from edgecore.twins.keeper import Keeper
from edgecore.twins.questions import DeviceQuestions

if TYPE_CHECKING:
    from edgecore.bus.announcer import Announcer
    from edgecore.bus.shell import EventBus
    from edgecore.dmi.mappers import Mappers
    from edgecore.rules.service_bus import ServiceBus
    from edgecore.rules.shell import GatewayRules


def twins_of(ground: Ground, external: ExternalDriver, in_step: Callable[[], bool], pusher: Pushes | None) -> Keeper:
    # Not one dictionary of both: to list the drivers that packages add costs memory, and often none is asked for.
    own = cast("dict[str, DriverFactory]", ground.drivers)
    drivers = ChainMap[str, DriverFactory]({EXTERNAL: lambda: external}, own)
    return Keeper(
        ground.store,
        drivers,
        clock=ground.time,
        ids=ground.ids,
        clock_is_synced=lambda: ground.time.trusted,
        in_step=in_step,
        pushes=pusher.note_of if pusher is not None else None,
    )


def questions_of(ground: Ground, twins: Keeper, pusher: Pushes | None) -> DeviceQuestions:
    time = ground.time
    beside = Beside(
        pushes=pusher.sights if pusher is not None else tuple,
        trusted=lambda: time.trusted,
        room=partial(_room, ground.directory),
        credentials=ground.credentials,
    )
    return DeviceQuestions(
        ground.store, twins, node=ground.node, clock=time, discovery=ground.discovery, beside=beside
    )


def _room(directory: Path) -> tuple[int, int]:
    usage = disk_usage(directory)
    return usage.free, usage.total


def history_of(ground: Ground) -> HistoryKeeper | None:
    if ground.history is None:
        return None
    time = ground.time
    return HistoryKeeper(ground.store, ground.history, node=ground.node, clock=time, trusted=lambda: time.trusted)


def pushes_of(ground: Ground) -> Pushes | None:
    if ground.places is None:
        return None
    return Pushes(
        PushGround(
            node=ground.node,
            store=ground.store,
            places=ground.places,
            clock=ground.time,
            ids=ground.ids,
            drivers=ground.drivers,
        )
    )


def mappers_of(ground: Ground, external: ExternalDriver) -> Mappers | None:
    if ground.mappers is None:
        return None
    from edgecore.dmi.mappers import Mappers, MappersParts  # here and below: only who has it pays

    return Mappers(
        MappersParts(
            store=ground.store,
            external=external,
            clock=ground.time,
            sockets=ground.mappers,
            drivers=ground.drivers,
        )
    )


def bus_of(ground: Ground, twins: Keeper, external: ExternalDriver) -> EventBus | None:
    if ground.broker is None:
        return None
    from edgecore.bus.shell import BusParts, EventBus

    return EventBus(
        BusParts(
            node=ground.node,
            store=ground.store,
            twins=twins,
            external=external,
            open=ground.broker,
            clock=ground.time,
            ids=ground.ids,
        )
    )


def rules_of(ground: Ground) -> GatewayRules | None:
    if ground.rules is None:
        return None
    from edgecore.bus.port import begin
    from edgecore.rules.shell import GatewayRules, RulesParts

    return GatewayRules(RulesParts(node=ground.node, store=ground.store, open=ground.rules, begin=begin))


def device_rules_of(ground: Ground, twins: Keeper, services: Services, rules: GatewayRules | None) -> DeviceRules:
    parts = RuleParts(
        node=ground.node,
        store=ground.store,
        twins=twins,
        clock=ground.time,
        ask=services.ask,
        publish=None if rules is None else rules.publish,
    )
    return DeviceRules(parts)


def service_bus_of(ground: Ground, in_step: Callable[[], bool]) -> ServiceBus | None:
    if ground.service_bus is None:
        return None
    from edgecore.rules.service_bus import ServiceBus, ServiceBusParts

    parts = ServiceBusParts(store=ground.store, ids=ground.ids, connected=in_step, node=ground.node)
    return ServiceBus(parts, ground.service_bus)


def announcer_of(ground: Ground, twins: Keeper) -> Announcer | None:
    if ground.home is None:
        return None
    from edgecore.bus.announcer import Announcer, AnnouncerParts

    prefix, connect = ground.home
    return Announcer(
        AnnouncerParts(
            prefix=prefix,
            node=ground.node,
            version=AGENT_VERSION,
            store=ground.store,
            twins=twins,
            open=connect,
        )
    )
