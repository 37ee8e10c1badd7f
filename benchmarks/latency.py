"""How soon a change is where it is wanted: over TLS between a real cloud and a real agent, both with their disks.

    python -m benchmarks latency

A ConfigMap is counted from the API's answer until another process can read it in the gateway's SQLite; a desired
value until the driver's command is out of an MQTT broker; a reading from its publication until a watcher of the API
has it. Each is measured twice: one change after the other, each as soon as the one before has arrived, and each
after a rest of 50 ms, after which a machine of many guests has to fetch its caches anew. Then five thousand readings
are published at once. KubeEdge's figures are those of the project's targets.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.edge_memory import agent, broker, process, run, until
from benchmarks.fleet.cloud import cpu_s
from edgecore.store.database import FILE_NAME
from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.objects.meta import revision_of

TIMES: Final = int(os.environ.get("SKERRY_BENCH_TIMES", "100"))
REST_S: Final = 0.05
REFILL_S: Final = 30.0
"""The gateway's credit for syncs at once is whole again (`edgecore.twins.settings`)."""
WAIT_S_MAX: Final = 20.0
REPORTS: Final = 5000
REPORTS_S_MAX: Final = 120.0
CONFIG_MAP: Final = "/api/v1/namespaces/default/configmaps/settings"
DEVICES: Final = "/apis/devices.kubeedge.io/v1beta1/namespaces/default"

MANIFESTS: Final = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {value: "0"}
---
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  nodeName: bench
  terminationGracePeriodSeconds: 1
  volumes: [{name: settings, configMap: {name: settings}}]
  containers: [{name: user, image: sh, command: [sh, -c, "sleep 1000"]}]
---
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: mast}
spec:
  protocol: mqtt
  properties:
  - {name: wind, type: INT, accessMode: ReadOnly}
  - {name: set, type: INT, accessMode: ReadWrite}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: pole}
spec:
  deviceModelRef: {name: mast}
  nodeName: bench
  protocol: {protocolName: mqtt, configData: {host: 127.0.0.1, port: @MQTT@}}
  properties:
  - name: wind
    visitors: {protocolName: mqtt, configData: {topic: pole/wind, path: $.wind, sequencePath: $.n}}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: mast}
