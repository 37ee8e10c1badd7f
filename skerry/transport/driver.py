"""The loop around a session machine: frames in, frames out, time, and an orderly end.

It decides nothing. After every input it drains the machine's effects: frames go to the one sender task, by
priority (`skerry.sync.priorities`); everything else goes to `perform`, which the owner supplies. What is large is
asked of the machine only when the link has room for it and a cap (`limit`) lets it through. So little waits here,
within the machine's windows; a peer that asks and does not read the answers is given up. On a link that carries
streams apart, each node stream has a sender of its own, with at most its credit waiting. A crash loses what waits,
and the next session finds out by comparing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from skerry.errors import ProtocolError, TooLargeError, UnavailableError
from skerry.objects.traffic import Usage
from skerry.ports import Clock, Link
from skerry.sync.effects import CloseLink, Send
from skerry.sync.ports import Instant
from skerry.sync.priorities import Outgoing, Priority
from skerry.sync.traffic import Meter
from skerry.transport.gate import Gate
from skerry.transport.turns import TURN_S, Turns
from skerry.wire.codec import decode, encode, plain
from skerry.wire.density import Density
from skerry.wire.frames import CloseCode, Frame, StreamClose, StreamCredit, StreamData, StreamOpen

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)

FLUSH_S_MAX: Final = 2.0
"""How long a session that ends may still send what it has to say."""
CLOSE_S_MAX: Final = 2.0
"""How long the transport may take to end a link."""
STREAMS_TURN_BYTES: Final = 64 * 1024
"""Of streams, before a bulk report that waits has its turn: a copy that takes a day must not hold up a day of
readings."""
TURN_FRAMES: Final = 32
"""Frames that are taken of one link in a turn (`turns`): about a millisecond of small ones. Where frames are there
already, taking them waits for nothing, so a peer that floods would be heard alone."""


class Machine(Protocol[E_co]):
    """What both session machines have in common."""

    @property
    def dictionary(self) -> int:
        """What frames are deflated with; 0 for none."""
        ...

    def receive(self, frame: Frame | None, now: Instant) -> None: ...
    def progressed(self, at_s: float) -> None: ...
    def sent(self, size: int, took_s: float) -> None: ...
    def tick(self, now: Instant) -> None: ...
    def deadline(self) -> float | None: ...
    def effects(self) -> Sequence[E_co]: ...
    def capped(self, bytes_s: int | None) -> None: ...
    def idle_priority(self) -> Priority | None: ...
    def idle_frame(self) -> Frame | None: ...
    def refuse(self, reason: str, now: Instant) -> None: ...
    def lost(self, reason: str) -> None: ...


class Encoder(Protocol):
    """Makes a frame's bytes: `skerry.wire.codec.encode`, or one for many sessions."""

    def __call__(self, frame: Frame, *, dictionary: int = 0) -> bytes: ...


def now_of(clock: Clock) -> Instant:
    return Instant(monotonic_s=clock.monotonic_s(), wall_ms=clock.wall_ms())


