"""A line as the bus uses it: one request, one answer, and quiet after anything else.

TCP gives every request a number; there a silence costs the connection, and a late answer finds nobody. On a serial
line, and on TCP that only carries one, nothing tells an answer from a late one to the request before. So there:

- a frame begins with the first byte after the request, has the length that the request implies, and is an answer
  only when nothing follows it for 3.5 characters (MODBUS over Serial Line 1.02, 2.5.1.1);
- after a silence, a damaged or a foreign answer, or bytes that nobody asked for, nothing is sent until the line was
  quiet for `drain_s`, counted anew with each byte that arrives;
- where a unit can return query data (function 8), a random nonce goes first after that, and whatever arrives before
  the nonce is of the past;
- an intact frame that turns up in spite of that shows that its devices answer later still: the quiet asked for is
  doubled, up to `DRAIN_GROWTH_MAX` times what is configured, and halved again after `CALM_ANSWERS` good answers.

It keeps the connection and the last transaction's number; a crash costs the request in flight. Since an answer may
be under way then, a line without numbers that is opened is first heard until it is quiet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from devices.bus import ExceptionAnswerError, LineDownError, Request, SilentError, WrongAnswerError
from devices.modbus.asks import Ask
from devices.modbus.channels import Channel, OpenChannel
from devices.modbus.frames import Framing
from devices.modbus.pdu import DataAsk, EchoAsk, IdentifyAsk
from devices.modbus.settings import WireSettings
from skerry.errors import UnavailableError
from skerry.ports import Ids

T = TypeVar("T")

DRAIN_GROWTH_MAX: Final = 8
CALM_ANSWERS: Final = 500
DRAINS_MAX: Final = 10
"""So many times `drain_s` a line may go on babbling before it counts as down."""
IDENTIFICATIONS_MAX: Final = 16
"""Answers about one device: 4 KB of names are more than any has."""

Trace = Callable[[str, bytes], None]
"""Told of each frame sent (`>`) and of bytes as they arrive (`<`), and of what is thrown away (`!`)."""


class StreamWire:
    """A `Wire` over any channel, in any framing."""

    def __init__(
        self,
        open_channel: OpenChannel,
        framing: Framing,
        settings: WireSettings,
        *,
        name: str,
        ids: Ids,
        trace: Trace | None = None,
    ) -> None:
        self._open = open_channel
        self._framing = framing
        self._settings = settings
        self._name = name
        self._ids = ids
        self._trace = trace or _untraced
        self._channel: Channel | None = None
        self._transaction = int(ids.unit() * 0x10000)
        self._must_drain = False
        self._barrier_due = False
        self._without_barrier: set[int] = set()
        self._foreign = False
        self._calm_answers = 0
        self.drain_s = settings.drain_s
        """How long the line must be quiet now; grows with answers that were later still."""
        self.strays = 0
        """Times that bytes came which nobody had asked for."""

    # --- the port -----------------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """See `Wire`."""
        if self._channel is not None and self._channel.inbox.lost:
            # Some slaves hang up on a connection that was idle; that is no reason for a missing value.
            self._hang_up()
        channel = self._channel or await self._connect()
        if self._framing.has_ids:
            return
        if channel.inbox.buffer and not self._must_drain:
            self.strays += 1
            self._must_drain = self._foreign = self._barrier_due = True
        if self._must_drain:
            await self._drain(channel)
        await self._quiet(channel, self._settings.silence_s)

    async def transact(self, request: Request) -> tuple[int, ...]:
        """See `Wire`."""
        await self.ready()
        await self._barrier(request.unit)
        return await self._exchange(DataAsk(request))

    async def identify(self, unit: int) -> Mapping[int, bytes]:
        """See `Wire`."""
        await self.ready()
        await self._barrier(unit)
        objects: dict[int, bytes] = {}
        level, first = 2, 0
        for _ in range(IDENTIFICATIONS_MAX):
            try:
                page = await self._exchange(IdentifyAsk(unit=unit, level=level, first=first))
            except ExceptionAnswerError as error:
                if error.code != 3 or level == 1:
                    raise
                level = 1  # it has the basic objects alone (6.21)
                await self.ready()
                continue
            objects.update(page.objects)
            if page.more is None:
                break
            first = page.more
            await self.ready()
        return objects

    async def reset(self) -> None:
        """See `Wire`."""
        if self._framing.has_ids:
            self._hang_up()
            return
        self._must_drain = self._barrier_due = True
        if self._settings.character_s == 0 or self._lost():
            # TCP that carries a serial line: the connection may be what is sick. What is late comes to the next one,
            # which is heard until it is quiet as well.
            self._hang_up()
        try:
            await self.ready()
        except UnavailableError:
            self._must_drain = True  # told by the next request

    async def close(self) -> None:
        self._hang_up()

    @property
    def connected(self) -> bool:
        """As far as the channel knows."""
        return self._channel is not None and not self._lost()

    # --- the connection -----------------------------------------------------------------------------------------

    def _lost(self) -> bool:
        return self._channel is not None and bool(self._channel.inbox.lost)

    def _hang_up(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    async def _connect(self) -> Channel:
        channel = await self._open()
        self._channel = channel
        self._must_drain = not self._framing.has_ids
        if self._settings.pause_after_connect_s:
            await asyncio.sleep(self._settings.pause_after_connect_s)
        return channel

    # --- quiet --------------------------------------------------------------------------------------------------

    async def _quiet(self, channel: Channel, quiet_s: float, *, until_s: float | None = None) -> bool:
        """See `Inbox.quiet`. Raises `LineDownError`."""
        quiet = await channel.inbox.quiet(quiet_s, until_s=until_s)
        if channel.inbox.lost:
            raise LineDownError(channel.inbox.lost)
        return quiet

    async def _drain(self, channel: Channel) -> None:
        """Throw away what arrives until nothing did for `drain_s`."""
        loop = asyncio.get_running_loop()
        inbox = channel.inbox
        inbox.last_s = loop.time()
        drain_s = self.drain_s
        quiet = await self._quiet(channel, drain_s, until_s=loop.time() + DRAINS_MAX * drain_s)
        if inbox.buffer:
            self._trace("!", bytes(inbox.buffer))
            if self._foreign and self._framing.is_intact(bytes(inbox.buffer)):
                # Whole, and not what was asked for: what comes late here comes later than was thought.
                self.drain_s = min(2 * drain_s, DRAIN_GROWTH_MAX * self._settings.drain_s)
                self._calm_answers = 0
            inbox.buffer.clear()
        self._foreign = False
        if not quiet:
            raise LineDownError(f"{self._name} is never quiet: something talks on it without being asked")
        self._must_drain = False

    async def _barrier(self, unit: int) -> None:
        """After a disturbance: a nonce that nobody can have answered before."""
        if not self._barrier_due:
            return
        if unit in self._settings.barriers and unit not in self._without_barrier:
            ask = EchoAsk(unit=unit, nonce=int(self._ids.unit() * 0x10000).to_bytes(2, "big"))
            try:
                await self._exchange(ask)
            except ExceptionAnswerError as error:
                if error.code != 1:
                    raise
                self._without_barrier.add(unit)
            await self.ready()
        self._barrier_due = False

    # --- one exchange -------------------------------------------------------------------------------------------

    async def _exchange(self, ask: Ask[T]) -> T:
        channel = self._channel
        assert channel is not None, "made ready before"
        self._transaction = (self._transaction + 1) & 0xFFFF
        frame = self._framing.encode(ask.unit, ask.encode(), self._transaction)
        self._trace(">", frame)
        channel.send(frame)
        timeout_s = self._settings.timeouts_s.get(ask.unit, self._settings.timeout_s)
        per_byte = 2 if self._framing.name == "ascii" else 1
        on_line = len(frame) + per_byte * ask.expected + self._framing.around
        deadline_s = asyncio.get_running_loop().time() + timeout_s + on_line * self._settings.character_s
        if self._settings.local_echo:
            await self._hear_echo(channel, frame, deadline_s)
        try:
            answer = ask.decode(await self._answer(channel, ask, deadline_s, timeout_s))
        except WrongAnswerError:
            self._foreign = True
            raise
        self._calm()
        return answer

    def _calm(self) -> None:
        self._calm_answers += 1
        if self._calm_answers >= CALM_ANSWERS and self.drain_s > self._settings.drain_s:
            self._calm_answers = 0
            self.drain_s = max(self.drain_s / 2, self._settings.drain_s)

    async def _answer(self, channel: Channel, ask: Ask[T], deadline_s: float, timeout_s: float) -> bytes:
        inbox = channel.inbox
        while True:
            taken = self._framing.take(ask, self._transaction, inbox.buffer) if inbox.buffer else None
            if taken is not None:
                if not self._framing.has_ids:
                    # A frame ends where the line is quiet: what is more than the answer makes it no answer.
                    await self._quiet(channel, self._settings.silence_s, until_s=deadline_s)
                    if len(inbox.buffer) > taken.used:
                        raise WrongAnswerError(f"{len(inbox.buffer) - taken.used} bytes more than the answer")
                self._trace("<", bytes(inbox.buffer[: taken.used]))
                del inbox.buffer[: taken.used]
                return taken.pdu
            if inbox.lost:
                raise LineDownError(inbox.lost)
            if not await self._more(channel, deadline_s):
                if inbox.buffer and not self._framing.has_ids:
                    raise WrongAnswerError(f"the answer of unit {ask.unit} broke off after {len(inbox.buffer)} bytes")
                raise SilentError(f"unit {ask.unit} is silent for {timeout_s:g} s")

    async def _hear_echo(self, channel: Channel, frame: bytes, deadline_s: float) -> None:
        inbox = channel.inbox
        while len(inbox.buffer) < len(frame):
            if not frame.startswith(bytes(inbox.buffer)):
                break
            if not await self._more(channel, deadline_s):
                raise SilentError(f"{self._name} did not echo what was sent, as localEcho says it does")
        if not inbox.buffer.startswith(frame):
            raise WrongAnswerError("what was sent came back changed: another talks on the line")
        del inbox.buffer[: len(frame)]

    async def _more(self, channel: Channel, deadline_s: float) -> bool:
        """Wait for more bytes, or the end of the channel; False at the deadline."""
        inbox = channel.inbox
        inbox.arrived.clear()
        if inbox.lost:
            return True
        try:
            async with asyncio.timeout_at(deadline_s):
                await inbox.arrived.wait()
        except TimeoutError:
            return False
        return True


def _untraced(way: str, data: bytes) -> None:
    """Nobody listens."""
