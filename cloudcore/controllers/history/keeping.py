"""Keeps the ControllerRevisions of one owner: makes that of its present template, and drops those that are too old.

Keeps nothing itself. A crash between two writes leaves a revision too many, or one under its old number; the next
pass goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudcore.controllers.claiming import claim_all, owned
from cloudcore.controllers.history.revisions import Revision, find, new_revision, revision
from cloudcore.controllers.ownership import with_metadata
from cloudcore.registry.port import DeleteOptions
from cloudcore.runtime.manager import Tools
from skerry.errors import AlreadyExistsError, NotFoundError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, int_at, map_at
from skerry.objects.meta import Key, controller_of, labels_of, name_of, namespace_of, uid_of

RESOURCE = "controllerrevisions.apps"


class Kept(Frozen):
    """The history after a pass."""

    present: Revision | None
    """None: another object has the name that it should get."""
    twins: tuple[Revision, ...] = ()
    older: tuple[Revision, ...] = ()


class RevisionKeeper:
    """See the module. `label` is where a revision carries its hash."""

    def __init__(self, tools: Tools, *, label: str) -> None:
        self._tools = tools
        self._kind = tools.kind(RESOURCE)
        self._label = label

    async def keep(self, owner: JsonObject) -> Kept:
        """The owner's history, its present template in it."""
        await claim_all(self._tools, owner, self._kind)
        found = find(
            map_at(owner, "spec", "template"),
            [revision(each) for each in owned(self._tools, owner, self._kind)],
        )
        if found.present is None:
            return Kept(present=await self._make(owner, found.number), older=found.older)
        present = found.present
        if present.number != found.number or self._label not in dict(present.labels):
            present = await self._mend(present, found.number)
        return Kept(present=present, twins=found.twins, older=found.older)

    async def drop(self, revisions: Iterable[Revision]) -> None:
        for each in revisions:
            try:
                await self._tools.objects.delete(self._kind, self._key(each.obj), DeleteOptions(uid=each.uid))
            except NotFoundError:
                continue

    async def _make(self, owner: JsonObject, number: int) -> Revision | None:
        collisions = int_at(owner, "status", "collisionCount")
        obj = new_revision(owner, number=number, collisions=collisions, label=self._label)
        try:
            written = await self._tools.objects.create(self._kind, namespace_of(owner), obj)
        except AlreadyExistsError:
            return self._ours(owner, obj)
        return revision(written.obj)

    def _ours(self, owner: JsonObject, wanted: JsonObject) -> Revision | None:
        """The one of that name, where an earlier life of this process made it."""
        stored = self._tools.objects.read(self._key(wanted))
        if stored is None:
            return None
        obj = self._tools.cache.obj(stored)
        controller = controller_of(obj)
        fits = controller is not None and controller.uid == uid_of(owner) and obj.get("data") == wanted["data"]
        return revision(obj) if fits else None

    async def _mend(self, present: Revision, number: int) -> Revision:
        """Give it its number, and where somebody made it by hand, the label by which pods are known to be of it."""

        def mended(current: JsonObject) -> JsonObject:
            if uid_of(current) != present.uid:
                return current
            labels: JsonObject = {self._label: present.name, **labels_of(current)}
            return with_metadata({**current, "revision": number}, labels=labels)

        written = await self._tools.objects.update(self._kind, self._key(present.obj), mended)
        return revision(written.obj)

    def _key(self, obj: JsonObject) -> Key:
        return self._kind.key(namespace_of(obj), name_of(obj))
