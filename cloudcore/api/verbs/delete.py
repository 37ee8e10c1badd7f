"""DELETE of one object or of a collection."""

from __future__ import annotations

from cloudcore.api.call import Call, Reply, Whole, is_dry_run
from cloudcore.api.conversion import version_of
from cloudcore.api.selection import selection_of
from cloudcore.api.writing import encode, list_metadata, list_reply, object_reply
from cloudcore.registry.bodies import body_of
from cloudcore.registry.port import DeleteOptions, Propagation
from skerry.errors import BadRequestError, Cause, InvalidError, NotFoundError
from skerry.forms.paging import revision_in
from skerry.forms.status import success
from skerry.objects.json import Json, JsonObject, dig, str_at, strs_at
from skerry.objects.meta import uid_of


async def delete(call: Call) -> Reply:
    """Status Success when the object is gone, the object when something holds it."""
    options = delete_options(call)
    version = version_of(call.parts.scheme, call.kind)
    written = await call.parts.objects.delete(version.kept, call.key, options)
    call.warn(*written.warnings)
    if not written.deleted:
        return object_reply(call, version, written.obj)
    kind = call.kind
    status = success(name=call.target.name, group=kind.group, plural=kind.plural, uid=uid_of(written.obj))
    form = call.form(tables=True)
    return Whole(body=encode(status, form), media_type=f"application/{form.encoding}")


async def delete_collection(call: Call) -> Reply:
    """The list of what was deleted, each as it was last."""
    options = delete_options(call)
    version = version_of(call.parts.scheme, call.kind)
    selection = selection_of(call)
    cache = call.parts.cache
    items = selection.of(cache.select(call.kind.stored_as, namespace=selection.namespace), cache, version)
    bodies: list[bytes] = []
    for item in items:
        try:
            written = await call.parts.objects.delete(version.kept, item.key, options)
        except NotFoundError:
            # Somebody else deleted it meanwhile, which is what we were asked for.
            continue
        bodies.append(item.body if written.deleted else body_of(written.obj))
        call.warn(*written.warnings)
    return list_reply(call, version, bodies, list_metadata(revision=cache.revision))


def delete_options(call: Call) -> DeleteOptions:
    """DeleteOptions of the body, or else of the query. Raises `BadRequestError`, `InvalidError`."""
    said = _said(call)
    grace = dig(said, "gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise BadRequestError("gracePeriodSeconds is a number of seconds")
    revision = str_at(said, "preconditions", "resourceVersion")
    return DeleteOptions(
        actor=call.actor,
        dry_run=is_dry_run(strs_at(said, "dryRun")) or call.dry_run,
        grace_s=grace,
        propagation=_propagation(said),
        uid=str_at(said, "preconditions", "uid"),
        revision=revision_in(revision) if revision else None,
    )


def _said(call: Call) -> JsonObject:
    if call.raw_body:
        value: Json = call.body().value
        if not isinstance(value, dict):
            raise BadRequestError("DeleteOptions is an object")
        kind = str_at(value, "kind")
        if kind not in ("", "DeleteOptions"):
            raise BadRequestError(f'expect an object of kind "DeleteOptions", got "{kind}"')
        return value
    said: JsonObject = {}
    for name in ("propagationPolicy", "orphanDependents"):
        if value := call.query.text(name):
            said[name] = value if name == "propagationPolicy" else call.query.flag(name)
    if grace := call.query.text("gracePeriodSeconds"):
        if not grace.lstrip("-").isdecimal():
            raise BadRequestError(f'strconv.ParseInt: parsing "{grace}": invalid syntax')
        said["gracePeriodSeconds"] = int(grace)
    return said


def _propagation(said: JsonObject) -> Propagation:
    policy, orphan = str_at(said, "propagationPolicy"), dig(said, "orphanDependents")
    if policy and orphan is not None:
        raise _invalid(f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set')
    match policy:
        case "Background" | "Foreground" | "Orphan":
            return policy
        case "":
            if orphan is None:
                return ""
            return "Orphan" if orphan is True else "Background"
        case _:
            raise _invalid(
                f'Unsupported value: "{policy}": supported values: "Background", "Foreground", "Orphan", "nil"'
            )


def _invalid(message: str) -> InvalidError:
    return InvalidError(
        f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {message}',
        [Cause(field="propagationPolicy", reason="FieldValueInvalid", message=message)],
    )
