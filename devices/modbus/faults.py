"""What goes wrong with a played slave, on purpose: `late=8%,busy=1%,silent=unit5`.

Pure; chance is an argument. Each answer suffers at most one fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from devices.modbus.pdu import encode_exception
from skerry.errors import InvalidError
from skerry.frozen import Frozen, field

FAULTS: Final = {
    "late": "the answer comes later (late=8%@1500ms; 1500 ms when not said)",
    "busy": "exception 6",
    "failure": "exception 4",
    "silent": "no answer (a share, or a unit: silent=unit5)",
    "garbage": "bytes that are no frame",
    "twice": "the answer, and again",
    "cut": "the beginning of the answer alone",
    "bits": "a bit turned over",
    "unit": "under another unit's number",
    "function": "of another function",
    "count": "of another length",
}
LATE_S: Final = 1.5

_FAULT: Final = re.compile(r"([a-z]+)=(?:(\d+(?:\.\d+)?)%(?:@(\d+)ms)?|unit(\d+))")


class Sending(Frozen):
    """What a slave sends in place of its answer."""

    frame: bytes
    after_s: float = 0.0


class Faults(Frozen):
    """How often what goes wrong."""

    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    silent_units: frozenset[int] = frozenset()
    late_s: float = LATE_S

    def pick(self, unit: int, chance: float) -> str:
        """The fault that the next answer of this unit suffers; "" for none. `chance` in [0, 1)."""
        if unit in self.silent_units:
            return "silent"
        for name, share in self.shares.items():
            if chance < share:
                return name
            chance -= share
        return ""


def parse_faults(text: str) -> Faults:
    """Raises `InvalidError` that names the part and the fix."""
    shares: dict[str, float] = {}
    silent_units: set[int] = set()
    late_s = LATE_S
    for part in filter(None, (one.strip() for one in text.split(","))):
        found = _FAULT.fullmatch(part)
        if found is None or found[1] not in FAULTS:
            raise InvalidError(f"{part!r}: write NAME=8%, where NAME is one of {', '.join(FAULTS)}, or silent=unit5")
        name, percent, late_ms, unit = found.groups()
        if (unit is not None and name != "silent") or (late_ms is not None and name != "late"):
            raise InvalidError(f"{part!r}: a unit belongs to silent, a time to late")
        if unit is not None:
            silent_units.add(int(unit))
            continue
        shares[name] = float(percent) / 100
        late_s = int(late_ms) / 1000 if late_ms is not None else late_s
    if sum(shares.values()) > 1:
        raise InvalidError("the shares are more than 100 % together")
    return Faults(shares=shares, silent_units=frozenset(silent_units), late_s=late_s)


def spoiled(fault: str, unit: int, pdu: bytes) -> tuple[int, bytes]:
    """Unit and answer, where the fault is in what is said."""
    match fault:
        case "busy" | "failure":
            return unit, encode_exception(pdu[0], 6 if fault == "busy" else 4)
        case "unit":
            return unit % 247 + 1, pdu
        case "function":
            return unit, bytes((pdu[0] & 0x80 | (4 if pdu[0] & 0x7F == 3 else 3),)) + pdu[1:]
        case "count" if len(pdu) > 3:
            return unit, pdu[:1] + bytes((pdu[1] - 1 & 0xFF,)) + pdu[2:-1]
        case _:
            return unit, pdu


def sendings(fault: str, frame: bytes, chance: float, *, late_s: float) -> list[Sending]:
    """What goes out, where the fault is in how it is said."""
    at = int(chance * len(frame))
    match fault:
        case "silent":
            return []
        case "late":
            return [Sending(frame=frame, after_s=late_s)]
        case "twice":
            return [Sending(frame=frame), Sending(frame=frame)]
        case "cut":
            return [Sending(frame=frame[: max(1, at)])]
        case "bits":
            return [Sending(frame=frame[:at] + bytes((frame[at] ^ 1 << int(chance * 1e6) % 8,)) + frame[at + 1 :])]
        case "garbage":
            return [Sending(frame=bytes((byte * 7 + at) & 0xFF for byte in frame[: max(1, at)]))]
        case _:
            return [Sending(frame=frame)]
