"""How many bytes travelled between a gateway and its cloud, by direction and class; for both ends and the CLI.

Counted are frames, as deflated (what Skerry says), and beside them what the network carried for that: headers of IP
and TCP, TLS, handshakes, repetitions. *Up* is from the gateway to the cloud. Pure; keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

from skerry.errors import InvalidError
from skerry.frozen import Frozen, field
from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at
from skerry.objects.times import ms_at, time_text

TrafficClass = Literal["session", "objects", "prompt", "live", "backfill", "streams"]
CLASSES: Final[tuple[TrafficClass, ...]] = get_args(TrafficClass)
"""session: greetings, signs of life, comparisons and acknowledgements. objects: the view. prompt: states, events,
results. live and backfill: readings of now and of earlier. streams: logs and the like."""
BUDGET: Final = "skerry.dev/traffic-budget"
"""Annotation of a Node: `daily=2MB,monthly=50MB`, of bytes on the network in both directions together."""

BUDGETS: Final = ("daily", "monthly")
BUDGET_LENGTH_MAX: Final = 200

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
HOURS_KEPT: Final = 72
DAYS_KEPT: Final = 62


class Usage(Frozen):
    """What travelled in some time."""

    up: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of frames by class."""
    down: Mapping[str, int] = field(default_factory=dict[str, int])
    wire_up: int = 0
    """Bytes of IP packets, as the kernel counts them; estimated where it can't say."""
    wire_down: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            up=_sum(self.up, other.up),
            down=_sum(self.down, other.down),
            wire_up=self.wire_up + other.wire_up,
            wire_down=self.wire_down + other.wire_down,
        )

    def __sub__(self, other: Usage) -> Usage:
        """Without what was counted in it before."""
        return Usage(
            up={name: count - other.up.get(name, 0) for name, count in self.up.items()},
            down={name: count - other.down.get(name, 0) for name, count in self.down.items()},
            wire_up=self.wire_up - other.wire_up,
            wire_down=self.wire_down - other.wire_down,
        )

    def __bool__(self) -> bool:
        return bool(any(self.up.values()) or any(self.down.values()) or self.wire_up or self.wire_down)

    @property
    def wire(self) -> int:
        return self.wire_up + self.wire_down

    def shown(self) -> JsonObject:
        return {
            "up": {name: count for name, count in self.up.items() if count},
            "down": {name: count for name, count in self.down.items() if count},
            "wireUp": self.wire_up,
            "wireDown": self.wire_down,
        }

    @classmethod
    def read(cls, obj: JsonObject) -> Usage:
        return cls(
            up={name: int_at(obj, "up", name) for name in map_at(obj, "up")},
            down={name: int_at(obj, "down", name) for name in map_at(obj, "down")},
            wire_up=int_at(obj, "wireUp"),
            wire_down=int_at(obj, "wireDown"),
        )


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one.keys() | other.keys()}


class TrafficBook:
    """Usage by hour and by day (UTC), as far back as is kept."""

    def __init__(self) -> None:
        self._hours: dict[int, Usage] = {}
        self._days: dict[int, Usage] = {}

    def add(self, usage: Usage, at_ms: int) -> None:
        for kept, size_ms, count in ((self._hours, HOUR_MS, HOURS_KEPT), (self._days, DAY_MS, DAYS_KEPT)):
            start_ms = at_ms - at_ms % size_ms
            kept[start_ms] = kept.get(start_ms, Usage()) + usage
            for old in sorted(kept)[:-count]:
                del kept[old]

    @property
    def begin_ms(self) -> int | None:
        """Where the earliest hour or day begins that is known; None where nothing is."""
        return min(self._hours if len(self._hours) < HOURS_KEPT else (*self._hours, *self._days), default=None)

    def since(self, since_ms: int) -> Usage:
        """All of the time since then, the hour or day that it lies in counted whole (`whole_since` says where that
        begins): by hours as far as they reach, by days before."""
        if len(self._hours) < HOURS_KEPT or since_ms >= min(self._hours):
            return sum((usage for start, usage in self._hours.items() if start + HOUR_MS > since_ms), Usage())
        return sum((usage for start, usage in self._days.items() if start + DAY_MS > since_ms), Usage())

    def shown(self) -> JsonObject:
        return {"hours": _rows(self._hours), "days": _rows(self._days)}

    @classmethod
    def read(cls, obj: JsonObject) -> TrafficBook:
        book = cls()
        for name, kept in (("hours", book._hours), ("days", book._days)):
            for row in maps_at(obj, name):
                time = row.get("time")
                if isinstance(time, str):
                    kept[ms_at(time)] = Usage.read(row)
        return book

    @classmethod
    def of(cls, items: Iterable[tuple[int, Usage]]) -> TrafficBook:
        book = cls()
        for at_ms, usage in items:
            book.add(usage, at_ms)
        return book


def whole_since(since_ms: int, now_ms: int, *, days_kept: int = DAYS_KEPT) -> int:
    """Where the hour begins that a time lies in, or the day where hours are not kept so long (UTC); not before what
    is kept at all. What a book counts since then, it counts exactly."""
    first_ms = now_ms - days_kept * DAY_MS
    from_ms = max(since_ms, first_ms)
    size_ms = HOUR_MS if now_ms - from_ms < (HOURS_KEPT - 1) * HOUR_MS else DAY_MS
    start_ms = from_ms - from_ms % size_ms
    return start_ms + size_ms if since_ms < first_ms else start_ms


def _rows(kept: Mapping[int, Usage]) -> list[Json]:
    return [{"time": time_text(start), **kept[start].shown()} for start in sorted(kept)]


# --- words for people ---

_SIZE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)")
_UNITS: Final = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}


def size_text(count: int) -> str:
    """As a bill has it, in powers of ten: 812 B, 4.1 kB, 1.3 MB."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes all")


def parse_size(text: str) -> int:
    """`500kB`, `2 MB`, `1.5GiB` in bytes. Raises `InvalidError`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidError(f"{text!r} is no size: write 500kB, 2MB or 1.5GB")
    return round(float(found[1]) * _UNITS[found[2]])


def parse_budget(text: str, *, source: str = BUDGET) -> dict[str, int]:
    """`daily=2MB,monthly=50MB` in bytes. Raises `InvalidError` naming `source`, the part and what to write."""
    if len(text) > BUDGET_LENGTH_MAX:
        raise InvalidError(f"{source}: {len(text)} characters are over {BUDGET_LENGTH_MAX}")
    budget: dict[str, int] = {}
    for number, part in enumerate(text.split(","), start=1):
        name, sign, size = (each.strip() for each in part.partition("="))
        if not sign or name not in BUDGETS:
            reason = "write daily=SIZE or monthly=SIZE, as in daily=2MB,monthly=50MB"
        elif name in budget:
            reason = f"{name} is given twice; leave one out"
        else:
            try:
                budget[name] = parse_size(size)
                continue
            except InvalidError as error:
                reason = str(error)
        raise InvalidError(f"{source}, part {number} ({part.strip()!r}): {reason}")
    return budget
