"""A real `cloudcore` process on loopback, for system tests: started, asked with kubectl, killed, started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from skerry.cli import kubeconfig
from skerry.cli.client import Client, path_of
from skerry.cli.kinds import resolve
from skerry.errors import NotFoundError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.scheme import Kind
from tests.system import forked

START_S_MAX = 30.0
STOP_S_MAX = 15.0
BRIEF = {"GOGC": "off"}
"""For programs in Go that run for a moment: a sixth of kubectl's time goes into garbage that its end takes away."""


@dataclass(slots=True)
class CloudProcess:
    """One data directory and at most one process on it; ports are any."""

    data: Path
    flags: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    prefix: tuple[str, ...] = ()
    """What stands before its commands and those of its clients, to run them in a namespace, say."""
    bind: str = "127.0.0.1"
    _log: IO[bytes] | None = field(default=None, repr=False)
    _client: tuple[int, Client] | None = field(default=None, repr=False)
    _kinds: dict[str, Kind] = field(default_factory=dict[str, Kind], repr=False)
    """What words mean, as far as they were looked up."""

    @property
    def kubeconfig(self) -> Path:
        return self.data / "admin.kubeconfig"

    @property
    def log(self) -> str:
        """All that the processes of this directory said so far."""
        return self.data.with_suffix(".log").read_text(errors="replace")

    @property
    def endpoints(self) -> dict[str, object]:
        return json.loads((self.data / "endpoints.json").read_text())

    @property
    def https(self) -> str:
        """HOST:PORT of the API."""
        return str(self.endpoints["https"])

    @property
    def hub(self) -> str:
        """HOST:PORT of the hub."""
        return str(self.endpoints["hub"])

    def ask(
        self, method: str, path: str, body: JsonObject | None = None, *, content_type: str = "application/json"
    ) -> JsonObject:
        """One request as the administrator, for what an older kubectl can't say."""
        return self.client().request(method, path, body=body, content_type=content_type).obj

    def client(self) -> Client:
        """The administrator's; what it knows of the cloud is read once for each life of that."""
        written = self.kubeconfig.stat().st_mtime_ns
        if self._client is None or self._client[0] != written:
            self._client = written, Client(cluster=kubeconfig.load(self.kubeconfig))
        return self._client[1]

    def find(self, kind: str, name: str, namespace: str = "") -> JsonObject | None:
        """As `kubectl get KIND NAME -o json --ignore-not-found`, for a tenth of the processor's time: for those who
        look until it is as they want it. None also where nobody serves the kind."""
        client = self.client()
        try:
            if kind not in self._kinds:
                self._kinds[kind] = resolve(client, kind)
            return client.request("GET", path_of(self._kinds[kind], namespace or "default", name)).obj
        except NotFoundError:
            self._kinds.pop(kind, None)
            return None

    def token_of(self, account: str) -> str:
        """A token of a ServiceAccount in `default` (`kubectl create token` came with 1.24)."""
        path = f"/api/v1/namespaces/default/serviceaccounts/{account}/token"
        body: JsonObject = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 600},
        }
        return str_at(self.ask("POST", path, body), "status", "token")

    def start(self, *more: str) -> CloudProcess:
        """Start, and wait until it says that it is ready."""
        assert self.process is None
        before = self._ready_lines()
        with self.data.with_suffix(".log").open("ab") as log:
            self.process = forked.start(
                [
                    *self.prefix,
                    sys.executable,
                    "-m",
                    "cloudcore.main",
                    "--data",
                    str(self.data),
                    "--bind",
                    self.bind,
                    "--https-port",
                    "0",
                    "--hub-port",
                    "0",
                    *self.flags,
                    *more,
                ],
                stderr=log,
                stdout=log,
            )
        deadline = time.monotonic() + START_S_MAX
        while self._ready_lines() == before:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"cloudcore did not start:\n{self.log[-3000:]}")
            time.sleep(0.02)
        return self

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop; its exit code."""
        assert self.process is not None
        self.process.send_signal(signum)
        code = self.process.wait(timeout=STOP_S_MAX)
        self.process = None
        return code

    def kubectl(self, *arguments: str, check: bool = True, stdin: str = "", binary: str = "kubectl") -> str:
        """Output of kubectl with the administrator's kubeconfig (stderr too, where a failure is expected)."""
        found = shutil.which(binary)
        if found is None:
            pytest.skip(f"{binary} is not installed")
        environ = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.data), **BRIEF}
        done = subprocess.run(
            [*self.prefix, found, *arguments], env=environ, input=stdin, capture_output=True, text=True, timeout=60
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}\n{self.log[-2000:]}")
        return done.stdout if check else done.stdout + done.stderr

    def skerry(self, *arguments: str) -> str:
        """Output of the skerry command on the data directory."""
        done = self.try_skerry(*arguments)
        done.check_returncode()
        return done.stdout

    def try_skerry(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same, however it ends."""
        command = [*self.prefix, sys.executable, "-m", "skerry.cli.main", *arguments, "--data", str(self.data)]
        return forked.run(command, timeout_s=60)

    def _ready_lines(self) -> int:
        path = self.data.with_suffix(".log")
        return path.read_text(errors="replace").count("cloudcore ready") if path.exists() else 0


@contextmanager
def cloud_process(data: Path, *flags: str) -> Generator[CloudProcess]:
    """A cloud that is there inside the block, and gone after it whatever happens."""
    cloud = CloudProcess(data=data, flags=flags)
    try:
        yield cloud.start()
    finally:
        if cloud.process is not None:
            cloud.process.kill()
            cloud.process.wait()
