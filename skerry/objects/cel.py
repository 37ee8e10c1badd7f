"""Conditions of device rules: what types their parts have, and what they come to.

The types are checked before an expression is used, with what a DeviceModel says of properties, so that nobody learns
of a text that is compared with a number when the pump should start. Evaluation is CEL's: whole numbers have 64 bits
and overflow is an error, `a && b` is false where either is, even if the other can't be worked out. Each part is
worked out once at most, and texts have a bound, so an evaluation takes some ten microseconds and never more than some
hundred. Pure; keeps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from skerry.frozen import Frozen
from skerry.objects.cel_syntax import (
    Binary,
    Call,
    CelError,
    CelType,
    Choice,
    Expr,
    Has,
    ListOf,
    Literal,
    Name,
    Scalar,
    Unary,
    parse,
)

TEXT_LENGTH_MAX: Final = 16 * 1024
"""Of a text that an expression makes."""
_INT64_MAX: Final = 2**63 - 1
_INT64_MIN: Final = -(2**63)

Value: TypeAlias = "Scalar | tuple[Scalar, ...]"
Names: TypeAlias = "Mapping[str, CelType | Mapping[str, CelType]]"
"""Types of names; of one that has fields, those of its fields."""
Values: TypeAlias = "Mapping[str, Scalar | Mapping[str, Scalar]]"
"""What names stand for. One that is missing has no value now."""


class CelFailure(ValueError):  # noqa: N818  a failure is no error of ours or of anybody's text
    """An expression can't be worked out with these values."""


class CelMissing(CelFailure):
    """A name that it needs has no value now."""


class Program(Frozen):
    """An expression that was checked."""

    text: str
    tree: Expr
    type: CelType


def compiled(text: str, names: Names, *, wanted: CelType = "dyn") -> Program:
    """Raises `CelError` with the place, also where its type is another than wanted."""
    tree = parse(text)
    found = _type_of(tree, names)
    if not _fits(found, wanted):
        raise CelError(f"this gives {_word(found)}, where {_word(wanted)} is wanted", tree.start)
    return Program(text=text, tree=tree, type=found)


def evaluate(
    program: Program, values: Values, note: Callable[[Expr, Value | CelFailure], None] | None = None
) -> Value:
    """Raises `CelFailure`. `note` is told what each part comes to that had to be worked out."""
    return _Evaluation(values, note).of(program.tree)


# --- types ------------------------------------------------------------------------------------------------

_NUMBERS: Final = ("int", "double")
_WORDS: Final = {"dyn": "anything", "bool": "true or false", "int": "a whole number (int)", "double": "a double"}


def _word(of: CelType) -> str:
    return _WORDS.get(of, f"a {of}")


def _fits(found: CelType, wanted: CelType) -> bool:
    if found.startswith("list(") and wanted.startswith("list("):
        return _fits(found[5:-1], wanted[5:-1])
    return found == wanted or "dyn" in (found, wanted)


def _comparable(left: CelType, right: CelType) -> bool:
    return _fits(left, right) or (left in _NUMBERS and right in _NUMBERS)


def _type_of(node: Expr, names: Names) -> CelType:
    match node:
        case Literal():
            return type_of_value(node.value)
        case Name():
            return _type_of_name(node, names)
        case Has():
            _type_of_name(Name(start=node.start, end=node.end, path=node.path), names)
            return "bool"
        case ListOf():
            return _type_of_list(node, names)
        case Unary():
            of = _type_of(node.of, names)
            allowed = ("bool",) if node.op == "!" else _NUMBERS
            if of not in (*allowed, "dyn"):
                raise CelError(f"{node.op} can't be said of {_word(of)}", node.start)
            return "bool" if node.op == "!" else of
        case Binary():
            return _type_of_binary(node, names)
        case Choice():
            if not _fits(_type_of(node.when, names), "bool"):
                raise CelError("what is before ? must be true or false", node.when.start)
            then, other = _type_of(node.then, names), _type_of(node.other, names)
            if not _fits(then, other):
                raise CelError(f"either side of : is of one type; these are {then} and {other}", node.then.start)
            return other if then == "dyn" else then
        case Call():
            return _type_of_call(node, names)


def type_of_value(value: Value) -> CelType:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "double"
        case str():
            return "string"
        case _:
            return f"list({type_of_value(value[0])})" if value else "list(dyn)"


