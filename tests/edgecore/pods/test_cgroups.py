"""The cgroups of a gateway's pods, on directories that look like a kernel's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgecore.pods.cgroup_plan import Driver
from edgecore.pods.cgroup_tree import CgroupTree
from edgecore.pods.cgroups import CgroupSettings, PodCgroups
from edgecore.pods.runtimes.apart.processes import oom_kills
from skerry.objects.json import JsonObject
from tests.edgecore.pods.pods_of import container, pod

BUSY: JsonObject = {"requests": {"cpu": "500m", "memory": "16Mi"}}
FILES = ("cpu.weight", "cpu.max", "memory.max", "memory.min", "pids.max", "cgroup.subtree_control")


class Kernel(CgroupTree):
    """Makes the files that a kernel makes in a new cgroup, of v2."""

    def __init__(self, mount: Path) -> None:
        mount.mkdir()
        (mount / "cgroup.controllers").write_text("cpuset cpu memory pids")
        (mount / "cgroup.subtree_control").write_text("")
        super().__init__(mount)
        self.mount = mount

    def _directory(self, place: Path, steps: Sequence[str]) -> None:
        for depth in range(len(steps)):
            super()._directory(place, steps[: depth + 1])
            for name in FILES:
                place.joinpath(*steps[: depth + 1], name).touch()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "cgroup")


def of(kernel: Kernel, name: str) -> str:
    return (kernel.mount / name).read_text()


def test_a_pod_its_class_and_all_pods_get_their_limits(kernel: Kernel) -> None:
    settings = CgroupSettings(cpu_millis=2000, memory_bytes=1 << 30, node_bytes=1 << 30, pids_max=50)
    cgroups = PodCgroups(settings, kernel)
    cgroups.ensure(pod(container(resources=BUSY)))
    assert kernel.version == 2 and kernel.fault == ""
    assert of(kernel, "kubepods/memory.max") == str(1 << 30)
    assert of(kernel, "kubepods/burstable/cpu.weight") == of(kernel, "kubepods/burstable/poduid-1/cpu.weight") == "20"
    assert of(kernel, "kubepods/besteffort/cpu.weight") == "1"
    assert of(kernel, "kubepods/burstable/poduid-1/pids.max") == "50"
    assert cgroups.parent_of(pod()) == "/kubepods/besteffort/poduid-1"
    assert cgroups.unified_of(container()) == (("memory.oom.group", "1"),)


def test_what_is_as_it_was_is_not_written_again(kernel: Kernel) -> None:
    cgroups = PodCgroups(CgroupSettings(), kernel)
    cgroups.ensure(pod(container(resources=BUSY)))
    (kernel.mount / "kubepods/burstable/poduid-1/cpu.weight").write_text("by somebody")
    cgroups.ensure(pod(container(resources=BUSY)))
    assert of(kernel, "kubepods/burstable/poduid-1/cpu.weight") == "by somebody"
    cgroups.ensure(pod(container(resources={"requests": {"cpu": "1"}})))
    assert of(kernel, "kubepods/burstable/poduid-1/cpu.weight") == "39"
    assert of(kernel, "kubepods/burstable/cpu.weight") == "39"


async def test_with_a_pod_its_class_has_less(kernel: Kernel) -> None:
    cgroups = PodCgroups(CgroupSettings(), kernel)
    for uid in ("uid-1", "uid-2"):
        cgroups.ensure(pod(container(resources=BUSY), uid=uid))
    assert of(kernel, "kubepods/burstable/cpu.weight") == "39"
    for file in (kernel.mount / "kubepods/burstable/poduid-2").iterdir():
        file.unlink()  # a kernel's files go with their directory
    await cgroups.remove("uid-2")
    assert not (kernel.mount / "kubepods/burstable/poduid-2").exists()
    assert of(kernel, "kubepods/burstable/cpu.weight") == "20"
    await cgroups.remove("uid-9")


def test_systemd_makes_slices_and_is_told_of_changes(kernel: Kernel) -> None:
    asked: list[Sequence[str]] = []
    known = {"kubepods.slice"}

    def systemd(words: Sequence[str]) -> None:
        asked.append(words[3:])
        if words[3] == "StartTransientUnit" and words[5] in known:
            raise FileExistsError(f"Unit {words[5]} was already loaded")
        known.add(words[5])

    cgroups = PodCgroups(CgroupSettings(), kernel, lambda: "systemd", systemd)
    cgroups.ensure(pod(container(resources=BUSY)))
    assert [(words[0], words[2]) for words in asked] == [
        ("StartTransientUnit", "kubepods.slice"),
        ("SetUnitProperties", "kubepods.slice"),
        ("StartTransientUnit", "kubepods-burstable.slice"),
        ("StartTransientUnit", "kubepods-besteffort.slice"),
        ("StartTransientUnit", "kubepods-burstable-poduid_1.slice"),
    ]
    begun = asked[-1]
    assert begun[1:5] == ["ssa(sv)a(sa(sv))", "kubepods-burstable-poduid_1.slice", "replace", "6"]
    assert len(begun) == 5 + 6 * 3 + 1 and begun[-1] == "0"
    place = kernel.mount / "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poduid_1.slice"
    assert (place / "cpu.weight").read_text() == "20"
    asked.clear()
    cgroups.ensure(pod(container(resources={"requests": {"cpu": "1"}})))
    assert {words[0] for words in asked} == {"SetUnitProperties"}


def test_a_kernel_without_cgroups_is_told(tmp_path: Path) -> None:
    assert "no cgroup controller cpu and none memory" in CgroupTree(tmp_path).fault


def test_on_v1_each_controller_has_a_tree(tmp_path: Path) -> None:
    for name in ("cpu", "memory", "pids", "freezer"):
        (tmp_path / name).mkdir()
    tree = CgroupTree(tmp_path)
    assert tree.version == 1 and tree.fault == ""
    assert tree.places(("a", "b")) == [tmp_path / name / "a" / "b" for name in ("cpu", "memory", "pids")]
    for name in ("memory", "freezer"):
        (tmp_path / name / "a" / "b" / "c").mkdir(parents=True)
    assert tree.remove(("a", "b"))
    assert not (tmp_path / "freezer" / "a" / "b").exists() and (tmp_path / "freezer" / "a").exists()


def test_a_cgroup_that_may_be_gone_is_made_again_with_those_above(kernel: Kernel) -> None:
    cgroups, wants = PodCgroups(CgroupSettings(), kernel), pod(container(resources=BUSY))
    cgroups.ensure(wants)
    for name in ("kubepods", "kubepods/burstable", "kubepods/burstable/poduid-1"):
        (kernel.mount / name / "cpu.weight").write_text("by somebody")
    cgroups.doubt(wants)
    cgroups.ensure(wants)
    assert of(kernel, "kubepods/burstable/poduid-1/cpu.weight") == of(kernel, "kubepods/burstable/cpu.weight") == "20"
    assert of(kernel, "kubepods/cpu.weight") == "1"


class Whole(CgroupTree):
    """A tree as a machine with systemd and cgroup v2 has it: what is delegated, what others made, and the files that
    the kernel gives to each new cgroup."""

    ROOT = (
        ("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n"),
        ("cgroup.subtree_control", "cpuset cpu io memory pids\n"),
        ("init.scope/cgroup.procs", "1\n"),
        ("system.slice/containerd.service/cgroup.procs", "412\n"),
        ("system.slice/cgroup.subtree_control", "memory pids\n"),
    )
    NEW = (
        ("cgroup.procs", ""),
        ("cgroup.subtree_control", ""),
        ("cpu.max", "max 100000\n"),
        ("cpu.weight", "100\n"),
        ("hugetlb.2MB.max", "max\n"),
        ("memory.high", "max\n"),
        ("memory.max", "max\n"),
        ("memory.min", "0\n"),
        ("pids.max", "max\n"),
    )

    def __init__(self, mount: Path) -> None:
        for name, text in self.ROOT:
            file = mount / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        super().__init__(mount)
        self.mount = mount

    def _directory(self, place: Path, steps: Sequence[str]) -> None:
        for depth in range(len(steps)):
            there = place.joinpath(*steps[: depth + 1])
            is_new = not there.exists()
            super()._directory(place, steps[: depth + 1])
            for name, text in self.NEW if is_new else ():
                (there / name).write_text(text)
                above = (there.parent / "cgroup.controllers").read_text()
                (there / "cgroup.controllers").write_text(above)


FIRM: JsonObject = {"limits": {"cpu": "250m", "memory": "64Mi", "hugepages-2Mi": "8Mi"}}
LOOSE: JsonObject = {"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"memory": "48Mi"}}


@pytest.mark.parametrize("driver", ["cgroupfs", "systemd"])
def test_pods_of_each_class_have_their_place_and_limits_on_a_whole_v2_tree(tmp_path: Path, driver: Driver) -> None:
    tree, asked = Whole(tmp_path / "cgroup"), list[Sequence[str]]()
    settings = CgroupSettings(cpu_millis=4000, memory_bytes=1 << 30, node_bytes=1 << 30, pids_max=64, memory_qos=True)
    cgroups = PodCgroups(settings, tree, lambda: driver, asked.append)
    pods = {
        "guaranteed": pod(container(resources=FIRM), uid="guaranteed"),
        "burstable": pod(container(resources=LOOSE), uid="burstable"),
        "besteffort": pod(uid="besteffort"),
    }
    for each in pods.values():
        cgroups.ensure(each)

    def held(uid: str) -> dict[str, str]:
        place = tree.mount / cgroups.parent_of(pods[uid]).strip("/")
        now = {name: (place / name).read_text().strip() for name, _ in Whole.NEW}
        return {name: now[name] for name, text in Whole.NEW if now[name] != text.strip()}

    assert held("guaranteed") == {
        "cpu.max": "25000 100000",
        "cpu.weight": "10",
        "hugetlb.2MB.max": str(8 << 20),
        "memory.max": str(64 << 20),
        "memory.min": str(64 << 20),
        "pids.max": "64",
    }
    assert held("burstable") == {
        "cpu.weight": "4",
        "memory.max": str(48 << 20),
        "memory.min": str(16 << 20),
        "pids.max": "64",
    }
    assert held("besteffort") == {"cpu.weight": "1", "pids.max": "64"}
    everybody = "kubepods" if driver == "cgroupfs" else "kubepods.slice"
    above = tree.mount / everybody
    assert (above / "memory.max").read_text() == str(1 << 30)
    assert (above / "cpu.weight").read_text() == "157"
    on = (above / "cgroup.subtree_control").read_text()
    assert on == "+pids", "the last that was switched on: each is one write"
    assert bool(asked) == (driver == "systemd")
    told = {words[5]: words for words in asked if words[3] == "StartTransientUnit"}
    if driver == "systemd":
        burstable = told["kubepods-burstable-podburstable.slice"]
        at = burstable.index("MemoryMax")
        assert burstable[at : at + 3] == ["MemoryMax", "t", str(48 << 20)]
        assert burstable[burstable.index("CPUWeight") + 2] == "4"
        assert {"kubepods-podguaranteed.slice", "kubepods-besteffort-podbesteffort.slice"} <= told.keys()


def test_what_ends_for_want_of_memory_is_seen_in_a_v2_tree(tmp_path: Path) -> None:
    place = tmp_path / "kubepods/burstable/podx/app"
    place.mkdir(parents=True)
    (place / "memory.events").write_text("low 0\nhigh 12\nmax 407\noom 3\noom_kill 2\noom_group_kill 1\n")
    assert oom_kills({"cgroup": [bytes(place)]}) == 2
