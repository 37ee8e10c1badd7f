"""What a pod's volumes may say (`pkg/apis/core/validation`). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.names import config_key_faults, label_1123_faults
from skerry.validation.amounts import validate_resource_field
from skerry.validation.claims import validate_claim_spec
from skerry.validation.containers import relative_path
from skerry.validation.faults import duplicate, forbidden, invalid, named, one_of, required, unsupported

_MODE_TEXT: Final = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_TYPES: Final = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_TOKEN_S_MIN: Final = 600
_FIELDS: Final = tuple(f"metadata.{name}" for name in ("annotations", "labels", "name", "namespace", "uid"))
_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['[^']+'\]")
_NEEDED: Final = {
    "secret": "secretName",
    "configMap": "name",
    "persistentVolumeClaim": "claimName",
    "hostPath": "path",
}


def validate_volumes(field: str, volumes: list[JsonObject]) -> Iterator[Cause]:
    """The faults of a pod's list of volumes."""
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        here = f"{field}[{index}]"
        name = str_at(volume, "name")
        yield from named(f"{here}.name", name, label_1123_faults)
        if name and name in seen:
            yield duplicate(f"{here}.name", name)
        seen.add(name)
        sources = [source for source in volume if source != "name"]
        if not sources:
            yield required(here, "must specify a volume type")
        for extra in sources[1:]:
            yield forbidden(f"{here}.{extra}", "may not specify more than 1 volume type")
        for source in sources[:1]:
            yield from _validate_source(f"{here}.{source}", source, map_at(volume, source))


def _validate_source(field: str, kind: str, source: JsonObject) -> Iterator[Cause]:
    needed = _NEEDED.get(kind)
    if needed and not str_at(source, needed):
        yield required(f"{field}.{needed}")
    mode = source.get("defaultMode")
    if isinstance(mode, int) and not 0 <= mode <= 0o777:
        yield invalid(f"{field}.defaultMode", mode, _MODE_TEXT)
    if kind == "hostPath":
        if ".." in str_at(source, "path").split("/"):
            yield invalid(f"{field}.path", str_at(source, "path"), "must not contain '..'")
        if str_at(source, "type") not in _HOST_TYPES:
            yield from one_of(f"{field}.type", str_at(source, "type"), _HOST_TYPES)
    if kind in ("secret", "configMap"):
        yield from _validate_items(f"{field}.items", maps_at(source, "items"))
    if kind == "ephemeral":
        template = map_at(source, "volumeClaimTemplate")
        if template:
            yield from validate_claim_spec(f"{field}.volumeClaimTemplate.spec", map_at(template, "spec"))
        else:
            yield required(f"{field}.volumeClaimTemplate")
    size = source.get("sizeLimit")
    if kind == "emptyDir" and isinstance(size, str) and size.startswith("-"):
        yield forbidden(f"{field}.sizeLimit", "SizeLimit field must be a valid resource quantity")
    if kind == "downwardAPI":
        yield from _validate_fields(f"{field}.items", maps_at(source, "items"))
    if kind == "projected":
        yield from _validate_projected(f"{field}.sources", maps_at(source, "sources"))


def _validate_items(field: str, items: list[JsonObject]) -> Iterator[Cause]:
    for index, item in enumerate(items):
        here = f"{field}[{index}]"
        yield from named(f"{here}.key", str_at(item, "key"), config_key_faults)
        if not str_at(item, "path"):
            yield required(f"{here}.path")
        yield from relative_path(f"{here}.path", str_at(item, "path"))
        mode = item.get("mode")
        if isinstance(mode, int) and not 0 <= mode <= 0o777:
            yield invalid(f"{here}.mode", mode, _MODE_TEXT)


def _validate_fields(field: str, items: list[JsonObject]) -> Iterator[Cause]:
    """Of a downward API volume: what can change while a pod runs is not all of what its environment may name."""
    for index, item in enumerate(items):
        here = f"{field}[{index}]"
        if not str_at(item, "path"):
            yield required(f"{here}.path")
        yield from relative_path(f"{here}.path", str_at(item, "path"))
        plain, amount = item.get("fieldRef"), item.get("resourceFieldRef")
        if isinstance(plain, dict) and isinstance(amount, dict):
            yield invalid(here, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif isinstance(plain, dict):
            path = str_at(plain, "fieldPath")
            if not path:
                yield required(f"{here}.fieldRef.fieldPath")
            elif path not in _FIELDS and not _SUBSCRIPT.fullmatch(path):
                yield unsupported(f"{here}.fieldRef.fieldPath", path, _FIELDS)
        elif isinstance(amount, dict):
            yield from validate_resource_field(f"{here}.resourceFieldRef", amount, of_volume=True)
        else:
            yield required(here, "one of fieldRef and resourceFieldRef is required")
        mode = item.get("mode")
        if isinstance(mode, int) and not 0 <= mode <= 0o777:
            yield invalid(f"{here}.mode", mode, _MODE_TEXT)


def _validate_projected(field: str, parts: list[JsonObject]) -> Iterator[Cause]:
    paths: set[str] = set()
    for index, part in enumerate(parts):
        here = f"{field}[{index}]"
        if len(part) > 1:
            yield forbidden(here, "may not specify more than 1 volume type per source")
        for kind in ("secret", "configMap", "downwardAPI"):
            source = part.get(kind)
            if not isinstance(source, dict):
                continue
            items = maps_at(source, "items")
            if kind == "downwardAPI":
                yield from _validate_fields(f"{here}.{kind}.items", items)
            elif not str_at(source, "name"):
                yield required(f"{here}.{kind}.name")
            if kind != "downwardAPI":
                yield from _validate_items(f"{here}.{kind}.items", items)
            yield from _validate_apart(f"{here}.{kind}", [str_at(item, "path") for item in items], paths)
        token = part.get("serviceAccountToken")
        if isinstance(token, dict):
            yield from _validate_token(f"{here}.serviceAccountToken", token)
        bundle = part.get("clusterTrustBundle")
        if isinstance(bundle, dict):
            yield from _validate_apart(f"{here}.clusterTrustBundle", [str_at(bundle, "path")], paths)


def _validate_apart(field: str, paths: list[str], seen: set[str]) -> Iterator[Cause]:
    """Two sources of one volume cannot both be at a path; Kubernetes does not look at that of a token."""
    for path in paths:
        if path and path in seen:
            yield invalid(field, path, "conflicting duplicate paths")
        seen.add(path)


def _validate_token(field: str, token: JsonObject) -> Iterator[Cause]:
    if not str_at(token, "path"):
        yield required(f"{field}.path")
    yield from relative_path(f"{field}.path", str_at(token, "path"))
    seconds = token.get("expirationSeconds")
    if isinstance(seconds, int) and seconds < _TOKEN_S_MIN:
        yield invalid(f"{field}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif isinstance(seconds, int) and seconds > 2**32:
        yield invalid(f"{field}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