def _type_of_name(node: Name, names: Names) -> CelType:
    root = names.get(node.path[0])
    if root is None:
        known = ", ".join(sorted(names)) or "none"
        raise CelError(f"{node.path[0]!r} is no name here; there are: {known}", node.start)
    if isinstance(root, str):
        if len(node.path) > 1:
            raise CelError(f"{node.path[0]} has no fields", node.start)
        return root
    if len(node.path) != 2:
        raise CelError(f"write one field of {node.path[0]}, as {node.path[0]}.{next(iter(root), 'x')}", node.start)
    found = root.get(node.path[1])
    if found is None:
        raise CelError(f"{node.path[0]} has no field {node.path[1]!r}: {', '.join(sorted(root))}", node.start)
    return found


def _type_of_list(node: ListOf, names: Names) -> CelType:
    of: CelType = "dyn"
    for item in node.items:
        found = _type_of(item, names)
        if found.startswith("list("):
            raise CelError("lists have no lists in them", item.start)
        if not _fits(found, of):
            raise CelError(f"a list is of one type; this is {found}, and what is before it {of}", item.start)
        of = of if found == "dyn" else found
    return f"list({of})"


def _type_of_binary(node: Binary, names: Names) -> CelType:
    left, right = _type_of(node.left, names), _type_of(node.right, names)
    match node.op:
        case "&&" | "||":
            for side, of in ((node.left, left), (node.right, right)):
                if not _fits(of, "bool"):
                    raise CelError(f"{node.op} stands between what is true or false; this is {_word(of)}", side.start)
            return "bool"
        case "in":
            if right != "dyn" and not right.startswith("list("):
                raise CelError(f"in is followed by a list, as in [1, 2]; this is {_word(right)}", node.right.start)
            if not _comparable(left, right[5:-1] if right != "dyn" else right):
                raise CelError(f"{_word(left)} is never in a {right}", node.start)
            return "bool"
        case "==" | "!=":
            if not _comparable(left, right):
                raise CelError(f"{_word(left)} and {_word(right)} are never equal", node.start)
            return "bool"
        case "<" | "<=" | ">" | ">=":
            if not _comparable(left, right) or left.startswith("list(") or right.startswith("list("):
                raise CelError(f"{_word(left)} and {_word(right)} have no order", node.start)
            return "bool"
        case _:
            return _type_of_sum(node, left, right)


def _type_of_sum(node: Binary, left: CelType, right: CelType) -> CelType:
    allowed = {"+": (*_NUMBERS, "string"), "%": ("int",)}.get(node.op, _NUMBERS)
    for side, of in ((node.left, left), (node.right, right)):
        if of not in (*allowed, "dyn"):
            raise CelError(f"{node.op} is not for {_word(of)}", side.start)
    if not _fits(left, right):
        hint = (
            " (CEL mixes no numbers: write 1.0 for 1, or double(...))" if {left, right} == {"int", "double"} else ""
        )
        raise CelError(f"{node.op} is for two of one type; these are {left} and {right}{hint}", node.start)
    if node.op == "%":
        return "int"
    return right if left == "dyn" else left


class _Function(Frozen, kw_only=False):
    params: tuple[tuple[CelType, ...], ...]
    """What each argument may be."""
    result: CelType
    """"" for the type of the first argument."""
    method: bool = False
    more: bool = False
    """Further arguments as the last."""


_ANY: Final = ("bool", "int", "double", "string")
_FUNCTIONS: Final[Mapping[str, _Function]] = {
    "size": _Function((("string", "list"),), "int"),
    "int": _Function((("int", "double", "string"),), "int"),
    "double": _Function((("int", "double", "string"),), "double"),
    "string": _Function((_ANY,), "string"),
    "startsWith": _Function((("string",), ("string",)), "bool", method=True),
    "endsWith": _Function((("string",), ("string",)), "bool", method=True),
    "contains": _Function((("string",), ("string",)), "bool", method=True),
    "math.abs": _Function((_NUMBERS,), ""),
    "math.least": _Function((_NUMBERS, _NUMBERS), "", more=True),
    "math.greatest": _Function((_NUMBERS, _NUMBERS), "", more=True),
}
"""CEL's own, and three of its extension `math`."""


