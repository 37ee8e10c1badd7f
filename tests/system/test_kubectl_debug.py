"""`kubectl debug` as people type it: into a pod that runs, a copy of a pod, and a gateway itself, on containerd."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from skerry.objects.json import map_at, maps_at, str_at
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server, until
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet
from tests.system.test_containerd_pods import delete, pod, runs

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl"),
]


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture(scope="module")
def fleet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("debug")) as made:
        made.edge.environ = {"SKERRY_RUNTIME": "containerd", "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint}
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        yield made


def environ(fleet: RealFleet) -> dict[str, str]:
    home = fleet.cloud.kubeconfig.parent
    return {**os.environ, "KUBECONFIG": str(fleet.cloud.kubeconfig), "HOME": str(home), "TERM": "dumb"}


def kubectl(fleet: RealFleet, *arguments: str) -> str:
    done = subprocess.run(
        ["kubectl", *arguments], env=environ(fleet), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{done.stderr}\n{fleet.edge.log[-3000:]}"
    return done.stdout


class Terminal:
    """kubectl with a terminal, as somebody sits before it."""

    def __init__(self, fleet: RealFleet, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.said = ""
        self.process = subprocess.Popen(
            ["kubectl", *arguments],
            env=environ(fleet),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def shows(self, text: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.said:
            self._read()
            assert time.monotonic() < deadline, f"{text!r} is not in {self.said!r}"
            time.sleep(0.02)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self.said += os.read(self._ours, 65536).decode(errors="replace")

    def ends(self) -> int:
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read()
            time.sleep(0.02)
        self._read()
        os.close(self._ours)
        return self.process.wait(1)


def prompt(terminal: Terminal) -> None:
    """A shell that was attached to has said its prompt before; an empty line brings another."""
    terminal.shows("If you don't see a command prompt, try pressing enter.")
    terminal.type("\n")
    terminal.shows("# ")


def ephemeral(fleet: RealFleet, name: str) -> dict[str, str]:
    """States of the pod's ephemeral containers by name."""
    found = maps_at(fleet.find(f"{CORE}/pods/{name}"), "status", "ephemeralContainerStatuses")
    return {str_at(each, "name"): next(iter(map_at(each, "state")), "") for each in found}


def test_a_shell_beside_a_container_sees_its_processes(fleet: RealFleet) -> None:
    """It ends when it is left, and neither it nor the pod is started again."""
    fleet.create(f"{CORE}/pods", pod("web", "exec sleep 98765"))
    run = runs(fleet, "web")
    terminal = Terminal(fleet, "debug", "-it", "web", f"--image={BUSYBOX_IMAGE}", "--target=app", "-c", "look")
    prompt(terminal)
    terminal.type("ps; stty size; echo seen\n")
    terminal.shows("sleep 98765")
    terminal.shows("\nseen")
    assert "started" in kubectl(fleet, "exec", "web", "-c", "look", "--", "echo", "started")
    terminal.type("exit 3\n")
    terminal.ends()
    until(lambda: ephemeral(fleet, "web") == {"look": "terminated"}, "it has ended", lambda: fleet.edge.log)
    assert "seen" in kubectl(fleet, "logs", "web", "-c", "look")
    assert "look:" in kubectl(fleet, "describe", "pod", "web")
    kubectl(fleet, "debug", "web", f"--image={BUSYBOX_IMAGE}", "-c", "second", "--", "sleep", "1000")
    until(lambda: ephemeral(fleet, "web") == {"look": "terminated", "second": "running"}, "the second runs")
    assert fleet.run_of("web") == run
    delete(fleet, "web")


def test_a_copy_of_a_pod_is_changed_and_run(fleet: RealFleet) -> None:
    fleet.create(f"{CORE}/pods", pod("crashes", "exit 1"))
    kubectl(fleet, "debug", "crashes", "--copy-to=copy", "--container=app", "--", "sh", "-c", "exec sleep 1000")
    runs(fleet, "copy")
    assert kubectl(fleet, "exec", "copy", "--", "ps").count("sleep 1000") == 1
    delete(fleet, "copy")
    delete(fleet, "crashes")


def test_a_gateway_is_looked_into_with_its_own_processes_network_and_files(fleet: RealFleet, tmp_path: Path) -> None:
    (tmp_path / "mark").write_text("the gateway's own file")
    terminal = Terminal(fleet, "debug", f"node/{NODE}", "-it", f"--image={BUSYBOX_IMAGE}")
    prompt(terminal)
    terminal.type(f"cat /host{tmp_path}/mark; echo; readlink /proc/self/ns/pid; echo se''en\n")
    terminal.shows("the gateway's own file")
    terminal.shows("seen")
    assert Path("/proc/self/ns/pid").readlink().name in terminal.said
    terminal.type("readlink /proc/self/ns/net; echo do''ne\n")
    terminal.shows("done")
    assert Path("/proc/self/ns/net").readlink().name in terminal.said
    terminal.type("exit\n")
    terminal.ends()
    (name,) = [str_at(each, "metadata", "name") for each in maps_at(fleet.find(f"{CORE}/pods"), "items")]
    delete(fleet, name)
