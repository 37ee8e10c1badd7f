"""Marks the pods of what is lent to a region, so that their gateways stop by themselves as well.

New pods are marked as they are made (`cloudcore.registry.admission`). Those that ran before there was a lease are
marked here, and count as lent once their gateways have said that they go by it: until then the global cloud is not
told that there is a lease. Keeps the names of pods that are marked; made again from what is watched.
"""

from __future__ import annotations

from collections import defaultdict

from cloudcore.registry.leasing import lending_row
from cloudcore.runtime.informer import Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import NotFoundError
from skerry.objects.federation import MemberObject
from skerry.objects.json import JsonObject, map_at, str_at
from skerry.objects.meta import Key, uid_of, with_annotations
from skerry.objects.pod_leases import LEASE, UNTOLD, lease_of, untold_lease_s, untold_mark, untold_of, without_marks
from skerry.objects.pods import is_over

_PODS = "pods"


class LeaseMarks:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pods = tools.kind(_PODS)
        self._marked: defaultdict[str, set[Key]] = defaultdict(set)
        """Pods by the row that lends them."""
        self._longer_until_s: dict[str, float] = {}
        """By row whose lease is shorter than the one before: until when that may count yet."""

    def see(self, change: Seen) -> str:
        """Take note of a pod; the row that lends it, or did: "" for none."""
        if change.key.resource != _PODS:
            return ""
        before, after = ("" if side is None else lease_of(side) for side in (change.before, change.after))
        if before and before != after:
            self._marked[before].discard(change.key)
            if not self._marked[before]:
                del self._marked[before]
        if after:
            self._marked[after].add(change.key)
        return after or before

    async def carry(self, row: MemberObject, *, before_s: int) -> bool:
        """Mark what belongs to the row. Whether all of it goes by its lease: `before_s`, the lease that was told
        last, may be counted on by gateways for as long where it was longer."""
        known = True
        for stored in self._tools.cache.select(_PODS, namespace=row.target.namespace):
            pod = self._tools.cache.obj(stored)
            if is_over(pod):
                continue
            untold = untold_of(pod)
            if not lease_of(pod) and lending_row(self._read, pod) == row.name:
                await self._mark(stored.key, uid_of(pod), row)
                known = False
            elif untold and lease_of(pod) == row.name:
                if untold_lease_s(untold) != row.lease_s:  # it was made longer or shorter since
                    await self._mark(stored.key, uid_of(pod), row, untold=untold)
                known = False
        return self._shorter_is_over(row, before_s) and known

    def left(self, row: str) -> int:
        """Pods that it lends, or did, and that may run yet."""
        pods = (self._read(key) for key in self._marked.get(row, ()))
        return sum(pod is not None and not is_over(pod) for pod in pods)

    async def free(self, row: str) -> None:
        """Nobody lends it any more, and it may run."""
        for key in tuple(self._marked.get(row, ())):
            try:
                await self._tools.objects.update(self._pods, key, _freed)
            except NotFoundError:
                continue

    async def _mark(self, key: Key, uid: str, row: MemberObject, *, untold: str = "") -> None:
        """`untold`: the mark that it has."""
        mark = untold_mark(row.lease_s, self._tools.ids.token_hex(4))

        def marked(pod: JsonObject) -> JsonObject:
            if uid_of(pod) != uid or untold_of(pod) != untold:
                return pod
            runs = bool(str_at(pod, "spec", "nodeName"))
            return with_annotations(pod, {LEASE: row.name, **({UNTOLD: mark} if runs else {})})

        try:
            await self._tools.objects.update(self._pods, key, marked)
        except NotFoundError:
            return

    def _shorter_is_over(self, row: MemberObject, before_s: int) -> bool:
        now_s = self._tools.clock.monotonic_s()
        if before_s <= row.lease_s:
            self._longer_until_s.pop(row.name, None)
            return True
        return now_s >= self._longer_until_s.setdefault(row.name, now_s + before_s)

    def _read(self, key: Key) -> JsonObject | None:
        stored = self._tools.objects.read(key)
        return None if stored is None else self._tools.cache.obj(stored)


def _freed(pod: JsonObject) -> JsonObject:
    return {**pod, "metadata": {**map_at(pod, "metadata"), "annotations": without_marks(pod)}}
