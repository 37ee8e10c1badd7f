"""Objects and collections as clients ask for them: as they are, as tables, their metadata alone; once or watched.

Source: Kubernetes "API concepts". Keeps nothing between requests.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Final

from edgecore.local_api.answers import Answer, formed
from edgecore.local_api.objects import Change, LocalObjects
from edgecore.local_api.requests import Request, Stream, Target
from skerry.errors import GoneError, NotFoundError
from skerry.forms.negotiation import MEDIA_TYPES, Form, form_for
from skerry.forms.paging import Token, encode_token, list_options
from skerry.forms.status import TooNewError, answer_for
from skerry.forms.watching import EventType, WatchOptions, WatchQuery, asked_watch, bookmark
from skerry.objects.json import Json, JsonObject, encode_object, map_at, str_at
from skerry.objects.meta import Key, Revision, labels_of, name_of, namespace_of
from skerry.objects.scheme import Kind
from skerry.objects.select import FieldSelector, LabelSelector, parse_fields, parse_labels
from skerry.ports import Clock
from skerry.waits import until_set

BOOKMARK_S: Final = 60.0
"""Between bookmarks of a quiet watch (apiserver: about a minute)."""
_PLACES: Final = ("metadata.name", "metadata.namespace")
_TOO_OLD: Final = "The resourceVersion for the provided list is too old."


class Collections:
    """Reads of what the gateway holds."""

    def __init__(self, objects: LocalObjects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    def get(self, request: Request, target: Target) -> Answer:
        """One object. Raises `NotFoundError`."""
        found = self._objects.get(target.kind, target.namespace, target.name)
        if found is None:
            raise NotFoundError(f'{target.kind.resource} "{target.name}" not found')
        form = _form(request)
        shaper = _Shaper(self._clock, request, target.kind, form)
        if form.transform == "Table":
            return formed(shaper.table([found], str_at(found, "metadata", "resourceVersion")), form)
        return formed(shaper.shaped(found), form)

    def answer(self, request: Request, target: Target) -> Answer | Stream:
        """A list, a page of one, or a watch. Raises `BadRequestError`, `InvalidError`, `GoneError`."""
        view = _View(
            self._objects,
            target,
            parse_labels(request.text("labelSelector")),
            parse_fields(request.text("fieldSelector"), target.kind.selectable),
        )
        form = _form(request)
        shaper = _Shaper(self._clock, request, target.kind, form)
        if request.flag("watch"):
            options = self._watch_options(request)
            media = "application/json;stream=watch" if form.encoding != "json" else MEDIA_TYPES["json"]
            return Stream(chunks=_watched(view, shaper, options, self._clock.monotonic_s), content_type=media)
        return self._list(request, view, shaper)

    def _watch_options(self, request: Request) -> WatchOptions:
        query = WatchQuery(
            version=request.text("resourceVersion"),
            match=request.text("resourceVersionMatch"),
            initial=request.text("sendInitialEvents"),
            bookmarks=request.flag("allowWatchBookmarks"),
            seconds=request.text("timeoutSeconds"),
        )
        # Chance keeps clients of a fleet apart; a gateway has few.
        return asked_watch(query, newest=Revision(self._objects.revision), unit=0.5)

    def _list(self, request: Request, view: _View, shaper: _Shaper) -> Answer:
        options = list_options(
            version=request.text("resourceVersion"),
            match=request.text("resourceVersionMatch"),
            limit=request.text("limit"),
            token=request.text("continue"),
        )
        now = self._objects.revision
        if self._objects.is_own(options.revision) and options.revision > now:
            raise TooNewError(wanted=options.revision, current=now)
        if options.match == "exact" and options.revision != now:
            raise GoneError(_TOO_OLD, compacted=now)
        ordered = sorted(view.all(), key=_place)
        revision = now
        if options.token is not None:
            # No old states are kept: each page is of now, and a watch from the first one's number tells the rest.
            after, revision = options.token.after, int(options.token.revision)
            ordered = [obj for obj in ordered if _place(obj) > after]
        shown, left = (ordered[: options.limit], ordered[options.limit :]) if options.limit else (ordered, [])
        metadata: JsonObject = {"resourceVersion": str(revision)}
        if left:
            metadata["continue"] = encode_token(Token(revision=Revision(revision), after=_place(shown[-1])))
            metadata["remainingItemCount"] = len(left)
        return formed(shaper.listed(shown, metadata), shaper.form)


class _View:
    """One collection through selectors."""

    def __init__(self, objects: LocalObjects, target: Target, labels: LabelSelector, fields: FieldSelector) -> None:
        self.objects = objects
        self.kind = target.kind
        self.namespace = target.namespace
        self._labels = labels
        self._fields = fields
        self._places = FieldSelector(tuple(term for term in fields.terms if term.path in _PLACES))

    def all(self) -> list[JsonObject]:
        return [obj for obj in self.objects.list(self.kind, self.namespace) if self.selects(obj)]

    def now(self, key: Key) -> JsonObject | None:
        """What is there now under that key; None where it is not of this view."""
        obj = self.objects.get(self.kind, key.namespace, key.name)
        return obj if obj is not None and self.selects(obj) else None

    def names(self, key: Key) -> bool:
        if key.resource != self.kind.resource or self.namespace not in ("", key.namespace):
            return False
        metadata: JsonObject = {"name": key.name, "namespace": key.namespace}
        return self._places.selects({"metadata": metadata})

    def selected(self, change: Change) -> bool:
        """Whether the object was of this view before that change, as far as its labels tell."""
        return change.labels is not None and self._labels.matches(change.labels)

    def selects(self, obj: JsonObject) -> bool:
        return self._labels.matches(labels_of(obj)) and self._fields.selects(obj)


class _Shaper:
    """Objects in the form that was asked for."""

    def __init__(self, clock: Clock, request: Request, kind: Kind, form: Form) -> None:
        self._clock = clock
        self._include = request.text("includeObject")
        self._kind = kind
        self.form = form
        self._headed = True

    def listed(self, objects: list[JsonObject], metadata: JsonObject) -> JsonObject:
        match self.form.transform:
            case "":
                items: list[Json] = [*objects]
                kind, version = self._kind.list_kind, self._kind.api_version
            case "Table":
                return {**self.table(objects, ""), "metadata": metadata}
            case _:
                items = [self.shaped(obj) for obj in objects]
                kind, version = "PartialObjectMetadataList", f"meta.k8s.io/{self.form.version}"
        return {"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}

    def shaped(self, obj: JsonObject) -> JsonObject:
        if self.form.transform == "":
            return obj
        from skerry.forms.tables.table import partial_metadata  # who shows tables pays for them

        return partial_metadata(obj, version=self.form.version)

    def table(self, objects: Iterable[JsonObject], revision: str, *, headed: bool = True) -> JsonObject:
        from skerry.forms.tables.printers import printer_of
        from skerry.forms.tables.table import include_object, table

        shown = table(
            printer_of(self._kind, ()),
            objects,
            now_ms=self._clock.wall_ms(),
            include=include_object(self._include),
            version=self.form.version,
            headed=headed,
        )
        shown["metadata"] = {"resourceVersion": revision} if revision else {}
        return shown

    def event(self, kind: EventType, obj: JsonObject) -> bytes:
        if self.form.transform == "Table":
            shown = self.table([obj], "", headed=self._headed)
            self._headed = False
        else:
            shown = self.shaped(obj)
        return _line(kind, shown)

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        partial_version = self.form.version if self.form.transform.startswith("Partial") else ""
        mark = bookmark(self._kind, revision, partial_version=partial_version, initial_end=initial_end)
        return _line("BOOKMARK", mark)


async def _watched(
    view: _View, shaper: _Shaper, options: WatchOptions, monotonic_s: Callable[[], float]
) -> AsyncGenerator[bytes]:
    """Events until the time is over."""
    until_s = monotonic_s() + options.seconds
    news, let_go = view.objects.follow()
    members: dict[Key, bool] = {}
    """What the client is known to have, or not to have."""
    try:
        revision = view.objects.revision
        if options.after is None:
            for obj in view.all():
                members[_key(view.kind, obj)] = True
                yield shaper.event("ADDED", obj)
            if options.initial_end:
                yield shaper.bookmark(revision, initial_end=True)
        else:
            try:
                revision = view.objects.resume(view.kind, int(options.after))
            except GoneError as error:
                yield _expired(error)
                return
            news.set()
        yield b""  # the head goes out, though nothing may happen for long
        while (left_s := until_s - monotonic_s()) > 0:
            if not await until_set(news, within_s=min(left_s, BOOKMARK_S)):
                if options.bookmarks:
                    yield shaper.bookmark(revision)
                continue
            news.clear()
            try:
                changed = view.objects.changed_since(revision)
            except GoneError as error:
                yield _expired(error)
                return
            revision = view.objects.revision
            for event, obj in _news(view, changed, members, whole=options.after is None):
                yield shaper.event(event, obj)
    finally:
        let_go()


def _news(
    view: _View, changed: list[Change], members: dict[Key, bool], *, whole: bool
) -> list[tuple[EventType, JsonObject]]:
    """What to tell of these changes. `whole`: the watch began with all, so who is not in `members` was not told."""
    by_key: dict[Key, list[Change]] = {}
    for change in changed:
        if view.names(change.key):
            by_key.setdefault(change.key, []).append(change)
    told: list[tuple[EventType, JsonObject]] = []
    for key, changes in by_key.items():
        was = members.get(key, False if whole else view.selected(changes[0]))
        ended = next((change for change in reversed(changes) if change.gone is not None), None)
        if was and ended is not None:
            told.append(("DELETED", view.objects.last_seen(view.kind, ended)))
            was = False
        obj = view.now(key)
        if obj is not None:
            told.append(("MODIFIED" if was else "ADDED", obj))
        elif was:
            left = view.objects.get(view.kind, key.namespace, key.name)
            told.append(("DELETED", left if left is not None else view.objects.last_seen(view.kind, changes[-1])))
        members[key] = obj is not None
        if whole and obj is None:
            del members[key]
    return told


def _expired(error: GoneError) -> bytes:
    status = answer_for(error).status
    status.pop("details", None)
    return _line("ERROR", status)


def _line(kind: str, obj: JsonObject) -> bytes:
    return encode_object({"type": kind, "object": obj}) + b"\n"


def _form(request: Request) -> Form:
    """Raises `NotAcceptableError`."""
    pretty = request.text("pretty") not in ("", "false", "0")
    return form_for(request.header("accept"), tables=True, pretty=pretty)


def _place(obj: JsonObject) -> tuple[str, str]:
    return namespace_of(obj), name_of(obj)


def _key(kind: Kind, obj: JsonObject) -> Key:
    assert map_at(obj, "metadata"), "every object has metadata"
    return Key(kind.resource, *_place(obj))
