"""Exec and attach over the address that a runtime gives for them: Kubernetes' remote command protocol v4 in SPDY/3.1.

Every runtime speaks it, since it is what a kubelet passes on, and in it input can end by itself; see
docs/decisions/0333. One connection for each: what nobody reads holds the other side back by TCP's own window.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import urlsplit

from edgecore.pods.port import Size, Streamed
from skerry.errors import InvalidError, NotFoundError, ProtocolError, UnavailableError
from skerry.objects.json import int_at, maps_at, read_json, str_at
from skerry.wire import spdy

PROTOCOL: Final = "v4.channel.k8s.io"
OPEN_S: Final = 30.0
WINDOW_BYTES: Final = 64 * 1024
STATUS_BYTES_MAX: Final = 64 * 1024
HEAD_BYTES_MAX: Final = 16 * 1024
LOST: Final = "the connection to the container runtime was lost"


class RemoteStream:
    """See `ExecStream`. Made by `open_stream`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, how: Streamed) -> None:
        self._reader = reader
        self._writer = writer
        names = ["error"]
        names += ["stdin"] if how.stdin else []
        names += ["stdout"] if how.stdout else []
        names += ["stderr"] if how.stderr and not how.tty else []
        names += ["resize"] if how.tty else []
        self._streams = {name: 2 * at + 1 for at, name in enumerate(names)}
        self._outputs = {self._streams[name]: number for name, number in _OUTPUTS if name in self._streams}
        self._status = bytearray()
        self._over = False

    def begin(self) -> None:
        """Open the streams."""
        packer = spdy.HeaderPacker()
        for name, stream in self._streams.items():
            self._writer.write(spdy.open_frame(stream, packer.pack({"streamtype": name})))

    async def accepted(self) -> None:
        """Returns when the other side has answered for each of the streams. Raises `UnavailableError`.

        Who hangs up before has runtimes wait for their own answer for ever (Kubernetes' spdystream does), and with it
        for the end of the container: it is then never told as ended.
        """
        open_ones = set(self._streams.values())
        while open_ones:
            head = spdy.read_head(await self._reader.readexactly(spdy.HEAD_BYTES))
            if not head.kind:
                raise UnavailableError("the container runtime's stream: data before it was opened")
            payload = await self._reader.readexactly(head.length)
            if head.kind in {spdy.RST_STREAM, spdy.GOAWAY}:
                raise UnavailableError("the container runtime refused the stream")
            if head.kind == spdy.SYN_REPLY:
                open_ones.discard(spdy.stream_of(payload))
            await self._control(head.kind, payload)

    async def output(self) -> AsyncGenerator[tuple[int, bytes]]:
        while not self._over:
            try:
                head = spdy.read_head(await self._reader.readexactly(spdy.HEAD_BYTES))
                if head.kind:
                    await self._control(head.kind, await self._reader.readexactly(head.length))
                    continue
                left = head.length
                while left:
                    data = await self._reader.readexactly(min(left, spdy.DATA_BYTES_MAX))
                    left -= len(data)
                    if head.stream in self._outputs:
                        yield self._outputs[head.stream], data
                    elif head.stream == self._streams["error"]:
                        self._status += data[: STATUS_BYTES_MAX - len(self._status)]
            except (asyncio.IncompleteReadError, ConnectionError):
                self._over = True
                return
            except ProtocolError as error:
                self._over = True
                raise UnavailableError(f"the container runtime's stream: {error}") from error
            if head.is_last and head.stream == self._streams["error"]:
                self._over = True  # it is told last

    async def _control(self, kind: int, payload: bytes) -> None:
        if kind == spdy.PING:
            await self._send(spdy.control_frame(spdy.PING, payload))
        elif kind == spdy.RST_STREAM and spdy.stream_of(payload) == self._streams["error"]:
            self._over = True

    async def write(self, data: bytes) -> None:
        stream = self._streams.get("stdin")
        if stream is None:
            return
        for at in range(0, len(data), spdy.DATA_BYTES_MAX):
            await self._send(spdy.data_frame(stream, data[at : at + spdy.DATA_BYTES_MAX]))

    async def end_input(self) -> None:
        if "stdin" in self._streams:
            await self._send(spdy.data_frame(self._streams["stdin"], b"", last=True))

    async def resize(self, size: Size) -> None:
        if "resize" in self._streams:
            body = json.dumps({"Width": size.width, "Height": size.height}).encode()
            await self._send(spdy.data_frame(self._streams["resize"], body))

    async def _send(self, frame: bytes) -> None:
        """After the end it is nothing."""
        if not self._writer.is_closing():
            with contextlib.suppress(ConnectionError):
                self._writer.write(frame)
                await self._writer.drain()

    async def result(self) -> int:
        """Raises `InvalidError` where the command could not be started, `UnavailableError` where nothing was told."""
        async with contextlib.aclosing(self.output()) as rest:
            async for _ in rest:
                continue
        if not self._status:
            raise UnavailableError(LOST)
        return exit_code(bytes(self._status))

    async def close(self) -> None:
        self._over = True
        self._writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


_OUTPUTS: Final = (("stdout", 1), ("stderr", 2))


_INTERNAL: Final = "Internal error occurred: "
_EXECUTING: Final = "error executing command in container: "
"""What containerd puts before its words: whoever tells the client puts it there as well."""


def exit_code(status: bytes) -> int:
    """Of the Status that ends a command (metav1.Status). Raises `InvalidError` for a failure that is none of the
    command's own."""
    try:
        said = read_json(status, "the status of a command")
    except InvalidError as error:
        raise UnavailableError(f"the container runtime: {error}") from error
    if not isinstance(said, dict):
        raise UnavailableError("the container runtime: the status of a command is no object")
    if str_at(said, "status") == "Success":
        return 0
    causes = maps_at(said, "details", "causes")
    code = next((str_at(cause, "message") for cause in causes if str_at(cause, "reason") == "ExitCode"), "")
    if str_at(said, "reason") == "NonZeroExitCode" and code.isdecimal():
        return int(code)
    message = (str_at(said, "message") or "the command failed").removeprefix(_INTERNAL).removeprefix(_EXECUTING)
    if int_at(said, "code") == 404:
        raise NotFoundError(message)
    raise InvalidError(message)


async def open_stream(url: str, how: Streamed) -> RemoteStream:
    """Connect to where the runtime said. Raises `UnavailableError`, `InvalidError`."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidError(f"streams at {parts.scheme}://{parts.netloc}: the runtime has to serve them over http")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        async with asyncio.timeout(OPEN_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=WINDOW_BYTES)
            try:
                writer.transport.set_write_buffer_limits(WINDOW_BYTES)
                writer.write(
                    f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                    f"X-Stream-Protocol-Version: {PROTOCOL}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                await _upgraded(reader)
                stream = RemoteStream(reader, writer, how)
                stream.begin()
                await stream.accepted()
            except BaseException:
                writer.transport.abort()
                raise
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise UnavailableError(f"the container runtime's streams at {parts.netloc}: {error}") from error
    except ProtocolError as error:
        raise UnavailableError(f"the container runtime's streams at {parts.netloc}: {error}") from error
    return stream


async def _upgraded(reader: asyncio.StreamReader) -> None:
    """Past the answer to the upgrade."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *_ = head.split("\r\n")
    if " 101 " in f"{first} ":
        return
    said = (await reader.read(HEAD_BYTES_MAX)).decode(errors="replace").strip()
    raise InvalidError(f"the container runtime refused the stream: {first.partition(' ')[2]} {said}".strip())
