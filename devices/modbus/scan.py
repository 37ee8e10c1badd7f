"""Finding out what is on a line: which units answer, what they say of themselves, and which places they have.

A unit that answers with an exception is there. Places are found by reading ranges and halving what is refused: those
that exist cost a few requests, those that don't about one each. A scan only reads. Nothing is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

from devices.bus import (
    AWAY_EXCEPTIONS,
    READ_FUNCTIONS,
    ExceptionAnswerError,
    Request,
    SilentError,
    Wire,
    WrongAnswerError,
)
from devices.plan import Range, Table
from skerry.frozen import Frozen

BLOCK: Final[dict[Table, int]] = {"holding": 64, "input": 64, "coil": 512, "discrete": 512}

SINGLY: Final = 8
"""What is refused and no longer than this is looked at place by place: halving on would cost twice as much."""


class FoundUnit(Frozen):
    """A unit that answers."""

    unit: int
    identity: Mapping[int, bytes]
    """Empty where it does not say."""
    said: str
    """To the first request: the value, or the exception."""


async def scan_units(wire: Wire, units: Iterable[int]) -> AsyncIterator[FoundUnit | int]:
    """Each unit that answers; the number alone of each that does not. Raises `LineDownError`."""
    for unit in units:
        try:
            (word,) = await wire.transact(Request(unit=unit, function=3, address=0))
            said = f"hr:0 = {word}"
        except ExceptionAnswerError as error:
            if error.code in AWAY_EXCEPTIONS:
                yield unit
                continue
            said = str(error)
        except SilentError:
            await wire.reset()
            yield unit
            continue
        except WrongAnswerError as error:
            said = f"something answers wrongly: {error}"
            await wire.reset()
        yield FoundUnit(unit=unit, identity=await _identity(wire, unit), said=said)


async def _identity(wire: Wire, unit: int) -> Mapping[int, bytes]:
    try:
        return await wire.identify(unit)
    except ExceptionAnswerError:
        return {}
    except (SilentError, WrongAnswerError):
        await wire.reset()
        return {}


async def scan_places(wire: Wire, unit: int, table: Table, *, first: int, last: int) -> list[Range]:
    """The ranges of places that the unit has. Raises what `transact` does, but for refusals."""
    found: list[int] = []
    waiting = [(start, min(BLOCK[table], last - start + 1)) for start in range(first, last + 1, BLOCK[table])][::-1]
    while waiting:
        start, count = waiting.pop()
        try:
            await wire.transact(Request(unit=unit, function=READ_FUNCTIONS[table], address=start, count=count))
        except ExceptionAnswerError as error:
            if error.code == 1:
                return []  # it does not have the table at all
            if 1 < count <= SINGLY:
                waiting += [(at, 1) for at in range(start + count - 1, start - 1, -1)]
            elif count > 1:
                half = count // 2
                waiting += [(start + half, count - half), (start, half)]
            continue
        found += range(start, start + count)
    return joined(table, found)


def joined(table: Table, places: Iterable[int]) -> list[Range]:
    """Single places, in order, as ranges."""
    ranges: list[Range] = []
    for at in places:
        if ranges and ranges[-1].last == at - 1:
            ranges[-1] = Range(table=table, first=ranges[-1].first, last=at)
        else:
            ranges.append(Range(table=table, first=at, last=at))
    return ranges
