"""Objects to bytes and back, in the one form the store keeps.

Pure: keeps no data. The store splices the revision into the metadata of a body (`with_revision`), so a body
begins with its metadata and carries no `resourceVersion` of its own.
"""

from __future__ import annotations

import orjson

from skerry.errors import BadRequestError
from skerry.objects.json import Json, JsonObject, map_at
from skerry.objects.meta import Revision


def body_of(obj: JsonObject) -> bytes:
    """The object as a body for `Put`. Raises `BadRequestError` for text that UTF-8 can't express."""
    metadata = {name: value for name, value in map_at(obj, "metadata").items() if name != "resourceVersion"}
    rest = {name: value for name, value in obj.items() if name != "metadata"}
    try:
        return orjson.dumps({"metadata": metadata, **rest})
    except TypeError as error:
        raise BadRequestError(f"the object can't be written as JSON: {error}") from error


def object_of(body: bytes) -> JsonObject:
    """A stored body as an object of the caller's own."""
    value: Json = orjson.loads(body)
    assert isinstance(value, dict), "stored objects are JSON objects"
    return value


def copy_of(obj: JsonObject) -> JsonObject:
    """A deep copy, for somebody who may change it."""
    value: Json = orjson.loads(orjson.dumps(obj))
    assert isinstance(value, dict)
    return value


def stamped(obj: JsonObject, revision: Revision) -> JsonObject:
    """The object as it is once stored at `revision`."""
    return {**obj, "metadata": {**map_at(obj, "metadata"), "resourceVersion": str(revision)}}


def same(one: Json, other: Json) -> bool:
    """Equal as JSON: unlike Python's ==, true is not 1 and 1 is not 1.0; the order of fields means nothing."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)
