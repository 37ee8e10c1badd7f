"""The link between a gateway and its cloud, as a network has it: latency, bandwidth, loss, silence, cuts.

One `Route` for each gateway, with the faults that are on it; one `Wire` for each connection over it. A connection
never loses or reorders what it carries, as TCP doesn't: loss is a delay until it was sent again, and silence is a
delay that lasts until the route is healed or the connection given up. Bytes on their way are in memory; whoever ends
a connection ends them.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from skerry.errors import ProtocolError, UnavailableError
from skerry.testkit.faults import Direction, Faults
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.transcript import Transcript, told
from skerry.wire.codec import decode

DELAY_S: Final = 0.020
"""One way, on a healthy link: a gateway behind a good line."""
PACKET_BYTES: Final = 1400
"""Payload of one packet on a path with the usual MTU of 1500."""
HEADER_BYTES: Final = 62
"""IPv4, TCP and TLS record of each packet."""
RETRANSMIT_S_MIN: Final = 0.2
"""Linux's least retransmission timeout (TCP_RTO_MIN)."""
SEND_BUFFER_BYTES: Final = 64 * 1024
"""What a sender may have handed over before it has to wait."""
HANDSHAKE_BYTES: Final = 5_000
"""TCP, TLS 1.3 with two certificates, and the upgrade; three round trips."""
HANDSHAKE_TRIPS: Final = 3
DIAL_S_MAX: Final = 20.0
"""As `skerry.transport.websocket.OPEN_S_MAX`: after it a dial is given up."""


