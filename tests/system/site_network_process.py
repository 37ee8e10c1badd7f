"""The network of one gateway of a site, without the rest of the agent: routes to its neighbour's pods, and a service.

`python -m tests.system.site_network_process NODE CNI_DIRECTORY`, NODE being `g1` or `g2`. Each has the pods
10.244.N.0/24 and is at 192.0.2.N; behind the service `web` (10.96.0.7) is 10.244.N.2 of both. A line `alone` on stdin
takes the neighbour away, `site` brings it back; each is answered by `done`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from edgecore.network.directory import SLICES
from edgecore.network.keeper import Network, NetworkParts
from edgecore.network.settings import NetworkSettings, PodNetworkSettings
from edgecore.network.upstream import HostResolver
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.node_routes import POD_RANGES, ROUTES_LABEL, ROUTES_NAMESPACE, route_slice_name
from skerry.objects.sites import ZONE_LABEL
from tests.edgecore.network.conftest import endpoint, pod, service, slice_of


def held(key: Key, obj: JsonObject) -> Held:
    return Held(key=key, stamp=Stamp("u", Revision(1)), body=encode_object(obj))


def route(node: str, number: int) -> Held:
    name = route_slice_name(node, "IPv4")
    metadata: JsonObject = {
        "name": name,
        "namespace": ROUTES_NAMESPACE,
        "labels": {ROUTES_LABEL: node},
        "annotations": {POD_RANGES: f"10.244.{number}.0/24"},
    }
    at = endpoint(f"192.0.2.{number}", node, zone="north")
    return held(Key(SLICES, ROUTES_NAMESPACE, name), {"metadata": metadata, "addressType": "IPv4", "endpoints": [at]})


async def main(node: str, directory: str) -> None:
    number, other = (1, 2) if node == "g1" else (2, 1)
    neighbour = route(f"g{other}", other)
    web = slice_of("web", endpoint(f"10.244.{other}.2", f"g{other}", zone="north"))
    mine: JsonObject = {"name": node, "labels": {ZONE_LABEL: "north"}}
    there = (neighbour, held(Key(SLICES, "d", "web-1"), web))
    own = pod("web", f"10.244.{number}.2", nodeName=node)
    puts = (
        held(Key("nodes", "", node), {"metadata": mine, "spec": {"podCIDRs": [f"10.244.{number}.0/24"]}}),
        route(node, number),
        held(Key("services", "d", "web"), service("web", selector={"app": "web"})),
        held(Key("pods", "d", "web"), own),
        *there,
    )
    clock = SystemClock()
    store = AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one"))
    await store.apply(EdgeBatch(puts=puts))
    parts = NetworkParts(node=node, store=store, clock=clock, host_resolver=HostResolver())
    settings = NetworkSettings(services="nftables", pods=PodNetworkSettings(directory=Path(directory)))
    network = Network(parts, settings)
    assert network.routing is not None and network.pods is not None
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(network.run())
        await asyncio.sleep(0.3)
        await network.pods.look()
        await network.routing.bring_up()
        print("done", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            gone = line.strip() == "alone"
            change = EdgeBatch(deletes=tuple(each.key for each in there)) if gone else EdgeBatch(puts=there)
            await store.apply(change)
            await asyncio.sleep(0.3)
            await network.pods.look()
            await network.routing.bring_up()
            print("done", flush=True)
        running.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
