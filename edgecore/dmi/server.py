"""The gateway's end of DMI: the socket where mappers find it, and calls to theirs.

The socket belongs to the agent's user, or to a group as well: who may connect may report in the name of every mapper.
Keeps nothing; the socket is made anew when the agent starts.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any, Final

from grpclib import server

from devices.dmi.messages import MANAGER, MANAGER_CALLS
from devices.dmi.rpc import Service, codec, mapper_at
from edgecore.dmi.mappers import MapperClient, Mappers
from skerry.errors import UnavailableError
from skerry.listening import unix_socket
from skerry.transport.grpc import configuration

LOG: Final = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 64
"""KubeEdge's framework opens one for each report, and closes it."""
RETRY_S: Final = 30.0


class DmiServer:
    """Serves `Mappers` on a socket."""

    def __init__(self, mappers: Mappers, path: Path, group: str = "") -> None:
        """`group`: who may connect beside the agent's own user; "" for nobody."""
        self._mappers = mappers
        self._path = path
        self._group = group

    async def run(self) -> None:
        """Work until cancelled. What keeps the socket from being made is said once, and tried again."""
        told = ""
        while True:
            try:
                listening = unix_socket(self._path, group=self._group, backlog=CONNECTIONS_MAX)
            except UnavailableError as error:
                if str(error) != told:
                    LOG.warning("dmi_not_served reason=%r", str(error))
                told = str(error)
                await asyncio.sleep(RETRY_S)
                continue
            await self._serve(listening)

    async def _serve(self, listening: socket.socket) -> None:
        calls = {
            "MapperRegister": self._mappers.register,
            "ReportDeviceStatus": self._mappers.report,
            "ReportDeviceStates": self._mappers.report_state,
        }
        serving = _Bounded([Service(MANAGER, MANAGER_CALLS, calls)], codec=codec(), config=configuration())
        await serving.start(sock=listening)
        LOG.info("dmi_served socket=%s", self._path)
        try:
            await asyncio.Event().wait()
        finally:
            serving.close()
            await serving.wait_closed()
            self._path.unlink(missing_ok=True)


class _Bounded(server.Server):
    """Takes no more connections than it can serve."""

    def _protocol_factory(self) -> Any:
        if sum(not handler.closing for handler in self._handlers) >= CONNECTIONS_MAX:
            return _Refuses()
        return super()._protocol_factory()


class _Refuses(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def dial(path: str) -> MapperClient:
    """See `edgecore.dmi.mappers.Sockets`."""
    return mapper_at(path)
