"""Gives running containers other limits, where that does not end them, and the pod's cgroup room for them before,
and no more than that afterwards: the shell of `resizing`.

What was agreed to and given is in the pod's record, and is written with it; after a crash in between a container is
given the same once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecore.pods.cgroups import PodCgroups
from edgecore.pods.containers import container_of, wanted_of
from edgecore.pods.plan import Seen
from edgecore.pods.port import ContainerState, Resources, Runtime
from edgecore.pods.qos import resources_of
from edgecore.pods.records import PodRecord
from edgecore.pods.resizing import (
    Allocation,
    Change,
    Pending,
    Room,
    allocate,
    asked_by,
    changes,
    with_allocation,
)
from skerry.errors import InvalidError, NotFoundError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, map_at


class Limits:
    """Of one pod."""

    def __init__(self, runtime: Runtime, cgroups: PodCgroups | None, uid: str) -> None:
        self._runtime = runtime
        self._cgroups = cgroups
        self._uid = uid
        self._fitted: tuple[Mapping[str, JsonObject], Mapping[str, JsonObject]] | None = None
        """What the pod's cgroup was last made for: what was allocated, and what containers had."""
        self.pending: Pending | None = None
        """Why the pod does not get what it wishes."""
        self.fault = ""
        """Why what was agreed to could not be given."""

    def agreed(self, pod: JsonObject, record: PodRecord, room: Room) -> PodRecord:
        """The record with what the pod has from now on."""
        verdict = allocate(pod, record.allocated, room)
        self.pending = verdict.pending
        return replace(record, allocated=verdict.allocated)

    def begin(self, pod: JsonObject, containers: Sequence[ContainerState], given: Allocation) -> None:
        """The same as `fit`, for a sandbox that is about to be made: whatever was done for the last one, the pod's
        cgroup may be gone since, with it or by somebody's hand. Raises `OSError`."""
        self._fitted = None
        if self._cgroups is not None:
            self._cgroups.doubt(pod)
        self.fit(pod, containers, given)

    def fit(self, pod: JsonObject, containers: Sequence[ContainerState], given: Allocation) -> None:
        """The pod's cgroup has room for what its containers have, and for what they are to have. Raises `OSError`."""
        if self._cgroups is None:
            return
        has = {run.name: given[run.id] for run in containers if run.phase == "running" and run.id in given}
        wanted = asked_by(pod), has
        if wanted != self._fitted:
            self._cgroups.ensure(pod, with_allocation(pod, has))
            self._fitted = wanted

    async def given(
        self, seen: Seen, given: Allocation, memory_bytes: int
    ) -> tuple[Mapping[str, JsonObject], Mapping[str, int]]:
        """Give running containers what was agreed to since they were given that: what they have now, by id, and the
        attempts, by name, of those to be restarted for it. `memory_bytes`: the gateway's."""
        self.fault, restarts = "", dict[str, int]()
        try:
            if seen.containers:
                self.fit(seen.pod, seen.containers, given)
            given, restarts = await self._all_given(seen, given, memory_bytes)
            if seen.containers:
                self.fit(seen.pod, seen.containers, given)
        except OSError as error:
            self.fault = self.fault or f"the cgroup of the pod can't be changed: {error}"
        return given, restarts

    async def _all_given(
        self, seen: Seen, had: Allocation, memory_bytes: int
    ) -> tuple[dict[str, JsonObject], dict[str, int]]:
        restarts: dict[str, int] = {}
        given = dict(had)
        for change in changes(seen.pod, seen.containers, had):
            if change.restart:
                restarts[change.name] = change.attempt
                continue
            container = container_of(seen.pod, change.name)
            wanted = resources_of(seen.pod, container, memory_bytes=memory_bytes)
            if self._cgroups is not None:
                wanted = replace(wanted, unified=self._cgroups.unified_of(container))
            fault = await self._give(change, wanted)
            self.fault = self.fault or fault
            if not fault:
                given[change.container_id] = map_at(container, "resources")
        return given, restarts

    async def _give(self, change: Change, wanted: Resources) -> str:
        """Why it could not be given; "" where it was, or where limits are only counted."""
        if not self._runtime.abilities.limits:
            return ""
        # cgroup v2 would end who uses more than it may from now on, where v1 refuses.
        used = [use for use in await self._runtime.usage() if (use.pod_uid, use.name) == (self._uid, change.name)]
        if wanted.memory_bytes and used and used[0].memory_working_set_bytes > wanted.memory_bytes:
            usage = used[0].memory_working_set_bytes
            return f"attempting to set container memory limit ({wanted.memory_bytes}) below current usage ({usage})"
        try:
            await self._runtime.update(change.container_id, wanted)
        except NotFoundError:
            return ""  # it has ended meanwhile; the next run has it from its start
        except InvalidError as error:
            return str(error)
        return ""


def keep_given(seen: Seen, record: PodRecord) -> PodRecord:
    """What runs now was given what is allocated now, unless it runs for longer."""
    specs = {one.name: one.spec for one in wanted_of(seen.pod)}
    running = [run for run in seen.containers if run.phase == "running" and run.name in specs]
    known = record.given
    return replace(record, given={run.id: known.get(run.id, map_at(specs[run.name], "resources")) for run in running})
