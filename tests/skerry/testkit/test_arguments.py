"""What makes no sense is refused in words that name the argument and the fix, before anything is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from skerry.errors import InvalidError
from skerry.testkit import arguments

NAN = float("nan")
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a step in words": (lambda: arguments.clock_step("x"), "clock.step(seconds): a number, not 'x'"),
    "a step to nowhere": (lambda: arguments.clock_step(NAN), "a number, not nan"),
    "a step beyond the years": (lambda: arguments.clock_step(1e12), "a number from -6.3"),
    "a name with a space": (lambda: arguments.gateway("BAD NAME", None), "edge('BAD NAME'): a gateway's name has"),
    "a name that is too long": (lambda: arguments.gateway("a" * 80, None), "is short"),
    "no name": (lambda: arguments.gateway(None, None), "plant-7"),
    "labels in words": (lambda: arguments.gateway("a", "site=x"), 'a map such as {"site": "north"}'),
    "a label that is a number": (lambda: arguments.gateway("a", {"floor": 3}), "both are text; write 'floor': '3'"),
    "a label that is none": (lambda: arguments.gateway("a", {"site": "a b"}), "label 'site': 'a b': a valid label"),
    "a label of the cloud": (
        lambda: arguments.gateway("a", {"node-restriction.kubernetes.io/x": "y"}),
        "may not give itself the label",
    ),
    "no bandwidth": (lambda: arguments.kbit(0), "above 0, not 0; use cut"),
    "a bandwidth in words": (lambda: arguments.kbit("64k"), "a number, not '64k'"),
    "all lost": (lambda: arguments.loss(1), "from 0 to below 1, not 1; use cut"),
    "a loss in percent": (lambda: arguments.loss(5), "from 0 to below 1"),
    "an answer before the question": (lambda: arguments.delay_ms(-1), "from 0 to 60000, not -1"),
    "back in time": (lambda: arguments.seconds(-1, "wait(seconds)"), "wait(seconds): time does not go back, -1"),
    "for ever": (lambda: arguments.seconds(float("inf"), "within_s"), "within_s: a number, not inf"),
    "another boot": (lambda: arguments.boot_clock("1999"), '"kept" or "1970", not \'1999\''),
    "a port that is none": (lambda: arguments.port(0, "plc(port=...)"), "plc(port=...): a TCP port from 1"),
    "a place that is none": (lambda: arguments.address(70_000, "holding"), "holding[70000]: a Modbus address is"),
    "a register below 0": (lambda: arguments.place(-5, 0xFFFF, "holding[0]"), "0 to 65535, not -5; take value & 0x"),
    "a register in words": (lambda: arguments.place("7", 0xFFFF, "holding[0]"), "holds 0 to 65535, not '7'"),
    "a value that is no text": (lambda: arguments.wanted(True), "write 'true', not True"),
    "an answer in the place of a question": (
        lambda: arguments.condition(True, "eventually"),  # pyright: ignore[reportArgumentType]
        "eventually(lambda: ...), not True",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused_with_its_name_and_the_fix(what: str) -> None:
    call, said = REFUSED[what]
    with pytest.raises(InvalidError) as refused:
        call()
    assert said in str(refused.value)


def test_what_makes_sense_comes_back_as_it_is() -> None:
    assert arguments.clock_step(-86_400) == -86_400
    assert arguments.gateway("plant-7.north", {"site": "north"}) == {"site": "north"}
    assert arguments.gateway("plant-7", None) == {}
    assert (arguments.kbit(None), arguments.kbit(64), arguments.loss(0.05)) == (None, 64, 0.05)
    assert (arguments.port(502, "port"), arguments.address(65_535, "input")) == (502, 65_535)
    assert arguments.place(True, 1, "coils[0]") == 1
