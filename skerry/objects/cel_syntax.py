"""Expressions of the Common Expression Language (CEL) as trees: the part that conditions of device rules may use.

What is here means what it means in CEL (the language definition of cel-spec): literals, lists, arithmetic,
comparisons, `in`, `&&`, `||`, `!`, `? :`, names with a field (`previous.level`), `has()`, and functions of
`skerry.objects.cel`. What is not here are macros over lists (`all`, `exists`, `map`), maps, bytes, null, unsigned
numbers and `matches`: without them every part of an expression is worked out once at most, so that what an evaluation
costs is bounded by the length of its text. Pure; keeps nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from skerry.frozen import Frozen

LENGTH_MAX: Final = 2048
NODES_MAX: Final = 256
DEPTH_MAX: Final = 32
_INT64: Final = (-(2**63), 2**63 - 1)

CelType: TypeAlias = str
"""`bool`, `int`, `double`, `string`, `list(...)` of one of those, or `dyn`: known when it is evaluated."""

Scalar: TypeAlias = "bool | int | float | str"


class CelError(ValueError):
    """Something is wrong with an expression; `at` is where in its text, from 0."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(f"{message} (at character {at + 1})")
        self.at = at


class Node(Frozen):
    """A part of an expression: its text is that from `start` to before `end`."""

    start: int
    end: int


class Literal(Node):
    value: Scalar


class Name(Node):
    """`level`, or a field of something: `previous.level`."""

    path: tuple[str, ...]


class Has(Node):
    """Whether a field is there (CEL's macro)."""

    path: tuple[str, ...]


class ListOf(Node):
    items: tuple[Expr, ...]


class Unary(Node):
    """`!` or `-`."""

    op: str
    of: Expr


class Binary(Node):
    op: str
    left: Expr
    right: Expr


class Choice(Node):
    """`when ? then : other`."""

    when: Expr
    then: Expr
    other: Expr


class Call(Node):
    """A function; of a method the first argument is what it is called on."""

    name: str
    args: tuple[Expr, ...]
    method: bool = False


Expr: TypeAlias = "Literal | Name | Has | ListOf | Unary | Binary | Choice | Call"


def children(node: Expr) -> tuple[Expr, ...]:
    match node:
        case Unary():
            return (node.of,)
        case Binary():
            return (node.left, node.right)
        case Choice():
            return (node.when, node.then, node.other)
        case Call():
            return node.args
        case ListOf():
            return node.items
        case _:
            return ()


def walk(node: Expr) -> Iterator[Expr]:
    """The node and all below it, itself first."""
    yield node
    for child in children(node):
        yield from walk(child)


class _Token(NamedTuple):
    kind: str
    """`int`, `double`, `string`, `name`, `op`, `end`."""
    text: str
    start: int
    end: int


