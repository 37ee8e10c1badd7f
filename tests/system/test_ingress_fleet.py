"""An Ingress by kubectl, from a real cloud to HAProxy on a real gateway, and what is left of it when things fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.objects.ingresses import NOTHING_SERVED, served_by
from skerry.objects.json import maps_at, str_at
from tests.edgecore.network.ingress.conftest import certificate
from tests.system.real_fleet import NODE, RealFleet, real_fleet, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

APP = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{sys.argv[1]} {self.path} {self.headers['X-Forwarded-Proto']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", int(sys.argv[2])), Handler).serve_forever()
"""
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


class Shop:
    """A fleet with an app behind an Ingress."""

    def __init__(self, fleet: RealFleet, directory: Path) -> None:
        self.fleet, self.directory = fleet, directory
        self.http, self.https, self.app = free_port(), free_port(), free_port()
        fleet.edge.environ |= {
            "SKERRY_INGRESS": "haproxy",
            "SKERRY_INGRESS_HTTP_PORT": str(self.http),
            "SKERRY_INGRESS_HTTPS_PORT": str(self.https),
            "SKERRY_RUNTIME": "process",
            "SKERRY_LOCAL_API": "off",
            "SKERRY_SERVICE_BUS_PORT": "off",
        }
        self.proxy = fleet.edge.data / "ingress"

    def apply(self, *objects: object) -> None:
        self.fleet.cloud.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def certificate(self, serial: int) -> None:
        for name, text in zip(("crt", "key"), certificate("shop.example", serial=serial), strict=True):
            (self.directory / name).write_bytes(text)
        words = ("create", "secret", "tls", "cert", f"--cert={self.directory}/crt", f"--key={self.directory}/key")
        made = self.fleet.cloud.kubectl(*words, "--dry-run=client", "-o", "yaml")
        self.fleet.cloud.kubectl("apply", "-f", "-", stdin=made)

    def curl(self, url: str, *words: str) -> str:
        argv = ["curl", "-sk", "--max-time", "10", *words, url]
        for name in ("shop.example", "other.example"):
            for port in (self.http, self.https):
                argv += ["--resolve", f"{name}:{port}:127.0.0.1"]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    def served(self) -> bool:
        return self.curl(f"https://shop.example:{self.https}/x") == "one /x https"

    def serial(self) -> str:
        argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.https}", "-servername", "shop.example"]
        shown = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout
        read = subprocess.run(
            ["openssl", "x509", "-noout", "-serial"], input=shown, capture_output=True, text=True, check=False
        )
        return read.stdout.strip()

    def master(self) -> int:
        """The pid of HAProxy's master; 0 for none."""
        with socket.socket(socket.AF_UNIX) as made:
            try:
                made.connect(str(self.proxy / "master.sock"))
                made.sendall(b"show proc\n")
                made.shutdown(socket.SHUT_WR)
                said = made.makefile().read()
            except OSError:  # there is none, or it just ends
                return 0
        return next((int(line.split()[0]) for line in said.splitlines() if " master " in line), 0)

    def addresses(self, name: str = "shop") -> list[str]:
        rows = maps_at(self.fleet.find(f"{INGRESSES}/{name}"), "status", "loadBalancer", "ingress")
        return [str_at(row, "ip") for row in rows]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    for program in ("haproxy", "curl", "openssl"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed")
    with real_fleet(tmp_path) as fleet:
        made = Shop(fleet, tmp_path)
        try:
            yield made
        finally:
            if pid := made.master():
                os.kill(pid, signal.SIGTERM)


def objects_of(shop: Shop) -> list[object]:
    container = {"name": "app", "image": "sh", "command": [sys.executable, "-c", APP, "one", str(shop.app)]}
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": "skerry", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": "skerry.dev/ingress"},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "one", "labels": {"app": "web"}},
            "spec": {"nodeName": NODE, "terminationGracePeriodSeconds": 1, "containers": [container]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": shop.app}]},
        },
    ]


def test_an_ingress_made_by_kubectl_is_served_and_goes_on_without_cloud_and_agent(shop: Shop) -> None:
    fleet = shop.fleet
    fleet.edge.start()
    shop.apply(*objects_of(shop))
    shop.certificate(1)
    fleet.cloud.kubectl("create", "ingress", "shop", "--rule=shop.example/*=web:80,tls=cert")
    until(shop.served, "the app over TLS", deadline_s=60)
    until(shop.addresses, "an address")
    shown = fleet.cloud.kubectl("get", "ingress", "shop").splitlines()[1].split()
    assert shown[:5] == ["shop", "skerry", "shop.example", *shop.addresses(), "80,"]
    assert shop.serial() == "serial=01"
    told = shop.curl(
        f"http://shop.example:{shop.http}/x?y=1", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"
    )
    assert told == f"308 https://shop.example:{shop.https}/x?y=1"
    assert shop.curl(f"https://shop.example:{shop.https}/", "--http2", "-w", " %{http_version}").endswith(" 2")
    unknown = shop.curl(f"http://other.example:{shop.http}/", "-o", "/dev/null", "-w", "%{http_code}")
    assert unknown == "404"
    until(lambda: "served by eu-1" in fleet.cloud.kubectl("get", "events"), "an Event that says by whom")

    until(lambda: "by HAProxy" in fleet.cloud.kubectl("describe", "node", NODE), "a condition of the Node")
    assert "ok  Ingress           Ingresses: served on ports" in fleet.cloud.skerry("node", "doctor")

    shop.certificate(2)
    until(lambda: shop.serial() == "serial=02", "the new certificate")

    fleet.cloud.kubectl(
        "create",
        "ingress",
        "thief",
        "--rule=shop.example/*=web:80",
        "--annotation=nginx.ingress.kubernetes.io/auth-type=basic",
    )
    until(lambda: "annotation auth-type" in fleet.cloud.kubectl("get", "events"), "an Event of what is refused")
    assert shop.addresses("thief") == []

    fleet.cloud.stop(signal.SIGKILL)
    master = shop.master()
    fleet.edge.stop(signal.SIGKILL)
    assert shop.served() and shop.master() == master
    fleet.edge.start()
    assert shop.served() and shop.master() == master
    os.kill(master, signal.SIGKILL)
    until(lambda: shop.served() and shop.master() not in (0, master), "HAProxy again")

    fleet.start_cloud()
    until(lambda: fleet.edge.link_state() == "connected", "in step again")
    assert shop.addresses()
    fleet.cloud.kubectl("delete", "ingress", "shop", "thief")
    until(lambda: not shop.master(), "HAProxy ends with the last Ingress")
    keys = [path for path in shop.proxy.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert [path.name for path in keys] == ["default.pem"]


def test_an_agent_without_ingress_ends_what_the_one_before_served(shop: Shop) -> None:
    fleet = shop.fleet
    fleet.edge.start()
    shop.apply(*objects_of(shop))
    shop.certificate(1)
    fleet.cloud.kubectl("create", "ingress", "shop", "--rule=shop.example/*=web:80,tls=cert")
    until(shop.served, "the app over TLS", deadline_s=60)
    until(shop.addresses, "an address")
    fleet.edge.stop(signal.SIGKILL)
    assert shop.served()
    fleet.edge.environ["SKERRY_INGRESS"] = "none"
    fleet.edge.start()
    until(lambda: not shop.proxy.exists(), "HAProxy ends, and its files go")
    assert not shop.served()
    until(lambda: not shop.addresses(), "the Ingress has no address any more")
    assert served_by(fleet.find(f"/api/v1/nodes/{NODE}")) == NOTHING_SERVED
