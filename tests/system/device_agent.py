"""An agent of twins alone, as a process that tests may kill: store, keeper, real drivers, no link.

    python -m tests.system.device_agent STORE_DIR MANIFEST.json [BROKER_PORT]

The manifest is a list of [resource, object]. The process says "ready" and then works until it is killed. With the
port of a broker, KubeEdge's apps may talk to it, and Home Assistant.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

from devices.external import ExternalDriver
from devices.mqtt.client import PahoConnection
from devices.mqtt.config import Broker, Presence
from edgecore.bus.announcer import Announcer, AnnouncerParts
from edgecore.bus.homeassistant import presence_topic
from edgecore.bus.shell import BusParts, EventBus
from edgecore.store.port import EdgeBatch, Held, OutboxBudgets
from edgecore.store.shell import AsyncEdgeStore
from edgecore.store.sqlite import StoreSettings, open_store
from edgecore.twins.drivers import driver_factories
from edgecore.twins.keeper import Keeper
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.device_desired import stamp_desired
from skerry.objects.json import encode_object
from skerry.objects.meta import Key, Revision, Stamp, name_of


async def main(directory: Path, manifest: Path, broker_port: int) -> None:
    clock, ids = SystemClock(), SystemIds()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    settings = StoreSettings(directory=directory, boot_id=boot_id, budgets=OutboxBudgets())
    store = AsyncEdgeStore(open_store(settings, clock, ids).store)
    external = ExternalDriver(clock=clock)
    drivers = dict(driver_factories(clock=clock, ids=ids, node="eu-1"))
    if broker_port:
        drivers["external"] = lambda: external
    keeper = Keeper(store, drivers, clock=clock, ids=ids)
    puts: list[Held] = []
    for resource, obj in json.loads(manifest.read_text()):
        key = Key(resource, "default", name_of(obj))
        if store.get(key) is None:
            obj = stamp_desired(None, obj, now_ms=clock.wall_ms(), origin="test")
            puts.append(Held(key=key, stamp=Stamp("u", Revision(1)), body=encode_object(obj)))
    if puts:
        await store.apply(EdgeBatch(puts=tuple(puts)))
    print("ready", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        if broker_port:
            broker = Broker(host="127.0.0.1", port=broker_port)
            parts = BusParts(
                node="eu-1",
                store=store,
                twins=keeper,
                external=external,
                open=lambda hooks: PahoConnection(broker, "skerry-eu-1-bus", hooks),
                clock=clock,
                ids=ids,
            )
            group.create_task(EventBus(parts).run())
            there = replace(
                broker, presence=Presence(topic=presence_topic("eu-1"), online="online", offline="offline")
            )
            shown = AnnouncerParts(
                prefix="homeassistant",
                node="eu-1",
                version="v1",
                store=store,
                twins=keeper,
                open=lambda hooks: PahoConnection(there, "skerry-eu-1-home", hooks),
            )
            group.create_task(Announcer(shown).run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
