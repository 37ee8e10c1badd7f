"""What a thousand Services of ten endpoints cost a gateway: time to lead them, time of one change, memory, latency.

In a network namespace of its own, for each carrier of the kernel. `all` is from the directory to the last rule that
the kernel took, as after a power cycle; `one` is an endpoint that goes while the rest stays. Connections are to a
server on another address of the namespace, straight and by a service's address. No kube-proxy can be had here to
stand beside it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from edgecore.network.balancing import Front, FrontTable
from edgecore.network.choice import CARRIERS
from edgecore.network.directory import NODES, SERVICES, SLICES, Directory
from skerry.objects.meta import Key
from skerry.testkit.real.namespaces import PATH, new_namespace

COUNT: Final = 1000
ENDPOINTS: Final = 10
CONNECTIONS: Final = 500
SERVER: Final = ("127.0.0.9", 8080)


def _service(number: int) -> Any:
    address = f"10.96.{number // 250}.{number % 250 + 1}"
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    spec = {"clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"], "ports": ports}
    return {"metadata": {"name": f"s{number}", "namespace": "d"}, "spec": spec}


def _slice(number: int, count: int) -> Any:
    """The last service's first endpoint is the one that answers."""
    first = [SERVER[0]] if number == COUNT - 1 else []
    addresses = [*first, *(f"10.{16 + number // 250}.{number % 250}.{each + 1}" for each in range(ENDPOINTS))][:count]
    return {
        "metadata": {"namespace": "d", "labels": {"kubernetes.io/service-name": f"s{number}"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each], "nodeName": "n1", "conditions": {"ready": True}} for each in addresses],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def _directory() -> Directory:
    made = Directory("n1")
    made.put(Key(NODES, "", "n1"), {"metadata": {"name": "n1"}})
    for number in range(COUNT):
        made.put(Key(SERVICES, "d", f"s{number}"), _service(number))
        count = 1 if number == COUNT - 1 else ENDPOINTS
        made.put(Key(SLICES, "d", f"s{number}-x"), _slice(number, count))
    return made


def _connect_us(address: tuple[str, int]) -> float:
    taken: list[float] = []
    for _ in range(CONNECTIONS):
        began = time.perf_counter()
        with socket.create_connection(address, timeout=5):
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


async def _measure(name: str) -> dict[str, float]:
    server = socket.create_server(SERVER, backlog=128)
    threading.Thread(target=lambda: [server.accept()[0].close() for _ in range(10**9)], daemon=True).start()
    straight = _connect_us(SERVER)
    empty_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    carrier, directory = CARRIERS[name](), _directory()
    await carrier.check()
    began = time.perf_counter()
    table = FrontTable(directory)
    fronts: Sequence[Front] = table.fronts()
    await carrier.carry(fronts, [])
    whole = time.perf_counter() - began
    ones: list[float] = []
    for number in range(5):
        directory.put(Key(SLICES, "d", f"s{number}-x"), _slice(number, ENDPOINTS - 1))
        began = time.perf_counter()
        await carrier.carry(table.fronts(), [])
        ones.append(time.perf_counter() - began)
    last = _service(COUNT - 1)["spec"]["clusterIP"]
    return {
        "all_s": whole,
        "one_ms": statistics.median(ones) * 1000,
        "memory_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - empty_kib) / 1024,
        "straight_us": straight,
        "led_us": _connect_us((last, 80)),
    }


def main() -> Sequence[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name in ("nftables", "iptables"):
        space = new_namespace("services")
        try:
            for words in (("link", "set", "lo", "up"), ("route", "add", "default", "dev", "lo")):
                space.run("ip", *words)
            argv = [*space.prefix, sys.executable, "-m", "benchmarks.services", name]
            done = subprocess.run(argv, capture_output=True, text=True, env={"PATH": PATH}, check=False)
            if done.returncode:
                rows.append((name, f"not measured: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"))
                continue
            found = json.loads(done.stdout)
        finally:
            space.close()
        rows += [
            (f"{name}: {COUNT} services x {ENDPOINTS} endpoints, all", f"{found['all_s']:.2f} s"),
            (f"{name}: one endpoint goes", f"{found['one_ms']:.0f} ms"),
            (f"{name}: memory for it in the agent, at most", f"{found['memory_mib']:.1f} MiB"),
            (f"{name}: a connection, straight", f"{found['straight_us']:.0f} us"),
            (f"{name}: a connection, by a service's address", f"{found['led_us']:.0f} us"),
        ]
    return rows


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_measure(sys.argv[1]))))
