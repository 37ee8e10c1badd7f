"""What a pod's volumes may say (`pkg/apis/core/validation`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.names import config_key_faults, label_1123_faults
from skerry.validation.claims import validate_claim_spec
from skerry.validation.containers import relative_path
from skerry.validation.faults import duplicate, forbidden, invalid, named, one_of, required

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


def _validate_projected(field: str, parts: list[JsonObject]) -> Iterator[Cause]:
    for index, part in enumerate(parts):
        here = f"{field}[{index}]"
        if len(part) > 1:
            yield forbidden(here, "may not specify more than 1 volume type per source")
        for kind in ("secret", "configMap"):
            source = part.get(kind)
            if isinstance(source, dict):
                if not str_at(source, "name"):
                    yield required(f"{here}.{kind}.name")
                yield from _validate_items(f"{here}.{kind}.items", maps_at(source, "items"))
        token = part.get("serviceAccountToken")
        if isinstance(token, dict) and not str_at(token, "path"):
            yield required(f"{here}.serviceAccountToken.path")
