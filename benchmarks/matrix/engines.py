"""What runs a gateway's containers in the matrix: the agent itself, or a containerd of the gateway's own.

containerd stands in the gateway's machine, as its shims and containers do: whoever takes the machine's power kills
all of them in one act, and the next boot finds of them what a disk keeps. What a boot would have cleared is cleared
by hand, since the machine's disk is a directory here: the runtime's state, network interfaces and rules, cgroups.

Kept: the directory of `Containerd`. What runs is read from the kernel's list of processes, whether anybody answers or
not; what each is, from containerd once it answers.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from skerry.frozen import Frozen
from skerry.testkit.real.containers import container_states
from skerry.testkit.real.namespaces import PATH, tool
from skerry.testkit.real.power import Machine, below
from tests.system.containerd import (
    BUSYBOX_IMAGE,
    BUSYBOX_RECIPE,
    PAUSE_RECIPE,
    Containerd,
    needs_containerd,
    remove_cgroups,
    unmount_below,
)

CONTAINERD: Final = "containerd"
LABEL_UID: Final = "io.kubernetes.pod.uid"
LABEL_NAME: Final = "io.kubernetes.container.name"
SHARED: Final = ("/run/netns", "/var/lib/cni")
"""Places that this machine shares with others: the gateway has its own of each."""


class Run(Frozen):
    """One container that runs."""

    id: str
    pod_uid: str
    name: str
    attempt: int


class Engine(Protocol):
    """See the module."""

    name: str
    image: str
    """Of a shell."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Of the agent."""
        ...

    def booted(self, machine: Machine) -> None:
        """The machine has power again: start what a boot starts, without waiting for it."""
        ...

    def is_ready(self) -> bool:
        """It answers."""
        ...

    def running(self, data: Path) -> list[Run]:
        """What runs at this moment; `data` is the agent's directory."""
        ...


class Processes:
    """The agent runs containers itself."""

    name = "processes"
    image = "sh"

    @property
    def flags(self) -> tuple[str, ...]:
        return ()

    def booted(self, machine: Machine) -> None:
        """Nobody else has to be there."""

    def is_ready(self) -> bool:
        return True

    def running(self, data: Path) -> list[Run]:
        return [
            Run(id=state.id, pod_uid=state.pod_uid, name=state.name, attempt=state.attempt)
            for state in container_states(data)
            if state.phase == "running"
        ]


