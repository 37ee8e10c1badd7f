"""What `apply` sends: the difference between what was applied last, what is wanted, and what is there.

Client-side apply as kubectl does it: the wanted manifest is kept in an annotation, so that a field that was in
the last manifest and is not in this one is removed, while fields that others set are left alone. Pure.

Source: the Kubernetes documentation's page on declarative object configuration ("How apply calculates
differences and merges changes").
"""

from __future__ import annotations

import json
from typing import Final

from skerry.objects.device_manifests import LAST_APPLIED
from skerry.objects.json import Json, JsonObject, clone, ensure_map, str_at

_MERGE_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "ports": ("containerPort", "port"),
    "secrets": ("name",),
    "taints": ("key",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
}
"""Lists that the API merges by key (x-kubernetes-patch-merge-key in the published OpenAPI)."""


def annotated(manifest: JsonObject) -> JsonObject:
    """The manifest, remembering itself."""
    bare = clone(manifest)
    annotations = ensure_map(bare, "metadata", "annotations")
    annotations.pop(LAST_APPLIED, None)
    if not annotations:
        del ensure_map(bare, "metadata")["annotations"]
    result = clone(bare)
    text = json.dumps(bare, separators=(",", ":"), sort_keys=True) + "\n"
    ensure_map(result, "metadata", "annotations")[LAST_APPLIED] = text
    return result


def last_applied(current: JsonObject) -> JsonObject:
    """What was applied last; empty for an object that was made some other way."""
    text = str_at(current, "metadata", "annotations", LAST_APPLIED)
    try:
        value: Json = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def patch_for(current: JsonObject, wanted: JsonObject, *, strategic: bool) -> JsonObject:
    """The patch that takes `current` to `wanted` (already `annotated`): {} when there is nothing to do."""
    patch = _difference(current, wanted, strategic=strategic)
    _merge(patch, _deletions(last_applied(current), wanted, current, strategic=strategic))
    patch.pop("apiVersion", None)
    patch.pop("kind", None)
    return patch


def _difference(current: JsonObject, wanted: JsonObject, *, strategic: bool) -> JsonObject:
    """Fields of `wanted` that `current` lacks or has otherwise."""
    patch: JsonObject = {}
    for name, value in wanted.items():
        there = current.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            inner = _difference(there, value, strategic=strategic)
            if inner:
                patch[name] = inner
        elif isinstance(value, list) and isinstance(there, list):
            key = _merge_key(name, value) if strategic else None
            if key is None:
                if value != there:
                    patch[name] = value
            elif _list_differs(there, value, key):
                patch[name] = value
        elif name not in current or value != there:
            patch[name] = value
    return patch


def _list_differs(there: list[Json], wanted: list[Json], key: str) -> bool:
    by_key = {str(item.get(key)): item for item in there if isinstance(item, dict)}
    for item in wanted:
        assert isinstance(item, dict), "lists with a merge key hold objects"
        match = by_key.get(str(item.get(key)))
        if match is None or _difference(match, item, strategic=True):
            return True
    return False


def _deletions(last: JsonObject, wanted: JsonObject, current: JsonObject, *, strategic: bool) -> JsonObject:
    """Nulls for what the last manifest said and this one does not, where it is still there."""
    patch: JsonObject = {}
    for name, value in last.items():
        if name not in current:
            continue
        now = wanted.get(name)
        if name not in wanted:
            patch[name] = None
        elif isinstance(value, dict) and isinstance(now, dict):
            inner = _deletions(value, now, _as_map(current[name]), strategic=strategic)
            if inner:
                patch[name] = inner
        elif strategic and isinstance(value, list) and isinstance(now, list):
            items = _deleted_items(name, value, now, current[name])
            if items:
                patch[name] = items
    return patch


def _deleted_items(name: str, last: list[Json], wanted: list[Json], current: Json) -> list[Json]:
    key = _merge_key(name, last)
    if key is None or not isinstance(current, list):
        return []
    kept = {str(item.get(key)): item for item in wanted if isinstance(item, dict)}
    there = {str(item.get(key)): item for item in current if isinstance(item, dict)}
    items: list[Json] = []
    for item in last:
        if not isinstance(item, dict) or str(item.get(key)) not in there:
            continue
        identity = str(item.get(key))
        if identity not in kept:
            items.append({key: item.get(key), "$patch": "delete"})
            continue
        inner = _deletions(item, kept[identity], there[identity], strategic=True)
        if inner:
            items.append({key: item.get(key), **inner})
    return items


def _merge(into: JsonObject, extra: JsonObject) -> None:
    for name, value in extra.items():
        there = into.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            _merge(there, value)
        elif isinstance(there, list) and isinstance(value, list):
            _merge_items(name, there, value)
        else:
            into[name] = value


def _merge_items(name: str, into: list[Json], extra: list[Json]) -> None:
    key = _merge_key(name, [*into, *extra])
    assert key is not None, "only keyed lists get item deletions"
    for item in extra:
        assert isinstance(item, dict)
        match = next((i for i in into if isinstance(i, dict) and i.get(key) == item.get(key)), None)
        if match is None:
            into.append(item)
        else:
            _merge(match, item)


def _merge_key(name: str, items: list[Json]) -> str | None:
    """The merge key under which all items are told apart, if this list has one."""
    for key in _MERGE_KEYS.get(name, ()):
        if items and all(isinstance(item, dict) and key in item for item in items):
            return key
    return None


def _as_map(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
