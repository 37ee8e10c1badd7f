"""The local API's server on a unix socket, for root and the agent's own user.

Connections are bounded, and so is what comes over them (`edgecore.local_api.connection`). The socket file is 0600,
and the kernel says who is at the other end (SO_PEERCRED). Keeps nothing; a socket file left by a killed agent is
replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from pathlib import Path
from typing import Final

from edgecore.local_api.bounds import HEAD_BYTES_MAX, Room
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.places import listening_on
from edgecore.local_api.ports import LocalParts
from edgecore.local_api.routes import Routes

log = logging.getLogger(__name__)

__all__ = ["LocalApi", "LocalParts"]

BODY_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 64


class LocalApi:
    """`listen`, then `run` in a task group."""

    def __init__(self, path: Path, parts: LocalParts) -> None:
        self._path = path
        self._objects = LocalObjects(parts)
        self.routes = Routes(parts, self._objects)
        """What is answered here, to whoever may see it."""
        if parts.node_proxy is not None:
            parts.node_proxy.begin(self.routes)
        self._room = Room(body_bytes_max=BODY_BYTES_MAX, bytes_max=CONNECTIONS_MAX * BODY_BYTES_MAX)
        self._server: asyncio.Server | None = None
        self._open = 0

    async def listen(self, listening: socket.socket | None = None) -> None:
        """`listening`: what was made early for it (`listening_on`), so that nobody was refused; who came meanwhile is
        answered now. Raises `UnavailableError` when the socket can't be made."""
        made = listening_on(self._path) if listening is None else listening
        self._server = await asyncio.start_unix_server(self._connected, sock=made, limit=HEAD_BYTES_MAX)

    async def run(self) -> None:
        assert self._server is not None, "listen first"
        stops = (self._objects.listen(), self.routes.meters.listen())
        try:
            await self._server.serve_forever()
        finally:
            for stop in stops:
                stop()
            self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            uid = _peer_uid(writer)
            if uid in (0, os.geteuid()) and self._open <= CONNECTIONS_MAX:
                from edgecore.local_api.connection import Connection  # h11: with the first client

                await Connection(reader, writer, self.routes, uid=uid, room=self._room).serve()
        except (ConnectionError, TimeoutError):
            return  # the client went away; there is nobody to tell
        except asyncio.CancelledError:
            return  # the agent stops, and nobody waits for this task: asyncio would log what it ended with
        except Exception:
            # The root of this worker: one request must not end the agent.
            log.exception("local api request failed")
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    sock: socket.socket = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
