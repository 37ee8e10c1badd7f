"""What a visitor says of the meaning of a number: names, named bits, a part of a register, a moment.

Pure. The fields are described in docs/reference/devices.md.
"""

from __future__ import annotations

from typing import Final, Literal

from devices.codec import NO_FLAGS, RawType
from devices.fields import int_in, map_in, text_in
from devices.moments import COUNTED, MOMENT_FORMS, MOMENT_REGISTERS, MomentForm, parse_moment
from skerry.errors import InvalidError
from skerry.frozen import Frozen, field
from skerry.objects.json import JsonObject

WHOLE_NUMBERS: Final = frozenset({
    "int8h", "int8l", "uint8h", "uint8l", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bcd16", "bcd32",
    "bcd64", "mod10k",
})  # fmt: skip


class Meaning(Frozen):
    """See `devices.codec.Codec`, which has the same fields."""

    names: dict[int, str] = field(default_factory=dict[int, str])
    flags: dict[int, str] = field(default_factory=dict[int, str])
    mask: int | None = None
    moment: MomentForm | None = None
    epoch_s: int = 0
    padding: Literal["nul", "blank"] = "nul"
    one_char: Literal["", "high", "low"] = ""


def parse_meaning(data: JsonObject, raw: RawType, type: str, where: str) -> Meaning:
    """Raises `InvalidError` that names the field and the fix."""
    names, flags = _names(data, where), _flags(data, raw, where)
    moment, epoch_s = _moment(data, raw, where)
    mask = _mask(data, raw, where)
    given = [name for name in ("enum", "flags", "time") if data.get(name) is not None]
    if len(given) > 1:
        raise InvalidError(f"{where}.{given[1]}: a number has one meaning, and {given[0]} is given")
    if given:
        if type != "STRING":
            raise InvalidError(f"{where}.{given[0]}: gives texts: make the property a STRING, not {type}")
        if raw != "moment" and raw not in WHOLE_NUMBERS:
            raise InvalidError(f"{where}.{given[0]}: belongs to a whole number, not to {raw}")
        for name in ("scale", "valueOffset", "step"):
            if data.get(name) is not None:
                raise InvalidError(f"{where}.{name}: a number with {given[0]} is not calculated with")
    padding, one_char = _text_form(data, raw, where)
    return Meaning(
        names=names, flags=flags, mask=mask, moment=moment, epoch_s=epoch_s, padding=padding, one_char=one_char
    )


def _names(data: JsonObject, where: str) -> dict[int, str]:
    """`enum: {0: off, 1: heating}`; YAML and JSON make texts of the numbers."""
    given = map_in(data, "enum", where=where)
    names: dict[int, str] = {}
    for raw in given:
        try:
            number = int(raw, 0)
        except ValueError as error:
            raise InvalidError(f"{where}.enum: {raw!r} is no raw value: write NUMBER: NAME") from error
        names[number] = text_in(given, raw, where=f"{where}.enum")
    if len(set(names.values())) != len(names):
        raise InvalidError(f"{where}.enum: two values have one name, so that it could not be written")
    return names


def _flags(data: JsonObject, raw: RawType, where: str) -> dict[int, str]:
    """`flags: {pump: 0, alarm: 3}`: names of bits."""
    given = map_in(data, "flags", where=where)
    high = {"uint64": 63, "int64": 63, "uint32": 31, "int32": 31}.get(raw, 15)
    flags: dict[int, str] = {}
    for name in given:
        bit = int_in(given, name, where=f"{where}.flags", low=0, high=high)
        if bit in flags:
            raise InvalidError(f"{where}.flags.{name}: bit {bit} is called {flags[bit]} already")
        if "," in name or name != name.strip() or name in ("", NO_FLAGS):
            raise InvalidError(f"{where}.flags: {name!r} has commas or blanks at its ends, or is {NO_FLAGS!r}")
        flags[bit] = name
    if flags and raw not in ("uint16", "uint32", "uint64"):
        raise InvalidError(f"{where}.flags: bits are of a uint16, uint32 or uint64, not of {raw}")
    return dict(sorted(flags.items()))


def _mask(data: JsonObject, raw: RawType, where: str) -> int | None:
    if data.get("mask") is None:
        return None
    if raw not in ("uint16", "int16"):
        raise InvalidError(f"{where}.mask: is of one register (uint16), not of {raw}")
    return int_in(data, "mask", where=where, low=1, high=0xFFFF)


def _moment(data: JsonObject, raw: RawType, where: str) -> tuple[MomentForm | None, int]:
    given = text_in(data, "time", where=where, default="")
    form: MomentForm | None = next((one for one in MOMENT_FORMS if one == given), None)
    if given and form is None:
        raise InvalidError(f"{where}.time: {given!r} is not one of {', '.join(MOMENT_FORMS)}")
    if raw == "moment" and form not in MOMENT_REGISTERS:
        raise InvalidError(f"{where}.time: required with dataType moment: one of {', '.join(MOMENT_REGISTERS)}")
    if form is not None and (form in COUNTED) == (raw == "moment"):
        raise InvalidError(f"{where}.time: {form} can't be kept as {raw}")
    epoch = text_in(data, "epoch", where=where, default="")
    if epoch and form not in COUNTED:
        raise InvalidError(f"{where}.epoch: belongs to time: seconds or milliseconds")
    return form, round(parse_moment(epoch).timestamp()) if epoch else 0


def _text_form(
    data: JsonObject, raw: RawType, where: str
) -> tuple[Literal["nul", "blank"], Literal["", "high", "low"]]:
    padding = text_in(data, "padding", where=where, default="nul")
    one_char = text_in(data, "oneCharacter", where=where, default="")
    for name in ("padding", "oneCharacter"):
        if data.get(name) is not None and raw != "string":
            raise InvalidError(f"{where}.{name}: belongs to dataType string, not to {raw}")
    if padding not in ("nul", "blank"):
        raise InvalidError(f"{where}.padding: {padding!r} is not one of nul, blank")
    if one_char not in ("", "high", "low"):
        raise InvalidError(f"{where}.oneCharacter: {one_char!r} is not one of high, low (the byte of the register)")
    if one_char and text_in(data, "encoding", where=where, default="utf-8").lower() == "utf-16-be":
        raise InvalidError(f"{where}.oneCharacter: utf-16-be takes both bytes of a register")
    return padding, one_char
