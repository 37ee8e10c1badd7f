"""What a DeviceRule would do with given values: pure, by the code that gateways decide by. Keeps nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from skerry.errors import BadRequestError, InvalidError
from skerry.objects.cel import CelFailure, Values
from skerry.objects.cel_syntax import Scalar
from skerry.objects.device_rule_values import (
    Seen,
    View,
    parts_of,
    said,
    told_condition,
    told_value,
    truth_of,
    values_of,
)
from skerry.objects.device_rules import QUALITIES, Action, DeviceRule, Source
from skerry.objects.json import Json, JsonObject, str_at
from skerry.objects.twins import parse_value, quality_of

_WHOLE: Final = re.compile(r"-?[0-9]+")
_DIGITS: Final = 40
_DOUBLE: Final = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|-?inf|nan")
_FIELDS: Final = ("quality", "previous", "age")


def given_of(rule: DeviceRule, types: Mapping[tuple[str, str], JsonObject], pairs: Iterable[tuple[str, str]]) -> View:
    """What a gateway would have seen. Raises `BadRequestError`."""
    said_of: dict[str, dict[str, str]] = {}
    names = {source.name: source for source in rule.sources}
    for name, value in pairs:
        root, _, part = name.partition(".")
        if root not in names or (part and part not in _FIELDS):
            known = ", ".join(names) or "none"
            raise BadRequestError(f"--given {name}: its values are {known}, each with .{', .'.join(_FIELDS)}")
        said_of.setdefault(root, {})[part] = value
    return {(names[name].device, names[name].prop): _seen(names[name], types, told) for name, told in said_of.items()}


def _seen(source: Source, types: Mapping[tuple[str, str], JsonObject], told: Mapping[str, str]) -> Seen:
    declared = str_at(types.get((source.device, source.prop), {}), "type").upper()
    quality = told.get("quality", "good" if "" in told else "bad")
    if quality not in QUALITIES:
        raise BadRequestError(f"--given {source.name}.quality={quality}: write {', '.join(QUALITIES)}")
    try:
        age_s = float(told.get("age", "0"))
    except ValueError as error:
        raise BadRequestError(f"--given {source.name}.age={told['age']}: write seconds") from error
    return Seen(
        value=_value(source.name, declared, told[""]) if "" in told else None,
        quality=quality_of(quality),
        at_s=-age_s,
        previous=_value(source.name, declared, told["previous"]) if "previous" in told else None,
    )


def _value(name: str, declared: str, text: str) -> Scalar:
    """By the property's type; where nobody knows it, as it looks."""
    if declared in ("INT", "FLOAT", "DOUBLE", "BOOLEAN", "STRING"):
        try:
            value = parse_value(declared, text)
        except InvalidError as error:
            raise BadRequestError(f"--given {name}={text}: {error}") from error
        assert not isinstance(value, bytes), "of none of these types"
        return value
    if text in ("true", "false"):
        return text == "true"
    if _WHOLE.fullmatch(text):
        if len(text) > _DIGITS or not -(2**63) <= int(text) < 2**63:
            raise BadRequestError(f"--given {name}={text[:_DIGITS]}: a whole number has at most 64 bits")
        return int(text)
    return float(text) if _DOUBLE.fullmatch(text) else text


def trial_lines(rule: DeviceRule, given: View, *, active: bool) -> tuple[JsonObject, list[str]]:
    """What would happen, for programs and for people."""
    values = values_of(rule, given, 0.0)
    program = rule.until if active and rule.until is not None else rule.when
    result, why = truth_of(program, values)
    happens = result is True if not active or rule.until is not None else result is False
    what = "ends" if active else "fires"
    outcome, words = _verdict(rule, result, happens=happens, what=what)
    lines = [
        *(f"{source.name} = {_shown(source, given)}" for source in rule.sources),
        f"{'until' if active and rule.until is not None else 'when'}: {told_condition(program, values)}",
        f"{words}{f': {why}' if why else ''}",
    ]
    deeds: list[Json] = []
    for action in (rule.otherwise if active else rule.actions) if happens and rule.mode != "Off" else ():
        deed = _deed(action, values)
        deeds.append(deed)
        failed = str_at(deed, "failed")
        lines.append(f"  {str_at(deed, 'form')} {str_at(deed, 'target')} = {str_at(deed, 'said') or failed}")
    told: JsonObject = {
        "result": {True: "True", False: "False", None: "Unknown"}[result],
        "outcome": outcome,
        "condition": told_condition(program, values),
        "actions": deeds,
    }
    return (told | {"reason": why} if why else told), lines


def _verdict(rule: DeviceRule, result: bool | None, *, happens: bool, what: str) -> tuple[str, str]:
    if rule.mode == "Off":
        return "nothing", "it is off: nothing happens"
    if result is None:
        return "nothing", "it can't be worked out, so it neither fires nor ends"
    if not happens:
        return "nothing", "nothing happens"
    if what == "ends":
        return "ends", "it ends"
    shadow = " (in shadow: nothing is done)" if rule.mode == "Shadow" else ""
    if rule.schedule is not None:
        return "fires", f"it fires at {rule.schedule.text!r}{shadow}"
    after = f" when that has held for {rule.for_s} s" if rule.for_s else ""
    return "fires", f"it fires{after}{shadow}"


def _shown(source: Source, given: View) -> str:
    value, quality = told_value(source, given)
    return f"{value or '<none>'} ({quality})"


def _deed(action: Action, values: Values) -> JsonObject:
    form, target, words = parts_of(action)
    try:
        return {"form": form, "target": target, "said": said(words, values)}
    except CelFailure as failure:
        return {"form": form, "target": target, "failed": f"can't be worked out: {failure}"}
