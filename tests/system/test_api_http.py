"""The API on the wire: TLS, heads, limits, compression, WebSockets, and what strangers are told."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import ssl
import struct
from collections.abc import Iterator
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.pretended_node import AdminApi

pytestmark = pytest.mark.system

CONFIGS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path_factory.mktemp("http") / "cloud") as made:
        yield made


@pytest.fixture(scope="module")
def api(cloud: CloudProcess) -> AdminApi:
    return AdminApi(cloud.kubeconfig)


def ask(
    api: AdminApi, method: str, path: str, body: bytes = b"", *, tls: ssl.SSLContext | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    host, _, port = api.address.rpartition(":")
    connection = HTTPSConnection(host, int(port), context=tls or api.tls, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body or None, named)
        with connection.getresponse() as response:
            return response, response.read()
    finally:
        connection.close()


def stranger(api: AdminApi, cloud: CloudProcess) -> ssl.SSLContext:
    """Trusts the server and shows no certificate."""
    return ssl.create_default_context(cafile=str(Path(cloud.data) / "pki" / "ca.crt"))


def test_answers_carry_the_heads_that_clients_look_at(api: AdminApi) -> None:
    response, body = ask(api, "GET", "/api/v1/namespaces/default")
    assert response.status == 200
    assert json.loads(body)["kind"] == "Namespace"
    assert len(response.headers["Audit-Id"]) == 36
    assert response.headers["Cache-Control"] == "no-cache, private"
    assert response.headers["Content-Type"] == "application/json"


def test_paths_outside_are_404_in_plain_text_and_inside_a_status(api: AdminApi) -> None:
    response, body = ask(api, "GET", "/nope")
    assert (response.status, body) == (404, b"404 page not found\n")
    assert response.headers["Content-Type"].startswith("text/plain")
    response, body = ask(api, "GET", "/api/v1/nopes")
    assert (response.status, json.loads(body)["reason"]) == (404, "NotFound")


def test_a_trailing_slash_makes_no_difference(api: AdminApi) -> None:
    for path in ("/api", "/apis", "/api/v1", "/version", "/apis/apps/v1"):
        assert ask(api, "GET", path)[1] == ask(api, "GET", f"{path}/")[1]


def test_discovery_that_is_known_already_is_304(api: AdminApi) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    response, _ = ask(api, "GET", "/apis", Accept=accept)
    assert response.headers["Content-Type"] == accept
    again, body = ask(api, "GET", "/apis", Accept=accept, If_None_Match=response.headers["ETag"])
    assert (again.status, body) == (304, b"")


def test_health_and_metrics_answer(api: AdminApi) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        assert ask(api, "GET", path)[1] == b"ok"
    assert b"[+]ping ok" in ask(api, "GET", "/readyz?verbose")[1]
    page = ask(api, "GET", "/metrics")[1].decode()
    assert "# TYPE apiserver_request_total counter" in page
    assert 'skerry_objects{resource="namespaces"} 4' in page
    assert 'skerry_reports_refused_total{reason="event-pace"} 0' in page


def test_a_stranger_sees_health_and_version_and_nothing_else(api: AdminApi, cloud: CloudProcess) -> None:
    tls = stranger(api, cloud)
    assert ask(api, "GET", "/version", tls=tls)[0].status == 200
    response, body = ask(api, "GET", CONFIGS, tls=tls)
    status: Any = json.loads(body)
    assert (response.status, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" in the '
        'namespace "default"'
    )
    response, body = ask(api, "GET", CONFIGS, tls=tls, Authorization="Bearer made.up.token")
    assert (response.status, json.loads(body)["message"]) == (401, "Unauthorized")


def test_warnings_are_heads_quoted_as_they_must_be(api: AdminApi) -> None:
    body = b'{"metadata":{"name":"w"},"fo\\"o":1,"data":{"a":"1","a":"2"}}'
    response, _ = ask(api, "POST", CONFIGS, body)
    assert response.status == 201
    assert response.headers.get_all("Warning") == [
        '299 - "unknown field \\"fo\\"o\\""',
        '299 - "duplicate field \\"data.a\\""',
    ]


def test_a_body_over_the_limit_is_413_and_the_server_lives_on(api: AdminApi) -> None:
    response, body = ask(api, "POST", CONFIGS, b" " * (3 * 1024 * 1024 + 1))
    assert (response.status, json.loads(body)["reason"]) == (413, "RequestEntityTooLarge")
    assert ask(api, "GET", "/healthz")[1] == b"ok"


def test_large_lists_are_compressed_for_those_who_take_it_and_small_ones_never(api: AdminApi) -> None:
    data = {"text": "tide and time " * 20_000}
    for name in ("big", "bigger"):
        made = json.dumps({"metadata": {"name": name}, "data": data}).encode()
        assert ask(api, "POST", CONFIGS, made)[0].status == 201
    response, body = ask(api, "GET", CONFIGS, Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(body))["items"]) >= 2
    plain, body = ask(api, "GET", CONFIGS, Accept_Encoding="identity")
    assert plain.headers["Content-Encoding"] is None
    assert json.loads(body)["kind"] == "ConfigMapList"
    assert ask(api, "GET", "/version", Accept_Encoding="gzip")[0].headers["Content-Encoding"] is None


def test_a_watch_has_its_head_before_its_first_event(api: AdminApi) -> None:
    host, _, port = api.address.rpartition(":")
    connection = HTTPSConnection(host, int(port), context=api.tls, timeout=20)
    connection.request("GET", "/api/v1/namespaces/kube-public/secrets?watch=true&timeoutSeconds=30")
    response = connection.getresponse()
    assert (response.status, response.headers["Transfer-Encoding"]) == (200, "chunked")
    made = {"metadata": {"name": "now"}}
    assert api.ask("POST", "/api/v1/namespaces/kube-public/secrets", made)[0] == 201
    event: Any = json.loads(response.readline())
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "now")
    response.close()
    connection.close()


def test_a_browser_watches_over_a_websocket_with_its_token_as_a_subprotocol(
    api: AdminApi, cloud: CloudProcess
) -> None:
    cloud.kubectl("create", "serviceaccount", "console")
    cloud.kubectl("create", "clusterrolebinding", "console", "--clusterrole=view", "--serviceaccount=default:console")
    token = cloud.token_of("console")
    name = base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()

    async def work() -> list[Any]:
        url = f"wss://{api.address}{CONFIGS}?watch=true&fieldSelector=metadata.name%3Dlook"
        offered: Any = [f"base64url.bearer.authorization.k8s.io.{name}", "v1.events.example.com"]
        async with connect(url, ssl=stranger(api, cloud), subprotocols=offered) as socket:
            assert socket.subprotocol == "v1.events.example.com"
            await asyncio.to_thread(api.ask, "POST", CONFIGS, {"metadata": {"name": "look"}})
            await asyncio.to_thread(api.ask, "DELETE", f"{CONFIGS}/look")
            return [json.loads(await socket.recv()) for _ in range(2)]

    events = asyncio.run(asyncio.wait_for(work(), 20))
    assert [event["type"] for event in events] == ["ADDED", "DELETED"]


def test_somebody_else_is_impersonated_by_those_who_may(api: AdminApi) -> None:
    jane: Any = {"Impersonate_User": "jane", "Impersonate_Group": "crew"}
    url = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
    response, answered = ask(api, "POST", url, body, **jane)
    assert response.status == 201, answered
    info = json.loads(answered)["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("jane", ["crew", "system:authenticated"])
    response, _ = ask(api, "GET", CONFIGS, **jane)
    assert response.status == 403
    assert ask(api, "GET", CONFIGS, Impersonate_Group="crew")[0].status == 400


def test_a_gateway_that_is_not_there_is_503_with_a_reason(api: AdminApi) -> None:
    assert api.ask("POST", "/api/v1/nodes", {"metadata": {"name": "far"}})[0] == 201
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "far", "containers": [{"name": "c", "image": "i"}]}}
    code, made = api.ask("POST", "/api/v1/namespaces/default/pods", pod)
    assert code == 201, made
    response, body = ask(api, "GET", "/api/v1/namespaces/default/pods/p/log")
    assert (response.status, json.loads(body)["reason"]) == (503, "ServiceUnavailable")
    assert response.headers["Retry-After"] == "1"
    assert "far is not connected" in json.loads(body)["message"]


def test_a_watcher_who_leaves_in_the_middle_leaves_no_fault_in_the_log(api: AdminApi, cloud: CloudProcess) -> None:
    for number in range(8):
        config = {"metadata": {"name": f"big-{number}"}, "data": {"a": "x" * 900_000}}
        response, _ = ask(api, "POST", CONFIGS, json.dumps(config).encode(), Content_Type="application/json")
        assert response.status == 201
    host, _, port = api.address.rpartition(":")
    for _ in range(3):
        connection = HTTPSConnection(host, int(port), context=api.tls, timeout=20)
        connection.request("GET", f"{CONFIGS}?watch=true")
        watched = connection.getresponse()
        assert watched.status == 200
        assert watched.read(10)  # more waits to be sent than any buffer holds
        assert connection.sock is not None
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        watched.close()
        connection.close()
    assert ask(api, "GET", "/readyz")[0].status == 200
    assert "Traceback" not in cloud.log
