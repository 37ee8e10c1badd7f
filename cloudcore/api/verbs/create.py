"""POST of an object into a collection."""

from __future__ import annotations

from cloudcore.api.call import Call, Reply
from cloudcore.api.conversion import version_of
from cloudcore.api.reading import read_object
from cloudcore.api.writing import object_reply, plain_reply


async def create(call: Call) -> Reply:
    """201 and the object as stored."""
    options = call.write_options()
    read = read_object(call.body(), call.kind, call.parts.shapes, options.field_validation)
    call.warn(*read.warnings)
    version = version_of(call.parts.scheme, call.kind)
    call.form()
    written = await call.parts.objects.create(version.kept, call.target.namespace, version.keep(read.obj), options)
    call.warn(*written.warnings)
    return object_reply(call, version, written.obj, code=201)


async def review(call: Call) -> Reply:
    """POST of a question: answered, never stored."""
    call.form(tables=False)
    options = call.write_options()
    read = read_object(call.body(), call.kind, call.parts.shapes, options.field_validation)
    call.warn(*read.warnings)
    answer = await call.parts.reviews.answer(call.kind, call.target.namespace, read.obj, call.actor)
    return plain_reply(call, answer, code=201)
