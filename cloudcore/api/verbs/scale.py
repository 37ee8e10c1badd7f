"""The scale subresource: autoscaling/v1 Scale as a view of an object's replicas."""

from __future__ import annotations

from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.conversion import Version, version_of
from cloudcore.api.ports import ScalePaths
from cloudcore.api.verbs.patch import read_patch
from cloudcore.api.writing import parse, plain_reply
from cloudcore.registry.port import Transform
from cloudcore.registry.refusals import conflict, invalid, not_found
from skerry.errors import BadRequestError, Cause
from skerry.forms.tables.selectors import selector_text
from skerry.objects.json import Json, JsonObject, dig, int_at, map_at, str_at, str_map_at
from skerry.objects.scheme import Kind

SCALE: Final = Kind(
    group="autoscaling", version="v1", kind="Scale", plural="scales", namespaced=True, strategic_patch=True
)
_KEPT: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


async def get_scale(call: Call) -> Reply:
    stored = call.parts.objects.read(call.key)
    if stored is None:
        raise not_found(call.kind, call.target.name)
    version = version_of(call.parts.scheme, call.kind)
    return plain_reply(call, scale_of(version.speak(parse(stored.body)), _paths(call)))


async def put_scale(call: Call) -> Reply:
    body = call.body().value
    if not isinstance(body, dict) or str_at(body, "kind", default="Scale") != "Scale":
        raise BadRequestError("the object provided is unrecognized (must be of type Scale)")
    wanted = body
    return await _write(call, lambda _current: wanted)


async def patch_scale(call: Call) -> Reply:
    return await _write(call, read_patch(call, SCALE).apply)


async def _write(call: Call, change: Transform) -> Reply:
    """`change` makes the wanted Scale of the current one."""
    version = version_of(call.parts.scheme, call.kind)
    paths = _paths(call)
    written = await call.parts.objects.update(
        version.kept, call.key, _transform(call, version, paths, change), call.write_options(), subresource="scale"
    )
    call.warn(*written.warnings)
    return plain_reply(call, scale_of(version.speak(written.obj), paths))


def _transform(call: Call, version: Version, paths: ScalePaths, change: Transform) -> Transform:
    def transform(current: JsonObject) -> JsonObject:
        shown = version.speak(current)
        wanted = change(scale_of(shown, paths))
        _check(call, wanted, current)
        replicas = int_at(wanted, "spec", "replicas")
        return version.keep(_set(shown, paths.replicas, replicas))

    return transform


def _check(call: Call, wanted: JsonObject, current: JsonObject) -> None:
    name = str_at(wanted, "metadata", "name")
    if name and name != call.target.name:
        raise BadRequestError(f"the name of the object ({name}) does not match the name on the URL")
    revision = str_at(wanted, "metadata", "resourceVersion")
    if revision and revision != str_at(current, "metadata", "resourceVersion"):
        raise conflict(call.kind, call.target.name)
    replicas = dig(wanted, "spec", "replicas")
    if replicas is not None and (not isinstance(replicas, int) or isinstance(replicas, bool)):
        raise BadRequestError(
            'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal into Go struct field '
            "ScaleSpec.spec.replicas of type int32"
        )
    if isinstance(replicas, int) and replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        cause = Cause(field="spec.replicas", reason="FieldValueInvalid", message=message)
        raise invalid(SCALE, call.target.name, [cause])


def _paths(call: Call) -> ScalePaths:
    return call.parts.shapes.scale_paths(call.kind)


def scale_of(obj: JsonObject, paths: ScalePaths) -> JsonObject:
    """The Scale of an object."""
    metadata = map_at(obj, "metadata")
    status: JsonObject = {"replicas": int_at(obj, *paths.status_replicas)}
    selector = _selector(obj, paths)
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in _KEPT if name in metadata},
        "spec": {"replicas": int_at(obj, *paths.replicas)},
        "status": status,
    }


def _selector(obj: JsonObject, paths: ScalePaths) -> str:
    if paths.selector:
        return str_at(obj, *paths.selector)
    selector: Json = dig(obj, "spec", "selector")
    if not isinstance(selector, dict) or not selector:
        return ""
    if "matchLabels" in selector or "matchExpressions" in selector:
        return selector_text(selector)
    return selector_text({"matchLabels": dict(str_map_at(obj, "spec", "selector"))})


def _set(obj: JsonObject, path: tuple[str, ...], value: int) -> JsonObject:
    """A copy with `value` at `path`; what is beside the path is shared."""
    first, *rest = path
    if not rest:
        return {**obj, first: value}
    return {**obj, first: _set(map_at(obj, first), tuple(rest), value)}
