"""What may be asked of a property's history, in the cloud as on a gateway, and how it is thinned to steps.

A step begins at a whole multiple of its length since the epoch, so that two looks at the same time show the same
steps. Only what was read counts: a step in which nothing was has no row, what had no value is counted apart, a hole
stays a hole, and nothing is filled in. `min`, `max`, `first` and `last` are readings, in their own words; `avg` is
the mean of the readings, however long each of them held. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import fsum, inf, isfinite
from typing import Final, Literal, NamedTuple

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject
from skerry.objects.times import micro_time_text, parse_time

LIMIT: Final = 1000
LIMIT_MAX: Final = 10_000
"""Rows of an answer, readings or steps."""
AGGREGATES: Final = ("min", "max", "avg", "first", "last", "count")
STEP_MS_MAX: Final = 366 * 86_400_000
_UNITS_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_NUMBER: Final = re.compile(r"\d{1,18}")
_TOKEN: Final = re.compile(r"(oldest|newest)\.(\d{1,19})\.(\d{1,19})\.(\d{1,19})")
_STEP_TOKEN: Final = re.compile(r"step\.([0-9]{1,16})((?:~[0-9]{1,19}~[0-9]{1,19}~[a-z0-9.-]{1,253}){0,8})")
_TOLD_MAX: Final = 8
"""Holes that a page tells the next one of: the newest ones, as no older one grows any more."""
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,400}")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?")
_SUMMED_MAX: Final = 4096
_HIGHEST: Final = 2**63 - 1

Order = Literal["oldest", "newest"]


class Place(NamedTuple):
    """Where a page ended, in order of time; what the numbers are is for who gave them."""

    at_ms: int
    seq: int
    number: int


class Thinning(Frozen):
    """One row a step."""

    step_ms: int
    aggregates: tuple[str, ...]


class HistoryQuestion(Frozen):
    """As it was asked."""

    prop: str
    limit: int
    since_ms: int
    until_ms: int
    """The last moment that is asked for."""
    order: Order = "oldest"
    place: Place | None = None
    """Behind which the page begins; None: at the begin."""
    after: int | None = None
    """By arrival, behind this number; None: by time."""
    steps: Thinning | None = None
    told: tuple[Hole, ...] = ()
    """Of pages before this one of steps."""

    @property
    def newest_first(self) -> bool:
        return self.order == "newest"


def question_of(text: Callable[[str], str]) -> HistoryQuestion:
    """From the parameters of a request; `text` gives "" for what is not there. Raises `BadRequestError`."""
    prop = text("property")
    if not prop:
        raise BadRequestError("property: required: which property's history? (`?property=NAME`)")
    since, until = text("sinceTime"), text("untilTime")
    question = HistoryQuestion(
        prop=prop,
        limit=min(_number(text, "limit", default=LIMIT) or LIMIT, LIMIT_MAX),
        since_ms=parse_time(since) if since else 0,
        until_ms=parse_time(until) if until else _HIGHEST,
    )
    if text("step"):
        return _by_steps(question, text)
    if text("aggregate"):
        raise BadRequestError("aggregate: of steps: say how long they are (`step=1m`)")
    if text("after"):
        if text("order") or text("continue"):
            raise BadRequestError("after: goes by arrival and without `order` and `continue`: leave one of them out")
        return _with(question, after=_number(text, "after", default=0))
    order = _order(text("order"))
    if text("continue"):
        order, place = _place(text("continue"), order)
        return _with(question, order=order, place=place)
    return _with(question, order=order or "oldest")


def _with(
    question: HistoryQuestion,
    *,
    order: Order = "oldest",
    place: Place | None = None,
    after: int | None = None,
    steps: Thinning | None = None,
    since_ms: int | None = None,
    told: tuple[Hole, ...] = (),
) -> HistoryQuestion:
    return HistoryQuestion(
        prop=question.prop,
        limit=question.limit,
        since_ms=question.since_ms if since_ms is None else since_ms,
        until_ms=question.until_ms,
        order=order,
        place=place,
        after=after,
        steps=steps,
        told=told,
    )


def _by_steps(question: HistoryQuestion, text: Callable[[str], str]) -> HistoryQuestion:
    if text("after") or text("order"):
        raise BadRequestError("step: steps are in order of time, without `after` and `order`")
    steps = Thinning(step_ms=step_ms_of(text("step")), aggregates=aggregates_of(text("aggregate") or "min,max,avg"))
    token = text("continue")
    if not token:
        return _with(question, steps=steps)
    found = _STEP_TOKEN.fullmatch(token)
    if found is None:
        raise BadRequestError(f"continue: must be what `metadata.continue` of a page said, not {token[:80]!r}")
    parts = found[2].split("~")[1:]
    told = tuple(
        Hole(node, int(number), int(count))
        for number, count, node in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    )
    return _with(question, steps=steps, since_ms=max(question.since_ms, int(found[1])), told=told)


def step_ms_of(text: str) -> int:
    """`500ms`, `10s`, `1m`, `6h`, `1d`. Raises `BadRequestError`."""
    found = _DURATION.fullmatch(text)
    step_ms = int(found[1]) * _UNITS_MS[found[2]] if found else 0
    if not 0 < step_ms <= STEP_MS_MAX:
        raise BadRequestError(
            f"step: {text[:40]!r} is not a duration: write 500ms, 10s, 1m, 6h or 1d, a year at most"
        )
    return step_ms


def aggregates_of(text: str) -> tuple[str, ...]:
    """`min,max,avg`. Raises `BadRequestError`."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in AGGREGATES:
            raise BadRequestError(f"aggregate: {name[:40]!r} is none of {', '.join(AGGREGATES)}")
    if not names:
        raise BadRequestError(f"aggregate: name at least one of {', '.join(AGGREGATES)}")
    return tuple(dict.fromkeys(names))


