"""What a device rule sees of its values, what its expressions come to with them, and how that is told. Pure.

Used by the gateway that carries a rule out, and by whoever tries one without a gateway (`skerry rule test`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from skerry.frozen import Frozen
from skerry.objects.cel import CelFailure, Program, Value, Values, evaluate, shown, shown_scalar
from skerry.objects.cel_syntax import Binary, Call, Choice, Expr, Has, Name, Scalar, Unary, children
from skerry.objects.device_rules import (
    Action,
    AlarmAction,
    CallAction,
    DeviceRule,
    PublishAction,
    SetAction,
    Source,
    Words,
)
from skerry.objects.twins import Quality

CONDITION_LENGTH_MAX: Final = 1000
VALUE_LENGTH_MAX: Final = 100
"""Of a value as it is told: a status has room for many."""
_SHOWN_PARTS_MAX: Final = 24

Truth: TypeAlias = "bool | None"
"""None: it can't be worked out."""


class Seen(Frozen):
    """What is known of one property."""

    value: Scalar | None
    """The last that there was."""
    quality: Quality
    at_s: float
    """When it was so, monotonic."""
    previous: Scalar | None = None
    """The value before this one, another one."""


View: TypeAlias = "Mapping[tuple[str, str], Seen]"
"""By device and property; what is missing was never read since the agent started."""


def values_of(rule: DeviceRule, view: View, now_s: float) -> Values:
    """What the names of its expressions stand for."""
    found: dict[str, Scalar | Mapping[str, Scalar]] = {}
    previous: dict[str, Scalar] = {}
    quality: dict[str, Scalar] = {}
    age: dict[str, Scalar] = {}
    for source in rule.sources:
        seen = view.get((source.device, source.prop))
        quality[source.name] = seen.quality if seen is not None else "bad"
        if seen is None:
            continue
        age[source.name] = max(0.0, now_s - seen.at_s)
        if seen.value is not None and seen.quality in source.accept:
            found[source.name] = seen.value
            if seen.previous is not None:
                previous[source.name] = seen.previous
    return {**found, "previous": previous, "quality": quality, "age": age}


def truth_of(program: Program | None, values: Values) -> tuple[Truth, str]:
    """With the reason where there is none. No program: true."""
    if program is None:
        return True, ""
    try:
        result = evaluate(program, values)
    except CelFailure as failure:
        return None, str(failure)
    return (
        (result, "") if isinstance(result, bool) else (None, f"it gives {shown(result)}, and neither true nor false")
    )


# --- what is said -----------------------------------------------------------------------------------------


def parts_of(action: Action) -> tuple[str, str, Words]:
    match action.deed:
        case SetAction() as deed:
            return "set", f"{deed.device}/{deed.prop}", deed.value
        case PublishAction() as deed:
            return "publish", deed.topic, deed.payload
        case CallAction() as deed:
            return "call", f"{deed.method} :{deed.port}{deed.path}", deed.body
        case AlarmAction() as deed:
            return "alarm", deed.severity, deed.message


def said(words: Words, values: Values) -> str:
    if words.program is None:
        return words.text
    found = evaluate(words.program, values)
    if isinstance(found, tuple):
        raise CelFailure(f"a list is nothing that can be said: {shown(found)}")
    return repr(found) if isinstance(found, float) else shown_scalar(found)


# --- for people -------------------------------------------------------------------------------------------


def told_values(rule: DeviceRule, view: View) -> Iterator[tuple[str, str, str]]:
    for source in rule.sources:
        yield source.name, *told_value(source, view)


def told_value(source: Source, view: View) -> tuple[str, str]:
    """Value and quality."""
    seen = view.get((source.device, source.prop))
    if seen is None:
        return "", "bad"
    return ("" if seen.value is None else shown_scalar(seen.value)[:VALUE_LENGTH_MAX]), seen.quality


def told_condition(program: Program | None, values: Values) -> str:
    """The parts of a condition that were worked out, with what each came to."""
    if program is None:
        return "no condition"
    results: dict[tuple[int, int], Value | CelFailure] = {}

    def note(node: Expr, value: Value | CelFailure) -> None:
        results[node.start, node.end] = value

    with suppress(CelFailure):  # it is among what was noted
        evaluate(program, values, note)
    parts: list[str] = []
    for node in _telling(program.tree):
        result = results.get((node.start, node.end))
        if result is not None and len(parts) < _SHOWN_PARTS_MAX:
            told = f"unknown ({result})" if isinstance(result, CelFailure) else shown(result)
            parts.append(f"{program.text[node.start : node.end]} is {told}")
    return "; ".join(parts)[:CONDITION_LENGTH_MAX]


def _telling(node: Expr) -> Iterator[Expr]:
    """The parts that tell something: not every sum within a comparison."""
    if isinstance(node, Binary) and node.op in ("&&", "||"):
        yield from _telling(node.left)
        yield from _telling(node.right)
    elif isinstance(node, Choice):
        for part in children(node):
            yield from _telling(part)
    elif isinstance(node, Unary) and node.op == "!" and not isinstance(node.of, Name | Has | Call):
        yield from _telling(node.of)
    else:
        yield node
