"""Memory of a real agent, idle and at work, and of the supervisor of one container.

    python -m benchmarks edge_memory

Idle: no cloud answers, as offline. At work: in step with a real cloud over mutual TLS, two pods running, a Modbus
device and an MQTT device read and told. Budgets: 40 MB resident idle, 45 at work, 60 over QUIC, 3 MB private for a
supervisor. KubeEdge's figure was measured elsewhere.
Medians of several runs; figures are the kernel's, from /proc/PID/smaps_rollup.

The Modbus slave is thirty lines here, so that what is measured owes nothing to the library it uses.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Final, cast

from edgecore.link.membership import Credentials, save_membership

IDLE_BUDGET_MB: Final = 40
BUDGET_MB: Final = 45
QUIC_BUDGET_MB: Final = 60
SUPERVISOR_BUDGET_MB: Final = 3
RUNS: Final = 3
SETTLE_S: Final = 6.0
START_S_MAX: Final = 30.0
ROOT: Final = Path(__file__).parents[1]
ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PYTHONPATH": str(ROOT),
    "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / f"skerry-benchmarks-{os.getuid()}"),
}
"""An installed agent's modules are compiled: who compiles them at each start measures the compiler."""

Figures = dict[str, float]

MANIFESTS: Final = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: boiler}
spec:
  protocol: modbus
  properties:
  - {name: temperature, type: INT, accessMode: ReadOnly,
     visitors: {protocolName: modbus, configData: {address: "hr:0", dataType: uint16}}}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: boiler}
spec:
  deviceModelRef: {name: boiler}
  nodeName: bench
  protocol: {protocolName: modbus, configData: {tcp: {ip: 127.0.0.1, port: @MODBUS@}, slaveID: 1}}
  properties: [{name: temperature, collectCycle: 200}]
---
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: mast}
spec:
  protocol: mqtt
  properties: [{name: wind, type: FLOAT, accessMode: ReadOnly}]
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
    visitors: {protocolName: mqtt, configData: {topic: mast, path: $.wind, sequencePath: $.n}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: sh, command: [sh, -c, "while :; do echo here; sleep 1; done"]}]
"""


def figures_mb(pid: int) -> Figures:
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {name: int(rows[name].split()[0]) / 1024 for name in ("Rss", "Pss", "Private_Dirty")}


@contextlib.contextmanager
def process(log: Path, *command: str | Path, ready: str = "") -> Generator[subprocess.Popen[bytes]]:
    """A program that is there inside the block, from when its log has the words `ready`."""
    with log.open("wb") as sink:
        started = subprocess.Popen([str(part) for part in command], stdout=sink, stderr=sink, env=ENVIRONMENT)
    try:
        until(lambda: ready in log.read_text(errors="replace"), f"{command}: {log}")
        yield started
    finally:
        started.terminate()
        started.wait(20)


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.05)


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr}")
    return done.stdout


@contextlib.contextmanager
def agent(data: Path, transport: str = "websocket") -> Generator[int]:
    command = [sys.executable, "-m", "edgecore.main", "run", "--data", data, "--transport", transport]
    with process(data.with_suffix(".log"), *command, ready="edgecore ready") as started:
        yield started.pid


def idle(transport: str = "websocket") -> Figures:
    """An agent that has joined and finds no cloud."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "edge"
        data.mkdir()
        nobody = Credentials(key_pem="none", certificate_pem="none", ca_pem="none")
        save_membership(data, nobody, node="bench", clouds=("127.0.0.1:1",), renew_after_ms=1 << 45)
        with agent(data, transport) as pid:
            time.sleep(SETTLE_S)
            return figures_mb(pid)


