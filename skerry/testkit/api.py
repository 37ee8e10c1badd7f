"""What a test asks of a Kubernetes API: objects by the words of kubectl, and `apply` as kubectl does it.

Stands on anything that answers requests (`skerry.cli.client.Server`): the CLI's own client, or a simulated cloud.
Keeps the kinds that the server has; they are asked for again when a word is not among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from skerry.cli import kinds
from skerry.cli.apply import apply_one, documents, kind_of, read_manifests
from skerry.cli.client import Server, path_of
from skerry.cli.device_set import set_in_cloud
from skerry.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    SkerryError,
    TooLargeError,
)
from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, clone, ensure_map, int_at, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of
from skerry.objects.scheme import Kind
from skerry.objects.times import parse_time
from skerry.testkit import arguments
from skerry.testkit.face import ApplyError, Manifest, ReadingView, TwinView
from skerry.testkit.views import twin_view

DEVICES: Final = "devices.devices.kubeedge.io"
STATUSES: Final = "devicestatuses.devices.kubeedge.io"

_REASONS: Final[tuple[tuple[type[SkerryError], str], ...]] = (
    (NotFoundError, "NotFound"),
    (AlreadyExistsError, "AlreadyExists"),
    (ConflictError, "Conflict"),
    (ForbiddenError, "Forbidden"),
    (TooLargeError, "RequestEntityTooLarge"),
    (BadRequestError, "BadRequest"),
)
"""What kubectl writes in brackets (metav1.StatusReason)."""


class Api:
    """See the module."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._kinds: Sequence[Kind] = ()

    def kind(self, word: str) -> Kind:
        """`pod`, `deploy`, `devices.devices.kubeedge.io`. Raises `NotFoundError` with the nearest words."""
        try:
            return kinds.named(self._kinds, word)
        except NotFoundError:
            self._kinds = kinds.discover(self._server)
            return kinds.named(self._kinds, word)

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        found = self.kind(kind)
        try:
            return self._server.request("GET", path_of(found, namespace, name)).obj
        except NotFoundError:
            return None

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        found = self.kind(kind)
        answer = self._server.request("GET", path_of(found, namespace)).obj
        named: JsonObject = {"apiVersion": found.api_version, "kind": found.kind}
        return [named | item for item in maps_at(answer, "items")]

    def patch(self, kind: str, name: str, patch: Mapping[str, object], namespace: str = "default") -> JsonObject:
        path = path_of(self.kind(kind), namespace, name)
        form = "application/merge-patch+json"
        query = {"fieldManager": "skerry-testkit", "fieldValidation": "Strict"}
        body = cast(JsonObject, dict(patch))
        return self._server.request("PATCH", path, query=query, body=body, content_type=form).obj

    def delete(self, kind: str, name: str, namespace: str = "default") -> bool:
        try:
            self._server.request("DELETE", path_of(self.kind(kind), namespace, name))
        except NotFoundError:
            return False
        return True

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        """What `skerry device set` does."""
        arguments.wanted(value)
        set_in_cloud(self._server, namespace, device, {prop: value})

    def twin(self, device: str, prop: str, namespace: str = "default") -> TwinView | None:
        held = self.get(DEVICES, device, namespace)
        return None if held is None else twin_view(held, self.get(STATUSES, device, namespace), prop)

    def history(self, device: str, prop: str, namespace: str = "default") -> list[ReadingView]:
        path = path_of(self.kind(DEVICES), namespace, device, "history")
        found: list[ReadingView] = []
        query = {"property": prop}
        while True:
            page = self._server.request("GET", path, query=query).obj
            found += [_reading(item) for item in maps_at(page, "items") if "gap" not in item]
            query["continue"] = str_at(page, "metadata", "continue")
            if not query["continue"]:
                return found

    def node_ready(self, name: str) -> str:
        node = self.get("nodes", name)
        condition = condition_of(node, "Ready") if node is not None else None
        return str_at(condition, "status") if condition is not None else ""

    def apply(self, manifests: Sequence[Manifest], namespace: str = "default", *, node: str = "") -> list[JsonObject]:
        """Every manifest is read and understood before the first is sent; a refusal does not stop the others. Devices
        are placed on the gateway `node`, if one is named."""
        try:
            read = [found for manifest in manifests for found in objects_of(manifest)]
            read = [(source, placed(obj, node)) for source, obj in read]
            resolved = [(source, obj, self._kind_of(source, obj)) for source, obj in read]
        except SkerryError as error:
            raise ApplyError(f"error: {error}") from error
        refused: list[str] = []
        applied: list[JsonObject] = []
        for source, obj, kind in resolved:
            place = namespace_of(obj) or namespace
            try:
                apply_one(self._server, kind, namespace, obj)
                applied.append(self._server.request("GET", path_of(kind, place, name_of(obj))).obj)
            except SkerryError as error:
                refused.append(refusal_text(kind, source, obj, error))
        if refused:
            raise ApplyError("\n".join(refused))
        return applied

    def _kind_of(self, source: str, obj: JsonObject) -> Kind:
        try:
            return kind_of(self._kinds, source, obj)
        except NotFoundError:
            self._kinds = kinds.discover(self._server)
            return kind_of(self._kinds, source, obj)


def _reading(item: JsonObject) -> ReadingView:
    value = item.get("value")
    return ReadingView(
        number=int_at(item, "number"),
        at_ms=parse_time(str_at(item, "time")),
        value=None if value is None else str(value),
        quality=str_at(item, "quality"),
        sequence=int_at(item, "sequence"),
    )


def objects_of(manifest: Manifest) -> Iterator[tuple[str, JsonObject]]:
    """Each object of what was given to `apply`, with where it stands. Raises `NotFoundError`, `BadRequestError`."""
    if isinstance(manifest, Path):
        yield from read_manifests(str(manifest))
    elif isinstance(manifest, str):
        if "\n" in manifest or manifest.lstrip().startswith("{"):
            yield from documents("text", manifest)
        else:
            yield from read_manifests(manifest)
    elif isinstance(manifest, Mapping):
        obj = clone(cast(JsonObject, manifest))
        if str_at(obj, "kind") == "List":
            yield from ((f"object items[{index}]", item) for index, item in enumerate(maps_at(obj, "items")))
        else:
            yield "object", obj
    else:
        several = cast(object, manifest)  # whatever a test hands over
        if not isinstance(several, Sequence) or isinstance(several, bytes):
            raise BadRequestError(f"{several!r} is no manifest: give a path, YAML or JSON text, an object, or a list")
        for one in manifest:
            yield from objects_of(one)


def refusal_text(kind: Kind, source: str, obj: JsonObject, error: SkerryError) -> str:
    """A refusal as kubectl tells it."""
    name = name_of(obj)
    if isinstance(error, InvalidError):
        causes = [f"{cause.field}: {cause.message}" for cause in error.causes]
        if len(causes) > 1:
            return "\n".join([f'The {kind.kind} "{name}" is invalid:', *(f"* {cause}" for cause in causes)])
        return f'The {kind.kind} "{name}" is invalid: {causes[0] if causes else error}'
    reason = next((reason for cls, reason in _REASONS if isinstance(error, cls)), "InternalError")
    return f'Error from server ({reason}): error when applying "{source}": {error}'


def placed(obj: JsonObject, node: str) -> JsonObject:
    """A Device, placed on this gateway, if one is named; anything else as it is."""
    if not node or str_at(obj, "kind") != "Device":
        return obj
    moved = clone(obj)
    ensure_map(moved, "spec")["nodeName"] = node
    return moved
