"""Objects against their kind's shape: what a field may hold, what is unknown, what must be there.

Go decodes JSON into structs; what that does to an object is part of the API: unknown fields vanish (and are
reported), nulls vanish, quantities and times take one form, a wrong type is refused with a text that clients
match. Here the same happens by walking the object along shapes compiled from OpenAPI definitions.

Pure but for the cache of compiled shapes, which only saves time; a crash leaves nothing.
Source of behaviour and texts: sigs.k8s.io/json, apimachinery `pkg/runtime/serializer/json`.
"""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from cloudcore.registry.definitions import INT_OR_STRING, QUANTITY, REF, Definitions
from cloudcore.registry.go_fields import GoFields
from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, str_at, strs_at
from skerry.objects.quantity import canonical
from skerry.objects.times import micro_time_text, parse_time, time_text

DEPTH_MAX: Final = 200
"""Deeper objects are refused before they exhaust the stack. Kubernetes: 10,000 levels of JSON; nobody writes 100."""
UNKNOWN_MAX: Final = 100
"""Unknown fields that are named; more of them help nobody."""
_STRICT_TIME_LENGTH: Final = 20


class MismatchError(Exception):
    """A value whose type its place does not allow; becomes a `BadRequestError` with the whole text."""

    def __init__(self, text: str = "", *, found: str = "", wanted: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.found = found
        self.wanted = wanted
        self.struct = ""


class MapKey(Frozen, kw_only=False):
    """A step of a path that names a map's key: Go's type errors leave it out."""

    name: str


@dataclass(slots=True)
class Walk:
    """Where a walk is, and the unknown fields it met."""

    path: list[str | int | MapKey] = field(default_factory=list[str | int | MapKey])
    unknown: list[str] = field(default_factory=list[str])

    def note_unknown(self, name: str) -> None:
        if len(self.unknown) < UNKNOWN_MAX:
            self.unknown.append(path_text([*self.path, name]))


def path_text(path: list[str | int | MapKey]) -> str:
    """`spec.template.spec.containers[0].image`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step.name if isinstance(step, MapKey) else step
            text += f".{name}" if text else name
    return text


class Shape(ABC):
    """What may stand somewhere. `decode` returns the value as Go would have it after reading and writing it."""

    __slots__ = ("exact", "go")

    def __init__(self, go: str, exact: type | None = None) -> None:
        self.go = go
        """Go's name of the type, as its errors write it."""
        self.exact = exact
        """Values of exactly this Python type are good as they are."""

    @abstractmethod
    def decode(self, value: Json, walk: Walk) -> Json:
        """The value as Go keeps it. Raises `MismatchError`."""

    def zero(self) -> Json:
        """What Go writes for an unset field of this type that is never left out."""
        return None

    def fill(self, value: Json) -> None:  # noqa: B027 - most shapes have nothing to fill
        """Put required fields into a decoded value, in place."""

    @property
    def deep(self) -> bool:
        """Can `fill` do anything here?"""
        return False

    def _refuse(self, value: Json) -> NoReturn:
        raise MismatchError(found=go_kind(value), wanted=self.go)


class StringShape(Shape):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("string", str)

    def decode(self, value: Json, walk: Walk) -> Json:
        return value if isinstance(value, str) else self._refuse(value)

    def zero(self) -> Json:
        return ""


class BoolShape(Shape):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("bool", bool)

    def decode(self, value: Json, walk: Walk) -> Json:
        return value if isinstance(value, bool) else self._refuse(value)

    def zero(self) -> Json:
        return False


class IntShape(Shape):
    __slots__ = ("_limit",)

    def __init__(self, bits: int) -> None:
        super().__init__(f"int{bits}")
        self._limit = 1 << (bits - 1)

    def decode(self, value: Json, walk: Walk) -> Json:
        if isinstance(value, bool):
            self._refuse(value)
        if isinstance(value, float):
            raise MismatchError(found=f"number {value!r}", wanted=self.go)
        if not isinstance(value, int):
            self._refuse(value)
        if not -self._limit <= value < self._limit:
            raise MismatchError(found=f"number {value}", wanted=self.go)
        return value

    def zero(self) -> Json:
        return 0


class NumberShape(Shape):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("float64")

    def decode(self, value: Json, walk: Walk) -> Json:
        return value if isinstance(value, int | float) and not isinstance(value, bool) else self._refuse(value)

    def zero(self) -> Json:
        return 0


class BytesShape(Shape):
    """base64 text."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("[]uint8")

    def decode(self, value: Json, walk: Walk) -> Json:
        if not isinstance(value, str):
            self._refuse(value)
        # Go skips line ends inside base64.
        text = value.replace("\n", "").replace("\r", "")
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MismatchError(f"illegal base64 data at input byte {_base64_fault(text)}") from error
        return text

    def zero(self) -> Json:
        return None


class TimeShape(Shape):
    """metav1.Time or metav1.MicroTime."""

    __slots__ = ("_text",)

    def __init__(self, text: Callable[[int], str], go: str) -> None:
        super().__init__(go)
        self._text = text

    def decode(self, value: Json, walk: Walk) -> Json:
        if not isinstance(value, str):
            self._refuse(value)
        try:
            ms = parse_time(value)
        except BadRequestError as error:
            raise MismatchError(str(error)) from error
        if self._text is micro_time_text:
            # Milliseconds would cut microseconds off; what is in the one form already stays as it is.
            return value if _is_micro_form(value) else micro_time_text(ms)
        return value if len(value) == _STRICT_TIME_LENGTH and value.endswith("Z") else time_text(ms)


class QuantityShape(Shape):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("resource.Quantity")

    def decode(self, value: Json, walk: Walk) -> Json:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self._refuse(value)
        try:
            return canonical(value)
        except InvalidError as error:
            raise MismatchError(str(error)) from error

    def zero(self) -> Json:
        return "0"


class IntOrStringShape(Shape):
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("intstr.IntOrString", str)

    def decode(self, value: Json, walk: Walk) -> Json:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise MismatchError(found=go_kind(value), wanted="int32")
        if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
            raise MismatchError(found=f"number {value}", wanted="int32")
        return value

    def zero(self) -> Json:
        return 0


class AnyShape(Shape):
    """Any JSON, kept as it is; an object where only an object makes sense."""

    __slots__ = ("_object_only",)

    def __init__(self, *, object_only: bool) -> None:
        super().__init__("runtime.RawExtension" if object_only else "interface {}")
        self._object_only = object_only

    def decode(self, value: Json, walk: Walk) -> Json:
        if self._object_only and not isinstance(value, dict):
            self._refuse(value)
        return value

    def zero(self) -> Json:
        return {} if self._object_only else None


class ListShape(Shape):
    __slots__ = ("_deep", "_item", "item_of")

    def __init__(self, item_of: Callable[[], Shape], go: str) -> None:
        super().__init__(go)
        self.item_of = item_of
        self._item: Shape | None = None
        self._deep: bool | None = None

    @property
    def item(self) -> Shape:
        if self._item is None:
            self._item = self.item_of()
            self.go = f"[]{self._item.go}"
        return self._item

    def decode(self, value: Json, walk: Walk) -> Json:
        item = self.item
        if not isinstance(value, list):
            self._refuse(value)
        exact, decode, path = item.exact, item.decode, walk.path
        out: list[Json] = []
        for index, element in enumerate(value):
            if type(element) is exact:
                out.append(element)
                continue
            path.append(index)
            # Go turns a null element into the element type's zero.
            out.append(item.zero() if element is None else decode(element, walk))
            path.pop()
        return out

    def zero(self) -> Json:
        return []

    def fill(self, value: Json) -> None:
        if isinstance(value, list):
            fill = self.item.fill
            for element in value:
                fill(element)

    @property
    def deep(self) -> bool:
        if self._deep is None:
            self._deep = True  # stands while the element is asked, which may come back here
            self._deep = self.item.deep
        return self._deep


class MapShape(Shape):
    __slots__ = ("_deep", "_item", "item_of")

    def __init__(self, item_of: Callable[[], Shape]) -> None:
        super().__init__("map")
        self.item_of = item_of
        self._item: Shape | None = None
        self._deep: bool | None = None

    @property
    def item(self) -> Shape:
        if self._item is None:
            self._item = self.item_of()
            self.go = f"map[string]{self._item.go}"
        return self._item

    def decode(self, value: Json, walk: Walk) -> Json:
        item = self.item
        if not isinstance(value, dict):
            self._refuse(value)
        exact, decode, path = item.exact, item.decode, walk.path
        out: JsonObject = {}
        for name, element in value.items():
            if type(element) is exact:
                out[name] = element
                continue
            path.append(MapKey(name))
            out[name] = item.zero() if element is None else decode(element, walk)
            path.pop()
        return out

    def zero(self) -> Json:
        return {}

    def fill(self, value: Json) -> None:
        if isinstance(value, dict):
            fill = self.item.fill
            for element in value.values():
                fill(element)

    @property
    def deep(self) -> bool:
        if self._deep is None:
            self._deep = True
            self._deep = self.item.deep
        return self._deep


class StructShape(Shape):
    """A definition with named fields."""

    __slots__ = ("_deep", "_deep_fields", "_fields", "fields_of", "name", "omitted", "open", "required")

    def __init__(self, *, name: str, go: str, fields_of: Callable[[], dict[str, Shape]]) -> None:
        super().__init__(go)
        self.name = name
        """Go's name of the struct without its package."""
        self.fields_of = fields_of
        self.required: tuple[str, ...] = ()
        self.open = False
        """Keeps fields it does not know."""
        self.omitted: frozenset[str] = frozenset()
        """Left out when zero."""
        self._fields: dict[str, Shape] | None = None
        self._deep: bool | None = None
        self._deep_fields: list[tuple[str, Shape]] | None = None

    @property
    def fields(self) -> dict[str, Shape]:
        if self._fields is None:
            self._fields = self.fields_of()
            # Go's omitempty knows a zero for these; a struct that is no pointer is always written.
            structs = (name for name in self.omitted if isinstance(self._fields.get(name), StructShape))
            self.required = (*self.required, *sorted(structs))
            self.omitted = frozenset(name for name in self.omitted if isinstance(self._fields.get(name), _WITH_ZERO))
        return self._fields

    def decode(self, value: Json, walk: Walk) -> Json:
        fields, omitted, path = self.fields, self.omitted, walk.path
        if not isinstance(value, dict):
            self._refuse(value)
        if len(path) > DEPTH_MAX:
            raise MismatchError("exceeded max depth")
        out: JsonObject = {}
        try:
            for name, item in value.items():
                shape = fields.get(name)
                if shape is None:
                    if self.open:
                        out[name] = item
                    else:
                        walk.note_unknown(name)
                elif type(item) is shape.exact:
                    if item or name not in omitted:
                        out[name] = item
                elif item is not None:
                    path.append(name)
                    decoded = shape.decode(item, walk)
                    path.pop()
                    if decoded or name not in omitted:
                        out[name] = decoded
        except MismatchError as error:
            error.struct = error.struct or self.name
            raise
        return out

    def zero(self) -> Json:
        empty: JsonObject = {}
        self.fill(empty)
        return empty

    def fill(self, value: Json) -> None:
        if not isinstance(value, dict):
            return
        fields = self.fields
        for name in self.required:
            if name not in value:
                value[name] = fields[name].zero()
        if self._deep_fields is None:
            self._deep_fields = [(name, shape) for name, shape in fields.items() if shape.deep]
        for name, shape in self._deep_fields:
            item = value.get(name)
            if item is not None:
                shape.fill(item)

    @property
    def deep(self) -> bool:
        if self._deep is None:
            self._deep = True
            deep = any(shape.deep for shape in self.fields.values())
            self._deep = deep or bool(self.required)
        return self._deep


_WITH_ZERO: Final = (StringShape, BoolShape, IntShape, NumberShape, BytesShape, ListShape, MapShape)


class Shapes:
    """Compiled shapes by definition name; compiled when first needed, shared afterwards."""

    def __init__(self, definitions: Definitions, go_fields: GoFields) -> None:
        self.definitions = definitions
        self._go_fields = go_fields
        self._named: dict[str, Shape] = {}
        self._string = StringShape()
        self._bool = BoolShape()
        self._any = AnyShape(object_only=False)
        self._object = AnyShape(object_only=True)

    def named(self, name: str) -> Shape:
        """The shape of a definition."""
        shape = self._named.get(name)
        if shape is None:
            shape = self._named[name] = self._compiled(name)
        return shape

    def _compiled(self, name: str) -> Shape:
        if name == QUANTITY:
            return QuantityShape()
        if name == INT_OR_STRING:
            return IntOrStringShape()
        if name.endswith(".meta.v1.Time"):
            return TimeShape(time_text, "v1.Time")
        if name.endswith(".meta.v1.MicroTime"):
            return TimeShape(micro_time_text, "v1.MicroTime")
        definition = self.definitions.plain(name)
        if "properties" in definition:
            return self._struct(name, definition)
        return self.of(definition)

    def _struct(self, name: str, definition: JsonObject) -> StructShape:
        package, _, short = name.rpartition(".")
        shape = StructShape(
            name=short,
            go=f"{package.rpartition('.')[2]}.{short}",
            fields_of=lambda: {field: self.of(schema) for field, schema in map_at(definition, "properties").items()},
        )
        shape.required = tuple(strs_at(definition, "required"))
        shape.omitted = self._go_fields.omitted(name) - set(shape.required)
        shape.open = definition.get("x-kubernetes-preserve-unknown-fields") is True
        return shape

    def of(self, schema: Json) -> Shape:
        """The shape of a schema inside a definition."""
        ref = str_at(schema, "$ref")
        if ref:
            return self.named(ref.removeprefix(REF))
        kind, form = str_at(schema, "type"), str_at(schema, "format")
        match kind:
            case "string":
                return BytesShape() if form == "byte" else self._string
            case "boolean":
                return self._bool
            case "integer":
                return IntShape(64 if form == "int64" else 32)
            case "number":
                return NumberShape()
            case "array":
                return ListShape(lambda: self.of(map_at(schema, "items")), "[]")
            case "object":
                items = map_at(schema, "additionalProperties")
                return MapShape(lambda: self.of(items)) if items else self._object
            case _:
                return self._any


class Decoded(Frozen):
    """An object as understood, and the fields that were not."""

    obj: JsonObject
    unknown: tuple[str, ...]
    """Paths of unknown fields, at most `UNKNOWN_MAX`: `spec.template.spec.containers[0].imagee`."""


def decode(shape: Shape, obj: JsonObject, *, kind: str, version: str) -> Decoded:
    """The object along its shape. Raises `BadRequestError` in the API server's words for a wrong type."""
    walk = Walk()
    try:
        decoded = shape.decode(obj, walk)
    except MismatchError as error:
        text = error.text or _go_text(error, walk)
        raise BadRequestError(f'{kind} in version "{version}" cannot be handled as a {kind}: {text}') from error
    assert isinstance(decoded, dict), "a struct decodes to an object"
    return Decoded(obj=decoded, unknown=tuple(walk.unknown))


def _go_text(error: MismatchError, walk: Walk) -> str:
    """Go's own sentence. Its path leaves out list indices and map keys."""
    where = ".".join(step for step in walk.path if isinstance(step, str))
    return f"json: cannot unmarshal {error.found} into Go struct field {error.struct}.{where} of type {error.wanted}"


def go_kind(value: Json) -> str:
    """encoding/json's word for a JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"


def _base64_fault(text: str) -> int:
    """The index at which Go's decoder gives up, as near as its error tells users."""
    alphabet = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    for index, char in enumerate(text):
        if char not in alphabet:
            return index
    return len(text) - len(text) % 4


def _is_micro_form(text: str) -> bool:
    return len(text) == len("2006-01-02T15:04:05.000000Z") and text.endswith("Z") and text[19] == "."