def _order(text: str) -> Order | None:
    match text:
        case "":
            return None
        case "oldest":
            return "oldest"
        case "newest":
            return "newest"
        case other:
            raise BadRequestError(f"order: must be `oldest` or `newest`, not {other!r}")


def _place(token: str, order: Order | None) -> tuple[Order, Place]:
    """Where a page ended, and in which order it was."""
    found = _TOKEN.fullmatch(token)
    numbers = tuple(map(int, found.groups()[1:])) if found else ()
    if found is None or max(numbers) > _HIGHEST:
        raise BadRequestError(f"continue: must be what `metadata.continue` of a page said, not {token[:80]!r}")
    before: Order = "newest" if found[1] == "newest" else "oldest"
    if order not in (None, before):
        raise BadRequestError(f"order: the page before was in order `{before}`: go on with that, or begin anew")
    return before, Place(*numbers)


def _number(text: Callable[[str], str], name: str, *, default: int) -> int:
    given = text(name)
    if not given:
        return default
    if not _NUMBER.fullmatch(given):
        hint = ": a page in order of time goes on with `continue`" if _TOKEN.fullmatch(given) else ""
        raise BadRequestError(f"{name}: must be a whole number, not {given!r}{hint}")
    return int(given)


def token_of(order: Order, place: Place) -> str:
    """What `question_of` reads as `continue`."""
    return f"{order}.{place.at_ms}.{place.seq}.{place.number}"


def answer_of(
    question: HistoryQuestion, *, namespace: str, name: str, items: list[Json], token: str = ""
) -> JsonObject:
    """What is answered; `token` is where the next page begins, "" for nowhere."""
    metadata: JsonObject = {"name": name, "namespace": namespace}
    if token:
        metadata["continue"] = token
    shown: JsonObject = {
        "kind": "DeviceHistory",
        "apiVersion": "skerry.dev/v1",
        "metadata": metadata,
        "property": question.prop,
    }
    if question.steps is not None:
        shown["stepMs"] = question.steps.step_ms
        shown["aggregates"] = [*question.steps.aggregates]
    return {**shown, "items": items}


# --- steps ---


class Hole(NamedTuple):
    """Readings that a gateway had to drop. A later one with the same node and id counts more of the same."""

    node: str
    """And the life of its outbox, where that is told."""
    id: int
    readings: int


class Point(NamedTuple):
    """One row of a history."""

    at_ms: int
    value: str | None = None
    uncertain: bool = False
    hole: Hole | None = None


