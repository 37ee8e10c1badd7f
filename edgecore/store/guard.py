"""Ends the agent when its store turns out to be damaged, and looks through the store once to find that out.

A start waits only for a look at what is small (`edgecore.store.damage`). Here, when pods, devices and the link have
had the disk to themselves for a while, all of it is read by a thread of its own. Nothing is repaired in the running
agent: whoever supervises it starts it again, its pods do not notice, and that start sets the file aside. Keeps
nothing; after a crash the next agent looks again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from skerry.errors import DamagedError, UnavailableError
from skerry.waits import until_set

log = logging.getLogger(__name__)

LOOK_AFTER_S: Final = 60.0
"""From the start: by then what was known is running, and the link is in step or waits anyway."""
NICENESS: Final = 10
"""Of the thread that looks."""


class StoreGuard:
    """See the module. Make it in the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._found = asyncio.Event()
        self._damage = ""

    def damaged(self, what: str) -> None:
        """Somebody met damage. From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note, what)

    def _note(self, what: str) -> None:
        self._damage = what
        self._found.set()

    async def run(self, look: Callable[[], str], *, after_s: float = LOOK_AFTER_S) -> None:
        """Until damage is met, or found by `look` (`EdgeStore.damage`), and then it raises `DamagedError`."""
        await until_set(self._found, within_s=after_s)
        if not self._found.is_set():
            # No pool's: an agent that is told to stop does not wait for a slow card.
            threading.Thread(target=self._look, args=(look,), name="edge-store-look", daemon=True).start()
            await self._found.wait()
        raise DamagedError(f"the edge store is damaged, and the next start sets it aside: {self._damage}")

    def _look(self, look: Callable[[], str]) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            damage = look()
        except UnavailableError as error:
            log.warning("the edge store can't be looked through error=%s", error)
            return
        if damage:
            self.damaged(damage)
