"""The gateway's MQTT broker at work: sockets around `skerry.mqtt.broker`, and a disk behind it.

What a turn changed is committed before what it sends goes out, many turns in one commit where the disk is slow: a
client is never told that a message was taken which a power cut could take back. Nobody's slowness costs others: a
client that reads too slowly loses messages of QoS 0, has those of QoS 1 and 2 wait in its queue, and is read from no
more.

In memory: bytes on their way, bounded a client; all else is the broker's own. A crash leaves what was committed.
While the disk takes nothing, what has to wait for it waits; clients come and go, and hear messages of QoS 0.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

from edgecore.broker.handshakes import Handshakes
from edgecore.broker.journal import Journal
from skerry.errors import UnavailableError
from skerry.frozen import Frozen, field
from skerry.listening import listening_socket, unix_socket
from skerry.mqtt.broker import Broker, Guard
from skerry.mqtt.codec import Decoder, encode
from skerry.mqtt.kept import Changes, Message
from skerry.mqtt.ledger import joined
from skerry.mqtt.limits import Limits
from skerry.mqtt.outbound import Close, Send
from skerry.mqtt.packets import V3, V5, Connack, Connect, Farewell, Packet, PacketError, Reason
from skerry.ports import Clock, Ids

LOG = logging.getLogger(__name__)

BACKLOG: Final = 100
"""Connections that wait to be taken."""
CONNECT_S_MAX: Final = 10.0
"""From the first byte to a CONNECT whose password was looked at."""
REFUSED_S: Final = 1.0
"""Before a wrong password is answered."""
GOODBYE_S: Final = 5.0
"""So long a connection that ends may take to be sent what is left."""
READ_BYTES_MAX: Final = 16 * 1024
"""Read at once: the agent's other work waits for as long as these take."""
TOLD_BYTES_MAX: Final = 64 * 1024
"""Beyond, a client is told no more of what is retained; when it has read it goes on."""
TELL_S: Final = 0.02
"""Between two looks whether it has."""
UNSENT_BYTES_MAX: Final = 256 * 1024
"""Beyond, messages of QoS 0 for this client are dropped."""
BUFFER_BYTES_MAX: Final = 1 << 20
"""Beyond, a client that does not read is not read from either."""
PARTIAL_BYTES_MAX: Final = 16 << 20
"""Of packets of all clients that have not come whole; beyond, the client with most of it has to go (0x97)."""
HELD_MAX: Final = 1000
"""Packets that wait for a commit; beyond, the client is not read from."""
TICK_S: Final = 1.0
FIGURES_S: Final = 10.0
"""Between two tellings of $SYS."""
RETRY_S: Final = 1.0
"""Before a disk that took no commit is tried again."""


class Authority(Protocol):
    """Who comes in. `Guard` says what he may do there."""

    def refresh(self) -> int:
        """Look for a change of users or rights; how many there were so far."""
        ...

    async def admit(self, username: str | None, password: bytes | None) -> str | None:
        """The user, if it is one and this is its password."""
        ...

    def certified(self, name: str, username: str | None) -> str | None:
        """The user of this name, who has proven to be it; None for none, or where another one is asked for."""
        ...


class Book(Authority, Guard, Protocol):
    """Both."""


class OpenHouse:
    """Whoever comes may do all. Implements `Book`, for tests and demos."""

    def refresh(self) -> int:
        return 0

    def credential(self, user: str) -> bytes | None:
        del user
        return b""

    async def admit(self, username: str | None, password: bytes | None) -> str | None:
        del username, password
        return "anybody"

    def certified(self, name: str, username: str | None) -> str | None:
        del name, username
        return "anybody"

    def comes_first(self, user: str) -> bool:
        del user
        return True

    def may_connect(self, user: str, client: str) -> bool:
        del user, client
        return True

    def may_publish(self, user: str, client: str, topic: str) -> bool:
        del user, client, topic
        return True

    def may_hear(self, user: str, client: str, filter: str) -> bool:
        del user, client, filter
        return True


