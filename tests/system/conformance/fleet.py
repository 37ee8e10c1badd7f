"""Nodes that a test plays: ready, with room, and starting what is bound to them.

What Kubernetes' conformance needs of a kubelet where no container has to run: pods reach Running and Ready with an
address, unless their image can't be pulled; graceful deletions end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from tests.system.conformance.cluster import MERGE, Cluster, Obj, eventually

UNPULLABLE = ("broken", "webserver:404")
"""Images that no registry has: pods with them stay Pending, as the suite's own `webserver:404` does."""


def node(name: str, **capacity: str) -> Obj:
    room = {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "10Gi", **capacity}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {
            "allocatable": room,
            "capacity": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "addresses": [{"type": "InternalIP", "address": "10.9.0.1"}, {"type": "Hostname", "address": name}],
        },
    }


@contextmanager
def fleet(cluster: Cluster, *names: str) -> Generator[None]:
    """Nodes of those names, each with an agent inside the block."""
    for name in names:
        cluster.create("/api/v1/nodes", node(name))
    agent = _Agent(cluster.twin())
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        yield
    finally:
        agent.stop.set()
        thread.join()
        for name in names:
            cluster.delete(f"/api/v1/nodes/{name}")


class _Agent:
    """All nodes' at once."""

    def __init__(self, cluster: Cluster) -> None:
        self.stop = threading.Event()
        self._cluster = cluster
        self._addresses = 1

    def run(self) -> None:
        while not self.stop.wait(0.05):
            for pod in self._cluster.get("/api/v1/pods")["items"]:
                if pod["spec"].get("nodeName"):
                    self._tend(pod)
        self._cluster.close()

    def _tend(self, pod: Obj) -> None:
        meta = pod["metadata"]
        one = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if meta.get("deletionTimestamp"):
            options: Obj = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            self._cluster.call("DELETE", one, options)
            return
        status = pod["status"]
        if status.get("observedGeneration") != meta["generation"] or status["phase"] == "Pending":
            self._cluster.call("PATCH", f"{one}/status", {"status": self._status(pod)}, media=MERGE)

    def _status(self, pod: Obj) -> Obj:
        told: Obj = {"observedGeneration": pod["metadata"]["generation"], "hostIP": "10.9.0.1"}
        told["hostIPs"] = [{"ip": "10.9.0.1"}]
        if any(c["image"].endswith(UNPULLABLE) for c in pod["spec"]["containers"]):
            return told
        if not pod["status"].get("podIP"):
            self._addresses += 1
            told["podIP"] = f"10.8.{self._addresses // 250}.{self._addresses % 250 + 1}"
            told["podIPs"] = [{"ip": told["podIP"]}]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        others = [c for c in pod["status"].get("conditions", []) if c["type"] not in ("Ready", "ContainersReady")]
        told["conditions"] = [
            *others,
            *({"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")),
        ]
        told["containerStatuses"] = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ]
        return {**told, "phase": "Running", "startTime": now}


def is_running(pod: Obj) -> bool:
    return pod["status"]["phase"] == "Running"


def runs(cluster: Cluster, one: str) -> Obj:
    """The pod at that path, once it runs."""
    eventually(lambda: is_running(cluster.get(one)), f"{one} runs")
    return cluster.get(one)
