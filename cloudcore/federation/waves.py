"""Which members get the newest version of an object now, which have to wait, and why. Pure.

Members are in waves, in order; a wave begins when the one before it is in order and somebody has approved it where
that is asked for, and never ends again. Of those whose wave has begun, as many are changed at a time as the budget
has room for. Who is not heard counts in no budget: his row stays as it is until he is heard, so that who returns
is changed under the budget too; and what a silent one has not taken yet is taken back. But silence proves nothing: a
wave of which too many are silent without having shown that the version works there is judged by nobody, and holds up
the next one and the end (`Frozen`). Nobody gets what he has not been approved for; and what was stopped by somebody,
or was taken back from all, stays so until there is another version.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from cloudcore.federation.replicas import tie_of
from skerry.frozen import Frozen
from skerry.objects.rollout_policies import NO_FREEZE, RolloutPolicy, Wave, waves_of

Holds = Literal["target", "base", "other", "nothing"]
Give = Literal["target", "base", "keep", "nothing"]
State = Literal["Updated", "Updating", "Failed", "Pending", "Waiting"]
Phase = Literal[
    "Progressing",
    "WaitingForApproval",
    "Frozen",
    "Paused",
    "Halted",
    "Aborted",
    "RollingBack",
    "RolledBack",
    "Complete",
]
NAMED_MAX: Final = 5
"""Members that a sentence names."""


class Member(Frozen):
    """One that is to have the object."""

    name: str
    labels: Mapping[str, str]
    heard: bool
    heard_since_ms: int
    """Since when it is heard, or is silent."""
    holds: Holds
    """What its row says. A version that is the same for it counts as the newest that it is the same as."""
    known: bool = False
    """It has told what became of its row as that is now."""
    health: Literal["ready", "progressing", "failed", "alone"] = "progressing"
    """Of what it has, as it told last."""
    why: str = ""
    since_ms: int = 0
    """Since when it is ready, or is not."""
    fault: str = ""
    """Why it can't have the newest version at all."""
    base_fault: bool = False
    """It can't have the version before."""
    unchanged: bool = False
    """The newest version is for it what the version before is: to have it proves nothing."""

    @property
    def ready(self) -> bool:
        return self.known and self.health == "ready"

    @property
    def alone(self) -> bool:
        """It has it otherwise on purpose: nothing that happens there is by our act."""
        return self.known and self.health == "alone"

    @property
    def lacks(self) -> bool:
        return self.holds != "target"


class Past(Frozen):
    """What is remembered of the newest version."""

    begun: tuple[str, ...] = ()
    """Waves."""
    approved: Collection[str] = frozenset()
    aborted: bool = False
    paused: bool = False
    rolled_back: bool = False
    complete: bool = False
    """In this life of it."""
    proven: bool = False
    """In this life of it or before: it was everywhere."""
    has_base: bool = False
    """There is a version before that was everywhere."""
    started_ms: int | None = None
    """When it began; None: now."""


class WaveState(Frozen):
    name: str
    begun: bool
    members: tuple[str, ...]
    updated: int
    updating: int
    failed: int
    pending: int
    waiting: int


class MemberState(Frozen, kw_only=False):
    wave: str
    state: State
    why: str = ""


class Verdict(Frozen):
    gives: Mapping[str, Give]
    states: Mapping[str, MemberState]
    waves: tuple[WaveState, ...]
    begun: tuple[str, ...]
    phase: Phase
    wave: str
    """The newest that has begun."""
    message: str = ""
    again_s: float | None = None
    """When something may be otherwise by time alone."""

    @property
    def rolls_back(self) -> bool:
        return self.phase in ("RollingBack", "RolledBack")


