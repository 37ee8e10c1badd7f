"""Rows of the ledger of members, written as a plan says: what is wanted, and tombstones of what is not any more.

A row leaves when its member says that its tombstone is carried out, and nothing else of it, or with its membership.
Keeps nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from cloudcore.federation.planner import Plan, Row
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_SOURCE
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, NotFoundError
from skerry.frozen import replace
from skerry.objects.federation import (
    MEMBER_OBJECTS,
    MEMBERSHIP_ID,
    MemberObject,
    is_of_membership,
    longest_lease_s,
    membership_of,
    read_member_object,
    row_name,
    spec_of,
)
from skerry.objects.json import JsonObject, bool_at, map_at, str_at
from skerry.objects.meta import Key, being_deleted, name_of, uid_of, with_annotations
from skerry.objects.strays import OF_STRAY, Stray, strays_of, tombstone_of
from skerry.objects.times import time_text

_AT_ONCE: Final = 32
"""Rows of one object that are written at a time: a thousand members are not written one after the other."""


class Ledger:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._rows = tools.kind(MEMBER_OBJECTS)

    def of(self, key: Key) -> list[JsonObject]:
        value = f"{key.resource}/{key.namespace}/{key.name}"
        return [self._tools.cache.obj(each) for each in self._tools.cache.indexed(MEMBER_OBJECTS_BY_SOURCE, value)]

    def rows(self, key: Key) -> dict[str, Row]:
        """By member, tombstones among them."""
        found = [Row(wanted=read_member_object(obj), told=map_at(obj, "status")) for obj in self.of(key)]
        return {row.wanted.member: row for row in found}

    async def keep(self, key: Key, found: Plan, members: Mapping[str, JsonObject]) -> None:
        rows = {name_of(each): each for each in self.of(key)}
        wanted = {row.name: row for row in found.rows.values()}
        work: list[Callable[[], Awaitable[None]]] = [
            partial(self._want, row, rows.get(name), members) for name, row in wanted.items()
        ]
        work += [partial(self._drop, obj, found, members) for name, obj in rows.items() if name not in wanted]
        for at in range(0, len(work), _AT_ONCE):
            await asyncio.gather(*(each() for each in work[at : at + _AT_ONCE]))

    async def _want(self, row: MemberObject, present: JsonObject | None, members: Mapping[str, JsonObject]) -> None:
        if present is not None and not is_of_membership(present, members[row.member]):
            await self._forget(present)
            present = None
        if present is not None and _same(read_member_object(present), row):
            return
        at, now = self._tools.cache.revision, time_text(self._tools.clock.wall_ms())

        def wanting(current: JsonObject) -> JsonObject:
            before = read_member_object(current)
            if _same(before, row):
                return current
            new = replace(row, revision=max(before.revision + 1, at), planned_at=now)
            if new.lease_s:
                new = replace(new, held_lease_s=_held_lease_s(current))
            return {**current, "spec": spec_of(new)}

        key = self._rows.key("", row.name)
        if present is None:
            obj = self._object(replace(row, revision=max(at, 1), planned_at=now), members[row.member])
            try:
                await self._tools.objects.create(self._rows, "", obj)
            except AlreadyExistsError:
                pass  # a tombstone of an earlier life, or of another object: it is this one's now
            else:
                return
        await self._tools.objects.update(self._rows, key, wanting)

    async def _drop(self, obj: JsonObject, found: Plan, members: Mapping[str, JsonObject]) -> None:
        """Of a row that is not wanted: its tombstone, or nothing where its fault is the plan's."""
        row = read_member_object(obj)
        key = self._rows.key("", name_of(obj))
        carried_out = row.removal and Row(wanted=row, told=map_at(obj, "status")).current
        try:
            has_left = row.member not in members or not is_of_membership(obj, members[row.member])
            if has_left:
                await self._forget(obj)
            elif carried_out and bool_at(obj, "status", "removed"):
                if not self._is_told_to_stray(row, members[row.member]):
                    await self._forget(obj)
            elif not row.removal and row.member not in found.faults:
                at, now = self._tools.cache.revision, time_text(self._tools.clock.wall_ms())
                stays = not row.lease_s or self._is_gone(row)

                def burying(current: JsonObject) -> JsonObject:
                    before = read_member_object(current)
                    if before.removal or uid_of(current) != uid_of(obj) or before.source != row.source:
                        return current  # it is another object's by now
                    new = replace(
                        before,
                        revision=max(before.revision + 1, at),
                        manifest={},
                        removal="Orphan" if before.orphan and stays else "Delete",
                        planned_at=now,
                        held_lease_s=_held_lease_s(current) if before.lease_s else 0,
                    )
                    return {**current, "spec": spec_of(new)}

                await self._tools.objects.update(self._rows, key, burying)
        except NotFoundError:
            return

    def _is_told_to_stray(self, row: MemberObject, member: JsonObject) -> bool:
        """The member says what it has a moment later than what became of a tombstone: one that was forgotten before
        would be written again."""
        return any(
            stray.source.key == row.source.key
            and stray.epoch == self._tools.cache.epoch
            and row_name(row.member, stray.target) == row.name
            for stray in strays_of(member)
        )

    async def bury(self, stray: Stray, member: JsonObject, *, lease_s: int = 0) -> None:
        """Write a tombstone for what has no row any more, and is there. `lease_s`: with which its source is lent."""
        row = replace(
            tombstone_of(stray, name_of(member), lease_s=lease_s),
            revision=max(self._tools.cache.revision, 1),
            planned_at=time_text(self._tools.clock.wall_ms()),
        )
        with suppress(AlreadyExistsError):
            obj = with_annotations(self._object(row, member), {OF_STRAY: stray.epoch})
            await self._tools.objects.create(self._rows, "", obj)

    def _object(self, row: MemberObject, member: JsonObject) -> JsonObject:
        return {
            "apiVersion": self._rows.api_version,
            "kind": self._rows.kind,
            "metadata": {
                "name": row.name,
                "labels": {"skerry.dev/member": row.member},
                "annotations": {MEMBERSHIP_ID: membership_of(member)},
            },
            "spec": spec_of(row),
        }

    async def _forget(self, obj: JsonObject) -> None:
        with suppress(NotFoundError):
            key = self._rows.key("", name_of(obj))
            await self._tools.objects.delete(self._rows, key, DeleteOptions(uid=uid_of(obj)))

    def _is_gone(self, row: MemberObject) -> bool:
        """Whether there is no more of what it comes from: while there is, another member may be about to run it."""
        stored = self._tools.cache.read(row.source.key)
        obj = None if stored is None else self._tools.cache.obj(stored)
        return obj is None or uid_of(obj) != row.source.uid or being_deleted(obj)


def _same(before: MemberObject, wanted: MemberObject) -> bool:
    return replace(before, revision=0, planned_at="", held_lease_s=0) == wanted


def _held_lease_s(current: JsonObject) -> int:
    """What the member may go by until it has told what is wanted next."""
    if bool_at(current, "status", "removed") and str_at(current, "spec", "remove"):
        return 0  # there is nothing
    longest_s = longest_lease_s(current)
    return -1 if longest_s is None else longest_s
