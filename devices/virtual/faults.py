"""What goes wrong with a virtual device, and when.

Pure. A fault is on for a share of the readings or writes, within windows of time since the device's start; which of
them, the seed says. `docs/reference/devices.md` describes every field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from devices.fields import int_in, refuse_unknown, text_in
from devices.port import PropertyConfig
from devices.signals import Point, chance, in_type, number_in, seconds_in
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject

FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "offline": (),
    "late": ("byMs",),
    "bad": ("reason",),
    "uncertain": ("reason",),
    "stuck": (),
    "noise": ("amount",),
    "spike": ("amount",),
    "refuse": ("reason",),
    "fail": ("reason",),
    "ignore": (),
    "slow": ("byMs",),
}
"""Each with the fields of its own."""
_WHEN: Final = ("fault", "properties", "afterS", "forS", "everyS", "share")
OF_WRITES: Final = frozenset({"refuse", "fail", "ignore", "slow"})
OF_NUMBERS: Final = frozenset({"noise", "spike"})
FAULTS_MAX: Final = 50
BY_MS_MAX: Final = 3_600_000
SLOW_MS_MAX: Final = 60_000
"""Of a write: whoever waits for it waits no longer."""

_REASONS: Final = {
    "offline": "the device is offline",
    "bad": "the device says that it has no value",
    "uncertain": "the device doubts it",
    "refuse": "the device refuses it",
    "fail": "the device failed",
}
_DECIMALS: Final = 6
_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d+)?) ?%")


class Fault(Frozen):
    name: str
    number: int
    """Its place in the list: chance differs from one to the next."""
    properties: frozenset[str]
    """Empty: all of them."""
    after_s: float
    for_s: float
    """math.inf: for ever."""
    every_s: float
    """math.inf: once."""
    share: float
    by_s: float
    amount: float
    reason: str

    def window_s(self, elapsed_s: float) -> float | None:
        """When the window began that is open now, in seconds since the start; None: none is."""
        since_s = elapsed_s - self.after_s
        if since_s < 0:
            return None
        begun_s = math.floor(since_s / self.every_s) * self.every_s if math.isfinite(self.every_s) else 0.0
        return self.after_s + begun_s if since_s - begun_s < self.for_s else None

    def concerns(self, prop: str) -> bool:
        """It is one of the properties that it names, or it names none."""
        return not self.properties or prop in self.properties


class Moment(Frozen):
    """One reading or write: which, and when."""

    seed: int
    prop: str
    count: int
    """Of readings, or of writes, before it."""
    elapsed_s: float


def met(faults: Sequence[Fault], moment: Moment, *, writing: bool = False) -> list[Fault]:
    """The faults that this reading or write meets, in the order of the manifest."""
    return [fault for fault in faults if _applies(fault, writing=writing) and _meets(fault, moment)]


def _applies(fault: Fault, *, writing: bool) -> bool:
    return fault.name in ("offline", "stuck") or (fault.name in OF_WRITES) == writing


def _meets(fault: Fault, moment: Moment) -> bool:
    if not fault.concerns(moment.prop) or fault.window_s(moment.elapsed_s) is None:
        return False
    return fault.share >= 1 or chance(moment.seed, "share", fault.number, moment.prop, moment.count) < fault.share


def is_offline(faults: Sequence[Fault], elapsed_s: float) -> bool:
    """Of the device as a whole: nothing of it is answered now."""
    return any(
        fault.name == "offline"
        and not fault.properties
        and fault.share >= 1
        and fault.window_s(elapsed_s) is not None
        for fault in faults
    )


def spoiled(point: Point, faults: Sequence[Fault], moment: Moment, type: str) -> Point:
    """What a reading comes to that meets these faults; being late, stuck or offline are the driver's part."""
    for fault in faults:
        if point.value is None:
            break
        match fault.name:
            case "bad":
                point = Point(value=None, quality="bad", reason=fault.reason)
            case "uncertain":
                point = replace(point, quality="uncertain", reason=fault.reason)
            case "noise" | "spike":
                assert isinstance(point.value, int | float), "checked when the manifest was read"
                by = fault.amount * (_normal(fault, moment) if fault.name == "noise" else 1)
                point = replace(point, value=in_type(type, point.value + by, _DECIMALS))
            case _:
                pass
    return point


