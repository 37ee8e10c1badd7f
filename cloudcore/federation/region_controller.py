"""Carries out in a region what the global cloud wants there, and says what became of it. Goes on alone when cut off.

What is wanted is in RegionObjects, which the link keeps in step; the last manifest that was applied and what came of
it are in their status. A RegionObject that goes takes nothing with it: only a tombstone removes. A crash between a
write and its note leaves a write that is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from cloudcore.federation.apply import (
    LEASE_ENDED,
    WHOLE,
    Decision,
    anew,
    decide,
    decide_stop,
    is_ours,
    may_recreate,
    remembered,
    stopped,
    trial_of,
    version_of,
)
from cloudcore.federation.lease_marks import LeaseMarks
from cloudcore.federation.readiness import LEFT_ALONE
from cloudcore.registry.port import DeleteOptions, WriteOptions
from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import Keys, Seen
from cloudcore.runtime.manager import Tools, UnfinishedError
from cloudcore.store.port import Stored
from skerry.errors import AlreadyExistsError, CallerError, ConflictError, InvalidError, NotFoundError
from skerry.frozen import replace
from skerry.objects.endpoint_slices import SERVICE_LABEL, SLICES, has_ready
from skerry.objects.federation import (
    MEMBERSHIP,
    REGION_OBJECTS,
    ROW,
    Deletion,
    MemberObject,
    Target,
    read_member_object,
)
from skerry.objects.gslb import REGION_LABEL
from skerry.objects.json import JsonObject, bool_at, encode_object, int_at, map_at, str_at
from skerry.objects.meta import Key as ObjectKey
from skerry.objects.meta import annotations_of, generation_of, labels_of, uid_of
from skerry.objects.scheme import Kind, split_api_version
from skerry.objects.sites import ZONE_LABEL
from skerry.objects.strays import is_stray
from skerry.objects.times import time_text

REMOTE_BYTES_MAX: Final = 64 * 1024
"""A larger status of an object is not told."""
_LOOK_AGAIN_S: Final = 5.0
"""While something drifted that is to be put back once the region is in touch again."""
_ALONE_LOOK_S: Final = 30.0
"""While something is left alone on purpose: that it is gone, or ours again, is not always seen."""
_STOPPED_LOOK_S: Final = 1.0
"""While something is stopped because its lease has ended, or the gateways do not go by its lease yet."""

_OWN: Final = frozenset({"applied", "observedAt", "leaseSeconds", "lent"})
"""What is not told of a row."""

_AS_USUAL: Final = Deletion()

NODES: Final = "nodes"
DEFINITIONS: Final = "customresourcedefinitions.apiextensions.k8s.io"

LeaseLeft = Callable[[int], float]
"""Seconds that are left of a lease of so many; 0 or less: it has ended."""
Proven = Callable[[], bool]
"""Whether the global cloud lends now, as far as this process can prove it."""
Tell = Callable[[str, JsonObject], None]
"""Name of a row, and what is to be said of it."""


class RegionController:
    """See the module. `in_touch`: whether the global cloud is heard; `tell`: has it told what became of a row;
    `noticed`: called when what the region is a member of may have changed; `lease_left_s`, `proven`: of what may
    not run twice."""

    name = "region-controller"
    workers = 4

    def __init__(
        self,
        tools: Tools,
        *,
        in_touch: Callable[[], bool],
        tell: Tell,
        noticed: Callable[[], None],
        lease_left_s: LeaseLeft,
        proven: Proven,
    ) -> None:
        self._tools = tools
        self._rows = tools.kind(REGION_OBJECTS)
        self._in_touch = in_touch
        self._tell = tell
        self._noticed = noticed
        self._lease_left_s = lease_left_s
        self._proven = proven
        self._recorder = tools.recorder("skerry-region")
        self._marks = LeaseMarks(tools)

    def watches(self) -> Sequence[Keys]:
        return [Keys(resource="", keys=self._keys)]

    def _keys(self, change: Seen) -> Iterable[ObjectKey]:
        if change.key.resource == REGION_OBJECTS:
            yield change.key
            return
        if change.key.resource == DEFINITIONS:
            yield from self._of_kind(change.last)
        if change.key.name == MEMBERSHIP or (change.key.resource == NODES and _moved(change)):
            self._noticed()
        if lender := self._marks.see(change):
            yield ObjectKey(REGION_OBJECTS, "", lender)
        for side in (change.before, change.after):
            row = "" if side is None else annotations_of(side).get(ROW, "")
            if row:
                yield ObjectKey(REGION_OBJECTS, "", row)
            elif side is not None and change.key.resource == SLICES:
                yield from self._of_slice(change.key.namespace, side)

    def _of_kind(self, definition: JsonObject) -> Iterable[ObjectKey]:
        """Rows of the kind that it defines: what was in their way may be gone."""
        group, kind = str_at(definition, "spec", "group"), str_at(definition, "spec", "names", "kind")
        for stored in self._tools.cache.select(REGION_OBJECTS):
            wanted = map_at(self._tools.cache.obj(stored), "spec", "object")
            if str_at(wanted, "kind") == kind and str_at(wanted, "apiVersion").rpartition("/")[0] == group:
                yield stored.key

    def _of_slice(self, namespace: str, slice_: JsonObject) -> Iterable[ObjectKey]:
        """The row of its Service, if there is one."""
        stored = self._tools.cache.read(ObjectKey("services", namespace, labels_of(slice_).get(SERVICE_LABEL, "")))
        row = "" if stored is None else annotations_of(self._tools.cache.obj(stored)).get(ROW, "")
        if row:
            yield ObjectKey(REGION_OBJECTS, "", row)

    def _backed(self, target: Target) -> bool:
        """Whether a Service has a ready endpoint."""
        slices = self._tools.cache.select(SLICES, namespace=target.namespace)
        objs = (self._tools.cache.obj(each) for each in slices)
        return any(has_ready(each) for each in objs if labels_of(each).get(SERVICE_LABEL) == target.name)

    async def reconcile(self, key: ObjectKey) -> float | None:
        stored = self._tools.cache.read(key)
        if stored is None:
            await self._marks.free(key.name)  # what it put here stays, and may run
            return None
        obj = self._tools.cache.obj(stored)
        row = read_member_object(obj)
        if is_stray(obj):
            return await self._look_after_stray(stored, obj, row)
        kind = self._kind_of(row)
        if kind is None or kind.namespaced != bool(row.target.namespace):
            if row.removal:
                done = self._whole(row, Decision(act="none", removed=True))
                await self._note(key, obj, row, done, None, carried=_is_carried(obj, row) or done.removed)
                return None
            said = f"{row.target.api_version} {row.target.kind} is not served here"
            await self._note(
                key,
                obj,
                row,
                Decision(act="none", code="CreationFailed", message=said),
                None,
                carried=_is_carried(obj, row),
            )
            raise UnfinishedError(said)
        target = kind.key(row.target.namespace, row.target.name)
        present = self._read(target)
        left_s = self._lease_left_s(row.lease_s) if row.lease_s and not row.removal else None
        applied = _applied(obj, present)
        if left_s is not None and (left_s <= 0 or not self._proven()):
            if left_s > 0 and str_at(obj, "status", "code") != LEASE_ENDED:
                return _STOPPED_LOOK_S  # what runs is kept until it is known better, and nothing begins
            if not _was_lent(map_at(obj, "status")):
                return _STOPPED_LOOK_S  # untold, so that the global cloud counts on no end of it
            return await self._stop(key, obj, row, kind, target)
        decision = decide(row, present, applied, in_touch=self._in_touch())
        anew_as = row if present is not None and may_recreate(row, present) else None
        decision, now = await self._carry_out(
            kind, target, present, decision, anew_as, how=row.deletion, whole=row.lease_s > 0
        )
        decision = self._whole(row, decision)
        carried = _is_carried(obj, row) or decision.removed
        if left_s is not None:
            carried = await self._marks.carry(row, before_s=int_at(obj, "status", "leaseSeconds"))
        elif row.removal != "Delete":
            await self._marks.free(key.name)
        await self._note(key, obj, row, decision, now, carried=carried)
        if decision.code and left_s is None and decision.code not in LEFT_ALONE:
            raise UnfinishedError(f"{row.target}: {decision.message}")
        again = any(
            each.outcome == "Kept" and (row.drift == "Revert" or each.path == WHOLE) for each in decision.drift
        )
        waits = [_LOOK_AGAIN_S] if again else []
        if decision.code in LEFT_ALONE:
            waits.append(_ALONE_LOOK_S)
        if left_s is not None:
            waits.append(min(left_s, _LOOK_AGAIN_S if carried else _STOPPED_LOOK_S))
        return min(waits, default=None)

    async def _look_after_stray(self, stored: Stored, obj: JsonObject, row: MemberObject) -> float | None:
        """It is left alone, and remembered for as long as it is there and nobody took it out of the federation's
        hands. What was lent is stopped: nobody lends it now, and it may run elsewhere. Raises `ConflictError` where
        it is wanted again by now."""
        key = stored.key
        if row.removal:  # a tombstone of what was here before it
            uid = annotations_of(obj).get(STAMP, "").partition(" ")[0]
            self._tell(key.name, {"revision": row.revision, "removed": True, "uid": uid})
        kind = self._tools.scheme.named(*split_api_version(row.target.api_version), row.target.kind)
        present = None if kind is None else self._read(kind.key(row.target.namespace, row.target.name))
        if kind is None or present is None or not is_ours(row, present):
            await self._marks.free(key.name)
            as_seen = DeleteOptions(uid=stored.uid, revision=stored.revision)
            with suppress(NotFoundError):
                await self._tools.objects.delete(self._rows, key, as_seen)
            self._noticed()
            return None
        if not row.lease_s:
            await self._marks.free(key.name)
            return None
        return await self._stop(key, obj, row, kind, kind.key(row.target.namespace, row.target.name))

    async def _stop(self, key: ObjectKey, obj: JsonObject, row: MemberObject, kind: Kind, target: ObjectKey) -> float:
        """Its lease has ended: nothing of it runs here until it is lent again. A tombstone that is not carried out
        says nothing of how it is; then what was applied does."""
        present = self._read(target)
        row = replace(row, removal="", manifest=row.manifest or map_at(obj, "status", "applied"))
        decision = decide_stop(row, present, map_at(obj, "status", "applied"))
        ended = decision.code == LEASE_ENDED
        done, now = await self._carry_out(kind, target, present, decision)
        idle = stopped(row)
        if ended and done.code in ("", LEASE_ENDED):
            # What was applied is what stops it, so that what is wanted is seen as a change later.
            row = replace(row, manifest={} if idle is None else idle.manifest)
            done = replace(decision, act="none")
        await self._note(key, obj, row, done, now, carried=_is_carried(obj, row))
        return _STOPPED_LOOK_S

    def _kind_of(self, row: MemberObject) -> Kind | None:
        """What is to go is found under another version as well, where its own is served no more."""
        group, version = split_api_version(row.target.api_version)
        kind = self._tools.scheme.named(group, version, row.target.kind)
        if kind is not None or not row.removal:
            return kind
        return next(
            (each for each in self._tools.scheme if (each.group, each.kind) == (group, row.target.kind)), None
        )

    def _whole(self, row: MemberObject, decision: Decision) -> Decision:
        """What may run once alone is gone when its pods are, whoever deleted it, and however."""
        if (
            not decision.removed
            or not row.lease_s
            or row.removal != "Delete"
            or not (left := self._marks.left(row.name))
        ):
            return decision
        message = f"{left} of its pods are still here, and may run"
        return Decision(act="wait", code="WaitingForRemoval", message=message)

    def _read(self, target: ObjectKey) -> JsonObject | None:
        stored = self._tools.objects.read(target)
        return None if stored is None else self._tools.cache.obj(stored)

    async def _carry_out(
        self,
        kind: Kind,
        target: ObjectKey,
        present: JsonObject | None,
        decision: Decision,
        recreated: MemberObject | None = None,
        *,
        how: Deletion = _AS_USUAL,
        whole: bool = False,
    ) -> tuple[Decision, JsonObject | None]:
        """What came of it, and the object as it is then. `recreated`: the row, where it may be
        deleted and made anew; `how`: it is deleted; `whole`: what is deleted is gone when its pods are."""
        failing = {"create": "CreationFailed", "delete": "DeletionFailed", "release": "LabelRemovalFailed"}
        try:
            match decision.act:
                case "create":
                    assert decision.obj is not None, "what is made is said"
                    made = (await self._tools.objects.create(kind, target.namespace, decision.obj)).obj
                    if decision.drift:
                        message = "it was deleted here, and is made again as the federation says"
                        await self._recorder.say(
                            made, Saying(type="Warning", reason="DriftReverted", message=message)
                        )
                    return decision, made
                case "update" | "release":
                    assert present is not None, "what is changed is there"
                    return decision, await self._change(kind, target, present, decision)
                case "delete":
                    assert present is not None, "what is deleted is there"
                    options = DeleteOptions(
                        uid=uid_of(present),
                        propagation="Foreground" if whole else how.propagation,
                        grace_s=how.grace_s,
                    )
                    await self._tools.objects.delete(kind, target, options)
                    if decision.drift:
                        changed = ", ".join(f"{each.path} ({each.found or 'absent'})" for each in decision.drift)
                        message = f"deleted as the federation says, with what was changed here: {changed}"
                        saying = Saying(type="Warning", reason="DriftDeleted", message=message[:1000])
                        await self._recorder.say(present, saying)
                    left = self._read(target)
                    if left is None:
                        return Decision(act="none", removed=True), None
                    waits = Decision(act="wait", code="WaitingForRemoval", message="finalizers hold it")
                    return waits, left
                case "none" | "wait":
                    return decision, present
        except (AlreadyExistsError, NotFoundError) as error:
            if decision.act == "delete":
                return Decision(act="none", removed=True), None
            code = failing.get(decision.act, "UpdateFailed")
            return Decision(act="wait", code=code, message=str(error)[:1000]), present
        except ConflictError:
            raise  # somebody wrote in between: it is decided anew, and is no fault to be told
        except CallerError as error:
            refused = decision.act == "update" and isinstance(error, InvalidError)
            if refused and recreated is not None and present is not None:
                return await self._recreate(kind, target, present, recreated, str(error))
            code = failing.get(decision.act, "UpdateFailed")
            return Decision(act="wait", code=code, message=str(error)[:1000]), present

    async def _recreate(
        self, kind: Kind, target: ObjectKey, present: JsonObject, row: MemberObject, refused: str
    ) -> tuple[Decision, JsonObject | None]:
        """Delete what can't be changed, once it is known that what is wanted would be taken."""
        try:
            await self._tools.objects.create(kind, target.namespace, trial_of(row), WriteOptions(dry_run=True))
            propagation = "Foreground" if row.lease_s else "Background"
            options = DeleteOptions(uid=uid_of(present), propagation=propagation)
            await self._tools.objects.delete(kind, target, options)
        except CallerError as error:
            return Decision(act="wait", code="UpdateFailed", message=f"{refused}; anew: {error}"[:1000]), present
        return anew(refused), None

    async def _change(self, kind: Kind, target: ObjectKey, present: JsonObject, decision: Decision) -> JsonObject:
        """Raises `ConflictError` where somebody wrote in between: then it is decided anew."""
        wanted = decision.obj
        assert wanted is not None, "what is changed is said"

        def transform(_current: JsonObject) -> JsonObject:
            return wanted  # with the resourceVersion that was looked at

        written = (await self._tools.objects.update(kind, target, transform)).obj
        reverted = [each for each in decision.drift if each.outcome == "Reverted"]
        if reverted:
            told = ", ".join(f"{each.path} (was {each.found or 'absent'})" for each in reverted)
            message = f"changed here, and put back as the federation says: {told}"
            await self._recorder.say(written, Saying(type="Warning", reason="DriftReverted", message=message[:1000]))
        return written

    async def _note(
        self,
        key: ObjectKey,
        obj: JsonObject,
        row: MemberObject,
        decision: Decision,
        now: JsonObject | None,
        *,
        carried: bool = True,
    ) -> None:
        """`carried`: all that runs of it goes by its lease, and by no longer one."""
        before = map_at(obj, "status")
        status = self._status(before, row, decision, now) | _lease(before, row, carried=carried)
        if {**status, "observedAt": before.get("observedAt")} == before:
            status = before
        else:
            status["observedAt"] = time_text(self._tools.clock.wall_ms())
        if status != before:

            def noting(current: JsonObject) -> JsonObject:
                if uid_of(current) != uid_of(obj):
                    return current
                return {**current, "status": status}

            try:
                await self._tools.objects.update(self._rows, key, noting, subresource="status")
            except NotFoundError:
                return
        if is_stray(obj):
            return  # it has no row to be told of
        told = {name: value for name, value in status.items() if name not in _OWN}
        told["uid"] = annotations_of(obj).get(STAMP, "").partition(" ")[0]
        self._tell(key.name, told)

    def _status(
        self, before: JsonObject, row: MemberObject, decision: Decision, now: JsonObject | None
    ) -> JsonObject:
        status: JsonObject = {"revision": row.revision, "plannedAt": row.planned_at}
        if decision.code:
            status["code"], status["message"] = decision.code, decision.message
        if decision.removed:
            status["removed"] = True
        drift = remembered(before, decision, time_text(self._tools.clock.wall_ms()))
        if drift:
            status["drift"] = drift
        if row.manifest and decision.code in ("", LEASE_ENDED):
            status["applied"] = row.manifest
        elif before.get("applied"):
            status["applied"] = before["applied"]
        remote = map_at(now or {}, "status")
        if remote and len(encode_object(remote)) <= REMOTE_BYTES_MAX:
            status["remote"] = remote
            if generation := generation_of(now or {}):
                status["generation"] = generation
        if now is not None and row.target.kind == "Service" and row.target.api_version == "v1":
            status["backed"] = self._backed(row.target)
        if version := version_of(before, decision, now):
            status["version"] = version
        return status


