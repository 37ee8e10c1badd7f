"""What a running pod is given anew, and in which order the kernel hears of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgecore.pods.cgroup_plan import Limits as CgroupLimits
from edgecore.pods.cgroup_tree import CgroupTree
from edgecore.pods.cgroups import CgroupSettings, PodCgroups
from edgecore.pods.limits import Limits
from edgecore.pods.plan import Seen
from edgecore.pods.port import Resources
from edgecore.pods.runtimes.fake import FakeRuntime
from skerry.clocks import ManualClock
from skerry.objects.json import JsonObject
from tests.edgecore.pods.pods_of import container, pod, state

MIB = 1 << 20


class Told(CgroupTree):
    """Keeps what the pod's cgroup was given, in order with what containers are."""

    def __init__(self, nowhere: Path) -> None:
        super().__init__(nowhere)
        self.steps: list[tuple[str, int]] = []
        self.fails = False

    def make(self, steps: Sequence[str], limits: CgroupLimits) -> None:
        if steps[-1] == "poduid-1":
            if self.fails:
                raise OSError(16, "Device or resource busy")
            self.steps.append(("pod", (limits.memory_bytes or 0) // MIB))


class Runtime(FakeRuntime):
    def __init__(self, told: Told) -> None:
        super().__init__(ManualClock())
        self._told = told

    async def update(self, container_id: str, resources: Resources) -> None:
        self._told.steps.append((container_id, resources.memory_bytes // MIB))


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def of(told: Told) -> Limits:
    return Limits(Runtime(told), PodCgroups(CgroupSettings(), told), "uid-1")


def resources(memory: int) -> JsonObject:
    return {"requests": {"memory": f"{memory}Mi"}, "limits": {"memory": f"{memory}Mi"}}


def seen(*containers: JsonObject) -> Seen:
    return Seen(
        pod=pod(*containers),
        containers=[state(str(each["name"])) for each in containers],
        sandboxes=[],
        backoff={},
        problems={},
        terminating=False,
        grace_s=30,
        finished=False,
        now_ms=0,
    )


async def test_a_pods_cgroup_grows_before_its_containers(told: Told) -> None:
    wants = seen(container("a", resources=resources(64)))
    given, restarts = await of(told).given(wants, {"uid-1.a.0": resources(32)}, MIB * 512)
    assert told.steps == [("pod", 64), ("uid-1.a.0", 64)]
    assert (given, restarts) == ({"uid-1.a.0": resources(64)}, {})


async def test_a_pods_cgroup_shrinks_after_its_containers(told: Told) -> None:
    limits = of(told)
    wants = seen(container("a", resources=resources(32)))
    await limits.given(wants, {"uid-1.a.0": resources(64)}, MIB * 512)
    assert told.steps == [("pod", 64), ("uid-1.a.0", 32), ("pod", 32)]


async def test_of_two_containers_one_may_grow_while_the_other_shrinks(told: Told) -> None:
    wants = seen(container("a", resources=resources(10)), container("b", resources=resources(90)))
    had = {"uid-1.a.0": resources(80), "uid-1.b.0": resources(10)}
    await of(told).given(wants, had, MIB * 512)
    assert told.steps == [("pod", 100), ("uid-1.a.0", 10), ("uid-1.b.0", 90)]


async def test_a_cgroup_that_can_not_be_changed_is_told(told: Told) -> None:
    limits = of(told)
    told.fails = True
    wants = seen(container("a", resources=resources(32)))
    given, _ = await limits.given(wants, {"uid-1.a.0": resources(64)}, MIB * 512)
    assert "busy" in limits.fault and given == {"uid-1.a.0": resources(64)}
    told.fails = False
    given, _ = await limits.given(wants, given, MIB * 512)
    assert limits.fault == "" and told.steps[-1] == ("pod", 32)


def test_for_another_sandbox_the_pods_cgroup_is_made_again(told: Told) -> None:
    limits, wants = of(told), pod(container("a", resources=resources(32)))
    for fit in (limits.fit, limits.fit, limits.begin, limits.fit):
        fit(wants, [], {})
    assert told.steps == [("pod", 32), ("pod", 32)]
