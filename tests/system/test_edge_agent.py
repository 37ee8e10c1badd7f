"""The real agent as a process, without a cloud: pods, local API, SIGKILL, SIGTERM, memory."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgecore.link.membership import Credentials, save_membership
from edgecore.store.database import FILE_NAME
from edgecore.store.opening import open_store
from edgecore.store.port import EdgeBatch, Held, NewReport, OutboxBudgets
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from tests.system import forked

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
HEAVY = (
    "aiohttp",
    "sqlalchemy",
    "cryptography",
    "dns",
    "yaml",
    "pydantic",
    "pymodbus",
    "paho",
    "aioquic",
    "orjson",
    "websockets",
)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self.path))


@dataclass
class Gateway:
    data: Path
    agent: subprocess.Popen[bytes] | None = None
    revision: int = 1
    code: tuple[str, ...] = field(default=("-m", "edgecore.main"))
    options: tuple[str, ...] = ()

    def start(self) -> None:
        log = (self.data / "agent.log").open("wb")
        command = [sys.executable, *self.code, "run", "--data", str(self.data), *self.options]
        settings = {"SKERRY_TRANSPORT": "websocket", "SKERRY_RUNTIME": "process"}
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
        self.agent = forked.start(command, stderr=log, stdout=log, cwd="/", env=env)
        log.close()
        eventually(lambda: "edgecore ready" in self.log(), self.log)

    def log(self) -> str:
        return (self.data / "agent.log").read_text()

    def end(self, number: int) -> int:
        assert self.agent is not None
        self.agent.send_signal(number)
        code = self.agent.wait(15)
        self.agent = None
        return code

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        connection = _Unix(self.data / "edgecore.sock")
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            with connection.getresponse() as response:
                content = response.read()
        finally:
            connection.close()
        kind = response.headers.get("Content-Type", "")
        return response.status, json.loads(content) if content and kind == "application/json" else content

    def tell(self, reports: Iterable[NewReport]) -> None:
        """As devices would, while no agent runs."""
        settings = StoreSettings(directory=self.data / "store", boot_id="b", budgets=OutboxBudgets())
        store = open_store(settings, SystemClock(), SystemIds()).store
        store.apply(EdgeBatch(reports=tuple(reports)))
        store.close()

    def change(self, *objects: tuple[str, JsonObject], deletes: tuple[Key, ...] = ()) -> None:
        """As the link would, while no agent runs."""
        self.revision += 1
        settings = StoreSettings(directory=self.data / "store", boot_id="b", budgets=OutboxBudgets())
        store = open_store(settings, SystemClock(), SystemIds()).store
        puts: list[Held] = []
        for resource, obj in objects:
            metadata: Any = obj["metadata"]
            key = Key(resource, metadata["namespace"], metadata["name"])
            stamp = Stamp(metadata["uid"], Revision(self.revision))
            puts.append(Held(key=key, stamp=stamp, body=encode_object(obj)))
        store.apply(EdgeBatch(puts=tuple(puts), deletes=deletes))
        store.close()

    def pod(self) -> Any:
        return self.ask("GET", "/api/v1/namespaces/default/pods/web")[1]

    def running_since(self) -> str:
        statuses = self.pod().get("status", {}).get("containerStatuses", [{}])
        return statuses[0].get("state", {}).get("running", {}).get("startedAt", "")


def eventually(level: Callable[[], object], why: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + 20
    while not level():
        assert time.monotonic() < deadline, why()
        time.sleep(0.02)


POD: JsonObject = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "uid": "uid-1", "generation": 1, "labels": {"app": "web"}},
    "spec": {
        "nodeName": "gate-1",
        "terminationGracePeriodSeconds": 2,
        "volumes": [{"name": "cfg", "configMap": {"name": "cfg"}}],
        "containers": [
            {
                "name": "app",
                "image": "sh",
                "command": ["sh", "-c", "echo pid $$$$; while :; do cat /skerry-agent-test/word; sleep 0.1; done"],
                "volumeMounts": [{"name": "cfg", "mountPath": "/skerry-agent-test"}],
            }
        ],
    },
}


def config(word: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cfg", "namespace": "default", "uid": "c"},
        "data": {"word": word + "\n"},
    }


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gateway]:
    data = tmp_path / "edge"
    data.mkdir()
    credentials = Credentials(key_pem="none", certificate_pem="none", ca_pem="none")
    save_membership(data, credentials, node="gate-1", clouds=("127.0.0.1:1",), renew_after_ms=1 << 45)
    gateway = Gateway(data)
    yield gateway
    if gateway.agent is not None:
        gateway.end(signal.SIGKILL)
    for state in data.glob("containers/*/*/state"):
        written = json.loads(state.read_bytes())
        if written["phase"] == "running":
            (state.parent / "stop").write_text("0")
            os.kill(written["supervisor"], signal.SIGTERM)


def test_an_agent_without_a_cloud_knows_its_own_pods_by_name(gate: Gateway) -> None:
    if shutil.which("kdig") is None:
        pytest.skip("kdig is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    gate.options = ("--cluster-dns", f"127.0.0.1:{port}")
    web: JsonObject = {
        "metadata": {"name": "web", "namespace": "default", "uid": "uid-s"},
        "spec": {"clusterIP": "None", "ipFamilies": ["IPv4"], "selector": {"app": "web"}},
    }
    gate.change(("services", web), ("pods", POD), ("configmaps", config("one")))

    def asked(*options: str) -> str:
        words = ["kdig", "@127.0.0.1", "-p", port, "+retry=0", "+time=5", *options, "web.default.svc.cluster.local"]
        return subprocess.run(words, capture_output=True, text=True).stdout.strip()

    gate.start()
    eventually(gate.running_since, gate.log)
    address = gate.pod()["status"]["podIP"]
    eventually(lambda: asked("+short") == address, gate.log)
    gate.end(signal.SIGKILL)
    gate.start()
    eventually(lambda: asked("+short") == address, gate.log)
    gate.end(signal.SIGKILL)
    gate.change(deletes=(Key("pods", "default", "web"),))
    gate.start()
    eventually(lambda: "status: NOERROR" in (said := asked()) and "ANSWER: 0" in said, gate.log)


def test_a_pod_that_asks_in_its_first_instant_is_answered(gate: Gateway) -> None:
    if shutil.which("kdig") is None:
        pytest.skip("kdig is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    gate.options = ("--cluster-dns", f"127.0.0.1:{port}")
    db: JsonObject = {
        "metadata": {"name": "db", "namespace": "default", "uid": "uid-s"},
        "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"]},
    }
    asks: Any = json.loads(json.dumps(POD))
    script = f"kdig @127.0.0.1 -p {port} +retry=0 +time=15 +short db.default.svc.cluster.local 2>&1; exec sleep 1000"
    asks["spec"] |= {"containers": [{"name": "app", "image": "sh", "command": ["sh", "-c", script]}], "volumes": []}
    gate.change(("services", db), ("pods", asks))
    gate.start()

    def said() -> bytes:
        status, content = gate.ask("GET", "/api/v1/namespaces/default/pods/web/log")
        return content if status == 200 else b""

    eventually(said, gate.log)
    assert said() == b"10.96.0.9\n"


def test_pods_do_not_notice_what_happens_to_the_agent(gate: Gateway) -> None:
    gate.change(("pods", POD), ("configmaps", config("one")))
    gate.start()
    eventually(gate.running_since, gate.log)
    since = gate.running_since()
    whole = "/api/v1/namespaces/default/pods/web/log"
    eventually(lambda: b"pid" in gate.ask("GET", whole)[1])
    pid = int(re.findall(rb"pid (\d+)", gate.ask("GET", whole)[1])[0])

    gate.end(signal.SIGKILL)
    os.kill(pid, 0)
    gate.change(("configmaps", config("two")))
    gate.start()
    eventually(gate.running_since, gate.log)
    assert gate.running_since() == since
    assert gate.pod()["status"]["containerStatuses"][0]["restartCount"] == 0
    events = gate.ask("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dweb")[1]["items"]
    assert "Started" in {each["reason"] for each in events}, (
        "the agent before told so, and the cloud has not heard yet"
    )
    tail = "/api/v1/namespaces/default/pods/web/log?tailLines=1"
    eventually(lambda: gate.ask("GET", tail)[1] == b"two\n")
    os.kill(pid, 0)

    assert gate.end(signal.SIGTERM) == 0
    os.kill(pid, 0)
    gate.change(deletes=(Key("pods", "default", "web"),))
    gate.start()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), gate.log)
    eventually(lambda: gate.ask("GET", "/api/v1/pods")[1]["items"] == [])


def test_a_backlog_that_broke_costs_no_pod_and_nothing_that_is_held(gate: Gateway) -> None:
    gate.change(("pods", POD), ("configmaps", config("one")))
    gate.start()
    eventually(gate.running_since, gate.log)
    since = gate.running_since()
    gate.end(signal.SIGKILL)
    gate.tell(NewReport(report_class="telemetry", kind="telemetry", key="s", body=b"%0200d" % n) for n in range(900))
    path = gate.data / "store" / FILE_NAME
    content = bytearray(path.read_bytes())
    page = content.rindex(b"%0200d" % 0) // 4096
    content[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    path.write_bytes(content)

    gate.start()  # looks at what it begins with, and then meets the rest
    assert gate.agent is not None
    assert gate.agent.wait(20) == 1
    assert "the edge store is damaged, and the next start sets it aside" in gate.log()
    gate.start()
    assert "taken_over=objects,twins,pods,commands,pushes,rules,meta" in gate.log()
    assert gate.running_since() == since
    assert gate.pod()["status"]["containerStatuses"][0]["restartCount"] == 0
    assert len(list(path.parent.glob("edge.db.damaged-*"))) == 1


def test_a_container_that_ended_while_no_agent_ran_is_known_by_its_exit_code(gate: Gateway) -> None:
    once: Any = json.loads(encode_object(POD))
    once["spec"] |= {"restartPolicy": "Never", "volumes": []}
    go = gate.data.parent / "go"
    script = f"while [ ! -e {go} ]; do sleep 0.1; done; exit 7"
    once["spec"]["containers"] = [{"name": "app", "image": "sh", "command": ["sh", "-c", script]}]
    gate.change(("pods", once))
    gate.start()
    eventually(gate.running_since, gate.log)
    gate.end(signal.SIGKILL)
    go.touch()
    time.sleep(1.5)
    gate.start()
    eventually(lambda: gate.pod()["status"]["phase"] == "Failed", gate.log)
    assert gate.pod()["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7


def test_the_local_api_serves_what_is_held_and_refuses_what_the_cloud_owns(gate: Gateway) -> None:
    gate.change(("configmaps", config("one")))
    gate.start()
    assert gate.ask("GET", "/healthz") == (200, b"ok")
    assert (gate.data / "edgecore.sock").stat().st_mode & 0o777 == 0o600
    listed = gate.ask("GET", "/api/v1/configmaps?labelSelector=app!%3Dx&fieldSelector=metadata.name%3Dcfg")[1]
    assert (listed["kind"], [item["data"] for item in listed["items"]]) == ("ConfigMapList", [{"word": "one\n"}])
    code, refused = gate.ask("PUT", "/api/v1/namespaces/default/configmaps/cfg", {})
    assert (code, refused["reason"]) == (503, "ServiceUnavailable")
    assert "the cloud owns this object" in refused["message"]
    assert gate.ask("GET", "/api/v1/namespaces/default/pods/none")[0] == 404
    assert gate.ask("GET", "/api/v1/unknown")[0] == 404
    twin = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/plc/twins/speed"
    assert gate.ask("PUT", twin, {"value": "1"})[0] == 404
    assert gate.ask("PUT", twin, {"value": 1})[0] == 400
    assert gate.ask("PUT", twin, {"value": "x" * 100_000})[0] == 413
    assert gate.ask("POST", "/skerry/link/cut")[1]["cut"] is True
    assert gate.ask("GET", "/skerry/link")[1]["state"] == "cut"
    assert gate.ask("POST", "/skerry/link/heal")[1]["cut"] is False
    status = gate.ask("GET", "/skerry/status")[1]
    assert status["node"] == "gate-1" and status["incarnation"] and status["outbox"]["reports"] == 1
    groups = gate.ask("GET", "/apis")[1]["groups"]
    assert "devices.kubeedge.io" in [group["name"] for group in groups]


def test_a_watch_tells_what_happens(gate: Gateway) -> None:
    gate.change(("configmaps", config("one")), ("pods", POD))
    gate.start()
    connection = _Unix(gate.data / "edgecore.sock")
    connection.request("GET", "/api/v1/namespaces/default/pods?watch=true&timeoutSeconds=15")
    events: list[Any] = []
    with closing(connection), connection.getresponse() as response:
        while not events or events[-1]["object"].get("status", {}).get("phase") != "Running":
            events.append(json.loads(response.readline()))
    assert events[0]["type"] in ("ADDED", "MODIFIED")
    revision = gate.ask("GET", "/api/v1/pods")[1]["metadata"]["resourceVersion"]
    resumed = gate.ask("GET", f"/api/v1/pods?watch=true&timeoutSeconds=1&resourceVersion={revision}")[1]
    assert resumed in (b"", None) or resumed["type"] == "MODIFIED"
    stale = gate.ask("GET", "/api/v1/pods?watch=true&timeoutSeconds=5&resourceVersion=1")[1]
    assert (stale["type"], stale["object"]["code"]) == ("ERROR", 410)


def test_a_second_agent_is_refused(gate: Gateway) -> None:
    gate.start()
    second = subprocess.run(
        [sys.executable, "-m", "edgecore.main", "run", "--data", str(gate.data)],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
    )
    assert second.returncode == 1
    assert "another agent uses" in second.stderr
    assert gate.ask("GET", "/healthz")[0] == 200


def test_a_runtime_that_is_named_wrongly_costs_no_pod(gate: Gateway) -> None:
    gate.change(("pods", POD), ("configmaps", config("one")))
    gate.start()
    eventually(gate.running_since, gate.log)
    since = gate.running_since()
    gate.end(signal.SIGTERM)
    typo = gate.data / "containerd.sck"
    wrong = ("--runtime", "containerd", "--runtime-endpoint", f"unix://{typo}")
    told = forked.run([sys.executable, "-m", "edgecore.main", "run", "--data", str(gate.data), *wrong], timeout_s=60)
    assert told.returncode == 1
    assert f"{typo}: No such file or directory" in told.stderr
    assert "the pods of this gateway go on in process" in told.stderr
    gate.start()  # and it is forgotten
    eventually(gate.running_since, gate.log)
    assert gate.running_since() == since


def test_a_gateway_that_has_not_joined_says_how(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "edgecore.main", "run", "--data", str(tmp_path)]
    told = subprocess.run(run, capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert told.returncode == 1
    assert "edgecore join" in told.stderr


def test_an_idle_agent_is_small_and_loads_nothing_heavy(gate: Gateway) -> None:
    heavy = ", ".join(repr(name) for name in HEAVY)
    program = (
        "import atexit, sys; from edgecore.main import main; "
        f"atexit.register(lambda: print('LOADED', [n for n in ({heavy},) if n in sys.modules])); main()"
    )
    gate.code = ("-c", program)
    gate.start()
    time.sleep(1)
    assert gate.ask("GET", "/skerry/status")[1]["memoryBytes"] <= 42 << 20
    gate.end(signal.SIGTERM)
    assert "LOADED []" in gate.log()
