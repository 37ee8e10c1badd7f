"""What happened in a simulated fleet, a line each; and a hash over all of it.

Keeps the newest lines in memory; the hash covers those that were dropped, too. Log lines of the product are taken in
with the name of the process that said them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from skerry.testkit.faults import Timeline
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.wire.frames import Compare, Fetch, Frame, Objects, Ping, Pong, Receipt, Reports, Stamps, Welcome

LINES_MAX: Final = 20_000


@dataclass(slots=True)
class Speaker:
    """A simulated process as its log lines name it. A killed one says nothing more."""

    name: str
    silent: bool = False


PROCESS: Final[ContextVar[Speaker | None]] = ContextVar("PROCESS", default=None)
"""Which simulated process is running."""
LOGGERS: Final = ("cloudcore", "edgecore", "devices", "skerry")


class Transcript:
    """See the module."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self.timeline = Timeline()
        self._hash = blake2b(digest_size=16)
        self._handler = _Handler(self)
        self._levels: list[tuple[logging.Logger, int]] = []
        for name in LOGGERS:
            logger = logging.getLogger(name)
            self._levels.append((logger, logger.level))
            logger.addHandler(self._handler)
            logger.setLevel(logging.INFO)

    def note(self, who: str, what: str) -> None:
        line = f"{self._loop.time():10.3f}  {who:<12} {what}"
        self._lines.append(line)
        self._hash.update(line.encode())
        self._hash.update(b"\n")

    def fault(self, who: str, what: str) -> None:
        """Something that a test did."""
        self.timeline.add(self._loop.time(), who, what)
        self.note(who, what)

    @property
    def lines(self) -> Sequence[str]:
        return tuple(self._lines)

    @property
    def digest(self) -> str:
        """Of every line so far: two runs of one seed have the same."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Hear no more log lines."""
        for logger, level in self._levels:
            logger.removeHandler(self._handler)
            logger.setLevel(level)
        self._levels = []


class _Handler(logging.Handler):
    def __init__(self, transcript: Transcript) -> None:
        super().__init__(logging.INFO)
        self._transcript = transcript

    def emit(self, record: logging.LogRecord) -> None:
        who = PROCESS.get()
        if who is not None and not who.silent:
            self._transcript.note(who.name, f"log: {record.levelname.lower()} {record.getMessage()}")


def told(frame: Frame) -> str:
    """A frame in one line; "" for those that say nothing but that somebody is there."""
    match frame:
        case Ping() | Pong():
            return ""
        case Welcome():
            about = f"session={frame.session} in_step={str(frame.in_step).lower()} revision={frame.revision}"
        case Compare():
            about = f"buckets={len(frame.buckets)}"
        case Stamps():
            about = f"entries={len(frame.entries)} revision={frame.revision}"
        case Fetch():
            about = " ".join(f"{key.resource}/{key.name}" for key in frame.keys)
        case Objects():
            puts = [f"{put.key.resource}/{put.key.name}@{put.stamp.revision}" for put in frame.puts]
            about = " ".join([*puts, *(f"-{key.resource}/{key.name}" for key in frame.deletes)])
        case Reports():
            about = " ".join(f"{report.seq}:{report.kind}" for report in frame.reports)
        case Receipt():
            about = f"through={frame.through}"
        case _:
            about = ""
    return f"{type(frame).__name__} {about}".rstrip()
