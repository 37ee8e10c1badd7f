"""One gateway that sends as fast as it may beside fifty good ones: how long the others wait before, and meanwhile.

The hub is a real `cloudcore`. A good gateway sends a sign of life every half second and a report of its Node every
second, and counts the time to the answer and to the receipt; so the times hold everything up to the database's sync.
The hostile one is a process of its own that keeps within all limits, so that nothing ends its session, and never
waits longer than they make it. Run: python -m benchmarks hostile.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.fleet.cloud import ROOT, Cloud
from benchmarks.fleet.world import make_world, node_name
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject
from skerry.objects.meta import Revision
from skerry.objects.reports import NODE_STATUS, NodeStatusReport
from skerry.transport.dialled import DialledLink, dial
from skerry.transport.identity import Identity, client_context
from skerry.wire.codec import decode, encode
from skerry.wire.frames import (
    BULK,
    LANES,
    PROMPT,
    PROTOCOL_VERSIONS,
    Compare,
    Hello,
    Ping,
    Pong,
    Receipt,
    Report,
    Reports,
    Welcome,
)

GOOD: Final = 50
WINDOW_S: Final = 12.0
PING_S: Final = 0.5
FLOODS: Final = ("signs of life", "comparisons", "Node reports", "Events", "readings of nobody's")
_REPORTS: Final = 256
_WINDOW_FRAMES: Final = 8


@dataclass(slots=True)
class Waits:
    """Seconds, of all good gateways."""

    pong_s: list[float] = field(default_factory=list[float])
    receipt_s: list[float] = field(default_factory=list[float])

    def clear(self) -> None:
        self.pong_s.clear()
        self.receipt_s.clear()


def _node_report(text: str) -> bytes:
    condition: JsonObject = {"type": "Ready", "status": "True", "reason": "EdgeReady", "message": text}
    return NodeStatusReport(labels={}, status={"conditions": [condition]}).encode()


@dataclass(slots=True)
class Peer:
    """A session spoken by hand."""

    link: DialledLink
    node: str
    seq: dict[int, int] = field(default_factory=lambda: dict.fromkeys(LANES, 0))

    async def welcomed(self) -> None:
        hello = Hello(
            versions=PROTOCOL_VERSIONS,
            node=self.node,
            agent_version="0",
            incarnation=f"{self.node}-{time.time()}",
            epoch="",
            revision=Revision(0),
            root=1,
            outbox_head=0,
        )
        await self.link.send(encode(hello))
        while not isinstance(decode(await self.link.receive()), Welcome):
            pass

    def reports(self, kind: str, bodies: Sequence[bytes], *, lane: int = PROMPT) -> bytes:
        first = self.seq[lane] + 1
        self.seq[lane] += len(bodies)
        made = tuple(
            Report(seq=first + at, kind=kind, key="", body=body, wall_ms=0, age_ms=0)
            for at, body in enumerate(bodies)
        )
        return encode(Reports(reports=made, lane=lane, first=first, through=self.seq[lane]))


async def _peer(data: Path, port: int, number: int) -> Peer:
    pem = data / "gateways" / f"{number}.pem"
    identity = Identity(ca_file=data / "pki" / "ca.crt", certificate_file=pem, key_file=pem)
    link = await dial(f"127.0.0.1:{port}", client_context(identity, trust_clock=True))
    peer = Peer(link, node_name(number))
    await peer.welcomed()
    return peer


async def _good(peer: Peer, waits: Waits) -> None:
    """Never ends by itself."""
    said_s: dict[int, float] = {}
    told_s: dict[int, float] = {}

    async def listen() -> None:
        while True:
            frame = decode(await peer.link.receive())
            now_s = time.perf_counter()
            if isinstance(frame, Pong) and frame.number in said_s:
                waits.pong_s.append(now_s - said_s.pop(frame.number))
            elif isinstance(frame, Receipt):
                for seq in [seq for seq in told_s if seq <= frame.through]:
                    waits.receipt_s.append(now_s - told_s.pop(seq))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        number = 0
        while True:
            await asyncio.sleep(PING_S)
            number += 1
            said_s[number] = time.perf_counter()
            await peer.link.send(encode(Ping(number=number)))
            if number % 2:
                words = peer.reports(NODE_STATUS, [_node_report(f"works {number}")])
                told_s[peer.seq[PROMPT]] = time.perf_counter()
                await peer.link.send(words)


# --- the hostile one ---


async def _flood(peer: Peer, kind: str) -> None:
    """For ever: as much as the windows allow, and all answers read."""
    room = asyncio.Semaphore(_WINDOW_FRAMES)
    received = 0

    async def listen() -> None:
        nonlocal received
        while True:
            frame = decode(await peer.link.receive())
            if isinstance(frame, Receipt):
                for _ in range((frame.through - received) // _REPORTS):
                    room.release()
                received = frame.through

    async def send() -> None:
        make = _words(peer, kind)
        while True:
            words, bounded = make()
            if bounded:
                await room.acquire()
            for word in words:
                await peer.link.send(word)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        tasks.create_task(send())


def _words(peer: Peer, kind: str) -> Callable[[], tuple[list[bytes], bool]]:
    """What is sent next, and whether that waits for room."""
    event = b'{"metadata":{"name":"%d","namespace":"default"},"involvedObject":{"kind":"Node","name":"%s"}}'
    reading = b'{"device":{"namespace":"default","name":"d","uid":"u"},"prop":"p","value":"%d"}'
    count = 0

    def reports(report: str, lane: int, body: Callable[[int], bytes]) -> tuple[list[bytes], bool]:
        nonlocal count
        count += _REPORTS
        bodies = [body(count + at) for at in range(_REPORTS)]
        return [peer.reports(report, bodies, lane=lane)], True

    match kind:
        case "signs of life":
            return lambda: ([encode(Ping(number=1))] * 100, False)
        case "comparisons":
            return lambda: ([encode(Compare(root=1))] * 100, False)
        case "Node reports":
            return lambda: reports(NODE_STATUS, PROMPT, lambda number: _node_report(f"flood {number}"))
        case "Events":
            return lambda: reports("event", PROMPT, lambda number: event % (number, peer.node.encode()))
        case _:
            return lambda: reports("telemetry", BULK, lambda number: reading % number)


async def _hostile(data: Path, port: int, kind: str) -> None:
    while True:
        try:
            await _flood(await _peer(data, port, GOOD), kind)
        except* UnavailableError as ended:
            print(f"thrown out: {ended.exceptions[0]}", file=sys.stderr)


# --- the measurement ---


def _figures(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    if not ordered:
        return "no answer at all"
    half, most = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"{half * 1000:.0f} / {most * 1000:.0f} / {ordered[-1] * 1000:.0f} ms of {len(ordered)}"


async def _measured(cloud: Cloud) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    waits = Waits()
    peers = [await _peer(cloud.data, cloud.port, number) for number in range(GOOD)]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_good(peer, waits)) for peer in peers]
        await asyncio.sleep(5)
        for kind in (None, *FLOODS):
            flood = None
            if kind is not None:
                command = [sys.executable, "-m", "benchmarks.hostile", str(cloud.data), str(cloud.port), kind]
                flood = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
                await asyncio.sleep(3)  # its burst is over
            waits.clear()
            before_s = cloud.cpu_s
            await asyncio.sleep(WINDOW_S)
            rows.append((f"{kind or 'nobody floods'}: answer to a sign of life", _figures(waits.pong_s)))
            rows.append(("... a report's receipt", _figures(waits.receipt_s)))
            rows.append(("... the hub's processor", f"{(cloud.cpu_s - before_s) / WINDOW_S:.0%} of a core"))
            if flood is not None:
                flood.kill()
                await flood.wait()
                await asyncio.sleep(2)
        for task in running:
            task.cancel()
    return rows


def main() -> Sequence[tuple[str, str]]:
    """The figures, as (what, value): median / 99th percentile / longest."""
    with tempfile.TemporaryDirectory() as directory:
        world = make_world(Path(directory) / "cloud", nodes=GOOD + 1, own_configs=5)
        cloud = Cloud(data=world.data)
        cloud.start()
        try:
            return asyncio.run(_measured(cloud))
        finally:
            cloud.kill()


if __name__ == "__main__":
    asyncio.run(_hostile(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
