"""A gateway counts what is used twice, when it is asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

from edgecore.pods.port import ContainerUsage
from edgecore.pods.runtimes.fake import FakeRuntime
from edgecore.pods.usage import UsageParts, UsageSource, read_load
from skerry.clocks import ManualClock
from skerry.objects.usage import Count, Sample
from tests.contracts.runtime_contract import Programs, spec_of

PROGRAMS = Programs(
    runs=("run",),
    exits_3=(),
    cannot_start=(),
    ignores_term=(),
    image="app",
    says_hello_and_fails=(),
    repeats=(),
    hangs=(),
)


async def test_two_samples_are_told(tmp_path: Path) -> None:
    clock = ManualClock()
    runtime = FakeRuntime(clock)
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    runtime.used[state.id] = ContainerUsage(
        pod_uid="uid-1", name="app", at_ms=5, cpu_ns=6, memory_working_set_bytes=7
    )
    source = UsageSource(UsageParts(runtime=runtime, clock=clock, machine=lambda: (8, 9), window_s=0.0))
    (answer,) = [piece async for piece in source({})]
    samples = [Sample.read(each) for each in json.loads(answer)["samples"]]
    node = Count(at_ms=clock.wall_ms(), cpu_ns=8, memory_bytes=9)
    containers = {("uid-1", "app"): Count(at_ms=5, cpu_ns=6, memory_bytes=7)}
    assert samples == [Sample(node=node, containers=containers)] * 2


def test_the_machine_is_read_as_proc_tells_it(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 1 1\n")
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:  30 kB\nHugePages_Total: 0\n")
    assert read_load(tmp_path) == (63 * (10**9 // os.sysconf("SC_CLK_TCK")), 70 * 1024)
    assert read_load()[1] > 0
