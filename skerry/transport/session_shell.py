"""The shell of a session on the side that dials: a gateway over its store, or a region over its objects.

Carries out what `skerry.sync.edge` asks for: writes in their order, and only then says that they are written; forgets
what was receipted, neighbours at once; hands streams on. Keeps the last write that was begun, and what is to be
forgotten; both are the session's, and end with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from skerry.errors import SkerryError
from skerry.frozen import Frozen, replace
from skerry.sync.dial import Ended
from skerry.sync.edge import EdgeSession
from skerry.sync.effects import (
    BeginLife,
    CloseLink,
    EdgeEffect,
    Prune,
    Send,
    StreamArrived,
    StreamEnded,
    StreamInputEnded,
    StreamOpened,
    StreamWritable,
    Welcomed,
    Write,
)
from skerry.transport.driver import Driver
from skerry.transport.hosting import StreamHost, Talker
from skerry.wire.frames import CloseCode

log = logging.getLogger(__name__)


def _no_streams(_kind: str) -> Talker | None:
    """For who does nothing on streams."""
    return None


class Keeping(Protocol):
    """What holds the inventory and the outbox."""

    async def write(self, write: Write) -> None:
        """All of it, durable when it returns. Called in the order in which writes are to take effect, also while
        earlier calls have not returned. Raises `SkerryError`."""
        ...

    async def begin_life(self, effect: BeginLife) -> None:
        """The outbox is an older copy of itself: what waits goes up under another name. Raises `SkerryError`."""
        ...

    async def prune(self, prune: Prune) -> None:
        """Forget what has its receipt. Raises `SkerryError`."""
        ...


class DialledRun:
    """Carries out the effects of one session. `whose` names the store in what a peer is told of its faults."""

    def __init__(
        self,
        keeping: Keeping,
        session: EdgeSession,
        driver: Driver[EdgeEffect],
        welcomed: Callable[[Welcomed], None],
        *,
        whose: str,
        talker: Callable[[str], Talker | None] = _no_streams,
    ) -> None:
        self._keeping = keeping
        self._session = session
        self._driver = driver
        self._welcomed = welcomed
        self._whose = whose
        self.streams = StreamHost(session.streams, talker, driver.spawn, driver.kick, stopping=f"{whose} agent stops")
        self._writing: asyncio.Task[None] | None = None
        """The last write that was begun."""
        self._prunes: list[Prune] = []
        """What may be forgotten and is not yet, neighbours in one."""
        self._pruning = False

    def perform(self, effect: EdgeEffect) -> None:
        """One effect; what takes time goes on beside."""
        match effect:
            case Write():
                # The store takes writes in the order of these calls, and the next session waits for them all.
                self._writing = self._driver.spawn(self._write(effect, self._writing))
            case BeginLife():
                self._driver.spawn(self._begin_life(effect))
            case Prune():
                self._note_prune(effect)
                if not self._pruning:
                    self._pruning = True
                    self._driver.spawn(self._prune())
            case Welcomed():
                self._welcomed(effect)
            case StreamOpened() | StreamArrived() | StreamWritable() | StreamInputEnded() | StreamEnded():
                self.streams.perform(effect)
            case Send() | CloseLink():
                raise AssertionError("the driver's own")

    def fail(self, error: SkerryError) -> None:
        """End the session by a fault of the store."""
        self._session.close(CloseCode.FAILED, f"{self._whose} store: {error}", self._driver.now())
        self._driver.kick()

    async def _write(self, write: Write, before: asyncio.Task[None] | None) -> None:
        try:
            if not write.empty:
                await self._keeping.write(write)
            if before is not None and not before.done():
                await asyncio.wait((before,))  # what takes no time is written after what came first, too
        except SkerryError as error:
            self.fail(error)
            return
        self._session.written(write.number, self._driver.now())
        self._driver.kick()

    async def _begin_life(self, effect: BeginLife) -> None:
        try:
            await self._keeping.begin_life(effect)
        except SkerryError as error:
            log.warning("the outbox can't begin a new life yet error=%s", error)

    def _note_prune(self, prune: Prune) -> None:
        last = self._prunes[-1] if self._prunes else None
        if last is not None and last.lane == prune.lane and last.first <= prune.first <= last.through + 1:
            self._prunes[-1] = replace(last, through=max(last.through, prune.through))
        else:
            self._prunes.append(prune)

    async def _prune(self) -> None:
        try:
            while self._prunes:
                await self._keeping.prune(self._prunes.pop(0))
        except SkerryError as error:
            self.fail(error)
        finally:
            self._pruning = False


class Attempt(Frozen):
    """One dial, and the session if it came to one."""

    how: CloseLink
    started_s: float
    """Monotonic, as `ended_s`."""
    ended_s: float
    welcomed: bool = False
    answered: bool = True
    """Somebody was there, if only to refuse."""
    unusable: bool = False

    @property
    def ended(self) -> Ended:
        """As the policy of dialling wants to know it."""
        return Ended(
            at_s=self.ended_s,
            answered=self.answered,
            welcomed=self.welcomed,
            lived_s=self.ended_s - self.started_s,
            clean=self.how.by_peer and self.how.code == CloseCode.DONE,
            carried=self.how.by_peer,
            retry_after_s=self.how.retry_after_s,
            unusable=self.unusable,
        )
