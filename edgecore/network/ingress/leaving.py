"""Ends what an agent that served Ingresses left: by one that serves none. Keeps nothing.

HAProxy outlives the agent, so somebody has to. Keys go first and the directory last: a crash in between leaves
enough for the next start to go on.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from edgecore.network.ingress.process import Proxy
from edgecore.store.port import EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.objects.ingresses import INGRESS_REPORT, NOTHING_SERVED

LOG: Final = logging.getLogger(__name__)


async def leave(directory: Path, store: AsyncEdgeStore, *then: Callable[[], Awaitable[None]]) -> None:
    """`directory` is HAProxy's, and is there. `then`: what goes on afterwards."""
    await _end(directory, store)
    for each in then:
        await each()


async def _end(directory: Path, store: AsyncEdgeStore) -> None:
    proxy = Proxy(directory)
    try:
        await asyncio.to_thread(_remove_keys, directory)
        await proxy.stop()
        told = NewReport(report_class="state", kind=INGRESS_REPORT, key="", body=NOTHING_SERVED.encode())
        await store.apply(EdgeBatch(reports=(told,)))
        await asyncio.to_thread(shutil.rmtree, directory)
    except OSError as error:
        LOG.error("what served Ingresses is not gone: %s: %s", error.filename, error.strerror)
        return
    LOG.info("haproxy is stopped: this gateway serves no Ingresses any more")


def _remove_keys(directory: Path) -> None:
    for each in directory.rglob("*.pem*"):
        each.unlink()
