"""Carries out the ledger of members that are dialled: plain Kubernetes, by its API (KubeFed's way).

Decides as a region does (`cloudcore.federation.apply`), and writes what came of it to the rows. A pass over a member
ends when nobody is there any more, so that one that is slow or gone costs the others nothing. A row that the member
can't take, or does not answer for, is that row's fault alone: it is said in its status, and tried again ever later
(`cloudcore.federation.rounds`). Keeps who failed how often, and when what was looked at.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from cloudcore.federation.apply import Decision, anew, decide, may_recreate, release, remembered, trial_of, version_of
from cloudcore.federation.cluster_api import Access, ClusterApi, Place, access_of
from cloudcore.federation.rounds import Rounds
from cloudcore.federation.unclaimed_marks import UnclaimedMarks
from cloudcore.runtime.informer import MEMBER_OBJECTS_BY_MEMBER, Keys, Seen
from cloudcore.runtime.manager import Tools
from skerry.errors import (
    CallerError,
    ConflictError,
    InvalidError,
    NotFoundError,
    SkerryError,
    UnansweredError,
    UnavailableError,
)
from skerry.objects.conditions import Condition, with_condition
from skerry.objects.federation import (
    CONFIGS,
    MEMBER_OBJECTS,
    MEMBERS,
    NAMESPACE,
    ROW,
    Deletion,
    MemberObject,
    Target,
    is_of_membership,
    is_pulling,
    read_member_object,
)
from skerry.objects.federation_config import NAME as CONFIG
from skerry.objects.federation_config import HealthCheck, health_check
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.meta import Key, annotations_of, generation_of, name_of, uid_of
from skerry.objects.times import time_text

log = logging.getLogger(__name__)

_AT_ONCE: Final = 8
_TWICE: Final = (
    "the member {other} keeps it there: take one of two KubeFedClusters of the same cluster out, or the annotation"
    f" {ROW} from the object if it was copied from another cluster"
)


class MemberApi(Protocol):
    """What is asked of a member (`cloudcore.federation.cluster_api.ClusterApi` is one)."""

    async def version(self) -> str: ...

    async def labelled(self, api_version: str, kind: str, selector: str) -> list[JsonObject]: ...

    async def unlabel(self, target: Target, obj: JsonObject, label: str) -> None: ...

    async def path_of(self, target: Target, *, any_version: bool = False) -> str: ...

    async def read(self, path: str, name: str) -> JsonObject | None: ...

    async def place(self) -> Place | None: ...

    async def backed(self, namespace: str, service: str) -> bool | None: ...

    async def create(self, path: str, obj: JsonObject, *, dry_run: bool = False) -> JsonObject: ...

    async def replace(self, path: str, name: str, obj: JsonObject) -> JsonObject: ...

    async def delete(self, path: str, name: str, uid: str, how: Deletion) -> None: ...


class PushController:
    """See the module. `reach`: opens the API of a member."""

    name = "push-controller"
    workers = 64

    def __init__(
        self, tools: Tools, reach: Callable[[Access], AbstractAsyncContextManager[MemberApi]] = ClusterApi
    ) -> None:
        self._tools = tools
        self._reach = reach
        self._members = tools.kind(MEMBERS)
        self._rows = tools.kind(MEMBER_OBJECTS)
        self._failures: dict[str, int] = {}
        self._successes: dict[str, int] = {}
        """Both by member, in a row."""
        self._rounds: dict[str, Rounds] = {}
        """By member."""
        self._placed_s: dict[str, float] = {}
        """By member: when it was asked last where it is, monotonic."""
        self._marks = UnclaimedMarks(tools)

    def watches(self) -> Sequence[Keys]:
        return [
            Keys(resource=MEMBERS, keys=lambda change: [change.key] if _is_news(change) else []),
            Keys(resource=MEMBER_OBJECTS, keys=_member_of),
            Keys(resource="secrets", keys=self._whose),
        ]

    def _whose(self, change: Seen) -> Iterable[Key]:
        """Members that are dialled by a Secret."""
        if change.key.namespace != NAMESPACE:
            return
        for stored in self._tools.cache.select(MEMBERS, namespace=NAMESPACE):
            if str_at(self._tools.cache.obj(stored), "spec", "secretRef", "name") == change.key.name:
                yield stored.key

    async def reconcile(self, key: Key) -> float | None:
        stored = self._tools.cache.read(key)
        member = None if stored is None else self._tools.cache.obj(stored)
        if member is None or is_pulling(member):
            self._failures.pop(key.name, None)
            self._successes.pop(key.name, None)
            self._rounds.pop(key.name, None)
            self._placed_s.pop(key.name, None)
            self._marks.forget(key.name)
            return None
        health = self._health_check()
        secret = self._tools.objects.read(Key("secrets", NAMESPACE, str_at(member, "spec", "secretRef", "name")))
        try:
            if secret is None:
                raise InvalidError(f"there is no Secret {str_at(member, 'spec', 'secretRef', 'name')}")
            access = access_of(member, self._tools.cache.obj(secret))
            async with self._reach(access) as api:
                version = await api.version()
                self._failures[key.name] = 0
                self._successes[key.name] = self._successes.get(key.name, 0) + 1
                if self._successes[key.name] >= health.successes or not maps_at(member, "status", "conditions"):
                    await self._note(key, member, _heard(), version, await self._place(key.name, api))
                await self._carry_out(member, api)
        except (InvalidError, ssl.SSLError, ValueError) as error:
            await self._note(key, member, _malformed(str(error)), "")
        except (CallerError, UnavailableError) as error:
            self._successes[key.name] = 0
            self._failures[key.name] = self._failures.get(key.name, 0) + 1
            if self._failures[key.name] >= health.failures or not maps_at(member, "status", "conditions"):
                await self._note(key, member, _silent(str(error)), "")
        return health.period_s

    def _health_check(self) -> HealthCheck:
        """As the federation's KubeFedConfig says."""
        stored = self._tools.objects.read(Key(CONFIGS, NAMESPACE, CONFIG))
        return health_check({} if stored is None else self._tools.cache.obj(stored))

    async def _carry_out(self, member: JsonObject, api: MemberApi) -> None:
        """Raises `UnavailableError` when the member is gone meanwhile."""
        rounds = self._rounds.setdefault(name_of(member), Rounds())
        stored = self._tools.cache.indexed(MEMBER_OBJECTS_BY_MEMBER, name_of(member))
        found = {each.key.name: self._tools.cache.obj(each) for each in stored}
        rows = {name: obj for name, obj in found.items() if is_of_membership(obj, member)}
        revisions = {name: int_at(obj, "spec", "revision") for name, obj in rows.items()}
        due = [rows[name] for name in rounds.due(revisions, self._tools.clock.monotonic_s())]
        spaces = [obj for obj in due if str_at(obj, "spec", "object", "kind") == "Namespace"]
        others = [obj for obj in due if str_at(obj, "spec", "object", "kind") != "Namespace"]
        for part in (spaces, others):  # what is in namespaces needs them
            await self._each(part, api, rounds)
        await self._marks.look(name_of(member), [*found.values()], api)

    async def _each(self, rows: Sequence[JsonObject], api: MemberApi, rounds: Rounds) -> None:
        """A few at a time: one that takes long holds up none of the others. Raises as `_one`."""
        waiting = [*reversed(rows)]

        async def work() -> None:
            while waiting:
                try:
                    await self._one(waiting.pop(), api, rounds)
                except UnavailableError:
                    waiting.clear()
                    raise

        ended = await asyncio.gather(*(work() for _ in range(min(_AT_ONCE, len(rows)))), return_exceptions=True)
        for fault in ended:
            if fault is not None:
                raise fault

    async def _one(self, obj: JsonObject, api: MemberApi, rounds: Rounds) -> None:
        """Raises `UnavailableError` when it is the member that does not answer, and not this row."""
        name, revision = name_of(obj), int_at(obj, "spec", "revision")
        row, news = read_member_object(obj), False
        try:
            decision, news = await self._bring_about(obj, row, api)
        except (CallerError, UnavailableError, ValueError) as error:
            if isinstance(error, UnansweredError):
                await api.version()
            decision = Decision(act="wait", code=_failure(row), message=str(error))
            await self._note_fault(obj, row, decision)
        now_s = self._tools.clock.monotonic_s()
        if decision.code and decision.is_unserved:
            rounds.missing(name, revision, now_s)
        elif decision.code:
            rounds.failed(name, revision, now_s)
        else:
            rounds.settled(name, revision, now_s, news=news)

    async def _note_fault(self, obj: JsonObject, row: MemberObject, decision: Decision) -> None:
        try:
            await self._tell(obj, row, decision, None)
        except SkerryError as error:  # it is said at the next try: that of one row is not said ends no pass
            log.warning("a row's fault is not noted row=%s error=%s", name_of(obj), error)

    async def _bring_about(self, obj: JsonObject, row: MemberObject, api: MemberApi) -> tuple[Decision, bool]:
        """And whether it is otherwise than it was told last."""
        try:
            path = await api.path_of(row.target, any_version=bool(row.removal))
        except NotFoundError as error:
            gone = bool(row.removal)
            code = "" if gone else "CreationFailed"
            decision = Decision(act="none", removed=gone, code=code, message=str(error), is_unserved=True)
            return decision, await self._tell(obj, row, decision, None)
        try:
            decision, now = await self._act(row, obj, path, api)
        except ConflictError:  # somebody wrote in between: it is decided anew
            decision, now = await self._act(row, obj, path, api)
        backed = None
        if now is not None and row.target.kind == "Service" and row.target.api_version == "v1":
            backed = await api.backed(row.target.namespace, row.target.name)
        return decision, await self._tell(obj, row, decision, now, backed=backed)

    async def _act(
        self, row: MemberObject, obj: JsonObject, path: str, api: MemberApi
    ) -> tuple[Decision, JsonObject | None]:
        present = await api.read(path, row.target.name)
        if present is not None and not row.removal and (other := self._keeper(row, present)):
            return Decision(act="none", code="AlreadyExists", message=_TWICE.format(other=other)), present
        decision = decide(row, present, map_at(obj, "status", "applied"), in_touch=True)
        if decision.act == "delete" and present is not None and self._is_namespace_of_ours(row.target, present):
            decision = release(present)
        failing = {"create": "CreationFailed", "delete": "DeletionFailed", "release": "LabelRemovalFailed"}
        try:
            match decision.act:
                case "create":
                    assert decision.obj is not None, "what is made is said"
                    return decision, await api.create(path, decision.obj)
                case "update" | "release":
                    assert decision.obj is not None, "what is changed is said"
                    return decision, await api.replace(path, row.target.name, decision.obj)
                case "delete":
                    assert present is not None, "what is deleted is there"
                    await api.delete(path, row.target.name, uid_of(present), row.deletion)
                    if await api.read(path, row.target.name) is None:
                        return Decision(act="none", removed=True), None
                    return Decision(act="wait", code="WaitingForRemoval", message="it is going"), present
                case "none" | "wait":
                    return decision, present
        except NotFoundError as error:
            if decision.act == "delete":
                return Decision(act="none", removed=True), None
            return Decision(act="wait", code=failing.get(decision.act, "UpdateFailed"), message=str(error)), present
        except ConflictError:
            raise
        except CallerError as error:
            refused = decision.act == "update" and isinstance(error, InvalidError)
            if refused and present is not None and may_recreate(row, present):
                return await self._recreate(row, path, present, api, str(error))
            return Decision(act="wait", code=failing.get(decision.act, "UpdateFailed"), message=str(error)), present

    def _keeper(self, row: MemberObject, present: JsonObject) -> str:
        """Another member that has the object as its own; "" for none. Two that are one cluster would take it from
        each other for ever."""
        mark = annotations_of(present).get(ROW, "")
        stored = self._tools.cache.read(Key(MEMBER_OBJECTS, "", mark)) if mark not in ("", row.name) else None
        return "" if stored is None else read_member_object(self._tools.cache.obj(stored)).member

    def _is_namespace_of_ours(self, target: Target, present: JsonObject) -> bool:
        """The member is this cloud itself: all that is federated in the namespace would go with it. KubeFed leaves
        it as well."""
        own = self._tools.objects.read(Key("namespaces", "", target.name)) if target.kind == "Namespace" else None
        return own is not None and own.uid == uid_of(present)

    async def _recreate(
        self, row: MemberObject, path: str, present: JsonObject, api: MemberApi, refused: str
    ) -> tuple[Decision, JsonObject | None]:
        """As in a region (`cloudcore.federation.region_controller`)."""
        try:
            await api.create(path, trial_of(row), dry_run=True)
            await api.delete(path, row.target.name, uid_of(present), Deletion())
        except CallerError as error:
            return Decision(act="wait", code="UpdateFailed", message=f"{refused}; anew: {error}"), present
        return anew(refused), None

    async def _tell(
        self,
        obj: JsonObject,
        row: MemberObject,
        decision: Decision,
        now: JsonObject | None,
        *,
        backed: bool | None = None,
    ) -> bool:
        """Whether there was anything to tell."""
        before, at = map_at(obj, "status"), time_text(self._tools.clock.wall_ms())
        status: JsonObject = {"revision": row.revision, "plannedAt": row.planned_at}
        if decision.code:
            status["code"], status["message"] = decision.code, decision.message[:1000]
        if decision.removed:
            status["removed"] = True
        if drift := remembered(before, decision, at):
            status["drift"] = drift
        applied = before.get("applied") if decision.code or not row.manifest else row.manifest
        if applied:
            status["applied"] = applied
        if remote := map_at(now or {}, "status"):
            status["remote"] = remote
            if generation := generation_of(now or {}):
                status["generation"] = generation
        if backed is not None:
            status["backed"] = backed
        if version := version_of(before, decision, now):
            status["version"] = version
        if {name: value for name, value in before.items() if name != "observedAt"} == status:
            return False

        def telling(current: JsonObject) -> JsonObject:
            if uid_of(current) != uid_of(obj):
                return current
            return {**current, "status": {**status, "observedAt": at}}

        try:
            key = self._rows.key("", name_of(obj))
            await self._tools.objects.update(self._rows, key, telling, subresource="status")
        except NotFoundError:
            return False
        return True

    async def _place(self, member: str, api: MemberApi) -> Place | None:
        """Where it is; None where it was asked lately, or does not say: then it is where it was."""
        now_s = self._tools.clock.monotonic_s()
        if now_s - self._placed_s.get(member, -PLACE_S) < PLACE_S:
            return None
        self._placed_s[member] = now_s
        try:
            return await api.place()
        except (CallerError, UnavailableError) as error:
            log.warning("where a member is is not known member=%s error=%s", member, error)
            return None

    async def _note(
        self, key: Key, member: JsonObject, facts: Sequence[Condition], version: str, place: Place | None = None
    ) -> None:
        now_ms = self._tools.clock.wall_ms()

        def noting(current: JsonObject) -> JsonObject:
            conditions: list[Json] = [*maps_at(current, "status", "conditions")]
            for fact in facts:
                conditions = with_condition(
                    [each for each in conditions if isinstance(each, dict)], fact, now_ms=now_ms
                )
            status: JsonObject = {**map_at(current, "status"), "conditions": conditions}
            if version:
                status["kubernetesVersion"] = version
            if place is not None:
                zones: list[Json] = [*place.zones]
                status |= {"region": place.region, "zones": zones}
            return {**current, "status": status}

        if noting(member) == member:
            return
        try:
            await self._tools.objects.update(self._members, key, noting, subresource="status")
        except SkerryError:
            return