_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\n\r\f]+|//[^\n]*)
    |(?P<double>(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?))
    |(?P<int>0[xX][0-9a-fA-F]+|\d+)
    |(?P<string>[rR]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    |(?P<op>\|\||&&|==|!=|<=|>=|[-+*/%<>!?:.,()\[\]])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<one>[abfnrtv\\?\"'`])|[xX](?P<hex>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"
    r"|(?P<octal>[0-3][0-7]{2})|(?P<wrong>.))"
)
RESERVED: Final = frozenset(
    (
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import",
        "in", "let", "loop", "null", "package", "namespace", "return", "true", "var", "void", "while",
    )
)  # fmt: skip
"""CEL's words: no names of values."""
_MACROS: Final = frozenset(("all", "exists", "exists_one", "map", "filter"))


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            if text[at] in "\"'":
                raise CelError("this string has no end", at)
            if text[at] == "=":
                raise CelError("to compare, write ==", at)
            raise CelError(f"{text[at]!r} is nothing that an expression has", at)
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(_Token(kind, match.group(), at, match.end()))
        at = match.end()
        if kind in ("int", "double") and text[at : at + 1].isalpha():
            if text[at] in "uU":
                raise CelError("unsigned numbers are not known here: leave out the u", at)
            raise CelError(f"{text[at]!r} can't follow a number", at)
    found.append(_Token("end", "", len(text), len(text)))
    return found


def _unquoted(token: _Token) -> str:
    text = token.text
    if text[0] in "rR":
        return text[2:-1]

    def meant(found: re.Match[str]) -> str:
        if found["one"]:
            return _ESCAPES[found["one"]]
        if found["wrong"]:
            raise CelError(f"\\{found['wrong']} is no escape", token.start + 1 + found.start())
        code = int(found["octal"], 8) if found["octal"] else int(found["hex"] or found["u"] or found["U"], 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise CelError("there is no such character", token.start + 1 + found.start())
        return chr(code)

    return _ESCAPE.sub(meant, text[1:-1])


def parse(text: str) -> Expr:
    """Raises `CelError`."""
    if len(text) > LENGTH_MAX:
        raise CelError(f"an expression has at most {LENGTH_MAX} characters", LENGTH_MAX)
    if not text.strip():
        raise CelError("an expression is missing", 0)
    return _Parser(_tokens(text)).whole()


_RELATIONS: Final = ("==", "!=", "<", "<=", ">", ">=", "in")


class _Parser:
    """By recursive descent, along CEL's grammar."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._nodes = 0
        self._depth = 0

    def whole(self) -> Expr:
        found = self._expression()
        if self._next.kind != "end":
            raise self._unexpected()
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _takes(self, *ops: str) -> str:
        """The next token's text where it is one of these, taken; "" where it is not."""
        if self._next.kind in ("op", "name") and self._next.text in ops:
            return self._take().text
        return ""

    def _expect(self, op: str) -> int:
        """Where it ends."""
        if not self._takes(op):
            raise self._unexpected(f"; {op!r} is missing")
        return self._tokens[self._at - 1].end

    def _unexpected(self, hint: str = "") -> CelError:
        token = self._next
        if token.kind == "end":
            return CelError(f"the expression ends too early{hint}", token.start)
        return CelError(f"{token.text!r} can't be here{hint}", token.start)

    def _made(self, node: Expr) -> Expr:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise CelError(f"an expression has at most {NODES_MAX} parts", node.start)
        return node

    def _expression(self) -> Expr:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise CelError(f"parentheses, lists and choices are at most {DEPTH_MAX} deep", self._next.start)
        when = self._or()
        if self._takes("?"):
            then = self._or()
            self._expect(":")
            other = self._expression()
            when = self._made(Choice(start=when.start, end=other.end, when=when, then=then, other=other))
        self._depth -= 1
        return when

    def _or(self) -> Expr:
        left = self._and()
        while self._takes("||"):
            left = self._binary("||", left, self._and())
        return left

    def _and(self) -> Expr:
        left = self._relation()
        while self._takes("&&"):
            left = self._binary("&&", left, self._relation())
        return left

    def _relation(self) -> Expr:
        left = self._sum()
        while op := self._takes(*_RELATIONS):
            left = self._binary(op, left, self._sum())
        return left

    def _sum(self) -> Expr:
        left = self._product()
        while op := self._takes("+", "-"):
            left = self._binary(op, left, self._product())
        return left

    def _product(self) -> Expr:
        left = self._unary()
        while op := self._takes("*", "/", "%"):
            left = self._binary(op, left, self._unary())
        return left

    def _binary(self, op: str, left: Expr, right: Expr) -> Expr:
        return self._made(Binary(start=left.start, end=right.end, op=op, left=left, right=right))

    def _unary(self) -> Expr:
        ops: list[_Token] = []
        while self._next.kind == "op" and self._next.text in ("!", "-"):
            ops.append(self._take())
            if len(ops) > DEPTH_MAX:
                raise CelError(f"at most {DEPTH_MAX} signs stand before something", ops[-1].start)
        if ops and ops[-1].text == "-" and self._next.kind in ("int", "double") and not self._is_member():
            sign = ops.pop()
            number = self._number(self._take(), negative=True)
            node = self._made(Literal(start=sign.start, end=number[1], value=number[0]))
        else:
            node = self._member()
        for op in reversed(ops):
            node = self._made(Unary(start=op.start, end=node.end, op=op.text, of=node))
        return node

    def _is_member(self) -> bool:
        """Something is asked of the number that comes."""
        after = self._tokens[self._at + 1]
        return after.kind == "op" and after.text == "."

    def _member(self) -> Expr:
        node = self._primary()
        while True:
            if self._next.kind == "op" and self._next.text == "[":
                raise CelError("lists are asked with in, and not by a number", self._next.start)
            if not self._takes("."):
                return node
            field = self._take()
            if field.kind != "name":
                self._at -= 1
                raise self._unexpected("; the name of a field or function is missing")
            if self._takes("("):
                node = self._method(node, field)
            elif isinstance(node, Name):
                node = Name(start=node.start, end=field.end, path=(*node.path, field.text))
            else:
                raise CelError("only names have fields", field.start)

    def _method(self, node: Expr, field: _Token) -> Expr:
        if field.text in _MACROS:
            raise CelError(f"{field.text}() over lists is not known here: write the cases with || or &&", field.start)
        args, end = self._arguments()
        if isinstance(node, Name) and node.path == ("math",):
            return self._made(Call(start=node.start, end=end, name=f"math.{field.text}", args=args))
        return self._made(Call(start=node.start, end=end, name=field.text, args=(node, *args), method=True))

    def _arguments(self, closing: str = ")") -> tuple[tuple[Expr, ...], int]:
        """With what closes them."""
        if self._takes(closing):
            return (), self._tokens[self._at - 1].end
        args = [self._expression()]
        while self._takes(","):
            if closing == "]" and self._next.text == "]":
                break  # CEL lets a list end with a comma
            args.append(self._expression())
        return tuple(args), self._expect(closing)

    def _primary(self) -> Expr:
        token = self._take()
        match token.kind:
            case "int" | "double":
                value, end = self._number(token, negative=False)
                return self._made(Literal(start=token.start, end=end, value=value))
            case "string":
                return self._made(Literal(start=token.start, end=token.end, value=_unquoted(token)))
            case "name":
                return self._named(token)
            case "op" if token.text == "(":
                inner = self._expression()
                self._expect(")")
                return inner
            case "op" if token.text == "[":
                items, end = self._arguments("]")
                return self._made(ListOf(start=token.start, end=end, items=items))
            case _:
                self._at -= 1
                raise self._unexpected()

    def _named(self, token: _Token) -> Expr:
        if token.text in ("true", "false"):
            return self._made(Literal(start=token.start, end=token.end, value=token.text == "true"))
        if token.text in RESERVED:
            hint = ": ask with has() whether something is there" if token.text == "null" else ""
            raise CelError(f"{token.text} can't be here{hint}", token.start)
        if not self._takes("("):
            return self._made(Name(start=token.start, end=token.end, path=(token.text,)))
        args, end = self._arguments()
        if token.text != "has":
            return self._made(Call(start=token.start, end=end, name=token.text, args=args))
        if len(args) != 1 or not isinstance(args[0], Name) or len(args[0].path) < 2:
            raise CelError("has() asks for a field, such as has(values.level)", token.start)
        return self._made(Has(start=token.start, end=end, path=args[0].path))

    def _number(self, token: _Token, *, negative: bool) -> tuple[int | float, int]:
        text = f"-{token.text}" if negative else token.text
        if token.kind == "double":
            value = float(text)
            if value in (float("inf"), float("-inf")):
                raise CelError(f"{text} is too large", token.start)
            return value, token.end
        whole = int(text, 16 if "x" in text.lower() else 10)
        if not _INT64[0] <= whole <= _INT64[1]:
            raise CelError(f"{text} has more than 64 bits", token.start)
        return whole, token.end
