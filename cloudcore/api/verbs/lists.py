"""GET of a collection: from the cache for what there is now, from the store for a page of the past."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from cloudcore.api.call import Call, Reply
from cloudcore.api.conversion import Version, version_of
from cloudcore.api.node_leases import bodies_of
from cloudcore.api.selection import Selection, selection_of
from cloudcore.api.writing import list_metadata, list_reply
from cloudcore.store.cache import WatchCache
from cloudcore.store.port import Stored
from skerry.errors import GoneError, UnavailableError
from skerry.forms.paging import INCONSISTENT, ListOptions, Token, encode_token, list_options
from skerry.forms.status import InconsistentListError, TooNewError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision

CATCH_UP_S: Final = 3.0
"""How long a request may wait for a revision that is not here yet (apiserver: 3 s)."""
_SCAN: Final = 2000
"""Objects of the past read at a time when a selector passes over many."""
_EXPIRED: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


class Listed(Frozen):
    """One page."""

    items: Sequence[Stored]
    revision: Revision
    after: tuple[str, str] | None = None
    """Where the next page goes on; None: this is the last."""
    remaining: int | None = None
    """How many follow, where that is known for nothing."""

    @property
    def metadata(self) -> JsonObject:
        token = "" if self.after is None else encode_token(Token(revision=self.revision, after=self.after))
        return list_metadata(revision=self.revision, token=token, remaining=self.remaining)


async def list_(call: Call) -> Reply:
    """A list or a page of it. Raises `GoneError`, `TooNewError` and what the parameters deserve."""
    version = version_of(call.parts.scheme, call.kind)
    listed = await listed_for(call, version)
    return list_reply(call, version, bodies_of(listed.items, call.parts.cache), listed.metadata)


async def listed_for(call: Call, version: Version) -> Listed:
    query = call.query
    options = list_options(
        version=query.text("resourceVersion"),
        match=query.text("resourceVersionMatch"),
        limit=query.text("limit"),
        token=query.text("continue"),
    )
    selection = selection_of(call)
    cache = call.parts.cache
    if options.match != "now" and not await arrived(cache, options.revision):
        raise TooNewError(wanted=options.revision, current=cache.revision)
    if options.match == "now" and query.text("resourceVersion") != "0":
        await cache.catch_up(timeout_s=CATCH_UP_S)
    if options.match == "exact":
        return await _past(call, version, selection, options.revision, options)
    if options.token is not None and options.token.revision != INCONSISTENT:
        try:
            return await _past(call, version, selection, options.token.revision, options)
        except GoneError as error:
            token = Token(revision=INCONSISTENT, after=options.token.after)
            raise InconsistentListError(_EXPIRED, compacted=error.compacted, token=encode_token(token)) from error
    return _now(call, version, selection, options)


async def arrived(cache: WatchCache, revision: Revision) -> bool:
    """Wait for a revision, not for long; whether it is here."""
    if revision <= cache.revision:
        return True
    try:
        await cache.wait_for(revision, timeout_s=CATCH_UP_S)
    except UnavailableError:
        return False
    return True


def _now(call: Call, version: Version, selection: Selection, options: ListOptions) -> Listed:
    cache = call.parts.cache
    resource = call.kind.stored_as
    name = selection.exact_name()
    if name is not None and (selection.namespace or not call.kind.namespaced):
        found = cache.read(Key(resource, selection.namespace, name))
        items: Sequence[Stored] = [] if found is None else [found]
    else:
        items = cache.select(resource, namespace=selection.namespace)
    if options.token is not None:
        start = bisect_right(items, options.token.after, key=lambda item: (item.key.namespace, item.key.name))
        items = items[start:]
    if not selection.everything:
        items = selection.of(items, cache, version)
    revision = cache.revision
    if not options.limit or len(items) <= options.limit:
        return Listed(items=items, revision=revision)
    page = items[: options.limit]
    remaining = len(items) - len(page) if selection.everything else None
    return Listed(items=page, revision=revision, after=_place(page[-1]), remaining=remaining)


async def _past(
    call: Call, version: Version, selection: Selection, revision: Revision, options: ListOptions
) -> Listed:
    cache = call.parts.cache
    after = None if options.token is None else options.token.after
    found: list[Stored] = []
    while True:
        wanted = options.limit - len(found) if options.limit else 0
        try:
            page = await cache.list_at(
                call.kind.stored_as,
                at=revision,
                namespace=selection.namespace,
                after=after,
                limit=wanted if selection.everything else _SCAN,
            )
        except GoneError as error:
            if options.token is not None:
                raise
            raise GoneError(
                "The resourceVersion for the provided list is too old.", compacted=error.compacted
            ) from error
        matching = page.items if selection.everything else selection.of(page.items, cache, version)
        found += matching[:wanted] if wanted else matching
        if wanted and len(found) >= options.limit:
            more = len(matching) > wanted or page.next_after is not None
            remaining = page.remaining if selection.everything and more else None
            return Listed(
                items=found, revision=revision, after=_place(found[-1]) if more else None, remaining=remaining
            )
        if page.next_after is None:
            return Listed(items=found, revision=revision)
        after = page.next_after


def _place(item: Stored) -> tuple[str, str]:
    return (item.key.namespace, item.key.name)
