"""How much a gateway's link may carry at what time of day: the plan that a site's owner writes, and what it says now.

    zone Europe/Berlin; mon-fri 06:00-22:00 64kbit; 22:00-06:00 up 1mbit down 4mbit; else 256kbit

Parts are separated by commas or semicolons. `zone` names the site's time zone (IANA; UTC where it is missing), so
that hours stay those of the clock on the wall over summer time. A rule has days, hours, both or neither (`else` is a
word for neither), and a rate for both directions or for each. Of the rules that hold at a moment the first one that
speaks of a direction counts; where none does, nothing is limited. *Up* is from the gateway to the cloud. Pure but for
the zone's data, which are the machine's; keeps nothing.

Source of zone names: the IANA time zone database, through `zoneinfo`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from fractions import Fraction
from typing import Final, Literal

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, str_at
from skerry.objects.times import time_text

BANDWIDTH: Final = "skerry.dev/bandwidth"
"""Annotation of a Node: the plan for its link, both directions."""
Direction = Literal["up", "down"]
PAUSE: Final = 0
"""The rate at which nothing travels but what is urgent."""
RATE_MIN: Final = 125
"""Bytes in a second, 1 kbit: below, a heartbeat's own packets would not fit."""
RATE_MAX: Final = 1_250_000_000
TEXT_MAX: Final = 2000
PARTS_MAX: Final = 64
MINUTE_MS: Final = 60_000
AHEAD_MINUTES: Final = 8 * 24 * 60
"""How far ahead a change of rates is looked for: every rule has come round by then."""

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60
_WALL_MS_MAX: Final = 253_000_000_000_000
"""In the year 9987: whatever the zone, the clock on the wall still has four digits."""
_PART: Final = re.compile(r"[^,;\n]+")
_HOURS: Final = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z/]*)")
_UNITS: Final = {
    "bit": Fraction(1, 8),
    "kbit": Fraction(125),
    "mbit": Fraction(125_000),
    "gbit": Fraction(125_000_000),
    "B/s": Fraction(1),
    "kB/s": Fraction(1000),
    "KB/s": Fraction(1000),
    "MB/s": Fraction(1_000_000),
    "KiB/s": Fraction(1 << 10),
    "MiB/s": Fraction(1 << 20),
}
"""In bytes a second. `kbit/s` is taken as well; `kb/s` is not, for nobody knows which of the two it means."""
_RATES_HELP: Final = "write 64kbit, 1.5mbit, 20kB/s, unlimited or pause"
_RULE_HELP: Final = "write [mon-fri] [06:00-22:00] RATE, else RATE or zone NAME"


class Rates(Frozen):
    """Bytes a second in each direction; None: unlimited, 0: paused."""

    up: int | None = None
    down: int | None = None

    def of(self, direction: Direction) -> int | None:
        return self.up if direction == "up" else self.down


class Rule(Frozen):
    """One part of a plan."""

    days: frozenset[int]
    """0 is Monday. The day on which the hours begin."""
    begin: int
    """Minute of the day."""
    end: int
    """The minute after; not later than `begin` where the hours go over midnight."""
    rates: tuple[tuple[Direction, int | None], ...]

    @property
    def always(self) -> bool:
        return len(self.days) == len(_DAYS) and (self.begin, self.end) == (0, _DAY_MINUTES)

    def holds(self, weekday: int, minute: int) -> bool:
        if self.begin < self.end:
            return weekday in self.days and self.begin <= minute < self.end
        yesterday = (weekday - 1) % len(_DAYS)
        return (weekday in self.days and minute >= self.begin) or (yesterday in self.days and minute < self.end)


