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
  probe: {type: TCP, port: PORT, intervalSeconds: 1, downThreshold: 2}
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
---
apiVersion: k8gb.io/v1beta1
kind: Gslb
metadata:
  name: shop
  namespace: default
  annotations: {k8gb.io/exposed-ip-addresses: "127.0.0.2,127.0.0.3"}
spec:
  ingress:
    rules:
      - host: shop.example.com
        http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
  strategy: {type: roundRobin, dnsTtlSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: default, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [10.1.2.3], conditions: {ready: true}}]
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

        def votes(kind: str = "gsvc", name: str = "web") -> dict[str, tuple[int, int]]:
            told = json.loads(fleet.cloud.kubectl("get", kind, name, "-o", "json"))
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
            # And of a Gslb as k8gb's users write it, by the zone's probe.
            until(
                lambda: votes("gslb", "shop") == {"127.0.0.2": (0, 1), "127.0.0.3": (1, 0)}, "the votes on the Gslb"
            )
            until(lambda: server.kdig("+short", "shop.example.com").split() == ["127.0.0.3"], "its answer")
            until(lambda: "gateways say 0 up, 1 down" in server.skerry("health"), "what gateways say")
