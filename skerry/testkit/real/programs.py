"""The product's two daemons as a test run holds them: started, asked from outside, killed, started again.

Nothing of the product is imported here: what a test sees is what a user of the programs sees. Data directories and
logs outlive the programs; nothing else is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import yaml

from skerry.cli import kubeconfig
from skerry.cli.client import Client
from skerry.errors import SkerryError, UnavailableError
from skerry.objects.json import Json, JsonObject, maps_at, str_at
from skerry.testkit.real.power import Machine

START_S_MAX: Final = 60.0
"""On a machine that runs many of them at once."""
MERGE_PATCH: Final = "application/merge-patch+json"
CLOUD: Final = "cloudcore"
EDGE: Final = "edgecore"


def until(level: Callable[[], object], what: str, *, within_s: float = 30.0, every_s: float = 0.05) -> float:
    """Wait for a level; how many seconds it took. Raises `UnavailableError` that names it when it is not reached."""
    began = time.monotonic()
    while not level():
        if time.monotonic() - began > within_s:
            raise UnavailableError(f"not reached in {within_s:.0f} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - began


def wait_ready(machine: Machine, program: str, words: str, before: int) -> None:
    """Wait until the program's log says `words` once more than `before` times."""
    deadline = time.monotonic() + START_S_MAX
    while said(machine, program).count(words) <= before:
        if machine.code(program) is not None or time.monotonic() > deadline:
            raise UnavailableError(f"{program} on {machine.name} did not start:\n{said(machine, program)[-3000:]}")
        time.sleep(0.02)


def said(machine: Machine, program: str) -> str:
    """All that a program of this name on this machine has said so far."""
    log = machine.log_of(program)
    return log.read_text(errors="replace") if log.exists() else ""


@dataclass(slots=True)
class CloudProgram:
    """One data directory, and at most one `cloudcore` on it."""

    machine: Machine
    data: Path
    bind: str
    https_port: int = 0
    """0: any free one at first, the same ever after."""
    hub_port: int = 0
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    gate: tuple[str, int] | None = None
    """Where the API is reached from the runner's own network; None: where it listens."""
    _api: Client | None = field(default=None, repr=False)

    @property
    def log(self) -> str:
        return said(self.machine, CLOUD)

    @property
    def running(self) -> bool:
        return self.machine.runs(CLOUD)

    def start(self, *more: str) -> None:
        """Start, and wait until it says that it is ready."""
        if not self.machine.powered:
            self.machine.power_on()
        before = self.log.count("cloudcore ready")
        command = [sys.executable, "-m", "cloudcore.main", "--data", self.data, "--bind", self.bind]
        ports = ["--https-port", str(self.https_port), "--hub-port", str(self.hub_port)]
        self.machine.start(CLOUD, [*command, *ports, *self.flags, *more], self.env)
        wait_ready(self.machine, CLOUD, "cloudcore ready", before)
        endpoints = json.loads((self.data / "endpoints.json").read_text())
        self.https_port, self.hub_port = int(endpoints["https_port"]), int(endpoints["hub_port"])
        self._api = None  # its kubeconfig is written anew at each start, and may trust another authority

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop, or kill it; its exit code."""
        self.machine.signal(CLOUD, number)
        return self.machine.wait(CLOUD)

    def signal(self, number: signal.Signals) -> None:
        self.machine.signal(CLOUD, number)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, good from the runner's own network, for every life of this cloud."""
        own = self.data / "admin.kubeconfig"
        if self.gate is None:
            return own
        outside = self.data.parent / f"{self.data.name}.kubeconfig"
        config = cast(Json, yaml.safe_load(own.read_text()))
        for each in maps_at(config, "clusters"):
            cluster = each["cluster"]
            assert isinstance(cluster, dict)
            cluster["server"] = f"https://{self.gate[0]}:{self.gate[1]}"
        outside.write_text(yaml.safe_dump(config))
        outside.chmod(0o600)
        return outside

    @property
    def api(self) -> Client:
        if self._api is None:
            self._api = Client(cluster=kubeconfig.load(self.kubeconfig))
        return self._api

    def find(self, path: str) -> JsonObject | None:
        """The object or list; None when it is not there, or nobody answers."""
        return find(self.api, path)

    def create(self, path: str, obj: JsonObject) -> JsonObject:
        return self.api.request("POST", path, body=obj).obj

    def patch(self, path: str, change: JsonObject) -> JsonObject:
        return self.api.request("PATCH", path, body=change, content_type=MERGE_PATCH).obj

    def delete(self, path: str) -> None:
        self.api.request("DELETE", path)

    def skerry(self, *arguments: str) -> str:
        """Output of the `skerry` command, as the administrator runs it, by the cloud's clock."""
        words = [sys.executable, "-m", "skerry.cli.main", *arguments, "--kubeconfig", self.kubeconfig]
        return output(words, self.env)


@dataclass(slots=True)
class EdgeProgram:
    """One data directory, and at most one `edgecore run` on it."""

    machine: Machine
    data: Path
    node: str
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def log(self) -> str:
        return said(self.machine, EDGE)

    @property
    def running(self) -> bool:
        return self.machine.runs(EDGE)

    def join(self, cloud: str, token: str) -> None:
        """Become the node that the token is for."""
        if not self.machine.powered:
            self.machine.power_on()
        self.data.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "edgecore.main", "join", "--data", self.data]
        self.machine.run("join", [*words, "--cloud", cloud, "--token", token], env=self.env)

    def start(self) -> None:
        """Start, and wait until it says that it is ready."""
        if not self.machine.powered:
            self.machine.power_on()
        before = self.log.count("edgecore ready")
        command = [sys.executable, "-m", "edgecore.main", "run", "--data", self.data, *self.flags]
        self.machine.start(EDGE, command, self.env)
        wait_ready(self.machine, EDGE, "edgecore ready", before)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell the agent to stop, or kill it; its pods go on. Its exit code."""
        self.machine.signal(EDGE, number)
        return self.machine.wait(EDGE)

    def signal(self, number: signal.Signals) -> None:
        self.machine.signal(EDGE, number)

    @property
    def api(self) -> Client:
        """The agent's local API: a unix socket, which no network namespace is in the way of."""
        return Client(socket_path=self.data / "edgecore.sock")

    def find(self, path: str) -> JsonObject | None:
        return find(self.api, path)

    @property
    def link_state(self) -> str:
        """`connected`, or what the link is doing instead; "" when the agent does not answer."""
        return str_at(self.find("/skerry/link"), "state")

    def containers(self) -> dict[str, str]:
        """Running containers by their directories: which process each is, since when, of which boot."""
        found: dict[str, str] = {}
        for state in self.data.glob("containers/*/*/state"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                written: JsonObject = json.loads(state.read_bytes())
                if written["phase"] == "running":
                    run = f"{written['pid']} since {written['pid_start']} of boot {written['boot_id']}"
                    found[str(state.parent.relative_to(self.data))] = run
        return found


def find(client: Client, path: str) -> JsonObject | None:
    """The object; None when it is not there, or nobody answers."""
    try:
        return client.request("GET", path).obj
    except (SkerryError, OSError):
        return None


def output(words: Sequence[str | Path], env: Mapping[str, str], within_s: float = 60.0) -> str:
    """Output of a command on the runner's own network. Raises `UnavailableError` with what it said."""
    command = [str(word) for word in words]
    environment = {**os.environ, **env}
    done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False, env=environment)
    if done.returncode:
        raise UnavailableError(f"`{' '.join(command[2:])}`: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
