"""Desired values, and how two sides that both wrote agree.

Both ends must come to the same answer alone, so the rules live here, in pure code. Each desired value carries a
version vector: how many writes of the cloud and how many of the edge its writer had seen. One vector covers the
other: the later write stands, whatever the clocks say. Neither does: a true conflict, settled by the property's
policy; the loser is kept beside the winner. A hybrid logical clock only breaks ties of true conflicts, because the
clock of a gateway without a battery can't be trusted with anything else.

A removal is a write as any other: a *tombstone* that carries the next version, and stands where a value stood until
both sides have seen it. A cloud restored from a backup counts in another *life*, so that what it writes then is never
taken for having seen what was lost. Keeps no data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, TypeAlias, get_args

from skerry.frozen import Frozen, replace
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, maps_at, str_at

Side = Literal["cloud", "edge"]

Policy = Literal["newest", "cloud", "edge", "min", "max", "off", "manual"]
"""Who wins a true conflict: the later by hybrid clock; one side; the safe one, which is the smaller or larger number,
or what is nearest to off; or, with `manual`, whom a person names: until then nothing more is carried out."""

OnReconnect = Literal["apply", "confirm", "drop"]
"""What becomes of a desired value that the cloud was given while the gateway was away: it is carried out, waits for
somebody to want it once more, or is not carried out."""

CLOCK_LEAD_MS_MAX: Final = 5 * 60 * 1000
"""A hybrid clock follows another's at most this far ahead of its own wall clock, so that one fast gateway does
not drag everyone's time into the future."""

RIVALS_MAX: Final = 4
"""Values that lost and are kept: of each side, and of lives of the cloud that were lost with it."""

LIVES_MAX: Final = 32
"""Lives of the cloud that a version tells of: nobody restores one cloud more often."""


class Vector(Frozen):
    """How many writes of each side a write had seen, itself included."""

    cloud: int = 0
    """Of the cloud's first life."""
    edge: int = 0
    lives: tuple[tuple[str, int], ...] = ()
    """Of its later lives, each since a restore from a backup; by name."""

    def covers(self, other: Vector) -> bool:
        """Whoever wrote this had seen the other (or they are the same)."""
        if self.cloud < other.cloud or self.edge < other.edge:
            return False
        mine = dict(self.lives)
        return all(mine.get(life, 0) >= count for life, count in other.lives)

    def joined(self, other: Vector) -> Vector:
        lives = dict(self.lives)
        for life, count in other.lives:
            lives[life] = max(lives.get(life, 0), count)
        return Vector(
            cloud=max(self.cloud, other.cloud), edge=max(self.edge, other.edge), lives=tuple(sorted(lives.items()))
        )

    def advanced(self, side: Side, *, life: str = "", above: int = 0) -> Vector:
        """The vector of the next write by `side`; in this `life` of the cloud, counting from `above` at least."""
        if side == "edge":
            return replace(self, edge=self.edge + 1)
        if not life:
            return replace(self, cloud=max(self.cloud, above) + 1)
        lives = dict(self.lives)
        lives[life] = max(lives.get(life, 0), above) + 1
        return replace(self, lives=tuple(sorted(lives.items())))

    def __str__(self) -> str:
        return f"{self.cloud}.{self.edge}" + "".join(f"+{life}:{count}" for life, count in self.lives)


UNSEEN: Final = Vector()
"""Nothing was written yet, as far as is known."""


def vector_of(text: str) -> Vector:
    """`3.1` -> three writes of the cloud, one of the edge; `3.1+5e2a:2`: two more since the cloud was restored. What
    does not parse is the beginning: `0.0`."""
    counts, *later = text.split("+")
    cloud, _, edge = counts.partition(".")
    lives = [life.rpartition(":") for life in later]
    numbers = (cloud, edge, *(count for _, _, count in lives))
    if len(lives) > LIVES_MAX or not all(number.isdecimal() and len(number) < 19 for number in numbers):
        return Vector()
    return Vector(
        cloud=int(cloud), edge=int(edge), lives=tuple(sorted((name, int(count)) for name, _, count in lives))
    )


class Hlc(Frozen, kw_only=False, order=True):
    """A hybrid logical clock reading: never smaller than what its writer had seen (Kulkarni et al., 2014)."""

    wall_ms: int
    counter: int

    def __str__(self) -> str:
        return f"{self.wall_ms}.{self.counter}"


HLC_ZERO: Final = Hlc(0, 0)


def hlc_of(text: str) -> Hlc:
    """`1750000000000.2`. What does not parse is older than everything."""
    wall, _, counter = text.partition(".")
    if not (wall.isdecimal() and counter.isdecimal()):
        return HLC_ZERO
    return Hlc(int(wall), int(counter))


def next_hlc(seen: Hlc, now_ms: int) -> Hlc:
    """The reading for a write made at `now_ms` by someone who has seen `seen`, clamped (`CLOCK_LEAD_MS_MAX`)."""
    if now_ms > seen.wall_ms:
        return Hlc(now_ms, 0)
    if seen.wall_ms > now_ms + CLOCK_LEAD_MS_MAX:
        return Hlc(now_ms + CLOCK_LEAD_MS_MAX, 0)
    return Hlc(seen.wall_ms, seen.counter + 1)


