"""Carries a RolloutPolicy out for a federated object: of what its members are to have, what they get now.

Every version is a FederatedRevision, written before any member gets it; which waves of it have begun, and what
became of it, are in its status, and are written before the rows of members. What a member has is what its row says,
so that a crash at any point, or another leader, goes on from what is there. Keeps since when members are in order;
after a crash they have their time again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cloudcore.federation.planner import Plan, Scene, plan
from cloudcore.federation.readiness import Readiness, told_readiness
from cloudcore.federation.rollout_lookup import rollout_policy_of
from cloudcore.federation.rollout_memory import STALE_MS, Memory, Sight, remembered
from cloudcore.federation.version_store import VersionStore, declared_in
from cloudcore.federation.waves import Holds, Member, Past, Verdict, decide_rollout
from cloudcore.runtime.events import Saying
from cloudcore.runtime.manager import Tools
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import condition_of
from skerry.objects.federated_versions import (
    REPLICAS,
    Version,
    at_version,
    base_of,
    live_replicas,
    version_of,
    with_replicas,
)
from skerry.objects.federation import (
    REVISIONS,
    ROLLOUT_PAUSED,
    FederatedType,
    MemberObject,
    is_ready,
    read_member_object,
)
from skerry.objects.json import Json, JsonObject, map_at, str_at, strs_at
from skerry.objects.meta import Key, annotations_of, generation_of, labels_of, name_of, uid_of
from skerry.objects.rollout_policies import REST, Amount, RolloutPolicy, Wave, read_rollout_policy
from skerry.objects.sealed_versions import is_sealed
from skerry.objects.times import ms_at, time_text

MEMBERS_MAX: Final = 500
"""Members whose states are shown; those that are not done first."""
_QUIET_S: Final = 60.0
_IN_THE_WAY_S: Final = 60.0
"""What is in the way of a version is somebody's object, or a rule of admission: nobody tells when that is gone."""
_WARNED: Final = ("Halted", "Frozen", "RollingBack", "RolledBack", "Aborted")


class Staged(Frozen):
    plan: Plan
    told: JsonObject | None = None
    """For the object's status; None without a policy."""
    again_s: float | None = None


class Subject(Frozen):
    """What is rolled out."""

    key: Key
    federated: JsonObject
    of: FederatedType
    scene: Scene
    wanted: Plan
    """What all its members are to have in the end."""
    rows: Sequence[JsonObject]
    """Its MemberObjects."""
    members: Mapping[str, JsonObject]
    """KubeFedClusters by name."""


class _Stage(Frozen):
    """One object, its versions and what its members are to have by each."""

    key: Key
    federated: JsonObject
    policy: RolloutPolicy
    target: Version
    base: Version | None
    wanted: Plan
    wanted_before: Plan
    rows: Mapping[str, tuple[MemberObject, JsonObject]]
    """By member, with what it told; no tombstones."""

    @property
    def members(self) -> list[str]:
        return sorted({*self.wanted.rows, *self.wanted.faults})


class _Began(Frozen, kw_only=False):
    life: tuple[str, int]
    """Name and number of the version."""
    at_ms: int


