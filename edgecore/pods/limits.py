"""Gives running containers other limits, where that does not end them: the shell of `resizing`.

What was agreed to and given is in the pod's record, and is written with it; after a crash in between a container is
given the same once more.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecore.pods.containers import container_of, wanted_of
from edgecore.pods.plan import Seen
from edgecore.pods.port import Resources, Runtime
from edgecore.pods.qos import resources_of
from edgecore.pods.records import PodRecord
from edgecore.pods.resizing import Change, Pending, Room, allocate, changes
from skerry.errors import InvalidError, NotFoundError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, map_at


class Limits:
    """Of one pod."""

    def __init__(self, runtime: Runtime, uid: str) -> None:
        self._runtime = runtime
        self._uid = uid
        self.pending: Pending | None = None
        """Why the pod does not get what it wishes."""
        self.fault = ""
        """Why what was agreed to could not be given."""

    def agreed(self, pod: JsonObject, record: PodRecord, room: Room) -> PodRecord:
        """The record with what the pod has from now on."""
        verdict = allocate(pod, record.allocated, room)
        self.pending = verdict.pending
        return replace(record, allocated=verdict.allocated)

    async def given(self, seen: Seen, record: PodRecord, memory_bytes: int) -> tuple[PodRecord, Mapping[str, int]]:
        """Give running containers what was agreed to since; and the attempts, by name, of those to be restarted for
        it. `memory_bytes`: the gateway's."""
        self.fault = ""
        restarts: dict[str, int] = {}
        given = dict(record.given)
        for change in changes(seen.pod, seen.containers, record.given):
            if change.restart:
                restarts[change.name] = change.attempt
                continue
            container = container_of(seen.pod, change.name)
            fault = await self._give(change, resources_of(seen.pod, container, memory_bytes=memory_bytes))
            self.fault = self.fault or fault
            if not fault:
                given[change.container_id] = map_at(container, "resources")
        return replace(record, given=given), restarts

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
