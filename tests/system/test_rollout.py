"""Deployments with a real cloudcore and an unmodified kubectl; the nodes are played by this test."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import SkerryError
from skerry.objects.json import JsonObject
from tests.system.cloud_process import CloudProcess, cloud_process

pytestmark = pytest.mark.system

NODE = """
apiVersion: v1
kind: Node
metadata: {{name: {name}, labels: {{region: {name}}}}}
status:
  allocatable: {{cpu: "4", memory: 8Gi, pods: "110"}}
  capacity: {{cpu: "4", memory: 8Gi, pods: "110"}}
  conditions: [{{type: Ready, status: "True", reason: KubeletReady}}]
"""


class Kubelets:
    """Every node at once: starts what is bound (but not the image `broken`), and ends what is to end."""

    def __init__(self, cloud: CloudProcess) -> None:
        self._cloud = cloud
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Kubelets:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            for pod in pods(self._cloud):
                self._tend(pod)

    def _tend(self, pod: Any) -> None:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp"):
            self._cloud.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false", check=False)
        elif (
            pod["spec"].get("nodeName")
            and pod["status"]["phase"] == "Pending"
            and pod["spec"]["containers"][0]["image"] != "broken"
        ):
            status: JsonObject = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{name}/status"
            with suppress(SkerryError):  # the pod may be gone by now
                self._cloud.ask("PATCH", path, {"status": status}, content_type="application/merge-patch+json")


def pods(cloud: CloudProcess) -> list[Any]:
    return json.loads(cloud.kubectl("get", "pods", "-o", "json"))["items"]


def revision(cloud: CloudProcess) -> str:
    path = r"jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}"
    return cloud.kubectl("get", "deployment", "web", "-o", path)


def rolled_out(cloud: CloudProcess) -> None:
    assert "successfully rolled out" in cloud.kubectl("rollout", "status", "deployment/web", "--timeout=40s")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path / "cloud") as made:
        for name in ("eu", "us"):
            made.kubectl("create", "--validate=false", "-f", "-", stdin=NODE.format(name=name))
        yield made


def test_rollouts_as_kubectl_sees_them(cloud: CloudProcess):
    with Kubelets(cloud):
        cloud.kubectl("create", "deployment", "web", "--image=v1", "--replicas=2")
        rolled_out(cloud)
        assert sorted(pod["spec"]["nodeName"] for pod in pods(cloud)) == ["eu", "us"], "spread out"
        cloud.kubectl("set", "image", "deployment/web", "*=v2")
        rolled_out(cloud)
        assert revision(cloud) == "2"
        cloud.kubectl("rollout", "undo", "deployment/web")
        rolled_out(cloud)
        assert revision(cloud) == "3"
        assert [
            line.split()[0] for line in cloud.kubectl("rollout", "history", "deployment/web").splitlines()[2:4]
        ] == [
            "2",
            "3",
        ]
        cloud.kubectl("rollout", "restart", "deployment/web")
        rolled_out(cloud)
        cloud.kubectl("scale", "deployment/web", "--replicas=3")
        rolled_out(cloud)
        assert "Scaled up replica set" in cloud.kubectl("describe", "deployment", "web")
        cloud.kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=20s")
        assert pods(cloud) == []


def test_a_pod_that_fits_nowhere_and_a_namespace_that_goes(cloud: CloudProcess):
    selector = json.dumps({"spec": {"nodeSelector": {"region": "mars"}}})
    cloud.kubectl("run", "lost", "--image=x", f"--overrides={selector}")
    cloud.kubectl("wait", "pod/lost", "--for=condition=PodScheduled=false", "--timeout=20s")
    text = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    assert text in cloud.kubectl("describe", "pod", "lost")
    cloud.kubectl("create", "namespace", "short")
    cloud.kubectl("-n", "short", "create", "configmap", "c", "--from-literal=a=1")
    cloud.kubectl("delete", "namespace", "short", "--timeout=20s")
    assert "short" not in cloud.kubectl("get", "namespaces", "-o", "name")
