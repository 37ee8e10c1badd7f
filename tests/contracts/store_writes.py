"""Writes and changes as the contracts of the store say them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from cloudcore.store.port import Advance, Batch, Change, Delete, Entry, Page, Put, Store
from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Span
from skerry.wire.frames import PROMPT

Disk = Callable[[], Awaitable[Store]]
Several = Callable[[int], Awaitable[Sequence[Store]]]


def key(name: str, *, resource: str = "pods", namespace: str = "ns") -> Key:
    return Key(resource, namespace, name)


def body(text: str) -> bytes:
    return json.dumps({"metadata": {"name": text}, "data": text}, separators=(",", ":")).encode()


def put(at: Key, text: str = "x", *, expected: int | None = None, uid: str = "") -> Put:
    wanted = None if expected is None else Revision(expected)
    return Put(key=at, uid=uid or f"uid-{at.name}", body=body(text), expected=wanted)


def delete(at: Key, *, expected: int | None = None, text: str | None = None) -> Delete:
    wanted = None if expected is None else Revision(expected)
    return Delete(key=at, expected=wanted, body=None if text is None else body(text))


async def write(store: Store, *writes: Put | Delete) -> tuple[Revision, ...]:
    return await store.commit(Batch(writes=writes))


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    found: list[Change] = []
    async with asyncio.timeout(20):
        async for change in changes:
            found.append(change)
            if len(found) == count:
                return found
    raise AssertionError("a watch never ends by itself")


def names(page: Page) -> list[str]:
    return [item.key.name for item in page.items]


def texts(page: Page) -> list[str]:
    return [json.loads(item.body)["data"] for item in page.items]


def advance(session: int, span: Span) -> Advance:
    """Of one life of one node's outbox, in the prompt lane."""
    return Advance(node="n", incarnation="i", session=session, covered=((PROMPT, span),))


async def take_entries(entries: AsyncIterator[Entry], last: str) -> list[Entry]:
    """Up to the first of the node `last`."""
    found: list[Entry] = []
    async with asyncio.timeout(20):
        async for entry in entries:
            found.append(entry)
            if entry.node == last:
                return found
    raise AssertionError("a watch never ends by itself")
