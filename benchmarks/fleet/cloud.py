"""A real `cloudcore` on a prepared directory, and the gateways' process beside it: started, asked, measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fleet.world import World

ROOT = Path(__file__).parents[2]
START_S_MAX = 120.0


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used so far, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Cloud:
    """One process on one directory."""

    data: Path
    flags: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self) -> None:
        """Returns when gateways can dial. The port stays the same over restarts."""
        (self.data / "endpoints.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "cloudcore.main", "--data", str(self.data), "--bind", "127.0.0.1"]
        command += ["--https-port", "0", "--hub-port", str(self.port), "--log-level", "warning", *self.flags]
        with self.data.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        deadline_s = time.monotonic() + START_S_MAX
        while not (self.data / "endpoints.json").exists():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"cloudcore did not start: {self.data.with_suffix('.log').read_text()[-2000:]}")
            time.sleep(0.02)
        self.port = int(json.loads((self.data / "endpoints.json").read_text())["hub_port"])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def resident_mib(self) -> float:
        """Memory that the process has in RAM, shared libraries included."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise SystemExit("cloudcore is gone")

    @property
    def cpu_s(self) -> float:
        """Processor seconds used so far."""
        assert self.process is not None
        return cpu_s(self.process.pid)


@dataclass(slots=True)
class Gateways:
    """The process of the simulated gateways."""

    world: World
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        command = [
            sys.executable,
            "-m",
            "benchmarks.fleet.gateways",
            str(self.world.data),
            "127.0.0.1",
            str(self.port),
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def tell(self, do: str, **more: Any) -> dict[str, Any]:
        """Give an order; what they have seen by now."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise SystemExit("the gateways' process ended")
        return json.loads(line)

    def until(self, what: str, count: int, *, within_s: float = 600, every_s: float = 0.1) -> float:
        """Wait until that many are seen; how long it took."""
        began_s = time.monotonic()
        while (seen := self.tell("look"))[what] < count:
            if time.monotonic() > began_s + within_s:
                raise SystemExit(f"only {seen} after {within_s} s")
            time.sleep(every_s)
        return time.monotonic() - began_s

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def fleet(world: World, *flags: str) -> Generator[tuple[Cloud, Gateways]]:
    """Both, for the block."""
    cloud = Cloud(data=world.data, flags=flags)
    cloud.start()
    gateways = Gateways(world=world, port=cloud.port)
    try:
        yield cloud, gateways
    finally:
        gateways.end()
        cloud.kill()