def _type_of_call(node: Call, names: Names) -> CelType:
    function = _FUNCTIONS.get(node.name)
    if function is None:
        raise CelError(f"{node.name}() is no function here; there are: {', '.join(_FUNCTIONS)}", node.start)
    if node.method != function.method and node.name != "size":
        form = f"text.{node.name}(...)" if function.method else f"{node.name}(...)"
        raise CelError(f"write {form}", node.start)
    count = len(function.params)
    if len(node.args) < count or (len(node.args) > count and not function.more):
        more = " or more" if function.more else ""
        raise CelError(f"{node.name}() takes {count - function.method}{more} in its parentheses", node.start)
    found = [_type_of(arg, names) for arg in node.args]
    for number, (arg, of) in enumerate(zip(node.args, found, strict=True)):
        allowed = function.params[min(number, count - 1)]
        if of.partition("(")[0] not in (*allowed, "dyn"):
            raise CelError(f"{node.name}() takes {' or '.join(allowed)}; this is {_word(of)}", arg.start)
    if function.result:
        return function.result
    known = {of for of in found if of != "dyn"}
    if len(known) > 1:
        raise CelError(f"{node.name}() is for numbers of one type: write 1.0 for 1, or double(...)", node.start)
    return next(iter(known), "dyn")


# --- values -----------------------------------------------------------------------------------------------


class _Evaluation:
    def __init__(self, values: Values, note: Callable[[Expr, Value | CelFailure], None] | None) -> None:
        self._values = values
        self._note = note

    def of(self, node: Expr) -> Value:
        try:
            value = self._of(node)
        except CelFailure as failure:
            if self._note is not None:
                self._note(node, failure)
            raise
        if self._note is not None:
            self._note(node, value)
        return value

    def _of(self, node: Expr) -> Value:
        match node:
            case Literal():
                return node.value
            case Name():
                return self._named(node.path)
            case Has():
                try:
                    self._named(node.path)
                except CelMissing:
                    return False
                return True
            case ListOf():
                return tuple(_scalar(self.of(item)) for item in node.items)
            case Unary():
                return _unary(node.op, self.of(node.of))
            case Binary():
                if node.op in ("&&", "||"):
                    return self._logic(node, decides=node.op == "||")
                return _binary(node.op, self.of(node.left), self.of(node.right))
            case Choice():
                return self.of(node.then if _truth(self.of(node.when)) else node.other)
            case Call():
                return _call(node.name, [self.of(arg) for arg in node.args])

    def _named(self, path: tuple[str, ...]) -> Scalar:
        found = self._values.get(path[0])
        if isinstance(found, Mapping):
            found = found.get(path[1])
        if found is None:
            raise CelMissing(f"{'.'.join(path)} has no value now")
        return found

    def _logic(self, node: Binary, *, decides: bool) -> bool:
        """Where either side decides, it does, even if the other can't be worked out (cel-spec, Logical Operators)."""
        try:
            if _truth(self.of(node.left)) is decides:
                return decides
        except CelFailure:
            if _truth(self.of(node.right)) is decides:
                return decides
            raise
        return _truth(self.of(node.right))


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise CelFailure(f"{shown(value)} is neither true nor false")
    return value


def _scalar(value: Value) -> Scalar:
    if isinstance(value, tuple):
        raise CelFailure("lists have no lists in them")
    return value


def _int(value: int) -> int:
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise CelFailure("a whole number came out that has more than 64 bits")
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unary(op: str, value: Value) -> Value:
    if op == "!":
        return not _truth(value)
    if isinstance(value, float):
        return -value
    if isinstance(value, int) and not isinstance(value, bool):
        return _int(-value)
    raise CelFailure(f"- can't be said of {shown(value)}")


def _binary(op: str, left: Value, right: Value) -> Value:
    match op:
        case "==":
            return _equal(left, right)
        case "!=":
            return not _equal(left, right)
        case "in":
            if not isinstance(right, tuple):
                raise CelFailure(f"in is followed by a list, not by {shown(right)}")
            return any(_equal(left, each) for each in right)
        case "<" | "<=" | ">" | ">=":
            return _ordered(op, left, right)
        case _:
            return _sum(op, left, right)


def _equal(left: Value, right: Value) -> bool:
    if _is_number(left) and _is_number(right):
        return left == right
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(_equal, left, right))
    return type(left) is type(right) and left == right


def _ordered(op: str, left: Value, right: Value) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        below, above = left < right, left > right
    elif isinstance(left, str | tuple) or isinstance(right, str | tuple) or not _are_alike(left, right):
        raise CelFailure(f"{shown(left)} and {shown(right)} have no order")
    else:
        below, above = left < right, left > right
    same = _equal(left, right)
    return {"<": below, "<=": below or same, ">": above, ">=": above or same}[op]