class Driver(Generic[E]):
    """Runs one machine over one link. Make it, hand `kick` to whoever feeds the machine, then `run`."""

    def __init__(
        self, link: Link, machine: Machine[E | Send | CloseLink], clock: Clock, encoder: Encoder = encode
    ) -> None:
        self._link = link
        self._machine = machine
        self._clock = clock
        self._encode = encoder
        self.turns = Turns(clock)
        """Of all that is done for the peer on the loop."""
        self._meter = Meter()
        self._density = Density()
        self._out = Outgoing()
        self._ended: CloseLink | None = None
        # Futures and not events where one waits: ten thousand sessions have them.
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fault: UnavailableError | None = None
        self._broken: Exception | None = None
        """What went wrong in here, if anything did."""
        self._sender: asyncio.Task[None] | None = None
        self._gate: Gate | None = None
        self._gate_s: float | None = None
        """When the gate may open for what waits; None while nothing waits for it."""
        self._streamed = 0
        """Bytes of streams since anything else went out."""
        self._lines: dict[int, deque[tuple[Frame, bytes]]] = {}
        """By stream: what waits for its own sender, encoded; at most the stream's credit."""
        self._line_senders: dict[asyncio.Task[None], None] = {}
        """An empty dictionary takes a third of an empty set."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        """When the timer rings, monotonic; it may ring early, and never late."""
        self._tasks: asyncio.TaskGroup | None = None
        self._perform: Callable[[E], None] | None = None

    async def run(self, perform: Callable[[E], None]) -> CloseLink:
        """Drive until the session ends; how it ended. Work begun with `spawn` is waited for.

        The link is closed in any case. Errors that spawned work raises come out in a group, those of the machine and
        of `perform` as they are.
        """
        self._perform = perform
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                reader = tasks.create_task(self._read())
                self.kick()
                try:
                    await self._done
                    if self._peer_is_silent:
                        self._link.abort()
                    else:
                        await self._flush()
                finally:
                    reader.cancel()
                    for sender in (self._sender, *self._line_senders):
                        if sender is not None:
                            sender.cancel()
                    if self._timer is not None:
                        self._timer.cancel()
        finally:
            self._let_go()
            self._meter.look(self._link)
            if self._gate is not None:
                self._gate.end(self._link)
            self._machine.lost("stopped")
            with contextlib.suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self._link.close(code=1000, reason=self._ended.reason[:100] if self._ended else "stopped")
        if self._broken is not None:
            raise self._broken
        assert self._ended is not None, "a session ends with CloseLink"
        return self._ended

    def _let_go(self) -> None:
        """Of what refers to this driver in turn. With a circle left, session and link would be freed when the
        collector passes by, and after a storm there are thousands of them, 60 KB each."""
        self._perform = self._tasks = self._timer = self._sender = None
        error: BaseException | None = self._fault
        while error is not None:
            error.__traceback__ = None  # whose frames are this driver's
            error = error.__cause__ or error.__context__

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that belongs to the session; the session does not end before it."""
        assert self._tasks is not None, "only while running"
        try:
            return self._tasks.create_task(work)
        except RuntimeError:  # the session is ending on a fault, and takes nothing more
            work.close()
            raise

    def usage(self, *, sent_is_up: bool) -> Usage:
        """What the link carried since this was last asked."""
        return self._meter.take(self._link, sent_is_up=sent_is_up)

    @property
    def counted(self) -> int:
        """Bytes of frames that `usage` would tell of now."""
        return self._meter.size

    def limit(self, gate: Gate | None) -> None:
        """What is sent goes through this gate from now on; call it again when that holds something else."""
        if gate is not self._gate:
            self._gate = gate
            if gate is not None:
                gate.begin(self._link)
        if gate is None:
            self._machine.capped(None)
        else:
            gate.look()
            self._machine.capped(gate.rate)
        self.kick()

    @property
    def fault(self) -> UnavailableError | None:
        """What the link ended with, when it ended by itself."""
        return self._fault

    def now(self) -> Instant:
        return now_of(self._clock)

    def kick(self) -> None:
        """The machine was told something: carry out what it asks. Never raises: whoever tells it is often somebody
        else, and a fault in here ends this session alone."""
        if self._tasks is None or self._perform is None or self._broken is not None:
            return
        try:
            self._carry_out(self._perform)
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        """Of whatever kind: it is raised by `run`, to whoever owns the session, and not at somebody else's call."""
        self._broken = error
        if not self._done.done():
            self._done.set_result(None)

    def _carry_out(self, perform: Callable[[E], None]) -> None:
        for effect in self._machine.effects():
            if isinstance(effect, Send):
                self._out.add(effect.frame, effect.priority, now_s=self._clock.monotonic_s())
            elif isinstance(effect, CloseLink):
                self._ended = effect
                if not self._done.done():
                    self._done.set_result(None)
            else:
                perform(effect)
        if self._out.overflows:
            self._out.clear()
            self._machine.lost("the peer asks for more than it reads")
            self.kick()
            return
        self._arm()
        if self._sender is None or self._sender.done():
            following = self._next()
            if following is not None:
                self._sender = self.spawn(self._send(following))

    def _arm(self) -> None:
        """Every frame moves the deadline away; a timer that rings early costs less than one made anew each time."""
        deadline = self._machine.deadline()
        if deadline is not None and self._gate_s is not None:
            deadline = min(deadline, self._gate_s)
        if deadline is None or (self._timer is not None and self._timer_s <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = deadline
        delay = max(0.0, deadline - self._clock.monotonic_s())
        self._timer = asyncio.get_running_loop().call_later(delay + 0.001, self._tick)

    def _tick(self) -> None:
        self._timer, self._gate_s = None, None
        self._meter.look(self._link)
        try:
            self._machine.progressed(self._link.heard_s)
            self._machine.tick(self.now())
        except Exception as error:
            self._break(error)
        else:
            self.kick()

    def _next(self) -> tuple[Frame, Priority] | None:
        """What goes before the view, then the view and streams, then bulk reports; None where nothing may go now."""
        self._gate_s = None
        first = self._out.first()
        # Of the objects' class only comparisons wait here: small, and what is urgent stands behind them.
        before = None if first is None or first > Priority.OBJECTS else min(first, Priority.PROMPT)
        idle = self._machine.idle_priority() if before is None else None
        if idle is Priority.STREAMS and first is not None and self._streamed >= STREAMS_TURN_BYTES:
            idle = None
        if idle is not Priority.STREAMS:
            self._streamed = 0
        priority = before if before is not None else idle if idle is not None else first
        if priority is None or not self._is_open_to(priority):
            return None
        frame = self._machine.idle_frame() if idle is not None else self._out.take(now_s=self._clock.monotonic_s())
        return None if frame is None else (frame, priority)

    def _is_open_to(self, priority: Priority) -> bool:
        """Whether the gate lets it through; if not, the timer is set."""
        if self._gate is None:
            return True
        if self._gate.look():
            self._machine.capped(self._gate.rate)
        if self._ended is not None:
            return priority <= Priority.PROMPT or self._gate.rate is None
        opens_s = self._gate.opens_s(priority)
        if opens_s == 0.0:
            return True
        minute_s = self._gate.minute_s()
        self._gate_s = minute_s if opens_s is None else min(opens_s, minute_s)
        self._arm()
        return False

    async def _send(self, following: tuple[Frame, Priority] | None) -> None:
        try:
            while following is not None:
                frame, priority = following
                stream = stream_of(frame)
                data = self._encoded(frame)
                if self._gate is not None:
                    self._gate.took(len(data), priority)
                if stream and self._link.apart:
                    self._send_apart(stream, frame, data)
                else:
                    began_s = self._clock.monotonic_s()
                    await self._link.send(data, stream=stream, last=isinstance(frame, StreamClose))
                    self._meter.sent(frame, len(data))
                    self._machine.sent(len(data), self._clock.monotonic_s() - began_s)
                if isinstance(frame, StreamData):
                    self._streamed += len(data)
                    self.kick()  # there is room in its line again: whoever writes there is told
                following = self._next()
            self._sender = None
        except (UnavailableError, TooLargeError) as error:
            self._give_up(error)

    def _encoded(self, frame: Frame) -> bytes:
        if not isinstance(frame, StreamData):
            return self._encode(frame, dictionary=self._machine.dictionary)
        if not self._density.deflate(frame.stream):
            return plain(frame)
        data = self._encode(frame, dictionary=self._machine.dictionary)
        self._density.saw(frame.stream, len(frame.data), len(data))
        return data

    def _send_apart(self, stream: int, frame: Frame, data: bytes) -> None:
        assert self._tasks is not None, "only while running"
        line = self._lines.get(stream)
        if line is not None:
            line.append((frame, data))
            return
        self._lines[stream] = deque(((frame, data),))
        sender = self._tasks.create_task(self._send_line(stream))
        self._line_senders[sender] = None
        sender.add_done_callback(self._line_senders.pop)

    async def _send_line(self, stream: int) -> None:
        """Everything of one stream that waits. How long it takes says nothing of the session's pace."""
        line = self._lines[stream]
        try:
            while line:
                frame, data = line.popleft()
                await self._link.send(data, stream=stream, last=isinstance(frame, StreamClose))
                self._meter.sent(frame, len(data))
        except (UnavailableError, TooLargeError) as error:
            self._give_up(error)
        finally:
            del self._lines[stream]

    def _give_up(self, error: UnavailableError | TooLargeError) -> None:
        self._note(error)
        self._out.clear()
        self._machine.lost(str(error))
        self.kick()

    def _note(self, error: UnavailableError | TooLargeError) -> None:
        if self._fault is None and isinstance(error, UnavailableError):
            self._fault = error

    async def _read(self) -> None:
        frames, worked_s = 0, 0.0
        while not self._done.done():
            if frames >= TURN_FRAMES or worked_s >= TURN_S:
                await self.turns.rest(worked_s)
                frames, worked_s = 0, 0.0
            try:
                data = await self._link.receive()
                began_s = self._clock.monotonic_s()
                frame = decode(data)
                self._meter.received(frame, len(data))
            except UnavailableError as error:
                self._note(error)
                self._machine.lost(str(error))
                self.kick()
                return
            except ProtocolError as error:
                self._machine.refuse(str(error), self.now())
                self.kick()
                return
            self._machine.receive(frame, self.now())
            self.kick()
            frames += 1
            worked_s += self._clock.monotonic_s() - began_s

    @property
    def _peer_is_silent(self) -> bool:
        return self._ended is not None and self._ended.code == CloseCode.SILENT and not self._ended.by_peer

    async def _flush(self) -> None:
        if self._sender is not None and not self._sender.done():
            await asyncio.wait((self._sender,), timeout=FLUSH_S_MAX)


def stream_of(frame: Frame) -> int:
    """The node stream that a frame belongs to; 0 for the session's own."""
    return frame.stream if isinstance(frame, StreamOpen | StreamData | StreamCredit | StreamClose) else 0
