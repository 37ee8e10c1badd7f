"""A real gateway tries the addresses of a service for a real cloud, and a DNS server hears how it votes."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from pathlib import Path

import pytest

from tests.system.dns_process import dns_server
from tests.system.real_fleet import real_fleet, until

pytestmark = pytest.mark.system

OBJECTS = """
apiVersion: skerry.dev/v1
kind: DnsZone
metadata: {name: example.com}
spec:
  nameservers: [{name: ns1, addresses: [192.0.2.1]}]
  observers: {count: 3, privateAddresses: true}
---
apiVersion: skerry.dev/v1
kind: GlobalService
metadata: {name: web, namespace: default}
spec:
  hosts: [www.example.com]
  policy: RoundRobin
  ttlSeconds: 1
  endpoints: [{address: 127.0.0.2, region: eu}, {address: 127.0.0.3, region: us}]
  probe: {type: TCP, port: PORT, intervalSeconds: 1, downThreshold: 2}
"""


def listen(address: str, port: int) -> socket.socket:
    made = socket.create_server((address, port), backlog=64)

    def serve() -> None:
        while True:
            try:
                made.accept()[0].close()
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return made


def test_a_gateway_looks_votes_and_is_heard_by_the_server(tmp_path: Path) -> None:
    if shutil.which("kdig") is None:
        pytest.skip("kdig is not installed")
    first = listen("127.0.0.2", 0)
    port = int(first.getsockname()[1])
    with listen("127.0.0.3", port), real_fleet(tmp_path) as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the gateway's session")
        fleet.cloud.kubectl("apply", "-f", "-", stdin=OBJECTS.replace("PORT", str(port)))

        def votes() -> dict[str, tuple[int, int]]:
            told = json.loads(fleet.cloud.kubectl("get", "gsvc", "web", "-o", "json"))
            rows = told.get("status", {}).get("observations", [])
            return {row["address"]: (row["up"], row["down"]) for row in rows}

        until(lambda: votes() == {"127.0.0.2": (1, 0), "127.0.0.3": (1, 0)}, "the gateway's votes")
        with dns_server(tmp_path / "dns", "--cloud", str(fleet.cloud.kubeconfig)) as server:
            until(lambda: "127.0.0.2" in server.kdig("+short", "www.example.com"), "the zone")
            first.shutdown(socket.SHUT_RDWR)
            first.close()
            until(
                lambda: votes() == {"127.0.0.2": (0, 1), "127.0.0.3": (1, 0)}, "the gateway's votes after a failure"
            )
            until(lambda: server.kdig("+short", "www.example.com").split() == ["127.0.0.3"], "the answer")
            until(lambda: "gateways say 0 up, 1 down" in server.skerry("health"), "what gateways say")
