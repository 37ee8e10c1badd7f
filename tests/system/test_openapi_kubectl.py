"""kubectl of several versions reads the published documents: explain, and client-side validation."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cloudcore.api.openapi import V2_PROTOBUF, PublishedOpenApi
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from skerry.objects.json import Json, JsonObject

pytestmark = pytest.mark.system

SDK = Path("/usr/lib/google-cloud-sdk/bin")
KUBECTLS = sorted({str(path) for path in SDK.glob("kubectl.1.*")} | {shutil.which("kubectl") or ""} - {""})


def answers() -> dict[str, tuple[str, bytes]]:
    """Path -> media type and body: discovery of two groups, and all OpenAPI documents."""
    scheme = builtin_scheme()
    openapi = PublishedOpenApi(scheme, CustomKinds(scheme))
    kinds = [kind for kind in scheme if kind.group in ("", "apps")]

    def resources(group: str) -> JsonObject:
        rows: list[Json] = [
            {
                "name": kind.plural,
                "singularName": kind.singular,
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": [*kind.verbs],
                "shortNames": [*kind.short_names],
            }
            for kind in kinds
            if kind.group == group
        ]
        version = f"{group}/v1" if group else "v1"
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": rows}

    apps: JsonObject = {"groupVersion": "apps/v1", "version": "v1"}
    group: JsonObject = {"name": "apps", "versions": [apps], "preferredVersion": apps}
    documents: dict[str, JsonObject] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]},
        "/api/v1": resources(""),
        "/apis/apps/v1": resources("apps"),
    }
    out = {path: ("application/json", json.dumps(doc).encode()) for path, doc in documents.items()}
    out["/openapi/v3"] = ("application/json", openapi.index().body)
    for path in ("api/v1", "apis/apps/v1"):
        document = openapi.group_version(path)
        assert document is not None
        out[f"/openapi/v3/{path}"] = ("application/json", document.body)
    out["/openapi/v2"] = (V2_PROTOBUF, openapi.v2(protobuf=True).body)
    return out


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    served = answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media_type, body = served.get(self.path.partition("?")[0], ("text/plain", b""))
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join(timeout=10)


@pytest.fixture
def kubectl(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> list[str]:
    return [request.param, "--server", server, "--cache-dir", str(tmp_path / "cache"), "--kubeconfig", "/dev/null"]


def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, input=stdin)


@pytest.mark.skipif(not KUBECTLS, reason="no kubectl on this machine")
@pytest.mark.parametrize("kubectl", KUBECTLS, indirect=True)
def test_kubectl_explains_nested_fields(kubectl: list[str]) -> None:
    done = run(*kubectl, "explain", "deployment.spec.template.spec.containers.livenessProbe.httpGet")
    assert done.returncode == 0, done.stderr
    assert "Deployment" in done.stdout
    assert "port" in done.stdout


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx, tty: true}]}
"""


@pytest.mark.skipif(not KUBECTLS, reason="no kubectl on this machine")
@pytest.mark.parametrize("kubectl", KUBECTLS, indirect=True)
def test_kubectl_finds_what_it_needs_to_create(kubectl: list[str]) -> None:
    """It looks for the parameters of PATCH to learn that the server validates, and reads v2 or v3 to get there."""
    done = run(*kubectl, "create", "--dry-run=client", "-o", "name", "-f", "-", stdin=DEPLOYMENT)
    assert (done.returncode, done.stdout) == (0, "deployment.apps/web\n"), done.stderr
