"""KubeEdge's rules between curl, mosquitto's clients, an HTTP server of Python's and kubectl: delivered, and once."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from skerry.objects.json import Json, JsonObject
from tests.system.real_fleet import RealFleet, real_fleet, until
from tests.system.test_event_bus import hearing, say

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin")
SUB, CURL, KUBECTL = (shutil.which(name) for name in ("mosquitto_sub", "curl", "kubectl"))

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (MOSQUITTO and SUB and CURL), reason="mosquitto, its clients or curl are not installed"),
]

RULES = "/apis/rules.kubeedge.io/v1/namespaces/default/rules"
ENDPOINTS = "/apis/rules.kubeedge.io/v1/namespaces/default/ruleendpoints"
MESSAGES = "/apis/skerry.dev/v1/namespaces/default/rulemessages"


class Target(BaseHTTPRequestHandler):
    """An application in the cloud."""

    answer = 200
    got: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.got.append(body)
        self.send_response(self.answer)
        self.end_headers()

    def do_GET(self) -> None:
        """Says what it was asked, in a way of its own."""
        self.send_response(418)
        self.send_header("X-Own", "yes")
        self.end_headers()
        heard = {"path": self.path, "user": self.headers["user"], "authorization": self.headers["Authorization"]}
        self.wfile.write(json.dumps(heard).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Nowhere."""


@pytest.fixture
def target() -> Iterator[tuple[type[Target], int]]:
    handler = type("OneTarget", (Target,), {"got": [], "answer": 200})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield handler, server.server_address[1]
        server.shutdown()
        thread.join(10)


@contextmanager
def a_broker(directory: Path) -> Generator[int]:
    """mosquitto, with what waits kept on its disk."""
    assert MOSQUITTO is not None
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = directory / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def a_fleet(
    directory: Path, *flags: str, environ: Mapping[str, str] | None = None
) -> Generator[tuple[RealFleet, int]]:
    """A cloud with a router, and a gateway with a broker, that runs; the broker's port."""
    with a_broker(directory) as port, real_fleet(directory, "--router-port", "0", *flags) as fleet:
        fleet.edge.environ |= environ or {}
        fleet.edge.environ["SKERRY_MQTT_BROKER"] = f"mqtt://127.0.0.1:{port}"
        for name, type_ in (("cloud", "rest"), ("mqtt", "eventbus")):
            fleet.create(ENDPOINTS, {**meta("RuleEndpoint", name), "spec": {"ruleEndpointType": type_}})
        fleet.edge.start()
        until(lambda: fleet.edge.link_state() == "connected", "the gateway is in step")
        yield fleet, port


def meta(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "rules.kubeedge.io/v1", "kind": kind, "metadata": {"name": name}}


def up(url: str) -> dict[str, Any]:
    spec = {
        "source": "mqtt",
        "sourceResource": {"topic": "batches", "node_name": "eu-1"},
        "target": "cloud",
        "targetResource": {"resource": url},
    }
    return {**meta("Rule", "up"), "spec": spec}


def down() -> dict[str, Any]:
    spec = {
        "source": "cloud",
        "sourceResource": {"path": "/recipes"},
        "target": "mqtt",
        "targetResource": {"topic": "recipes"},
    }
    return {**meta("Rule", "down"), "spec": spec}


def status(fleet: RealFleet, name: str) -> dict[str, Any]:
    found: Any = fleet.find(f"{RULES}/{name}") or {}
    return found.get("status", {})


def curl(*words: str) -> tuple[int, str]:
    """(status, body)."""
    assert CURL is not None
    done = subprocess.run(
        [CURL, "-s", "-S", "--max-time", "60", "-w", "\n%{http_code}", *words],
        capture_output=True,
        text=True,
        timeout=90,
    )
    body, _, code = done.stdout.rpartition("\n")
    return int(code or 0), body or done.stderr


def test_messages_of_a_gateway_come_to_their_target_once_through_outages_of_all_three(
    tmp_path: Path, target: tuple[type[Target], int]
) -> None:
    desk, port = target
    with a_fleet(tmp_path) as (fleet, broker):
        fleet.create(RULES, up(f"http://127.0.0.1:{port}/batches"))
        until(lambda: "Ready" in json.dumps(status(fleet, "up")), "the rule is ready")
        _warm(broker, desk)
        sent = [f"m{number}" for number in range(12)]
        for text in sent[:3]:
            say(broker, "default/batches", text)
        until(lambda: desk.got == sent[:3], "the first three")
        # The target fails, the cloud is gone, the gateway is killed: in this order, and all of it at a time.
        desk.answer = 503
        say(broker, "default/batches", sent[3])
        until(lambda: len(desk.got) > 3, "it was tried")
        fleet.cloud.stop()
        for text in sent[4:7]:
            say(broker, "default/batches", text)
        until(lambda: _waiting(fleet) >= 3, "they wait in the outbox")
        fleet.edge.stop(signal.SIGKILL)
        for text in sent[7:10]:
            say(broker, "default/batches", text)  # kept by the broker
        fleet.edge.start()
        for text in sent[10:]:
            say(broker, "default/batches", text)
        desk.answer = 200
        fleet.start_cloud()
        until(lambda: desk.got[-1:] == sent[-1:], "the last one", deadline_s=120)
        assert list(dict.fromkeys(desk.got)) == sent
        assert len(desk.got) - len(sent) <= desk.got.count(sent[3]), "only the one that failed was sent again"
        until(lambda: not fleet.api().request("GET", MESSAGES).obj["items"], "none waits in the cloud")


