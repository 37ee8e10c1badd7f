"""What a member has otherwise than the template says: KubeFed's overrides, a JSON Patch by member. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Final, cast

from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.patches import json_patch

OPERATIONS: Final = ("add", "remove", "replace")
FORBIDDEN: Final = ("/metadata/namespace", "/metadata/name", "/metadata/generateName", "/kind")
"""What makes it the object that it is. Not `/apiVersion`: members may be of different ages (as in KubeFed's own)."""

_NAMED_MAX: Final = 10


class Override(Frozen):
    """One step."""

    op: str
    path: str
    value: Json = None

    def step(self) -> JsonObject:
        """As JSON Patch has it (RFC 6902)."""
        told: JsonObject = {"op": self.op, "path": self.path}
        return told if self.op == "remove" else told | {"value": self.value}


def read_overrides(obj: JsonObject) -> dict[str, tuple[Override, ...]]:
    """By member, in the order given. Raises `InvalidError` that names the field."""
    found: dict[str, tuple[Override, ...]] = {}
    for at, entry in enumerate(maps_at(obj, "spec", "overrides")):
        where = f"spec.overrides[{at}]"
        name = str_at(entry, "clusterName")
        if not name:
            raise InvalidError(f"{where}.clusterName: Required value")
        if name in found:
            raise InvalidError(f'{where}.clusterName: Duplicate value: "{name}"')
        found[name] = _steps(maps_at(entry, "clusterOverrides"), f"{where}.clusterOverrides")
    return found


def _steps(steps: Sequence[JsonObject], where: str) -> tuple[Override, ...]:
    found: dict[str, Override] = {}
    for at, step in enumerate(steps):
        op, path = str_at(step, "op") or "replace", str_at(step, "path")
        if op not in OPERATIONS:
            raise InvalidError(
                f'{where}[{at}].op: Unsupported value: "{op}": supported values: {", ".join(OPERATIONS)}'
            )
        if not path.startswith("/"):
            raise InvalidError(f'{where}[{at}].path: Invalid value: "{path}": a JSON pointer begins with "/"')
        if any(f"{path}/".startswith(f"{one}/") or one.startswith(f"{path}/") for one in FORBIDDEN):
            raise InvalidError(f'{where}[{at}].path: Forbidden: "{path}" may not be overridden')
        if path in found:
            raise InvalidError(f'{where}[{at}].path: Duplicate value: "{path}"')
        found[path] = Override(op=op, path=path, value=step.get("value"))
    return tuple(found.values())


def overridden(obj: JsonObject, overrides: Sequence[Override]) -> JsonObject:
    """The object as the member is to have it. Raises `InvalidError` that names the step which can't be done.

    `replace` of a field that is not there yet adds it, where what it is in is there: KubeFed's library does so, and
    its users' overrides of labels count on it."""
    for override in overrides:
        step = override.step()
        try:
            if override.op == "replace" and _is_absent(obj, override.path):
                step["op"] = "add"
            obj = json_patch(obj, [step])
        except (InvalidError, BadRequestError) as error:
            where = _lacking(obj, override.path)
            raise InvalidError(f"{override.op} {override.path}: the object has no such place: {where}") from error
    return obj


def _lacking(obj: JsonObject, pointer: str) -> str:
    """Where the way of a pointer ends, and what is there instead: for who has to mend it."""
    place = cast("Json", obj)
    gone: list[str] = []
    for step in pointer[1:].split("/"):
        name, at = step.replace("~1", "/").replace("~0", "~"), "/" + "/".join(gone)
        if isinstance(place, list):
            inside = step.isdecimal() and int(step) < len(place)
            if not inside:
                return (
                    f"{at} is a list of {len(place)}, from 0 on, without {step!r} (an item is appended by add and -)"
                )
            place = place[int(step)]
        elif isinstance(place, dict):
            if name not in place:
                return f"{at} has {', '.join(sorted(place)[:_NAMED_MAX]) or 'nothing'}, and no {name}"
            place = place[name]
        else:
            return f"{at} is no object or list"
        gone.append(step)
    return "it can't be done there"


def _is_absent(obj: JsonObject, pointer: str) -> bool:
    """Of a field of an object; of what is in a list RFC 6902 has its way."""
    *steps, last = [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]
    place: Json = reduce(_inner, steps, cast("Json", obj))
    return isinstance(place, dict) and last not in place


def _inner(place: Json, step: str) -> Json:
    if isinstance(place, dict):
        return place.get(step)
    if isinstance(place, list) and step.isdecimal() and int(step) < len(place):
        return place[int(step)]
    return None


def with_override(obj: JsonObject, cluster: str, override: Override) -> JsonObject:
    """The federated object with this step for that member, in place of one for the same path; as a preference for
    replicas writes it."""
    entries = maps_at(obj, "spec", "overrides")
    others: list[Json] = [entry for entry in entries if str_at(entry, "clusterName") != cluster]
    mine = [entry for entry in entries if str_at(entry, "clusterName") == cluster]
    steps: list[Json] = [
        step for entry in mine for step in maps_at(entry, "clusterOverrides") if str_at(step, "path") != override.path
    ]
    entry: JsonObject = {"clusterName": cluster, "clusterOverrides": [*steps, override.step()]}
    spec: JsonObject = {**map_at(obj, "spec"), "overrides": [*others, entry]}
    return {**obj, "spec": spec}