def _failure(row: MemberObject) -> str:
    """In KubeFed's words, of a row that nothing could be learned of."""
    if not row.removal:
        return "RetrievalFailed"
    return "LabelRemovalFailed" if row.removal == "Orphan" else "DeletionFailed"


def _member_of(change: Seen) -> Iterable[Key]:
    """Where what is wanted changed; statuses are written here."""
    before, after = change.before, change.after
    if before is None or after is None or map_at(before, "spec") != map_at(after, "spec"):
        yield Key(MEMBERS, NAMESPACE, str_at(change.last, "spec", "member"))


def _is_news(change: Seen) -> bool:
    before, after = change.before, change.after
    return before is None or after is None or map_at(before, "spec") != map_at(after, "spec")


def _heard() -> tuple[Condition, ...]:
    return (
        Condition(type="Ready", status="True", reason="ClusterReady", message="its API answers"),
        Condition(type="Offline", status="False", reason="ClusterReachable", message="cluster is reachable"),
        Condition(type="ClusterConfigMalformed", status="False", reason="ClusterConfigRead", message=""),
    )


def _silent(why: str) -> tuple[Condition, ...]:
    return (
        Condition(type="Ready", status="False", reason="ClusterNotReady", message=why[:300]),
        Condition(type="Offline", status="True", reason="ClusterNotReachable", message=why[:300]),
    )


def _malformed(why: str) -> tuple[Condition, ...]:
    return (
        Condition(type="Ready", status="False", reason="ClusterNotReady", message=why[:300]),
        Condition(type="ClusterConfigMalformed", status="True", reason="ClusterConfigMalformed", message=why[:300]),
    )


PLACE_S: Final = 60.0
"""Between looks at where a member's nodes are."""
