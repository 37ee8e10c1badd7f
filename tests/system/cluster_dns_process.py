"""A gateway's cluster DNS without the rest of the agent.

`python -m tests.system.cluster_dns_process ADDRESS RESOLV_CONF`. It knows a service, a headless one with two
endpoints of another gateway and a pod of its own, and an external name.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from edgecore.network.directory import SLICES
from edgecore.network.keeper import Network, NetworkParts
from edgecore.network.settings import DnsSettings, NetworkSettings
from edgecore.network.upstream import HostResolver
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from tests.edgecore.network.conftest import NODE, endpoint, headless, pod, service, slice_of


def held(resource: str, name: str, obj: JsonObject) -> Held:
    namespace = "" if resource == "nodes" else "d"
    return Held(key=Key(resource, namespace, name), stamp=Stamp("u", Revision(1)), body=encode_object(obj))


async def main(address: str, resolv_conf: str) -> None:
    clock = SystemClock()
    store = AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one"))
    many = [endpoint(f"10.3.0.{number}") for number in range(1, 90)]
    puts = (
        held("nodes", NODE, {"metadata": {"name": NODE}}),
        held("services", "web", service("web")),
        held("services", "db", headless("db", selector={"app": "db"})),
        held(SLICES, "db-1", slice_of("db", endpoint("10.2.0.1", hostname="first"), endpoint("10.2.0.2"))),
        held("pods", "db-0", pod("db-0", "10.1.0.5", labels={"app": "db"})),
        held("services", "many", headless("many")),
        held(SLICES, "many-1", slice_of("many", *many)),
        held("services", "far", service("far", "", type="ExternalName", externalName="www.example.com")),
    )
    await store.apply(EdgeBatch(puts=puts))
    parts = NetworkParts(node=NODE, store=store, clock=clock, host_resolver=HostResolver(Path(resolv_conf)))
    network = Network(parts, NetworkSettings(dns=DnsSettings(host=address)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(network.run())
        assert network.server is not None
        while not network.server.listens:
            await asyncio.sleep(0.02)
        print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
