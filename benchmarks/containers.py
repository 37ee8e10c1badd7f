"""A gateway with ten pods and no cloud: what the agent takes, and how soon all run, beside a bare client of CRI.

    python -m benchmarks containers

The agent is a real process, so is containerd; its images are Debian's static busybox, made and imported here. Times
are from the start of the agent's process to the last container's first act, which is to make a file: nobody is asked
meanwhile. Memory is resident, of the agent alone; CPU is the agent's in a minute in which nothing happens. The floor
is what the same ten sandboxes and containers take a client that only asks for them, all at once, in the same run and
without its own start. KubeEdge's figures were measured elsewhere, on a machine of the same kind (2 cores, busy
neighbours), and stand beside ours for their size. Needs root, and Debian's containerd, runc,
containernetworking-plugins and busybox-static.
"""

from __future__ import annotations

import asyncio
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

from benchmarks.edge_memory import ENVIRONMENT, figures_mb, supervisors, until
from edgecore.link.membership import Credentials, save_membership
from edgecore.pods.runtimes.cri import messages as cri
from edgecore.pods.runtimes.cri.schema import RUNTIME, RUNTIME_CALLS, TABLE
from edgecore.store.opening import open_store
from edgecore.store.port import EdgeBatch, Held, OutboxBudgets
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.transport.grpc import Peer

if TYPE_CHECKING:
    from tests.system.containerd import Containerd

PODS: Final = 10
RUNS: Final = 3
SETTLE_S: Final = 10.0
MINUTE_S: Final = 60.0
MEMORY_MB: Final = 50
CPU_S: Final = 0.4
START_S: Final = 1.5
PROCESSES_S: Final = 1.0
CALL_S: Final = 60.0


class Gateway:
    """One data directory; agents on it come and go."""

    def __init__(self, folder: Path, containerd: Containerd | None, image: str) -> None:
        """`containerd`: None for pods that are processes."""
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
        signs = self.signs if self._containerd is None else "/signs"
        script = script_of(f"{signs}/{name}").replace("$", "$$")  # Kubernetes takes one of two
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
        if self._containerd is None:
            command += ["--runtime", "process"]
        else:
            command += ["--runtime", "containerd", "--runtime-endpoint", self._containerd.endpoint]
            command += ["--cgroup-root", self._containerd.cgroup_root]
        begun = time.monotonic()
        with self.data.with_suffix(".log").open("ab") as log:
            self._agent = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, env=ENVIRONMENT)
        until(lambda: len(list(self.signs.iterdir())) == PODS, f"{PODS} pods: {self.data.with_suffix('.log')}")
        return time.monotonic() - begun

    def kill_all(self) -> None:
        """As a loss of power would, but for containerd, which a gateway's boot starts."""
        self.end()
        if self._containerd is None:
            for pid in supervisors(self.data):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(os.getpgid(pid), signal.SIGKILL)
            for sign in self.signs.iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(os.getpgid(int(sign.read_text())), signal.SIGKILL)
            until(lambda: not supervisors(self.data), "the processes to end")
            return
        containerd = self._containerd
        for pid in containerd.pids().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not containerd.pids(), "containerd to notice")

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


def script_of(sign: str) -> str:
    return f"trap 'exit 0' TERM; echo $$ > {sign}; sleep 100000 & wait"


async def floor(containerd: Containerd, folder: Path, image: str) -> float:
    """Seconds that the same pods take without an agent."""
    signs = folder / "floor"
    signs.mkdir()
    peer = Peer(str(containerd.socket), RUNTIME, RUNTIME_CALLS, TABLE, bytes_max=1 << 24)
    sandboxes: list[str] = []
    alone = cri.NamespaceOption(pid=1)

    async def one(number: int) -> None:
        name, logs = f"bare-{number}", folder / "floor-logs" / str(number)
        (logs / "app").mkdir(parents=True)
        config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="default", attempt=0),
            hostname=name,
            log_directory=str(logs),
            linux=cri.LinuxPodSandboxConfig(
                security_context=cri.LinuxSandboxSecurityContext(namespace_options=alone)
            ),
        )
        sandbox = await peer.call("RunPodSandbox", cri.RunPodSandboxRequest(config=config), timeout_s=CALL_S)
        sandboxes.append(sandbox.pod_sandbox_id)
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="app", attempt=0),
            image=cri.ImageSpec(image=image),
            command=("sh", "-c", script_of(f"/signs/{name}")),
            log_path="app/0.log",
            mounts=(cri.Mount(container_path="/signs", host_path=str(signs)),),
            linux=cri.LinuxContainerConfig(
                security_context=cri.LinuxContainerSecurityContext(namespace_options=alone)
            ),
        )
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox.pod_sandbox_id, config=container, sandbox_config=config
        )
        made = await peer.call("CreateContainer", request, timeout_s=CALL_S)
        await peer.call("StartContainer", cri.ContainerId(container_id=made.container_id), timeout_s=CALL_S)

    try:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(PODS):
                tasks.create_task(one(number))
        await asyncio.to_thread(until, lambda: len(list(signs.iterdir())) == PODS, "the floor")
        took = time.monotonic() - begun
        for each in sandboxes:
            for call in ("StopPodSandbox", "RemovePodSandbox"):
                await peer.call(call, cri.SandboxId(pod_sandbox_id=each), timeout_s=CALL_S)
        return took
    finally:
        peer.close()


def processes() -> tuple[float, float]:
    """Seconds until ten pods of processes run: at a first start, and after all was killed."""
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder), None, "sh")
        try:
            first = gateway.start()
            gateway.kill_all()
            return first, gateway.start()
        finally:
            gateway.kill_all()


def main() -> Sequence[tuple[str, str]]:
    from tests.system.containerd import BUSYBOX_IMAGE, containerd_server  # of the repository, as this program is

    first: list[float] = []
    again: list[float] = []
    floors: list[float] = []
    memory = cpu = 0.0
    for run in range(RUNS):
        with containerd_server() as containerd, tempfile.TemporaryDirectory() as folder:
            gateway = Gateway(Path(folder), containerd, BUSYBOX_IMAGE)
            try:
                floors.append(asyncio.run(floor(containerd, Path(folder), BUSYBOX_IMAGE)))
                first.append(gateway.start())
                gateway.kill_all()
                again.append(gateway.start())
                if run == 0:
                    memory, cpu = gateway.footprint()
            finally:
                gateway.end()
                containerd.clear()
    bare, cold, warm = (statistics.median(each) for each in (floors, first, again))
    plain, plain_again = (statistics.median(each) for each in zip(*(processes() for _ in range(RUNS)), strict=True))
    return (
        (f"resident memory with {PODS} pods", f"{memory:.1f} MB (at most {MEMORY_MB}; KubeEdge 100.8)"),
        (f"CPU in a minute with {PODS} pods", f"{cpu:.2f} s (at most {CPU_S}; KubeEdge 0.72)"),
        (f"floor: a bare client makes {PODS} sandboxes and containers", f"{bare:.2f} s"),
        (f"cold start, {PODS} pods in the store", f"{cold:.2f} s, {cold / bare:.1f} floors (at most {START_S} s)"),
        (
            f"agent and containers killed, {PODS} pods again",
            f"{warm:.2f} s, {warm / bare:.1f} floors (at most {START_S} s; KubeEdge 1.8 to 2.0)",
        ),
        (f"cold start, {PODS} pods of processes", f"{plain:.2f} s (at most {PROCESSES_S})"),
        (f"agent and processes killed, {PODS} pods again", f"{plain_again:.2f} s (at most {PROCESSES_S})"),
    )
