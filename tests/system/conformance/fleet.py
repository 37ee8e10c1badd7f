"""Nodes that a test plays: ready, with room, and starting what is bound to them.

What Kubernetes' conformance needs of a kubelet where no container has to run: pods reach Running and Ready with an
address, unless their image can't be pulled; graceful deletions end. What would end by itself ends as its image says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from tests.system.conformance.cluster import MERGE, Cluster, Obj, eventually

UNPULLABLE = ("broken", "webserver:404")
"""Images that no registry has: pods with them stay Pending, as the suite's own `webserver:404` does."""
TASKS = ("succeeds", "fails", "fails-once", "fails-odd", "waits-once", "ends-slowly")
"""Tags of images that are no servers: how their containers end, as the suite's test jobs do (`fails-once`: the first
of its Job, or of its index; `waits-once`: that one runs until it is ended)."""
_INDEX = "batch.kubernetes.io/job-completion-index"
_SLOW_S = 1.0


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
        self._met: set[tuple[str, str, str]] = set()
        """What left its mark: the Job, the index, and the node where it is in a directory of that."""
        self._firsts: set[str] = set()
        self._ending: dict[str, float] = {}

    def run(self) -> None:
        while not self.stop.wait(0.05):
            for pod in self._cluster.get("/api/v1/pods")["items"]:
                if pod["spec"].get("nodeName"):
                    self._tend(pod)
        self._cluster.close()

    def _tend(self, pod: Obj) -> None:
        meta = pod["metadata"]
        one = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        status = pod["status"]
        if meta.get("deletionTimestamp"):
            if self._task(pod) == "ends-slowly":
                began = self._ending.setdefault(meta["uid"], time.monotonic())
                if time.monotonic() - began < _SLOW_S:
                    return
            if status["phase"] in ("Pending", "Running"):
                self._cluster.call("PATCH", f"{one}/status", {"status": self._ended(pod, 143)}, media=MERGE)
            options: Obj = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            self._cluster.call("DELETE", one, options)
            return
        if status["phase"] in ("Succeeded", "Failed"):
            return
        if status.get("observedGeneration") != meta["generation"] or status["phase"] == "Pending":
            self._cluster.call("PATCH", f"{one}/status", {"status": self._status(pod)}, media=MERGE)
        elif (code := self._code(pod)) is not None:
            self._cluster.call("PATCH", f"{one}/status", {"status": self._ended(pod, code)}, media=MERGE)

    def _task(self, pod: Obj) -> str:
        tag = pod["spec"]["containers"][0]["image"].rpartition(":")[2]
        return tag if tag in TASKS else ""

    def _code(self, pod: Obj) -> int | None:
        """How it ends now; None: it goes on."""
        index = pod["metadata"].get("annotations", {}).get(_INDEX, "")
        match self._task(pod):
            case "succeeds":
                return 0
            case "fails":
                return 1
            case "fails-odd":
                return int(index) % 2
            case "fails-once":
                return 1 if self._is_first(pod, index) else 0
            case "waits-once":
                return None if self._is_first(pod, index) else 0
            case _:
                return None

    def _is_first(self, pod: Obj, index: str) -> bool:
        """It is the first of its Job, or of its index, that came so far."""
        meta = pod["metadata"]
        mark = (meta["namespace"], meta["labels"].get("job-name", ""), index)
        if mark not in self._met:
            self._met.add(mark)
            self._firsts.add(meta["uid"])
        return meta["uid"] in self._firsts

    def _ended(self, pod: Obj, code: int) -> Obj:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        state = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "finishedAt": now}}
        kept = [c for c in pod["status"].get("conditions", []) if c["type"] not in ("Ready", "ContainersReady")]
        conditions = [
            *kept,
            {"type": "Ready", "status": "False", "reason": "PodCompleted", "lastTransitionTime": now},
        ]
        statuses = [
            {"name": each["name"], "image": each["image"], "imageID": "", "ready": False, "restartCount": 0}
            for each in pod["spec"]["containers"]
        ]
        if code and pod["spec"]["restartPolicy"] == "OnFailure" and self._task(pod) == "fails-once":
            # It is started again in its pod, and then it does what it is to do.
            self._firsts.discard(pod["metadata"]["uid"])
            running = {"running": {"startedAt": now}}
            again = [
                {**each, "restartCount": 1, "ready": True, "state": running, "lastState": state} for each in statuses
            ]
            return {"containerStatuses": again}
        ended = [{**each, "state": state} for each in statuses]
        phase = "Failed" if code else "Succeeded"
        return {"phase": phase, "conditions": conditions, "containerStatuses": ended}

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
        self._code(pod)  # who is the first is so from its beginning
        return {**told, "phase": "Running", "startTime": now}


def is_running(pod: Obj) -> bool:
    return pod["status"]["phase"] == "Running"


def runs(cluster: Cluster, one: str) -> Obj:
    """The pod at that path, once it runs."""
    eventually(lambda: is_running(cluster.get(one)), f"{one} runs")
    return cluster.get(one)
