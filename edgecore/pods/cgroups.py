"""The cgroups of this gateway's pods: made before a pod's sandbox, changed with what it asks for, gone with it.

Keeps which pods it has made one for, and what it wrote; a restarted agent makes them again, which changes nothing.
With the systemd driver the cgroups are systemd's slices, and systemd is asked by its own tool, `busctl`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from edgecore.pods.cgroup_plan import (
    CLASSES,
    PODS,
    Driver,
    Limits,
    class_of,
    limits_of,
    limits_of_class,
    path_of,
    slice_of,
    steps_of,
    steps_to,
    unified_of,
    unit_properties,
    widest,
)
from edgecore.pods.cgroup_tree import CgroupTree
from edgecore.pods.qos import shares_of
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import uid_of

log = logging.getLogger(__name__)

REMOVALS: Final = 40
REMOVAL_S: Final = 0.05
"""Between two tries: what was killed is not gone at once."""
BUSCTL_S: Final = 20.0
_MANAGER: Final = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


class CgroupSettings(Frozen):
    top: str = "/"
    """The cgroup below which those of the pods are: a kubelet's cgroupRoot."""
    pids_max: int = 0
    """Processes and threads of a pod, a kubelet's podPidsLimit; 0: as many as it likes."""
    memory_qos: bool = False
    """On cgroup v2: keep what was asked for, and slow down before the end (a kubelet's MemoryQoS, off as well)."""
    cpu_millis: int = 0
    """What all pods together may use; 0: not told."""
    memory_bytes: int = 0
    """The same of memory."""
    node_bytes: int = 0
    """All the memory of the gateway."""


class PodCgroups:
    """See the module."""

    def __init__(
        self,
        settings: CgroupSettings,
        tree: CgroupTree,
        driver: Callable[[], Driver] = lambda: "cgroupfs",
        ask: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        """`driver`: which the runtime has; it may be known late. `ask`: `busctl`."""
        self._settings = settings
        self._tree = tree
        self._driver = driver
        self._ask = ask or busctl
        self._pods: dict[str, JsonObject] = {}
        self._written: dict[tuple[str, ...], Limits] = {}

    def parent_of(self, pod: JsonObject) -> str:
        """The pod's cgroup, as a runtime is told it."""
        return path_of(steps_of(self._settings.top, pod), self._driver())

    def unified_of(self, container: JsonObject) -> tuple[tuple[str, str], ...]:
        """What a container has on cgroup v2 alone; nothing on v1."""
        if self._tree.version == 1:
            return ()
        settings = self._settings
        return unified_of(container, node_bytes=settings.node_bytes, memory_qos=settings.memory_qos)

    def ensure(self, pod: JsonObject, was: JsonObject | None = None) -> None:
        """The pod's cgroup and those above it have the limits that they are to have. Raises `OSError`.

        `was`: the pod as its containers have it still; its cgroup has room for both then, and is made narrower by
        another call when they follow.
        """
        self._pods[uid_of(pod)] = pod
        self._classes()
        limits = self._limits(pod)
        self._make(steps_of(self._settings.top, pod), limits if was is None else widest(limits, self._limits(was)))

    def doubt(self, pod: JsonObject) -> None:
        """Make its cgroup and those above it again at the next `ensure`, whatever was written."""
        steps = steps_of(self._settings.top, pod)
        for depth in range(len(steps)):
            self._written.pop(steps[: depth + 1], None)

    def _limits(self, pod: JsonObject) -> Limits:
        settings = self._settings
        return limits_of(pod, pids=settings.pids_max or None, memory_qos=settings.memory_qos)

    def _classes(self) -> None:
        settings = self._settings
        everybody = Limits(cpu_shares=shares_of(settings.cpu_millis), memory_bytes=settings.memory_bytes or None)
        self._make(steps_to(settings.top, PODS), everybody)
        for name in CLASSES:
            pods = [pod for pod in self._pods.values() if class_of(pod) == name]
            limits = limits_of_class(name, pods, memory_qos=settings.memory_qos)
            self._make(steps_to(settings.top, PODS, name), limits)

    def _make(self, steps: tuple[str, ...], limits: Limits) -> None:
        if self._written.get(steps) == limits:
            return
        if self._driver() == "systemd":
            self._slice(steps, limits)
            # systemd knows no huge pages, and has made the directories.
            self._tree.make(tuple(slice_of(steps[: depth + 1]) for depth in range(len(steps))), limits)
        else:
            self._tree.make(steps, limits)
        self._written[steps] = limits

    def _slice(self, steps: tuple[str, ...], limits: Limits) -> None:
        name = slice_of(steps)
        properties = unit_properties(limits, self._tree.version)
        told = [word for each in properties for word in each]
        what = ["Description", "s", "pods of Skerry", "DefaultDependencies", "b", "false", *told]
        if steps not in self._written:
            with contextlib.suppress(FileExistsError):
                count = str(len(properties) + 2)
                self._ask([*_MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", name, "replace", count, *what, "0"])
                return
        self._ask([*_MANAGER, "SetUnitProperties", "sba(sv)", name, "true", str(len(properties)), *told])

    async def remove(self, uid: str) -> None:
        """All that is left of a pod. What can't be removed is said; it costs next to nothing."""
        known = self._pods.pop(uid, None)
        names = [class_of(known)] if known is not None else ["", *CLASSES]
        for name in names:
            steps = steps_to(self._settings.top, PODS, name, f"pod{uid}")
            self._written.pop(steps, None)
            if not await self._removed(steps):
                log.warning("a cgroup of a pod is not removed cgroup=%s", "/".join(steps))
        if known is not None:
            try:
                self._classes()
            except OSError as error:
                log.warning("cgroups are not adjusted reason=%s", error)

    async def _removed(self, steps: tuple[str, ...]) -> bool:
        where = steps
        if self._driver() == "systemd":
            where = tuple(slice_of(steps[: depth + 1]) for depth in range(len(steps)))
            with contextlib.suppress(OSError):  # it is not there
                self._ask([*_MANAGER, "StopUnit", "ss", slice_of(steps), "replace"])
        for _ in range(REMOVALS):
            if self._tree.remove(where):
                return True
            await asyncio.sleep(REMOVAL_S)
        return False


def busctl(words: Sequence[str]) -> None:
    """Call systemd. Raises `FileExistsError` (there is such a unit), `OSError` with what it says."""
    try:
        command = ["busctl", "--system", "--quiet", "call", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUSCTL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"systemd does not answer: {error}") from error
    said = done.stderr.strip() or done.stdout.strip()
    if done.returncode and "already" in said:  # UnitExists, in words of several versions
        raise FileExistsError(said)
    if done.returncode:
        raise OSError(f"systemd: {said}")
