"""Conditions mean what they mean in CEL: by the language definition, and by another implementation of it."""

from __future__ import annotations

import math
from random import Random
from typing import Final

import cel as peer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.objects.cel import CelFailure, CelMissing, Names, Value, compiled, evaluate, shown
from skerry.objects.cel_syntax import DEPTH_MAX, LENGTH_MAX, NODES_MAX, CelError, Expr, parse, walk

NAMES: Final[Names] = {
    "i": "int",
    "d": "double",
    "s": "string",
    "b": "bool",
    "x": "dyn",
    "previous": {"i": "int", "d": "double"},
    "quality": {"i": "string"},
}
VALUES: Final = {
    "i": 5,
    "d": 2.5,
    "s": "ab",
    "b": True,
    "x": 7,
    "previous": {"i": 4},
    "quality": {"i": "good"},
}


def result(text: str) -> Value:
    return evaluate(compiled(text, NAMES), VALUES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4 / 2", 5),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7 % -2", 1),
        ("0x1F", 31),
        ("1.0 / 0.0", math.inf),
        ("-1.0 / 0.0", -math.inf),
        ("1e3 == 1000", True),
        ("i < d", False),
        ("9007199254740993 == 9007199254740992.0", False),
        ("-9223372036854775808", -(2**63)),
        ("- -i", 5),
        ("!!b", True),
        ("i > 4 && d > 2.0 ? 'yes' : \"no\"", "yes"),
        ("true ? 1 : false ? 2 : 3", 1),
        ("false || true && false", False),
        ("i in [1, 5,]", True),
        ("'b' in []", False),
        ("i in [4.0, 5.0]", True),
        ("[x] == [7] && [] != [i]", True),
        ("int(-9223372036854774784.0)", -9223372036854774784),
        ("s + 'c' == 'abc'", True),
        ("'a' < 'b' && false < true", True),
        (r"'\x41\u00e4\U0001F600\101\n'", "AäA\n".replace("äA", "ä😀A")),
        (r"r'\n'", r"\n"),
        ("size('äb') + size([1, 2]) + 'abc'.size()", 7),
        ("s.startsWith('a') && s.endsWith('b') && s.contains('')", True),
        ("int(2.9) + int(-2.9) + int('7')", 7),
        ("double(i) + double('1e1')", 15.0),
        ("string(2.0) + string(0.5) + string(true) + string(i) + string(1e300)", "20.5true51e+300"),
        ("math.abs(-3) + math.greatest(1, 2, 9) + math.least(4, 3)", 15),
        ("previous.i + i", 9),
        ("has(previous.d)", False),
        ("has(previous.i) && quality.i == 'good'", True),
        ("x > 6 && x + 1 == 8", True),
        ("b // and so on", True),
    ],
)
def test_expressions_come_to_what_cel_says(text: str, value: Value) -> None:
    found = result(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "equal"), [("[x, 1] == [1, 1]", False), ("[x, 1] != [1, 1]", True), ("x == 1", False)]
)
def test_what_is_true_is_no_number(text: str, equal: bool) -> None:
    assert evaluate(compiled(text, NAMES), {**VALUES, "x": True}) is equal


@pytest.mark.parametrize("text", ["b || previous.d > 1.0", "previous.d > 1.0 || b", "!(false && i / 0 == 1)"])
def test_what_one_side_decides_needs_no_other(text: str) -> None:
    assert result(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775807 + 1", "-9223372036854775807 - 2", "i * 9223372036854775807", "i / 0", "i % 0",
        "-9223372036854775808 / -1", "-(-9223372036854775807 - 1)", "math.abs(-9223372036854775807 - 1)",
        "-9223372036854775808 % -1", "int(-9223372036854775808.0)", "int(9223372036854775808.0)",
        "int(1e19)", "int(0.0 / 0.0)", "int('1.5')", "int('')", "double('1_0')", "double(' 1')",
        "false || i / 0 == 1", "i / 0 == 1 && b", "previous.d > 1.0",
        "x + 'a' == ''", "x ? 1 : 2", "x && b", "!x", "-(x in [7])" , "x in x", "x < 'a'",
        "x.startsWith('a')", "size(x) > 1",
    ],
)  # fmt: skip
def test_what_can_not_be_worked_out_is_a_failure(text: str) -> None:
    with pytest.raises((CelFailure, CelError)):
        result(text)


