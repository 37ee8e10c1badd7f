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
from typing import Final, Literal, cast

import orjson

from cloudcore.api.call import Call, Reply, Stream
from cloudcore.api.conversion import Version, version_of
from cloudcore.api.negotiation import MEDIA_TYPES, Form
from cloudcore.api.paging import refused, revision_in
from cloudcore.api.selection import Selection, selection_of
from cloudcore.api.status import answer_for
from cloudcore.api.verbs.lists import CATCH_UP_S
from cloudcore.api.writing import as_table, parse, partial
from cloudcore.store.port import Change
from skerry.errors import BadRequestError, GoneError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

BOOKMARK_S: Final = 60.0
"""Between bookmarks of a quiet watch (apiserver: about a minute)."""
_LAST_BOOKMARK_S: Final = 2.0
"""Before the end of a watch: what was seen until then need not be read again."""
_SECONDS_MIN: Final = 1800.0
"""A watch without timeoutSeconds ends between this and twice this (apiserver --min-request-timeout)."""
_SECONDS_MAX: Final = 86_400.0
_INITIAL_END: Final = "k8s.io/initial-events-end"


class WatchOptions(Frozen):
    """What a watch asks for, checked."""

    after: Revision | None
    """None: first everything there is, then what changes."""
    bookmarks: bool
    initial_end: bool
    """Say by a bookmark where what there was ends (sendInitialEvents)."""
    seconds: float


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
    text, match = query.text("resourceVersion"), query.text("resourceVersionMatch")
    initial = query.text("sendInitialEvents") != ""
    sends = query.flag("sendInitialEvents")
    if initial and match != "NotOlderThan":
        raise refused(
            "resourceVersionMatch must be NotOlderThan when sendInitialEvents is set", field="sendInitialEvents"
        )
    if match and not initial:
        raise refused("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if sends and not query.flag("allowWatchBookmarks"):
        raise refused("sendInitialEvents needs allowWatchBookmarks", field="sendInitialEvents")
    everything = sends or (not initial and text in ("", "0"))
    after = None
    if not everything:
        after = revision_in(text) if text not in ("", "0") else call.parts.cache.revision
    elif text not in ("", "0"):
        revision_in(text)
    return WatchOptions(
        after=after,
        bookmarks=query.flag("allowWatchBookmarks"),
        initial_end=sends,
        seconds=_seconds(query.text("timeoutSeconds"), call.parts.ids.unit()),
    )


def _seconds(text: str, unit: float) -> float:
    if not text or text == "0":
        return _SECONDS_MIN * (1 + unit)
    if not text.isdecimal():
        raise BadRequestError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return min(float(text), _SECONDS_MAX)


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
        kind = self.call.kind
        metadata: JsonObject = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {_INITIAL_END: "true"}
        shown: JsonObject = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        if self.form.transform.startswith("Partial"):
            shown |= {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{self.form.version}"}
        return orjson.dumps({"type": "BOOKMARK", "object": shown}, option=orjson.OPT_APPEND_NEWLINE)


async def _events(call: Call, writer: _Writer, options: WatchOptions) -> AsyncGenerator[bytes, None]:
    cache = call.parts.cache
    resource = call.kind.stored_as
    end = asyncio.get_running_loop().time() + options.seconds
    after = options.after
    if after is None:
        snapshot = cache.snapshot(resource, namespace=writer.selection.namespace)
        after = snapshot.revision
        for item in writer.selection.of(snapshot.items, cache, writer.version):
            yield writer.event("ADDED", item.body)
        if options.initial_end:
            yield writer.bookmark(after, initial_end=True)
    try:
        async with aclosing(_live(call, writer, options, after, end)) as live:
            async for event in live:
                yield event
    except GoneError as error:
        expired = GoneError(f"too old resource version: {after} ({error.compacted})", compacted=error.compacted)
        status = answer_for(expired).status
        status.pop("details", None)
        yield orjson.dumps({"type": "ERROR", "object": status}, option=orjson.OPT_APPEND_NEWLINE)


async def _live(
    call: Call, writer: _Writer, options: WatchOptions, after: Revision, end: float
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
        while loop.time() < end:
            if coming is None:
                coming = asyncio.create_task(_next(changes))
            due = min(marked + BOOKMARK_S, end - _LAST_BOOKMARK_S)
            wake = end if not options.bookmarks or due <= marked else due
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
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await changes.aclose()


async def _next(changes: AsyncGenerator[Change, None]) -> Change:
    return await anext(changes)
