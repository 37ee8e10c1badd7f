"""Requests of every function, with what a slave would read for them: for laws."""

from __future__ import annotations

from hypothesis import strategies as st

from devices.bus import Request

WORDS = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=121).map(tuple)
BITS = st.lists(st.integers(0, 1), min_size=1, max_size=1968).map(tuple)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Request, tuple[int, ...]]:
    """A request, and what a slave would read for it."""
    function = draw(st.sampled_from((1, 2, 3, 4, 5, 6, 15, 16, 22, 23)))
    address, unit = draw(st.integers(0, 60_000)), draw(st.integers(1, 247))
    match function:
        case 1 | 2:
            values = draw(BITS)
            return Request(unit=unit, function=function, address=address, count=len(values)), values
        case 3 | 4:
            values = draw(WORDS)
            return Request(unit=unit, function=function, address=address, count=len(values)), values
        case 5:
            return Request(unit=unit, function=5, address=address, values=(draw(st.integers(0, 1)),)), ()
        case 15:
            return Request(unit=unit, function=15, address=address, values=draw(BITS)), ()
        case 22:
            masks = (draw(st.integers(0, 0xFFFF)), draw(st.integers(0, 0xFFFF)))
            return Request(unit=unit, function=22, address=address, values=masks), ()
        case 23:
            values = draw(WORDS)
            request = Request(
                unit=unit, function=23, address=address, count=len(values), values=draw(WORDS), write_address=7
            )
            return request, values
        case _:
            words = draw(WORDS)
            return Request(
                unit=unit, function=function, address=address, values=words[: 1 if function == 6 else 121]
            ), ()
