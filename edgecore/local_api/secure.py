"""The local API over TCP with TLS, for applications on the gateway: where it listens, and with what certificate.

Runs beside everything else: a port that can't be had is said once and tried again, and nothing waits for it. Keeps
nothing; its certificates are `edgecore.local_api.served`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

from edgecore.local_api.access import Access
from edgecore.local_api.answers import error_answer
from edgecore.local_api.bounds import HEAD_BYTES_MAX, Answers, Room
from edgecore.local_api.places import Door, listening_at
from edgecore.local_api.served import ServedCertificates
from skerry.errors import TooManyRequestsError, UnavailableError
from skerry.shares import Bound, Shares
from skerry.transport.liveness import keep_alive

log = logging.getLogger(__name__)

BODY_BYTES_MAX: Final = 3 << 20
"""As the cloud's API takes."""
BODIES_BYTES_MAX: Final = 8 << 20
SERVED: Final = Bound(total=192, of_one=48)
"""From one address: a pod with an operator in it has one for each kind that it watches."""
TAKEN_IN: Final = Bound(total=224, of_one=56)
"""With those who are told that there is no room; whoever comes after them is hung up on."""
ACCEPT_AGAIN_S: Final = 1.0
TURN_AWAY_S: Final = 5.0
TOLD_S: Final = 60.0
NO_ROOM: Final = "too many connections to this gateway's API: close some, or try later"
HANDSHAKE_S_MAX: Final = 10.0
FAREWELL_S_MAX: Final = 2.0
"""For a client to say that TLS is over; one that sleeps does not."""
AGAIN_S: Final = 30.0


class SecureApi:
    """Run `run` in a task group."""

    def __init__(
        self,
        doors: Sequence[Door],
        certificates: ServedCertificates,
        answers: Answers,
        access: Access,
        *,
        names: Sequence[str],
        made: Callable[[], None],
    ) -> None:
        """`names`: by which it is called beside the usual ones. `made`: told when there is another authority, or
        something to ask the cloud with."""
        self._doors = doors
        self._certificates = certificates
        self._answers = answers
        self._access = access
        self._names = list(names)
        self._made = made
        self._room = Room(body_bytes_max=BODY_BYTES_MAX, bytes_max=BODIES_BYTES_MAX)
        self._open = Shares()
        self._told_s = float("-inf")
        """When it was last said that there is no room."""

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        while True:
            try:
                await self._serve()
            except (OSError, UnavailableError) as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("the local API is not served on TCP reason=%s", error)
            await asyncio.sleep(AGAIN_S)

    async def _serve(self) -> None:
        if await self._certificates.make(self._names):
            self._made()
        stop = self._access.listen()
        try:
            async with asyncio.TaskGroup() as tasks:
                for door in self._doors:
                    tasks.create_task(self._serve_at(door, tasks))
        finally:
            stop()

    async def _serve_at(self, door: Door, tasks: asyncio.TaskGroup) -> None:
        """What listens there stays open to the agent's end: who comes waits for the certificate."""
        said, listening = "", door.listening
        while listening is None:
            try:
                listening = listening_at(door.place)
            except OSError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("the local API is not served on TCP host=%s reason=%s", door.place, error)
                await asyncio.sleep(AGAIN_S)
        log.info("local API on TCP host=%s", door.place)
        try:
            await self._accept(listening, door.place.host, tasks)
        finally:
            if door.listening is None:
                listening.close()

    async def _accept(self, listening: socket.socket, host: str, tasks: asyncio.TaskGroup) -> None:
        """Counted here, as TLS takes memory before anybody has said a word."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listening)
            except OSError as error:  # no descriptors are left, or the client has gone again
                log.warning("the local API takes no connection now reason=%s", error)
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            address = str(peer[0])
            if self._open.has_room(address, TAKEN_IN, shares=_shares(address)):
                tasks.create_task(self._connected(sock, address, host))
            else:
                sock.close()
                self._tell_of(address)

    async def _connected(self, sock: socket.socket, address: str, host: str) -> None:
        self._open.take(address)
        keep_alive(sock)
        try:
            await self._converse(sock, address, self._certificates.context(host))
        except Exception:
            # The root of this worker: one request must not end the agent.
            log.exception("local api request failed")
        finally:
            self._open.give(address)

    async def _converse(self, sock: socket.socket, address: str, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_BYTES_MAX)
        try:
            transport, protocol = await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(reader),
                sock,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_S_MAX,
                ssl_shutdown_timeout=FAREWELL_S_MAX,
            )
        except OSError:  # no TLS, or none that we know; whoever that was has been hung up on
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            if self._has_room(address):
                from edgecore.local_api.connection import Connection  # h11: with the first client

                await Connection(reader, writer, self._answers, uid=-1, room=self._room).serve()
            else:
                await self._turn_away(reader, writer)
        except (ConnectionError, TimeoutError, ssl.SSLError):
            return  # the client went away; there is nobody to tell
        except asyncio.CancelledError:
            # The agent stops: a client that sleeps would not answer TLS's farewell for half a minute.
            writer.transport.abort()
            raise
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    def _has_room(self, address: str) -> bool:
        room = self._open.is_within(address, SERVED, shares=_shares(address))
        if not room:
            self._tell_of(address)
        return room

    def _tell_of(self, address: str) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_s >= TOLD_S:
            self._told_s = now_s
            log.warning("the local API has no room for more connections from=%s open=%d", address, self._open.total)

    async def _turn_away(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(TURN_AWAY_S):
            await reader.read(HEAD_BYTES_MAX)
            answer = error_answer(TooManyRequestsError(NO_ROOM, retry_after_s=5))
            fields = (*answer.headers, ("Content-Type", answer.content_type), ("Connection", "close"))
            head = "".join(f"{name}: {value}\r\n" for name, value in fields)
            head = f"HTTP/1.1 429 Too Many Requests\r\n{head}Content-Length: {len(answer.body)}\r\n\r\n"
            writer.write(head.encode() + answer.body)
            await writer.drain()


def _shares(address: str) -> bool:
    """Applications on the gateway itself have one address, and so no share of their own."""
    return bool(address) and not ip_address(address).is_loopback
