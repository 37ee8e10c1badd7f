"""A node that only says that its pods run: enough for clients to roll out, wait and delete gracefully.

It is a Node object and a thread that answers the API as an agent would, through the administrator's own client
certificate; no gateway, no hub.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import yaml

from tests.system.cloud_process import CloudProcess


class AdminApi:
    """JSON in, JSON out, over TLS with the certificate of an admin.kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        config: Any = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.address = cluster["server"].removeprefix("https://")
        self.tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        pair = kubeconfig.parent / "pretended.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(
            base64.b64decode(user["client-key-data"]) + base64.b64decode(user["client-certificate-data"])
        )
        self.tls.load_cert_chain(pair)

    def connect(self) -> HTTPSConnection:
        host, _, port = self.address.rpartition(":")
        return HTTPSConnection(host, int(port), context=self.tls, timeout=10)

    def ask(self, method: str, path: str, body: Any = None, media: str = "application/json") -> tuple[int, Any]:
        connection = self.connect()
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": media, "Accept": "*/*"}
            )
            with connection.getresponse() as response:
                return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()


_CAPACITY = {"cpu": "64", "memory": "64Gi", "pods": "500"}


def _ready(node: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node, "labels": {"kubernetes.io/hostname": node}},
        "status": {
            "capacity": _CAPACITY,
            "allocatable": _CAPACITY,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Pretended"}],
        },
    }


@contextmanager
def pretended_node(cloud: CloudProcess, name: str) -> Generator[None]:
    """The node is there, ready, and its pods run at once, inside the block."""
    api = AdminApi(cloud.kubeconfig)
    code, answer = api.ask("POST", "/api/v1/nodes", _ready(name))
    assert code == 201, answer
    stop = threading.Event()
    failed: list[BaseException] = []

    def live() -> None:
        try:
            while not stop.wait(0.1):
                _round(api, name)
        except BaseException as error:
            failed.append(error)

    agent = threading.Thread(target=live, daemon=True)
    agent.start()
    try:
        yield
    finally:
        stop.set()
        agent.join()
        assert not failed, failed


def _round(api: AdminApi, node: str) -> None:
    _, found = api.ask("GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")
    for pod in found["items"]:
        meta = pod["metadata"]
        url = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if meta.get("deletionTimestamp"):
            api.ask("DELETE", url, {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}})
        elif pod.get("status", {}).get("phase") != "Running":
            api.ask("PATCH", f"{url}/status", {"status": _running(pod)}, "application/merge-patch+json")


def _running(pod: Any) -> dict[str, Any]:
    since = pod["metadata"]["creationTimestamp"]
    statuses = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": since}},
        }
        for container in pod["spec"]["containers"]
    ]
    conditions = [
        {"type": type_, "status": "True", "lastTransitionTime": since}
        for type_ in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    return {"phase": "Running", "startTime": since, "conditions": conditions, "containerStatuses": statuses}
