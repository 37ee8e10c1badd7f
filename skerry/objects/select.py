"""Which objects are meant: label selectors, node selectors, field selectors.

Syntax, meaning and the words of refusals are Kubernetes' (apimachinery `pkg/labels`, `pkg/fields`, and
`component-helpers` for node affinity). Pure; a parsed selector is immutable and keeps nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal

from skerry.errors import BadRequestError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, dig, maps_at, str_at, str_map_at, strs_at
from skerry.objects.meta import labels_of, name_of
from skerry.objects.names import label_key_faults, label_value_faults

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]


class Requirement(Frozen, kw_only=False):
    """One thing asked of a set of labels."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        """A label that isn't an integer is neither greater nor less than anything."""
        have = _integer(value)
        bound = _integer(next(iter(self.values), None))
        if have is None or bound is None:
            return False
        return have > bound if self.operator == "Gt" else have < bound


class LabelSelector(Frozen, kw_only=False):
    """All requirements must hold; none asked means every object. `nothing` matches no object at all."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        # A plain loop: the scheduler asks this of every node for every pod.
        for requirement in self.requirements:  # noqa: SIM110
            if not requirement.matches(labels):
                return False
        return True

    def selects(self, obj: JsonObject) -> bool:
        return self.matches(labels_of(obj))

    @property
    def everything(self) -> bool:
        return not self.nothing and not self.requirements


EVERYTHING: Final = LabelSelector()
NOTHING: Final = LabelSelector(nothing=True)


# --- label selectors as text -------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!<>(),])|([^ \t\r\n=!<>(),]+)|$)")
_BINARY_OPERATORS: Final = "in, notin, =, ==, !=, gt, lt"
_TEXT_LENGTH_MAX: Final = 65_536


@lru_cache(maxsize=1024)
def parse_labels(text: str) -> LabelSelector:
    """`app in (a,b),!old,tier!=web` as a selector. Raises `BadRequestError` in apimachinery's words."""
    if len(text) > _TEXT_LENGTH_MAX:
        raise BadRequestError("unable to parse requirement: the selector is too long")
    try:
        requirements = _Parser(_tokens(text)).selector()
    except _SyntaxRefusedError as refusal:
        raise BadRequestError(str(refusal)) from refusal
    return LabelSelector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


class _SyntaxRefusedError(ValueError):
    """Inside this module: the text is no selector."""


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        assert found is not None, "every character is a symbol, a space or part of a word"
        tokens.append(found.group(1) or found.group(2) or "")
        at = found.end()
    return [token for token in tokens if token]


_END: Final = ""
_SYMBOLS: Final = frozenset({"==", "!=", "=", "!", "<", ">", "(", ")", ","})


class _Parser:
    """One pass over the tokens, after the grammar in apimachinery's `labels.Parse`."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._set_based = False

    def selector(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            word = self._peek()
            if word == _END:
                return requirements
            if not _is_word(word) and word != "!":
                raise _SyntaxRefusedError(f"found '{word}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except _SyntaxRefusedError as refusal:
                raise _SyntaxRefusedError(f"unable to parse requirement: {refusal}") from refusal
            word = self._take()
            if word == _END:
                return requirements
            if word != ",":
                raise _SyntaxRefusedError(f"found '{word}', expected: ',' or 'end of string'")
            if not _is_word(self._peek()) and self._peek() != "!":
                raise _SyntaxRefusedError(f"found '{self._peek()}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        word = self._take()
        absent = word == "!"
        key = self._take() if absent else word
        if not _is_word(key):
            raise _SyntaxRefusedError(f"found '{key}', expected: identifier")
        _refuse("", key, label_key_faults(key))
        if absent:
            return Requirement(key, "DoesNotExist")
        if self._peek() in (_END, ","):
            return Requirement(key, "Exists")
        operator = self._operator()
        return _checked(key, operator, self._set() if self._set_based else [self._value()])

    def _operator(self) -> Operator:
        word = self._take()
        self._set_based = word in ("in", "notin")
        match word:
            case "in" | "=" | "==":
                return "In"
            case "notin" | "!=":
                return "NotIn"
            case ">":
                return "Gt"
            case "<":
                return "Lt"
            case _:
                raise _SyntaxRefusedError(f"found '{word}', expected: {_BINARY_OPERATORS}")

    def _set(self) -> list[str]:
        word = self._take()
        if word != "(":
            raise _SyntaxRefusedError(f"found '{word}' expected: '('")
        values: list[str] = []
        value = ""
        while True:
            word = self._take()
            if _is_word(word) and not value:
                value = word
            elif word == ",":
                values.append(value)
                value = ""
            elif word == ")":
                return [*values, value]
            else:
                expected = "',' or ')'" if value else "',', ')' or identifier"
                raise _SyntaxRefusedError(f"found '{word}', expected: {expected}")

    def _value(self) -> str:
        if self._peek() in (_END, ","):
            return ""
        word = self._take()
        if not _is_word(word):
            raise _SyntaxRefusedError(f"found '{word}', expected: identifier")
        return word

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self) -> str:
        word = self._peek()
        self._at += 1
        return word


def _is_word(token: str) -> bool:
    return token != _END and token not in _SYMBOLS


def _checked(key: str, operator: Operator, values: Sequence[str]) -> Requirement:
    for index, value in enumerate(values):
        _refuse(f"values[{index}][{key}]", value, label_value_faults(value))
        if operator in ("Gt", "Lt") and _integer(value) is None:
            _refuse(f"values[{index}]", value, ["for 'Gt', 'Lt' operators, the value must be an integer"])
    return Requirement(key, operator, frozenset(values))


def _refuse(path: str, value: str, faults: Sequence[str]) -> None:
    if faults:
        raise _SyntaxRefusedError(f"{path or '<nil>'}: Invalid value: {json.dumps(value)}: {'; '.join(faults)}")


def _integer(text: str | None) -> int | None:
    """As Go's ParseInt(text, 10, 64)."""
    if text is None or not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


