"""An agent of twins alone, as a process that tests may kill: store, keeper, real drivers, no link.

    python -m tests.system.device_agent STORE_DIR MANIFEST.json [BROKER_PORT [DMI_SOCKET]]

The manifest is a list of [resource, object]. The process says "ready" and then works until it is killed. With the
port of a broker, KubeEdge's apps may talk to it, and Home Assistant; with a socket, its mappers. On SIGHUP it takes
the manifest as it is then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from devices.external import ExternalDriver
from devices.mqtt.client import PahoConnection
from devices.mqtt.config import Broker, Presence
from edgecore.bus.announcer import Announcer, AnnouncerParts
from edgecore.bus.homeassistant import presence_topic
from edgecore.bus.shell import BusParts, EventBus
from edgecore.dmi.mappers import Mappers, MappersParts, Sockets
from edgecore.dmi.server import DmiServer, dial
from edgecore.store.opening import open_store
from edgecore.store.port import EdgeBatch, Held, OutboxBudgets
from edgecore.store.shell import AsyncEdgeStore
from edgecore.store.sqlite import StoreSettings
from edgecore.twins.drivers import driver_factories
from edgecore.twins.keeper import Keeper
from skerry.clocks import SystemClock, SystemIds
from skerry.frozen import replace
from skerry.objects.device_desired import stamp_desired
from skerry.objects.json import decode_object, encode_object
from skerry.objects.meta import Key, Revision, Stamp, name_of


async def take(store: AsyncEdgeStore, manifest: Path, now_ms: int, *, anew: bool) -> None:
    """What is missing of the manifest; `anew`: all of it and nothing else, as from the cloud."""
    puts: list[Held] = []
    for resource, obj in json.loads(manifest.read_text()):
        key = Key(resource, "default", name_of(obj))
        held = store.get(key)
        if held is None or anew:
            before = decode_object(held.body) if held else None
            obj = stamp_desired(before, obj, now_ms=now_ms, origin="test")
            revision = Revision(held.stamp.revision + 1 if held else 1)
            puts.append(Held(key=key, stamp=Stamp("u", revision), body=encode_object(obj)))
    kept = {held.key for held in puts}
    held = [*store.list("devices.devices.kubeedge.io"), *store.list("devicemodels.devices.kubeedge.io")]
    gone = tuple(each.key for each in held if anew and each.key not in kept)
    if puts or gone:
        await store.apply(EdgeBatch(puts=tuple(puts), deletes=gone))


async def follow(store: AsyncEdgeStore, manifest: Path, clock: SystemClock, hangup: asyncio.Event) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        await take(store, manifest, clock.wall_ms(), anew=True)


async def main(directory: Path, manifest: Path, broker_port: int, dmi_socket: str) -> None:
    clock, ids = SystemClock(), SystemIds()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    settings = StoreSettings(directory=directory, boot_id=boot_id, budgets=OutboxBudgets())
    store = AsyncEdgeStore(open_store(settings, clock, ids).store)
    external = ExternalDriver(clock=clock)
    drivers = dict(driver_factories(clock=clock, ids=ids, node="eu-1"))
    drivers["external"] = lambda: external
    keeper = Keeper(store, drivers, clock=clock, ids=ids)
    await take(store, manifest, clock.wall_ms(), anew=False)
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    print("ready", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        group.create_task(follow(store, manifest, clock, hangup))
        if dmi_socket:
            sockets = Sockets(dial=dial, serve=lambda mappers: DmiServer(mappers, Path(dmi_socket)).run())
            mappers = MappersParts(store=store, external=external, clock=clock, sockets=sockets, look_s=0.5)
            group.create_task(Mappers(mappers).run())
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
    given = [*sys.argv[3:], "0", ""]
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(given[0]), given[1] if len(sys.argv) > 4 else ""))