def _warm(broker: int, desk: type[Target]) -> None:
    """Until the gateway hears the rule's topic: what is said before is for nobody. What came is forgotten."""
    sent: list[str] = []

    def heard() -> bool:
        sent.append(f"warm {len(sent)}")
        say(broker, "default/batches", sent[-1])
        return bool(desk.got)

    until(heard, "the rule is heard")
    until(lambda: desk.got[-1:] == sent[-1:], "and all that was said")
    desk.got.clear()


def _waiting(fleet: RealFleet) -> int:
    told: Any = fleet.edge.api.request("GET", "/skerry/status").obj
    return sum(each["reports"] for each in told["outbox"]["waiting"] if each["class"] == "message")


def test_a_request_is_answered_when_the_gateways_broker_has_the_message(tmp_path: Path) -> None:
    with a_fleet(tmp_path) as (fleet, broker):
        fleet.create(RULES, down())
        url = f"https://127.0.0.1:{fleet.cloud.endpoints['router_port']}/eu-1/default/recipes"
        ca = fleet.cloud.data / "pki" / "ca.crt"
        token = _token(fleet, "app")
        show = ("--cacert", str(ca), "-H", f"Authorization: Bearer {token}")
        assert curl("--cacert", str(ca), "-d", "x", url)[0] == 401
        assert curl(*show, "-d", "x", url)[0] == 403
        _grant(fleet, "app")
        with hearing(broker, "recipes/#", "probe") as heard:
            until(lambda: (say(broker, "probe", "1"), heard)[1], "the subscriber is there")
            until(lambda: curl(*show, "-d", "Hello World!", url) == (200, "message delivered"), "delivered")
            assert curl(*show, "-d", "two", url + "/line/1?x=1") == (200, "message delivered")
            large = tmp_path / "large"
            large.write_text("x" * 1_500_000)
            assert curl(*show, "--data-binary", f"@{large}", url + "/large") == (200, "message delivered")
            until(lambda: len([topic for topic, _ in heard if topic != "probe"]) == 3, "all three are heard")
            said = dict(each for each in heard if each[0] != "probe")
            assert (said["recipes"], said["recipes/line/1"]) == ("Hello World!", "two")
            assert len(said["recipes/large"]) == 1_500_000
        assert curl(*show, "-d", "x", url.replace("recipes", "nothing"))[0] == 404
        fleet.edge.stop()
        until(lambda: curl(*show, "-d", "x", url)[0] == 503, "a gateway that is away is answered for")
        until(lambda: status(fleet, "down").get("successMessages") == 3, "they are counted")


def test_a_service_on_a_gateway_answers_a_request_in_the_cloud(
    tmp_path: Path, target: tuple[type[Target], int]
) -> None:
    desk, port = target
    with a_fleet(tmp_path, "--router-access", "open") as (fleet, _):
        endpoint: JsonObject = {"ruleEndpointType": "servicebus", "properties": {"service_port": str(port)}}
        fleet.create(ENDPOINTS, {**meta("RuleEndpoint", "services"), "spec": endpoint})
        spec: JsonObject = {
            "source": "cloud",
            "sourceResource": {"path": "/ddd"},
            "target": "services",
            "targetResource": {"path": "/url"},
        }
        fleet.create(RULES, {**meta("Rule", "ask"), "spec": spec})
        url = f"http://127.0.0.1:{fleet.cloud.endpoints['router_port']}/eu-1/default/ddd"
        until(lambda: curl("-d", "Hello World!", url)[0] == 200, "it is answered")
        assert desk.got == ["Hello World!"]
        status_said, body = curl("-H", "user: I am user", "-H", "Authorization: Basic eA==", "-i", url + "/a%20b?x=1")
        assert status_said == 418
        assert "x-own: yes" in body.lower()
        heard = json.loads(body.splitlines()[-1])
        assert heard == {"path": "/url/a%20b?x=1", "user": "I am user", "authorization": "Basic eA=="}
        large = tmp_path / "large"
        large.write_text("x" * 1_900_000)
        assert curl("--data-binary", f"@{large}", url)[0] == 200
        assert len(desk.got[-1]) == 1_900_000
        fleet.patch(f"{ENDPOINTS}/services", {"spec": {"properties": {"service_port": "1"}}})
        status_said, body = curl("-d", "x", url)
        assert status_said == 503
        assert "the service on port 1 of the gateway can't be asked" in body


