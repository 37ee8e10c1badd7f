"""What a value does over time: constant, ramp, sine, square, random walk, steps, or a recording that is played again.

Pure: seconds since the start go in, a value comes out. Chance is a function of the seed and the place in time, so the
same seed gives the same values, however often and by whom they are asked for. Used by the virtual driver and by
`skerry device simulate`. docs/reference/devices.md describes every field.
"""

from __future__ import annotations

import csv
import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Final, Literal, TypeAlias, cast

from devices.fields import decimal_in, int_in, refuse_unknown, text_in
from devices.port import PropertyConfig
from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject
from skerry.objects.times import parse_time
from skerry.objects.twins import Quality, Value, parse_value

SECONDS_MAX: Final = 366 * 24 * 3600
"""Of a period, a delay: a year."""
SECONDS_MIN: Final = Decimal("0.001")
STEPS_MAX: Final = 1000
ROWS_MAX: Final = 20_000
"""Of a recording: five and a half hours at one a second."""
CSV_BYTES_MAX: Final = 1024 * 1024
WALK_STEPS_MAX: Final = 100_000
"""That a walk takes between two looks at it: more are those of a gateway that slept, and nobody saw the way."""

Then = Literal["repeat", "hold"]
_NUMBERS: Final = ("INT", "FLOAT", "DOUBLE")


def chance(seed: int, *place: int | str) -> float:
    """A number in [0, 1) that depends on the seed and the place alone."""
    text = "\x00".join(str(part) for part in (seed, *place))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


class Point(Frozen):
    """A value, or the reason why there is none."""

    value: Value | None
    quality: Quality = "good"
    reason: str = ""


class Ramp(Frozen):
    """From one number to another, then again, or there and back, or no further."""

    first: float
    last: float
    over_s: float
    then: Literal["repeat", "hold", "back"]


class Sine(Frozen):
    mean: float
    amplitude: float
    period_s: float
    phase: float
    """Where in the period it begins: 0.25 is at the top."""


class Walk(Frozen):
    """A step up or down, of chance and at most so long, each so many seconds; bounds throw it back."""

    start: float
    step: float
    every_s: float
    low: float
    high: float


class Steps(Frozen):
    """Values, each from its second on."""

    starts_s: tuple[float, ...]
    points: tuple[Point, ...]
    length_s: float
    """math.inf: the last one stays for ever."""
    then: Then


Shape: TypeAlias = "Ramp | Sine | Walk | Steps"


class Signal(Frozen):
    """A shape, and what numbers become of it."""

    kind: str
    shape: Shape
    type: str
    decimals: int


class Playing:
    """A signal that is played: it remembers how far a walk came."""

    def __init__(self, signal: Signal, *, seed: int, name: str) -> None:
        """`name`: with the seed, what its chance is."""
        self.signal = signal
        self._seed = seed
        self._name = name
        self._walked = (0, signal.shape.start) if isinstance(signal.shape, Walk) else (0, 0.0)

    def at(self, elapsed_s: float) -> Point:
        """What it is so many seconds after the start."""
        elapsed_s = max(0.0, elapsed_s)
        match self.signal.shape:
            case Steps() as steps:
                return _step_at(steps, elapsed_s)
            case Ramp() as ramp:
                return self._point(_ramp_at(ramp, elapsed_s))
            case Sine() as sine:
                turns = elapsed_s / sine.period_s + sine.phase
                return self._point(sine.mean + sine.amplitude * math.sin(2 * math.pi * math.fmod(turns, 1)))
            case Walk() as walk:
                return self._point(self._walk(walk, math.floor(elapsed_s / walk.every_s)))

    def _point(self, number: float) -> Point:
        return Point(value=in_type(self.signal.type, number, self.signal.decimals))

    def _walk(self, walk: Walk, count: int) -> float:
        done, at = self._walked
        if count < done:
            done, at = 0, walk.start
        for number in range(max(done, count - WALK_STEPS_MAX), count):
            at += walk.step * (2 * chance(self._seed, self._name, number) - 1)
            if at > walk.high:
                at = max(walk.low, 2 * walk.high - at)
            elif at < walk.low:
                at = min(walk.high, 2 * walk.low - at)
        self._walked = count, at
        return at


def in_type(type: str, number: float, decimals: int) -> Value:
    """A number as a value of this type."""
    return round(number) if type == "INT" else round(number, decimals) + 0.0


def _ramp_at(ramp: Ramp, elapsed_s: float) -> float:
    turns = elapsed_s / ramp.over_s
    match ramp.then:
        case "hold":
            share = min(1.0, turns)
        case "repeat":
            share = math.fmod(turns, 1)
        case "back":
            share = 1 - abs(1 - math.fmod(turns, 2))
    return ramp.first + (ramp.last - ramp.first) * share


def _step_at(steps: Steps, elapsed_s: float) -> Point:
    if steps.then == "repeat" and elapsed_s >= steps.length_s:
        elapsed_s = math.fmod(elapsed_s, steps.length_s)
    return steps.points[max(0, bisect_right(steps.starts_s, elapsed_s) - 1)]


