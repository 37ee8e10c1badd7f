"""What a node group has otherwise than an EdgeApplication's manifest says: KubeEdge's overriders, in its order.

Resources are merged by name, and a zero says nothing, as in KubeEdge 1.22. Images without a place are those of
containers, and not of those that begin first.

Replicas, image parts, environment, command, arguments and resources are KubeEdge's (`overriders` of v1alpha1);
labels, annotations and a JSON Patch (`labelsOverriders`, `annotationsOverriders`, `plaintext`, named as Karmada has
them, where KubeEdge took the others from) are optional fields of ours. KubeEdge overrides Deployments alone; here it
is whatever holds a pod. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.json import Json, JsonObject, clone, list_at, map_at, maps_at, str_at, str_map_at, strs_at
from skerry.objects.patches import json_patch
from skerry.objects.quantity import parse_quantity

_POD_AT: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
_IN_TEMPLATE: Final = ("spec", "template", "spec")
_SCALED: Final = ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController", "Job")
_AMOUNTS: Final = ("requests", "limits")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}", re.ASCII)
"""Both as in distribution's reference grammar."""
_REPLICAS: Final[Mapping[str, str]] = {"Job": "parallelism"}


class Image(Frozen):
    """An image by its parts, as an overrider counts them."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def text(self) -> str:
        """As a container has it."""
        name = f"{self.registry}/{self.repository}" if self.registry else self.repository
        if self.tag:
            name += f":{self.tag}"
        return f"{name}@{self.digest}" if self.digest else name


def read_image(text: str) -> Image:
    """The first part is a registry where it could be a host (distribution's reference grammar)."""
    name, _, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    registry, repository = (first, rest) if slash and _is_host(first) else ("", name)
    head, colon, tag = repository.rpartition(":")
    if colon and "/" not in tag:
        return Image(registry=registry, repository=head, tag=tag, digest=digest)
    return Image(registry=registry, repository=repository, digest=digest)


def _is_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost"


def overridden(manifest: JsonObject, overriders: JsonObject) -> JsonObject:
    """The manifest as the group is to have it. Raises `InvalidError` that names the overrider which can't be done."""
    obj = clone(manifest)
    kind = str_at(obj, "kind")
    if overriders.get("replicas") is not None and kind in _SCALED:
        _map(obj, "spec")[_REPLICAS.get(kind, "replicas")] = overriders["replicas"]
    for at, told in _told(overriders, "imageOverriders"):
        obj = _image(obj, told, at)
    for field, change in _CHANGES.items():
        for at, told in _told(overriders, field):
            for container in _containers(obj, str_at(told, "containerName")):
                change(container, told, at)
    for field, name in (("labelsOverriders", "labels"), ("annotationsOverriders", "annotations")):
        for at, told in _told(overriders, field):
            metadata = _map(obj, "metadata")
            metadata[name] = _changed_map(str_map_at(metadata, name), told, at)
    for at, step in _told(overriders, "plaintext"):
        op = step.get("operator", step.get("op"))
        try:
            obj = json_patch(obj, [{**step, "op": op}])
        except (InvalidError, BadRequestError) as error:
            raise InvalidError(f"{at}: {op} {str_at(step, 'path')}: the manifest has no such place") from error
    return obj


def _told(overriders: JsonObject, field: str) -> Iterator[tuple[str, JsonObject]]:
    for number, told in enumerate(maps_at(overriders, field)):
        yield f"overriders.{field}[{number}]", told


def _map(obj: JsonObject, name: str) -> JsonObject:
    found = obj.setdefault(name, {})
    if not isinstance(found, dict):
        raise InvalidError(f"{name}: an object is expected")
    return found


def pod_spec_place(obj: JsonObject) -> tuple[str, ...]:
    """Where the spec of the pods is that it makes, or is; () where there is none."""
    place = _POD_AT.get(str_at(obj, "kind"), _IN_TEMPLATE)
    return place if map_at(obj, *place) else ()


def _containers(obj: JsonObject, name: str) -> Iterator[JsonObject]:
    """Of the pod that it holds: the one of that name, which is one of those that begin first as well."""
    place = pod_spec_place(obj)
    if not place:
        return
    for field in ("initContainers", "containers"):
        for container in maps_at(obj, *place, field):
            if str_at(container, "name") == name:
                yield container


# --- images ---


def _image(obj: JsonObject, told: JsonObject, at: str) -> JsonObject:
    path = str_at(told, "predicate", "path")
    if not path:
        for container in maps_at(obj, *pod_spec_place(obj), "containers"):
            container["image"] = _changed_image(str_at(container, "image"), told, at)
        return obj
    try:
        # Whoever names a place means a text that is there.
        before = _text_at(obj, path)
        return json_patch(obj, [{"op": "replace", "path": path, "value": _changed_image(before, told, at)}])
    except (InvalidError, BadRequestError) as error:
        raise InvalidError(f"{at}.predicate.path: {path}: the manifest has no text there") from error


def _text_at(obj: JsonObject, pointer: str) -> str:
    found: Json = obj
    for part in pointer.removeprefix("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name)
        elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            found = None
    if not isinstance(found, str):
        raise InvalidError("no text")
    return found


def _changed_image(text: str, told: JsonObject, at: str) -> str:
    image = read_image(text)
    value, operator = str_at(told, "value"), _operator(told, at, ("add", "remove", "replace"))
    component = str_at(told, "component")

    def part(before: str) -> str:
        return {"add": before + value, "replace": value, "remove": ""}[operator]

    match component:
        case "Registry":
            return replace(image, registry=part(image.registry)).text
        case "Repository":
            if not (repository := part(image.repository)):
                raise InvalidError(f"{at}: the image {text} would have no repository")
            return replace(image, repository=repository).text
        case "Tag":
            return _tagged(image, part(image.tag or image.digest), at).text
        case _:
            raise InvalidError(f'{at}.component: Unsupported value: "{component}": Registry, Repository or Tag')


def _tagged(image: Image, text: str, at: str) -> Image:
    """Of a tag and a digest the image has the one that the text is; without a text neither."""
    if text and not _TAG.fullmatch(text) and not _DIGEST.fullmatch(text):
        raise InvalidError(f'{at}.value: Invalid value: "{text}": is neither a tag nor a digest')
    is_digest = _DIGEST.fullmatch(text) is not None
    return replace(image, tag="" if is_digest else text, digest=text if is_digest else "")


def _operator(told: JsonObject, at: str, allowed: Sequence[str]) -> str:
    operator = str_at(told, "operator")
    if operator not in allowed:
        raise InvalidError(f'{at}.operator: Unsupported value: "{operator}": {", ".join(allowed)}')
    return operator


# --- of a container ---


def _env(container: JsonObject, told: JsonObject, at: str) -> None:
    operator = _operator(told, at, ("add", "remove", "replace"))
    values = {str_at(value, "name"): value for value in maps_at(told, "value")}
    before = maps_at(container, "env")
    found: list[Json]
    match operator:
        case "remove":
            found = [each for each in before if str_at(each, "name") not in values]
        case "replace":
            # In its place; what is not there yet comes after the others, as in KubeEdge.
            kept = [values.pop(str_at(each, "name"), each) for each in before]
            found = [*kept, *values.values()]
        case _:
            # The last of a name is what counts, and a name stands once.
            found = [each for each in before if str_at(each, "name") not in values]
            found += values.values()
    container["env"] = found


def _words(field: str) -> Callable[[JsonObject, JsonObject, str], None]:
    def change(container: JsonObject, told: JsonObject, at: str) -> None:
        values = strs_at(told, "value")
        before = list_at(container, field)
        if _operator(told, at, ("add", "remove")) == "add":
            container[field] = [*before, *values]
        else:
            container[field] = [word for word in before if word not in values]

    return change


def _resources(container: JsonObject, told: JsonObject, at: str) -> None:
    if "value" not in told:
        raise InvalidError(f"{at}.value: Required value")
    before, values = map_at(container, "resources"), map_at(told, "value")
    found: JsonObject = {**before, **{name: value for name, value in values.items() if name not in _AMOUNTS}}
    for field in _AMOUNTS:
        amounts = {name: value for name, value in map_at(values, field).items() if not _is_zero(value)}
        if amounts:
            found[field] = {**map_at(before, field), **amounts}
    container["resources"] = found


def _is_zero(value: Json) -> bool:
    try:
        return parse_quantity(str(value)) == parse_quantity("0")
    except InvalidError:
        return False


_CHANGES: Final[Mapping[str, Callable[[JsonObject, JsonObject, str], None]]] = {
    "envOverriders": _env,
    "commandOverriders": _words("command"),
    "argsOverriders": _words("args"),
    "resourcesOverriders": _resources,
}


def _changed_map(before: Mapping[str, str], told: JsonObject, at: str) -> JsonObject:
    operator = _operator(told, at, ("add", "remove", "replace"))
    values = str_map_at(told, "value")
    found: dict[str, Json] = dict(before)
    for name, value in values.items():
        if operator == "remove":
            found.pop(name, None)
        elif operator == "add" or name in found:
            found[name] = value
    return found