class Route:
    """One gateway's way to its cloud. `reach` gives who answers there, None while nobody listens."""

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        random: Random,
        transcript: Transcript,
        reach: Callable[[], Listener | None],
    ) -> None:
        self.name = name
        self.loop = loop
        self.random = random
        self.transcript = transcript
        self.faults = Faults()
        self.bytes: dict[Direction, int] = {"up": 0, "down": 0}
        self.free_s: dict[Direction, float] = {"up": 0.0, "down": 0.0}
        """When the modem has sent what it was given; all connections share it."""
        self._reach = reach
        self._wires: list[Wire] = []

    async def dial(self, peer_name: str, monotonic_s: Callable[[], float]) -> WireEnd:
        """A connection to the cloud, `monotonic_s` being the gateway's clock. Raises `UnavailableError`."""
        if self.faults.is_cut:
            raise UnavailableError("no route to the cloud")
        if self.faults.silent:
            await asyncio.sleep(DIAL_S_MAX)
            raise UnavailableError(f"no answer within {DIAL_S_MAX:.0f} s")
        for _ in range(HANDSHAKE_TRIPS):
            await asyncio.sleep(2 * self.delay_s(HANDSHAKE_BYTES // HANDSHAKE_TRIPS))
        listener = self._reach()
        if self.faults.is_cut or self.faults.silent or listener is None:
            raise UnavailableError(
                "connection refused" if listener is None else "the link broke while it was dialled"
            )
        wire = Wire(self, peer_name, monotonic_s)
        self._wires.append(wire)
        listener(wire.ends["down"])
        return wire.ends["up"]

    def delay_s(self, size_bytes: int) -> float:
        """How long one way takes for so much on an idle link, lost packets included."""
        packets = max(1, math.ceil(size_bytes / PACKET_BYTES))
        base_s = DELAY_S + self.faults.delay_s
        lost = 0
        if self.faults.loss:
            for _ in range(packets):
                while self.random.random() < self.faults.loss and lost < 64:
                    lost += 1
        sending_s = (size_bytes + packets * HEADER_BYTES) * 8 / (self.faults.kbit * 1000) if self.faults.kbit else 0.0
        return base_s + sending_s + lost * max(RETRANSMIT_S_MIN, 3 * base_s)

    def cut(self) -> None:
        """Break every connection, and let no new one come about."""
        self.faults.is_cut = True
        for wire in tuple(self._wires):
            wire.cut()

    def healed(self) -> None:
        """The faults are gone: what was held back goes on."""
        self.faults = Faults()
        for wire in tuple(self._wires):
            wire.release()

    def hang_up(self, side: Direction, *, power: bool = True) -> None:
        """The machine of the end that sends `side` closes its connections: its kernel says so to the other, if it
        still has power to say it with."""
        for wire in tuple(self._wires):
            wire.ends[side].die(tell=power)

    def gone(self, wire: Wire) -> None:
        if wire in self._wires:
            self._wires.remove(wire)


Listener = Callable[["WireEnd"], None]


class Wire:
    """One connection: two ends, and what is on its way between them."""

    def __init__(self, route: Route, peer_name: str, monotonic_s: Callable[[], float]) -> None:
        self.route = route
        self.ends: dict[Direction, WireEnd] = {
            "up": WireEnd(self, "up", "cloud", monotonic_s),
            "down": WireEnd(self, "down", peer_name, route.loop.time),
        }
        """By the direction in which they send."""
        self.held: list[tuple[WireEnd, bytes | None]] = []
        """Sent into silence: delivered when that ends before the connection does."""

    def cut(self) -> None:
        for end in self.ends.values():
            end.ended()
        self.held.clear()
        self.route.gone(self)

    def release(self) -> None:
        held, self.held = self.held, []
        for sender, data in held:
            sender.carry(data)


class WireEnd:
    """One end of a connection. Implements `skerry.ports.Link`."""

    def __init__(self, wire: Wire, sends: Direction, peer_name: str, monotonic_s: Callable[[], float]) -> None:
        self._wire = wire
        self._sends: Direction = sends
        self._peer_name = peer_name
        self._monotonic_s = monotonic_s
        self._arrived: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._over = False
        self._last_s = 0.0
        """When the last of what this end sent arrives at the other."""
        self._underway: deque[tuple[float, bytes | None]] = deque()
        """What is coming here, in order: (when its first byte arrives, the frame). Timers that are due at the same
        instant have no order of their own."""
        self._heard_s = 0.0

    @property
    def peer_name(self) -> str:
        return self._peer_name

    @property
    def peer_key(self) -> str:
        """Keys are not simulated."""
        return ""

    @property
    def peer_issuer(self) -> str:
        """Nor are those who sign."""
        return ""

    @property
    def peer_address(self) -> str:
        return "192.0.2.1"

    @property
    def not_after_ms(self) -> int:
        """Certificates are not simulated: none ever ends."""
        return 1 << 52

    @property
    def apart(self) -> bool:
        return False

    @property
    def heard_s(self) -> float:
        now_s = self._wire.route.loop.time()
        heard_s = now_s if self._underway and self._underway[0][0] <= now_s else self._heard_s
        return self._monotonic_s() - (now_s - heard_s) if heard_s else 0.0

    @property
    def _peer(self) -> WireEnd:
        return self._wire.ends["down" if self._sends == "up" else "up"]

    async def send(self, data: bytes, *, stream: int = 0, last: bool = False) -> None:
        if self._over:
            raise UnavailableError("the link has ended")
        self._note(data)
        self.carry(data)
        faults = self._wire.route.faults
        if faults.kbit:
            # The kernel takes no more than its buffer holds; the rest of the time is the sender's.
            ahead_s = self._wire.route.free_s[self._sends] - self._wire.route.loop.time()
            room_s = SEND_BUFFER_BYTES * 8 / (faults.kbit * 1000)
            if ahead_s > room_s:
                await asyncio.sleep(ahead_s - room_s)

    def _note(self, data: bytes) -> None:
        route = self._wire.route
        route.bytes[self._sends] += len(data)
        try:
            frame = decode(data)
            line = told(frame) if frame is not None else "a frame of a later version"
        except ProtocolError as error:
            line = f"unreadable: {error}"
        if line:
            route.transcript.note(route.name, f"{'->' if self._sends == 'up' else '<-'} {line} ({len(data)} B)")

    def carry(self, data: bytes | None) -> None:
        """Put a frame on its way; None: the end of the connection."""
        route = self._wire.route
        if self._sends in route.faults.silent:
            self._wire.held.append((self, data))
            return
        now_s, size = route.loop.time(), len(data) if data is not None else 40
        begin_s = max(now_s, route.free_s[self._sends]) if route.faults.kbit else now_s
        took_s = route.delay_s(size)
        first_s = begin_s + DELAY_S + route.faults.delay_s
        last_s = max(begin_s + took_s, self._last_s)
        route.free_s[self._sends] = begin_s + took_s - DELAY_S - route.faults.delay_s
        self._last_s = last_s
        self._peer._underway.append((min(first_s, last_s), data))
        route.loop.call_at(last_s, self._peer._arrive)

    def _arrive(self) -> None:
        _, data = self._underway.popleft()
        self._heard_s = self._wire.route.loop.time()
        if self._over:
            return
        if data is None:
            self.ended()
            return
        self._arrived.append(data)
        self._news.set()

    def ended(self) -> None:
        """Nothing more is sent; what has arrived can still be received."""
        self._over = True
        self._news.set()
        if self._peer._over:
            self._wire.route.gone(self._wire)

    async def receive(self) -> bytes:
        while True:
            if self._arrived:
                return self._arrived.popleft()
            if self._over:
                raise UnavailableError("the link has ended")
            self._news.clear()
            await self._news.wait()

    async def close(self, *, code: int, reason: str) -> None:
        self.die(tell=True)

    def abort(self) -> None:
        self.die(tell=True)

    def die(self, *, tell: bool) -> None:
        """This end is closed; `tell`: its kernel says so to the other, as far as the route lets it."""
        if self._over:
            return
        self._arrived.clear()
        self.ended()
        if tell:
            self.carry(None)
        else:
            # Nobody will answer here; the other end finds out by silence.
            self._wire.held = [held for held in self._wire.held if held[0] is not self]