class _Work:
    """One decision, step by step."""

    def __init__(
        self, policy: RolloutPolicy, members: Sequence[Member], past: Past, *, now_ms: int, key: str
    ) -> None:
        self.policy = policy
        self.past = past
        self.now_ms = now_ms
        ordered = sorted(members, key=lambda each: (tie_of(each.name, key), each.name))
        self.members = {each.name: each for each in ordered}
        labels = {each.name: each.labels for each in ordered}
        proves = [each for each in ordered if not each.unchanged and not each.fault]
        has = {each.name for each in proves if each.holds == "target"}
        last = self.members.keys() - {each.name for each in proves}
        self.wave_at = waves_of(policy, labels, [*self.members], has, last)
        self.in_wave: list[list[Member]] = [[] for _ in policy.waves]
        for member in ordered:
            self.in_wave[self.wave_at[member.name]].append(member)
        self.begun = [*past.begun]
        self.gives: dict[str, Give] = {}
        self.waits_ms: list[int] = []
        self.goal: Holds = "target"
        self.blocked: dict[str, str] = {}
        """Why a wave has not begun."""
        self.full: dict[str, str] = {}
        """Why a member whose wave has begun has to wait."""
        self.frozen = ""
        """Why nobody else of a wave that has begun gets it."""

    @property
    def at_once(self) -> bool:
        """It was everywhere: no waves are needed for who lacks it."""
        return self.past.complete or (self.past.proven and self.policy.rollback == "AtOnce")

    def settled(self, member: Member, *, more_s: int = 0) -> bool:
        """It has what it is to have, and was seen in order for long enough: who went silent before that was not."""
        if member.holds != self.goal or not member.ready:
            return False
        until_ms = self.now_ms if member.heard else min(self.now_ms, member.heard_since_ms)
        left_ms = (self.policy.min_ready_s + more_s) * 1000 - max(0, until_ms - member.since_ms)
        if left_ms > 0 and member.heard:
            self.waits_ms.append(left_ms)
        return left_ms <= 0

    def failed(self, member: Member) -> bool:
        if member.fault:
            return self.goal == "target" and self.policy.waves[self.wave_at[member.name]].name in self.begun
        if not member.heard or member.holds != self.goal or member.ready or member.alone:
            return False
        if member.known and member.health == "failed":
            return True
        left_ms = self.policy.deadline_s * 1000 - (self.now_ms - max(member.since_ms, member.heard_since_ms))
        if left_ms > 0:
            self.waits_ms.append(left_ms)
        return left_ms <= 0

    def unsettled(self) -> list[Member]:
        """Who is changing by our act."""
        deadline_ms = self.policy.deadline_s * 1000
        found: list[Member] = []
        for member in self.members.values():
            if not member.heard or member.holds == "nothing" or member.alone or self.failed(member):
                continue
            if member.holds == self.goal and not member.fault:
                if not self.settled(member):
                    found.append(member)
            elif not member.known and self.now_ms - max(member.since_ms, member.heard_since_ms) < deadline_ms:
                found.append(member)
        return found

    def proving(self, at: int) -> list[Member]:
        """Of a wave, those with whom the version is tried: it changes something there, and by our act."""
        return [each for each in self.in_wave[at] if not (each.unchanged or each.fault or each.alone)]

    def unjudged(self, at: int) -> list[Member]:
        """Of those, who is silent, and has not shown that it is in order."""
        soak_s = self.policy.waves[at].soak_s
        return [each for each in self.proving(at) if not each.heard and not self.settled(each, more_s=soak_s)]

    def too_many(self, silent: Sequence[Member], at: int) -> bool:
        return len(silent) * 100 > self.policy.freeze_above_percent * len(self.proving(at))

    def silence(self, at: int) -> str:
        """Why nothing follows from how the wave went: too few of it are left to judge by."""
        silent, wave = self.unjudged(at), self.policy.waves[at]
        if not silent or self.at_once or self.policy.freeze_above_percent == NO_FREEZE:
            return ""
        said = f"{len(silent)} of {len(self.proving(at))} members of {wave.name} are not heard"
        said += f" ({_names([each.name for each in silent])})"
        if self.too_many(silent, at):
            return f"{said}, and freezeAbovePercent of the RolloutPolicy is {self.policy.freeze_above_percent}"
        if not any(self.settled(each) for each in self.proving(at)):
            return f"{said}, and none of the others has shown that it works"
        return ""

    @property
    def heard(self) -> list[Member]:
        return [each for each in self.members.values() if each.heard]

    @property
    def most_failed(self) -> int:
        return self.policy.max_failed.down(len(self.heard))

    def all_failed(self) -> list[str]:
        return [each.name for each in self.members.values() if self.failed(each)]