def test_what_has_no_value_is_named() -> None:
    with pytest.raises(CelMissing, match=r"previous\.d has no value now"):
        result("previous.d > 1.0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing"),
        ("i >", "ends too early"),
        ("i = 5", "write =="),
        ("i & b", "'&'"),
        ("(i", "'\\)' is missing"),
        ("i i", "'i' can't be here"),
        ("'ab", "no end"),
        ("'\\q'", "no escape"),
        ("'\\ud800'", "no such character"),
        ("1u", "unsigned"),
        ("1\v+ 1", "is nothing that"),
        ("!x + 1", "true or false"),
        ("x % 2 == 'a'", "never equal"),
        ("1x", "can't follow"),
        ("9223372036854775808", "64 bits"),
        ("1e999", "too large"),
        ("null == i", "has\\(\\)"),
        ("while", "can't be here"),
        ("y", "there are: b, d, i"),
        ("previous", "one field of previous"),
        ("previous.y", "no field 'y'"),
        ("i.y", "no fields"),
        ("[1][0]", "with in"),
        ("[1].all(a, a > 0)", "write the cases"),
        ("has(i)", "asks for a field"),
        ("has(previous.y)", "no field"),
        ("d + 1", "write 1.0"),
        ("i && b", "&& stands between"),
        ("!i", "can't be said"),
        ("-s", "can't be said"),
        ("s > 1", "no order"),
        ("s == 1", "never equal"),
        ("[1] < [2]", "no order"),
        ("1 in s", "followed by a list"),
        ("'a' in [1]", "never in"),
        ("[1, 'a']", "of one type"),
        ("[[1]]", "no lists"),
        ("b ? 1 : 'a'", "of one type"),
        ("i ? 1 : 2", "before \\?"),
        ("d % 2.0", "% is not for"),
        ("s - s", "- is not for"),
        ("s.matches('a')", "no function"),
        ("startsWith(s, 'a')", "write text.startsWith"),
        ("s.double()", "write double"),
        ("s.startsWith()", "takes 1"),
        ("int(b)", "takes int or double or string"),
        ("math.least(1, 2.0)", "one type"),
        ("math.least(1)", "takes 2 or more"),
        ("(1).y", "only names"),
        ("s.(i)", "name of a field"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_the_mend(text: str, words: str) -> None:
    with pytest.raises(CelError, match=words) as caught:
        compiled(text, NAMES)
    assert 0 <= caught.value.at <= len(text)
    assert f"(at character {caught.value.at + 1})" in str(caught.value)


def test_a_condition_is_true_or_false() -> None:
    with pytest.raises(CelError, match="this gives a whole number"):
        compiled("i + 1", NAMES, wanted="bool")
    assert compiled("x", NAMES, wanted="bool").type == "dyn"
    assert compiled("x + i", NAMES).type == "int"


def test_expressions_have_bounds() -> None:
    for text in (
        "b" + " " * LENGTH_MAX,
        " + ".join(["i"] * NODES_MAX),
        "(" * (DEPTH_MAX + 1) + "i" + ")" * (DEPTH_MAX + 1),
        "!" * (DEPTH_MAX + 2) + "b",
    ):
        with pytest.raises(CelError, match="at most"):
            parse(text)
    text = " + ".join(["'" + "x" * 1000 + "'"] * 2)
    long = {"s": "y" * 10_000}
    assert isinstance(evaluate(compiled(text, {}), {}), str)
    with pytest.raises(CelFailure, match="more than"):
        evaluate(compiled("s + s", {"s": "string"}), long)


def test_each_part_is_worked_out_once_at_most_and_told() -> None:
    told: list[str] = []
    program = compiled("b && (i > 9 || d > 1.0) ? s : 'no'", NAMES)
    evaluate(program, VALUES, lambda node, value: told.append(f"{program.text[node.start : node.end]} = {value}"))
    assert "i > 9 = False" in told
    assert "d > 1.0 = True" in told
    assert "'no' = no" not in told
    assert len(told) == len({*told}) == sum(1 for _ in walk(program.tree)) - 1


@given(st.text(alphabet="id sb'\"()[].,+-*/%<>=!&|?:09eEx_\\", max_size=40))
def test_no_text_ends_in_anything_but_an_answer(text: str) -> None:
    try:
        assert shown(result(text)) is not None
    except (CelError, CelFailure):
        return


def _made(chance: Random, of: str, depth: int) -> str:
    """An expression of this type."""
    if depth == 0 or chance.random() < 0.2:
        return chance.choice(
            {
                "int": ["i", str(chance.randint(-9, 9)), "0", "9223372036854775807"],
                "double": ["d", repr(chance.uniform(-9, 9)), "0.0", "1e3"],
                "string": ["s", '"a"', "'ab'", "''"],
                "bool": ["b", "true", "false"],
            }[of]
        )

    def part(type_: str) -> str:
        return _made(chance, type_, depth - 1)

    forms = {
        "bool": [
            lambda: f"({part('bool')} {chance.choice(['&&', '||', '==', '!='])} {part('bool')})",
            lambda: f"!({part('bool')})",
            lambda: f"({part('int')} in [{part('int')}, {part('int')}])",
            lambda: f"s.{chance.choice(['startsWith', 'endsWith', 'contains'])}({part('string')})",
            *(
                lambda type_=type_: (
                    f"({part(type_)} {chance.choice(['<', '<=', '>', '>=', '==', '!='])} {part(type_)})"
                )
                for type_ in ("int", "double", "string")
            ),
        ],
        "int": [lambda: f"({part('int')} {chance.choice('+-*/%')} {part('int')})", lambda: f"size({part('string')})"],
        "double": [lambda: f"({part('double')} {chance.choice('+-*/')} {part('double')})"],
        "string": [lambda: f"({part('string')} + {part('string')})"],
    }
    choice = f"({part('bool')} ? {part(of)} : {part(of)})" if chance.random() < 0.15 else ""
    return choice or chance.choice(forms[of])()


@given(st.randoms(use_true_random=False), st.sampled_from(["bool", "int", "double", "string"]))
def test_another_implementation_of_cel_comes_to_the_same(chance: Random, of: str) -> None:
    text = _made(chance, of, 4)
    numbers: list[Expr] = []

    def note(node: Expr, value: Value | CelFailure) -> None:
        if isinstance(value, float) and math.isnan(value):
            numbers.append(node)

    mine: Value | None
    try:
        mine = evaluate(compiled(text, NAMES), VALUES, note)
    except CelFailure:
        mine = None
    if numbers:
        return  # the peer fails to compare what is no number, which the language definition lets come to false
    try:
        theirs = peer.evaluate(text, {name: VALUES[name] for name in ("i", "d", "s", "b")})
    except (ValueError, TypeError, RuntimeError, ArithmeticError):
        theirs = None
    assert mine == theirs
