"""A gateway's ingress proxy without the rest of the agent.

`python -m tests.system.ingress_process DIRECTORY HTTP_PORT HTTPS_PORT`. It serves what objects say that come on
stdin, one a line: {"put": RESOURCE, "object": {...}} or {"delete": RESOURCE, "namespace": "d", "name": "x"};
each is answered by a line when HAProxy has it: `done`, or what is wrong. The pod `a` is at 127.0.0.2:8081, `b` at
127.0.0.3:8081, both behind the Service `web`. What would be told to the cloud is asked for by {"reports": true}.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from edgecore.network.ingress.settings import IngressSettings
from edgecore.network.keeper import Network, NetworkParts
from edgecore.network.settings import NetworkSettings
from edgecore.network.upstream import HostResolver
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.objects.json import encode_object
from skerry.objects.meta import Key, Revision, Stamp
from tests.edgecore.network.conftest import NODE, pod, service
from tests.edgecore.network.ingress.conftest import CLASS

PODS = {"a": "127.0.0.2", "b": "127.0.0.3"}
CLUSTER = ("nodes", "ingressclasses.networking.k8s.io")


def held(resource: str, obj: Any) -> Held:
    metadata = obj["metadata"]
    namespace = "" if resource in CLUSTER else metadata.get("namespace", "d")
    key = Key(resource, namespace, metadata["name"])
    return Held(key=key, stamp=Stamp("u", Revision(1)), body=encode_object(obj))


async def carried_out(line: str, store: AsyncEdgeStore, network: Network) -> str:
    asked = json.loads(line)
    assert network.ingress is not None
    if asked.get("reports"):
        return json.dumps([json.loads(each.body) for each in store.outbox(after=0, limit=1000)])
    if "put" in asked:
        await store.apply(EdgeBatch(puts=(held(asked["put"], asked["object"]),)))
    elif "delete" in asked:
        await store.apply(EdgeBatch(deletes=(Key(asked["delete"], asked["namespace"], asked["name"]),)))
    try:
        await network.ingress.bring_up()
    except UnavailableError as error:
        return str(error)
    return "done"


async def main() -> None:
    directory, http_port, https_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    clock = SystemClock()
    store = AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one"))
    puts = [held("nodes", {"metadata": {"name": NODE}})]
    puts += [held("services", service("web", selector={"app": "web"}, ports=[{"port": 80, "targetPort": 8081}]))]
    puts += [held("pods", pod(name, address)) for name, address in PODS.items()]
    puts += [held("ingressclasses.networking.k8s.io", CLASS)]
    # As from the disk: what was there before this life.
    kept = directory / "objects.jsonl"
    if kept.exists():
        puts += [held(each["put"], each["object"]) for each in map(json.loads, kept.read_text().splitlines())]
    await store.apply(EdgeBatch(puts=tuple(puts)))
    settings = NetworkSettings(ingress=IngressSettings(http_port=http_port, https_port=https_port))
    parts = NetworkParts(
        node=NODE,
        store=store,
        clock=clock,
        host_resolver=HostResolver(),
        directory=directory,
        addresses=lambda: ("192.0.2.7",),
    )
    network = Network(parts, settings)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = asyncio.ensure_future(network.run())
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    print("ready", flush=True)
    while not running.done() and (line := await reader.readline()):
        print(await carried_out(line.decode(), store, network), flush=True)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main())
