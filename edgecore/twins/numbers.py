"""Which of a sensor's own numbers were not taken, to tell a message that comes late from one that comes again. Pure.

A broker sends again what it sent on a connection that broke, and marks it so; messages that were new meanwhile may
have overtaken it. An older number with that mark is a repetition only where it was taken, and how far it reached
alone does not say that. So the holes below the newest number are kept with the twin, in the transaction of the
reading: a few, for a broker has few messages under way. A sensor that counts in tens has a hole between any two.
"""

from __future__ import annotations

from typing import Final

from skerry.objects.twins import Holes

HOLES_MAX: Final = 32
"""The newest so many: mosquitto has 20 messages under way, paho's broker as many. What was a hole below counts as
taken."""


def first(number: int) -> Holes:
    """Nothing is known but that this number is the first: of those below it none was taken."""
    return ((0, number - 1),) if number > 0 else ()


def onward(holes: Holes, last: int, number: int) -> Holes:
    """After a number above the last one."""
    return (*holes, (last + 1, number - 1))[-HOLES_MAX:] if number > last + 1 else holes


def lacks(holes: Holes, number: int) -> bool:
    """It was not taken, as far as is known."""
    return any(begin <= number <= end for begin, end in holes)


def filled(holes: Holes, number: int) -> Holes:
    """After a number that lacked."""
    parts: list[tuple[int, int]] = []
    for begin, end in holes:
        if begin <= number <= end:
            parts += [part for part in ((begin, number - 1), (number + 1, end)) if part[0] <= part[1]]
        else:
            parts.append((begin, end))
    return tuple(parts[-HOLES_MAX:])
