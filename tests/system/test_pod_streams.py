"""kubectl of every version found, and Python's clients, talk with processes in pods: by WebSocket and by SPDY."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from skerry.objects.json import Json, JsonObject
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

_SDK: Final = Path("/usr/lib/google-cloud-sdk/bin")
_GIVEN: Final = os.environ.get("SKERRY_KUBECTLS", "").split(os.pathsep)
"""Further binaries to try, as a path list: versions that no package has here."""


def _old() -> list[str]:
    """Debian's kubectl 1.20, which speaks SPDY: unpacked, as it may not be installed beside a newer one."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return []
    place = Path(tempfile.gettempdir()) / f"skerry-kubectl-1.20-{os.getuid()}"
    binary = place / "usr" / "bin" / "kubectl"
    if not binary.exists():
        place.mkdir(exist_ok=True, mode=0o700)
        subprocess.run(["apt-get", "download", "-qq", "kubernetes-client"], cwd=place, capture_output=True)
        for package in place.glob("kubernetes-client_*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(place)], capture_output=True)
    return [str(binary)] if binary.exists() else []


def _kubectls() -> list[str]:
    """The oldest, which speaks SPDY, the first with WebSockets, and this machine's own; with SKERRY_KUBECTLS all that
    are found."""
    found = sorted(str(path) for path in _SDK.glob("kubectl.1.*"))
    own = [path for path in (shutil.which("kubectl"),) if path]
    if os.environ.get("SKERRY_KUBECTLS"):
        return [*_old(), *found, *own, *(path for path in _GIVEN if path)]
    return [*_old(), *(path for path in found if path.endswith(".1.30")), *own]


KUBECTLS: Final = _kubectls()
POD: Final = "talker"
SCRIPT: Final = "while true; do echo tick; sleep 0.2; done"


def a_pod(name: str, *containers: tuple[str, str]) -> JsonObject:
    specs: list[Json] = [
        {"name": container, "image": "sh", "command": ["sh", "-c", script], "env": [{"name": "WHO", "value": name}]}
        for container, script in containers
    ]
    spec: JsonObject = {"nodeName": NODE, "terminationGracePeriodSeconds": 0, "containers": specs}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@dataclass(slots=True)
class Pods:
    """A fleet whose gateway runs a pod of two containers, and one that has ended."""

    fleet: RealFleet
    home: Path

    def kubectl(
        self, binary: str, *arguments: str, stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [binary, *arguments], env=self.environ, input=stdin, capture_output=True, timeout=timeout
        )

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.fleet.cloud.kubeconfig), "HOME": str(self.home)}


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pods]:
    directory = tmp_path_factory.mktemp("streams")
    with real_fleet(directory) as fleet:
        fleet.edge.start()
        fleet.create(f"{CORE}/pods", a_pod(POD, ("app", SCRIPT), ("other", "exec sleep 100000")))
        ended = a_pod("ended", ("app", "echo done"))
        assert isinstance(ended["spec"], dict)
        ended["spec"]["restartPolicy"] = "Never"
        fleet.create(f"{CORE}/pods", ended)
        until(lambda: fleet.run_of(POD), "the pod runs")
        yield Pods(fleet=fleet, home=directory)


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_a_command_has_input_output_and_an_exit_code(pods: Pods, binary: str) -> None:
    done = pods.kubectl(binary, "exec", POD, "-c", "other", "--", "sh", "-c", "echo $WHO; echo no >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"talker\n"), done.stderr
    assert done.stderr == b"no\ncommand terminated with exit code 7\n"
    sent = bytes(range(256)) * 4096
    done = pods.kubectl(binary, "exec", "-i", POD, "-c", "app", "--", "cat", stdin=sent)
    assert (done.returncode, done.stdout == sent) == (0, True), done.stderr
    done = pods.kubectl(binary, "exec", POD, "-c", "other", "--", "/no/such/command")
    assert done.returncode == 1 and b"error executing command in container" in done.stderr
    done = pods.kubectl(binary, "exec", "ended", "--", "true")
    assert done.returncode == 1
    assert b"completed pod" in done.stderr or b"CONTAINER_EXITED" in done.stderr
    done = pods.kubectl(binary, "exec", POD, "-c", "nope", "--", "true")
    assert done.returncode == 1 and b"container nope is not valid for pod talker" in done.stderr


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_a_directory_is_copied_both_ways(pods: Pods, binary: str, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(3_000_000))
    (source / "small").write_text("text")
    there.mkdir()
    done = pods.kubectl(binary, "cp", str(source), f"{POD}:{there}/in", "-c", "other")
    assert done.returncode == 0, done.stderr
    assert (there / "in" / "large").read_bytes() == (source / "large").read_bytes()
    done = pods.kubectl(binary, "cp", f"{POD}:{there}/in", str(back), "-c", "other")
    assert done.returncode == 0, done.stderr
    assert (back / "large").read_bytes() == (source / "large").read_bytes()
    assert (back / "small").read_text() == "text"


@contextmanager
def forwarded(pods: Pods, binary: str, port: int) -> Generator[int]:
    """A local port that leads to the pod's."""
    command = [binary, "port-forward", f"pod/{POD}", f":{port}"]
    process = subprocess.Popen(command, env=pods.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "Forwarding from 127.0.0.1:" in line, line
        yield int(line.partition("127.0.0.1:")[2].partition(" ")[0])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Greeter:
    """Reads until the client ends its half, and answers with all of it and a word."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    @staticmethod
    def _answer(connection: socket.socket) -> None:
        with connection:
            data = bytearray()
            while piece := connection.recv(65536):
                data += piece
            connection.sendall(b"you said " + data)


def said_to(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while piece := connection.recv(65536):
            answer += piece
    return bytes(answer)


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_ports_are_forwarded_for_many_connections_at_once_with_halves_that_end(pods: Pods, binary: str) -> None:
    greeter = Greeter()
    try:
        with forwarded(pods, binary, greeter.port) as port:
            sent = [os.urandom(200_000) for _ in range(6)]
            answers: list[bytes] = [b""] * len(sent)

            def ask(number: int) -> None:
                answers[number] = said_to(port, sent[number])

            threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(sent))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert [answer == b"you said " + data for answer, data in zip(answers, sent, strict=True)] == [True] * 6
    finally:
        greeter.listener.close()


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_a_port_where_nobody_listens_is_said_to_be(pods: Pods, binary: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free: int = taken.getsockname()[1]
    command = [binary, "port-forward", f"pod/{POD}", f":{free}"]
    with subprocess.Popen(
        command, env=pods.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.partition("127.0.0.1:")[2].partition(" ")[0])
        assert said_to(port, b"anybody?") == b""
        text = ""
        while f"error forwarding port {free} to pod" not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
        process.kill()


def in_terminal(pods: Pods, binary: str, arguments: Sequence[str], typed: bytes, wanted: bytes) -> tuple[int, bytes]:
    """Run kubectl in a terminal of 100 by 30, type when it has begun, and read until it ends."""
    import fcntl
    import pty
    import struct
    import termios

    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(binary, [binary, *arguments], pods.environ)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    seen = b""
    deadline = time.monotonic() + 60
    typed_at = False
    while time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
        if not typed_at and wanted in seen:
            typed_at = True
            os.write(terminal, typed)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), seen


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_a_shell_in_a_terminal_knows_its_size_and_its_end(pods: Pods, binary: str) -> None:
    shell = ["exec", "-it", POD, "-c", "other", "--", "sh"]
    typed = b"until stty size | grep -q '30 100'; do sleep 0.1; done; stty size; tty; exit 3\n"
    code, seen = in_terminal(pods, binary, shell, typed, b"# ")
    assert code == 3, seen
    assert b"\n30 100\r\n" in seen and b"/dev/pts/" in seen


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_what_a_container_says_is_attached_to(pods: Pods, binary: str) -> None:
    command = [binary, "attach", POD, "-c", "app"]
    with subprocess.Popen(command, env=pods.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == [b"tick\n"] * 3
        process.kill()


@pytest.mark.parametrize("binary", KUBECTLS, ids=lambda path: Path(path).name + str(len(path)))
def test_what_nodes_and_pods_use_is_shown(pods: Pods, binary: str) -> None:
    done = pods.kubectl(binary, "top", "nodes")
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.decode().splitlines()
    assert head.split()[:2] == ["NAME", "CPU(cores)"] and row.split()[0] == NODE
    busy = pods.kubectl(binary, "top", "pods", "--containers")
    rows = [line.split() for line in busy.stdout.decode().splitlines()[1:]]
    assert {(row[0], row[1]) for row in rows} == {(POD, "app"), (POD, "other")}, busy.stderr
    assert all(row[2].endswith("m") and row[3].endswith("Mi") for row in rows)