def decide_rollout(policy: RolloutPolicy, members: Sequence[Member], past: Past, *, now_ms: int, key: str) -> Verdict:
    """`key`: of the object, for ties."""
    work = _Work(policy, members, past, now_ms=now_ms, key=key)
    if past.aborted and not past.rolled_back:
        _hold(work)
        return _verdict(
            work, "Aborted", "somebody stopped it: who has the newest version keeps it, nobody else gets it"
        )
    if past.rolled_back:
        return _back(work)
    if (stopped := _stopped(work)) is not None:
        return stopped
    phase, message = _begin(work)
    if (stopped := _stopped(work)) is not None:
        return stopped
    if past.paused or policy.paused:
        _hold(work)
    else:
        _give(work)
    if phase == "Progressing" and (past.paused or policy.paused):
        phase, message = "Paused", "it is paused: nobody else gets it"
    if phase == "Progressing" and work.frozen:
        phase, message = "Frozen", work.frozen
    if _everybody_has_it(work):
        if silence := _silence(work):
            phase, message = "Frozen", f"everybody who is heard has it, which proves too little: {silence}"
        else:
            phase, message = "Complete", _remarks(work, work.all_failed())
    return _verdict(work, phase, message)


def _stopped(work: _Work) -> Verdict | None:
    """More failed than may."""
    failed = work.all_failed()
    if len(failed) <= work.most_failed or work.at_once:
        return None
    if work.policy.on_failure == "Rollback" and work.past.has_base:
        return _back(work)
    _hold(work)
    said = f"{_names(failed)} failed, of which there may be {work.most_failed}: nobody else gets it"
    return _verdict(work, "Halted", f"{said} ({_why(work, failed[0])})")


# --- waves ---


def _begin(work: _Work) -> tuple[Phase, str]:
    """Begin what may begin; why the next one may not."""
    if work.at_once:
        work.begun = [wave.name for wave in work.policy.waves]
        return "Progressing", "every member had this version: it needs no waves"
    passed: list[str] = []
    for at, wave in enumerate(work.policy.waves):
        lacking = [each for each in work.in_wave[at] if each.lacks]
        if wave.name in work.begun or not lacking:
            continue
        gated = wave.approval and wave.name not in work.past.approved
        if not gated and not any(each.heard for each in lacking):
            passed.append(wave.name)  # it begins with the next that has somebody, and not by itself
            continue
        held_up = _held_up(work, at)
        silence = "" if held_up else _silence(work, at)
        if held_up or silence:
            work.blocked[wave.name] = held_up or silence
            return "Frozen" if silence else "Progressing", f"wave {wave.name} has not begun: {held_up or silence}"
        if gated:
            work.blocked[wave.name] = "it waits for approval"
            return "WaitingForApproval", f"wave {wave.name} waits for approval"
        if work.past.paused or work.policy.paused:
            work.blocked[wave.name] = "it is paused"
            return "Progressing", ""
        work.begun += [*passed, wave.name]
        passed = []
        if len(work.all_failed()) > work.most_failed:
            return "Progressing", ""
    for name in passed:
        work.blocked[name] = "none of its members is heard"
    return "Progressing", f"wave {passed[0]} has not begun: {work.blocked[passed[0]]}" if passed else ""


def _silence(work: _Work, at: int | None = None) -> str:
    """Why nothing follows from the waves before, or from all, as too many are silent."""
    before = range(len(work.policy.waves) if at is None else at)
    return "" if work.past.complete else next((said for each in before if (said := work.silence(each))), "")