def test_an_application_on_a_gateway_asks_one_in_the_cloud(tmp_path: Path, target: tuple[type[Target], int]) -> None:
    desk, port = target
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        bus = str(probe.getsockname()[1])
    url, asked = f"http://127.0.0.1:{bus}", f"http://127.0.0.1:{port}/echo"
    body = json.dumps({"method": "POST", "targetURL": asked, "payload": {"a": 1}})
    with a_fleet(tmp_path, environ={"SKERRY_SERVICE_BUS_PORT": bus}) as (fleet, _):
        endpoint: JsonObject = {"ruleEndpointType": "servicebus", "properties": {"service_port": "1"}}
        fleet.create(ENDPOINTS, {**meta("RuleEndpoint", "services"), "spec": endpoint})
        assert curl("-d", body, url)[0] == 0, "nothing listens without a rule"
        spec: JsonObject = {
            "source": "services",
            "sourceResource": {"target_url": asked, "node_name": "eu-1"},
            "target": "cloud",
            "targetResource": {"resource": asked},
        }
        fleet.create(RULES, {**meta("Rule", "ask"), "spec": spec})
        until(lambda: curl("-d", body, url)[0] == 200, "it listens")
        code, said = curl("-d", body, url)
        assert (code, json.loads(said)) == (
            200,
            {"code": 200, "msg": "receive response from cloud successfully", "body": ""},
        )
        assert set(desk.got) == {body}, "the whole request is posted, as in KubeEdge"
        assert json.loads(curl("-d", "{}", url)[1])["code"] == 400
        until(lambda: status(fleet, "ask").get("successMessages") == len(desk.got), "they are counted")
        fleet.cloud.stop()
        until(lambda: json.loads(curl("-d", body, url)[1])["code"] == 503, "the cloud is away, and that is said")


def test_where_the_operator_says_so_anybody_may_ask_over_plain_http_as_in_kubeedge(tmp_path: Path) -> None:
    with a_fleet(tmp_path, "--router-access", "open") as (fleet, broker):
        fleet.create(RULES, down())
        url = f"http://127.0.0.1:{fleet.cloud.endpoints['router_port']}/eu-1/default/recipes"
        with hearing(broker, "recipes", "probe") as heard:
            until(lambda: (say(broker, "probe", "1"), heard)[1], "the subscriber is there")
            until(lambda: curl("-d", "hi", url) == (200, "message delivered"), "delivered")
            until(lambda: ("recipes", "hi") in heard, "it is heard")


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
def test_what_is_given_up_is_kept_shown_and_sent_again(tmp_path: Path, target: tuple[type[Target], int]) -> None:
    desk, port = target
    with a_fleet(tmp_path) as (fleet, broker):

        def kubectl(*words: str) -> str:
            assert KUBECTL is not None
            config = fleet.cloud.data / "admin.kubeconfig"
            done = subprocess.run(
                [KUBECTL, "--kubeconfig", str(config), *words], capture_output=True, text=True, timeout=60
            )
            return done.stdout + done.stderr

        manifest = tmp_path / "rule.json"
        manifest.write_text(json.dumps(up(f"http://127.0.0.1:{port}/")))
        assert "rule.rules.kubeedge.io/up created" in kubectl("apply", "-f", str(manifest))
        _warm(broker, desk)
        desk.answer = 422
        say(broker, "default/batches", "bad")
        until(lambda: "Dead" in kubectl("get", "rulemessages"), "it is given up, and shown")
        assert "the target answers 422" in kubectl("get", "rules", "-o", "wide")
        [name] = kubectl("get", "rulemessages", "-o", "name").split()
        desk.answer = 200
        kubectl("patch", name, "--type", "merge", "-p", '{"spec": {"redeliver": true}}')
        until(lambda: desk.got == ["bad", "bad"], "it is sent again")
        until(lambda: "No resources" in kubectl("get", "rulemessages"), "and forgotten")
        manifest.write_text(json.dumps(up("ftp://nowhere")))
        assert "spec.targetResource[resource]" in kubectl("apply", "-f", str(manifest))


def _token(fleet: RealFleet, account: str) -> str:
    core = "/api/v1/namespaces/default/serviceaccounts"
    fleet.create(core, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    return fleet.cloud.token_of(account)


def _grant(fleet: RealFleet, account: str) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    rules: list[Json] = [{"apiGroups": ["rules.kubeedge.io"], "resources": ["rules/call"], "verbs": ["create"]}]
    role: JsonObject = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": account}}
    fleet.create(f"{rbac}/roles", {**role, "kind": "Role", "rules": rules})
    fleet.create(
        f"{rbac}/rolebindings",
        {
            **role,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "default"}],
        },
    )
