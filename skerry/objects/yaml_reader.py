"""YAML bodies and manifests, as Kubernetes reads YAML: YAML 1.1 scalars and JSON's types.

Kubernetes turns YAML into JSON with sigs.k8s.io/yaml, where `yes`, `on` and `y` are booleans, `0777` is octal
and a date is a string; a manifest must mean the same here. PyYAML reads the structure, the scalars are ours.
Anchors are bounded by what they unfold to (no billion laughs). Pure; keeps nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import yaml

from skerry.errors import BadRequestError
from skerry.objects.json import Json

NODES_MAX: Final = 300_000
"""Values a document may unfold to; 3 MiB of YAML without anchors hold about as many."""
_DEPTH_MAX: Final = 200
_PLAIN: Final = "!plain"
_TRUE: Final = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE: Final = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER: Final = re.compile(r"[-+]?(?:0b[01]+|0o?[0-7]+|0x[0-9a-fA-F]+|[0-9]+)\Z")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_TAG: Final = "tag:yaml.org,2002:"


class _Loader(yaml.CSafeLoader):
    """Structure only: one resolver marks plain scalars, so that quoted ones and explicit tags stay apart."""

    yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012 - PyYAML's own class attribute


@dataclass(slots=True)
class _Walk:
    duplicates: list[str] = field(default_factory=list[str])
    left: int = NODES_MAX
    tags: bool = False
    """Tags that YAML does not have are text, and no mistake."""


def read_yaml(text: str) -> tuple[Json, list[str]]:
    """The first value of a document, and the paths of duplicate keys (the last one counts).

    Raises `BadRequestError`.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadRequestError(f"error converting YAML to JSON: yaml: {error}") from error
    if node is None:
        return None, []
    walk = _Walk()
    return _value(node, "", walk, 0), walk.duplicates


def read_documents(text: str, *, tags: bool = False) -> list[Json]:
    """The value of each document; of repeated keys the last counts. With `tags`, what has a tag that YAML does not
    have is the text of both (`!secret password`). All of them together unfold to as much as one may.

    Raises `BadRequestError`.
    """
    try:
        nodes: list[yaml.Node | None] = [*yaml.compose_all(text, Loader=_Loader)]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadRequestError(f"error converting YAML to JSON: yaml: {error}") from error
    walk = _Walk(tags=tags)
    return [None if node is None else _value(node, "", walk, 0) for node in nodes]


def _value(node: yaml.Node, path: str, walk: _Walk, depth: int) -> Json:
    walk.left -= 1
    if walk.left < 0 or depth > _DEPTH_MAX:
        raise BadRequestError("error converting YAML to JSON: yaml: document contains excessive aliasing or depth")
    match node:
        case yaml.MappingNode():
            return _mapping(node, path, walk, depth)
        case yaml.SequenceNode():
            return [_value(item, f"{path}[{at}]", walk, depth + 1) for at, item in enumerate(node.value)]
        case yaml.ScalarNode():
            return _scalar(node, walk)
        case _:
            raise BadRequestError("error converting YAML to JSON: yaml: unknown node")


def _mapping(node: yaml.MappingNode, path: str, walk: _Walk, depth: int) -> dict[str, Json]:
    found: dict[str, Json] = {}
    merged: dict[str, Json] = {}
    for key_node, value_node in node.value:
        if isinstance(key_node, yaml.ScalarNode) and key_node.tag == _PLAIN and key_node.value == "<<":
            merged = _merged(value_node, path, walk, depth) | merged
            continue
        key = _key(key_node, walk)
        below = f"{path}.{key}" if path else key
        if key in found:
            walk.duplicates.append(below)
        found[key] = _value(value_node, below, walk, depth + 1)
    return merged | found if merged else found


def _merged(node: yaml.Node, path: str, walk: _Walk, depth: int) -> dict[str, Json]:
    """`<<`: a map, or a list of maps in which earlier ones win."""
    value = _value(node, path, walk, depth + 1)
    parts = value if isinstance(value, list) else [value]
    out: dict[str, Json] = {}
    for part in parts:
        if not isinstance(part, dict):
            raise BadRequestError("error converting YAML to JSON: yaml: map merge requires map or sequence of maps")
        out = part | out
    return out


def _key(node: yaml.Node, walk: _Walk) -> str:
    value = _scalar(node, walk) if isinstance(node, yaml.ScalarNode) else None
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float():
            return format(value, "g")
        case _:
            raise BadRequestError("error converting YAML to JSON: yaml: a key is neither text, number nor boolean")


def _scalar(node: yaml.ScalarNode, walk: _Walk) -> Json:
    text = node.value
    match node.tag.removeprefix(_TAG):
        case "!plain" | "int" | "float" | "bool" | "null":
            return plain(text)
        case "binary" | "str" | "timestamp" | "!":
            return text
        case tag if walk.tags and tag.startswith("!"):
            return f"{tag} {text}".strip()
        case other:
            raise BadRequestError(f"error converting YAML to JSON: yaml: unknown tag {other}")


def plain(text: str) -> Json:
    """What an unquoted scalar means."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    digits = text.replace("_", "") if text[0] in "+-.0123456789" else text
    try:
        if _INTEGER.match(digits):
            return _integer(digits)
        if _FLOAT.match(digits):
            return float(digits)
    except ValueError as error:
        raise BadRequestError(f"error converting YAML to JSON: yaml: {error}") from error
    if _NOT_FINITE.match(text):
        raise BadRequestError(f"error converting YAML to JSON: json: unsupported value: {text}")
    return text


def _integer(text: str) -> int | float:
    sign = -1 if text.startswith("-") else 1
    bare = text.lstrip("+-")
    match bare[:2].lower():
        case "0x":
            number = int(bare, 16)
        case "0b":
            number = int(bare, 2)
        case "0o":
            number = int(bare, 8)
        case _:
            octal = len(bare) > 1 and bare.startswith("0") and not set(bare) & {"8", "9"}
            number = int(bare, 8) if octal else int(bare)
    # Go's decoder holds 64 bits and calls what is larger a float.
    return sign * number if number < 2**63 else float(sign * number)
