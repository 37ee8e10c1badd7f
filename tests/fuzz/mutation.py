"""Damage that knows the format: bytes taken apart as the wire format says, changed, and put together again.

A flipped bit nearly always breaks a length first. Here lengths stay true (or are lies on purpose), so that what
lies inside is reached.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from random import Random

from skerry.objects.json import Json

_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 2**31 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**70)
_DEFLATED = 31

Part = tuple[int, int, "int | bytes"]
"""(field number, wire type, content)."""


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def taken_apart(data: bytes) -> list[Part] | None:
    """The fields of a message; None where it is none."""
    parts: list[Part] = []
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    try:
        while at < len(data):
            tag = number()
            wire = tag & 7
            if wire == 0:
                parts.append((tag >> 3, 0, number()))
                continue
            length = number() if wire == 2 else 8 if wire == 1 else 4 if wire == 5 else -1
            if length < 0 or length > len(data) - at:
                return None
            parts.append((tag >> 3, wire, data[at : at + length]))
            at += length
    except IndexError:
        return None
    return parts


def put_together(parts: list[Part]) -> bytes:
    out = bytearray()
    for number, wire, content in parts:
        out += varint(number << 3 | wire)
        if isinstance(content, int):
            out += varint(content)
        else:
            out += (varint(len(content)) if wire == 2 else b"") + content
    return bytes(out)


def deflated(plain: bytes, random: Random) -> bytes:
    deflater = zlib.compressobj(level=random.choice((1, 9)), wbits=-15)
    return put_together([(_DEFLATED, 2, deflater.compress(plain) + deflater.flush())])


def mutated(data: bytes, random: Random) -> bytes:
    """The same, damaged in one to three ways."""
    for _ in range(random.randint(1, 3)):
        data = _once(data, random, depth=0)
        if len(data) > 1 << 20:
            break
    return data


def _once(data: bytes, random: Random, *, depth: int) -> bytes:
    parts = taken_apart(data)
    if parts is None or not parts or random.random() < 0.15:
        return _raw(data, random)
    if depth == 0 and parts[0][0] == _DEFLATED and isinstance(parts[0][2], bytes):
        try:
            plain = zlib.decompressobj(wbits=-15).decompress(parts[0][2], 1 << 20)
        except zlib.error:
            return _raw(data, random)
        return deflated(_once(plain, random, depth=1), random)
    at = random.randrange(len(parts))
    number, wire, content = parts[at]
    match random.randrange(9):
        case 0:
            parts.insert(at, parts[random.randrange(len(parts))])
        case 1:
            del parts[at]
        case 2:
            parts[at] = (random.choice((0, number + 1, random.randrange(40), 2**28)), wire, content)
        case 3:
            parts[at] = (number, 0, random.choice(_EDGES))
        case 4:
            parts += [parts[at]] * random.choice((2, 64, 3000))
        case 5 if isinstance(content, bytes):
            parts[at] = (number, 2, content * random.choice((2, 50, 300)))
        case 6 if depth == 0:
            return deflated(data * random.choice((1, 1, 200)), random)
        case _ if isinstance(content, bytes) and depth < 6:
            parts[at] = (number, wire, _once(content, random, depth=depth + 1))
        case _:
            parts[at] = (number, 0, random.choice(_EDGES))
    return put_together(parts)


def _raw(data: bytes, random: Random) -> bytes:
    whole = bytearray(data)
    match random.randrange(5):
        case 0 if whole:
            whole[random.randrange(len(whole))] = random.randrange(256)
        case 1 if whole:
            del whole[random.randrange(len(whole)) :]
        case 2:
            at = random.randint(0, len(whole))
            whole[at:at] = random.randbytes(random.randrange(8))
        case 3:
            whole += varint(random.choice(_EDGES))
        case _:
            at = random.randint(0, len(whole))
            whole[at:at] = bytes([random.choice((0, 0x7F, 0x80, 0xFF))]) * random.choice((1, 9, 10, 11))
    return bytes(whole)


def mutated_script(data: bytes, random: Random) -> bytes:
    """A script of `targets`: its frames damaged one by one, its steps repeated, dropped, moved and added."""
    steps = _steps(data)
    for _ in range(random.randint(1, 4)):
        if not steps:
            break
        at = random.randrange(len(steps))
        step = steps[at]
        match random.randrange(6):
            case 0:
                steps.insert(random.randint(0, len(steps)), step)
            case 1:
                del steps[at]
            case 2:
                steps[at] = steps[at] * random.choice((2, 20))
            case 3:
                steps.insert(at, bytes([random.choice((3, 4, 5, 6, 7)), random.randrange(256)]))
            case _ if step[0] % 8 < 3:
                frame = mutated(step[3:], random)[:0xFFFF]
                steps[at] = bytes([0, len(frame) & 0xFF, len(frame) >> 8]) + frame
            case _:
                steps[at] = bytes([random.randrange(8)]) + step[1:]
    return b"".join(steps)


def _steps(data: bytes) -> list[bytes]:
    """A script cut before each of its frames."""
    steps: list[bytes] = []
    at = 0
    while at < len(data):
        length = 1
        if data[at] % 8 < 3:
            length = 3 + (data[at + 1] | data[at + 2] << 8 if at + 2 < len(data) else 0)
        steps.append(data[at : at + length])
        at += length
    return steps


_NASTY: tuple[Json, ...] = (
    *(None, True, 0, -1, 2**63, -(2**63), 2**70, 1e308, float("inf"), float("nan"), "", "\ud800", "\0\n", "x" * 3000),
    *("1e999", "-0", "NaN", "9" * 400, "9999-99-99T99:99:99Z", "0001-01-01T00:00:00Z", "1.1.1", "-1.-1", "1.0"),
    *([], {}, [[]], [{}], {"": {}}, ["x"], {"value": {}}),
)


def mutated_report(data: bytes, random: Random) -> bytes:
    """A report's kind and body: JSON with a value of the wrong kind in some places, or broken JSON."""
    kind, _, body = data.partition(b"\n")
    if random.random() < 0.1:
        kind = random.choice((b"pod_status", b"event", b"telemetry", b"twin_desired", kind + b"\n"))
    try:
        value: Json = json.loads(body)
    except (ValueError, RecursionError):
        return kind + b"\n" + _raw(body, random)
    if random.random() < 0.1:
        return kind + b"\n" + _raw(body, random)
    for _ in range(random.randint(1, 4)):
        value = _worse(value, random)
    return kind + b"\n" + json.dumps(value).encode()


def _worse(value: Json, random: Random) -> Json:
    if isinstance(value, dict) and value and random.random() < 0.9:
        name = random.choice(sorted(value))
        if random.random() < 0.1:
            return {key: held for key, held in value.items() if key != name}
        return {**value, name: _worse(value[name], random)}
    if isinstance(value, list) and value and random.random() < 0.7:
        at = random.randrange(len(value))
        return [*value[:at], _worse(value[at], random), *value[at + 1 :]]
    return random.choice(_NASTY)


MUTATORS: dict[str, Callable[[bytes, Random], bytes]] = {
    "codec": mutated,
    "edge": mutated_script,
    "cloud": mutated_script,
    "report": mutated_report,
}
