"""Request bodies as objects: JSON, YAML or protobuf in, checked for repeated keys, bounded.

What decoding says about a body (duplicates, unknown fields) becomes Warning headers or a refusal, as
`fieldValidation` asks (Kubernetes "Field validation" page; texts of apimachinery's strict decoder). Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NoReturn, cast

import orjson

from cloudcore.api.ports import ProtobufReader, Shapes
from cloudcore.registry.port import FieldValidation
from skerry.errors import BadRequestError
from skerry.forms.status import UnsupportedMediaTypeError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, str_at
from skerry.objects.scheme import Kind, split_api_version

BODY_BYTES_MAX: Final = 3 * 1024 * 1024
JSON_TYPES: Final = frozenset({"", "application/json"})
YAML_TYPES: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})
PROTOBUF_TYPE: Final = "application/vnd.kubernetes.protobuf"


class Body(Frozen):
    """A parsed body, before its kind's schema has looked at it."""

    value: Json
    duplicates: tuple[str, ...] = ()
    """Paths of keys that came twice; the last one counted."""


class Read(Frozen):
    """An object as asked for, and what its writer should be told."""

    obj: JsonObject
    warnings: tuple[str, ...]


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def parse_body(body: bytes, content_type: str, protobuf: ProtobufReader) -> Body:
    """A body by its Content-Type; none means JSON. Raises `BadRequestError`, `UnsupportedMediaTypeError`."""
    media = media_type(content_type)
    if media in JSON_TYPES:
        return parse_json(body)
    if media in YAML_TYPES:
        # A heavy import for the few who send YAML.
        from skerry.objects.yaml_reader import read_yaml

        value, duplicates = read_yaml(_text(body))
        check_writable(value)
        return Body(value=value, duplicates=tuple(duplicates))
    if media == PROTOBUF_TYPE:
        return Body(value=protobuf.decode(body))
    raise UnsupportedMediaTypeError(
        "the body of the request was in an unknown format - accepted media types include: application/json, "
        "application/yaml, application/vnd.kubernetes.protobuf"
    )


def parse_json(body: bytes) -> Body:
    """JSON as RFC 8259 has it. Raises `BadRequestError`."""
    repeated: list[tuple[dict[str, Json], list[str]]] = []

    def pairs(found: list[tuple[str, Json]]) -> dict[str, Json]:
        made = dict(found)
        if len(made) != len(found):
            names = [name for name, _ in found]
            repeated.append((made, sorted({name for name in names if names.count(name) > 1}, key=names.index)))
        return made

    try:
        value = cast(Json, json.loads(_text(body), object_pairs_hook=pairs, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"json parse error: {error}") from error
    check_writable(value)
    return Body(value=value, duplicates=tuple(_paths(value, repeated)) if repeated else ())


def check_writable(value: Json) -> None:
    """Raises `BadRequestError` for what could not be written out again: half of a surrogate pair, numbers over 64
    bits, more than 250 levels."""
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise BadRequestError(f"json parse error: the body can't be stored: {error}") from error


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError(f"the body is not UTF-8: {error}") from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"invalid character {text!r} looking for beginning of value")


def _paths(value: Json, repeated: Sequence[tuple[dict[str, Json], list[str]]]) -> list[str]:
    names = {id(made): found for made, found in repeated}
    paths: list[str] = []

    def walk(value: Json, path: str) -> None:
        match value:
            case dict():
                prefix = f"{path}." if path else ""
                paths.extend(prefix + name for name in names.get(id(value), ()))
                for name, below in value.items():
                    walk(below, prefix + name)
            case list():
                for at, below in enumerate(value):
                    walk(below, f"{path}[{at}]")
            case _:
                pass

    walk(value, "")
    return paths


def read_object(body: Body, kind: Kind, shapes: Shapes, validation: FieldValidation) -> Read:
    """The body as an object of `kind`, with apiVersion and kind set. Raises `BadRequestError`."""
    obj = body.value
    if not isinstance(obj, dict):
        raise BadRequestError(
            f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
            "json parse error: the body is no object"
        )
    check_kind(obj, kind)
    decoded = shapes.decode(kind, {**obj, "apiVersion": kind.api_version, "kind": kind.kind})
    return Read(
        obj=decoded.obj,
        warnings=complaints(kind, unknown=decoded.unknown, duplicates=body.duplicates, validation=validation),
    )


def check_kind(obj: JsonObject, kind: Kind) -> None:
    """Raises `BadRequestError` when the body says that it is something else than the URL does."""
    said, version = str_at(obj, "kind"), str_at(obj, "apiVersion")
    if (said and said != kind.kind) or (version and split_api_version(version)[0] != kind.group):
        raise BadRequestError(
            f'{said or kind.kind} in version "{split_api_version(version)[1]}" cannot be handled as a {kind.kind}: '
            f"no kind {json.dumps(said)} is registered for version {json.dumps(kind.api_version)}"
        )
    if version and version != kind.api_version:
        raise BadRequestError(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )


def complaints(
    kind: Kind, *, unknown: Sequence[str], duplicates: Sequence[str], validation: FieldValidation
) -> tuple[str, ...]:
    """Texts for Warning headers. Raises `BadRequestError` when validation is strict and there is one."""
    if validation == "Ignore":
        return ()
    texts = tuple(
        [f'unknown field "{path}"' for path in unknown] + [f'duplicate field "{path}"' for path in duplicates]
    )
    if texts and validation == "Strict":
        raise BadRequestError(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: '
            + ", ".join(texts)
        )
    return texts