def _held_up(work: _Work, at: int) -> str:
    """Why the wave may not begin yet: by those of any before it that are heard."""
    for wave, mine in zip(work.policy.waves[:at], work.in_wave[:at], strict=True):
        proving = [each for each in mine if not each.unchanged] or mine
        healthy = sum(not each.lacks and work.settled(each) for each in proving)
        least = min(wave.min_succeeded.up(len(mine)), len(proving))
        if healthy < least:
            return f"{healthy} of {least} members of {wave.name} are in order"
        late = [
            each.name
            for each in mine
            if each.heard
            and not (each.fault or (each.alone and not each.lacks) or work.failed(each))
            and not work.settled(each, more_s=wave.soak_s)
        ]
        if late:
            return f"{_names(late)} of {wave.name} {'is' if len(late) == 1 else 'are'} not in order for long enough"
    return ""


def _give(work: _Work) -> None:
    """To whom there is room for."""
    changing = work.unsettled()
    busy = len(changing)
    most = max(1, work.policy.max_unavailable.down(len(work.heard)))
    for at, wave in enumerate(work.policy.waves):
        mine = work.in_wave[at]
        wave_most = _wave_most(wave, mine)
        wave_busy = sum(work.wave_at[each.name] == at for each in changing)
        frozen = _goes_silent(work, at)
        for member in mine:
            if member.holds == "target" or member.fault or wave.name not in work.begun:
                _leave(work, member)
            elif work.at_once and member.holds == "nothing":
                work.gives[member.name] = "target"
            elif not member.heard:
                _leave(work, member)
            elif member in changing:
                work.gives[member.name] = "target"  # it is changing already
            elif work.at_once and member.known and not member.ready:
                work.gives[member.name] = "target"  # it is not in order as it is
            elif frozen:
                work.frozen = work.full[member.name] = frozen
                _leave(work, member)
            elif busy < most and wave_busy < wave_most:
                work.gives[member.name] = "target"
                busy, wave_busy = busy + 1, wave_busy + 1
            else:
                names = _names([each.name for each in changing] or ["others"])
                work.full[member.name] = f"{names} may be out of order at once, and no more"
                _leave(work, member)


def _goes_silent(work: _Work, at: int) -> str:
    """Why nobody else of the wave gets it: since it began one after the other went silent, perhaps by it."""
    started_ms = work.now_ms if work.past.started_ms is None else work.past.started_ms
    gone = [each for each in work.unjudged(at) if each.heard_since_ms >= started_ms]
    if not gone or work.at_once or not work.too_many(gone, at):
        return ""
    names, wave = _names([each.name for each in gone]), work.policy.waves[at].name
    return (
        f"{names} of {wave} went silent since this version began: nobody else of {wave} gets it until they are heard"
    )


def _wave_most(wave: Wave, mine: Sequence[Member]) -> int:
    heard = sum(each.heard for each in mine)
    return heard if wave.max_unavailable is None else max(1, wave.max_unavailable.down(heard))


def _leave(work: _Work, member: Member) -> None:
    """As it is; who has nothing gets what was everywhere before; what a silent one has not taken is taken back."""
    can_base = work.past.has_base and not member.base_fault
    if member.holds == "nothing":
        everywhere = work.past.complete and not member.fault
        work.gives[member.name] = "target" if everywhere else "base" if can_base else "nothing"
    elif member.holds == "target" and not member.heard and not member.known and can_base and not work.at_once:
        work.gives[member.name] = "base"
    else:
        work.gives[member.name] = "keep"


def _hold(work: _Work) -> None:
    for member in work.members.values():
        _leave(work, member)


def _everybody_has_it(work: _Work) -> bool:
    """It was so, or everybody who is heard has it, and no wave of those who do not is left to begin: an outage of all
    others proves nothing."""
    if work.past.complete:
        return True
    if any(
        each.lacks and work.policy.waves[work.wave_at[each.name]].name not in work.begun
        for each in work.members.values()
    ):
        return False
    heard = [each for each in work.heard if not each.fault]
    done = [each for each in heard if work.settled(each) or each.alone]
    return bool(done) and all(not each.lacks and (each in done or work.failed(each)) for each in heard)


# --- back ---