# --- label selectors as objects ----------------------------------------------------------------------------------


_LABEL_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist")


def label_selector(selector: Json) -> LabelSelector:
    """metav1.LabelSelector: absent (null) matches nothing, empty matches everything.

    Raises `BadRequestError` for an unknown operator or values that don't fit it.
    """
    if not isinstance(selector, dict):
        return NOTHING
    found = [Requirement(key, "In", frozenset({value})) for key, value in str_map_at(selector, "matchLabels").items()]
    found += [_expression(asked, _LABEL_OPERATORS) for asked in maps_at(selector, "matchExpressions")]
    return LabelSelector(tuple(found))


def map_selector(selector: Mapping[str, str]) -> LabelSelector:
    """The old form, as in Service.spec.selector and PodSpec.nodeSelector: each label has that value."""
    return LabelSelector(tuple(Requirement(key, "In", frozenset({value})) for key, value in selector.items()))


def _expression(expression: JsonObject, allowed: Collection[str]) -> Requirement:
    key, operator, values = str_at(expression, "key"), str_at(expression, "operator"), strs_at(expression, "values")
    if operator not in allowed:
        raise BadRequestError(f'"{operator}" is not a valid label selector operator')
    match operator:
        case "In" | "NotIn":
            fault = "" if values else "for 'in', 'notin' operators, values set can't be empty"
        case "Exists" | "DoesNotExist":
            fault = "values set must be empty for exists and does not exist" if values else ""
        case "Gt" | "Lt":
            fits = len(values) == 1 and _integer(values[0]) is not None
            fault = "" if fits else "for 'Gt', 'Lt' operators, exactly one value is required"
        case _:
            raise BadRequestError(f'"{operator}" is not a valid label selector operator')
    if fault:
        raise BadRequestError(f"values: Invalid value: {json.dumps(values)}: {fault}")
    return Requirement(key, operator, frozenset(values))


# --- node selectors ----------------------------------------------------------------------------------------------


class NodeTerm(Frozen, kw_only=False):
    """One alternative: every requirement on labels and on fields (metadata.name alone) must hold."""

    labels: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        # An empty term matches no node: that is what the API says of it.
        if not self.labels and not self.fields:
            return False
        fields = {"metadata.name": name}
        return all(asked.matches(labels) for asked in self.labels) and all(
            asked.matches(fields) for asked in self.fields
        )

    def names(self) -> frozenset[str] | None:
        """Those of the nodes that alone can match; None: any may."""
        values = [asked.values for asked in self.fields if asked.operator == "In"]
        return values[0].intersection(*values[1:]) if values else None


_NODE_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def node_term(term: JsonObject) -> NodeTerm:
    """core/v1 NodeSelectorTerm."""
    return NodeTerm(
        labels=tuple(_expression(found, _NODE_OPERATORS) for found in maps_at(term, "matchExpressions")),
        fields=tuple(_expression(found, ("In", "NotIn")) for found in maps_at(term, "matchFields")),
    )


