"""A terminal in a container of containerd, what it says and hears, and a port of its pod, with kubectl."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from skerry.objects.json import JsonObject, maps_at
from tests.system.containerd import Containerd, until
from tests.system.real_fleet import CORE, RealFleet
from tests.system.test_containerd_pods import delete, pod, runs
from tests.system.test_kubectl_debug import Terminal, containerd, environ, fleet, kubectl

__all__ = ["containerd", "fleet"]
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl"),
]


def test_a_terminal_in_a_container_has_a_size_answers_and_ends_with_its_code(fleet: RealFleet) -> None:
    fleet.create(f"{CORE}/pods", pod("shell"))
    runs(fleet, "shell")
    terminal = Terminal(fleet, "exec", "-it", "shell", "--", "sh")
    terminal.shows("# ")
    terminal.type("test -t 0 && test -t 1 && echo a $((20 + 3)) terminal; hostname\n")
    terminal.shows("a 23 terminal")
    terminal.shows("shell")
    terminal.type("sleep 4321\n")
    until(lambda: "sleep 4321" in kubectl(fleet, "exec", "shell", "--", "ps"), "it sleeps")
    terminal.type("\x03")  # ends the sleep, not the shell
    terminal.type("echo still $((40 + 2))\n")
    terminal.shows("still 42")
    terminal.type("exit 5\n")
    assert terminal.ends() == 5
    delete(fleet, "shell")


def test_who_attaches_is_heard_and_hears_by_a_terminal_of_the_container(fleet: RealFleet) -> None:
    made = pod("talk", "while read -r line; do echo heard $line; done")
    spec: JsonObject = maps_at(made, "spec", "containers")[0]
    spec |= {"stdin": True, "tty": True}
    fleet.create(f"{CORE}/pods", made)
    runs(fleet, "talk")
    terminal = Terminal(fleet, "attach", "-it", "talk")
    terminal.shows("If you don't see a command prompt")
    terminal.type("one\n")
    terminal.shows("heard one")
    terminal.process.kill()
    terminal.ends()
    other = Terminal(fleet, "attach", "-it", "talk")
    other.shows("If you don't see a command prompt")
    other.type("two\n")
    other.shows("heard two")
    other.process.kill()
    other.ends()
    assert kubectl(fleet, "logs", "talk").count("heard") == 2
    delete(fleet, "talk")


def answer(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        return peer.recv(100)


def test_a_port_of_a_pod_that_listens_on_its_loopback_is_forwarded(
    fleet: RealFleet, containerd: Containerd, tmp_path: Path
) -> None:
    fleet.create(f"{CORE}/pods", pod("web", "exec nc -ll -p 8080 -e hostname"))
    runs(fleet, "web")
    until(lambda: ":1F90" in kubectl(fleet, "exec", "web", "--", "cat", "/proc/net/tcp6"), "it listens")
    said = tmp_path / "said"
    with said.open("wb") as sink:
        command = ["kubectl", "port-forward", "web", ":8080"]
        forward = subprocess.Popen(command, env=environ(fleet), stdout=sink, stderr=sink)
    try:
        until(lambda: "Forwarding from" in said.read_text(), "it forwards", said.read_text)
        found = re.search(r"127\.0\.0\.1:(\d+)", said.read_text())
        assert found is not None
        port = int(found[1])
        assert [answer(port) for _ in range(3)] == [b"web\n"] * 3
    finally:
        forward.terminate()
        forward.wait(20)
    delete(fleet, "web")
