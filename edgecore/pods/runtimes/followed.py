"""Attachments of the process runtime: they follow a container's log, since its pipes are its supervisor's.

Keeps where in the log it is. What is said comes by lines, and there is no standard input.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

from edgecore.pods.log_files import complete, opened, replaced
from edgecore.pods.port import Size, Streamed

_FOLLOW_S: Final = 0.2
"""How often a followed log is looked at."""


class FollowedLog:
    """See `ExecStream`. What the container says from now on, as its log has it: by lines."""

    def __init__(self, path: Path, runs: Callable[[], bool], how: Streamed) -> None:
        """`runs`: whether its container still does."""
        self._path = path
        self._runs = runs
        self._wanted = {b"stdout": 1 if how.stdout else 0, b"stderr": 2 if how.stderr else 0}
        self._file = opened(path)
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        last_round = False
        while True:
            if self._file is not None:
                for entry in complete(self._file):
                    channel, text = self._piece(entry)
                    if channel:
                        yield channel, text
            newer = replaced(self._path, self._file)
            if newer is not None:
                if self._file is not None:
                    self._file.close()
                self._file = newer
            elif last_round:
                return
            else:
                last_round = not self._runs()  # then once more to the end
                if not last_round:
                    await asyncio.sleep(_FOLLOW_S)

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
        if self._file is not None:
            self._file.close()
            self._file = None
