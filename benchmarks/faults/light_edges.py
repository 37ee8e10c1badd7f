"""Many gateways in one process: the product's link, session and dialling over real TLS; stores in memory, no pods.

    python -m benchmarks.faults.light_edges CLOUD_DATA DIRECTORY ADDRESS[,ADDRESS...] FIRST COUNT

Each begins at another one of the addresses, which are those of a cloud's replicas, and tries the others in turn.
Their certificates are signed with the cloud's own CA, as joining would have done. Told what to do by lines of JSON on
standard input, one answer each; ends when that is closed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from cloudcore.pki.certificates import issue_client
from cloudcore.pki.directory import open_pki
from edgecore.link.dial import websocket_dialer
from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.enrolment import NODE_USER_PREFIX, NODES_GROUP
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.reports import NODE_STATUS, NodeStatusReport
from skerry.objects.times import time_text
from skerry.objects.twins import DeviceName, Telemetry, encode_telemetry
from skerry.transport.identity import Identity

VALID: Final = timedelta(days=2)


@dataclass(slots=True)
class LightEdge:
    """One of them."""

    name: str
    store: AsyncEdgeStore
    link: EdgeLink
    connections: int = 0
    """Sessions that were welcomed, as far as was seen."""
    said: int = 0
    """Readings told."""


def identities(cloud: Path, directory: Path, names: list[str]) -> dict[str, Identity]:
    """A key and a certificate for each, as files."""
    now = datetime.now(UTC).replace(microsecond=0)
    pki = open_pki(cloud, now=now)
    (directory / "ca.crt").write_text(pki.authority.pem)
    made: dict[str, Identity] = {}
    for name in names:
        issued = issue_client(
            pki.authority, user=f"{NODE_USER_PREFIX}{name}", groups=[NODES_GROUP], now=now, valid=VALID
        )
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_text(issued.certificate_pem)
        key.write_text(issued.key_pem)
        made[name] = Identity(ca_file=directory / "ca.crt", certificate_file=certificate, key_file=key)
    return made


def ready_report(name: str) -> bytes:
    """A node that takes pods."""
    since = time_text(round(datetime.now(UTC).timestamp() * 1000))
    condition: JsonObject = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "light",
        "lastHeartbeatTime": since,
        "lastTransitionTime": since,
    }
    amounts: JsonObject = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    status: JsonObject = {"capacity": {**amounts}, "allocatable": {**amounts}, "conditions": [condition]}
    return NodeStatusReport(labels={"kubernetes.io/hostname": name, "light": "yes"}, status=status).encode()


def reading_report(name: str, number: int) -> NewReport:
    """The number-th reading of the device that is called like the node."""
    reading = Telemetry(
        device=DeviceName(namespace="default", name=name, uid=name),
        prop="count",
        seq=number,
        value=str(number),
        type="INT",
        quality="good",
        reason="",
        source_ms=0,
    )
    key = f"default/{name}/count"
    return NewReport(report_class="telemetry", kind="telemetry", key=key, body=encode_telemetry(reading))


class Swarm:
    """All of them."""

    def __init__(self, made: Mapping[str, Identity], addresses: tuple[str, ...]) -> None:
        clock, ids = SystemClock(), SystemIds()
        writer = ThreadPoolExecutor(max_workers=1)
        self.edges: list[LightEdge] = []
        for number, (name, identity) in enumerate(made.items()):
            first = number % len(addresses)
            turn = (*addresses[first:], *addresses[:first])
            store = AsyncEdgeStore(MemoryEdgeStore(incarnation=ids.uid(), clock=clock), writer)
            settings = LinkSettings(node=name, agent_version="light", boot_id="boot", addresses=turn)
            dialer = websocket_dialer(partial(_itself, identity), clock, lambda: 0)
            link = EdgeLink(settings, LinkParts(store=store, dialer=dialer, clock=clock, ids=ids))
            self.edges.append(LightEdge(name, store, link))

    async def obey(self, order: dict[str, str]) -> dict[str, int]:
        """Do it; what is seen afterwards."""
        match order["do"]:
            case "tell":  # that the nodes are ready
                for edge in self.edges:
                    report = NewReport(report_class="state", kind=NODE_STATUS, key="", body=ready_report(edge.name))
                    await edge.store.apply(EdgeBatch(reports=(report,)))
            case "say":  # a reading each, of a device called like the node
                for edge in self.edges:
                    edge.said += 1
                    await edge.store.apply(EdgeBatch(reports=(reading_report(edge.name, edge.said),)))
            case "cut":
                await asyncio.gather(*(edge.link.cut() for edge in self.edges))
            case "heal":
                await asyncio.gather(*(edge.link.heal() for edge in self.edges))
            case _:
                pass
        sessions = [edge.link.status.session for edge in self.edges]
        return {
            "connected": sum(edge.link.connected for edge in self.edges),
            "in_step": sum(edge.link.status.state == "in step" for edge in self.edges),
            "sessions": sum(sessions),
            "holding": sum(self._holds(edge, order) for edge in self.edges),
            "at": sum(
                edge.link.connected and edge.link.status.address == order.get("address") for edge in self.edges
            ),
            "memory_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }

    @staticmethod
    def _holds(edge: LightEdge, order: dict[str, str]) -> bool:
        if "resource" not in order:
            return False
        held = edge.store.get(Key(order["resource"], order.get("namespace", "default"), order["name"]))
        return held is not None and order["text"].encode() in held.body


def _itself(identity: Identity) -> Identity:
    return identity


def main(argv: list[str]) -> None:
    cloud, directory, address, first, count = argv
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    names = [f"light-{number}" for number in range(int(first), int(first) + int(count))]
    asyncio.run(serve(identities(Path(cloud), home, names), tuple(address.split(","))))


async def serve(made: Mapping[str, Identity], addresses: tuple[str, ...]) -> None:
    """Run them all, and obey until standard input is closed."""
    swarm = Swarm(made, addresses)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(edge.link.run()) for edge in swarm.edges]
        print("{}", flush=True)
        while line := await reader.readline():
            print(json.dumps(await swarm.obey(json.loads(line))), flush=True)
        for task in running:
            task.cancel()


if __name__ == "__main__":
    main(sys.argv[1:])
