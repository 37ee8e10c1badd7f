"""Where the bytes of a line go: TCP, TLS, or a serial port.

A channel carries bytes and knows when the last one came; what they mean is its user's matter. pyserial and `ssl` are
imported when the first line of that kind is opened. Nothing is kept; a lost channel is opened again by its user.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from devices.bus import LineDownError
from devices.credentials import tls_context
from devices.modbus.endpoints import Endpoint, SerialEndpoint, TcpEndpoint, TlsFiles
from skerry.errors import UnavailableError

if TYPE_CHECKING:
    import ssl

    from serial import Serial

READ_BYTES: Final = 4096
INBOX_BYTES_MAX: Final = 65_536
"""More than any answers that may wait; a flood does not fill the gateway's memory."""


class Inbox:
    """What arrived and was not taken yet."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.arrived = asyncio.Event()
        self.last_s = asyncio.get_running_loop().time()
        """When the last byte came, by the loop's clock."""
        self.lost = ""
        """Why the channel carries no more; "" while it does."""

    def put(self, data: bytes) -> None:
        # What does not fit goes: whoever floods is not answering, and is thrown away with all that came before.
        self.buffer += data[: INBOX_BYTES_MAX - len(self.buffer)]
        self.last_s = asyncio.get_running_loop().time()
        self.arrived.set()

    async def quiet(self, quiet_s: float, *, until_s: float | None = None) -> bool:
        """Wait until nothing arrived for so long, or the channel is lost; False when bytes still came at `until_s`,
        by the loop's clock."""
        loop = asyncio.get_running_loop()
        while not self.lost:
            last_s, now_s = self.last_s, loop.time()
            if last_s + quiet_s <= now_s:
                # After a stall of this process the kernel may have what the loop has not heard yet: let it hear.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                if self.last_s == last_s:
                    return True
            elif until_s is not None and now_s >= until_s:
                return False
            else:
                await asyncio.sleep(last_s + quiet_s - now_s)
        return True

    def lose(self, reason: str) -> None:
        if not self.lost:
            self.lost = reason
            self.arrived.set()


class Channel(Protocol):
    """An open way to the devices of a line."""

    @property
    def inbox(self) -> Inbox: ...

    def send(self, data: bytes) -> None:
        """Raises `LineDownError`."""
        ...

    def close(self) -> None: ...


OpenChannel = Callable[[], Awaitable[Channel]]
"""Raises `LineDownError` with what is wrong and, where it is known, how to mend it."""


def channel_to(endpoint: Endpoint, *, connect_s: float) -> OpenChannel:
    """How a line is opened; `connect_s` bounds a connection attempt."""

    async def open_channel() -> Channel:
        if isinstance(endpoint, SerialEndpoint):
            return open_serial(endpoint)
        return await open_tcp(endpoint, connect_s=connect_s)

    return open_channel


class _Stream(asyncio.Protocol):
    """A TCP or TLS connection as a channel."""

    def __init__(self, name: str) -> None:
        self.inbox = Inbox()
        self._name = name
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.inbox.put(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.inbox.lose(f"{self._name} closed the connection")

    def send(self, data: bytes) -> None:
        if self._transport is None or self.inbox.lost:
            raise LineDownError(self.inbox.lost or f"{self._name} is not connected")
        self._transport.write(data)

    def close(self) -> None:
        self.inbox.lose("closed")
        if self._transport is not None:
            self._transport.abort()


async def open_tcp(endpoint: TcpEndpoint, *, connect_s: float) -> Channel:
    """Over TLS where the endpoint says so."""
    name = f"{endpoint.host}:{endpoint.port}"
    context = await asyncio.to_thread(_tls, endpoint.tls) if endpoint.tls else None
    server_name = (endpoint.tls.server_name or endpoint.host) if endpoint.tls else None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_s):
            transport, stream = await loop.create_connection(
                lambda: _Stream(name), endpoint.host, endpoint.port, ssl=context, server_hostname=server_name
            )
    except TimeoutError as error:
        raise LineDownError(f"cannot connect to {name}: no answer within {connect_s:g} s") from error
    except OSError as error:
        raise LineDownError(f"cannot connect to {name}: {_plainly(error)}") from error
    stream.connection_made(transport)  # a loop may tell the protocol a little later
    return stream


def _plainly(error: OSError) -> str:
    """Of several addresses of a name, or a handshake, the reason without Python's own words around it."""
    said = getattr(error, "verify_message", "") or getattr(error, "reason", "")
    if not said and isinstance(error, ConnectionRefusedError | ConnectionResetError):
        said = os.strerror(error.errno or 0)
    return said or error.strerror or str(error)


def _tls(files: TlsFiles) -> ssl.SSLContext:
    import ssl

    try:
        context = tls_context(ca_file=files.ca_file, cert_file=files.cert_file, key_file=files.key_file)
    except UnavailableError as error:
        raise LineDownError(f"cannot use the files for TLS: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Port:
    """A serial port as a channel."""

    def __init__(self, port: Serial, name: str) -> None:
        self.inbox = Inbox()
        self._port = port
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._descriptor = port.fileno()
        self._loop.add_reader(self._descriptor, self._readable)

    def _readable(self) -> None:
        try:
            data = self._port.read(READ_BYTES)
        except OSError as error:  # pyserial's own errors are of this kind
            self._end(f"{self._name}: {error.strerror or error}")
            return
        if data:
            self.inbox.put(data)

    def _end(self, reason: str) -> None:
        self.inbox.lose(reason)
        if self._port.is_open:
            self._loop.remove_reader(self._descriptor)
            self._port.close()

    def send(self, data: bytes) -> None:
        if self.inbox.lost:
            raise LineDownError(self.inbox.lost)
        try:
            sent = self._port.write(data)
        except OSError as error:
            self._end(f"{self._name}: {error.strerror or error}")
            raise LineDownError(self.inbox.lost) from error
        if sent != len(data):
            # A frame is shorter than any port's buffer: who takes only a part of it is stuck.
            self._end(f"{self._name} took {sent} of {len(data)} bytes")
            raise LineDownError(self.inbox.lost)

    def close(self) -> None:
        self._end("closed")


def open_serial(endpoint: SerialEndpoint) -> Channel:
    """Raises `LineDownError` that says what to do: no such port, no permission, or in use."""
    try:
        import serial
    except ImportError as error:
        raise LineDownError("serial lines need pyserial: pip install 'skerry[edge]'") from error
    import termios

    name = endpoint.path
    # A pseudo-terminal has no characters of so many bits, and refuses to be told of them a second time.
    is_real = not str(Path(name).resolve()).startswith("/dev/pts/")
    try:
        port = serial.Serial(
            port=name,
            baudrate=endpoint.baud,
            bytesize=endpoint.data_bits if is_real else 8,
            parity=endpoint.parity if is_real else "N",
            stopbits=endpoint.stop_bits if is_real else 1,
            timeout=0,
            write_timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError, termios.error) as error:
        raise LineDownError(_port_reason(name, error)) from error
    return _Port(port, name)


def _port_reason(name: str, error: Exception) -> str:
    match getattr(error, "errno", None):
        case 2:
            return f"there is no {name}: is the adapter plugged in? /dev/serial/by-id has names that stay"
        case 13:
            return f"no permission to open {name}: add the agent's user to the group of the port (often dialout)"
        case 11 | 16:
            return f"{name} is in use by another program: a line has one master"
        case _:
            if "exclusively lock" in str(error):
                return f"{name} is in use by another program: a line has one master"
            return f"cannot open {name}: {error}"
