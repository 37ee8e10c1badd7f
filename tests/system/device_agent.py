"""An agent of twins alone, as a process that tests may kill: store, keeper, real drivers, no link.

    python -m tests.system.device_agent STORE_DIR MANIFEST.json

The manifest is a list of [resource, object]. The process says "ready" and then works until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

from edgecore.store.port import EdgeBatch, Held, OutboxBudgets
from edgecore.store.shell import AsyncEdgeStore
from edgecore.store.sqlite import StoreSettings, open_store
from edgecore.twins.drivers import driver_factories
from edgecore.twins.keeper import Keeper
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.device_twins import stamp_desired
from skerry.objects.json import encode_object
from skerry.objects.meta import Key, Revision, Stamp, name_of


async def main(directory: Path, manifest: Path) -> None:
    clock, ids = SystemClock(), SystemIds()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    settings = StoreSettings(directory=directory, boot_id=boot_id, budgets=OutboxBudgets())
    store = AsyncEdgeStore(open_store(settings, clock, ids).store)
    keeper = Keeper(store, driver_factories(clock=clock, ids=ids, node="eu-1"), clock=clock, ids=ids)
    puts: list[Held] = []
    for resource, obj in json.loads(manifest.read_text()):
        key = Key(resource, "default", name_of(obj))
        if store.get(key) is None:
            obj = stamp_desired(None, obj, now_ms=clock.wall_ms(), origin="test")
            puts.append(Held(key=key, stamp=Stamp("u", Revision(1)), body=encode_object(obj)))
    if puts:
        await store.apply(EdgeBatch(puts=tuple(puts)))
    print("ready", flush=True)
    await keeper.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
