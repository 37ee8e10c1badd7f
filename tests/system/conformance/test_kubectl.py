"""Kubernetes' conformance of kubectl itself, as far as no container has to run."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.conformance.cluster import Cluster, Obj
from tests.system.conformance.fleet import fleet, runs

pytestmark = pytest.mark.system


def test_kubectl_cluster_info_includes_control_plane_services(cluster: Cluster):
    text = re.sub(r"\x1b\[[0-9;]*m", "", cluster.kubectl("cluster-info"))
    assert re.search(r"Kubernetes control plane is running at https://", text)


def test_kubectl_version_prints_all_data(cluster: Cluster):
    text = cluster.kubectl("version")
    for required in ("Client Version: ", "Server Version: "):
        assert required in text
    found = json.loads(cluster.kubectl("version", "-o", "json"))
    assert found["serverVersion"]["gitVersion"].startswith("v1.")


def test_kubectl_diff_finds_a_difference_for_deployments(cluster: Cluster, ns: str):
    deployment = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpd-deployment}
spec:
  replicas: 2
  selector: {matchLabels: {app: httpd}}
  template:
    metadata: {labels: {app: httpd}}
    spec: {containers: [{name: httpd, image: "httpd:1"}]}
"""
    cluster.kubectl("-n", ns, "create", "-f", "-", stdin=deployment)
    said = cluster.kubectl("-n", ns, "diff", "-f", "-", stdin=deployment.replace("httpd:1", "busybox:1"), check=False)
    assert "+      - image: busybox:1" in said.replace("        ", "      "), said
    # kubectl's exit code 1 means a difference; the object is not changed.
    got = cluster.get(f"/apis/apps/v1/namespaces/{ns}/deployments/httpd-deployment")
    assert got["spec"]["template"]["spec"]["containers"][0]["image"] == "httpd:1"


def test_kubectl_run_creates_a_pod_when_restart_is_never(cluster: Cluster, ns: str):
    cluster.kubectl("-n", ns, "run", "httpd", "--restart=Never", "--pod-running-timeout=2m", "--image=httpd:1")
    pod = cluster.get(f"/api/v1/namespaces/{ns}/pods/httpd")
    assert pod["spec"]["restartPolicy"] == "Never" and pod["spec"]["containers"][0]["image"] == "httpd:1"
    cluster.kubectl("-n", ns, "delete", "pods", "httpd")
    assert cluster.absent(f"/api/v1/namespaces/{ns}/pods/httpd")


def test_kubectl_can_dry_run_update_pods(cluster: Cluster, ns: str):
    cluster.kubectl("-n", ns, "run", "httpd", "--image=httpd:1", "--labels=run=httpd")
    patch = json.dumps({"spec": {"containers": [{"name": "httpd", "image": "busybox:1"}]}})
    cluster.kubectl("-n", ns, "patch", "pod", "httpd", "-p", patch, "--dry-run=server")
    pod = cluster.get(f"/api/v1/namespaces/{ns}/pods/httpd")
    assert pod["spec"]["containers"][0]["image"] == "httpd:1"


@contextmanager
def proxy(cluster: Cluster, *flags: str) -> Generator[subprocess.Popen[str]]:
    environ = {**os.environ, "KUBECONFIG": str(cluster.cloud.kubeconfig)}
    process = subprocess.Popen(["kubectl", "proxy", *flags], env=environ, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_proxy_with_port_0(cluster: Cluster):
    with proxy(cluster, "-p", "0", "--disable-filter") as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().strip().rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/api/")
        found: Obj = json.loads(connection.getresponse().read())
        connection.close()
        assert found["versions"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_proxy_with_a_unix_socket(cluster: Cluster, tmp_path: Path):
    path = tmp_path / "proxy.sock"
    with proxy(cluster, f"--unix-socket={path}") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Starting to serve on ")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(b"GET /api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert b'"versions"' in answer


def test_kubectl_labels_patches_replaces_and_describes_pods(cluster: Cluster, ns: str):
    with fleet(cluster, cluster.name("node")):
        one = f"/api/v1/namespaces/{ns}/pods/pause"
        cluster.kubectl("-n", ns, "run", "pause", "--image=pause:1", "--labels=name=pause")
        runs(cluster, one)
        cluster.kubectl("-n", ns, "label", "pods", "pause", "testing-label=testing-label-value")
        assert "testing-label-value" in cluster.kubectl("-n", ns, "get", "pod", "pause", "-L", "testing-label")
        cluster.kubectl("-n", ns, "label", "pods", "pause", "testing-label-")
        assert "testing-label-value" not in cluster.kubectl("-n", ns, "get", "pod", "pause", "-L", "testing-label")
        patch = '{"metadata":{"annotations":{"x":"y"}}}'
        cluster.kubectl("-n", ns, "patch", "pod", "pause", "-p", patch)
        assert cluster.get(one)["metadata"]["annotations"]["x"] == "y"
        text = cluster.kubectl("-n", ns, "get", "pod", "pause", "-o", "json")
        cluster.kubectl("-n", ns, "replace", "-f", "-", stdin=text.replace("pause:1", "busybox:1"))
        assert cluster.get(one)["spec"]["containers"][0]["image"] == "busybox:1"
        said = cluster.kubectl("-n", ns, "describe", "pod", "pause")
        for required in ("Name:", "Namespace:", "Node:", "Labels:", "Status:", "IP:", "Image:", "Events:"):
            assert required in said
        for what in (("namespace", ns), ("service", "kubernetes", "-n", "default"), ("nodes",)):
            assert "Name:" in cluster.kubectl("describe", *what)
        cluster.kubectl("-n", ns, "delete", "pod", "pause")
