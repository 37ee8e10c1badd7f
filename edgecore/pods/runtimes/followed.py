"""Attachments of the process runtime: they follow a container's log, since its pipes are its supervisor's.

Keeps where in the log it is. What is said comes by lines, and there is no standard input.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from edgecore.pods.log_files import closed, followed, opened_together
from edgecore.pods.port import Size, Streamed


class FollowedLog:
    """See `ExecStream`. What the container says from now on, as its log has it: by lines."""

    def __init__(self, path: Path, runs: Callable[[], bool], how: Streamed) -> None:
        """`runs`: whether its container still does."""
        self._path = path
        self._runs = runs
        self._wanted = {b"stdout": 1 if how.stdout else 0, b"stderr": 2 if how.stderr else 0}
        self._files = opened_together(path)
        closed(self._files[:-1])
        del self._files[:-1]
        for file in self._files:
            file.seek(0, os.SEEK_END)

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        async for entries in followed(self._path, self._files, self._lives):
            for entry in entries:
                channel, text = self._piece(entry)
                if channel:
                    yield channel, text

    async def _lives(self) -> bool:
        return self._runs()

    def _piece(self, entry: bytes) -> tuple[int, bytes]:
        _, _, rest = entry.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        return self._wanted.get(stream, 0), text if tag == b"P" else text + b"\n"

    async def write(self, data: bytes) -> None:
        """Nobody reads."""

    async def end_input(self) -> None:
        """There is none."""

    async def resize(self, size: Size) -> None:
        """There is no terminal."""

    async def result(self) -> int:
        return 0

    async def close(self) -> None:
        closed(self._files)
