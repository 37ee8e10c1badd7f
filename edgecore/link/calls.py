"""Requests to the cloud's API through the session: the gateway's own, and those of applications on it.

Keeps a count of those under way. Nothing waits for a link: where there is none, that is the answer. What was under
way when a link was lost may have been done (`UncertainError`).
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from skerry.errors import InvalidError, TooManyRequestsError, UnavailableError, UncertainError
from skerry.objects.cloud_calls import (
    ANSWER_BODY_BYTES_MAX,
    ANSWER_HEAD_BYTES_MAX,
    API_CALLS,
    CallHead,
    CloudAnswer,
    answer_of,
)
from skerry.objects.json import encode_object, read_json
from skerry.ports import Pipe

CALLS_MAX: Final = 12
"""At once; logs and shells of people need streams as well."""
CALL_S_MAX: Final = 75.0
"""The cloud gives a request a minute; and the way."""


class Pipes(Protocol):
    """The part of `EdgeLink` that is used."""

    def pipe(self, kind: str, params: bytes) -> AbstractAsyncContextManager[Pipe]: ...


class CloudCalls:
    """See the module."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._open = 0

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        """What the cloud says, whatever it is. Raises `UnavailableError` where it can't be asked, `UncertainError`
        where it is not known what it said, `TooManyRequestsError`."""
        assert head.body_bytes == len(body)
        if self._open >= CALLS_MAX:
            raise TooManyRequestsError("too many requests to the cloud at once", retry_after_s=1)
        self._open += 1
        try:
            async with asyncio.timeout(CALL_S_MAX):
                return await self._asked(head, body)
        except TimeoutError as error:
            raise UncertainError(f"the cloud does not answer within {CALL_S_MAX:g} s") from error
        finally:
            self._open -= 1

    async def _asked(self, head: CallHead, body: bytes) -> CloudAnswer:
        async with self._pipes.pipe(API_CALLS, encode_object(head.params())) as pipe:
            await pipe.write(body)
            data = bytearray()
            while piece := await pipe.read():
                data += piece
                if len(data) > ANSWER_HEAD_BYTES_MAX + ANSWER_BODY_BYTES_MAX:
                    raise UnavailableError(f"the cloud answers more than {ANSWER_BODY_BYTES_MAX} bytes")
        line, newline, rest = bytes(data).partition(b"\n")
        if not newline:
            raise UncertainError("the cloud's answer has no head")
        try:
            head_obj = read_json(line, "its head")
            if not isinstance(head_obj, dict):
                raise UncertainError("the cloud's answer has a head that is no object")
            return answer_of(head_obj, rest)
        except (ValueError, AssertionError, InvalidError) as error:
            raise UncertainError(f"the cloud's answer makes no sense: {error}") from error