class Listener(Frozen):
    """An address, or a unix socket."""

    host: str = ""
    port: int = 0
    tls: Callable[[], ssl.SSLContext] | None = None
    """Asked before each handshake."""
    certified: bool = False
    """Clients prove by a certificate who they are, and give no password."""
    path: Path | None = None
    group: str = ""
    """Who may connect to the socket beside its owner."""

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"{self.host}:{self.port}"


class ServerParts(Frozen):
    """What a broker is made of."""

    version: str
    listeners: Sequence[Listener]
    journal: Journal
    book: Book
    clock: Clock
    ids: Ids
    limits: Limits = field(default_factory=Limits)
    heard: Callable[[Message], None] = lambda message: None


class BrokerServer:
    """See the module. Everything but the commits runs on one event loop."""

    def __init__(self, parts: ServerParts) -> None:
        self.parts = parts
        self._began_s = self.now_s()
        self.broker = Broker(
            parts.book, now_s=self._began_s, limits=parts.limits, kept=parts.journal.load(), heard=parts.heard
        )
        self.peers: dict[int, Peer] = {}
        self._last_number = 0
        self._generation = 0
        """Counts what is to be committed."""
        self._committed = 0
        self._to_commit = asyncio.Event()
        self._scheduled = False
        self._handshakes: list[Handshakes] = []
        self._paths: list[Path] = []
        """Of sockets that are ours."""
        self._partial_bytes = 0
        self._looks: asyncio.TimerHandle | None = None
        self._dropped_seen = 0
        self._unretained_seen = 0
        self._changes_seen = 0

    def now_s(self) -> float:
        return self.parts.clock.monotonic_s()

    async def run(self) -> None:
        """Serve until cancelled. Raises `UnavailableError` when an address can't be listened on."""
        self._review(self.now_s())  # what was kept is of users and rights from before
        servers: list[asyncio.Server] = []
        try:
            servers.extend([await self._listen(listener) for listener in self.parts.listeners])
            async with asyncio.TaskGroup() as group:
                group.create_task(self._commit_always())
                group.create_task(self._tick_always())
        finally:
            for server in servers:
                server.close()
            for handshakes in self._handshakes:
                handshakes.close()
            for path in self._paths:
                path.unlink(missing_ok=True)
            if self._looks is not None:
                self._looks.cancel()
            self._goodbye()
            self.parts.journal.close()

    async def _listen(self, listener: Listener) -> asyncio.Server:
        if listener.path is not None:
            place = unix_socket(listener.path, group=listener.group, backlog=BACKLOG)
            self._paths.append(listener.path)
            server = await asyncio.get_running_loop().create_unix_server(lambda: Peer(self), sock=place)
            LOG.info("broker_listens address=%s", listener)
            return server
        try:
            place = listening_socket(listener.host, listener.port, backlog=BACKLOG)
        except OSError as error:
            raise UnavailableError(
                f"the broker can't listen on {listener}: {error.strerror or error}; a broker that is there already "
                "is named with --mqtt-broker mqtt://HOST:PORT"
            ) from error
        LOG.info(
            "broker_listens address=%s tls=%s certificates=%s", listener, listener.tls is not None, listener.certified
        )
        return await self.serve_on(place, listener.tls, certified=listener.certified)

    async def serve_on(
        self, place: Any, tls: Callable[[], ssl.SSLContext] | None = None, *, certified: bool = False
    ) -> asyncio.Server:
        """Take connections on a socket that listens."""
        loop = asyncio.get_running_loop()
        if tls is None:
            return await loop.create_server(lambda: Peer(self), sock=place)
        handshakes = Handshakes(tls, lambda: Peer(self, certified=certified))
        self._handshakes.append(handshakes)
        return await loop.create_server(handshakes.protocol, sock=place)

    def _goodbye(self) -> None:
        for peer in list(self.peers.values()):
            if peer.version == V5:
                peer.write(encode(_SHUTTING_DOWN, V5))
            peer.close()

    def hang_up(self) -> None:
        """Every connection ends at once, as if the network did."""
        for peer in list(self.peers.values()):
            peer.abort()

    # --- connections --------------------------------------------------------------------------------------

    def enter(self, peer: Peer) -> int:
        """A connection's number; 0 when there are too many. Those that have said nothing yet make room for the
        newest: else whoever opens many and says nothing would keep everybody out."""
        if len(self.peers) >= 2 * self.parts.limits.connections:
            mute = next((each for each in self.peers.values() if each.is_mute), None)
            if mute is None:
                return 0
            self.leave(mute)
            mute.abort()
        self._last_number += 1
        self.peers[self._last_number] = peer
        return self._last_number

    def leave(self, peer: Peer) -> None:
        if self.peers.pop(peer.number, None) is not None:
            self.broker.lost(peer.number, self.now_s())
            self.schedule()

    def partial(self, peer: Peer, change: int) -> None:
        """So much more of what a client sends is not yet a packet."""
        self._partial_bytes += change
        if change > 0 and self._partial_bytes > PARTIAL_BYTES_MAX:
            most = max(self.peers.values(), key=lambda each: each.partial_bytes, default=peer)
            LOG.warning("broker_full packets that have not come whole take all room bytes=%d", most.partial_bytes)
            most.refuse(PacketError(Reason.QUOTA, "packets that have not come whole take all room"))

    def schedule(self) -> None:
        """What the broker has to say is sent at the end of this turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        self._tell_retained()
        if self.broker.has_changes:
            self._to_commit.set()
        due = self._due
        touched: set[Peer] = set()
        for effect in self.broker.take_effects():
            peer = self.peers.get(effect.connection)
            if peer is None:
                continue
            match effect:
                case Send(number, packet, droppable, waits):
                    if not peer.give(packet, due if waits else 0, droppable=droppable):
                        self.broker.unsent(number)
                case Close():
                    peer.end()
            touched.add(peer)
        for peer in touched:
            peer.flush()

    def _tell_retained(self) -> None:
        """To everyone with room a portion; the rest in a later turn, when others had theirs."""
        if not self.broker.behind:
            return
        now_s, again = self.now_s(), False
        for number in tuple(self.broker.behind):
            peer = self.peers.get(number)
            if peer is not None and peer.has_room:
                again = self.broker.tell(number, now_s) or again
        loop = asyncio.get_running_loop()
        if again:
            self._scheduled = True
            loop.call_soon(self._flush)
        elif self.broker.behind and self._looks is None:
            self._looks = loop.call_later(TELL_S, self._look_again)

    def _look_again(self) -> None:
        self._looks = None
        self.schedule()

    @property
    def _due(self) -> int:
        """The generation that what is sent now waits for; 0: none. What is to be written is taken when the disk is
        free, and is then the next."""
        if self.broker.has_changes:
            return self._generation + 1
        return self._generation if self._generation > self._committed else 0

    async def _commit_always(self) -> None:
        told = ""
        unwritten: Changes | None = None
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            changes = self.broker.take_changes()
            if changes is None or unwritten is not None:
                changes = unwritten if changes is None or unwritten is None else joined(unwritten, changes)
            if changes is None:
                continue
            self._generation += 1
            try:
                await asyncio.shield(asyncio.to_thread(self.parts.journal.commit, changes))
            except UnavailableError as error:
                if str(error) != told:
                    LOG.error("broker_unwritten clients wait for their acknowledgements reason=%r", str(error))
                told = str(error)
                unwritten = changes
                await asyncio.sleep(RETRY_S)
                self._to_commit.set()
                continue
            if told:
                LOG.info("broker_writes_again")
            told, unwritten = "", None
            self._committed = self._generation
            for peer in list(self.peers.values()):
                peer.release(self._committed)

    async def _tick_always(self) -> None:
        told_s = float("-inf")
        while True:
            now_s = self.now_s()
            self.broker.tick(now_s)
            self._review(now_s)
            if now_s - told_s >= FIGURES_S:
                told_s = now_s
                self._tell_figures(now_s)
            self.schedule()
            await asyncio.sleep(TICK_S)

    def _review(self, now_s: float) -> None:
        changes = self.parts.book.refresh()
        if changes != self._changes_seen:
            self._changes_seen = changes
            LOG.info("broker_reviews users or rights have changed")
            self.broker.review(now_s)

    def _tell_figures(self, now_s: float) -> None:
        said = {
            **self.broker.figures,
            "uptime": f"{round(now_s - self._began_s)} seconds",
            "version": self.parts.version,
        }
        for name, value in said.items():
            topic = f"$SYS/broker/{name}"
            self.broker.publish(Message(topic=topic, payload=str(value).encode(), qos=0, retain=True), now_s)
        if self.broker.counts.unretained > self._unretained_seen:
            self._unretained_seen = self.broker.counts.unretained
            LOG.warning("broker_unretained no room to retain messages, in all count=%d", self._unretained_seen)
        dropped = self.broker.figures["publish/messages/dropped"]
        if dropped > self._dropped_seen:
            self._dropped_seen = dropped
            LOG.warning(
                "broker_dropped queues were full, in all dropped=%d clients=%s", dropped, self.broker.dropped()
            )


_SHUTTING_DOWN: Final = Farewell(reason=Reason.SHUTTING_DOWN)


def common_name(certificate: Mapping[str, Any] | None) -> str:
    """Of the subject of a certificate, as `ssl` tells it; "" for none, or more than one."""
    subject: Sequence[Sequence[tuple[str, str]]] = certificate.get("subject", ()) if certificate else ()
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: BrokerServer, *, certified: bool = False) -> None:
        """`certified`: its certificate says who it is."""
        self._server = server
        self._certified = certified
        self._decoder = Decoder(packet_bytes_max=server.parts.limits.packet_bytes)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._held: deque[tuple[int, bytes]] = deque()
        """What waits for a commit, by its generation; b"" is the end."""
        self.held_bytes = 0
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._greeted = False
        """Its CONNACK is not behind anything: what need not wait may go before what does."""
        self._deadline: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._welcome = False
        self._ended = False
        self._closing = False
        self._leaving = False
        """It ends when what it waits for is sent."""
        self._choked = False
        self.number = 0
        self.partial_bytes = 0
        """Of what came and is not yet a packet."""

    @property
    def version(self) -> int:
        return self._decoder.version

    @property
    def has_room(self) -> bool:
        """For more of what can wait."""
        return len(self._held) < HELD_MAX and self._unsent_bytes + self.held_bytes <= TOLD_BYTES_MAX

    @property
    def _unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() + self._out_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.number = self._server.enter(self)
        if not self.number:
            self._transport.abort()
            return
        # asyncio would read up to 256 KiB at once, thousands of packets, between two turns of the agent's loop.
        if hasattr(self._transport, "max_size"):
            self._transport.max_size = READ_BYTES_MAX  # pyright: ignore[reportAttributeAccessIssue]
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        self._deadline = asyncio.get_running_loop().call_later(CONNECT_S_MAX, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._deadline is not None:
            self._deadline.cancel()
        if self._asking is not None:
            self._asking.cancel()
        self._ended = True
        self._held.clear()
        self.held_bytes = 0
        self._count_partial(0)
        self._server.leave(self)

    # --- what comes ---------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._ended or self._closing or self._leaving:
            return  # a client that is told why it has to go may still be sending
        self._decoder.feed(data)
        self._work()

    def _work(self) -> None:
        """Follow what has come, as far as it may be now."""
        server = self._server
        now_s = server.now_s()
        try:
            while not self._closing and self._asking is None and not self._is_full:
                packet = self._decoder.next()
                if packet is None:
                    break
                if isinstance(packet, Connect):
                    self._asking = asyncio.get_running_loop().create_task(self._admit(packet))
                else:
                    server.broker.receive(self.number, packet, now_s)
        except PacketError as error:
            self._break(error, now_s)
        self._breathe()
        self._count_partial(self._decoder.pending)
        server.schedule()

    def _count_partial(self, pending: int) -> None:
        if self._leaving or self._closing or self._ended:
            pending = 0
        change, self.partial_bytes = pending - self.partial_bytes, pending
        if change:
            self._server.partial(self, change)

    def refuse(self, error: PacketError) -> None:
        """It has to go, for the reason that is told."""
        self._break(error, self._server.now_s())
        self._server.schedule()
        self._count_partial(0)

    @property
    def is_mute(self) -> bool:
        """It has not said who it is, nor is it being looked at."""
        return not self._welcome and self._asking is None

    @property
    def _is_full(self) -> bool:
        return self._choked or len(self._held) >= HELD_MAX

    def _breathe(self) -> None:
        """Read on, or not."""
        if self._closing or self._transport.is_closing():
            return
        if self._is_full or self._asking is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _break(self, error: PacketError, now_s: float) -> None:
        LOG.info("broker_refuses_packet reason=%r", str(error))
        if self._welcome:
            self._server.broker.broken(self.number, error, now_s)
            return
        if error.reason == Reason.UNSUPPORTED_VERSION:
            self.write(encode(Connack(reason=error.reason), V3))
        self.close()

    async def _admit(self, packet: Connect) -> None:
        server = self._server
        user = await self._user(packet)
        if user is None:
            LOG.warning("broker_refuses_user user=%r client=%r", (packet.username or "")[:64], packet.client[:64])
            await asyncio.sleep(REFUSED_S)
            self.write(encode(Connack(reason=Reason.BAD_CREDENTIALS), packet.version))
            self.close()
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._asking = None
        self._welcome = True
        assigned = f"auto-{server.parts.ids.token_hex(8)}"
        server.broker.connect(self.number, user, packet, assigned=assigned, now_s=server.now_s())
        self._work()

    async def _user(self, packet: Connect) -> str | None:
        """Who it is; None: it is not let in."""
        book = self._server.parts.book
        if not self._certified:
            return await book.admit(packet.username, packet.password)
        name = common_name(self._transport.get_extra_info("peercert"))
        return book.certified(name, packet.username) if name else None

    # --- what goes ----------------------------------------------------------------------------------------

    def give(self, packet: Packet, due: int, *, droppable: bool) -> bool:
        """Whether there was room for it. It is sent when generation `due` is committed."""
        if self._ended or self._closing:
            return True
        if droppable and self._unsent_bytes > UNSENT_BYTES_MAX:
            return False
        data = encode(packet, self._decoder.version)
        if due or (self._held and not self._greeted):
            if droppable and len(self._held) >= HELD_MAX:
                return False
            self._held.append((due, data))
            self.held_bytes += len(data)
        else:
            self._greeted = True  # a client is sent its CONNACK first
            self._out.append(data)
            self._out_bytes += len(data)
        return True

    def end(self) -> None:
        """To be closed when all before it is sent. A disk that takes nothing is not waited for: what was not
        acknowledged by then never is, and the client sends it again."""
        self._leaving = True
        if not self._held:
            self._out.append(b"")
            return
        self._held.append((0, b""))
        asyncio.get_running_loop().call_later(GOODBYE_S, self.abort)

    def release(self, generation: int) -> None:
        """This is committed."""
        if not self._held:
            return
        full = self._is_full
        while self._held and self._held[0][0] <= generation:
            data = self._held.popleft()[1]
            self.held_bytes -= len(data)
            self._greeted = True
            self._out.append(data)
            self._out_bytes += len(data)
        self.flush()
        if full and not self._is_full:
            self._work()

    def flush(self) -> None:
        out, self._out, self._out_bytes = self._out, [], 0
        if out and not self._closing and not self._transport.is_closing():
            last = b"" in out
            self._transport.write(b"".join(out))
            if last:
                self.close()

    def write(self, data: bytes) -> None:
        if not self._closing and not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        self._choked = True
        self._breathe()

    def resume_writing(self) -> None:
        self._choked = False
        self._work()

    def close(self) -> None:
        """When what is left is sent and the client has closed as well, or after a while: closing a socket on which
        something unread is makes the peer's kernel throw away our last word."""
        if self._closing or self._transport.is_closing():
            return
        self._closing = True
        try:
            if self._transport.can_write_eof():
                self._transport.write_eof()
                self._transport.resume_reading()
            else:
                self._transport.close()
        except OSError:  # the client was faster, with a reset, and asyncio has not seen it yet
            self.abort()
            return
        asyncio.get_running_loop().call_later(GOODBYE_S, self.abort)

    def abort(self) -> None:
        self._transport.abort()
