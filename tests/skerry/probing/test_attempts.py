"""What an attempt makes of what it reads; whole attempts are in tests/system/test_probe_attempts.py."""

from __future__ import annotations

import asyncio

from skerry.probing.attempts import has_text


def body(*pieces: bytes) -> asyncio.StreamReader:
    """What has come so far of an answer that has not ended."""
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    return reader


async def test_a_text_that_is_there_is_enough_whatever_comes_behind_its_chunk() -> None:
    async with asyncio.timeout(20):
        assert await has_text(body(b"2\r\nOK"), b"OK", chunked=True)
        assert await has_text(body(b"1\r\nO\r\n1\r\nK"), b"OK", chunked=True)
        assert await has_text(body(b"it is OK"), b"OK", chunked=False)
        assert not await has_text(body(b"2\r\nno\r\n0\r\n"), b"OK", chunked=True)