def _moved(change: Seen) -> bool:
    """Whether the region may be elsewhere by now, as its nodes say."""
    places = [
        None if side is None else (labels_of(side).get(REGION_LABEL), labels_of(side).get(ZONE_LABEL))
        for side in (change.before, change.after)
    ]
    return places[0] != places[1]


def _applied(obj: JsonObject, present: JsonObject | None) -> JsonObject:
    """What was applied last of a row; {} where it is not there because its lease had ended."""
    status = map_at(obj, "status")
    return {} if present is None and str_at(status, "code") == LEASE_ENDED else map_at(status, "applied")


def _was_lent(status: JsonObject) -> bool:
    """Whether it had a lease that counted: nothing is stopped by one before."""
    return bool(int_at(status, "leaseSeconds")) and (not status.get("leasePending") or bool_at(status, "lent"))


def _is_carried(obj: JsonObject, row: MemberObject) -> bool:
    """Whether what is wanted was found to go by its lease before."""
    status = map_at(obj, "status")
    known = 0 < int_at(status, "leaseSeconds") <= row.lease_s and not status.get("leasePending")
    return known and (bool(row.removal) or int_at(status, "revision") == row.revision)


def _lease(before: JsonObject, row: MemberObject, *, carried: bool) -> JsonObject:
    """What is known of a row's lease. `leaseSeconds`: the longest that a gateway may go by; `leasePending`: told, so
    that the global cloud counts on what it knew before; `lent`: one counted before that."""
    if not row.lease_s:
        return {}
    if carried:
        return {"leaseSeconds": row.lease_s}
    longest_s = max(int_at(before, "leaseSeconds"), row.lease_s)
    found: JsonObject = {"leaseSeconds": longest_s, "leasePending": True}
    return {**found, "lent": True} if _was_lent(before) else found


STAMP: Final = "skerry.dev/stamp"
"""Annotation of a RegionObject: uid and revision of the MemberObject that it is a copy of."""
