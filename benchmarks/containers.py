"""A gateway with ten pods in containerd and no cloud: what the agent takes, and how soon all run.

    python -m benchmarks containers

The agent is a real process, so is containerd; its images are Debian's static busybox, made and imported here. Times
are from the start of the agent's process to the last container's first act, which is to make a file: nobody is asked
meanwhile. Memory is resident, of the agent alone; CPU is the agent's in a minute in which nothing happens. Needs
root, and Debian's containerd, runc, containernetworking-plugins and busybox-static.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.edge_memory import ENVIRONMENT, figures_mb, until
from edgecore.link.membership import Credentials, save_membership
from edgecore.store.port import EdgeBatch, Held, OutboxBudgets
from edgecore.store.sqlite import StoreSettings, open_store
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp

if TYPE_CHECKING:
    from tests.system.containerd import Containerd

PODS: Final = 10
RUNS: Final = 3
SETTLE_S: Final = 10.0
MINUTE_S: Final = 60.0
MEMORY_MB: Final = 50
CPU_S: Final = 0.4
START_S: Final = 1.5


class Gateway:
    """One data directory; agents on it come and go."""

    def __init__(self, folder: Path, containerd: Containerd, image: str) -> None:
        self._image = image
        self.data = folder / "edge"
        self.signs = folder / "signs"
        self._containerd = containerd
        self._agent: subprocess.Popen[bytes] | None = None
        for made in (self.data, self.signs):
            made.mkdir()
        nobody = Credentials(key_pem="none", certificate_pem="none", ca_pem="none")
        save_membership(self.data, nobody, node="bench", clouds=("127.0.0.1:1",), renew_after_ms=1 << 45)
        store = open_store(
            StoreSettings(directory=self.data / "store", boot_id="b", budgets=OutboxBudgets()),
            SystemClock(),
            SystemIds(),
        ).store
        store.apply(EdgeBatch(puts=tuple(self._held(number) for number in range(PODS))))
        store.close()

    def _held(self, number: int) -> Held:
        name = f"app-{number}"
        obj = self._pod(name)
        stamp = Stamp(f"00000000-0000-4000-8000-{number:012}", Revision(number + 1))
        return Held(key=Key("pods", "default", name), stamp=stamp, body=encode_object(obj))

    def _pod(self, name: str) -> JsonObject:
        script = f"trap 'exit 0' TERM; echo $$ > /signs/{name}; sleep 100000 & wait"
        number = int(name.rpartition("-")[2])
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": f"00000000-0000-4000-8000-{number:012}",
                "generation": 1,
            },
            "spec": {
                "nodeName": "bench",
                "terminationGracePeriodSeconds": 2,
                "automountServiceAccountToken": False,
                "volumes": [{"name": "signs", "hostPath": {"path": str(self.signs)}}],
                "containers": [
                    {
                        "name": "app",
                        "image": self._image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["sh", "-c", script],
                        "volumeMounts": [{"name": "signs", "mountPath": "/signs"}],
                    }
                ],
            },
        }

    def start(self) -> float:
        """Seconds until all pods run."""
        for sign in self.signs.iterdir():
            sign.unlink()
        command = [sys.executable, "-m", "edgecore.main", "run", "--data", self.data]
        command += ["--runtime", "containerd", "--runtime-endpoint", self._containerd.endpoint]
        begun = time.monotonic()
        with self.data.with_suffix(".log").open("ab") as log:
            self._agent = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, env=ENVIRONMENT)
        until(lambda: len(list(self.signs.iterdir())) == PODS, f"{PODS} pods: {self.data.with_suffix('.log')}")
        return time.monotonic() - begun

    def kill_all(self) -> None:
        """As a loss of power would, but for containerd, which a gateway's boot starts."""
        assert self._agent is not None
        self._agent.kill()
        self._agent.wait()
        for pid in self._containerd.pids().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self._containerd.pids(), "containerd to notice")

    def footprint(self) -> tuple[float, float]:
        """Resident megabytes, and seconds of CPU in a minute."""
        assert self._agent is not None
        time.sleep(SETTLE_S)
        before, begun = _cpu_s(self._agent.pid), time.monotonic()
        time.sleep(MINUTE_S)
        used = (_cpu_s(self._agent.pid) - before) * 60 / (time.monotonic() - begun)
        return figures_mb(self._agent.pid)["Rss"], used

    def end(self) -> None:
        if self._agent is not None and self._agent.poll() is None:
            self._agent.kill()
            self._agent.wait()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> Sequence[tuple[str, str]]:
    from tests.system.containerd import BUSYBOX_IMAGE, containerd_server  # of the repository, as this program is

    first: list[float] = []
    again: list[float] = []
    memory = cpu = 0.0
    for run in range(RUNS):
        with containerd_server() as containerd, tempfile.TemporaryDirectory() as folder:
            gateway = Gateway(Path(folder), containerd, BUSYBOX_IMAGE)
            try:
                first.append(gateway.start())
                gateway.kill_all()
                again.append(gateway.start())
                if run == 0:
                    memory, cpu = gateway.footprint()
            finally:
                gateway.end()
                containerd.clear()
    return (
        (f"resident memory with {PODS} pods", f"{memory:.1f} MB (at most {MEMORY_MB})"),
        (f"CPU in a minute with {PODS} pods", f"{cpu:.2f} s (at most {CPU_S})"),
        (f"cold start, {PODS} pods in the store", f"{statistics.median(first):.2f} s (at most {START_S})"),
        (f"agent and containers killed, {PODS} pods again", f"{statistics.median(again):.2f} s (at most {START_S})"),
    )