def exact_of(text: str) -> int | float | None:
    """A value as the number that it says (true is 1): whole ones as such, however many digits they have. None where
    it is none."""
    if text in ("true", "false"):
        return int(text == "true")
    try:
        if _WHOLE.fullmatch(text):
            return int(text) if isfinite(float(text)) else None
        number = float(text) if _DECIMAL.fullmatch(text) else inf
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def number_of(text: str) -> float | None:
    """The same as a double, which may be a neighbour of a large whole number."""
    number = exact_of(text)
    return None if number is None else float(number)


@dataclass(slots=True)
class _Step:
    at_ms: int
    first: str | None = None
    last: str | None = None
    low: tuple[int | float, str] | None = None
    high: tuple[int | float, str] | None = None
    numbers: list[float] = field(default_factory=list[float])
    """For an exact sum; made short from time to time."""
    total: Fraction = Fraction(0)
    """Of those that were."""
    numeric: int = 0
    count: int = 0
    uncertain: int = 0
    bad: int = 0
    dropped: int = 0

    def add(self, value: str, *, uncertain: bool) -> None:
        self.count += 1
        self.uncertain += uncertain
        self.first = value if self.first is None else self.first
        self.last = value
        number = exact_of(value)
        if number is None:
            return
        self.numeric += 1
        self.numbers.append(float(number))
        if len(self.numbers) >= _SUMMED_MAX:
            self.total, self.numbers = self.total + _sum(self.numbers), []
        if self.low is None or number < self.low[0]:
            self.low = number, value
        if self.high is None or number > self.high[0]:
            self.high = number, value

    @property
    def _mean(self) -> str | None:
        if not self.numeric:
            return None
        return f"{float((self.total + _sum(self.numbers)) / self.numeric):.15g}"

    def shown(self, aggregates: tuple[str, ...]) -> JsonObject:
        every: dict[str, Json] = {
            "min": self.low[1] if self.low else None,
            "max": self.high[1] if self.high else None,
            "avg": self._mean,
            "first": self.first,
            "last": self.last,
            "count": self.count,
        }
        return {
            "time": micro_time_text(self.at_ms),
            **{name: every[name] for name in aggregates},
            "uncertain": self.uncertain,
            "bad": self.bad,
            "dropped": self.dropped,
        }


def _sum(numbers: list[float]) -> Fraction:
    """Also where it is no double, though their mean is."""
    try:
        return Fraction(fsum(numbers))
    except OverflowError:
        return sum(map(Fraction, numbers), Fraction(0))


class Steps:
    """Thins points, given in order of time, to rows."""

    def __init__(self, thinning: Thinning, told: Sequence[Hole] = ()) -> None:
        """`told`: holes of pages before."""
        self._thinning = thinning
        self._open: _Step | None = None
        self._holes = {(hole.node, hole.id): hole.readings for hole in told}
        """What was told of each, the newest last."""
        self._before = tuple(told)
        """The same, when the step that is not over began."""

    @property
    def open_ms(self) -> int | None:
        """When the step that is not over begins; None before the first."""
        return None if self._open is None else self._open.at_ms

    def add(self, point: Point) -> Iterator[JsonObject]:
        """The step that is over with this, where one is. Run it through."""
        at_ms = point.at_ms // self._thinning.step_ms * self._thinning.step_ms
        if self._open is None or self._open.at_ms != at_ms:
            yield from self.end()
            self._open = _Step(at_ms)
            newest = list(self._holes.items())[-_TOLD_MAX:]
            self._before = tuple(Hole(node, number, count) for (node, number), count in newest)
        step = self._open
        if point.hole is not None:
            node, number, count = point.hole
            told = self._holes.pop((node, number), 0)
            step.dropped += max(0, count - told)
            self._holes[node, number] = max(count, told)
        elif point.value is None:
            step.bad += 1
        else:
            step.add(point.value, uncertain=point.uncertain)

    @property
    def token(self) -> str:
        """What `question_of` reads as `continue` of steps: the next page begins with the one that is not over."""
        assert self._open is not None, "there is a step"
        told = "".join(f"~{hole.id}~{hole.readings}~{hole.node}" for hole in self._before if hole.node)
        return f"step.{self._open.at_ms}{told}"

    def end(self) -> Iterator[JsonObject]:
        """The last step."""
        if self._open is not None:
            yield self._open.shown(self._thinning.aggregates)
        self._open = None
