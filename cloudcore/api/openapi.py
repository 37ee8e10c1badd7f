"""The published OpenAPI documents, made when first asked for and again when the kinds served change.

Keeps the finished documents (plain and gzipped) in memory; a crash loses nothing that is not made again.
Making the v2 document takes a few tenths of a second, a v3 document a few milliseconds; each once per change.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import orjson

from cloudcore.api import openapi_v2, openapi_v3
from cloudcore.api.openapi_paths import PathItem, paths_of, root_of
from cloudcore.api.openapi_schemas import custom_name, schemas_for
from cloudcore.registry.custom import CustomKind, CustomKinds
from cloudcore.registry.definitions import KUBERNETES_MINOR, Definitions, definitions
from skerry.forms.discovery import Document
from skerry.objects.json import JsonObject
from skerry.objects.scheme import Kind, Scheme

V2_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_JSON: Final = "application/json"
_VERSION: Final = f"v{KUBERNETES_MINOR}.0"


@dataclass(slots=True)
class _Made:
    """Documents of one state of the kinds."""

    generation: int
    index: Document | None = None
    v2: Document | None = None
    v2_protobuf: Document | None = None
    groups: dict[str, Document] = field(default_factory=dict[str, Document])


class PublishedOpenApi:
    """Implements `cloudcore.api.ports.OpenApi`."""

    def __init__(self, scheme: Scheme, custom: CustomKinds, known: Definitions | None = None) -> None:
        self._scheme = scheme
        self._custom = custom
        self._definitions = known or definitions()
        self._made = _Made(custom.generation)
        self._builtin: dict[str, Document] = {}
        """Documents of group versions without custom kinds: they never change."""

    def index(self) -> Document:
        made = self._current()
        if made.index is None:
            paths: JsonObject = {}
            for path in sorted(self._by_path()):
                document = self.group_version(path)
                assert document is not None, "the path was just listed"
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash_of(document)}"}
            made.index = _document(orjson.dumps({"paths": paths}), _JSON)
        return made.index

    def group_version(self, path: str) -> Document | None:
        made = self._current()
        document = made.groups.get(path) or self._builtin.get(path)
        if document is None:
            kinds = self._by_path().get(path)
            if kinds is None:
                return None
            document = self._v3(kinds)
            kept = made.groups if any(kind.custom for kind in kinds) else self._builtin
            kept[path] = document
        return document

    def v2(self, *, protobuf: bool) -> Document:
        made = self._current()
        if protobuf:
            if made.v2_protobuf is None:
                made.v2_protobuf = _document(openapi_v2.to_protobuf(self._v2()), V2_PROTOBUF)
            return made.v2_protobuf
        if made.v2 is None:
            made.v2 = _document(orjson.dumps(self._v2()), _JSON)
        return made.v2

    def _current(self) -> _Made:
        if self._made.generation != self._custom.generation:
            self._made = _Made(self._custom.generation)
        return self._made

    def _by_path(self) -> dict[str, list[Kind]]:
        found: dict[str, list[Kind]] = defaultdict(list)
        for kind in self._scheme:
            found[root_of(kind).removeprefix("/")].append(kind)
        return found

    def _v3(self, kinds: list[Kind]) -> Document:
        items = self._items(kinds)
        custom = [found for kind in kinds if (found := self._custom.of(kind)) is not None]
        schemas = schemas_for(openapi_v3.names_in(items), self._definitions, custom, "v3")
        return _document(orjson.dumps(openapi_v3.document(items, schemas, version=_VERSION)), _JSON)

    def _v2(self) -> JsonObject:
        kinds = list(self._scheme)
        items = self._items(kinds)
        custom: list[CustomKind] = list(self._custom)
        schemas = schemas_for(openapi_v3.names_in(items), self._definitions, custom, "v2")
        return openapi_v2.document(items, schemas, version=_VERSION)

    def _items(self, kinds: list[Kind]) -> list[PathItem]:
        items: list[PathItem] = []
        for kind in kinds:
            name = custom_name(kind) if kind.custom else self._definitions.name_of(kind)
            assert name is not None, f"{kind.resource} has no definition"
            items += paths_of(kind, name)
        return sorted(items, key=lambda item: item.path)


def _document(body: bytes, media_type: str) -> Document:
    digest = hashlib.sha256(body).hexdigest().upper()
    return Document(body=body, gzipped=gzip.compress(body, 5, mtime=0), media_type=media_type, etag=f'"{digest}"')


def _hash_of(document: Document) -> str:
    return document.etag.strip('"')
