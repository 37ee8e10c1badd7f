"""A line: one worker for one TCP endpoint or serial port, one request in flight.

Modbus slaves are single-minded, and many gateways serve one connection: so everything that wants something of a
line stands in its queue here. Writes go before reads that somebody waits for, and these before polls; polls go by
due time; a silent unit is asked ever less often, so that it takes no more than `BreakerSettings.share_max` of the
line from the others. The worker knows registers and coils, and nothing of bytes: `Wire` is the port to them.

**No wrong value, rather none.** An answer is taken only when it is of the right unit, function and length
(`check`), and after any silence the wire is reset, because an answer that comes late must find nobody to mistake
it for another's.

Nothing is kept on disk; a crash costs the polls and writes in flight, whose owners ask again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from devices.budget import Budget, LineCosts, budget
from devices.figures import LineFigures, Recent, UnitCounts, UnitFigures
from devices.plan import Block, Boundary, Limits, Point, Table, plan_blocks, split
from devices.schedule import Breakers, BreakerSettings, Poll, Schedule
from skerry.errors import UnavailableError
from skerry.frozen import Frozen, field
from skerry.ports import Clock, Ids
from skerry.waits import longer_s, until_set

LOG = logging.getLogger(__name__)

READ_FUNCTIONS: Final[dict[Table, int]] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}

EXCEPTIONS: Final[dict[int, str]] = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still at work",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target does not respond",
}
"""Modbus Application Protocol 1.1b3, 7."""

PERMANENT_EXCEPTIONS: Final = frozenset({1, 2, 3})
"""Asking the same again gets the same answer."""

DIVIDING_EXCEPTIONS: Final = frozenset({2, 3})
"""What a device says of a block that touches a place it does not have, or that is longer than it likes."""

AWAY_EXCEPTIONS: Final = frozenset({10, 11})
"""The gateway answers for a unit that does not."""


class Request(Frozen):
    """One request to one unit."""

    unit: int
    function: int
    """1 to 6, 15, 16, 22, 23."""
    address: int
    """The first place, counted from 0; of function 23 the first to read."""
    count: int = 1
    """How many places are read."""
    values: tuple[int, ...] = ()
    """What to write: registers, or bits as 0 and 1; for function 22 the AND mask and the OR mask."""
    write_address: int = 0
    """Function 23 writes here, before it reads."""


class SilentError(UnavailableError):
    """No answer in time."""


class WrongAnswerError(UnavailableError):
    """An answer that does not belong to the request."""


class LineDownError(UnavailableError):
    """No connection to the endpoint."""


class ExceptionAnswerError(UnavailableError):
    """The device answered that it can't."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}: {EXCEPTIONS.get(code, 'unknown')}")
        self.code = code


class Wire(Protocol):
    """One connection to a line. Never retries by itself."""

    async def ready(self) -> None:
        """Connect where that is needed, and wait until the line may be used. Raises `LineDownError`."""
        ...

    async def transact(self, request: Request) -> tuple[int, ...]:
        """The registers or bits read; () for a write whose echo was right.

        Raises `SilentError`, `WrongAnswerError`, `LineDownError` (it can't connect as well), `ExceptionAnswerError`.
        """
        ...

    async def identify(self, unit: int) -> Mapping[int, bytes]:
        """What a unit says of itself (function 43/14): texts by object number. Raises what `transact` does."""
        ...

    async def reset(self) -> None:
        """Make sure that no answer to an earlier request can be taken for one to a later; this may take a while.
        Never raises for a sick line."""
        ...

    async def close(self) -> None: ...


class LineSettings(Frozen):
    """How one line is treated."""

    pause_s: float = 0.0
    """Between an answer and the next request: some devices need a breath."""
    writes_max: int = 64
    """Waiting at once; more are refused, as whoever writes faster than a line takes has to know. As many reads."""
    retries: int = 1
    """A poll that went wrong is asked again at once, as its next turn may be minutes away; only of a unit that
    answered the time before."""
    reconnect_s_min: float = 0.5
    reconnect_s_max: float = 30.0
    """A PLC that reboots is back in seconds; one that is gone is not worth a connection attempt each second."""
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    costs: LineCosts | None = None
    """What a request costs, for the budget; None: it is not known before devices have answered for a while."""


