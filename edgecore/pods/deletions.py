"""Takes many files away beside the loop: a hundred thousand take seconds, and minutes on an SD card.

In threads of their own: those that asyncio lends are few, and names are looked up in them. An agent that ends does
not wait for it; what is left is found again. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable


async def beside(act: Callable[[], object]) -> None:
    """Raises what `act` raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if done.done():
            return  # whoever waited has gone
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            act()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name="deletion", daemon=True).start()
    await done