def at_work(transport: str = "websocket") -> tuple[Figures, Figures]:
    """The agent's figures and a supervisor's, with everything in use."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        home = Path(directory)
        cloud, edge = home / "cloud", home / "edge"
        ports = {"@MODBUS@": stack.enter_context(modbus_slave()), "@MQTT@": stack.enter_context(broker(home))}
        stack.enter_context(sensor(ports["@MQTT@"]))
        flags = ["--bind", "127.0.0.1", "--https-port", "0", "--hub-port", "0"]
        command = [sys.executable, "-m", "cloudcore.main", "--data", cloud, *flags]
        stack.enter_context(process(home / "cloud.log", *command, ready="cloudcore ready"))
        token = run("skerry.cli.main", "token", "create", "bench", "--data", cloud).strip()
        hub = str(cast(Mapping[str, object], json.loads((cloud / "endpoints.json").read_text()))["hub"])
        run("edgecore.main", "join", "--data", edge, "--cloud", hub, "--token", token)
        manifests = home / "all.yaml"
        text = MANIFESTS
        for mark, port in ports.items():
            text = text.replace(mark, str(port))
        manifests.write_text(text)
        pid = stack.enter_context(agent(edge, transport))
        run("skerry.cli.main", "apply", "-f", manifests, "--data", cloud)
        try:
            until(lambda: is_at_work(cloud), "two pods and two devices")
            time.sleep(SETTLE_S)
            found = figures_mb(pid), figures_mb(supervisors(edge)[0])
        finally:
            run("skerry.cli.main", "delete", "deployment", "app", "--data", cloud)
            until(lambda: not supervisors(edge), "the pods to end")
        return found


def is_at_work(cloud: Path) -> bool:
    pods = run("skerry.cli.main", "get", "pods", "--data", cloud)
    devices = run("skerry.cli.main", "device", "list", "--data", cloud)
    return pods.count("Running") == 2 and devices.count("online") == 2


def supervisors(edge: Path) -> list[int]:
    """Process ids of the supervisors of this agent's containers."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
            if b"supervisor.main" in command and str(edge / "containers").encode() in command:
                found.append(int(entry.name))
    return found


class _Registers(socketserver.StreamRequestHandler):
    """Answers function 3 with zeroes (MODBUS Application Protocol 1.1b3, 6.3; framing: MODBUS Messaging on TCP)."""

    def handle(self) -> None:
        while len(head := self.rfile.read(12)) == 12:
            size = 2 * int.from_bytes(head[10:12], "big")
            self.wfile.write(head[:4] + (3 + size).to_bytes(2, "big") + bytes([head[6], 3, size]) + bytes(size))


@contextlib.contextmanager
def modbus_slave() -> Generator[int]:
    """The port of a slave whose registers are all 0."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Registers)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cast("tuple[str, int]", server.server_address)[1]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def broker(home: Path) -> Generator[int]:
    """The port of a broker: mosquitto where it is installed, else the test kit's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    command: list[str | Path] = [sys.executable, "-m", "skerry.testkit.real.broker", str(port), "anybody"]
    if mosquitto:
        config = home / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        command = [mosquitto, "-c", config]
    with process(home / "broker.log", *command):
        until(lambda: listening(port), "the broker")
        yield port


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.3)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def sensor(port: int) -> Generator[None]:
    """Ten numbered readings a second."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, "bench-sensor")
    client.connect("127.0.0.1", port)
    client.loop_start()
    ended = threading.Event()

    def publish() -> None:
        number = 0
        while not ended.wait(0.1):
            number += 1
            client.publish("mast", json.dumps({"n": number, "wind": number / 10}), qos=1)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        client.disconnect()
        client.loop_stop()


def main() -> list[tuple[str, str]]:
    """Rows of (what, figure)."""
    resting = [idle() for _ in range(RUNS)]
    waiting = [idle("auto") for _ in range(RUNS)]
    working = [at_work() for _ in range(RUNS)]
    over_quic = [at_work("quic")[0] for _ in range(RUNS)]
    return [
        row("agent, idle and offline (KubeEdge 86.7 MB)", resting, "Rss", IDLE_BUDGET_MB),
        row("... with QUIC allowed, and no cloud to answer", waiting, "Rss", IDLE_BUDGET_MB),
        row("agent in step, 2 pods, Modbus and MQTT in use", [found for found, _ in working], "Rss", BUDGET_MB),
        row("the same over QUIC", over_quic, "Rss", QUIC_BUDGET_MB),
        row(
            "supervisor of a container, private",
            [found for _, found in working],
            "Private_Dirty",
            SUPERVISOR_BUDGET_MB,
        ),
    ]


def row(what: str, runs: list[Figures], name: str, budget_mb: int) -> tuple[str, str]:
    middle = statistics.median(run[name] for run in runs)
    verdict = "within" if middle <= budget_mb else "OVER"
    return what, f"{middle:.1f} MB ({verdict} the budget of {budget_mb} MB)"


if __name__ == "__main__":
    rows = main()
    for what, figure in rows:
        print(f"{what:<50} {figure}")
    sys.exit(any("OVER" in figure for _, figure in rows))