class BlockRead(Frozen):
    """The outcome of one poll: the answer's words, or why there is none."""

    block: Block
    words: tuple[int, ...] | None
    reason: str
    device_lives: bool
    """The unit answered, be it with an exception."""
    source_ms: int
    """Wall clock at the middle of request and response."""
    monotonic_s: float


Transaction: TypeAlias = "Callable[[Wire], Awaitable[None]]"
"""Several requests that must not be parted: a write and its reading back."""


class _Write(Frozen):
    unit: int
    transaction: Transaction
    done: asyncio.Future[None]
    turn: asyncio.Timeout
    """Until its turn has to come; none from then on: what is on the wire is waited for to its end."""


@dataclasses.dataclass(slots=True, kw_only=True)
class LineStats:
    """Counted since the start."""

    requests: int = 0
    silences: int = 0
    wrong_answers: int = 0
    skipped: int = 0
    """Polls of units that are left alone."""
    missed: dict[str, int] = dataclasses.field(default_factory=dict[str, int])
    """Cycles skipped because the line was busy, by device."""
    busy_s: float = 0.0
    """Time in which the line was used, pauses and quiet included."""
    units: dict[int, UnitCounts] = dataclasses.field(default_factory=dict[int, UnitCounts])


class Hole(Frozen):
    """A place at which a device wants a block to begin, because it refused one across it."""

    boundary: Boundary
    learned_ms: int
    """Wall clock; see `HOLES_MS_MAX`."""


HOLES_MS_MAX: Final = 7 * 24 * 3600 * 1000
"""So long a refusal is believed: then the joined block is tried again, as devices are changed and updated. A hole
that is still there costs a few requests a week."""
ANSWERS_KNOWN: Final = 100
"""Polls answered, after which it is known how long devices on this line take."""
HOLES_MAX: Final = 512
"""Of one line; a device that refuses more is read place by place all the same, and learned anew after a start."""

BlockKey = tuple[float, int, str, int]
"""Period, unit, table and first address of a block."""


