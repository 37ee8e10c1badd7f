"""Counts what each member is to have, and how far it is: in its KubeFedCluster. Rows go with the membership that they
were written for: also where somebody is a member again under that name.

Looks at a member once a second at most, however many rows of it change. Keeps when it looked last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_MEMBER, Keys, Seen
from cloudcore.runtime.manager import Tools
from cloudcore.store.port import Stored
from skerry.errors import NotFoundError
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS, NAMESPACE, is_of_membership
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, str_at
from skerry.objects.meta import Key

_AGAIN_S: Final = 1.0


class MemberController:
    """See the module."""

    name = "member-controller"
    workers = 1

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._members = tools.kind(MEMBERS)
        self._rows = tools.kind(MEMBER_OBJECTS)
        self._looked: dict[Key, float] = {}

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=MEMBERS, keys=lambda change: [change.key]),
            Keys(resource=MEMBER_OBJECTS, keys=_member_of),
        ]

    async def reconcile(self, key: Key) -> float | None:
        now_s = self._tools.clock.monotonic_s()
        waits_s = self._looked.get(key, -_AGAIN_S) + _AGAIN_S - now_s
        if waits_s > 0:
            return waits_s
        stored = self._tools.cache.read(key)
        if stored is None:
            self._looked.pop(key, None)
            await self._forget(self._tools.cache.indexed(MEMBER_OBJECTS_BY_MEMBER, key.name))
            return None
        self._looked[key] = now_s
        member = self._tools.cache.obj(stored)
        rows: dict[bool, list[Stored]] = {True: [], False: []}
        for row in self._tools.cache.indexed(MEMBER_OBJECTS_BY_MEMBER, key.name):
            rows[is_of_membership(self._tools.cache.obj(row), member)].append(row)
        await self._forget(rows[False])
        counts: JsonObject = {**counted([self._tools.cache.obj(each) for each in rows[True]])}

        def told(current: JsonObject) -> JsonObject:
            return {**current, "status": {**map_at(current, "status"), "objects": counts}}

        if map_at(member, "status", "objects") != counts:
            try:
                await self._tools.objects.update(self._members, key, told, subresource="status")
            except NotFoundError:
                return None
        return None

    async def _forget(self, rows: Iterable[Stored]) -> None:
        for stored in rows:
            try:
                await self._tools.objects.delete(self._rows, stored.key, DeleteOptions(uid=stored.uid))
            except NotFoundError:
                continue


def _member_of(change: Seen) -> Iterable[Key]:
    yield Key(MEMBERS, NAMESPACE, str_at(change.last, "spec", "member"))


def counted(rows: Iterable[JsonObject]) -> dict[str, int]:
    """Of one member's rows."""
    found: dict[str, int] = dict.fromkeys(("wanted", "pending", "failing", "cleanup"), 0)
    for row in rows:
        current = int_at(row, "status", "revision") == int_at(row, "spec", "revision")
        if str_at(row, "spec", "remove"):
            found["cleanup"] += not (current and bool_at(row, "status", "removed"))
            continue
        found["wanted"] += 1
        found["pending"] += not current
        found["failing"] += current and bool(str_at(row, "status", "code"))
    return found
