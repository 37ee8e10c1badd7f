"""What connections to the local API have in common: what they come over, who answers, and how much may be on its way.

Apart from `edgecore.local_api.connection`, which brings a library for HTTP with it: that is loaded with the first
client. In memory only.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from edgecore.local_api.answers import Answer
from edgecore.local_api.requests import Request, Stream, Talk
from skerry.errors import TooManyRequestsError

HEAD_BYTES_MAX: Final = 16 * 1024
LARGE_MAX: Final = 16
PLACE_S_MAX: Final = 30.0
"""For a place to become free."""


class Reader(Protocol):
    """The part of `asyncio.StreamReader` that is used."""

    async def read(self, n: int, /) -> bytes: ...


class Writer(Protocol):
    """The part of `asyncio.StreamWriter` that is used."""

    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def get_extra_info(self, name: str, /) -> object:
        """Of the `socket`; None where there is none."""
        ...


class Answers(Protocol):
    """What is done for a request. Raises the errors of `skerry.errors`."""

    async def answer(self, request: Request) -> Answer | Stream | Talk: ...


class LargeMessages:
    """Places for messages that are larger than kubectl's, of all clients together.

    Python's clients send what they are given in one piece, and 64 of them must not take an agent's memory. A place is
    held until the message is used.
    """

    def __init__(self, count: int = LARGE_MAX) -> None:
        self._places = asyncio.Semaphore(count)

    async def take(self, wait_s_max: float = PLACE_S_MAX) -> None:
        """Raises `TimeoutError`."""
        async with asyncio.timeout(wait_s_max):
            await self._places.acquire()

    def give(self) -> None:
        self._places.release()


class Room:
    """Room for bodies that are on their way in, of all connections of a server together."""

    def __init__(self, *, body_bytes_max: int, bytes_max: int) -> None:
        self.body_bytes_max = body_bytes_max
        self.large = LargeMessages()
        self._free = bytes_max

    def take(self, count: int) -> None:
        """Raises `TooManyRequestsError` where there is none."""
        if count > self._free:
            raise TooManyRequestsError("the server is busy: too many bodies at once", retry_after_s=1)
        self._free -= count

    def give(self, count: int) -> None:
        self._free += count
