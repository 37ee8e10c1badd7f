"""Events: what controllers tell people about an object, as `kubectl describe` shows it.

The same thing said again about the same object raises the count of the Event that is there. Keeps the names of the
last few thousand Events said; after a crash the next one is written as a new Event. Events are hints: a namespace
that is going away takes no more, and none is worth failing the work it tells of.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal

from cloudcore.registry.port import Objects
from skerry.errors import CallerError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, int_at, str_at
from skerry.objects.meta import Key, name_of, namespace_of, uid_of
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text
from skerry.ports import Clock

_REMEMBERED_MAX: Final = 4096
_MESSAGE_LENGTH_MAX: Final = 1024
"""Kubernetes refuses longer notes (events.k8s.io validation)."""
_SERIES_MS_MAX: Final = 10 * 60_000
"""After ten silent minutes the same thing is news again."""


class Saying(Frozen):
    """What is told."""

    type: Literal["Normal", "Warning"]
    reason: str
    """CamelCase, for machines."""
    message: str


class _Said(Frozen, kw_only=False):
    key: Key
    at_ms: int


class EventRecorder:
    """Writes core/v1 Events in the name of one component."""

    def __init__(self, objects: Objects, kind: Kind, clock: Clock, *, component: str) -> None:
        self._objects = objects
        self._kind = kind
        self._clock = clock
        self._component = component
        self._said: OrderedDict[tuple[str, str, str, str], _Said] = OrderedDict()

    async def say(self, about: JsonObject, saying: Saying) -> None:
        """Tell something about an object. Raises `UnavailableError` when the store can't take it now."""
        said = (uid_of(about), saying.type, saying.reason, saying.message)
        now_ms = self._clock.wall_ms()
        before = self._said.get(said)
        try:
            if before is not None and now_ms - before.at_ms < _SERIES_MS_MAX:
                key = await self._again(before.key, now_ms)
            else:
                key = await self._first(about, saying, now_ms)
        except NotFoundError:
            # It has expired since, or its namespace is gone: the next saying starts afresh.
            self._said.pop(said, None)
            return
        except CallerError:
            # The namespace is terminating, say. An Event has no reader there.
            return
        self._said[said] = _Said(key, now_ms)
        self._said.move_to_end(said)
        if len(self._said) > _REMEMBERED_MAX:
            self._said.popitem(last=False)

    async def _again(self, key: Key, now_ms: int) -> Key:
        def counted(event: JsonObject) -> JsonObject:
            return {**event, "count": int_at(event, "count", default=1) + 1, "lastTimestamp": time_text(now_ms)}

        await self._objects.update(self._kind, key, counted)
        return key

    async def _first(self, about: JsonObject, saying: Saying, now_ms: int) -> Key:
        # Events of cluster-scoped objects live in `default`, as everywhere in Kubernetes.
        namespace = namespace_of(about) or "default"
        event: JsonObject = {
            "metadata": {"generateName": f"{name_of(about)[:200]}.", "namespace": namespace},
            "involvedObject": {
                "kind": str_at(about, "kind"),
                "namespace": namespace_of(about),
                "name": name_of(about),
                "uid": uid_of(about),
                "apiVersion": str_at(about, "apiVersion"),
                "resourceVersion": str_at(about, "metadata", "resourceVersion"),
            },
            "reason": saying.reason,
            "message": saying.message[:_MESSAGE_LENGTH_MAX],
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": time_text(now_ms),
            "lastTimestamp": time_text(now_ms),
            "count": 1,
            "type": saying.type,
        }
        written = await self._objects.create(self._kind, namespace, event)
        return self._kind.key(namespace, name_of(written.obj))