@dataclass(slots=True)
class Containers:
    """A containerd on the gateway's machine."""

    server: Containerd
    machine: Machine | None = None
    name: str = CONTAINERD
    image: str = BUSYBOX_IMAGE
    _known: dict[str, Run | None] = field(default_factory=dict[str, Run | None])
    """By id; None: it is a pod's sandbox."""

    @property
    def flags(self) -> tuple[str, ...]:
        endpoint = ("--runtime", CONTAINERD, "--runtime-endpoint", self.server.endpoint)
        return (*endpoint, "--cgroup-root", self.server.cgroup_root)

    def booted(self, machine: Machine) -> None:
        self.machine = machine
        self._forget_boot(machine)
        for number, place in enumerate(SHARED):
            own = self.server.folder / "own" / place.strip("/").replace("/", "-")
            own.mkdir(parents=True, exist_ok=True)
            Path(place).mkdir(parents=True, exist_ok=True)
            machine.run(f"mount-{number}", [tool("mount"), "--bind", own, place])
        self.start()

    def start(self) -> None:
        """The server alone."""
        assert self.machine is not None, "it was never booted"
        self.server.write_config()
        command = [tool(CONTAINERD), "--config", self.server.folder / "config.toml"]
        self.machine.start(CONTAINERD, command, {"PATH": PATH})

    def _forget_boot(self, machine: Machine) -> None:
        """What is not on a disk."""
        for gone in (self.server.folder / "state", self.server.folder / "own" / "run-netns"):
            shutil.rmtree(gone, ignore_errors=True)
        for socket in self.server.folder.glob("c.sock*"):
            socket.unlink()
        remove_cgroups(self.server.cgroup_root.strip("/"))
        if machine.namespace is not None:
            with contextlib.suppress(Exception):
                machine.namespace.run(tool("ip"), "link", "del", self.server.bridge)
            for program in ("iptables-save", "nft"):
                _flush(machine, program)

    def is_ready(self) -> bool:
        return self.server.answers()

    def running(self, data: Path) -> list[Run]:
        del data
        found: list[Run] = []
        for container in self._first_processes():
            run = self._run_of(container)
            if run is not None:
                found.append(run)
        return found

    def pid_of(self, container: str) -> int:
        """Of its first process, as this machine numbers it; 0 for none."""
        return self._first_processes().get(container, 0)

    def _first_processes(self) -> dict[str, int]:
        """Of each container and sandbox: who is process 1 there."""
        if self.machine is None or not self.machine.powered:
            return {}
        found: dict[str, int] = {}
        for pid in below(self.machine.pid):
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                if next(line for line in lines if line.startswith("State:")).split()[1] in "ZX":
                    continue
                numbers = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
                own = Path(f"/proc/{pid}/cgroup").read_text()
                container = own.strip().rpartition("/")[2].rpartition("-")[2].removesuffix(".scope")
                if len(numbers) == 3 and numbers[-1] == "1" and len(container) == 64:
                    found[container] = pid
        return found

    def _run_of(self, container: str) -> Run | None:
        if container not in self._known:
            told = self._told(container)
            if told is None:
                return None
            labels = told["Labels"]
            if labels.get("io.cri-containerd.kind") != "container":
                self._known[container] = None
            else:
                metadata = told["Extensions"]["io.cri-containerd.container.metadata"]
                self._known[container] = Run(
                    id=container,
                    pod_uid=labels[LABEL_UID],
                    name=labels[LABEL_NAME],
                    attempt=_attempt(metadata),
                )
        return self._known[container]

    def _told(self, container: str) -> Mapping[str, Any] | None:
        """By containerd's own tool; None while nobody answers, or it is not there any more."""
        try:
            text = self.server.ctr("containers", "info", container)
        except (AssertionError, subprocess.SubprocessError):
            return None
        told: Mapping[str, Any] = json.loads(text)
        return told


def _attempt(metadata: Any) -> int:
    """As CRI was asked for it; the plugin's own record is JSON within a protobuf Any."""
    record = json.loads(base64.b64decode(metadata["value"]))
    return int(record["Metadata"]["Config"]["metadata"].get("attempt", 0))


def _flush(machine: Machine, program: str) -> None:
    """The rules of its network, which a boot begins without."""
    commands: Sequence[Sequence[str]] = (
        [["nft", "flush", "ruleset"]]
        if program == "nft"
        else [["iptables", "-t", table, flag] for table in ("nat", "filter", "mangle") for flag in ("-F", "-X")]
    )
    for command in commands:
        assert machine.namespace is not None
        with contextlib.suppress(Exception):
            machine.namespace.run(tool(command[0]), *command[1:])


@contextmanager
def processes(disk: Path | None = None) -> Generator[Processes]:
    """Nothing has to be made."""
    del disk
    yield Processes()


@contextmanager
def containers(disk: Path | None = None) -> Generator[Containers]:
    """A containerd with its images, on no machine yet. Its images are brought by one that runs here for a moment.

    `disk`: the directory that is the gateway's disk; None: there is room enough for all."""
    needs_containerd()
    folder = Path(tempfile.mkdtemp(prefix="skm-"))
    server = Containerd.in_folder(folder)
    server.root = None if disk is None else disk / CONTAINERD
    try:
        server.start()
        server.load(PAUSE_RECIPE, BUSYBOX_RECIPE)
        server.stop()
        yield Containers(server)
    finally:
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
        remove_cgroups(server.cgroup_root.strip("/"))


MakeEngine = Callable[[Path | None], AbstractContextManager[Engine]]
ENGINES: Final[Mapping[str, MakeEngine]] = {"processes": processes, CONTAINERD: containers}
"""By the names of the page's tables."""
