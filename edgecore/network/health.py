"""Tells balancers outside whether this gateway has a ready pod of a service (`healthCheckNodePort`), as kube-proxy.

Only services of type LoadBalancer with externalTrafficPolicy Local have such a port. Keeps nothing: each answer is
made from the directory when it is asked for. Bounded: so many connections, each with a short time to ask and to take.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Final

import h11

from edgecore.network.directory import Directory, Name
from skerry.frozen import Frozen
from skerry.objects.json import int_at, str_at
from skerry.waits import until_set

LOG: Final = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 64
ASK_S_MAX: Final = 5.0
HEAD_BYTES_MAX: Final = 8 << 10
AGAIN_S: Final = 10.0


class Health(Frozen):
    """What is said of one service."""

    namespace: str
    name: str
    endpoints: int
    """Ready ones on this gateway."""

    @property
    def code(self) -> int:
        return 200 if self.endpoints else 503

    def body(self) -> bytes:
        service = {"namespace": self.namespace, "name": self.name}
        told = {"service": service, "localEndpoints": self.endpoints, "serviceProxyHealthy": True}
        return json.dumps(told, indent="\t").encode()


def health_ports(directory: Directory) -> dict[int, Name]:
    """The ports to answer on. Of two services with one port the first has it."""
    found: dict[int, Name] = {}
    for at, service in directory.services():
        port = int_at(service, "spec", "healthCheckNodePort")
        balanced = str_at(service, "spec", "type") == "LoadBalancer"
        if port and balanced and str_at(service, "spec", "externalTrafficPolicy") == "Local":
            found.setdefault(port, at)
    return found


def health_of(directory: Directory, at: Name) -> Health:
    ready = [each for each in directory.members(*at) if each.ready and each.node == directory.node]
    return Health(namespace=at[0], name=at[1], endpoints=len({each.address for each in ready}))


class HealthPorts:
    """Run `run` in a task group; `poke` it when the directory changed."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._changed = asyncio.Event()
        self._servers: dict[int, asyncio.Server] = {}
        self._services: dict[int, Name] = {}
        self._refused: set[int] = set()
        self._connections = 0

    def poke(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled. A port that is somebody else's is told once and tried again."""
        try:
            while True:
                self._changed.clear()
                await self._listen()
                await until_set(self._changed, within_s=AGAIN_S if self._refused else None)  # it may be free by then
        finally:
            for server in self._servers.values():
                server.close()

    async def _listen(self) -> None:
        self._services = health_ports(self._directory)
        for port in [port for port in self._servers if port not in self._services]:
            self._servers.pop(port).close()
        self._refused &= self._services.keys()
        for port in self._services:
            if port in self._servers:
                continue
            try:
                self._servers[port] = await asyncio.start_server(self._connected, None, port, limit=HEAD_BYTES_MAX)
                self._refused.discard(port)
            except OSError as error:
                if port not in self._refused:
                    LOG.warning("health of a service can't be told port=%d reason=%r", port, str(error))
                self._refused.add(port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= CONNECTIONS_MAX:
            writer.close()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(ASK_S_MAX):
                await self._reply(reader, writer)
        except (OSError, TimeoutError, h11.RemoteProtocolError):
            return  # it did not ask in time, or not in HTTP
        finally:
            self._connections -= 1
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = self._services.get(writer.get_extra_info("sockname")[1])
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(await reader.read(HEAD_BYTES_MAX))
        if at is None or not isinstance(event, h11.Request):
            return
        health = health_of(self._directory, at)
        body = health.body()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Load-Balancing-Endpoint-Weight", str(health.endpoints)),
            ("Connection", "close"),
        ]
        sent = http.send(h11.Response(status_code=health.code, headers=headers)) or b""
        if event.method != b"HEAD":
            sent += http.send(h11.Data(data=body)) or b""
        writer.write(sent)
        await writer.drain()