class Line:
    """The queue and the worker of one line. Use: `configure`, `run` in a task, `write` from others."""

    def __init__(
        self,
        wire: Wire,
        *,
        settings: LineSettings,
        clock: Clock,
        ids: Ids,
        sink: Callable[[BlockRead], object],
        holes: Iterable[Hole] = (),
        learned: Callable[[], object] = lambda: None,
    ) -> None:
        """`holes` are what an earlier life of this line knew; `learned` is told when `holes` have changed."""
        self._wire = wire
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._sink = sink
        self._points: dict[float, list[Point]] = {}
        self._limits: dict[int, Limits] = {}
        self._holes = {hole.boundary: hole for hole in holes}
        self._learned = learned
        self._recheck_ms: int | None = None
        self._blocks: dict[BlockKey, Block] = {}
        self._schedule: Schedule[BlockKey] = Schedule()
        self._breakers: Breakers[int] = Breakers(settings.breaker)
        self._down_until_s = 0.0
        self._down_backoff_s = 0.0
        self._down_reason = ""
        self._ended_s = 0.0
        self._writes: deque[_Write] = deque()
        self._reads: deque[_Write] = deque()
        self._units: frozenset[int] = frozenset()
        self._answering: set[int] = set()
        self._polled_s = 0.0
        self._polled = 0
        self._made_s = clock.monotonic_s()
        self._recent = Recent(self._made_s)
        self.budget: Budget | None = None
        """What the polls need of the line; None until that is known."""
        self._wake = asyncio.Event()
        self.stats = LineStats()

    def configure(self, points: Sequence[tuple[Point, float]], limits: dict[int, Limits]) -> None:
        """Poll these points, each every so many seconds; `limits` by unit."""
        self._points = {}
        for point, period_s in points:
            self._points.setdefault(period_s, []).append(point)
        self._limits = limits
        self._units = frozenset(point.unit for point, _ in points)
        devices = {point.device for point, _ in points}
        self.stats.missed = {device: missed for device, missed in self.stats.missed.items() if device in devices}
        self._plan()

    @property
    def holes(self) -> Sequence[Hole]:
        """What is believed of the devices' holes now, the newest last."""
        return sorted(self._holes.values(), key=lambda hole: hole.learned_ms)

    def _plan(self) -> None:
        now_ms = self._clock.wall_ms()
        # What was learned in the future was so under a clock that was wrong.
        held = [hole for hole in self.holes if now_ms - HOLES_MS_MAX < hole.learned_ms <= now_ms][-HOLES_MAX:]
        if len(held) < len(self._holes):
            self._holes = {hole.boundary: hole for hole in held}
            self._learned()
        self._recheck_ms = held[0].learned_ms + HOLES_MS_MAX if held else None
        boundaries = frozenset(self._holes)
        self._blocks = {}
        for period_s, points in self._points.items():
            by_unit: dict[int, list[Point]] = {}
            for point in points:
                by_unit.setdefault(point.unit, []).append(point)
            for unit, its in by_unit.items():
                for block in plan_blocks(its, self._limits.get(unit, Limits()), boundaries):
                    self._blocks[period_s, unit, block.table, block.address] = block
        self._judge()
        polls = [Poll(key=key, period_s=key[0]) for key in self._blocks]
        self._schedule.configure(polls, self._clock.monotonic_s())
        self._wake.set()

    def _judge(self) -> None:
        """Reckon what the polls need: from the line's speed, and from how long devices took once that is known."""
        costs = self._settings.costs
        polls = [(block, key[0]) for key, block in self._blocks.items()]
        if self._polled >= ANSWERS_KNOWN:
            # Measured whole, characters and thinking together: reckoned once, so that what is told stays the same.
            each_s = self._polled_s / self._polled + self._settings.pause_s
            measured = LineCosts(character_s=0.0, answer_s=each_s)
            of_speed = budget(polls, costs) if costs else None
            found = budget(polls, measured)
            self.budget = of_speed if of_speed and of_speed.needs > found.needs else found
        elif costs is not None:
            self.budget = budget(polls, costs)

    def poll_of(self, point: Point) -> tuple[Block, float] | None:
        """The request that reads a point, and in how many seconds it is due; None where it is not polled."""
        for key, block in self._blocks.items():
            if point in block.points:
                due_s = self._schedule.due_s(key)
                return block, max(0.0, (due_s or 0.0) - self._clock.monotonic_s())
        return None

    def figures(self, name: str) -> LineFigures:
        """How it does, under this name."""
        now_s = self._clock.monotonic_s()
        requests_s, used = self._recent.rates(now_s)
        return LineFigures(
            line=name,
            counted_s=now_s - self._made_s,
            requests=self.stats.requests,
            requests_s=requests_s,
            used=used,
            needs=self.budget.needs if self.budget is not None else None,
            waiting_writes=len(self._writes),
            waiting_reads=len(self._reads),
            down=self._down_reason if self._down_until_s > now_s else "",
            units=tuple(self._unit_figures(unit, now_s) for unit in sorted(self._units | self.stats.units.keys())),
            missed=dict(self.stats.missed),
        )

    def _unit_figures(self, unit: int, now_s: float) -> UnitFigures:
        counts = self.stats.units.get(unit) or UnitCounts()
        its = {point.device for points in self._points.values() for point in points if point.unit == unit}
        return UnitFigures(
            unit=unit,
            devices=tuple(sorted(its)),
            requests=counts.requests,
            silences=counts.silences,
            wrong_answers=counts.wrong_answers,
            refusals=counts.refusals,
            alone_s=self._breakers.wait_s(unit, now_s),
        )

    async def write(self, unit: int, transaction: Transaction, *, timeout_s: float) -> None:
        """Run a transaction before anything else. What it raises is raised here; `UnavailableError` as well when the
        unit is left alone now, the queue is full, or its turn did not come in time."""
        if len(self._writes) >= self._settings.writes_max:
            raise UnavailableError(f"{self._settings.writes_max} writes are waiting for this line already")
        await self._queue(self._writes, unit, transaction, timeout_s)

    async def read(self, unit: int, transaction: Transaction, *, timeout_s: float) -> None:
        """As `write`, after all writes and before any poll: somebody waits for what is read."""
        if len(self._reads) >= self._settings.writes_max:
            raise UnavailableError(f"{self._settings.writes_max} reads are waiting for this line already")
        await self._queue(self._reads, unit, transaction, timeout_s)

    async def _queue(self, queue: deque[_Write], unit: int, transaction: Transaction, timeout_s: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s) as turn:
                queue.append(_Write(unit=unit, transaction=transaction, done=done, turn=turn))
                self._wake.set()
                await done
        except TimeoutError as error:
            raise UnavailableError(f"its turn on the line did not come within {timeout_s:g} s") from error

    async def run(self) -> None:
        """Work until cancelled."""
        task = asyncio.current_task()
        assert task is not None
        try:
            # Python 3.11's `wait_for` swallows a cancellation that comes together with an answer, whoever uses it in
            # a wire; the count of requests to cancel does not forget.
            while not task.cancelling():
                if not await self._step():
                    await self._sleep()
        finally:
            for entry in (*self._writes, *self._reads):
                if not entry.done.done():
                    entry.done.set_exception(UnavailableError("the line was given up"))
            await self._wire.close()

    async def _sleep(self) -> None:
        due = self._schedule.next()
        wait_s = None if due is None else max(0.0, due[1] - self._clock.monotonic_s())
        try:
            await until_set(self._wake, within_s=wait_s)
        finally:
            self._wake.clear()

    async def _step(self) -> bool:
        """Do the most urgent thing; False when there is nothing to do now."""
        for queue in (self._writes, self._reads):
            while queue:
                entry = queue.popleft()
                if not entry.done.done():
                    entry.turn.reschedule(None)
                    await self._write(entry)
                    return True
        if self._recheck_ms is not None and self._clock.wall_ms() >= self._recheck_ms:
            self._plan()
        due = self._schedule.next()
        now_s = self._clock.monotonic_s()
        if due is None or due[1] > now_s:
            return False
        block = self._blocks[due[0]]
        if missed := self._schedule.done(due[0], now_s):
            for device in {point.device for point in block.points}:
                self.stats.missed[device] = self.stats.missed.get(device, 0) + missed
        await self._poll(block)
        return True

    def _closed(self, unit: int) -> str:
        """Why this unit is not asked now; "" when it is."""
        now_s = self._clock.monotonic_s()
        if self._down_until_s > now_s:
            return self._down_reason
        wait_s = self._breakers.wait_s(unit, now_s)
        return f"unit {unit} gives no answer that counts; it is asked again in {wait_s:.1f} s" if wait_s else ""

    async def _write(self, entry: _Write) -> None:
        closed = self._closed(entry.unit)
        if closed:
            entry.done.set_exception(UnavailableError(closed))
            return
        try:
            await self._guarded(entry.unit, entry.transaction)
        except UnavailableError as error:
            if not entry.done.done():
                entry.done.set_exception(error)
        except asyncio.CancelledError:
            if not entry.done.done():
                entry.done.set_exception(UnavailableError("the line was given up"))
            raise
        else:
            if not entry.done.done():
                entry.done.set_result(None)

    async def _poll(self, block: Block) -> None:
        closed = self._closed(block.unit)
        begun_ms, begun_s = self._clock.wall_ms(), self._clock.monotonic_s()
        if closed:
            self.stats.skipped += 1
            self._tell(block, None, reason=closed, lives=False, at=(begun_ms, begun_s))
            return
        request = Request(
            unit=block.unit, function=READ_FUNCTIONS[block.table], address=block.address, count=block.count
        )
        words: tuple[int, ...] | None = None

        async def read(wire: Wire) -> None:
            nonlocal words, begun_ms, begun_s
            begun_ms, begun_s = self._clock.wall_ms(), self._clock.monotonic_s()
            words = await wire.transact(request)

        reason, lives = "", True
        try:
            await self._again(block.unit, read)
        except ExceptionAnswerError as error:
            reason, lives = str(error), error.code not in AWAY_EXCEPTIONS
            if error.code in DIVIDING_EXCEPTIONS and self._divide(block):
                return
        except UnavailableError as error:
            reason, lives = str(error), False
        taken_s = self._ended_s - begun_s
        if words is not None and self._polled < ANSWERS_KNOWN:
            self._polled, self._polled_s = self._polled + 1, self._polled_s + taken_s
            if self._polled == ANSWERS_KNOWN:
                self._judge()
        middle = (begun_ms + round(taken_s * 500), begun_s + taken_s / 2)
        self._tell(block, words, reason=reason, lives=lives, at=middle)

    async def _again(self, unit: int, transaction: Transaction) -> None:
        """Run it, and once more where it went wrong and a unit answered before."""
        for left in range(self._settings.retries, -1, -1):
            known = unit in self._answering
            try:
                await self._guarded(unit, transaction)
            except ExceptionAnswerError:
                raise
            except UnavailableError:
                if not left or not known or self._writes or self._closed(unit):
                    raise
            else:
                return

    def _tell(
        self, block: Block, words: tuple[int, ...] | None, *, reason: str, lives: bool, at: tuple[int, float]
    ) -> None:
        read = BlockRead(
            block=block, words=words, reason=reason, device_lives=lives, source_ms=at[0], monotonic_s=at[1]
        )
        # Values are made of the words while the next request is under way: the line does not wait for that.
        asyncio.get_running_loop().call_soon(self._sink, read)

    def _divide(self, block: Block) -> bool:
        """A block was refused for its addresses: read its halves apart from now on. False when it is one place."""
        halves = split(block)
        if halves is None:
            return False
        boundary: Boundary = (block.unit, block.table, halves[1].address)
        self._holes[boundary] = Hole(boundary=boundary, learned_ms=self._clock.wall_ms())
        self._learned()
        LOG.info("modbus_block_divided unit=%d table=%s at=%d", block.unit, block.table, halves[1].address)
        self._plan()
        return True

    async def _guarded(self, unit: int, transaction: Transaction) -> None:
        """Run requests, and learn from how they went."""
        if self._settings.pause_s:
            await asyncio.sleep(self._settings.pause_s)
        self.stats.requests += 1
        counts = self.stats.units.setdefault(unit, UnitCounts())
        counts.requests += 1
        begun_s = self._clock.monotonic_s()
        try:
            await self._wire.ready()
            await transaction(self._wire)
        except ExceptionAnswerError as error:
            self._ended_s = self._clock.monotonic_s()
            counts.refusals += 1
            if error.code in AWAY_EXCEPTIONS:
                self._unanswered(unit, begun_s)
            else:
                self._answered(unit)
            self._line_up()
            raise
        except SilentError:
            self.stats.silences += 1
            counts.silences += 1
            await self._disturbed(unit, begun_s)
            raise
        except WrongAnswerError:
            self.stats.wrong_answers += 1
            counts.wrong_answers += 1
            await self._disturbed(unit, begun_s)
            raise
        except LineDownError as error:
            self._ended_s = self._clock.monotonic_s()
            self._line_down(str(error))
            await self._wire.reset()
            raise
        else:
            self._ended_s = self._clock.monotonic_s()
            self._answered(unit)
            self._line_up()
        finally:
            now_s = self._clock.monotonic_s()
            busy_s = now_s - begun_s + self._settings.pause_s
            self.stats.busy_s += busy_s
            self._recent.add(now_s, busy_s)

    async def _disturbed(self, unit: int, begun_s: float) -> None:
        """No answer, or none that counts: nothing is sent until nothing late can come any more."""
        self._ended_s = self._clock.monotonic_s()
        await self._wire.reset()
        self._unanswered(unit, begun_s)

    def _answered(self, unit: int) -> None:
        self._answering.add(unit)
        self._breakers.answered(unit)

    def _unanswered(self, unit: int, begun_s: float) -> None:
        """The breaker knows what it cost the others, the quiet after it included."""
        self._answering.discard(unit)
        now_s = self._clock.monotonic_s()
        cost_s = now_s - begun_s if len(self._units | {unit}) > 1 else 0.0
        self._breakers.silent(unit, now_s, self._ids.unit(), cost_s=cost_s)

    def _line_up(self) -> None:
        self._down_backoff_s = 0.0

    def _line_down(self, reason: str) -> None:
        settings = self._settings
        self._down_backoff_s = longer_s(
            self._down_backoff_s, least_s=settings.reconnect_s_min, most_s=settings.reconnect_s_max
        )
        self._down_until_s = self._clock.monotonic_s() + self._down_backoff_s * (0.5 + self._ids.unit() / 2)
        self._down_reason = reason
