"""Commands in containers of the process runtime, and connections to their ports: this side of `apart.visitor`.

Keeps nothing. What a crash leaves: a command goes on until it ends or its container does; it has nobody to talk to.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from edgecore.pods.dialing import dial_fault
from edgecore.pods.port import ExecResult, ExecStream, Size, Streamed
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.waits import end_tasks

_HERE: Final = str(Path(__file__).parent / "apart")
PROGRAM: Final = f"import sys; sys.path[:0] = [{_HERE!r}]; import visitor; visitor.main(sys.argv[1:])"
WINDOW_BYTES: Final = 64 * 1024
READ_BYTES: Final = 32 * 1024
RESULT_BYTES_MAX: Final = 10 * 1024
QUIET_S: Final = 0.2
"""After a command's end its streams may stay open, by what it left behind: so long nothing more has to come."""
START_S_MAX: Final = 30.0
CONNECT_S_MAX: Final = 10.0
KILLED: Final = 137
NOT_RUNNING: Final = "the container is not running"
END_OF_INPUT: Final = b"\x04"
"""What a person types at a terminal for it."""


class Visit:
    """An `ExecStream` of a command. Made by `visit`."""

    def __init__(self, control: int, told: asyncio.StreamReader, read: Sequence[tuple[int, asyncio.StreamReader]]):
        self._control = control
        self._told = told
        self._read = read
        self._input: asyncio.StreamWriter | None = None
        self._terminal: int | None = None
        self._transports: list[asyncio.BaseTransport] = []
        self._code: asyncio.Future[int] | None = None

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        news: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(maxsize=1)

        async def pump(number: int, reader: asyncio.StreamReader) -> None:
            with contextlib.suppress(OSError):  # EIO: the end of a terminal
                while data := await reader.read(READ_BYTES):
                    await news.put((number, data))
            await news.put(None)

        pumps = [asyncio.create_task(pump(number, reader)) for number, reader in self._read]
        result = asyncio.create_task(self.result())
        left = len(pumps)
        try:
            while left:
                getting = asyncio.create_task(news.get())
                await asyncio.wait({getting, result}, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    await asyncio.wait({getting}, timeout=QUIET_S)
                if not getting.done():
                    getting.cancel()
                    return
                said = getting.result()
                if said is None:
                    left -= 1
                else:
                    yield said
        finally:
            for task in (*pumps, result):
                task.cancel()
            await asyncio.wait({*pumps, result})

    async def write(self, data: bytes) -> None:
        if self._input is not None and not self._input.is_closing():
            with contextlib.suppress(ConnectionError, OSError):
                self._input.write(data)
                await self._input.drain()

    async def end_input(self) -> None:
        if self._terminal is not None:
            await self.write(END_OF_INPUT)
        elif self._input is not None:
            self._input.close()

    async def resize(self, size: Size) -> None:
        if self._terminal is not None:
            packed = struct.pack("HHHH", size.height & 0xFFFF, size.width & 0xFFFF, 0, 0)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, packed)

    async def result(self) -> int:
        if self._code is None:
            self._code = asyncio.ensure_future(self._await_code())
        return await asyncio.shield(self._code)

    async def _await_code(self) -> int:
        word, _, rest = (await self._told.readline()).decode().strip().partition(" ")
        return int(rest) if word == "exit" and rest.isdecimal() else KILLED

    def kill(self) -> None:
        """End it by force, with all that it began; `result` waits for that."""
        with contextlib.suppress(OSError):
            os.write(self._control, b"K")

    async def close(self) -> None:
        if self._control < 0:
            return
        os.close(self._control)
        self._control = -1
        if self._code is not None and not self._code.done():
            await end_tasks(self._code)
        for transport in self._transports:
            if not isinstance(transport, asyncio.WriteTransport):
                transport.close()
            elif transport.get_write_buffer_size() or not transport.is_closing():
                transport.abort()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
        await asyncio.sleep(0)  # transports close their files in the next turn

    @classmethod
    async def begin(cls, place: Path, request: bytes, how: Streamed) -> Visit:
        """Raises `InvalidError`, `NotFoundError`, `UnavailableError`."""
        files = _Files(how)
        try:
            await _launch(place, files)
            os.write(files.control, request)
            visit = await cls._opened(files, how)
        except BaseException:
            files.close()
            raise
        try:
            first = (await visit._told.readline()).decode(errors="replace").strip()
        except BaseException:
            visit.kill()
            await visit.close()
            raise
        if first == "began":
            return visit
        await visit.close()
        why = first.removeprefix("failed ")
        if why == NOT_RUNNING:
            raise NotFoundError(why)
        raise InvalidError(why) if why else UnavailableError("the command was killed before it began")

    @classmethod
    async def _opened(cls, files: _Files, how: Streamed) -> Visit:
        transports: list[asyncio.BaseTransport] = []
        try:
            told = await _reader(files.take("told"), transports)
            read = [(number, await _reader(files.take(name), transports)) for number, name in files.outputs]
            writer = await _writer(files.take("in"), transports) if files.has("in") else None
        except BaseException:
            for transport in transports:
                transport.close()
            raise
        visit = cls(files.take_control(), told, read)
        visit._transports = transports
        visit._input = writer
        if how.tty:
            visit._terminal = files.take("terminal")
        return visit


