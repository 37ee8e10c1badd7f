"""A gateway's rules for service addresses without the rest of the agent.

The first word says what leads, the second where the agent's data are. It knows the pods `a` (10.77.0.2) and `b`
(10.77.0.3) behind the services `web`
(10.96.0.7, node port 30080), `sticky` (10.96.0.8), `here` (10.96.0.9, node port 30081 that shows clients' own
addresses, health on 30090), `datagrams` (10.96.0.10, UDP), `talk` (10.96.0.12, to port 9090), and `nobody`
(10.96.0.11, node port 30082). A line `NAME ready` or `NAME unready` on stdin changes a pod's readiness; each is
answered by `done` when the change is led.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from edgecore.network.keeper import Network, NetworkParts
from edgecore.network.settings import NetworkSettings
from edgecore.network.upstream import HostResolver
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from tests.edgecore.network.conftest import NODE, pod, service, status

PODS = {"a": "10.77.0.2", "b": "10.77.0.3"}
BOTH: dict[str, Any] = {"selector": {"app": "web"}}


def ports(node_port: int = 0, protocol: str = "TCP") -> list[dict[str, Any]]:
    return [{"name": "", "port": 80, "targetPort": 8080, "protocol": protocol, "nodePort": node_port}]


def services() -> dict[str, JsonObject]:
    outside: dict[str, Any] = {"type": "NodePort"}
    balanced: dict[str, Any] = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 30090,
    }
    return {
        "web": service("web", ports=ports(30080), externalIPs=["203.0.113.9"], **outside, **BOTH),
        "sticky": service("sticky", "10.96.0.8", ports=ports(), sessionAffinity="ClientIP", **BOTH),
        "here": service("here", "10.96.0.9", ports=ports(30081), **balanced, **BOTH),
        "datagrams": service("datagrams", "10.96.0.10", ports=ports(protocol="UDP"), **BOTH),
        "talk": service("talk", "10.96.0.12", ports=[{**ports()[0], "targetPort": 9090}], selector={"app": "web"}),
        "nobody": service("nobody", "10.96.0.11", ports=ports(30082), selector={"app": "none"}, **outside),
    }


def held(resource: str, name: str, obj: JsonObject) -> Held:
    namespace = "" if resource == "nodes" else "d"
    return Held(key=Key(resource, namespace, name), stamp=Stamp("u", Revision(1)), body=encode_object(obj))


async def main() -> None:
    clock = SystemClock()
    store = AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one"))
    puts = [held("nodes", NODE, {"metadata": {"name": NODE}})]
    puts += [held("services", name, obj) for name, obj in services().items()]
    puts += [held("pods", name, pod(name, address)) for name, address in PODS.items()]
    await store.apply(EdgeBatch(puts=tuple(puts)))
    parts = NetworkParts(
        node=NODE,
        store=store,
        clock=clock,
        host_resolver=HostResolver(),
        directory=Path(sys.argv[2] if len(sys.argv) > 2 else "."),
    )
    network = Network(parts, NetworkSettings(services=sys.argv[1] if len(sys.argv) > 1 else "nftables"))
    assert network.routing is not None
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(network.run())
        await asyncio.sleep(0.3)
        try:
            await network.routing.bring_up()
        except UnavailableError as error:
            sys.exit(str(error))
        print("done", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, said = line.split()
            record = encode_object({"status": status(PODS[name], ready=said == "ready")})
            await store.apply(EdgeBatch(pods=((f"u-{name}", record),)))
            await asyncio.sleep(0.3)
            await network.routing.bring_up()
            print("done", flush=True)
        running.cancel()


if __name__ == "__main__":
    asyncio.run(main())
