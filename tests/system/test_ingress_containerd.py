"""An Ingress before pods of a real containerd: reached over their own network, with the cloud and without it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from skerry.objects.json import JsonObject
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server, free_port, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

NETWORKING = "/apis/networking.k8s.io/v1"
SERVES = "mkdir /www && hostname > /www/name && exec httpd -f -p 8080 -h /www"


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server() as server:
        yield server


@pytest.fixture
def fleet(containerd: Containerd, tmp_path: Path) -> Generator[tuple[RealFleet, int]]:
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("haproxy is not installed")
    port = free_port()
    with real_fleet(tmp_path) as made:
        made.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_CNI_DIRECTORY": str(containerd.folder / "cni"),
            "SKERRY_CGROUP_ROOT": containerd.cgroup_root,
            "SKERRY_INGRESS": "haproxy",
            "SKERRY_INGRESS_HTTP_PORT": str(port),
            "SKERRY_INGRESS_HTTPS_PORT": str(free_port()),
            "SKERRY_INGRESS_ADDRESS": "127.0.0.1",
        }
        try:
            made.edge.start()
            until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
            yield made, port
        finally:
            if pid := master(made.edge.data / "ingress"):
                os.kill(pid, signal.SIGTERM)


def master(directory: Path) -> int:
    with socket.socket(socket.AF_UNIX) as made:
        try:
            made.connect(str(directory / "master.sock"))
        except OSError:
            return 0
        made.sendall(b"show proc\n")
        made.shutdown(socket.SHUT_WR)
        said = made.makefile().read()
    return next((int(line.split()[0]) for line in said.splitlines() if " master " in line), 0)


def pod(name: str) -> JsonObject:
    container: JsonObject = {
        "name": "app",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", SERVES],
        "readinessProbe": {"httpGet": {"path": "/name", "port": 8080}, "periodSeconds": 1},
    }
    spec: JsonObject = {
        "nodeName": NODE,
        "containers": [container],
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    return {"kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}


def test_pods_of_containerd_are_served_by_turns_and_those_that_died_are_left_out(
    fleet: tuple[RealFleet, int], containerd: Containerd
) -> None:
    made, port = fleet
    for name in ("a", "b"):
        made.create(f"{CORE}/pods", pod(name))
    service: JsonObject = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    made.create(f"{CORE}/services", {"kind": "Service", "metadata": {"name": "web"}, "spec": service})
    skerry: JsonObject = {"controller": "skerry.dev/ingress"}
    kind: JsonObject = {"kind": "IngressClass", "metadata": {"name": "skerry"}, "spec": skerry}
    made.create(f"{NETWORKING}/ingressclasses", kind)
    backend: JsonObject = {"service": {"name": "web", "port": {"number": 80}}}
    paths: JsonObject = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
    rules: JsonObject = {"ingressClassName": "skerry", "rules": [{"host": "shop.example", "http": paths}]}
    shop: JsonObject = {"kind": "Ingress", "metadata": {"name": "shop"}, "spec": rules}
    made.create(f"{NETWORKING}/namespaces/default/ingresses", shop)

    def asked(count: int = 4) -> set[str]:
        argv = ["curl", "-s", "--max-time", "5", "-H", "Host: shop.example", f"http://127.0.0.1:{port}/name"]
        return {subprocess.run(argv, capture_output=True, text=True).stdout.strip() for _ in range(count)}

    until(lambda: asked() == {"a", "b"}, "both by turns", lambda: made.edge.log)
    made.cloud.stop(signal.SIGKILL)
    # An app that dies, with no cloud to say so: nobody is sent to it, and it is back when it runs again.
    first = next(pid for pid in containerd.pids().values() if _is_httpd_of(pid, "a"))
    os.kill(first, signal.SIGKILL)
    assert asked(8) <= {"a", "b"}, "whoever asks is answered by the one that lives"
    until(lambda: asked() == {"a", "b"}, "both by turns again", lambda: made.edge.log)
    made.edge.stop(signal.SIGKILL)
    assert asked() == {"a", "b"}, "without agent and cloud"


def _is_httpd_of(pid: int, hostname: str) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    name = Path(f"/proc/{pid}/root/www/name")
    return b"httpd" in command and name.exists() and name.read_text().strip() == hostname
