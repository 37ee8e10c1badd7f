"""Has what strays in members cleaned up: a tombstone for each object that its federated object does not want there.

Whoever plans rows of an object asks for it after it has written them, as the planner alone knows what is wanted. A
region that says each time that others stray fills no ledger: so many are cleaned up in a member at a time, and the
others when those are gone. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from cloudcore.federation.ledger import Ledger
from cloudcore.federation.planner import Row
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_MEMBER, Seen
from cloudcore.runtime.manager import Tools
from skerry.objects.federation import read_member_object
from skerry.objects.json import JsonObject, bool_at, map_at
from skerry.objects.meta import Key, annotations_of
from skerry.objects.strays import OF_STRAY, STRAYS_MAX, Stray, strays_of

_FULL_LOOK_S: Final = 10.0
"""While as many are cleaned up in a member as may be at a time."""
SPARED_LOOK_S: Final = 60.0
"""While something is spared: that it is not needed any more is not always seen."""

Spared = Callable[[str, Stray], bool]
"""Member and what strays there: whether it is left meanwhile."""


def stray_sources(change: Seen) -> set[Key]:
    """Of a KubeFedCluster: sources of what strays there from now on, or does no more."""
    before, after = ([] if side is None else strays_of(side) for side in (change.before, change.after))
    return {stray.source.key for stray in (*before, *after) if (stray in before) != (stray in after)}


class StrayCleanup:
    """See the module."""

    def __init__(self, tools: Tools, ledger: Ledger) -> None:
        self._tools = tools
        self._ledger = ledger

    async def clean(
        self,
        key: Key,
        members: Mapping[str, JsonObject],
        wanted: Collection[str],
        *,
        spared: Spared = lambda _member, _stray: False,
        lease_s: int = 0,
    ) -> float | None:
        """What a member has of an object without a row, as it was set back to an older state: in this life of the
        store it was cleaned up there before. What is of another life is left, as nothing is known of it. `wanted`:
        members where it is to be; `lease_s`: with which it is lent. Returns when to look again."""
        again: list[float] = []
        rows: set[str] | None = None
        for name, member in members.items():
            for stray in strays_of(member):
                if stray.source.key != key or stray.epoch != self._tools.cache.epoch or name in wanted:
                    continue
                if rows is None:
                    rows = {row.member for row in map(read_member_object, self._ledger.of(key))}
                if name in rows:
                    continue
                if spared(name, stray):
                    again.append(SPARED_LOOK_S)
                elif self._under_way(name) >= STRAYS_MAX:
                    again.append(_FULL_LOOK_S)
                else:
                    await self._ledger.bury(stray, member, lease_s=lease_s)
        return min(again, default=None)

    def _under_way(self, member: str) -> int:
        """What strayed there and is not told to be gone."""
        rows: Iterable[JsonObject] = (
            self._tools.cache.obj(each) for each in self._tools.cache.indexed(MEMBER_OBJECTS_BY_MEMBER, member)
        )
        return sum(OF_STRAY in annotations_of(row) and not _is_gone(row) for row in rows)


def _is_gone(obj: JsonObject) -> bool:
    row = Row(wanted=read_member_object(obj), told=map_at(obj, "status"))
    return not row.wanted.removal or (row.current and bool_at(obj, "status", "removed"))