class Desired(Frozen):
    """What is wanted of one property, and who wanted it when."""

    value: str
    ver: Vector
    hlc: Hlc
    side: Side
    """Which side wrote it."""
    origin: str
    """Who, for people and the audit: a user, `local:uid 0`."""
    synced: bool = True
    """The writer's clock was known to be right."""
    expires_ms: int | None = None
    """Wall clock milliseconds after which it must not be applied any more; None: never."""
    on_reconnect: OnReconnect | None = None
    """None: as the property's twin says."""
    removed: bool = False
    """A tombstone: nothing is wanted any more; the value is ""."""
    fallback: bool = False
    """Written by the gateway itself, because nobody was heard for too long. It never wins against anybody's wish."""
    waiting: bool = False
    """A true conflict that a person is to settle: until then nothing more is carried out."""
    write: Vector | None = None
    """The version that the write itself had, where `ver` tells of others that were merged in since; else None."""
    rivals: tuple[Desired, ...] = ()
    """What others had written and nobody has overwritten knowingly, as it was written; the latest first."""

    @property
    def conflict(self) -> Desired | None:
        """The value that lost a true conflict against this one, kept so that its author can find it."""
        mine = (self.value, self.removed)
        return next((rival for rival in self.rivals if (rival.value, rival.removed) != mine), None)

    @property
    def alone(self) -> Desired:
        """As it was written."""
        if self.write is None and not self.rivals and not self.waiting:
            return self
        return replace(self, ver=self.write or self.ver, write=None, rivals=(), waiting=False)

    def is_same_write(self, other: Desired) -> bool:
        """Both are one write, whatever was merged in since."""
        return self.alone == other.alone


class Wish(Frozen):
    """What somebody on a gateway wants of one property."""

    prop: str
    value: str | None = None
    """None, where nothing is taken either: nothing is wanted any more."""
    take: str = ""
    """In place of a value: `cloud` or `edge` (what that side wrote in a conflict), or `desired` (what is wanted now,
    to be wanted anew)."""
    expires_ms: int | None = None
    on_reconnect: OnReconnect | None = None
    """Kept for when the cloud's own word is wanted again; None: as the property's twin says."""
    if_match: str = ""
    """The version that its author has seen."""
    fallback: bool = False
    """Nobody wants it: it is what the gateway does by itself while nobody is heard."""


def write_desired(
    before: Desired | None,
    *,
    value: str,
    side: Side,
    origin: str,
    now_ms: int,
    synced: bool,
    expires_ms: int | None,
    on_reconnect: OnReconnect | None = None,
    removed: bool = False,
    fallback: bool = False,
    after: Hlc = HLC_ZERO,
) -> Desired:
    """The record of a new write by `side`, which has seen `before`, and comes after another of the same author's."""
    return Desired(
        value=value,
        ver=(before.ver if before else Vector()).advanced(side),
        hlc=next_hlc(max(before.hlc if before else HLC_ZERO, after), now_ms),
        side=side,
        origin=origin,
        synced=synced,
        expires_ms=expires_ms,
        on_reconnect=on_reconnect,
        removed=removed,
        fallback=fallback,
    )


def merge(mine: Desired | None, theirs: Desired | None, policy: Policy) -> Desired | None:
    """What both sides hold after they have exchanged these. Commutative, idempotent, and never loses a write that
    nobody contested, whatever the clocks were."""
    if mine is None or theirs is None or mine == theirs:
        return mine or theirs
    rank = _RANKS[policy]
    winner, *losers = sorted(_standing(mine, theirs), key=rank, reverse=True)
    losers.sort(key=lambda lost: (lost.hlc, rank(lost)), reverse=True)
    ver = mine.ver.joined(theirs.ver)
    merged = replace(
        winner, ver=ver, write=None if winner.ver == ver else winner.ver, rivals=tuple(losers[:RIVALS_MAX])
    )
    lost = merged.conflict
    asks = lost is not None and policy == "manual" and not (winner.fallback or lost.fallback)
    waits = lost is not None and (mine.waiting or theirs.waiting)
    return replace(merged, waiting=True) if asks or waits else merged


def _standing(mine: Desired, theirs: Desired) -> list[Desired]:
    """The writes that neither side knows to be overwritten. (Dotted version vectors: Preguiça et al., 2010.)"""
    here, there = (mine.alone, *mine.rivals), (theirs.alone, *theirs.rivals)
    found = [write for write in here if write in there or not _is_past(write, theirs, there)]
    found += [write for write in there if write not in here and not _is_past(write, mine, here)]
    return found


def _is_past(write: Desired, other: Desired, writes: Sequence[Desired]) -> bool:
    """The other side has seen the write, and holds it no more. (One version may be given out twice: by a gateway that
    was set back to an older copy of its store. Then it says nothing.)"""
    return other.ver.covers(write.ver) and all(held.ver != write.ver for held in writes)


