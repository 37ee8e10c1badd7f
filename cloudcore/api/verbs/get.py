"""GET of one object."""

from __future__ import annotations

from cloudcore.api.call import Call, Reply
from cloudcore.api.conversion import version_of
from cloudcore.api.node_leases import bodies_of
from cloudcore.api.verbs.lists import CATCH_UP_S, arrived
from cloudcore.api.writing import stored_reply
from cloudcore.registry.refusals import not_found
from skerry.forms.paging import revision_in
from skerry.forms.status import TooNewError


async def get(call: Call) -> Reply:
    """The object as stored. Raises `NotFoundError`, `TooNewError` for a resourceVersion not yet reached."""
    asked = call.query.text("resourceVersion")
    if asked not in ("", "0"):
        revision = revision_in(asked)
        if not await arrived(call.parts.cache, revision):
            raise TooNewError(wanted=revision, current=call.parts.cache.revision)
    if not asked:
        await call.parts.cache.catch_up(timeout_s=CATCH_UP_S)
    stored = call.parts.objects.read(call.key)
    if stored is None:
        raise not_found(call.kind, call.target.name)
    (body,) = bodies_of([stored], call.parts.cache)
    return stored_reply(call, version_of(call.parts.scheme, call.kind), body)