class _Files:
    """Pipes to a visitor, or the two sides of a terminal; closed where nobody took them."""

    def __init__(self, how: Streamed) -> None:
        self._ours: dict[str, int] = {}
        self.theirs: list[int] = []
        """Its standard input, output and error."""
        self.outputs: list[tuple[int, str]] = []
        self.asked, self.control = os.pipe()
        told, self.tell = os.pipe()
        self._ours["told"] = told
        if how.tty:
            main, side = os.openpty()
            self.theirs = [side, side, side]
            self._ours |= {"terminal": main, "out": os.dup(main)}
            self.outputs = [(1, "out")]
            if how.stdin:
                self._ours["in"] = os.dup(main)
            return
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.theirs = [null, null, null]
        if how.stdin:
            self.theirs[0], self._ours["in"] = os.pipe()
        for number, name, wanted in ((1, "out", how.stdout), (2, "err", how.stderr)):
            if wanted:
                self._ours[name], self.theirs[number] = os.pipe()
                self.outputs.append((number, name))
        if null not in self.theirs:
            os.close(null)

    def has(self, name: str) -> bool:
        return name in self._ours

    def take(self, name: str) -> int:
        return self._ours.pop(name)

    def take_control(self) -> int:
        control, self.control = self.control, -1
        return control

    def close_theirs(self) -> None:
        for fd in {*self.theirs, self.asked, self.tell}:
            os.close(fd)
        self.theirs, self.asked, self.tell = [], -1, -1

    def close(self) -> None:
        for fd in {*self.theirs, self.asked, self.tell, self.control, *self._ours.values()} - {-1}:
            os.close(fd)


async def _reader(fd: int, transports: list[asyncio.BaseTransport]) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=WINDOW_BYTES)
    file = os.fdopen(fd, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    transports.append(transport)
    return reader


async def _writer(fd: int, transports: list[asyncio.BaseTransport]) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    file = os.fdopen(fd, "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, file)
    transports.append(transport)
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _launch(place: Path, files: _Files) -> None:
    """Returns when the visitor is out of our family."""
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(place), str(files.asked), str(files.tell)]
    try:
        launcher = subprocess.Popen(  # noqa: ASYNC220 - returns after exec; its end is waited for below
            command,
            stdin=files.theirs[0],
            stdout=files.theirs[1],
            stderr=files.theirs[2],
            pass_fds=(files.asked, files.tell),
            env={},
            cwd="/",
        )
    except OSError as error:
        raise UnavailableError(f"a command can't be started: {error}") from error
    files.close_theirs()
    try:
        async with asyncio.timeout(START_S_MAX):
            while launcher.poll() is None:  # noqa: ASYNC110 - a process, of which nobody tells
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise UnavailableError(f"a command did not start within {START_S_MAX:.0f} s") from None
    finally:
        if launcher.poll() is None:
            launcher.kill()
            launcher.wait()


def request_of(argv: Sequence[str], *, pid: int, pid_start: int, tty: bool) -> bytes:
    """What the visitor is asked for. Raises `InvalidError`."""
    fields = [("pid", str(pid)), ("pid_start", str(pid_start)), *(("argv", each) for each in argv)]
    if tty:
        fields += [("tty", "1"), ("env", "TERM=xterm")]
    if not argv or any("\0" in each for each in argv):
        raise InvalidError("a command needs at least one word, and no NUL character in any")
    request = b"".join(f"{name}\0{value}\0".encode(errors="surrogateescape") for name, value in fields) + b"\0\0"
    if len(request) > WINDOW_BYTES:
        raise InvalidError(f"the command is longer than {WINDOW_BYTES} bytes")
    return request


async def result_of(visit: Visit, timeout_s: float) -> ExecResult:
    """Of a command that is given so much time. Raises `TimeoutError`, having ended it."""
    kept = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async with contextlib.aclosing(visit.output()) as output:
                async for _, data in output:
                    kept += data[: RESULT_BYTES_MAX - len(kept)]
            code = await visit.result()
    except TimeoutError:
        visit.kill()
        await visit.result()
        raise
    except BaseException:  # whoever wanted it is gone
        visit.kill()
        raise
    finally:
        await visit.close()
    return ExecResult(exit_code=code, output=bytes(kept))


class Forward:
    """An `ExecStream` of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(READ_BYTES):
                yield 1, data

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            if not self._writer.is_closing():
                self._writer.write(data)
                await self._writer.drain()

    async def end_input(self) -> None:
        if self._writer.can_write_eof():
            with contextlib.suppress(OSError):
                self._writer.write_eof()

    async def resize(self, size: Size) -> None:
        """A connection has no size."""

    async def result(self) -> int:
        return 0

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def forward(port: int) -> ExecStream:
    """To a port of the gateway's own loopback, which its pods share. Raises `UnavailableError`."""
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=WINDOW_BYTES)
    except OSError as error:  # a time-out among them
        why = dial_fault("127.0.0.1", port, error, network="tcp4")
        raise UnavailableError(f"failed to connect to localhost:{port} inside the pod: {why}") from error
    return Forward(reader, writer)
