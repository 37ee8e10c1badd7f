"""What the subresources of a pod change of it, and nothing beside: pure.

(k8s.io/kubernetes `pkg/registry/core/pod/strategy.go`: whatever else a writer changed is dropped, not refused.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from skerry.objects.json import Json, JsonObject, int_at, map_at, maps_at, str_at

_RESIZED: Final = ("resources", "resizePolicy")


def with_ephemeral_containers(wanted: JsonObject, old: JsonObject) -> JsonObject:
    """The old pod with the wanted ephemeral containers."""
    spec = dict(map_at(old, "spec"))
    containers: list[Json] = [*maps_at(wanted, "spec", "ephemeralContainers")]
    if containers:
        spec["ephemeralContainers"] = containers
    else:
        spec.pop("ephemeralContainers", None)
    return _with_spec(old, spec)


def with_resources(wanted: JsonObject, old: JsonObject) -> JsonObject:
    """The old pod with the wanted resources of its containers and sidecars; the containers themselves, and their
    order, are those wanted, so that whoever changed them is told."""
    spec = dict(map_at(old, "spec"))
    for name in ("containers", "initContainers"):
        before = {str_at(each, "name"): each for each in maps_at(spec, name)}
        said: list[Json] = [_resized(each, before) for each in maps_at(wanted, "spec", name)]
        if said or before:
            spec[name] = said
    return _with_spec(old, spec)


def _resized(container: JsonObject, before: Mapping[str, JsonObject]) -> JsonObject:
    held = before.get(str_at(container, "name"))
    if held is None:
        return container
    kept = {name: value for name, value in held.items() if name not in _RESIZED}
    return kept | {name: container[name] for name in _RESIZED if name in container}


def _with_spec(old: JsonObject, spec: JsonObject) -> JsonObject:
    """The generation counts its changes."""
    if spec == map_at(old, "spec"):
        return old
    metadata = map_at(old, "metadata")
    return {**old, "spec": spec, "metadata": {**metadata, "generation": int_at(metadata, "generation") + 1}}


Part = Callable[[JsonObject, JsonObject], JsonObject]
PARTS: Final[Mapping[str, Part]] = {"ephemeralcontainers": with_ephemeral_containers, "resize": with_resources}
"""By subresource."""
