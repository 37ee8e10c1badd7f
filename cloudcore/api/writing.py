"""Objects and lists in the form the client asked for: JSON as stored, YAML, Table, partial metadata.

Stored bytes are served as they are wherever the form allows it; everything else parses. Pure but for `now`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import orjson

from cloudcore.api.call import Call, Whole
from cloudcore.api.conversion import Version
from skerry.forms.negotiation import MEDIA_TYPES, Form
from skerry.forms.tables import printers
from skerry.forms.tables.table import IncludeObject, include_object, partial_metadata, table
from skerry.objects.json import Json, JsonObject, dig


def encode(obj: JsonObject, form: Form) -> bytes:
    """One document, with the newline that Go's encoder ends it with."""
    if form.encoding == "yaml":
        # A heavy import for the few who want YAML.
        import yaml

        return yaml.dump(obj, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True).encode()
    options = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if form.pretty else 0)
    return orjson.dumps(obj, option=options)


def parse(body: bytes) -> JsonObject:
    """Bytes that the store keeps."""
    value = cast(Json, orjson.loads(body))
    assert isinstance(value, dict), "stored objects are JSON objects"
    return value


def plain_reply(call: Call, obj: JsonObject, *, code: int = 200) -> Whole:
    """An object that has no tabular form: a Status, a review, a Scale."""
    form = call.form(tables=False)
    return Whole(body=encode(obj, form), media_type=MEDIA_TYPES[form.encoding], code=code)


def object_reply(call: Call, version: Version, obj: JsonObject, *, code: int = 200) -> Whole:
    """One object of the call's kind, as kept."""
    form = call.form()
    shown = version.speak(obj)
    match form.transform:
        case "":
            pass
        case "Table":
            shown = as_table(call, form, [shown], dig(obj, "metadata", "resourceVersion"))
        case "PartialObjectMetadata" | "PartialObjectMetadataList":
            shown = partial(shown, form)
    return Whole(body=encode(shown, form), media_type=MEDIA_TYPES[form.encoding], code=code)


def stored_reply(call: Call, version: Version, body: bytes) -> Whole:
    """One object, from its stored bytes."""
    form = call.form()
    if form.transform == "" and form.encoding == "json" and not form.pretty:
        return Whole(body=version.speak_bytes(body) + b"\n")
    return object_reply(call, version, parse(body))


def list_metadata(*, revision: int, token: str = "", remaining: int | None = None) -> JsonObject:
    """metav1.ListMeta."""
    metadata: JsonObject = {"resourceVersion": str(revision)}
    if token:
        metadata["continue"] = token
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
    return metadata


def list_reply(call: Call, version: Version, bodies: Sequence[bytes], metadata: JsonObject) -> Whole:
    """A list, from the stored bytes of its items."""
    form = call.form()
    kind = call.kind
    match form.transform:
        case "" if form.encoding == "json" and not form.pretty:
            head = orjson.dumps({"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": metadata})
            items = bodies if version.same else [version.speak_bytes(body) for body in bodies]
            return Whole(body=b'%s,"items":[%s]}\n' % (head[:-1], b",".join(items)))
        case "":
            shown: JsonObject = {
                "kind": kind.list_kind,
                "apiVersion": kind.api_version,
                "metadata": metadata,
                "items": [version.speak(parse(body)) for body in bodies],
            }
        case "Table":
            shown = as_table(call, form, (version.speak(parse(body)) for body in bodies), None)
            shown["metadata"] = metadata
        case "PartialObjectMetadata" | "PartialObjectMetadataList":
            shown = {
                "kind": "PartialObjectMetadataList",
                "apiVersion": f"meta.k8s.io/{form.version}",
                "metadata": metadata,
                "items": [partial(parse(body), form) for body in bodies],
            }
    return Whole(body=encode(shown, form), media_type=MEDIA_TYPES[form.encoding])


def partial(obj: JsonObject, form: Form) -> JsonObject:
    """metav1.PartialObjectMetadata."""
    return partial_metadata(obj, version=form.version)


def as_table(
    call: Call, form: Form, objects: Iterable[JsonObject], revision: Json, *, headed: bool = True
) -> JsonObject:
    """metav1.Table of some objects. `headed` False: without column definitions, as in all but a watch's first event.

    Raises `BadRequestError` for an unknown `includeObject`.
    """
    include: IncludeObject = include_object(call.query.text("includeObject"))
    printer = printers.printer_of(call.kind, call.parts.shapes.columns(call.kind))
    shown = table(
        printer, objects, now_ms=call.parts.clock.wall_ms(), include=include, version=form.version, headed=headed
    )
    shown["metadata"] = {} if revision is None else {"resourceVersion": revision}
    return shown
