"""Which registers to read in which requests.

Pure. One request for each property is what makes other tools slow; joining too much asks a device for registers
that it does not have. So: neighbours are joined while the gap and the block stay within limits, the registers of
one value always come from one answer, and where a device refused a joined block (exception 2 or 3), the block is
split in two and that boundary is remembered, so that one illegal register does not take away a hundred good ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from skerry.errors import InvalidError
from skerry.frozen import Frozen

Table = Literal["coil", "discrete", "input", "holding"]

BITS_MAX: Final = 2000
"""Of FC 1 and 2 (Modbus Application Protocol 1.1b3, 6.1)."""
REGISTERS_MAX: Final = 125
"""Of FC 3 and 4 (6.3)."""

_PREFIXES: Final[dict[str, Table]] = {
    "hr": "holding", "holding": "holding", "ir": "input", "input": "input",
    "co": "coil", "coil": "coil", "di": "discrete", "discrete": "discrete",
}  # fmt: skip
_DIGITS: Final[dict[str, Table]] = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}


class Address(Frozen):
    """A place in a device, counted from 0 as in the protocol."""

    table: Table
    offset: int
    bit: int | None = None

    def __str__(self) -> str:
        """Both forms, because manuals mix them: `hr:0 (40001)`."""
        digit = next(digit for digit, table in _DIGITS.items() if table == self.table)
        prefix = next(prefix for prefix, table in _PREFIXES.items() if table == self.table)
        bit = "" if self.bit is None else f".{self.bit}"
        return f"{prefix}:{self.offset}{bit} ({digit}{self.offset + 1:0{4 if self.offset < 9999 else 5}d})"


def parse_address(text: str) -> Address:
    """`hr:0`, `ir:0x10`, `hr:5.3` (bit 3), counted from 0; `40001`, `400001`, `4x0001`, counted from 1.

    Raises `InvalidError` for anything that could be read in two ways.
    """
    if found := re.fullmatch(r"([a-z]+):(0x[0-9a-f]+|\d+)(?:\.(\d+))?", text.strip().lower()):
        prefix, number, bit = found.groups()
        if prefix not in _PREFIXES:
            raise InvalidError(f"there is no table {prefix!r}: use hr, ir, co or di, as in hr:0")
        return _checked(_PREFIXES[prefix], int(number, 0), None if bit is None else int(bit), text)
    if found := re.fullmatch(r"([134])(?:x?)(\d{4,5})(?:\.(\d+))?|(0)(\d{4,5})", text.strip().lower()):
        digit, number, bit = found[1] or found[4], found[2] or found[5], found[3]
        return _checked(_DIGITS[digit], int(number) - 1, None if bit is None else int(bit), text)
    raise InvalidError(f"{text!r} can be read in two ways: write hr:{text} when it is counted from 0, else 4xxxx")


def _checked(table: Table, offset: int, bit: int | None, text: str) -> Address:
    if not 0 <= offset <= 0xFFFF:
        raise InvalidError(f"{text!r} is outside of the 65536 addresses of a table")
    if bit is not None and (table not in ("holding", "input") or bit > 15):
        raise InvalidError(f"{text!r}: only registers have bits, 0 to 15")
    return Address(table=table, offset=offset, bit=bit)


class Point(Frozen):
    """One value's place, and who wants it."""

    device: str
    prop: str
    unit: int
    table: Table
    address: int
    count: int
    """Registers, or bits in the bit tables."""
    alone: bool = False
    """Never read together with others: reading it does something."""


class Block(Frozen):
    """One read request, and the values that its answer holds."""

    unit: int
    table: Table
    address: int
    count: int
    points: tuple[Point, ...]

    @property
    def end(self) -> int:
        return self.address + self.count


class Range(Frozen):
    """Places of one table, from the first to the last."""

    table: Table
    first: int
    last: int


def parse_range(text: str) -> Range:
    """`hr:100-120`, or one place in any form of `parse_address`. Raises `InvalidError`."""
    start, dash, end = text.partition("-")
    first = parse_address(start)
    if first.bit is not None or (dash and ":" not in start):
        raise InvalidError(f"{text!r}: write a range as hr:100-120")
    try:
        last = int(end, 0) if dash else first.offset
    except ValueError as error:
        raise InvalidError(f"{text!r}: write a range as hr:100-120") from error
    if not first.offset <= last <= 0xFFFF:
        raise InvalidError(f"{text!r} ends before it begins, or beyond 65535")
    return Range(table=first.table, first=first.offset, last=last)


class Limits(Frozen):
    """What one request may ask of a device."""

    registers_max: int = REGISTERS_MAX
    bits_max: int = BITS_MAX
    gap_max: int = 16
    """Unwanted registers read along to spare a request. Bits: 16 times that. See `gap_worth`."""
    no_read: tuple[Range, ...] = ()
    """Places that no block may touch, but for a value that is there."""


GAP_TCP: Final = 64
"""On TCP a register costs nothing beside a round trip; but a device may have holes, and each costs some refusals."""
REQUEST_CHARACTERS: Final = 8 + 5 + 2 * 3.5
"""Of a read on a serial line: the request, what is about the answer, and twice the silence between frames."""


def gap_worth(character_s: float, *, latency_s: float = 0.02) -> int:
    """How many unwanted registers cost a line as much as another request: about 18 at 9600 baud, 124 at 115200."""
    if character_s == 0:
        return GAP_TCP
    return min(REGISTERS_MAX - 1, int((REQUEST_CHARACTERS + latency_s / character_s) / 2))


Boundary: TypeAlias = "tuple[int, Table, int]"
"""(unit, table, address) at which a block must begin."""


def plan_blocks(
    points: Iterable[Point], limits: Limits, boundaries: frozenset[Boundary] = frozenset()
) -> list[Block]:
    """The requests that read all points, in order of unit, table and address."""
    blocks: list[Block] = []
    for point in sorted(points, key=lambda point: (point.unit, point.table, point.address, point.count, point.prop)):
        joined = _joined(blocks[-1], point, limits, boundaries) if blocks else None
        if joined is not None:
            blocks[-1] = joined
        else:
            blocks.append(_block((point,)))
    return blocks


def _joined(block: Block, point: Point, limits: Limits, boundaries: frozenset[Boundary]) -> Block | None:
    """The block with this point in it, or None when they must stay apart."""
    if (block.unit, block.table) != (point.unit, point.table) or point.alone or block.points[0].alone:
        return None
    bits = point.table in ("coil", "discrete")
    if point.address - block.end > limits.gap_max * (16 if bits else 1):
        return None
    end = max(block.end, point.address + point.count)
    if end - block.address > (limits.bits_max if bits else limits.registers_max):
        return None
    if any((block.unit, block.table, at) in boundaries for at in range(block.end, point.address + 1)):
        return None
    if (block.unit, block.table, point.address) in boundaries:
        return None
    if any(no.table == block.table and no.first < point.address and no.last >= block.end for no in limits.no_read):
        return None
    return _block((*block.points, point))


def _block(points: Sequence[Point]) -> Block:
    first = points[0]
    end = max(point.address + point.count for point in points)
    return Block(
        unit=first.unit, table=first.table, address=first.address, count=end - first.address, points=tuple(points)
    )


def split(block: Block) -> tuple[Block, Block] | None:
    """The two halves of a block that a device refused; None for one that can't be split (one place)."""
    starts = sorted({point.address for point in block.points})
    if len(starts) < 2:
        return None
    boundary = starts[len(starts) // 2]
    left = tuple(point for point in block.points if point.address < boundary)
    right = tuple(point for point in block.points if point.address >= boundary)
    return _block(left), _block(right)
