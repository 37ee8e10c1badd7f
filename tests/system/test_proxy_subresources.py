"""Pods, services and nodes proxied through the session: as the e2e suite asks ("A set of valid responses are returned
for both pod and service Proxy"), and as kubectl and browsers do."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from skerry.cli import kubeconfig
from skerry.objects.json import JsonObject
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet, until
from tests.system.test_pod_streams import a_pod

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
SERVER = Path(__file__).with_name("proxied_server.py")


class Site:
    """A fleet with a pod that serves HTTP, and a Service before it."""

    def __init__(self, fleet: RealFleet, port: int) -> None:
        self.fleet = fleet
        self.port = port
        self.cluster = kubeconfig.load(fleet.cloud.kubeconfig)

    @contextmanager
    def asked(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> Generator[HTTPResponse]:
        connection: HTTPConnection = HTTPSConnection(
            self.cluster.host, self.cluster.port, context=self.cluster.tls, timeout=30
        )
        try:
            connection.request(method, path, body=body, headers=headers, encode_chunked=not isinstance(body, bytes))
            with connection.getresponse() as answer:
                yield answer
        finally:
            connection.close()

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "--kubeconfig", str(self.fleet.cloud.kubeconfig), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    with real_fleet(tmp_path_factory.mktemp("proxy")) as fleet:
        fleet.edge.start()
        port = free_port()
        web: Any = a_pod("web", ("app", f"exec {sys.executable} {SERVER} {port}"))
        web["metadata"]["labels"] = {"app": "web"}
        web["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": port}]
        fleet.create(f"{CORE}/pods", web)
        ports: Any = [{"name": "main", "port": 8000, "targetPort": "http"}]
        service: JsonObject = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "front"},
            "spec": {"selector": {"app": "web"}, "ports": ports},
        }
        fleet.create(f"{CORE}/services", service)
        made = Site(fleet, port)

        def answers() -> bool:
            with made.asked("GET", f"{CORE}/services/front:main/proxy/hello") as answer:
                return answer.status == 200

        until(answers, "the service answers", deadline_s=60)
        yield made


def named(site: Site) -> list[str]:
    return [
        f"{CORE}/pods/web/proxy",
        f"{CORE}/pods/http:web:{site.port}/proxy",
        f"{CORE}/services/front/proxy",
        f"{CORE}/services/front:8000/proxy",
        f"{CORE}/services/http:front:main/proxy",
    ]


def test_every_method_reaches_the_other_side_and_a_bare_path_is_led_to_its_root(site: Site) -> None:
    for base in named(site):
        for method in METHODS:
            with site.asked(method, f"{base}/some/path%2Fx//?method={method}&a=b%20c") as answer:
                body = answer.read()
                assert answer.status == 200, (method, base, body)
                if method != "HEAD":
                    said = json.loads(body)
                    assert said["path"] == f"/some/path%2Fx//?method={method}&a=b%20c"
                    assert said["method"] == method and said["headers"]["X-Forwarded-Uri"].startswith(base)
                    assert "Authorization" not in said["headers"]
            with site.asked(method, f"{base}?method={method}") as answer:
                answer.read()
                if method in ("GET", "HEAD"):
                    assert (answer.status, answer.headers["Location"]) == (301, f"{base}/?method={method}")
                else:
                    assert answer.status == 200


def test_bodies_go_both_ways_and_are_not_held(site: Site) -> None:
    base = f"{CORE}/pods/web/proxy"
    sent = bytes(range(256)) * 8192
    with site.asked("POST", f"{base}/echo", sent) as answer:
        assert answer.read() == sent
    with site.asked("PUT", f"{base}/echo", iter([sent[:1000], sent[1000:70_000]])) as answer:
        assert answer.read() == sent[:70_000]
    began = time.monotonic()
    with site.asked("GET", f"{base}/slow") as answer:
        assert answer.read1(10) == b"first\n" and time.monotonic() - began < 2.5
        assert answer.read() == b"last\n"


def test_places_and_links_lead_back_through_the_proxy(site: Site) -> None:
    base = f"{CORE}/pods/web/proxy"
    with site.asked("GET", f"{base}/redirect") as answer:
        assert answer.status == 302 and answer.headers["Location"].endswith(f"{base}/elsewhere?x=1")
    with site.asked("GET", f"{base}/page") as answer:
        assert f"{base}/linked".encode() in answer.read()


def test_messages_pass_after_an_upgrade(site: Site) -> None:
    async def talk() -> None:
        uri = f"wss://{site.cluster.host}:{site.cluster.port}{CORE}/pods/web/proxy/socket"
        async with connect(uri, ssl=site.cluster.tls, proxy=None, max_size=None) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            await client.send(b"x" * 500_000)
            assert await client.recv() == b"x" * 500_000
        with pytest.raises(InvalidStatus) as refused:
            async with connect(uri.replace("/socket", "/hello"), ssl=site.cluster.tls, proxy=None):
                pass
        assert refused.value.response.status_code == 200

    asyncio.run(talk())


def test_who_cant_be_reached_is_told_as_kube_apiserver_tells_it(site: Site) -> None:
    for path, code, words in (
        (f"{CORE}/pods/web:{free_port()}/proxy/", 503, "error trying to reach service"),
        (f"{CORE}/pods/nosuch/proxy/", 404, "not found"),
        (f"{CORE}/pods/ftp:web:1/proxy/", 400, "invalid request"),
        (f"{CORE}/services/front:9/proxy/", 503, 'no endpoints available for service "front:9"'),
        (f"{CORE}/pods/https:web:{site.port}/proxy/", 503, "TLS"),
    ):
        with site.asked("GET", path) as answer:
            said = json.loads(answer.read())
            assert answer.status == code and words in said["message"], (path, said)


def test_a_kubelets_paths_are_asked_through_the_session(site: Site) -> None:
    for node in (NODE, f"{NODE}:10250"):
        done = site.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary")
        assert done.returncode == 0 and json.loads(done.stdout)["node"]["nodeName"] == NODE, done.stderr
    done = site.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/pods")
    assert [each["metadata"]["name"] for each in json.loads(done.stdout)["items"]] == ["web"]
    done = site.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/containerLogs/default/web/app?tailLines=1")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stderr
    assert "skerry_" in site.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics").stdout
    assert site.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/healthz").stdout == "ok"
    for path in ("skerry/status", "api/v1/nodes", "exec/default/web/app"):
        assert site.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/{path}").returncode == 1
    with site.asked("GET", f"/api/v1/nodes/{NODE}:22/proxy/") as answer:
        assert answer.status == 400


def test_rights_are_asked_for_by_verb(site: Site) -> None:
    role: Any = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "looks"},
        "rules": [{"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]}],
    }
    binding: Any = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "looks"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "looks"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}],
    }
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    site.fleet.create(f"{rbac}/roles", role)
    site.fleet.create(f"{rbac}/rolebindings", binding)
    for method, path, code in (
        ("GET", f"{CORE}/pods/web/proxy/hello", 200),
        ("POST", f"{CORE}/pods/web/proxy/hello", 403),
        ("GET", f"{CORE}/services/front/proxy/hello", 403),
        ("GET", f"/api/v1/nodes/{NODE}/proxy/pods", 403),
    ):
        with site.asked(method, path, None, **{"Impersonate-User": "ann"}) as answer:
            assert answer.status == code, (method, path, answer.read())


def test_kubectl_proxy_serves_a_pod_to_a_browser(site: Site) -> None:
    command = ["kubectl", "--kubeconfig", str(site.fleet.cloud.kubeconfig), "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rsplit(":", 1)[1])
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", f"{CORE}/services/front:main/proxy/hello")
            with closing(connection), connection.getresponse() as answer:
                assert json.loads(answer.read())["path"] == "/hello"
        finally:
            process.terminate()