# --- from a manifest --------------------------------------------------------------------------------------


def signal_in(data: JsonObject, prop: PropertyConfig, where: str) -> Signal:
    """Raises `InvalidError` that names the field and the fix."""
    kind = text_in(data, "kind", where=where)
    known = _KINDS.get(kind)
    if known is None:
        raise InvalidError(f"{where}.kind: {kind!r} is not one of {', '.join(_KINDS)}")
    fields, parse = known
    numeric = "decimals" in fields
    refuse_unknown(data, ("kind", *fields), where)
    if numeric and prop.type not in _NUMBERS:
        raise InvalidError(f"{where}.kind: a {kind} is of numbers, and {prop.name} is of type {prop.type}")
    decimals = int_in(data, "decimals", where=where, low=0, high=12, default=3)
    return Signal(kind=kind, shape=parse(data, prop, where), type=prop.type, decimals=decimals)


def seconds_in(data: JsonObject, name: str, where: str, *, default: str | None = None) -> float:
    """A time in seconds, above 0. `default` None: it is required."""
    if default is None and data.get(name) is None:
        raise InvalidError(f"{where}.{name}: required, in seconds")
    number = decimal_in(data, name, where=where, default=default or "0")
    if not SECONDS_MIN <= number <= SECONDS_MAX:
        raise InvalidError(f"{where}.{name}: must be from {SECONDS_MIN} to {SECONDS_MAX} seconds, not {number}")
    return float(number)


def number_in(data: JsonObject, name: str, where: str, *, default: float | None = None) -> float:
    """`default` None: it is required."""
    if data.get(name) is None and default is not None:
        return default
    if data.get(name) is None:
        raise InvalidError(f"{where}.{name}: required, a number")
    return float(decimal_in(data, name, where=where, default="0"))


def _then(data: JsonObject, where: str, known: Sequence[str], default: str) -> str:
    then = text_in(data, "then", where=where, default=default)
    if then not in known:
        raise InvalidError(f"{where}.then: {then!r} is not one of {', '.join(known)}")
    return then


def value_in(given: Json, prop: PropertyConfig, where: str) -> Value:
    """A value of the property's type, as YAML has it. Raises `InvalidError`."""
    text = str(given).lower() if isinstance(given, bool) else text_in({"value": given}, "value", where=where)
    try:
        return parse_value(prop.type, text)
    except InvalidError as error:
        raise InvalidError(f"{where}: {error}") from error


def _constant(data: JsonObject, prop: PropertyConfig, where: str) -> Shape:
    if data.get("value") is None:
        raise InvalidError(f"{where}.value: required")
    return _forever(Point(value=value_in(data["value"], prop, f"{where}.value")))


def _forever(point: Point) -> Steps:
    return Steps(starts_s=(0.0,), points=(point,), length_s=math.inf, then="hold")


def _ramp(data: JsonObject, prop: PropertyConfig, where: str) -> Shape:
    then = _then(data, where, ("repeat", "hold", "back"), "repeat")
    return Ramp(
        first=number_in(data, "from", where),
        last=number_in(data, "to", where),
        over_s=seconds_in(data, "overS", where),
        then=cast("Literal['repeat', 'hold', 'back']", then),
    )


def _sine(data: JsonObject, prop: PropertyConfig, where: str) -> Shape:
    return Sine(
        mean=number_in(data, "mean", where, default=0),
        amplitude=number_in(data, "amplitude", where),
        period_s=seconds_in(data, "periodS", where),
        phase=number_in(data, "phase", where, default=0),
    )


def _walk(data: JsonObject, prop: PropertyConfig, where: str) -> Shape:
    low = number_in(data, "minimum", where, default=-math.inf if prop.minimum is None else prop.minimum)
    high = number_in(data, "maximum", where, default=math.inf if prop.maximum is None else prop.maximum)
    start = number_in(data, "start", where)
    if not low <= start <= high:
        raise InvalidError(f"{where}.start: {start:g} is outside of its bounds, {low:g} to {high:g}")
    return Walk(
        start=start,
        step=number_in(data, "step", where),
        every_s=seconds_in(data, "everyS", where, default="1"),
        low=low,
        high=high,
    )


def _square(data: JsonObject, prop: PropertyConfig, where: str) -> Shape:
    period_s = seconds_in(data, "periodS", where)
    points: list[Point] = []
    for name in ("low", "high"):
        if data.get(name) is None:
            raise InvalidError(f"{where}.{name}: required")
        points.append(Point(value=value_in(data[name], prop, f"{where}.{name}")))
    return Steps(starts_s=(0.0, period_s / 2), points=tuple(points), length_s=period_s, then="repeat")