Rank: TypeAlias = "tuple[bool, bool, Decimal, bool, Hlc, bool, str, str, int, bool, bool, str, str]"
"""A total order, so that either side picks the same winner."""


def _rank(desired: Desired, *, first: Decimal, by_clock: bool = False) -> Rank:
    # An unsynced clock proves nothing: such a write loses to a synced one, and among themselves the cloud decides.
    return (
        not desired.fallback,
        desired.synced or not by_clock,
        first,
        desired.side == "cloud" and not desired.synced,
        desired.hlc,
        desired.side == "cloud",
        desired.value,
        desired.origin,
        -1 if desired.expires_ms is None else desired.expires_ms,
        desired.synced,
        desired.removed,
        desired.on_reconnect or "",
        str(desired.ver),
    )


def _by_side(side: Side) -> Callable[[Desired], Rank]:
    return lambda desired: _rank(desired, first=Decimal(desired.side == side))


def _by_number(measure: Callable[[Decimal], Decimal]) -> Callable[[Desired], Rank]:
    def rank(desired: Desired) -> Rank:
        number = _number(desired.value)
        # What is not a number is never the safe choice.
        first = measure(number) if number.is_finite() else Decimal("-Infinity")
        return _rank(desired, first=first)

    return rank


def _number(text: str) -> Decimal:
    """NaN for what is none."""
    plain = text.strip().lower()
    if plain in TRUE or plain in FALSE:
        return Decimal(plain in TRUE)
    try:
        return Decimal(plain)
    except InvalidOperation:
        return Decimal("NaN")


TRUE: Final = frozenset({"true", "1", "on"})
FALSE: Final = frozenset({"false", "0", "off"})
"""How BOOLEAN values are written."""

_RANKS: Final[dict[Policy, Callable[[Desired], Rank]]] = {
    "newest": lambda desired: _rank(desired, first=Decimal(0), by_clock=True),
    "cloud": _by_side("cloud"),
    "edge": _by_side("edge"),
    "min": _by_number(lambda number: -number),
    "max": _by_number(lambda number: number),
    "off": _by_number(lambda number: -abs(number)),
    # What the device was last told to do stands: the gateway's.
    "manual": _by_side("edge"),
}

POLICIES: Final[tuple[Policy, ...]] = tuple(_RANKS)

_OTHER_NAMES: Final[dict[str, Policy]] = {"safe": "off", "safe(min)": "min", "safe(max)": "max", "safe(off)": "off"}


def policy_of(text: str) -> Policy | None:
    """None for a policy that does not exist. `safe(min)` is `min`, and `safe` alone `off`."""
    return text if text in POLICIES else _OTHER_NAMES.get(text.replace(" ", ""))


ON_RECONNECT: Final[tuple[OnReconnect, ...]] = get_args(OnReconnect)


def on_reconnect_of(text: str) -> OnReconnect | None:
    """None for a word that means nothing here."""
    return text if text in ON_RECONNECT else None


def side_of(text: str) -> Side:
    return "edge" if text == "edge" else "cloud"


# --- JSON -------------------------------------------------------------------------------------------------


def desired_json(desired: Desired) -> JsonObject:
    out: JsonObject = {
        "value": desired.value,
        "ver": str(desired.ver),
        "hlc": str(desired.hlc),
        "side": desired.side,
        "origin": desired.origin,
    }
    if not desired.synced:
        out["synced"] = False
    if desired.expires_ms is not None:
        out["expires"] = desired.expires_ms
    if desired.on_reconnect:
        out["onReconnect"] = desired.on_reconnect
    marks = {"removed": desired.removed, "fallback": desired.fallback, "waiting": desired.waiting}
    out |= {name: True for name, marked in marks.items() if marked}
    if desired.write is not None:
        out["write"] = str(desired.write)
    if desired.rivals:
        out["rivals"] = [desired_json(rival) for rival in desired.rivals]
    return out


def desired_from(data: Json) -> Desired | None:
    """Inverse of `desired_json`; None where there is none."""
    if not isinstance(data, dict):
        return None
    rivals = [desired_from({**rival, "rivals": []}) for rival in maps_at(data, "rivals")[:RIVALS_MAX]]
    return Desired(
        value=str_at(data, "value"),
        ver=vector_of(str_at(data, "ver")),
        hlc=hlc_of(str_at(data, "hlc")),
        side=side_of(str_at(data, "side")),
        origin=str_at(data, "origin"),
        synced=bool_at(data, "synced", default=True),
        expires_ms=int_at(data, "expires") if isinstance(dig(data, "expires"), int) else None,
        on_reconnect=on_reconnect_of(str_at(data, "onReconnect")),
        removed=bool_at(data, "removed"),
        fallback=bool_at(data, "fallback"),
        waiting=bool_at(data, "waiting"),
        write=vector_of(str_at(data, "write")) if "write" in data else None,
        rivals=tuple(rival for rival in rivals if rival is not None),
    )
