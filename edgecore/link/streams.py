"""What a gateway does on streams that the cloud opens: pod logs, answers, conversations. One task for each open
stream; nothing is kept.

A source is asked with the stream's parameters and yields bytes; it is paced by the reader's credit, so that `logs -f`
on a slow link holds no more than a window in memory. One that takes a body is asked when all of it has come. A talker
has the whole pipe, both ways.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Protocol, cast

from skerry.errors import BadRequestError
from skerry.frozen import Frozen, field
from skerry.objects.json import JsonObject, int_at
from skerry.objects.rule_calls import BODY_BYTES, CALL_BYTES_MAX
from skerry.ports import Pipe
from skerry.transport.hosting import Talker


class StreamSource(Protocol):
    """Yields what the stream carries until it is over. An error of `skerry.errors` ends it with its text."""

    def __call__(self, params: JsonObject, /) -> AsyncIterator[bytes]: ...


class BodySource(Protocol):
    """The same, with what the cloud sends down the stream, whole."""

    def __call__(self, params: JsonObject, body: bytes, /) -> AsyncIterator[bytes]: ...


class StreamKinds(Frozen):
    """What a gateway does on streams, by kind."""

    sources: Mapping[str, StreamSource] = field(default_factory=dict[str, StreamSource])
    body_sources: Mapping[str, BodySource] = field(default_factory=dict[str, BodySource])
    talkers: Mapping[str, Talker] = field(default_factory=dict[str, Talker])

    def talker(self, kind: str) -> Talker | None:
        """Whatever is done on streams of a kind, in its most general form; None for an unknown one."""
        if (source := self.sources.get(kind)) is not None:
            return _Telling(source)
        if (body_source := self.body_sources.get(kind)) is not None:
            return _Answering(body_source)
        return self.talkers.get(kind)


class _Telling(Frozen, kw_only=False):
    source: StreamSource

    async def __call__(self, params: JsonObject, pipe: Pipe, /) -> None:
        await _tell(pipe, self.source(params))


class _Answering(Frozen, kw_only=False):
    source: BodySource

    async def __call__(self, params: JsonObject, pipe: Pipe, /) -> None:
        """Raises `BadRequestError` for a body that is too large."""
        size = int_at(params, BODY_BYTES)
        if not 0 <= size <= CALL_BYTES_MAX:
            raise BadRequestError(f"a body of {size} bytes: at most {CALL_BYTES_MAX} are taken")
        body = bytearray()
        while len(body) < size and (piece := await pipe.read()):
            body += piece
        if len(body) < size:
            raise BadRequestError(f"a body of {size} bytes ends after {len(body)}")
        await _tell(pipe, self.source(params, bytes(body[:size])))


async def _tell(pipe: Pipe, pieces: AsyncIterator[bytes]) -> None:
    async with aclosing(cast("Any", pieces)) as chunks:
        async for chunk in chunks:
            await pipe.write(chunk)
