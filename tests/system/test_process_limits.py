"""Limits of containers that are processes of the gateway, by its kernel."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgecore.pods.cgroup_plan import Limits
from edgecore.pods.cgroup_tree import MOUNT, CgroupTree
from edgecore.pods.port import ContainerSpec, Resources
from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings
from skerry.clocks import SystemClock
from skerry.frozen import replace
from tests.contracts.runtime_contract import until
from tests.edgecore.pods.runtimes.test_process import shell
from tests.system.containerd import remove_cgroups

pytestmark = pytest.mark.system
MIB = 1 << 20


@pytest.fixture
def tree() -> CgroupTree:
    tree = CgroupTree()
    if os.geteuid() != 0 or tree.fault:
        pytest.skip(f"no cgroups can be made: {tree.fault or 'not root'}")
    return tree


@pytest_asyncio.fixture
async def runtime(tmp_path: Path, tree: CgroupTree) -> AsyncIterator[ProcessRuntime]:
    settings = ProcessSettings(directory=tmp_path / "c", images=tmp_path / "images", cgroups=tree)
    made = ProcessRuntime(settings, SystemClock())
    yield made
    for state in await made.list():
        await made.stop(state.id, grace_s=0)
    await made.close()


@pytest_asyncio.fixture
async def parent(tree: CgroupTree) -> AsyncIterator[str]:
    """Of a pod."""
    name = f"skt{secrets.token_hex(4)}"
    tree.make((name, "poduid-1"), Limits(pids=100))
    yield f"/{name}/poduid-1"
    tree.remove((name,))
    await asyncio.sleep(0.1)
    remove_cgroups(name)


async def limited(
    runtime: ProcessRuntime, tmp_path: Path, parent: str, script: str, resources: Resources
) -> ContainerSpec:
    spec = await shell(runtime, tmp_path, script)
    return replace(spec, sandbox=replace(spec.sandbox, cgroup_parent=parent), resources=resources)


async def test_a_container_is_in_its_pods_cgroup_with_its_commands_and_its_limits_change(
    runtime: ProcessRuntime, tmp_path: Path, parent: str, tree: CgroupTree
) -> None:
    assert runtime.abilities.limits
    wanted = Resources(cpu_shares=256, cpu_quota_us=50_000, memory_bytes=64 * MIB, oom_score_adj=500)
    state = await runtime.start(await limited(runtime, tmp_path, parent, "sleep 1000", wanted))
    done = await runtime.run_in(state.id, ("cat", "/proc/self/cgroup", "/proc/self/oom_score_adj"), timeout_s=20)
    shown = done.output.decode()
    assert f"{parent}/app.0" in shown
    assert shown.splitlines()[-1] == "500"
    base = MOUNT / "memory" if tree.version == 1 else MOUNT
    file = base / parent[1:] / "app.0" / ("memory.limit_in_bytes" if tree.version == 1 else "memory.max")
    assert file.read_text().strip() == str(64 * MIB)
    await runtime.update(state.id, Resources(memory_bytes=80 * MIB))
    assert file.read_text().strip() == str(80 * MIB)
    shares = MOUNT / ("cpu" if tree.version == 1 else "") / parent[1:] / "app.0"
    weight = (shares / ("cpu.shares" if tree.version == 1 else "cpu.weight")).read_text().strip()
    assert weight in {"256", "10"}, "what is not said stays"


async def test_one_whose_memory_is_out_is_told_so(runtime: ProcessRuntime, tmp_path: Path, parent: str) -> None:
    script = "exec tail /dev/zero"
    await runtime.start(await limited(runtime, tmp_path, parent, script, Resources(memory_bytes=24 * MIB)))
    (ended,) = await until(runtime, lambda states: states[0].phase == "exited")
    assert (ended.reason, ended.exit_code, ended.signal) == ("OOMKilled", 137, 9)
