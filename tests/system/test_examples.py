"""The examples are programs that work: the demo plays to its end, its broker forgets nothing, its PLC remembers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

pytestmark = [pytest.mark.system, pytest.mark.long]
ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples/01-one-fleet"
WAIT_S = 30.0
DEMO_S_MAX = 240.0


def processes_of(directory: Path) -> list[str]:
    """Command lines of living processes that name the directory."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{directory}/" in line:
                found.append(line)
    return found


def demo(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO / "demo.py"), *flags]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEMO_S_MAX)


def needs_the_commands() -> None:
    """The demo runs the installed commands, as a user does."""
    if not (Path(sys.executable).parent / "cloudcore").exists():
        pytest.skip("Skerry is not installed beside this Python: pip install -e .")


@pytest.mark.timeout(DEMO_S_MAX + 60)
@pytest.mark.parametrize("broker", ["any", "own"])
def test_the_demo_holds_all_its_claims_and_leaves_nothing_running(tmp_path: Path, broker: str) -> None:
    needs_the_commands()
    told = demo("--directory", str(tmp_path / "fleet"), "--broker", broker)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "FAILS" not in told.stdout
    assert "while leaving" not in told.stdout
    assert processes_of(tmp_path / "fleet") == []


@pytest.mark.timeout(DEMO_S_MAX)
@pytest.mark.parametrize("arguments", [["tests"], ["--skerry-suite", "disconnect", "--manifests=manifests"]])
def test_the_test_kits_example_stands(tmp_path: Path, arguments: list[str]) -> None:
    """As its README runs it, in a directory that has nothing of this repository's settings."""
    project = shutil.copytree(ROOT / "examples/02-test-kit", tmp_path / "cold-store")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    told = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=DEMO_S_MAX)
    assert told.returncode == 0, told.stdout + told.stderr


@dataclass
class Listener:
    """A client with a lasting session that acknowledges only what it is told to."""

    port: int
    password: str
    client_id: str = "listener"
    heard: list[str] = field(default_factory=list[str])
    acknowledge: Callable[[int], bool] = lambda _: True

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self.refusal = ""
        self.is_subscribed = False
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self.client_id, clean_session=False, manual_ack=True
        )
        self.client.username_pw_set("site", self.password)
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _props: Any) -> None:
        with self.changed:
            self.refusal = str(reason)
            self.changed.notify_all()
        client.subscribe([("site/+/mast", 1), ("state/#", 1)])

    def _on_subscribe(self, *_: object) -> None:
        with self.changed:
            self.is_subscribed = True
            self.changed.notify_all()

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        with self.changed:
            self.heard.append(("retained " if message.retain else "") + message.payload.decode())
            if self.acknowledge(len(self.heard)):
                client.ack(message.mid, message.qos)
            self.changed.notify_all()

    def wait(self, ready: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(ready, WAIT_S), self.heard[-5:]

    def vanish(self) -> None:
        """As a power cut does it: the connection ends without a word."""
        self.client.loop_stop()
        cast(Any, self.client.socket()).close()


@dataclass
class Broker:
    port: int
    password: str

    def publish(self, topic: str, *payloads: str, retain: bool = False, will: str = "") -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="publisher")
        client.username_pw_set("site", self.password)
        if will:
            client.will_set("state/will", will, qos=1)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        for payload in payloads:
            client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)
        client.loop_stop()
        if will:
            cast(Any, client.socket()).close()
        else:
            client.disconnect()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "password").write_text("a secret\n")
    command = [sys.executable, "-m", "skerry.testkit.real.broker", "0", "site", str(tmp_path / "password")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    yield Broker(port, "a secret")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stdout.close()


def test_the_demos_broker_sends_again_in_order_what_a_vanished_client_had_not_acknowledged(broker: Broker) -> None:
    first = Listener(broker.port, broker.password, acknowledge=lambda count: count <= 3)
    first.wait(lambda: first.is_subscribed)
    broker.publish("site/eu/mast", *(str(n) for n in range(5)))
    broker.publish("site/eu/other", "not for us")
    first.wait(lambda: len(first.heard) == 5)
    first.vanish()
    broker.publish("site/us/mast", *(str(n) for n in range(5, 200)))
    again = Listener(broker.port, broker.password)
    again.wait(lambda: again.heard[-1:] == ["199"])
    assert again.heard == [str(n) for n in range(3, 200)]
    again.client.disconnect()
    again.client.loop_stop()


def test_the_demos_broker_keeps_the_last_retained_message_and_publishes_wills(broker: Broker) -> None:
    broker.publish("state/mast", "old", "online", retain=True)
    listener = Listener(broker.port, broker.password)
    listener.wait(lambda: listener.heard == ["retained online"])
    broker.publish("state/mast", "offline", will="gone", retain=True)
    listener.wait(lambda: listener.heard == ["retained online", "offline", "gone"])
    listener.client.disconnect()
    listener.client.loop_stop()


def test_the_demos_broker_lets_nobody_in_without_the_password(broker: Broker) -> None:
    stranger = Listener(broker.port, "another secret")
    stranger.wait(lambda: bool(stranger.refusal))
    assert stranger.refusal == "Bad user name or password"
    stranger.client.disconnect()
    stranger.client.loop_stop()
