"""PATCH: three ways to say a change, applied to what is there when it is written.

The patch is applied again when somebody else wrote in between, unless it names a resourceVersion: then its writer
means one state, and gets 409. Server-side apply answers 415, by which clients know that it is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudcore.api.call import Call, Reply
from cloudcore.api.conversion import Version, version_of
from cloudcore.api.reading import Body, check_writable, complaints, media_type, parse_json
from cloudcore.api.verbs.update import part_of
from cloudcore.api.writing import object_reply
from cloudcore.registry.port import FieldValidation, Subresource, WriteOptions
from skerry.errors import BadRequestError
from skerry.forms.status import UnsupportedMediaTypeError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject
from skerry.objects.patches import MergeRules, json_patch, merge_patch, strategic_merge_patch
from skerry.objects.scheme import Kind

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


async def patch(call: Call) -> Reply:
    return await patched(call, "")


async def patch_status(call: Call) -> Reply:
    return await patched(call, "status")


async def approve(call: Call) -> Reply:
    return await patched(call, "approval")


async def patch_part(call: Call) -> Reply:
    """Pods alone: their ephemeral containers, or the resources of their containers."""
    return await patched(call, part_of(call))


class Patch(Frozen):
    """A parsed patch."""

    media: str
    value: Json
    duplicates: tuple[str, ...]
    rules: MergeRules

    def apply(self, obj: JsonObject) -> JsonObject:
        """Raises `InvalidError`, `BadRequestError` when the patch can't be carried out."""
        if self.media == JSON_PATCH:
            return json_patch(obj, self.value)
        if not isinstance(self.value, dict):
            raise BadRequestError("error decoding patch: a merge patch is an object")
        if self.media == MERGE_PATCH:
            return merge_patch(obj, self.value)
        return strategic_merge_patch(obj, self.value, self.rules)


def read_patch(call: Call, kind: Kind) -> Patch:
    """The patch in a request's body, to be applied to a `kind`. Raises `UnsupportedMediaTypeError`."""
    media = media_type(call.content_type)
    known = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH)
    if media not in (known if kind.strategic_patch else known[:2]):
        raise UnsupportedMediaTypeError("415: Unsupported Media Type")
    try:
        body: Body = parse_json(call.raw_body)
    except BadRequestError as error:
        raise BadRequestError(f"error decoding patch: {error}") from error
    return Patch(
        media=media, value=body.value, duplicates=body.duplicates, rules=call.parts.shapes.merge_rules(call.kind)
    )


@dataclass(slots=True, kw_only=True)
class _Transform:
    """The patch as the registry calls it, keeping what the last application had to complain of."""

    call: Call
    version: Version
    patch: Patch
    validation: FieldValidation
    warnings: tuple[str, ...] = field(default=())

    def __call__(self, current: JsonObject) -> JsonObject:
        kind = self.call.kind
        changed = self.patch.apply(self.version.speak(current))
        check_writable(changed)
        decoded = self.call.parts.shapes.decode(kind, changed)
        self.warnings = complaints(
            kind, unknown=decoded.unknown, duplicates=self.patch.duplicates, validation=self.validation
        )
        return self.version.keep({**decoded.obj, "apiVersion": kind.api_version, "kind": kind.kind})


async def patched(call: Call, subresource: Subresource) -> Reply:
    options: WriteOptions = call.write_options()
    version = version_of(call.parts.scheme, call.kind)
    transform = _Transform(
        call=call, version=version, patch=read_patch(call, call.kind), validation=options.field_validation
    )
    call.form()
    written = await call.parts.objects.update(version.kept, call.key, transform, options, subresource=subresource)
    call.warn(*transform.warnings, *written.warnings)
    return object_reply(call, version, written.obj)