def _normal(fault: Fault, moment: Moment) -> float:
    """A number of the normal distribution (Box and Muller)."""
    place = (fault.number, moment.prop, moment.count)
    radius = math.sqrt(-2 * math.log(1 - chance(moment.seed, "radius", *place)))
    return radius * math.cos(2 * math.pi * chance(moment.seed, "angle", *place))


# --- from a manifest --------------------------------------------------------------------------------------


def faults_in(data: JsonObject, properties: Sequence[PropertyConfig], where: str) -> tuple[Fault, ...]:
    """`faults` of a device's protocol data. Raises `InvalidError` that names the field and the fix."""
    given = data.get("faults")
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > FAULTS_MAX:
        raise InvalidError(f"{where}.faults: must be a list of at most {FAULTS_MAX} faults")
    made: list[Fault] = []
    for number, each in enumerate(given):
        here = f"{where}.faults[{number}]"
        if not isinstance(each, dict):
            raise InvalidError(f"{here}: must be an object such as {{fault: offline, afterS: 60, forS: 30}}")
        made.append(_fault(each, number, {prop.name: prop for prop in properties}, here))
    return tuple(made)


def _fault(data: JsonObject, number: int, known: Mapping[str, PropertyConfig], where: str) -> Fault:
    name = text_in(data, "fault", where=where)
    own = FAULTS.get(name)
    if own is None:
        raise InvalidError(f"{where}.fault: {name!r} is not one of {', '.join(FAULTS)}")
    refuse_unknown(data, (*_WHEN, *own), where)
    if "everyS" in data and "forS" not in data:
        raise InvalidError(f"{where}.forS: required with everyS")
    every_s = seconds_in(data, "everyS", where) if "everyS" in data else math.inf
    for_s = seconds_in(data, "forS", where) if "forS" in data else math.inf
    if math.isfinite(every_s) and for_s >= every_s:
        raise InvalidError(f"{where}.forS: must be shorter than everyS")
    if name == "stuck" and "share" in data:
        raise InvalidError(f"{where}.share: a device is stuck for a time, not for a share: use forS and everyS")
    most_ms = SLOW_MS_MAX if name == "slow" else BY_MS_MAX
    return Fault(
        name=name,
        number=number,
        properties=_named(data, name, known, where),
        after_s=seconds_in(data, "afterS", where) if data.get("afterS") not in (None, 0) else 0.0,
        for_s=for_s,
        every_s=every_s,
        share=_share(text_in(data, "share", where=where, default="100%"), f"{where}.share"),
        by_s=int_in(data, "byMs", where=where, low=1, high=most_ms) / 1000 if "byMs" in own else 0.0,
        amount=number_in(data, "amount", where) if "amount" in own else 0.0,
        reason=text_in(data, "reason", where=where, default=_REASONS.get(name, "")),
    )


def _named(data: JsonObject, name: str, known: Mapping[str, PropertyConfig], where: str) -> frozenset[str]:
    given = data.get("properties")
    if given is None:
        concerned = [prop for prop in known.values() if _can_meet(name, prop)]
        if not concerned:
            raise InvalidError(f"{where}.fault: no property of the device can meet {name}")
        return frozenset(prop.name for prop in concerned) if name in OF_NUMBERS else frozenset()
    if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
        raise InvalidError(f"{where}.properties: must be a list of names")
    for each in cast("list[str]", given):
        if each not in known:
            raise InvalidError(f"{where}.properties: the device has no property {each!r}")
        if not _can_meet(name, known[each]):
            raise InvalidError(f"{where}.properties: {each} can't meet {name}: it is of type {known[each].type}")
    return frozenset(cast("list[str]", given))


def _can_meet(name: str, prop: PropertyConfig) -> bool:
    return name not in OF_NUMBERS or prop.type in ("INT", "FLOAT", "DOUBLE")


def _share(text: str, where: str) -> float:
    found = _SHARE.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise InvalidError(f"{where}: {text!r} is no share: write one such as 8%")
    return float(found[1]) / 100
