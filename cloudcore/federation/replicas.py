"""How many replicas each member runs: minimums first, the rest by weight, what runs stays where it is.

The rest is divided by Webster's method (Sainte-Laguë): one seat after the other goes to the member with the largest
weight / (2 · seats + 1). KubeFed's planner rounds each share up, in turns, and so takes a replica away from one
member when another is added to the whole, in one of four cases; here more replicas never take one from anybody, and
more weight never one from the member that has it. What KubeFed's planner decides beside that is kept (`planner.go`):
minimums by weight, heaviest first, are not part of the shares; a member has its least even where it has no weight;
without `rebalance` nothing that runs moves for the sake of shares; ties go by a hash of the member and the object, so
that the odd replicas of many objects do not all land on one member.

A member that is full takes no more. Where all that may have more are full, the rest is *parked*: asked of them all
the same, so that their autoscalers see pods that wait. What is beyond every maximum, or has nobody with a weight, is
`unplaced`. Pure.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen

TOTAL_MAX: Final = 1_000_000
"""Replicas that are divided at a time."""
_HALVINGS: Final = 100
_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


class Share(Frozen):
    """What a member is to have of the whole."""

    weight: int = 0
    least: int = 0
    most: int | None = None
    """None: any number."""


class Member(Frozen):
    """One that may have some, as far as it is known."""

    name: str
    share: Share
    current: int = 0
    """Replicas that run there."""
    capacity: int | None = None
    """As many as it has room for; None where nobody said so."""


class Division(Frozen):
    """How many each has; members that have none stand with 0."""

    replicas: Mapping[str, int]
    """With what is parked."""
    parked: Mapping[str, int]
    """Of `replicas`, those that have no room yet. Only members that have some."""
    short: Mapping[str, int]
    """How many members are below their least. Only those."""
    unplaced: int
    """Nobody may have them."""


def divide(total: int, members: Iterable[Member], *, key: str, rebalance: bool) -> Division:
    """`key`: namespace/name of the object. `rebalance`: by weight alone, whatever runs.

    Raises `InvalidError` for shares and totals that make no sense."""
    if not 0 <= total <= TOTAL_MAX:
        raise InvalidError(f"totalReplicas: {total} is not between 0 and {TOTAL_MAX}")
    order = _in_order(members, key)
    room = {member.name: _room(member, full=False) for member in order}
    seats = _least(order, total, room)
    left = total - sum(seats.values())
    extra = {
        member.name: 0 if rebalance else max(0, _within(member.current, room[member.name]) - seats[member.name])
        for member in order
    }
    running = sum(extra.values())
    if running > left:
        _take_away(order, extra, left)
        left = 0
    else:
        left = _hand_out(order, seats, extra, room, left - running)
    parked = dict.fromkeys(extra, 0)
    if left:
        most = {member.name: _room(member, full=True) for member in order}
        taken = {name: seats[name] + extra[name] for name in seats}
        left = _hand_out(order, taken, parked, most, left)
    return Division(
        replicas={name: seats[name] + extra[name] + parked[name] for name in sorted(seats)},
        parked={name: count for name, count in sorted(parked.items()) if count},
        short={
            member.name: member.share.least - seats[member.name]
            for member in sorted(order, key=lambda member: member.name)
            if seats[member.name] < member.share.least
        },
        unplaced=left,
    )


def share_of(name: str, shares: Mapping[str, Share]) -> Share | None:
    """As a ReplicaSchedulingPreference has them: by name, else as `*`; None for a member that has no part. Without
    any shares all have the same."""
    if not shares:
        return Share(weight=1)
    return shares.get(name, shares.get("*"))


def _in_order(members: Iterable[Member], key: str) -> list[Member]:
    found = sorted(members, key=lambda member: (-member.share.weight, tie_of(member.name, key), member.name))
    for member in found:
        share = member.share
        if min(share.weight, share.least) < 0 or (share.most is not None and share.most < 0):
            raise InvalidError(f"clusters[{member.name}]: weight, minReplicas and maxReplicas are 0 or more")
        if share.most is not None and share.least > share.most:
            raise InvalidError(
                f"clusters[{member.name}]: minReplicas {share.least} is more than maxReplicas {share.most}"
            )
    if len({member.name for member in found}) < len(found):
        raise InvalidError("clusters: a member is named twice")
    return found


def _room(member: Member, *, full: bool) -> int | None:
    """Replicas that it may have at most; None: any number. `full`: whatever room it has."""
    limits = [member.share.most, None if full else member.capacity]
    known = [max(0, limit) for limit in limits if limit is not None]
    return min(known, default=None)


def _within(count: int, room: int | None) -> int:
    return count if room is None else min(count, room)


def _least(order: Sequence[Member], total: int, room: Mapping[str, int | None]) -> dict[str, int]:
    seats: dict[str, int] = {}
    for member in order:
        seats[member.name] = _within(min(member.share.least, total), room[member.name])
        total -= seats[member.name]
    return seats


def _hand_out(
    order: Sequence[Member],
    seats: Mapping[str, int],
    extra: dict[str, int],
    room: Mapping[str, int | None],
    left: int,
) -> int:
    """Seat after seat to whoever is first by Webster; how many nobody may have. Changes `extra`."""
    left = _in_bulk(order, seats, extra, room, left)

    def may(name: str) -> bool:
        limit = room[name]
        return limit is None or seats[name] + extra[name] < limit

    heap = [
        (_priority(member, extra[member.name]), at)
        for at, member in enumerate(order)
        if member.share.weight and may(member.name)
    ]
    heapq.heapify(heap)
    while left and heap:
        _, at = heap[0]
        member = order[at]
        extra[member.name] += 1
        left -= 1
        if may(member.name):
            heapq.heapreplace(heap, (_priority(member, extra[member.name]), at))
        else:
            heapq.heappop(heap)
    return left


def _in_bulk(
    order: Sequence[Member],
    seats: Mapping[str, int],
    extra: dict[str, int],
    room: Mapping[str, int | None],
    left: int,
) -> int:
    """Hand out what everybody has by Webster for sure, so that a million seats are not a million turns; how many are
    left. All seats whose priority is above a number come before all others: the least number is looked for above
    which there are no more than are to be handed out. The last seat of each is left to its turn, for what floats are
    worth. Changes `extra`."""
    some = [member for member in order if member.share.weight]
    if not some or left <= 4 * len(some):
        return left
    limits = {member.name: room[member.name] for member in some}
    free = {
        name: left + extra[name] if limit is None else max(extra[name], limit - seats[name])
        for name, limit in limits.items()
    }

    def upto(above: float) -> dict[str, int]:
        wanted = {member.name: int((member.share.weight / above + 1) / 2) for member in some}
        return {name: max(extra[name], min(count, free[name])) for name, count in wanted.items()}

    weights = [member.share.weight for member in some]
    low, high = min(weights) / (2.0 * left + 2.0), max(weights) * 2.0
    has = sum(extra[member.name] for member in some)
    for _ in range(_HALVINGS):
        middle = math.sqrt(low) * math.sqrt(high)
        if sum(upto(middle).values()) - has <= left:
            high = middle
        else:
            low = middle
    for name, count in upto(high).items():
        given = max(0, count - 1 - extra[name])
        extra[name] += given
        left -= given
    return left


def _take_away(order: Sequence[Member], extra: dict[str, int], left: int) -> None:
    """The seats that Webster would hand out last go first: as many stay as are `left`. Changes `extra`."""
    before = dict(extra)
    extra.update(dict.fromkeys(extra, 0))
    left = _hand_out(order, dict.fromkeys(extra, 0), extra, before, left)
    for member in order:
        if not member.share.weight:
            extra[member.name] = min(before[member.name], left)
            left -= extra[member.name]


def _priority(member: Member, seats: int) -> float:
    """The smallest has the next seat."""
    return -member.share.weight / (2 * seats + 1)


def tie_of(member: str, key: str) -> int:
    """By which members are ordered that are alike, for the object of this key (KubeFed's way)."""
    return _fnv(member + key)


def _fnv(text: str) -> int:
    """FNV-1, 32 bits."""
    found = _FNV_OFFSET
    for byte in text.encode():
        found = (found * _FNV_PRIME) & 0xFFFFFFFF ^ byte
    return found
