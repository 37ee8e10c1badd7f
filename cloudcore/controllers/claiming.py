"""Finding what an owner has and might have, through the watch cache's indexes. Keeps nothing."""

from __future__ import annotations

from collections.abc import Iterable

from cloudcore.controllers.ownership import Claims, Fits, adopted_by, claim, released_by, selector_of, selects
from cloudcore.runtime.informer import BY_OWNER, Seen
from cloudcore.runtime.manager import Tools
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, controller_of, name_of, namespace_of, uid_of
from skerry.objects.scheme import Kind


def owned(tools: Tools, owner: JsonObject, kind: Kind, *, fits: Fits | None = None) -> list[JsonObject]:
    """Objects of a kind that the owner controls, whose labels its selector matches, and that fit it otherwise."""
    cache = tools.cache
    found = [item for item in cache.indexed(BY_OWNER, uid_of(owner)) if item.key.resource == kind.stored_as]
    return list(_claims(owner, [cache.obj(item) for item in found], fits).mine)


def claimants(tools: Tools, kind: Kind, change: Seen) -> Iterable[Key]:
    """Owners of a kind that control the object that changed, or controlled it, or might adopt it."""
    namespace = change.key.namespace
    for obj in (change.before, change.after):
        controller = None if obj is None else controller_of(obj)
        if controller is not None and controller.kind == kind.kind:
            yield Key(kind.stored_as, namespace, controller.name)
    if change.after is not None and controller_of(change.after) is None:
        for stored in tools.cache.select(kind.stored_as, namespace=namespace):
            if selects(tools.cache.obj(stored), change.after):
                yield stored.key


async def claim_all(
    tools: Tools, owner: JsonObject, kind: Kind, *, finalizer: str = "", fits: Fits | None = None
) -> None:
    """Adopt what matches and nobody controls; release what the owner controls and no longer matches. The owner keeps
    what is its own by that finalizer, if any: it comes with the one and goes with the other. What does not fit,
    matches nobody.

    Raises what writing raises: a refusal leaves the rest for the next pass.
    """
    cache = tools.cache
    selector = selector_of(owner)
    uid = uid_of(owner)
    candidates: list[JsonObject] = []
    for stored in cache.select(kind.stored_as, namespace=namespace_of(owner)):
        facts = cache.facts(stored)
        if facts.controller_uid == uid and fits is None and selector.matches(facts.labels):
            continue  # its own, and to stay so: most are, and need no reading
        if uid in facts.owner_uids or (not facts.owner_uids and selector.matches(facts.labels)):
            candidates.append(cache.obj(stored))
    claims = _claims(owner, candidates, fits)
    for each in claims.adopt:
        adopted = adopted_by(owner, uid_of(each), finalizer=finalizer)
        await tools.objects.update(kind, kind.key(namespace_of(each), name_of(each)), adopted)
    for each in claims.release:
        await tools.objects.update(
            kind, kind.key(namespace_of(each), name_of(each)), released_by(owner, finalizer=finalizer)
        )


def _claims(owner: JsonObject, candidates: list[JsonObject], fits: Fits | None) -> Claims:
    return claim(owner, selector_of(owner), candidates, fits)