def _steps(data: JsonObject, prop: PropertyConfig, where: str) -> Shape:
    given = data.get("steps")
    if not isinstance(given, list) or not given:
        raise InvalidError(f"{where}.steps: required, a list of {{value, forS}}")
    if len(given) > STEPS_MAX:
        raise InvalidError(f"{where}.steps: at most {STEPS_MAX}")
    at_s, starts_s, points = 0.0, list[float](), list[Point]()
    for number, each in enumerate(given):
        here = f"{where}.steps[{number}]"
        if not isinstance(each, dict):
            raise InvalidError(f"{here}: must be an object {{value, forS}}")
        refuse_unknown(each, ("value", "forS"), here)
        starts_s.append(at_s)
        given_value = each.get("value")
        if given_value is None:
            points.append(Point(value=None, quality="bad", reason="its script has no value here"))
        else:
            points.append(Point(value=value_in(given_value, prop, f"{here}.value")))
        at_s += seconds_in(each, "forS", here)
    then = _then(data, where, ("repeat", "hold"), "repeat")
    return Steps(starts_s=tuple(starts_s), points=tuple(points), length_s=at_s, then=cast(Then, then))


def _series(data: JsonObject, prop: PropertyConfig, where: str) -> Shape:
    text = text_in(data, "csv", where=where)
    if len(text.encode()) > CSV_BYTES_MAX:
        raise InvalidError(f"{where}.csv: at most {CSV_BYTES_MAX} bytes")
    rows = list(_recorded(text, prop, f"{where}.csv"))
    if not rows:
        raise InvalidError(f"{where}.csv: has no row; write TIME,VALUE on each")
    begin_s = rows[0][0]
    starts_s = [at_s - begin_s for at_s, _ in rows]
    if any(later < earlier for earlier, later in pairwise(starts_s)):
        raise InvalidError(f"{where}.csv: its rows are not in order of time")
    # The last value lasts as long as the one before it, so that what is repeated has no seam.
    last_s = starts_s[-1] - starts_s[-2] if len(starts_s) > 1 else 1.0
    length_s = starts_s[-1] + max(last_s, float(SECONDS_MIN))
    then = _then(data, where, ("repeat", "hold"), "repeat")
    return Steps(
        starts_s=tuple(starts_s), points=tuple(point for _, point in rows), length_s=length_s, then=cast(Then, then)
    )


def _recorded(text: str, prop: PropertyConfig, where: str) -> Iterable[tuple[float, Point]]:
    """(time, point) of each row. With a first row of titles, by them (as `skerry device history -o csv` writes);
    without, time and value are the first two columns."""
    columns: Mapping[str, int] = {"time": 0, "value": 1, "quality": 2, "reason": 3}
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        if not any(cell.strip() for cell in row):
            continue
        if number > ROWS_MAX:
            raise InvalidError(f"{where}: at most {ROWS_MAX} rows")
        named = [cell.strip().lower() for cell in row]
        if number == 1 and "value" in named:
            columns = {name: at for at, name in enumerate(named)}
            if "time" not in columns:
                raise InvalidError(f"{where}: no column is titled time")
            continue
        yield _row(row, columns, prop, f"{where}: row {number}")


def _row(row: list[str], columns: Mapping[str, int], prop: PropertyConfig, where: str) -> tuple[float, Point]:
    def cell(name: str) -> str:
        at = columns.get(name, -1)
        return row[at].strip() if 0 <= at < len(row) else ""

    at_s = _moment(cell("time"), where)
    text, quality = cell("value"), cell("quality").lower()
    if text in ("", "-") or quality in ("bad", "gap"):
        return at_s, Point(value=None, quality="bad", reason=cell("reason") or "no value was recorded")
    try:
        value = parse_value(prop.type, text)
    except InvalidError as error:
        raise InvalidError(f"{where}: {error}") from error
    if quality in ("uncertain", "stale"):
        return at_s, Point(value=value, quality="uncertain", reason=cell("reason") or f"it was recorded as {quality}")
    return at_s, Point(value=value)


def _moment(text: str, where: str) -> float:
    """Seconds since whenever the recording counts from."""
    try:
        at_s = float(text) if "T" not in text.upper() else parse_time(text) / 1000
    except (ValueError, BadRequestError):
        at_s = math.nan
    if not math.isfinite(at_s):
        raise InvalidError(f"{where}: {text!r} is neither a number of seconds nor a time as in RFC 3339")
    return at_s


Parse: TypeAlias = Callable[[JsonObject, PropertyConfig, str], Shape]

_KINDS: Final[Mapping[str, tuple[tuple[str, ...], Parse]]] = {
    "constant": (("value",), _constant),
    "ramp": (("from", "to", "overS", "then", "decimals"), _ramp),
    "sine": (("mean", "amplitude", "periodS", "phase", "decimals"), _sine),
    "square": (("low", "high", "periodS"), _square),
    "walk": (("start", "step", "everyS", "minimum", "maximum", "decimals"), _walk),
    "steps": (("steps", "then"), _steps),
    "series": (("csv", "then"), _series),
}
"""Fields of each kind, and what reads them."""
