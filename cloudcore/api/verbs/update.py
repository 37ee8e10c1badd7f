"""PUT of an object, or of its status, finalizers or approval."""

from __future__ import annotations

from cloudcore.api.call import Call, Reply
from cloudcore.api.conversion import version_of
from cloudcore.api.reading import read_object
from cloudcore.api.writing import object_reply
from cloudcore.registry.port import Subresource


async def update(call: Call) -> Reply:
    """200 and the object as stored; 201 where the kind may be created by an update, and was."""
    return await put(call, "")


async def update_status(call: Call) -> Reply:
    return await put(call, "status")


async def finalize(call: Call) -> Reply:
    """Namespaces alone: `spec.finalizers`."""
    return await put(call, "finalize")


async def approve(call: Call) -> Reply:
    """CertificateSigningRequests alone: `status.conditions`."""
    return await put(call, "approval")


async def update_part(call: Call) -> Reply:
    """Pods alone: their ephemeral containers, or the resources of their containers."""
    return await put(call, part_of(call))


def part_of(call: Call) -> Subresource:
    """Which of the two."""
    return "resize" if call.target.subresource == "resize" else "ephemeralcontainers"


async def put(call: Call, subresource: Subresource) -> Reply:
    options = call.write_options()
    read = read_object(call.body(), call.kind, call.parts.shapes, options.field_validation)
    call.warn(*read.warnings)
    version = version_of(call.parts.scheme, call.kind)
    call.form()
    wanted = version.keep(read.obj)
    written = await call.parts.objects.update(
        version.kept,
        call.key,
        lambda _current: wanted,
        options,
        subresource=subresource,
        create_absent=subresource == "",
    )
    call.warn(*written.warnings)
    return object_reply(call, version, written.obj, code=201 if written.created else 200)
