"""The `cloudcore` process as an operator meets it: start, first use with kubectl, stop, start again, bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecore.link.join import JoinRequest, join
from skerry.objects.json import JsonObject, strs_at
from tests.system.cloud_process import CloudProcess, cloud_process

pytestmark = pytest.mark.system


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path / "cloud") as made:
        yield made


def test_a_first_start_serves_kubectl_and_says_where(cloud: CloudProcess):
    said = cloud.log
    assert f"cloudcore ready https={cloud.https} hub={cloud.hub} kubeconfig={cloud.kubeconfig}" in said
    assert stat.S_IMODE(cloud.kubeconfig.stat().st_mode) == 0o600
    assert stat.S_IMODE(cloud.data.stat().st_mode) == 0o700
    namespaces = cloud.kubectl("get", "namespaces", "-o", "name").split()
    assert namespaces == [
        f"namespace/{name}" for name in ("default", "kube-node-lease", "kube-public", "kube-system")
    ]
    review: JsonObject = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    told = cloud.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    assert "system:masters" in strs_at(told, "status", "userInfo", "groups")
    assert "cluster-admin" in cloud.kubectl("get", "clusterroles")


def test_what_was_written_is_there_after_a_kill_and_after_a_stop(cloud: CloudProcess):
    cloud.kubectl("create", "configmap", "one", "--from-literal=a=1")
    pin = (cloud.data / "pki" / "ca.crt").read_bytes()
    assert cloud.process is not None
    cloud.process.kill()
    cloud.process.wait()
    cloud.process = None
    cloud.start()
    cloud.kubectl("create", "configmap", "two", "--from-literal=a=1")
    assert cloud.stop() == 0
    assert not (cloud.data / "endpoints.json").exists()
    cloud.start()
    assert cloud.kubectl("get", "configmaps", "one", "two", "-o", "name").split() == [
        "configmap/one",
        "configmap/two",
    ]
    assert (cloud.data / "pki" / "ca.crt").read_bytes() == pin


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_it_stops_within_seconds_while_clients_watch(cloud: CloudProcess):
    environ = {**os.environ, "KUBECONFIG": str(cloud.kubeconfig)}
    watch = subprocess.Popen(
        ["kubectl", "get", "namespaces", "--watch"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert watch.stdout is not None
        watch.stdout.readline()
        began = time.monotonic()
        assert cloud.stop() == 0
        assert time.monotonic() - began < 6
    finally:
        watch.kill()
        watch.wait()
        assert watch.stdout is not None
        watch.stdout.close()


def test_a_service_account_does_what_it_was_given_and_no_more(cloud: CloudProcess, tmp_path: Path):
    cloud.kubectl("create", "serviceaccount", "app")
    token = cloud.token_of("app")

    def as_app(*arguments: str) -> str:
        ca = str(cloud.data / "pki" / "ca.crt")
        server = f"https://{cloud.https}"
        flags = ["--kubeconfig", "/dev/null", "--server", server, "--certificate-authority", ca, "--token", token]
        return cloud.kubectl(*flags, *arguments, check=False)

    assert as_app("get", "configmaps") == (
        'Error from server (Forbidden): configmaps is forbidden: User "system:serviceaccount:default:app" cannot '
        'list resource "configmaps" in API group "" in the namespace "default"\n'
    )
    cloud.kubectl("create", "rolebinding", "view", "--clusterrole=view", "--serviceaccount=default:app")
    cloud.kubectl("create", "configmap", "x")
    assert "x" in as_app("get", "configmaps")
    assert "Forbidden" in as_app("get", "secrets")
    assert "Forbidden" in as_app("get", "configmaps", "-n", "kube-system")
    assert cloud.kubectl("auth", "can-i", "list", "pods", "--as=system:serviceaccount:default:app").strip() == "yes"
    cloud.kubectl("delete", "serviceaccount", "app")
    assert "You must be logged in" in as_app("get", "configmaps") or "Unauthorized" in as_app("get", "configmaps")


def test_nobody_in_particular_sees_health_and_version_only(cloud: CloudProcess):
    def status(path: str) -> int:
        import http.client

        host, port = cloud.https.rsplit(":", 1)
        context = ssl.create_default_context(cafile=cloud.data / "pki" / "ca.crt")
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
        try:
            connection.request("GET", path)
            with connection.getresponse() as answer:  # one that ends its connection has the socket to itself
                return answer.status
        finally:
            connection.close()

    found = {path: status(path) for path in ("/healthz", "/version", "/api", "/api/v1/secrets", "/metrics")}
    assert found == {"/healthz": 200, "/version": 200, "/api": 403, "/api/v1/secrets": 403, "/metrics": 403}


@pytest.mark.parametrize("by", ["https", "hub"])
def test_a_gateway_joins_with_a_printed_token_once(cloud: CloudProcess, tmp_path: Path, by: str):
    token = cloud.skerry("token", "create", "eu-1", "--label", "region=eu").strip()
    address = cloud.https if by == "https" else cloud.hub
    membership = join(JoinRequest(data=tmp_path / "edge", clouds=(address,), token=token))
    assert membership.clouds == (cloud.hub,)
    labels = json.loads(cloud.kubectl("get", "node", "eu-1", "-o", "json"))["metadata"]["labels"]
    assert labels["region"] == "eu"
    with pytest.raises(Exception, match="this token was used at"):
        join(JoinRequest(data=tmp_path / "other", clouds=(address,), token=token))
    assert "ab" not in cloud.log or token.split(".")[2] not in cloud.log, "secrets are never logged"


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        with cloud_process(tmp_path / "cloud") as cloud:
            assert systemd.recv(1000).startswith(b"READY=1\n")
            cloud.stop()
            assert systemd.recv(1000) == b"STOPPING=1"


def failed(*arguments: str, **environ: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "cloudcore.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
    )
    return done.returncode, done.stderr


def test_what_can_not_be_started_says_why_in_one_line(cloud: CloudProcess, tmp_path: Path):
    port = cloud.https.rsplit(":", 1)[1]
    any_ports = ("--https-port", "0", "--hub-port", "0", "--bind", "127.0.0.1")
    other = str(tmp_path / "other")
    cases = {
        str(cloud.data): failed("--data", str(cloud.data), *any_ports),
        f"can't listen on 127.0.0.1:{port}": failed(
            "--data", other, "--bind", "127.0.0.1", "--https-port", port, "--hub-port", "0"
        ),
        "--data (or SKERRY_DATA) is required": failed(),
        "SKERRY_HTTPS_PORT: 'x' is not a whole number": failed("--data", other, SKERRY_HTTPS_PORT="x"),
        "Not a directory": failed("--data", "/dev/null/x", *any_ports),
    }
    for said, (code, stderr) in cases.items():
        assert code != 0
        assert said in stderr
        assert "Traceback" not in stderr, stderr


def test_an_interrupt_is_a_stop(cloud: CloudProcess):
    assert cloud.stop(signal.SIGINT) == 0
    assert cloud.log.rstrip().endswith("cloudcore stopped")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_settings_come_from_a_file_and_from_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "cloud.yaml"
    file.write_text("names: [cloud.example]\n")
    monkeypatch.setenv("SKERRY_LOG_LEVEL", "debug")
    with cloud_process(tmp_path / "cloud", "--config", str(file)) as cloud:
        text = subprocess.run(
            ["openssl", "x509", "-in", str(next((cloud.data / "pki").glob("server-*.pem"))), "-noout", "-text"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "DNS:cloud.example" in text
        assert " DEBUG " in cloud.log
