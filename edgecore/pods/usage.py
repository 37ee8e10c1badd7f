"""What this gateway and its containers use, counted when somebody asks: a source of streams of kind `usage`.

Counts twice, a moment apart, so that rates can be made of it and nothing has to be kept.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

from edgecore.pods.port import Runtime
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, encode_object
from skerry.objects.usage import WINDOW_S, Count, Sample
from skerry.ports import Clock

_WORKING: Final = (0, 1, 2, 5, 6, 7)
"""Of proc_stat(5)'s first line: user, nice, system, irq, softirq, steal. What is left waits."""


class UsageParts(Frozen):
    runtime: Runtime
    clock: Clock
    machine: Callable[[], tuple[int, int]]
    """Nanoseconds that all processors have worked since the boot, and bytes of memory in use."""
    window_s: float = WINDOW_S


class UsageSource:
    """See the module."""

    def __init__(self, parts: UsageParts) -> None:
        self._parts = parts

    async def __call__(self, params: JsonObject, /) -> AsyncGenerator[bytes]:
        first = await self.sample()
        await asyncio.sleep(self._parts.window_s)
        samples: list[Json] = [first.shown(), (await self.sample()).shown()]
        yield encode_object({"samples": samples})

    async def sample(self) -> Sample:
        """As of now. Raises `UnavailableError` where the runtime does not answer."""
        containers = {
            (used.pod_uid, used.name): Count(
                at_ms=used.at_ms, cpu_ns=used.cpu_ns, memory_bytes=used.memory_working_set_bytes
            )
            for used in await self._parts.runtime.usage()
            if used.name
        }
        cpu_ns, memory_bytes = self._parts.machine()
        now_ms = self._parts.clock.wall_ms()
        return Sample(node=Count(at_ms=now_ms, cpu_ns=cpu_ns, memory_bytes=memory_bytes), containers=containers)


def read_load(proc: Path = Path("/proc")) -> tuple[int, int]:
    """Of this machine, as `UsageParts.machine`."""
    fields = (proc / "stat").read_text().split("\n", 1)[0].split()[1:]
    ticks = sum(int(fields[at]) for at in _WORKING if at < len(fields))
    rows = (line.partition(":") for line in (proc / "meminfo").read_text().splitlines())
    memory = {name: int(rest.split()[0]) * 1024 for name, _, rest in rows if rest.strip()}
    used = memory.get("MemTotal", 0) - memory.get("MemAvailable", 0)
    return ticks * (10**9 // os.sysconf("SC_CLK_TCK")), max(0, used)
