"""Which members a PlacementPolicy chooses: first and second choices, spread, and who replaces whom when. Pure.

Whoever was chosen stays as long as the policy lets it: seats are given and taken one by one, and each says why. What
moves a workload away from a member that is silent is bounded three ways: by the time it has to be silent for, by so
many moves a minute, and by how many are silent at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from cloudcore.federation.replicas import tie_of
from skerry.frozen import Frozen
from skerry.objects.placement_policies import Affinity, Candidate, Policy

MARGIN_S: Final = 30
"""Beyond a lease, until a replacement starts: for the region to stop, and for clocks that run unlike."""
MINUTE_MS: Final = 60_000
MOVES_MAX: Final = 20
"""Remembered."""


class Seat(Frozen, kw_only=False):
    member: str
    since_ms: int


class Verdict(Frozen):
    """What is to be."""

    seats: tuple[Seat, ...]
    reasons: Mapping[str, str]
    """Of every member: why it has it, or has it not."""
    choice: str
    """The affinity that counts."""
    moves_ms: tuple[int, ...]
    """When members were replaced, newest last."""
    moved: tuple[str, ...] = ()
    """Who is replaced now, or gives way."""
    frozen: str = ""
    """Why nothing is replaced now."""
    short: str = ""
    """Why it is not as the policy wants it."""
    again_s: float | None = None
    """When something may be otherwise by time alone."""

    @property
    def placed(self) -> frozenset[str]:
        return frozenset(seat.member for seat in self.seats)


class _Work:
    """One decision, step by step."""

    def __init__(self, policy: Policy, candidates: Iterable[Candidate], now_ms: int, key: str) -> None:
        self.policy = policy
        self.members = {each.name: each for each in candidates}
        self.now_ms = now_ms
        self.key = key
        self.reasons: dict[str, str] = {}
        self.waits_ms: list[int] = []

    def may_have(self, name: str) -> bool:
        """It is a member, of any of the choices."""
        member = self.members.get(name)
        return member is not None and any(each.matches(member) for each in self.policy.affinities)

    def silent_ms(self, name: str) -> int:
        member = self.members[name]
        return -1 if member.ready else self.now_ms - member.since_ms

    def stable(self, name: str) -> bool:
        """Ready for long enough to come back to."""
        failover = self.policy.failover
        if failover is None or not self.members[name].ready:
            return False
        left_ms = failover.stable_s * 1000 - (self.now_ms - self.members[name].since_ms)
        if left_ms > 0:
            self.waits_ms.append(left_ms)
        return left_ms <= 0

    def shaky(self, name: str) -> bool:
        """Heard for less than one has to be to come back to: of those that may take a seat over, the last."""
        failover, member = self.policy.failover, self.members[name]
        return failover is not None and self.now_ms - member.since_ms < failover.stable_s * 1000

    def of(self, affinity: Affinity) -> list[str]:
        return [name for name, member in self.members.items() if affinity.matches(member)]


def decide(
    policy: Policy,
    candidates: Sequence[Candidate],
    seats: Sequence[Seat],
    moves_ms: Sequence[int],
    *,
    now_ms: int,
    key: str,
) -> Verdict:
    """`seats`: as they were decided last; `key`: of the object, for ties."""
    work = _Work(policy, candidates, now_ms, key)
    recent = [at for at in moves_ms if now_ms - at < MINUTE_MS]
    frozen = _frozen(work)
    held = {seat.member: seat for seat in seats if work.may_have(seat.member)}
    lost = _lost(work, held, room=_room(policy, recent), frozen=bool(frozen))
    kept = [name for name in held if name not in lost]
    choice = _choice(work, kept, lost, frozen=bool(frozen))
    back: list[str] = []
    if policy.failover is not None and policy.failover.failback == "AfterStable" and not frozen:
        choice, back = _home(work, kept, choice, room=_room(policy, recent) - len(lost))
    chosen, short = _seated(work, choice, [name for name in kept if name not in back], lost)
    moved = [name for name in (*lost, *back) if name not in chosen]
    again = [*work.waits_ms, *(MINUTE_MS - (now_ms - at) for at in recent)]
    _explain(work, choice, chosen, lost)
    return Verdict(
        seats=tuple(held.get(name) or Seat(member=name, since_ms=now_ms) for name in sorted(chosen)),
        reasons=work.reasons,
        choice=choice.name,
        moved=tuple(moved),
        moves_ms=tuple([*moves_ms, *([now_ms] * len(moved))][-MOVES_MAX:]),
        frozen=frozen,
        short=short,
        again_s=max(1.0, min(again) / 1000) if again else None,
    )


def _room(policy: Policy, recent: Sequence[int]) -> int:
    return 0 if policy.failover is None else max(0, policy.failover.per_minute - len(recent))


def _frozen(work: _Work) -> str:
    failover = work.policy.failover
    silent = sum(not member.ready for member in work.members.values())
    if failover is None or 100 * silent <= failover.freeze_above_percent * len(work.members):
        return ""
    return f"{silent} of {len(work.members)} members are silent: nothing is replaced"


def _lost(work: _Work, held: Mapping[str, Seat], *, room: int, frozen: bool) -> list[str]:
    """Members that are replaced now, whoever has been silent longest first."""
    policy = work.policy
    if policy.failover is None:
        return []
    after_s = policy.failover.after_s
    if policy.lease_s:
        after_s = max(after_s, policy.lease_s + MARGIN_S)
    due: list[str] = []
    for name in sorted(held, key=lambda name: (-work.silent_ms(name), name)):
        silent_ms = work.silent_ms(name)
        if silent_ms < 0:
            continue
        if silent_ms < after_s * 1000:
            work.waits_ms.append(after_s * 1000 - silent_ms)
            work.reasons[name] = f"silent, and keeps it: replaced after {after_s} s of silence"
        elif frozen:
            work.reasons[name] = "silent, and keeps it: too many are"
        elif len(due) >= room:
            work.reasons[name] = "silent, and keeps it: no more moves in this minute"
        else:
            due.append(name)
    return due


def _choice(work: _Work, kept: Collection[str], lost: Collection[str], *, frozen: bool) -> Affinity:
    """The choice that counts: the present one while it can be as wanted; else the first that can; else the one of
    which there is most."""
    wanted = work.policy.count if work.policy.count is not None else 1

    def usable(affinity: Affinity) -> int:
        return sum(name in kept or (name not in lost and work.members[name].ready) for name in work.of(affinity))

    affinities = work.policy.affinities
    if kept:
        for affinity in affinities:
            inside = set(work.of(affinity))
            if all(name in inside for name in kept) and (frozen or usable(affinity) >= wanted):
                return affinity
    for affinity in affinities:
        if usable(affinity) >= wanted:
            return affinity
    return max(affinities, key=lambda each: (usable(each), -affinities.index(each)))


def _home(work: _Work, kept: Sequence[str], choice: Affinity, *, room: int) -> tuple[Affinity, list[str]]:
    """An earlier choice that has been stable, and who gives way to it now, no more than `room`; else the present one
    and nobody."""
    wanted = work.policy.count if work.policy.count is not None else 1
    for affinity in work.policy.affinities:
        inside = work.of(affinity)
        if affinity is choice and all(name in inside for name in kept):
            break
        if sum(name in kept or work.stable(name) for name in inside) >= wanted:
            strangers = sorted(name for name in kept if name not in inside)[: max(0, room)]
            for name in strangers:
                work.reasons[name] = f"gave way: {affinity.name} is stable again"
            return affinity, strangers  # who has to wait gives way later, to the same choice
    return choice, []


def _seated(work: _Work, choice: Affinity, kept: Sequence[str], lost: Collection[str]) -> tuple[set[str], str]:
    policy = work.policy
    inside = work.of(choice)
    wanted = policy.count
    counts = [Counter[str]() for _ in policy.spreads]
    chosen: set[str] = set()

    def fits(name: str) -> bool:
        return all(
            spread.most is None or count[spread.group_of(work.members[name])] < spread.most
            for spread, count in zip(policy.spreads, counts, strict=True)
        )

    def seat(name: str) -> None:
        chosen.add(name)
        for spread, count in zip(policy.spreads, counts, strict=True):
            count[spread.group_of(work.members[name])] += 1

    def crowd(name: str) -> tuple[int, ...]:
        return tuple(
            count[spread.group_of(work.members[name])] for spread, count in zip(policy.spreads, counts, strict=True)
        )

    def full() -> bool:
        return wanted is not None and len(chosen) >= wanted

    standing = sorted(kept, key=lambda name: tie_of(name, work.key))
    while standing and not full():  # who has it, first; where there are too many, evenly
        name = min(standing, key=lambda each: (crowd(each), tie_of(each, work.key)))
        standing.remove(name)
        if fits(name):
            seat(name)
        else:
            work.reasons[name] = "had it, and its group has as many as it may"
    for name in standing:
        work.reasons[name] = f"had it, and {wanted} have it already"
    waiting = [name for name in inside if name not in chosen and name not in lost and name not in work.reasons]
    if wanted is not None or policy.failover is not None:
        waiting = [name for name in waiting if work.members[name].ready]
    while waiting and not full():
        name = min(waiting, key=lambda each: (crowd(each), work.shaky(each), tie_of(each, work.key)))
        waiting.remove(name)
        if fits(name):
            seat(name)
        else:
            work.reasons[name] = "its group has as many as it may"
    for name in lost:  # whose seat nobody can take, keeps it
        if not full() and fits(name) and (wanted is not None or name in inside or not chosen):
            seat(name)
            work.reasons[name] = "silent for too long, and nobody else can take it"
    return chosen, _short(policy, chosen, counts)


def _short(policy: Policy, chosen: Collection[str], counts: Sequence[Counter[str]]) -> str:
    if policy.count is not None and len(chosen) < policy.count:
        return f"{len(chosen)} of {policy.count} members: no others are heard that may have it"
    for spread, count in zip(policy.spreads, counts, strict=True):
        if len(count) < spread.least_groups and chosen:
            return f"in {len(count)} of {spread.least_groups} by {spread.label or spread.by}: nobody else is heard"
    return "" if chosen or policy.count == 0 else "no member may have it"


def _explain(work: _Work, choice: Affinity, chosen: Collection[str], lost: Collection[str]) -> None:
    for name, member in work.members.items():
        if name in chosen:
            work.reasons.setdefault(name, f"chosen: {choice.name}" if choice.matches(member) else "has it, and stays")
        elif name in lost:
            work.reasons[name] = "silent for too long: replaced"
        elif name not in work.reasons:
            if not any(each.matches(member) for each in work.policy.affinities):
                work.reasons[name] = "no affinity names or selects it"
            elif not choice.matches(member):
                work.reasons[name] = f"{choice.name} counts, which it is not of"
            elif not member.ready:
                work.reasons[name] = "it is not heard"
            else:
                work.reasons[name] = "as many as are wanted have it already"