spec:
  deviceModelRef: {name: mast}
  nodeName: bench
  protocol: {protocolName: mqtt, configData: {host: 127.0.0.1, port: @MQTT@}}
  properties:
  - name: wind
    visitors: {protocolName: mqtt, configData: {topic: mast/wind, path: $.wind, sequencePath: $.n}}
  - name: set
    desired: {value: "0"}
    visitors: {protocolName: mqtt, configData: {topic: set, commandTopic: set/command, commandTemplate: "${value}"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """Both processes, and this one's way to all of it."""

    client: Client
    edge: Path
    mqtt: Any
    commands: queue.Queue[tuple[str, float]]
    """What the driver published, and when it was out of the broker."""
    pids: tuple[int, int]
    """Of cloud and agent."""

    @property
    def cpu_s(self) -> tuple[float, float]:
        """Processor seconds that cloud and agent have used."""
        return cpu_s(self.pids[0]), cpu_s(self.pids[1])


def main() -> list[tuple[str, str]]:
    """Rows of (what, figure)."""
    with rig() as parts:
        return [
            *_rows(parts, "ConfigMap: answered -> in the gateway's SQLite", _configs, "3 / 8", "5.4 / 18.7"),
            *_rows(parts, "desired value: answered -> published by the driver", _desired, "3 / 8", "5.9 / 30"),
            *_rows(parts, "reading: published -> seen by a watcher of the API", _reported, "5 / 12", "9.7 / 20.9"),
            *_many(parts),
        ]


@contextlib.contextmanager
def rig() -> Generator[Rig]:
    """A cloud, an agent that is in step with it, and a broker between the agent and this process."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        home = Path(directory)
        cloud, edge = home / "cloud", home / "edge"
        port = stack.enter_context(broker(home))
        flags = ["--bind", "127.0.0.1", "--https-port", "0", "--hub-port", "0"]
        command = [sys.executable, "-m", "cloudcore.main", "--data", cloud, *flags]
        started = stack.enter_context(process(home / "cloud.log", *command, ready="cloudcore ready"))
        token = run("skerry.cli.main", "token", "create", "bench", "--data", cloud).strip()
        hub = str(json.loads((cloud / "endpoints.json").read_text())["hub"])
        run("edgecore.main", "join", "--data", edge, "--cloud", hub, "--token", token)
        (home / "all.yaml").write_text(MANIFESTS.replace("@MQTT@", str(port)))
        agent_pid = stack.enter_context(agent(edge))
        commands: queue.Queue[tuple[str, float]] = queue.Queue()
        mqtt = stack.enter_context(_mqtt(port, commands))
        client = Client(cluster=kubeconfig.load(cloud / "admin.kubeconfig"))
        run("skerry.cli.main", "apply", "-f", home / "all.yaml", "--data", cloud)
        try:
            until(lambda: "Running" in run("skerry.cli.main", "get", "pods", "--data", cloud), "the pod")
            until(lambda: "online" in run("skerry.cli.main", "device", "list", "--data", cloud), "the device")
            yield Rig(client=client, edge=edge, mqtt=mqtt, commands=commands, pids=(started.pid, agent_pid))
        finally:
            run("skerry.cli.main", "delete", "pod", "user", "--data", cloud)
            until(lambda: "user" not in run("skerry.cli.main", "get", "pods", "--data", cloud), "the pod to end")


@contextlib.contextmanager
def _mqtt(port: int, commands: queue.Queue[tuple[str, float]]) -> Generator[Any]:
    """A client of the broker: the device. What is commanded is confirmed on the property's topic."""
    from paho.mqtt.client import Client as MqttClient
    from paho.mqtt.enums import CallbackAPIVersion

    client = MqttClient(CallbackAPIVersion.VERSION2, "bench-device")
    client.max_inflight_messages_set(100)
    client.max_queued_messages_set(0)
    subscribed = threading.Event()

    def heard(_: object, __: object, message: Any) -> None:
        commands.put((message.payload.decode(), time.perf_counter()))
        client.publish("set", message.payload, qos=1)

    client.on_message = heard

    def taken(*_: object) -> None:
        subscribed.set()

    client.on_subscribe = taken
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("set/command", qos=1)
    until(subscribed.is_set, "the subscription")
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def _each(one: Callable[[int], float], rest_s: float) -> list[float]:
    """The milliseconds of `TIMES` single changes, sorted; the first few are for caches to become warm."""
    first = 1 if rest_s else 1000
    for number in range(5):
        one(first + number)
    took: list[float] = []
    for number in range(TIMES):
        time.sleep(rest_s)
        took.append(one(first + 10 + number) * 1000)
    return sorted(took)


def _rows(
    parts: Rig, what: str, measure: Callable[[Rig, float], list[float]], target: str, kubeedge: str
) -> Iterator[tuple[str, str]]:
    for rest_s in (0.0, REST_S):
        before_s = parts.cpu_s
        took_ms = measure(parts, rest_s)
        p50, p99 = (took_ms[round(part * (len(took_ms) - 1))] for part in (0.5, 0.99))
        beside = "" if rest_s else f"  (target {target}; KubeEdge {kubeedge})"
        yield "... each after a rest" if rest_s else what, f"p50 {p50:.1f}, p99 {p99:.1f} ms{beside}"
        cloud, edge = (1000 * (now - then) / TIMES for now, then in zip(parts.cpu_s, before_s, strict=True))
        yield "... processor time for each", f"cloud {cloud:.1f} ms, agent {edge:.1f} ms"


def _configs(parts: Rig, rest_s: float) -> list[float]:
    database = sqlite3.connect(f"file:{next(parts.edge.rglob(FILE_NAME))}?mode=ro", uri=True)

    def one(number: int) -> float:
        answer = parts.client.request(
            "PATCH", CONFIG_MAP, body={"data": {"value": str(number)}}, content_type="application/merge-patch+json"
        )
        answered_s = time.perf_counter()
        revision = revision_of(answer.obj)
        query = "SELECT revision FROM objects WHERE resource = 'configmaps' AND name = 'settings'"
        while database.execute(query).fetchone()[0] < revision:
            if time.perf_counter() > answered_s + WAIT_S_MAX:
                raise SystemExit("a ConfigMap did not arrive")
            time.sleep(0.0001)
        return time.perf_counter() - answered_s

    try:
        return _each(one, rest_s)
    finally:
        database.close()


def _desired(parts: Rig, rest_s: float) -> list[float]:
    path = f"{DEVICES}/devices/mast"
    properties = cast(
        "list[dict[str, Any]]", cast("Any", parts.client.request("GET", path).obj)["spec"]["properties"]
    )

    def one(number: int) -> float:
        while not parts.commands.empty():
            parts.commands.get()
        properties[1]["desired"] = {"value": str(number)}
        patch: Any = {"spec": {"properties": properties}}
        parts.client.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
        answered_s = time.perf_counter()
        while True:
            value, at_s = parts.commands.get(timeout=WAIT_S_MAX)
            if value == str(number):
                return max(0.0, at_s - answered_s)

    return _each(one, rest_s)


def _reported(parts: Rig, rest_s: float) -> list[float]:
    """Of a device of its own each time, for each has a credit of its own."""
    device = "mast" if rest_s else "pole"
    time.sleep(REFILL_S)
    seen: queue.Queue[tuple[str, float]] = queue.Queue()
    path = f"{DEVICES}/devicestatuses"

    def watch() -> None:
        query = {"watch": "true", "fieldSelector": f"metadata.name={device}", "timeoutSeconds": "600"}
        for line in parts.client.lines(path, query=query):
            at_s = time.perf_counter()
            twins = json.loads(line)["object"].get("status", {}).get("twins", [])
            for twin in twins:
                if twin["propertyName"] == "wind":
                    seen.put((str(twin["reported"]["value"]), at_s))

    threading.Thread(target=watch, daemon=True).start()
    time.sleep(0.5)

    def one(number: int) -> float:
        began_s = time.perf_counter()
        parts.mqtt.publish(f"{device}/wind", json.dumps({"n": number, "wind": number}), qos=1)
        while True:
            value, at_s = seen.get(timeout=WAIT_S_MAX)
            if value == str(number):
                return at_s - began_s

    return _each(one, rest_s)


def _many(parts: Rig) -> list[tuple[str, str]]:
    """Published as fast as the broker takes them; read back from the history."""
    first = 1_000_000
    path, want = f"{DEVICES}/devices/mast/history", [str(first + number) for number in range(REPORTS)]
    began_s, before_s = time.perf_counter(), parts.cpu_s
    for value in want:
        parts.mqtt.publish("mast/wind", json.dumps({"n": int(value), "wind": int(value)}), qos=1)
    found: list[str] = []
    while len(set(found)) < REPORTS and time.perf_counter() < began_s + REPORTS_S_MAX:
        newest = _history(parts, path, order="newest", limit="1")
        if newest == want[-1:]:  # asking for all of them takes the cloud's time from what is measured
            found = [value for value in _history(parts, path, limit="10000") if int(value) >= first]
        time.sleep(0.1)
    took_s = time.perf_counter() - began_s
    cloud, edge = (now - then for now, then in zip(parts.cpu_s, before_s, strict=True))
    lost = len(set(want) - set(found))
    twice = len(found) - len(set(found))
    wrong = sum(after < before for before, after in pairwise(found))
    last = "right" if found and found[-1] == want[-1] else "wrong"
    figure = f"{took_s:.1f} s; {lost} lost, {twice} twice, {wrong} out of order, final value {last}"
    what = f"{REPORTS} readings published at once, until the last is in the history"
    return [
        (what, f"{figure}  (target 2 s; KubeEdge 165 s, 1,631 out of order)"),
        ("... processor time for all", f"cloud {cloud:.1f} s, agent {edge:.1f} s"),
    ]


def _history(parts: Rig, path: str, **query: str) -> list[str]:
    answer = cast("Any", parts.client.request("GET", path, query={"property": "wind", **query}).obj)
    return [str(item["value"]) for item in answer["items"] if "value" in item]


if __name__ == "__main__":
    for what, value in main():
        print(f"{what:60} {value}")