class Rollouts:
    """See the module."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._revisions = tools.kind(REVISIONS)
        self._versions = VersionStore(tools)
        self._recorder = tools.recorder("federation-rollout")
        self._memories: dict[Key, dict[str, Memory]] = {}
        self._told_s: dict[Key, float] = {}
        """When it was told last how what is everywhere goes."""
        self._began: dict[Key, _Began] = {}
        """When the newest version of each began, where that was here."""
        self._steady_ms = tools.clock.wall_ms() - round(tools.clock.monotonic_s() * 1000)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._memories.pop(key, None)
        self._began.pop(key, None)
        self._told_s.pop(key, None)

    async def seal(self, key: Key, federated: JsonObject | None, *, secret: bool) -> float | None:
        """What an older release wrote down in clear of a federated Secret. What can't be sealed is told, and nothing
        else of the object waits for it. Seconds after which to try again; None: all is sealed."""
        left = await self._versions.seal(key, secret=secret)
        for each in left:
            text = f"the FederatedRevision {name_of(each.revision)} is in clear yet and can't be sealed: {each.why}"
            saying = Saying(type="Warning", reason="VersionNotSealed", message=text[:1000])
            await self._recorder.say(federated or each.revision, saying)
        return _IN_THE_WAY_S if left else None

    async def stage(self, subject: Subject) -> Staged:
        """What its members get now, once that is written down."""
        key, federated, of, found = subject.key, subject.federated, subject.of, subject.wanted
        said = rollout_policy_of(self._tools.cache, key, of.kind)
        if found.reason or (said is None and not self._stopped(federated)):
            self.forget(key)
            if not found.reason:
                try:
                    await self._versions.note_declared(federated, of, _ALL_AT_ONCE.history_limit)
                except InvalidError as error:  # without waves nothing depends on it
                    saying = Saying(type="Warning", reason="VersionNotKept", message=str(error)[:1000])
                    await self._recorder.say(federated, saying)
            return Staged(plan=found)
        try:
            policy = _ALL_AT_ONCE if said is None else read_rollout_policy(said)
        except InvalidError as error:  # of a policy that was written before its field was checked
            return _unkept(subject, f"the RolloutPolicy {name_of(said or {})}: {error}")
        versions = self._versions.of(federated)
        try:
            target = await self._versions.declared(federated, of, versions)
        except InvalidError as error:
            return replace(_unkept(subject, str(error)), again_s=_IN_THE_WAY_S)
        base = base_of(versions, target.name)
        before = _NOTHING if base is None else plan(key, at_version(federated, base.data), of, subject.scene)
        stage = _Stage(
            key=key,
            federated=federated,
            policy=policy,
            target=target,
            base=base,
            wanted=found,
            wanted_before=before,
            rows=_held(subject.rows),
        )
        verdict = self._decide(stage, subject.members)
        name = "" if said is None else name_of(said)
        left_s = self._quiet_s(key, target, verdict)
        target = await self._remember(stage, verdict, name)
        await self._versions.supersede(versions, target)
        await self._versions.prune(federated, versions, target, base, policy.history_limit)
        told, waits = _told(name, target, verdict), [verdict.again_s]
        if left_s > 0:
            shown = map_at(federated, "status", "rollout")
            told = shown if all(shown.get(field) == told[field] for field in ("phase", "revision")) else told
            waits.append(left_s)
        again_s = min((each for each in waits if each is not None), default=None)
        return Staged(plan=_staged(stage, verdict), told=told, again_s=again_s)

    def _decide(self, stage: _Stage, members: Mapping[str, JsonObject]) -> Verdict:
        target = stage.target
        now_ms = self._steady_ms + round(self._tools.clock.monotonic_s() * 1000)
        past = Past(
            begun=target.begun,
            approved=target.approved,
            aborted=target.aborted,
            paused=annotations_of(stage.federated).get(ROLLOUT_PAUSED) == "true",
            rolled_back=target.outcome == "RolledBack",
            complete=target.outcome == "Complete",
            proven=target.proven,
            has_base=stage.base is not None,
            started_ms=self._started_ms(stage, now_ms),
        )
        before = self._memories.get(stage.key, {})
        memories: dict[str, Memory] = {}
        found: list[Member] = []
        for name in stage.members:
            member = members.get(name)
            if member is not None:
                seen, memories[name] = _member(stage, name, member, before.get(name), now_ms)
                found.append(seen)
        self._memories[stage.key] = memories
        tie = f"{stage.key.namespace}/{stage.key.name}"
        return decide_rollout(stage.policy, found, past, now_ms=now_ms, key=tie)

    def _started_ms(self, stage: _Stage, now_ms: int) -> int | None:
        """When the version began, by the clock that nobody sets where it began here; None: now."""
        life = (stage.target.name, stage.target.number)
        written_ms = ms_at(str_at(stage.target.obj, "status", "startedAt"))
        if not written_ms:
            self._began[stage.key] = _Began(life, now_ms)
            return None
        known = self._began.get(stage.key)
        return known.at_ms if known is not None and known.life == life else min(written_ms, now_ms)

    def _stopped(self, federated: JsonObject) -> bool:
        """What is declared was aborted, or taken back from all: that holds without a policy as well."""
        versions = self._versions.of(federated)
        newest = max(versions, key=lambda each: each.number, default=None)
        return newest is not None and newest.stopped and declared_in(versions, federated) is newest

    async def _remember(self, stage: _Stage, verdict: Verdict, policy: str) -> Version:
        """What was decided, before anything comes of it."""
        before = map_at(stage.target.obj, "status")
        status = _status(before, verdict, policy, time_text(self._tools.clock.wall_ms()))
        if is_sealed(stage.target.obj):  # so that it is known to be declared without its content
            status["observedGeneration"] = generation_of(stage.federated)
        if status == before or self._quiet_s(stage.key, stage.target, verdict) > 0:
            return stage.target
        if verdict.phase == "Complete":
            self._told_s[stage.key] = self._tools.clock.monotonic_s()
        uid, name = uid_of(stage.target.obj), stage.target.name

        def telling(current: JsonObject) -> JsonObject:
            return {**current, "status": _with_newer(status, current)} if uid_of(current) == uid else current

        key = self._revisions.key(stage.key.namespace, name)
        told = (await self._tools.objects.update(self._revisions, key, telling, subresource="status")).obj
        written = version_of(told, content=stage.target.data)
        await self._say(stage, before, verdict)
        return written

    def _quiet_s(self, key: Key, target: Version, verdict: Verdict) -> float:
        """How long nothing is written yet of what is everywhere: of a thousand members one is always in trouble, and
        each time all of them would be written down anew."""
        told = str_at(target.obj, "status", "phase"), str_at(target.obj, "status", "outcome"), target.begun
        at_s = self._told_s.get(key)
        if told != ("Complete", "Complete", verdict.begun) or verdict.phase != "Complete" or at_s is None:
            return 0
        return at_s + _QUIET_S - self._tools.clock.monotonic_s()

    async def _say(self, stage: _Stage, before: JsonObject, verdict: Verdict) -> None:
        number = stage.target.number
        sayings: list[Saying] = []
        if not before.get("phase"):
            sayings.append(Saying(type="Normal", reason="RolloutStarted", message=f"revision {number}"))
        known = stage.target.begun
        sayings += [
            Saying(type="Normal", reason="WaveStarted", message=f"wave {wave} of revision {number}")
            for wave in verdict.begun
            if wave not in known and any(each.name == wave and each.members for each in verdict.waves)
        ]
        if str_at(before, "phase") != verdict.phase and verdict.phase != "Progressing":
            text = f"revision {number}: {verdict.message}" if verdict.message else f"revision {number}"
            kind = "Warning" if verdict.phase in _WARNED else "Normal"
            sayings.append(Saying(type=kind, reason=f"Rollout{verdict.phase}", message=text[:1000]))
        for saying in sayings:
            await self._recorder.say(stage.federated, saying)


_NOTHING: Final = Plan(rows={}, faults={})
_ALL_AT_ONCE: Final = RolloutPolicy(waves=(Wave(name=REST),), max_unavailable=Amount(100, percent=True))


def _unkept(subject: Subject, why: str) -> Staged:
    """Members keep what they have, and each of those that are to have it says why."""
    wanted = {*subject.wanted.rows, *subject.wanted.faults}
    return Staged(plan=replace(subject.wanted, rows={}, faults=dict.fromkeys(wanted, why)))


def _held(rows: Sequence[JsonObject]) -> dict[str, tuple[MemberObject, JsonObject]]:
    found: dict[str, tuple[MemberObject, JsonObject]] = {}
    for obj in rows:
        row = read_member_object(obj)
        if not row.removal:
            found[row.member] = (row, map_at(obj, "status"))
    return found


def _is_since(row: MemberObject | None, echo: str, observed_ms: int) -> bool:
    """Whether what was told is of this life of the row. A member of this release says of which; of another its time
    has to do, which a clock that was set back makes too early."""
    if row is None or echo:
        return row is not None and echo == row.planned_at
    return observed_ms + STALE_MS >= ms_at(row.planned_at)


def _member(stage: _Stage, name: str, obj: JsonObject, before: Memory | None, now_ms: int) -> tuple[Member, Memory]:
    """As the planner of waves sees it."""
    row, told = stage.rows.get(name, (None, dict[str, Json]()))
    target, base = stage.wanted.rows.get(name), stage.wanted_before.rows.get(name)
    planned_ms = 0 if row is None else ms_at(row.planned_at)
    observed_ms = ms_at(str_at(told, "observedAt"))
    of_it = row is not None and told.get("revision") == row.revision
    known = of_it and _is_since(row, str_at(told, "plannedAt"), observed_ms)
    readiness = Readiness("progressing", "what it told was seen before the change") if of_it else None
    if row is not None and known:
        readiness = told_readiness(row.manifest, told, retains_replicas=REPLICAS in row.retain)
    heard = is_ready(obj)
    sight = Sight(
        revision=0 if row is None else row.revision,
        ready=readiness is not None and readiness.health == "ready",
        heard=heard,
        planned_ms=planned_ms,
        observed_ms=observed_ms,
        heard_ms=ms_at(str_at(condition_of(obj, "Ready") or {}, "lastTransitionTime")),
    )
    memory = remembered(before, sight, now_ms=now_ms, min_ready_ms=stage.policy.min_ready_s * 1000)
    member = Member(
        name=name,
        labels=labels_of(obj),
        heard=heard,
        heard_since_ms=memory.heard_since_ms,
        holds=_holds(row, target, base),
        known=known,
        health="progressing" if readiness is None else readiness.health,
        why="" if readiness is None else readiness.why,
        since_ms=memory.since_ms,
        fault="" if target is not None else stage.wanted.faults.get(name, ""),
        base_fault=base is None,
        unchanged=target is not None and base is not None and target.manifest == base.manifest,
    )
    return member, memory


def _holds(row: MemberObject | None, target: MemberObject | None, base: MemberObject | None) -> Holds:
    if row is None:
        return "nothing"
    if target is not None and row.manifest == target.manifest:
        return "target"
    return "base" if base is not None and row.manifest == base.manifest else "other"


def _staged(stage: _Stage, verdict: Verdict) -> Plan:
    """What its members get now."""
    live = dict(live_replicas(stage.federated))
    rows: dict[str, MemberObject] = {}
    for name, give in verdict.gives.items():
        target, base = stage.wanted.rows.get(name), stage.wanted_before.rows.get(name)
        match give:
            case "target" if target is not None:
                rows[name] = target
            case "base" if base is not None:
                rows[name] = base
            case "keep" if name in stage.rows and target is not None:
                rows[name] = replace(target, manifest=with_replicas(stage.rows[name][0].manifest, live.get(name)))
            case _:
                continue
    return replace(stage.wanted, rows=rows)


def _status(before: JsonObject, verdict: Verdict, policy: str, now: str) -> JsonObject:
    """Of the FederatedRevision."""
    status: JsonObject = {"policy": policy, "phase": verdict.phase, "startedAt": str_at(before, "startedAt") or now}
    if verdict.message:
        status["message"] = verdict.message[:1000]
    if verdict.wave:
        status["wave"] = verdict.wave
    begun: list[Json] = [*verdict.begun]
    status["begun"] = begun
    outcome = str_at(before, "outcome")
    if verdict.rolls_back:
        outcome = "RolledBack"
    elif verdict.phase == "Complete":
        outcome = "Complete"
    if outcome:
        status["outcome"] = outcome
    completed = str_at(before, "completedAt")
    if outcome == "Complete" and str_at(before, "outcome") != "Complete":
        completed = now
    if completed:
        status["completedAt"] = completed
    waves: list[Json] = [
        {
            "name": wave.name,
            "begun": wave.begun,
            "members": len(wave.members),
            "updated": wave.updated,
            "updating": wave.updating,
            "failed": wave.failed,
            "pending": wave.pending,
            "waiting": wave.waiting,
        }
        for wave in verdict.waves
    ]
    status["waves"] = waves
    names = sorted(verdict.states, key=lambda name: (verdict.states[name].state == "Updated", name))[:MEMBERS_MAX]
    shown: list[Json] = []
    for name in names:
        state = verdict.states[name]
        entry: JsonObject = {"name": name, "wave": state.wave, "state": state.state}
        if state.why:
            entry["message"] = state.why[:300]
        shown.append(entry)
    status["members"] = shown
    return status


def _with_newer(status: JsonObject, current: JsonObject) -> JsonObject:
    """What was written meanwhile of a wave that has begun, or of the end, stays."""
    there = map_at(current, "status")
    begun: list[Json] = [*dict.fromkeys([*strs_at(there, "begun"), *strs_at(status, "begun")])]
    outcome = str_at(there, "outcome")
    return {**status, "begun": begun, **({"outcome": outcome} if outcome else {})}


def _told(policy: str, target: Version, verdict: Verdict) -> JsonObject:
    """Of the federated object, in short."""
    told: JsonObject = {
        "policy": policy,
        "revision": target.number,
        "phase": verdict.phase,
        "updated": sum(each.state == "Updated" for each in verdict.states.values()),
        "members": len(verdict.states),
    }
    if verdict.wave:
        told["wave"] = verdict.wave
    if verdict.message:
        told["message"] = verdict.message[:1000]
    return told
