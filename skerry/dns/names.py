"""Domain names as the wire has them: uncompressed, in lower case where they are compared (RFC 1035, 4343). Pure.

A name is `bytes`: each label behind its length, then a zero. Lengths are below 64, so `bytes.lower` touches letters
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.dns.numbers import MalformedError
from skerry.errors import InvalidError

NAME_MAX: Final = 255
LABEL_MAX: Final = 63
ROOT: Final = b"\0"
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*/+:=!#%&'<>?[]^`{|}~,")


def parent(name: bytes) -> bytes:
    """Without its first label; the root has none."""
    assert name != ROOT, "the root has no parent"
    return name[name[0] + 1 :]


def ancestry(name: bytes) -> Iterator[bytes]:
    """The name itself, then each parent, the root last."""
    while True:
        yield name
        if name == ROOT:
            return
        name = name[name[0] + 1 :]


def labels(name: bytes) -> list[bytes]:
    """Without the root's empty one."""
    return [each[1 : each[0] + 1] for each in ancestry(name) if each != ROOT]


def is_within(name: bytes, origin: bytes) -> bool:
    """Whether it is the origin or below it; both in lower case."""
    return name.endswith(origin) and any(each == origin for each in ancestry(name))


def is_below(name: bytes, origin: bytes) -> bool:
    return name != origin and is_within(name, origin)


def canonical(name: bytes) -> tuple[bytes, ...]:
    """Sorts names as RFC 4034 section 6.1 has it."""
    return tuple(reversed([label.lower() for label in labels(name)]))


def successor(name: bytes, origin: bytes) -> bytes:
    """The next name in canonical order that can be in the zone (RFC 4034 section 6.1, 4471 section 3.1.1); the origin
    where there is none. The name is in the zone, in lower case."""
    if len(name) + 2 <= NAME_MAX:
        return b"\x01\x00" + name
    while name != origin:
        label, rest = name[1 : name[0] + 1], name[name[0] + 1 :]
        if len(label) < LABEL_MAX and len(name) < NAME_MAX:
            return bytes([len(label) + 1]) + label + b"\0" + rest
        if kept := label.rstrip(b"\xff"):
            # Capitals are no letters of their own: behind "@" comes "[".
            last = 0x5B if kept[-1] == 0x40 else kept[-1] + 1
            return bytes([len(kept)]) + kept[:-1] + bytes([last]) + rest
        name = rest
    return origin


def text_of(name: bytes) -> str:
    """As master files write it, with a dot at the end (RFC 1035 section 5.1)."""
    if name == ROOT:
        return "."
    return "".join(f"{_label_text(label)}." for label in labels(name))


def _label_text(label: bytes) -> str:
    return "".join(
        chr(byte) if byte in _PLAIN else f"\\{chr(byte)}" if 0x21 <= byte <= 0x7E else f"\\{byte:03d}"
        for byte in label
    )


def name_of(text: str) -> bytes:
    """The wire form of a name in a master file's form, absolute with or without its last dot. Raises
    `InvalidError`."""
    if text in (".", "@"):
        return ROOT
    found: list[bytearray] = [bytearray()]
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == ".":
            if not found[-1]:
                raise InvalidError(f"{text!r} has an empty label")
            found.append(bytearray())
        elif char == "\\":
            byte, position = _escape(text, position)
            found[-1].append(byte)
        elif char.isascii() and char > " ":
            found[-1].append(ord(char))
        else:
            raise InvalidError(
                f"{text!r} has a character that DNS names in text can't have: {char!r} (use xn-- forms)"
            )
    if not found[-1]:
        found.pop()
    if any(len(label) > LABEL_MAX for label in found):
        raise InvalidError(f"{text!r} has a label of more than {LABEL_MAX} bytes")
    name = b"".join(bytes([len(label)]) + label for label in found) + ROOT
    if len(name) > NAME_MAX:
        raise InvalidError(f"{text!r} has more than {NAME_MAX} bytes")
    return name


def _escape(text: str, position: int) -> tuple[int, int]:
    digits = text[position : position + 3]
    if len(digits) == 3 and digits.isascii() and digits.isdecimal():
        if int(digits) > 255:
            raise InvalidError(f"{text!r} has an escape above \\255")
        return int(digits), position + 3
    if position < len(text) and text[position].isascii() and not text[position].isdecimal():
        return ord(text[position]), position + 1
    raise InvalidError(f"{text!r} has a backslash with nothing sensible behind it")


def skip_name(packet: bytes, position: int) -> int:
    """Where a name ends that may be compressed. Pointers aren't followed."""
    size = len(packet)
    while position < size:
        length = packet[position]
        if length == 0:
            return position + 1
        if length >= 0xC0:
            _target(packet, position)
            return position + 2
        if length > LABEL_MAX:
            raise MalformedError("a label of a kind that is not used")
        position += length + 1
    raise MalformedError("a name is cut off")


def read_name(packet: bytes, position: int) -> tuple[bytes, int]:
    """The name that stands there, uncompressed and with its letters as they are, and where the next thing begins.
    Raises `MalformedError`."""
    size, end = len(packet), 0
    found = bytearray()
    while position < size:
        length = packet[position]
        if length == 0:
            return bytes(found) + ROOT, end or position + 1
        if length >= 0xC0:
            target = _target(packet, position)
            end, position = end or position + 2, target
            continue
        if length > LABEL_MAX:
            raise MalformedError("a label of a kind that is not used")
        if position + length + 1 > size:
            break
        found += packet[position : position + length + 1]
        if len(found) >= NAME_MAX:  # a circle of labels and pointers comes here as well
            raise MalformedError("a name that is too long")
        position += length + 1
    raise MalformedError("a name is cut off")


def _target(packet: bytes, position: int) -> int:
    """Where a pointer leads: before itself, or nowhere."""
    target = (packet[position] & 0x3F) << 8 | packet[position + 1] if position + 2 <= len(packet) else position
    if target >= position:
        raise MalformedError("a pointer that leads nowhere before itself")
    return target
