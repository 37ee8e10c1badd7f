"""`skerry exec` and its kin, through the cloud and at the gateway's socket with no cloud at all: terminals,
exit codes, copies, ports, and what is told later of who was inside."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from struct import pack

import pytest

from skerry.objects.json import maps_at, str_at
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet, until
from tests.system.test_pod_streams import POD, SCRIPT, a_pod

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@dataclass(slots=True)
class Sides:
    """A fleet whose gateway runs a pod of two containers; `skerry` from both sides of it."""

    fleet: RealFleet

    def place(self, side: str) -> Path:
        return self.fleet.edge.data if side == "gateway" else self.fleet.cloud.kubeconfig.parent

    def command(self, side: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "skerry.cli.main", "--data", str(self.place(side)), *arguments]

    def skerry(self, side: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.command(side, *arguments), input=stdin, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Generator[Sides]:
    with real_fleet(tmp_path_factory.mktemp("sides")) as fleet:
        fleet.edge.start()
        fleet.create(f"{CORE}/pods", a_pod(POD, ("app", SCRIPT), ("other", "exec sleep 100000")))
        until(lambda: fleet.run_of(POD), "the pod runs")
        yield Sides(fleet=fleet)


SIDES = pytest.mark.parametrize("side", ["cloud", "gateway"])


class Screen:
    """A program on a terminal of its own."""

    def __init__(self, command: Sequence[str], *, columns: int = 80, lines: int = 24) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns, lines, None)
        self.before = termios.tcgetattr(self.slave)
        # What a shell starts in the background is deaf to interrupts, and so is all that it starts.
        command = ("env", "--default-signal=INT", *command)
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True
        )
        self.seen = b""

    def resize(self, columns: int, lines: int, process: subprocess.Popen[bytes] | None) -> None:
        ioctl(self.slave, termios.TIOCSWINSZ, pack("HHHH", lines, columns, 0, 0))
        if process is not None:
            process.send_signal(signal.SIGWINCH)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def until(self, text: bytes, *, deadline_s: float = 20.0) -> None:
        end = time.monotonic() + deadline_s
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += os.read(self.master, 65536)

    @property
    def as_before(self) -> bool:
        """The terminal is as it was before the program."""
        return termios.tcgetattr(self.slave) == self.before

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def screen(command: Sequence[str]) -> Generator[Screen]:
    made = Screen(command)
    try:
        yield made
    finally:
        made.end()


@SIDES
def test_a_command_has_input_output_and_its_own_exit_code(sides: Sides, side: str) -> None:
    done = sides.skerry(side, "exec", POD, "-c", "other", "--", "sh", "-c", "echo $WHO; echo no >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"talker\n"), done.stderr
    assert done.stderr == b"no\ncommand terminated with exit code 7\n"
    sent = bytes(range(256)) * 8192
    done = sides.skerry(side, "exec", "-i", f"pod/{POD}", "-c", "app", "--", "cat", stdin=sent)
    assert (done.returncode, done.stdout == sent) == (0, True), done.stderr
    done = sides.skerry(side, "exec", POD, "-c", "other", "--", "/no/such/command")
    assert done.returncode == 1 and b"error executing command in container" in done.stderr
    done = sides.skerry(side, "exec", POD, "-c", "nope", "--", "true")
    assert done.returncode == 1 and b'no container "nope" (it has: app, other)' in done.stderr
    done = sides.skerry(side, "exec", "nopod", "--", "true")
    assert done.returncode == 1 and b"not found" in done.stderr
    done = sides.skerry(side, "exec", POD, "--", "true")
    assert done.returncode == 0 and b'Defaulted container "app" out of: app, other' in done.stderr


@SIDES
def test_a_shell_has_a_terminal_with_its_size_and_the_own_one_is_as_it_was_afterwards(
    sides: Sides, side: str
) -> None:
    with screen(sides.command(side, "exec", "-it", POD, "-c", "other", "--", "sh")) as shell:
        shell.until(b"# ")
        shell.type(b"stty size; echo be''gun\r")
        shell.until(b"begun")
        assert b"24 80" in shell.seen and not shell.as_before
        shell.resize(111, 33, shell.process)
        shell.type(b"sleep 0.3; stty size\r")
        shell.until(b"33 111")
        shell.type(b"trap 'exit 3' INT; echo wai''ting; while true; do sleep 0.1; done\r")
        shell.until(b"waiting")
        shell.type(b"\x03")  # for the command there
        assert shell.process.wait(20) == 3
        assert shell.as_before
    with screen(sides.command(side, "exec", "-it", POD, "-c", "other", "--", "sh")) as shell:
        shell.until(b"# ")
        shell.type(b"echo be''gun\r")
        shell.until(b"begun")
        shell.process.terminate()
        assert shell.process.wait(20) == 128 + signal.SIGTERM
        assert shell.as_before


@SIDES
def test_attach_shows_what_a_container_says_and_ends_with_who_looks(sides: Sides, side: str) -> None:
    with screen(sides.command(side, "attach", POD, "-c", "app")) as looking:
        looking.until(b"tick")
        looking.process.send_signal(signal.SIGINT)
        assert looking.process.wait(20) == 130


@SIDES
def test_keys_hang_up(sides: Sides, side: str) -> None:
    command = ("exec", "-it", POD, "-c", "other", "--detach-keys", "ctrl-p,ctrl-q", "--", "sh")
    with screen(sides.command(side, *command)) as shell:
        shell.until(b"# ")
        shell.type(b"echo be''gun\r")
        shell.until(b"begun")
        shell.type(b"\x10\x11")
        assert shell.process.wait(20) == 0
        assert shell.as_before


@contextmanager
def forwarded(sides: Sides, side: str, *arguments: str) -> Generator[tuple[int, subprocess.Popen[bytes]]]:
    """A `skerry port-forward` with the port that it listens on."""
    command = sides.command(side, "port-forward", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(b"Forwarding from 127.0.0.1:"), line
            yield int(line.split(b":")[1].split(b" ")[0]), process
        finally:
            process.terminate()
            process.wait(10)


@SIDES
def test_a_port_leads_to_a_pod_and_each_way_ends_by_itself(sides: Sides, side: str) -> None:
    sent = bytes(range(256)) * 20_000
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:

        def answer() -> bytes:
            taken, _ = server.accept()
            with taken, taken.makefile("rb") as reading:
                heard = reading.read()  # until the client's half ends
                taken.sendall(b"heard " + heard[::-1])
            return heard

        heard = threads.submit(answer)
        with (
            forwarded(sides, side, POD, f":{server.getsockname()[1]}") as (port, _),
            socket.create_connection(("127.0.0.1", port), timeout=30) as client,
        ):
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as reading:
                assert reading.read() == b"heard " + sent[::-1]
            assert heard.result(10) == sent


@SIDES
def test_a_closed_port_is_told_as_a_kubelet_tells_it(sides: Sides, side: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    with forwarded(sides, side, POD, f"0:{closed}") as (port, process):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            assert client.recv(1) == b""
        assert process.stderr is not None
        assert f"error forwarding port {closed} to pod {POD}".encode() in process.stderr.readline()


@SIDES
def test_a_tree_is_copied_both_ways_and_nothing_leaves_its_destination(
    sides: Sides, side: str, tmp_path: Path
) -> None:
    there, back, inside = tmp_path / "there", tmp_path / "back", tmp_path / "inside"
    (there / "below").mkdir(parents=True)
    (there / "below" / "data").write_bytes(os.urandom(3_000_000))
    (there / "run").write_text("#!/bin/sh\n")
    (there / "run").chmod(0o755)
    (there / "link").symlink_to("/etc/passwd")
    done = sides.skerry(side, "cp", str(there), f"{POD}:{inside}", "-c", "app")
    assert done.returncode == 0 and b"left out" in done.stderr, done.stderr
    assert sorted(path.name for path in inside.rglob("*")) == ["below", "data", "run"]
    (inside / "out").symlink_to(tmp_path)
    done = sides.skerry(side, "cp", f"default/{POD}:{inside}", str(back), "-c", "app")
    assert done.returncode == 0 and b"left out" in done.stderr, done.stderr
    assert (back / "below" / "data").read_bytes() == (there / "below" / "data").read_bytes()
    assert (back / "run").stat().st_mode & 0o777 == 0o755 and not (back / "out").exists()
    done = sides.skerry(side, "cp", f"{POD}:/no/such/file", str(back), "-c", "app")
    assert done.returncode == 1 and b"exit code 2" in done.stderr and b"/no/such" in done.stderr


def test_a_shell_completes_names_of_pods_and_containers(sides: Sides) -> None:
    for words, found in ((f"exec {POD[:3]}", POD), (f"exec {POD} -c ot", "other"), ("logs ta", POD)):
        line = f"skerry --data {sides.fleet.edge.data} {words}"
        environ = {"_SKERRY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        done = subprocess.run(
            [Path(sys.executable).with_name("skerry")], env={**os.environ, **environ}, capture_output=True, timeout=60
        )
        assert f"plain,{found}" in done.stdout.decode(), (line, done)


COUNT = "sleep 1; i=0; while true; do i=$((i+1)); echo $WHO-$i; sleep 0.1; done"


def test_logs_of_many_pods_go_on_over_restarts_and_cuts_and_include_who_comes_later(
    sides: Sides, tmp_path: Path
) -> None:
    fleet = sides.fleet

    def make(name: str) -> None:
        made = a_pod(name, ("app", COUNT))
        assert isinstance(made["metadata"], dict)
        made["metadata"]["labels"] = {"app": "many"}
        fleet.create(f"{CORE}/pods", made)
        until(lambda: fleet.run_of(name), f"{name} runs", deadline_s=60)

    for name in ("many-1", "many-2"):
        make(name)
    out = tmp_path / "out"
    with (
        out.open("wb") as sink,
        subprocess.Popen(
            sides.command("cloud", "logs", "-l", "app=many", "-f", "--max-log-requests", "5"),
            stdout=sink,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:

            def seen(name: str) -> list[str]:
                lines = out.read_text(errors="replace").splitlines()
                return [line for line in lines if line.startswith(f"[pod/{name}/app] {name}-")]

            def counts(name: str) -> list[int]:
                return [int(line.rsplit("-", 1)[1]) for line in seen(name)]

            until(lambda: seen("many-1") and seen("many-2"), "both are seen", deadline_s=60)
            make("many-3")
            until(lambda: seen("many-3"), "the third is seen", deadline_s=60)
            assert sides.skerry("gateway", "pod", "restart", "many-1").returncode == 0
            until(lambda: counts("many-1") != sorted(counts("many-1")), "its next run is seen", deadline_s=60)
            fleet.edge.stop(signal.SIGKILL)
            fleet.edge.start()
            before = len(seen("many-2"))
            until(lambda: len(seen("many-2")) > before + 20, "it goes on after a cut", deadline_s=90)
        finally:
            process.terminate()
    numbers = counts("many-2")
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "no line is missing, and none is twice"
    done = sides.skerry("gateway", "logs", POD, "--all-containers", "--tail", "1", "--timestamps")
    assert done.returncode == 0 and done.stdout.startswith(f"[pod/{POD}/app] 20".encode()), done


def test_without_a_cloud_a_shell_opens_at_the_gateway_and_the_cloud_learns_who_was_inside(sides: Sides) -> None:
    fleet = sides.fleet
    fleet.cloud.stop()
    done = sides.skerry("gateway", "exec", POD, "-c", "other", "--", "sh", "-c", "echo alone; exit 4")
    assert (done.returncode, done.stdout) == (4, b"alone\n"), done.stderr
    fleet.start_cloud()

    def told() -> list[tuple[str, str, str]]:
        rows = json.loads(fleet.cloud.skerry("node", "local-changes", NODE, "-o", "json"))["items"]
        return [(str_at(row, "act"), str_at(row, "by"), str_at(row, "container")) for row in rows]

    until(lambda: ("exec", "root (uid 0)", "other") in told(), "told")
    events = maps_at(fleet.find(f"{CORE}/events"), "items")
    assert "ExecOnGateway" in [str_at(event, "reason") for event in events]
