"""Takes the mark `kubefed.io/managed` off what nobody federates, in members that are dialled (decision 0560).

What is ours has the name of its row beside the mark, so the mark alone says nothing here; but people and KubeFed's
tools go by it. It is taken off objects of the types that are enabled, in namespaces that are federated there (of what
has no namespace: everywhere), where no row claims them. What has the name of a row is left alone, whoever's that is:
this cloud's after a loss of data, or another's. Keeps when each member is looked at next; a crash looks again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from cloudcore.runtime.manager import Tools
from skerry.errors import CallerError, UnansweredError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.federation import (
    MANAGED,
    NAMESPACE,
    ROW,
    TYPES,
    FederatedType,
    Target,
    federated_type,
    read_member_object,
)
from skerry.objects.json import JsonObject
from skerry.objects.meta import annotations_of, being_deleted, labels_of, name_of, namespace_of

log = logging.getLogger(__name__)

LOOK_S: Final = 20.0
"""Between looks at a member with little."""
_EACH_S: Final = 0.02
"""More for each object that has the mark, so that a large member is not listed all the time."""
_AT_A_TIME: Final = 50
"""Of a member that has been flooded, the rest is for the next look."""


class Marked(Protocol):
    """What is asked of a member."""

    async def labelled(self, api_version: str, kind: str, selector: str) -> list[JsonObject]: ...

    async def unlabel(self, target: Target, obj: JsonObject, label: str) -> None: ...


class _Rows(Frozen):
    claimed: frozenset[tuple[str, str, str]]
    """Kind, namespace and name of what is to be there, or to go."""
    namespaces: frozenset[str]
    """That are federated there."""


def unclaimed(objs: Iterable[JsonObject], rows: _Rows, kind: str, *, namespaced: bool) -> list[JsonObject]:
    """Those that have the mark for nothing."""
    return [
        obj
        for obj in objs
        if labels_of(obj).get(MANAGED) == "true"
        and ROW not in annotations_of(obj)
        and not being_deleted(obj)
        and (kind, namespace_of(obj), name_of(obj)) not in rows.claimed
        and (not namespaced or namespace_of(obj) in rows.namespaces)
    ]


def rows_of(objs: Iterable[JsonObject]) -> _Rows:
    """Of a member's rows, as stored."""
    read = [read_member_object(obj) for obj in objs]
    return _Rows(
        claimed=frozenset((row.target.kind, row.target.namespace, row.target.name) for row in read),
        namespaces=frozenset(row.target.name for row in read if row.target.kind == "Namespace" and not row.removal),
    )


class UnclaimedMarks:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._due_s: dict[str, float] = {}
        """By member, monotonic."""

    def forget(self, member: str) -> None:
        self._due_s.pop(member, None)

    async def look(self, member: str, objs: Sequence[JsonObject], api: Marked) -> None:
        """`objs`: the member's rows. That it could not be looked at is no fault of the member: whether it is there is
        asked elsewhere."""
        now_s = self._tools.clock.monotonic_s()
        if now_s < self._due_s.get(member, 0.0):
            return
        rows, seen = rows_of(objs), 0
        for of in self._types():
            try:
                seen += await self._of_type(of, rows, api)
            except (CallerError, UnavailableError) as error:  # a type that it lacks, or that we may not list
                log.debug("marks are not looked at member=%s type=%s error=%s", member, of.name, error)
                if isinstance(error, UnansweredError):
                    break
        self._due_s[member] = now_s + LOOK_S + seen * _EACH_S

    async def _of_type(self, of: FederatedType, rows: _Rows, api: Marked) -> int:
        found = await api.labelled(of.target_api_version, of.target_kind, f"{MANAGED}=true")
        bare = unclaimed(found, rows, of.target_kind, namespaced=of.target_namespaced)
        for obj in bare[:_AT_A_TIME]:
            one = Target(
                api_version=of.target_api_version,
                kind=of.target_kind,
                namespace=namespace_of(obj),
                name=name_of(obj),
            )
            try:
                await api.unlabel(one, obj, MANAGED)
            except CallerError as error:
                log.info("a mark stays object=%s error=%s", one, error)
        return len(found)

    def _types(self) -> list[FederatedType]:
        stored = self._tools.cache.select(TYPES, namespace=NAMESPACE)
        read = [federated_type(self._tools.cache.obj(each)) for each in stored]
        return [each for each in read if each.enabled]
