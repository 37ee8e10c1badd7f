"""The pods of a Job, each read once for each of its states.

Keeps what it has read of the pods of the Jobs under way, without what they are made of: where one of five thousand
ends, the others would have to be parsed again. A crash loses it, and all are read anew.
"""

from __future__ import annotations

import asyncio
from typing import Final

from cloudcore.controllers.job.model import Job, JobPod, read_pod
from cloudcore.controllers.ownership import selector_of
from cloudcore.runtime.informer import BY_OWNER
from cloudcore.runtime.manager import Tools
from cloudcore.store.port import Stored
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, Revision, controller_of, uid_of
from skerry.objects.select import LabelSelector

_AT_A_TIME: Final = 250
"""Pods looked at before others of the process have their turn."""


class _Held(Frozen):
    """A pod as it was read."""

    revision: Revision
    only_failed: bool
    nowhere: bool
    pod: JobPod | None
    """None for one that is not the Job's own."""


class Observer:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._cache = tools.cache
        self._held: dict[Key, tuple[str, dict[Key, _Held]]] = {}
        """By the Job, with its uid."""

    def forget(self, key: Key) -> None:
        """The Job is gone, or over."""
        self._held.pop(key, None)

    async def observe(self, key: Key, job: Job) -> list[JobPod]:
        """The pods that the Job controls, and that its selector matches.

        Raises `BadRequestError` where it has no selector.
        """
        uid, selector = uid_of(job.obj), selector_of(job.obj)
        known, held = self._held.get(key, ("", {}))
        before = held if known == uid else {}
        now: dict[Key, _Held] = {}
        found = [stored for stored in self._cache.indexed(BY_OWNER, uid) if stored.key.resource == "pods"]
        for number, stored in enumerate(found):
            now[stored.key] = self._look(job, selector, stored, before.get(stored.key))
            if number % _AT_A_TIME == _AT_A_TIME - 1:
                await asyncio.sleep(0)
        self._held[key] = (uid, now)
        return [held.pod for held in now.values() if held.pod is not None]

    def _look(self, job: Job, selector: LabelSelector, stored: Stored, held: _Held | None) -> _Held:
        if held is None or held.revision != stored.revision:
            obj = self._cache.obj(stored)
            controller = controller_of(obj)
            if controller is None or controller.uid != uid_of(job.obj) or not selector.selects(obj):
                return _Held(revision=stored.revision, only_failed=job.only_failed, nowhere=False, pod=None)
            obj = _without_make(obj)
        elif held.pod is None:
            return held
        else:
            obj = held.pod.obj
        nowhere = self._is_nowhere(obj)
        if held is not None and (held.revision, held.only_failed, held.nowhere) == (
            stored.revision,
            job.only_failed,
            nowhere,
        ):
            return held
        pod = read_pod(job, obj, nowhere=nowhere)
        return _Held(revision=stored.revision, only_failed=job.only_failed, nowhere=nowhere, pod=pod)

    def _is_nowhere(self, pod: JsonObject) -> bool:
        node = str_at(pod, "spec", "nodeName")
        return not node or self._cache.read(Key("nodes", "", node)) is None


def _without_make(pod: JsonObject) -> JsonObject:
    """Where it is and how it does: the rest of its spec is as large as all that, and nobody counts by it."""
    metadata = {name: value for name, value in map_at(pod, "metadata").items() if name != "managedFields"}
    return {
        "metadata": metadata,
        "spec": {"nodeName": str_at(pod, "spec", "nodeName")},
        "status": map_at(pod, "status"),
    }