def taken_node_term(term: JsonObject) -> NodeTerm:
    """One that was taken already, by somebody who judged less: what can't be read matches no node, as in Kubernetes
    (`component-helpers/scheduling/corev1/nodeaffinity`)."""
    try:
        return node_term(term)
    except BadRequestError:
        return NodeTerm((), ())


class NodeSelector(Frozen, kw_only=False):
    """core/v1 NodeSelector: one of the terms must hold; no term, no node."""

    terms: tuple[NodeTerm, ...]

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        return any(term.matches(labels, name) for term in self.terms)

    def selects(self, node: JsonObject) -> bool:
        return self.matches(labels_of(node), name_of(node))

    def names(self) -> frozenset[str] | None:
        """Those of the nodes that alone can match; None: any may."""
        found = [term.names() for term in self.terms]
        named = [each for each in found if each is not None]
        return frozenset[str]().union(*named) if len(named) == len(found) else None


def node_selector(selector: JsonObject) -> NodeSelector:
    """core/v1 NodeSelector as parsed from its object. Raises `BadRequestError` for a term that makes no sense."""
    return NodeSelector(tuple(node_term(term) for term in maps_at(selector, "nodeSelectorTerms")))


def taken_node_selector(selector: JsonObject) -> NodeSelector:
    """The same of one that was taken already: the other terms hold (`taken_node_term`)."""
    return NodeSelector(tuple(taken_node_term(term) for term in maps_at(selector, "nodeSelectorTerms")))


# --- field selectors ---------------------------------------------------------------------------------------------

_ABSENT: Final = {
    "spec.unschedulable": "false",
    "spec.hostNetwork": "false",
    "status.replicas": "0",
    "status.succeeded": "0",
}
"""What a field of Go's zero value compares as, where that isn't the empty string."""
_STORED_AT: Final = {
    "status.successful": ("status", "succeeded"),
    "status.podIPs": ("status", "podIP"),
}
"""Selectable names that differ from where the value is."""


class FieldTerm(Frozen, kw_only=False):
    path: str
    value: str
    equal: bool

    def matches(self, obj: JsonObject) -> bool:
        return (field_text(obj, self.path) == self.value) is self.equal


class FieldSelector(Frozen, kw_only=False):
    """All terms must hold."""

    terms: tuple[FieldTerm, ...] = ()

    def selects(self, obj: JsonObject) -> bool:
        return all(term.matches(obj) for term in self.terms)

    def exactly(self, path: str) -> str | None:
        """The one value that `path` must have, if a term says so: `metadata.name` of a watch on one object."""
        return next((term.value for term in self.terms if term.equal and term.path == path), None)


def parse_fields(text: str, selectable: Collection[str] = ()) -> FieldSelector:
    """`metadata.name=a,spec.nodeName!=b`; what may be named is metadata.name, metadata.namespace and `selectable`.

    Raises `BadRequestError` in apimachinery's words.
    """
    terms: list[FieldTerm] = []
    for part in _split_terms(text):
        found = re.search(r"!=|==|=", part)
        if found is None:
            raise BadRequestError(f"invalid selector: '{text}'; can't understand '{part}'")
        path = part[: found.start()]
        if path not in ("metadata.name", "metadata.namespace") and path not in selectable:
            raise BadRequestError(f"field label not supported: {path}")
        terms.append(FieldTerm(path, _unescaped(part[found.end() :]), found.group() != "!="))
    return FieldSelector(tuple(terms))


def field_text(obj: JsonObject, path: str) -> str:
    """A field as selectors compare it: text; booleans and numbers that are absent compare as Go's zero value."""
    if path == "source":
        return str_at(obj, "source", "component") or str_at(obj, "reportingComponent")
    value = dig(obj, *_STORED_AT.get(path, tuple(path.split("."))))
    match value:
        case None:
            return _ABSENT.get(path, "")
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return ""


def _split_terms(text: str) -> list[str]:
    """At commas that no backslash escapes."""
    return [part for part in re.findall(r"(?:\\.|[^,\\]|\\$)+", text) if part]


def _unescaped(text: str) -> str:
    value: list[str] = []
    chars = iter(text)
    for char in chars:
        if char == "\\":
            escaped = next(chars, "")
            if escaped not in ("\\", ",", "="):
                raise BadRequestError(f"invalid field selector: invalid escape sequence: \\{escaped}")
            value.append(escaped)
        elif char in ",=":
            raise BadRequestError(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            value.append(char)
    return "".join(value)
