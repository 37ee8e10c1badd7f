"""What a watch asks for, and its bookmarks. Pure.

Source: Kubernetes "API concepts" (watch, bookmarks, streaming lists).
"""

from __future__ import annotations

from typing import Final, Literal

from skerry.errors import BadRequestError
from skerry.forms.paging import refused, revision_in
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import Revision
from skerry.objects.scheme import Kind

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

_SECONDS_MIN: Final = 1800.0
"""A watch without timeoutSeconds ends between this and twice this (apiserver --min-request-timeout)."""
_SECONDS_MAX: Final = 86_400.0
_INITIAL_END: Final = "k8s.io/initial-events-end"


class WatchQuery(Frozen):
    """The parameters of a request, as they stand there."""

    version: str = ""
    match: str = ""
    initial: str = ""
    """sendInitialEvents"""
    bookmarks: bool = False
    seconds: str = ""


class WatchOptions(Frozen):
    """What a watch asks for, checked."""

    after: Revision | None
    """None: first everything there is, then what changes."""
    bookmarks: bool
    initial_end: bool
    """Say by a bookmark where what there was ends (sendInitialEvents)."""
    seconds: float


def asked_watch(query: WatchQuery, *, newest: Revision, unit: float) -> WatchOptions:
    """`newest`: where a watch begins that wants news alone; `unit`: chance, for its length.
    Raises `InvalidError`, `BadRequestError`."""
    initial, sends = query.initial != "", query.initial in ("true", "1")
    if initial and query.match != "NotOlderThan":
        raise refused(
            "resourceVersionMatch must be NotOlderThan when sendInitialEvents is set", field="sendInitialEvents"
        )
    if query.match and not initial:
        raise refused("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if sends and not query.bookmarks:
        raise refused("sendInitialEvents needs allowWatchBookmarks", field="sendInitialEvents")
    everything = sends or (not initial and query.version in ("", "0"))
    after = None
    if not everything:
        after = revision_in(query.version) if query.version not in ("", "0") else newest
    elif query.version not in ("", "0"):
        revision_in(query.version)
    return WatchOptions(
        after=after, bookmarks=query.bookmarks, initial_end=sends, seconds=_seconds(query.seconds, unit)
    )


def _seconds(text: str, unit: float) -> float:
    if not text or text == "0":
        return _SECONDS_MIN * (1 + unit)
    if not text.isdecimal():
        raise BadRequestError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return min(float(text), _SECONDS_MAX)


def bookmark(kind: Kind, revision: int, *, partial_version: str = "", initial_end: bool = False) -> JsonObject:
    """The object of a bookmark: up to where the watcher has seen all."""
    metadata: JsonObject = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {_INITIAL_END: "true"}
    shown: JsonObject = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
    if partial_version:
        shown |= {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{partial_version}"}
    return shown