class BandwidthPlan(Frozen):
    """A plan that was understood. Made by `parse_bandwidth`."""

    text: str
    zone: tzinfo | None
    """None: the machine doesn't know the site's time zone, and so not its hours."""
    rules: tuple[Rule, ...]
    """Those that hold always last."""

    def at(self, wall_ms: int | None) -> Rates:
        """What holds at a moment, milliseconds since the epoch of Unix; None, where nobody knows the time: the
        strictest of all rates that the plan has."""
        if wall_ms is None or self.zone is None:
            return Rates(up=self._strictest("up"), down=self._strictest("down"))
        local = datetime.fromtimestamp(min(max(0, wall_ms), _WALL_MS_MAX) // 1000, tz=UTC).astimezone(self.zone)
        weekday, minute = local.weekday(), local.hour * 60 + local.minute
        found: dict[Direction, int | None] = {}
        for rule in self.rules:
            if rule.holds(weekday, minute):
                for direction, rate in rule.rates:
                    found.setdefault(direction, rate)
        return Rates(up=found.get("up"), down=found.get("down"))

    def limits(self, direction: Direction) -> bool:
        """Whether the direction is limited at any time."""
        return self._strictest(direction) is not None

    def _strictest(self, direction: Direction) -> int | None:
        return _lowest(rate for rule in self.rules for each, rate in rule.rates if each == direction)


def rates_at(plans: Sequence[BandwidthPlan], wall_ms: int | None) -> Rates:
    """What holds under several plans: the lowest rate of each direction."""
    each = [plan.at(wall_ms) for plan in plans]
    return Rates(up=_lowest(rates.up for rates in each), down=_lowest(rates.down for rates in each))


def changes_ms(plans: Sequence[BandwidthPlan], wall_ms: int) -> int | None:
    """When what holds changes next, to the minute; None where it never does."""
    if all(rule.always for plan in plans for rule in plan.rules):
        return None
    now, minute_ms = rates_at(plans, wall_ms), wall_ms - wall_ms % MINUTE_MS
    following = (minute_ms + ahead * MINUTE_MS for ahead in range(1, AHEAD_MINUTES))
    return next((at_ms for at_ms in following if rates_at(plans, at_ms) != now), None)


def shown_bandwidth(plans: Sequence[BandwidthPlan], wall_ms: int | None) -> JsonObject:
    """What holds now, for people and programs; empty where there is no plan."""
    if not plans:
        return {}
    rates = rates_at(plans, wall_ms)
    shown: JsonObject = {
        "plan": " and ".join(plan.text for plan in plans),
        "up": rate_text(rates.up),
        "down": rate_text(rates.down),
    }
    if wall_ms is None or any(plan.zone is None for plan in plans):
        shown["timeUnknown"] = True
    elif (until_ms := changes_ms(plans, wall_ms)) is not None:
        shown["until"] = time_text(until_ms)
    return shown


def bandwidth_text(shown: JsonObject) -> str:
    """One line of `shown_bandwidth`; "" for no plan."""
    if "up" not in shown:
        return ""
    up, down, until = str_at(shown, "up"), str_at(shown, "down"), str_at(shown, "until")
    when = f", until {until}" if until else ""
    why = ", the strictest of the plan while the time is not known" if bool_at(shown, "timeUnknown") else ""
    return f"up {up}, down {down}{when}{why}"


def _lowest(rates: Iterable[int | None]) -> int | None:
    return min((rate for rate in rates if rate is not None), default=None)


def rate_text(rate: int | None) -> str:
    """As a plan has it."""
    if rate is None:
        return "unlimited"
    if rate == PAUSE:
        return "pause"
    for unit in ("mbit", "kbit"):
        if rate % int(_UNITS[unit]) == 0:
            return f"{rate // int(_UNITS[unit])}{unit}"
    return f"{rate}B/s"


def parse_bandwidth(text: str, *, source: str = BANDWIDTH, any_zone: bool = False) -> BandwidthPlan:
    """A plan as its owner wrote it. Raises `InvalidError` naming `source`, the part at fault and what to write.

    `any_zone`: where this machine does not know the zone, the plan stands all the same, as strict as it can be.
    """
    if len(text) > TEXT_MAX:
        raise InvalidError(f"{source}: {len(text)} characters are over {TEXT_MAX}")
    parts = [part.strip() for part in _PART.findall(text)]
    parts = [part for part in parts if part]
    if not parts:
        raise InvalidError(f"{source}: says nothing; write 64kbit, or 06:00-22:00 64kbit; else unlimited")
    if len(parts) > PARTS_MAX:
        raise InvalidError(f"{source}: {len(parts)} parts are over {PARTS_MAX}")
    zone: tzinfo | None = UTC
    is_named = False
    rules: list[Rule] = []
    for number, part in enumerate(parts, start=1):
        try:
            words = part.split()
            if words[0] == "zone":
                if is_named:
                    raise ValueError("the time zone is named twice; leave one out")
                zone, is_named = _zone(words, any_zone=any_zone), True
            else:
                rules.append(_rule(words))
                _check_reached(rules)
        except ValueError as error:
            raise InvalidError(f"{source}, part {number} ({part!r}): {error}") from None
    if not rules:
        raise InvalidError(f"{source}: names a time zone and no rate; {_RULE_HELP}")
    ordered = sorted(rules, key=lambda rule: rule.always)
    return BandwidthPlan(text=text, zone=zone, rules=tuple(ordered))


def _check_reached(rules: list[Rule]) -> None:
    """Two rules for all times would leave one without effect."""
    *before, last = rules
    for rule in before:
        if rule.always and last.always:
            twice = [direction for direction, _ in rule.rates if direction in dict(last.rates)]
            if twice:
                raise ValueError(f"a rate for {twice[0]} at all other times was given before; leave one out")


def _zone(words: list[str], *, any_zone: bool) -> tzinfo | None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones  # costs memory that few plans ask for

    if len(words) != 2:
        raise ValueError("write zone NAME, e.g. zone Europe/Berlin")
    name = words[1]
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if any_zone:
            return None
        known = available_timezones()
    if not known:
        raise ValueError("this machine has no time zones; install tzdata, or leave the zone out for UTC")
    import difflib  # only who errs pays

    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "write one like Europe/Berlin"
    raise ValueError(f"no time zone {name!r} is known; {hint}")


def _rule(words: list[str]) -> Rule:
    days, begin, end = frozenset(range(len(_DAYS))), 0, _DAY_MINUTES
    rest = words
    if rest[0] == "else":
        rest = rest[1:]
    else:
        if _looks_like_days(rest[0]):
            days, rest = _days(rest[0]), rest[1:]
        if rest and ":" in rest[0]:
            (begin, end), rest = _hours(rest[0]), rest[1:]
    return Rule(days=days, begin=begin, end=end, rates=_rates(rest))


def _looks_like_days(word: str) -> bool:
    return word[:3].lower() in _DAYS


def _days(word: str) -> frozenset[int]:
    found: set[int] = set()
    for piece in word.lower().split("+"):
        first, sign, last = piece.partition("-")
        for day in (first, last) if sign else (first,):
            if day not in _DAYS:
                raise ValueError(f"{day!r} is no day; write mon, mon-fri or mon+wed+fri")
        begin = _DAYS.index(first)
        end = _DAYS.index(last) if sign else begin
        found.update((begin + step) % len(_DAYS) for step in range((end - begin) % len(_DAYS) + 1))
    return frozenset(found)


def _hours(word: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} are no hours; write 06:00-22:00")
    begin_hour, begin_minute, end_hour, end_minute = (int(each) for each in match.groups())
    begin, end = begin_hour * 60 + begin_minute, end_hour * 60 + end_minute
    if max(begin_minute, end_minute) > 59 or begin >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise ValueError(f"{word!r} is not within 00:00 to 24:00")
    if begin == end:
        raise ValueError(f"{word!r} begins and ends at the same minute; leave the hours out for the whole day")
    return begin, end or _DAY_MINUTES


def _rates(words: list[str]) -> tuple[tuple[Direction, int | None], ...]:
    if not words:
        raise ValueError(f"a rate is missing; {_RATES_HELP}")
    if len(words) == 1:
        rate = _rate(words[0])
        return ("up", rate), ("down", rate)
    found: dict[Direction, int | None] = {}
    for at in range(0, len(words), 2):
        direction: Direction | None = "up" if words[at] == "up" else "down" if words[at] == "down" else None
        if direction is None:
            raise ValueError(f"{words[at]!r} is not understood; {_RULE_HELP}")
        if at + 1 >= len(words):
            raise ValueError(f"a rate is missing after {direction}; {_RATES_HELP}")
        if direction in found:
            raise ValueError(f"{direction} is given twice; leave one out")
        found[direction] = _rate(words[at + 1])
    return tuple(found.items())


def _rate(word: str) -> int | None:
    if word == "unlimited":
        return None
    if word in ("pause", "0"):
        return PAUSE
    match = _RATE.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is no rate; {_RATES_HELP}")
    bits = match[2].lower().removesuffix("/s")
    factor = _UNITS.get(bits if bits.endswith("bit") else match[2])
    if factor is None:
        raise ValueError(f"{word!r} has no unit that is known; {_RATES_HELP}")
    rate = int(Fraction(match[1]) * factor)
    if rate != PAUSE and RATE_MIN <= rate <= RATE_MAX:
        return rate
    if Fraction(match[1]) == 0:
        return PAUSE
    raise ValueError(f"{word!r} is not within {rate_text(RATE_MIN)} to {RATE_MAX * 8 // 1_000_000_000}gbit")