def _back(work: _Work) -> Verdict:
    """Everybody to the version before. Who is not in order goes at once, silent or not: then it waits for him."""
    work.goal = "base"
    changing = work.unsettled()
    busy, most = len(changing), max(1, work.policy.max_unavailable.down(len(work.heard)))
    for member in work.members.values():
        if member.holds == "base" or member.base_fault:
            work.gives[member.name] = "keep" if member.holds != "nothing" else "nothing"
        elif member.holds == "nothing" or not member.ready:
            work.gives[member.name] = "base"
        elif member.heard and busy < most:
            work.gives[member.name] = "base"
            busy += 1
        else:
            work.gives[member.name] = "keep"
    back = all(
        each.holds == "base" and (work.settled(each) or each.alone) for each in work.heard if not each.base_fault
    )
    phase: Phase = "RolledBack" if back and work.heard else "RollingBack"
    return _verdict(work, phase, "the newest version failed: members have the version before")


# --- words ---


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:NAMED_MAX])
    return f"{shown} and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else shown


def _why(work: _Work, name: str) -> str:
    member = work.members[name]
    return member.fault or member.why or f"it was not in order within {work.policy.deadline_s} s"


def _remarks(work: _Work, failed: Sequence[str]) -> str:
    silent = [each.name for each in work.members.values() if not each.heard and each.holds != "target"]
    said = [
        f"{_names(silent)}: not heard, and to get it on return" if silent else "",
        f"{_names(failed)} failed" if failed else "",
    ]
    return "; ".join(each for each in said if each)


def _state(work: _Work, member: Member) -> MemberState:
    wave = work.policy.waves[work.wave_at[member.name]].name
    if member.fault and member.heard:
        return MemberState(wave, "Failed", member.fault)
    if member.holds == work.goal:
        if work.failed(member):
            return MemberState(wave, "Failed", _why(work, member.name))
        if member.alone:
            return MemberState(wave, "Updated", member.why)
        if work.settled(member):
            return MemberState(wave, "Updated")
        if not member.heard:
            short = ", and was not in order for long enough before" if member.ready else ""
            return MemberState(wave, "Pending", f"it is not heard{short}")
        why = member.why or ("it has not told yet" if not member.known else "")
        return MemberState(wave, "Updating", why or "in order, not yet for long enough")
    if work.gives.get(member.name) == work.goal:
        return MemberState(wave, "Updating", "it gets it now" if member.heard else "it is not heard")
    if not member.heard:
        return MemberState(wave, "Pending", "it is not heard: it gets it on return, when its turn is")
    if work.goal == "base":
        return MemberState(wave, "Waiting", "others go back before it")
    return MemberState(wave, "Waiting", _waiting_for(work, member, wave))


def _waiting_for(work: _Work, member: Member, wave: str) -> str:
    if wave in work.blocked:
        return f"wave {wave} has not begun: {work.blocked[wave]}"
    if member.name in work.full:
        return work.full[member.name]
    if wave in work.begun:
        return "nobody else gets it now"
    first = next(iter(work.blocked), "")
    return f"wave {wave} comes after {first}" if first else f"wave {wave} has not begun"


def _verdict(work: _Work, phase: Phase, message: str) -> Verdict:
    states = {name: _state(work, member) for name, member in work.members.items()}
    waves: list[WaveState] = []
    for at, wave in enumerate(work.policy.waves):
        counted = [states[each.name].state for each in work.in_wave[at]]
        waves.append(
            WaveState(
                name=wave.name,
                begun=wave.name in work.begun,
                members=tuple(sorted(each.name for each in work.in_wave[at])),
                updated=counted.count("Updated"),
                updating=counted.count("Updating"),
                failed=counted.count("Failed"),
                pending=counted.count("Pending"),
                waiting=counted.count("Waiting"),
            )
        )
    newest = [wave.name for wave in work.policy.waves if wave.name in work.begun]
    return Verdict(
        gives=work.gives,
        states=states,
        waves=tuple(waves),
        begun=tuple(work.begun),
        phase=phase,
        wave=newest[-1] if newest else "",
        message=message,
        again_s=max(1.0, min(work.waits_ms) / 1000) if work.waits_ms else None,
    )