def _are_alike(left: Scalar, right: Scalar) -> bool:
    """Both are numbers, or neither is."""
    return isinstance(left, bool) is isinstance(right, bool)


def _sum(op: str, left: Value, right: Value) -> Value:
    if isinstance(left, str) and isinstance(right, str) and op == "+":
        return _text(left + right)
    if isinstance(left, float) and isinstance(right, float) and op != "%":
        return _double(op, left, right)
    if isinstance(left, bool) or isinstance(right, bool) or not (isinstance(left, int) and isinstance(right, int)):
        raise CelFailure(f"{op} is not for {shown(left)} and {shown(right)}")
    match op:
        case "+":
            return _int(left + right)
        case "-":
            return _int(left - right)
        case "*":
            return _int(left * right)
        case _:
            if right == 0:
                raise CelFailure(f"{shown(left)} {op} 0")
            quotient = _int(abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1))
            return quotient if op == "/" else left - quotient * right


def _double(op: str, left: float, right: float) -> float:
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            if right == 0.0:  # IEEE 754, as CEL has it; Python has an error
                return (
                    math.nan
                    if left == 0.0 or math.isnan(left)
                    else math.copysign(math.inf, left) * math.copysign(1.0, right)
                )
            return left / right


def _text(text: str) -> str:
    if len(text) > TEXT_LENGTH_MAX:
        raise CelFailure(f"a text came out that has more than {TEXT_LENGTH_MAX} characters")
    return text


def _call(name: str, args: Sequence[Value]) -> Value:
    first = args[0]
    match name:
        case "size" if isinstance(first, str | tuple):
            return len(first)
        case "int":
            return _to_int(first)
        case "double":
            return _to_double(first)
        case "string" if not isinstance(first, tuple):
            return _text(shown_scalar(first))
        case "startsWith" | "endsWith" | "contains" if isinstance(first, str) and isinstance(args[1], str):
            other = args[1]
            return {
                "startsWith": first.startswith(other),
                "endsWith": first.endswith(other),
                "contains": other in first,
            }[name]
        case "math.abs" | "math.least" | "math.greatest":
            return _of_numbers(name, args)
        case _:
            raise CelFailure(f"{name}() is not for {shown(first)}")


def _of_numbers(name: str, args: Sequence[Value]) -> Value:
    numbers: list[int | float] = []
    for arg in args:
        if isinstance(arg, bool) or not isinstance(arg, int | float):
            raise CelFailure(f"{name}() is not for {shown(arg)}")
        numbers.append(arg)
    if name == "math.abs":
        found = abs(numbers[0])
        return _int(found) if isinstance(found, int) else found
    return min(numbers) if name == "math.least" else max(numbers)


def _to_int(value: Value) -> int:
    if isinstance(value, bool | tuple):
        raise CelFailure(f"int() is not for {shown(value)}")
    if isinstance(value, float):
        if not -(2.0**63) < value < 2.0**63:  # without the smallest, whose double may stand for others (cel-spec)
            raise CelFailure(f"{shown(value)} is no whole number of 64 bits")
        return int(value)
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 20:
            raise CelFailure(f"{value[:40]!r} is no whole number")
        return _int(int(value))
    return value


def _to_double(value: Value) -> float:
    if isinstance(value, bool | tuple):
        raise CelFailure(f"double() is not for {shown(value)}")
    try:
        if isinstance(value, str) and (not value.isascii() or "_" in value or value.strip() != value):
            raise ValueError
        return float(value)
    except ValueError as error:
        raise CelFailure(f"{str(value)[:40]!r} is no number") from error


def shown_scalar(value: Scalar) -> str:
    """CEL's `string(value)`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isfinite(value) and value.is_integer() and abs(value) < 1e21:
            return str(int(value)) if value or math.copysign(1.0, value) > 0 else "-0"
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN" if math.isnan(value) else repr(value))
    return str(value)


def shown(value: Value) -> str:
    """For people."""
    if isinstance(value, tuple):
        return "[" + ", ".join(shown(each) for each in value) + "]"
    if isinstance(value, float):
        return repr(value)
    text = shown_scalar(value)
    return f'"{text[:60]}{"..." if len(text) > 60 else ""}"' if isinstance(value, str) else text
