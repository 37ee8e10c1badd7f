"""GET with watch: what changes, as it changes, until the client has had enough or its time is up.

Source: Kubernetes "API concepts" (watch, bookmarks, streaming lists). A watcher keeps a revision and nothing else;
one that is too slow for the ring is told 410 and starts again. Objects that begin to match a selector are ADDED,
objects that cease to are DELETED: so each change is looked at as it was and as it became.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, cast

import orjson

from cloudcore.api.call import Call, Reply, Stream
from cloudcore.api.conversion import Version, version_of
from cloudcore.api.node_leases import bodies_of
from cloudcore.api.selection import Selection, selection_of
from cloudcore.api.verbs.lists import CATCH_UP_S
from cloudcore.api.writing import as_table, parse, partial
from cloudcore.store.port import Change
from skerry.errors import GoneError
from skerry.forms.negotiation import MEDIA_TYPES, Form
from skerry.forms.status import answer_for
from skerry.forms.watching import EventType, WatchOptions, WatchQuery, asked_watch, bookmark
from skerry.objects.meta import Key, Revision
from skerry.objects.node_leases import LEASES
from skerry.waits import end_tasks

BOOKMARK_S: Final = 60.0
"""Between bookmarks of a quiet watch (apiserver: about a minute)."""
_LAST_BOOKMARK_S: Final = 2.0
"""Before the end of a watch: what was seen until then need not be read again."""


async def watch(call: Call) -> Reply:
    """A stream of watch events, one JSON document a line."""
    form = call.form()
    if not call.query.text("resourceVersion"):
        await call.parts.cache.catch_up(timeout_s=CATCH_UP_S)
    options = watch_options(call)
    selection = selection_of(call)
    version = version_of(call.parts.scheme, call.kind)
    writer = _Writer(call=call, form=form, version=version, selection=selection)
    media = "application/json;stream=watch" if form.encoding != "json" else MEDIA_TYPES[form.encoding]
    return Stream(pieces=_events(call, writer, options), media_type=media)


def watch_options(call: Call) -> WatchOptions:
    """Raises `InvalidError`, `BadRequestError`."""
    query = call.query
    return asked_watch(
        WatchQuery(
            version=query.text("resourceVersion"),
            match=query.text("resourceVersionMatch"),
            initial=query.text("sendInitialEvents"),
            bookmarks=query.flag("allowWatchBookmarks"),
            seconds=query.text("timeoutSeconds"),
        ),
        newest=call.parts.cache.revision,
        unit=call.parts.ids.unit(),
    )


@dataclass(slots=True, kw_only=True)
class _Writer:
    """Changes as the bytes of events for one watcher."""

    call: Call
    form: Form
    version: Version
    selection: Selection
    headed: bool = field(default=True)
    """Table events: the first has the column definitions."""

    def change(self, change: Change) -> bytes | None:
        """None: not of this watch."""
        judged = self._judge(change)
        return None if judged is None else self.event(*judged)

    def _judge(self, change: Change) -> tuple[EventType, bytes] | None:
        if not self.selection.holds_place(change.key):
            return None
        if self.selection.by_key:
            was, now = change.before is not None, change.after is not None
        else:
            was, now = self._holds(change.key, change.before), self._holds(change.key, change.after)
        match was, now:
            case True, False:
                assert change.before is not None
                return "DELETED", change.before if change.after is None else change.after
            case False, True:
                assert change.after is not None
                return "ADDED", change.after
            case True, True:
                assert change.after is not None
                return "MODIFIED", change.after
            case _:
                return None

    def _holds(self, key: Key, body: bytes | None) -> bool:
        return body is not None and self.selection.holds(key, parse(body), self.version)

    def event(self, kind: EventType, body: bytes) -> bytes:
        if self.form.transform == "":
            return b'{"type":"%s","object":%s}\n' % (kind.encode(), self.version.speak_bytes(body))
        obj = self.version.speak(parse(body))
        if self.form.transform == "Table":
            shown = as_table(self.call, self.form, [obj], None, headed=self.headed)
            self.headed = False
        else:
            shown = partial(obj, self.form)
        return orjson.dumps({"type": kind, "object": shown}, option=orjson.OPT_APPEND_NEWLINE)

    def bookmark(self, revision: Revision, *, initial_end: bool = False) -> bytes:
        """Plain in every form but that of partial metadata, whose clients know no other kind."""
        partial_version = self.form.version if self.form.transform.startswith("Partial") else ""
        shown = bookmark(self.call.kind, revision, partial_version=partial_version, initial_end=initial_end)
        return orjson.dumps({"type": "BOOKMARK", "object": shown}, option=orjson.OPT_APPEND_NEWLINE)


async def _events(call: Call, writer: _Writer, options: WatchOptions) -> AsyncGenerator[bytes, None]:
    cache = call.parts.cache
    resource = call.kind.stored_as
    end_s = asyncio.get_running_loop().time() + options.seconds
    after = options.after
    if after is None:
        snapshot = cache.snapshot(resource, namespace=writer.selection.namespace)
        after = snapshot.revision
        found = writer.selection.of(snapshot.items, cache, writer.version)
        bodies = bodies_of([*found], cache) if resource == LEASES else (item.body for item in found)
        for body in bodies:
            yield writer.event("ADDED", body)
        if options.initial_end:
            yield writer.bookmark(after, initial_end=True)
    try:
        async with aclosing(_live(call, writer, options, after, end_s)) as live:
            async for event in live:
                yield event
    except GoneError as error:
        expired = GoneError(f"too old resource version: {after} ({error.compacted})", compacted=error.compacted)
        status = answer_for(expired).status
        status.pop("details", None)
        yield orjson.dumps({"type": "ERROR", "object": status}, option=orjson.OPT_APPEND_NEWLINE)


async def _live(
    call: Call, writer: _Writer, options: WatchOptions, after: Revision, end_s: float
) -> AsyncGenerator[bytes, None]:
    """Changes after a revision, with bookmarks, until the end."""
    cache = call.parts.cache
    loop = asyncio.get_running_loop()
    # What the cache gives is a generator, which has to be closed.
    changes = cast("AsyncGenerator[Change, None]", cache.watch(call.kind.stored_as, after=after))
    seen = after
    marked = loop.time()
    coming: asyncio.Task[Change] | None = None
    try:
        while loop.time() < end_s:
            if coming is None:
                coming = asyncio.create_task(_next(changes))
            due = min(marked + BOOKMARK_S, end_s - _LAST_BOOKMARK_S)
            wake = end_s if not options.bookmarks or due <= marked else due
            done, _ = await asyncio.wait((coming,), timeout=max(0.0, wake - loop.time()))
            if done:
                change = coming.result()
                coming = None
                seen = change.revision
                if (event := writer.change(change)) is not None:
                    yield event
            elif options.bookmarks:
                marked = max(loop.time(), due)
                # Nothing of this resource is still to come from before now, unless a change is on its way to us.
                yield writer.bookmark(cache.revision if seen >= cache.changed(call.kind.stored_as) else seen)
    finally:
        if coming is not None:
            await end_tasks(coming)
        await changes.aclose()


async def _next(changes: AsyncGenerator[Change, None]) -> Change:
    return await anext(changes)
