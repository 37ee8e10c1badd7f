"""One probe of one address: a few attempts, of which one has to succeed in time.

Keeps nothing. An attempt that fails says why, for people; nothing that a target sends can do more than make it fail.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import struct
import time
from contextlib import suppress
from functools import cache
from typing import Final

from skerry.probing.monitor import attempt_starts_s
from skerry.probing.probe import BODY_MAX, NOT_PERMITTED, Probe

LOG: Final = logging.getLogger(__name__)
HEAD_MAX: Final = 64 << 10
INTERIM_MAX: Final = 10
"""Answers before the answer (100 Continue, 103 Early Hints; RFC 9110 section 15.2)."""
SWITCHING: Final = 101
"""Behind it something else than HTTP is spoken."""
DAY_S: Final = 86_400
_FRAME: Final = struct.Struct("!BHBBI")
_ECHO: Final = struct.Struct("!BBHHH")
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_ERRORS: Final = (OSError, ssl.SSLError, EOFError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class FailedError(Exception):
    """Inside this module and its caller: the target is not as it should be, and why."""


async def tried(address: str, probe: Probe) -> str:
    """ "" where it is good; else why it is not. `NOT_PERMITTED` says nothing of the target."""
    reasons: list[str] = []
    running: set[asyncio.Task[str]] = set()
    starts = attempt_starts_s(probe)
    begin = time.monotonic()
    try:
        while True:
            passed_s = time.monotonic() - begin
            while starts and starts[0] <= passed_s:
                starts.pop(0)
                running.add(asyncio.create_task(_attempt(address, probe)))
            left_s = (starts[0] if starts else probe.timeout_s) - passed_s
            if not running and not starts:
                return reasons[-1]
            if left_s <= 0:
                return reasons[-1] if reasons else f"no answer in {probe.timeout_s:g} s"
            done, running = (
                await asyncio.wait(running, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if (running)
                else (await _slept(left_s), running)
            )
            for task in done:
                if not (reason := task.result()):
                    return ""
                reasons.append(reason)
    finally:
        for task in running:
            task.cancel()


async def _slept(wait_s: float) -> set[asyncio.Task[str]]:
    await asyncio.sleep(wait_s)
    return set()


async def _attempt(address: str, probe: Probe) -> str:
    try:
        async with asyncio.timeout(probe.timeout_s):
            match probe.type:
                case "ICMP":
                    await _ping(address)
                case "TCP" | "TLS":
                    await _connect(address, probe)
                case "HTTP" | "HTTPS":
                    await _http(address, probe)
                case "GRPC":
                    await _grpc(address, probe)
    except TimeoutError:
        return f"no answer in {probe.timeout_s:g} s"
    except FailedError as error:
        return str(error)
    except _ERRORS as error:
        return _words(error)
    except Exception as error:
        # The root of this attempt: what answers may be anything, and can do no more than make it fail.
        LOG.exception("an attempt failed address=%s port=%d", address, probe.port)
        return f"{type(error).__name__}: {error}"
    return ""


def _words(error: Exception) -> str:
    """As the kernel says it: asyncio's own words have an address that everybody knows here."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return str(error) or type(error).__name__


async def _opened(address: str, probe: Probe) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    secured = probe.type in ("TLS", "HTTPS")
    context = _context(verify=probe.verify) if secured else None
    return await asyncio.open_connection(
        address, probe.port, ssl=context, server_hostname=probe.host if secured else None, limit=HEAD_MAX
    )


@cache
def _context(*, verify: bool) -> ssl.SSLContext:
    """One for all attempts: the authorities of the system take a megabyte, and a while to be read."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _close(writer: asyncio.StreamWriter) -> None:
    """At once: what a target still has to say is of no interest."""
    with suppress(*_ERRORS):
        writer.transport.abort()


async def _connect(address: str, probe: Probe) -> None:
    _, writer = await _opened(address, probe)
    try:
        _check_certificate(writer, probe)
    finally:
        _close(writer)


def _check_certificate(writer: asyncio.StreamWriter, probe: Probe) -> None:
    """How long it is valid for; whom to trust the handshake has checked."""
    secured = writer.get_extra_info("ssl_object")
    if secured is None or not probe.certificate_days_min:
        return
    from cryptography import x509

    encoded = secured.getpeercert(binary_form=True)
    if not encoded:
        raise FailedError("no certificate is shown")
    left_s = x509.load_der_x509_certificate(encoded).not_valid_after_utc.timestamp() - time.time()
    if left_s < probe.certificate_days_min * DAY_S:
        raise FailedError(f"the certificate is valid for {left_s / DAY_S:.1f} days more")


async def _http(address: str, probe: Probe) -> None:
    reader, writer = await _opened(address, probe)
    try:
        _check_certificate(writer, probe)
        asked = (
            f"GET {probe.path} HTTP/1.1\r\nHost: {probe.host}\r\nUser-Agent: skerry-dns\r\nConnection: close\r\n\r\n"
        )
        writer.write(asked.encode("ascii"))
        head = await reader.readuntil(b"\r\n\r\n")
        status = _status_of(head)
        for _ in range(INTERIM_MAX):
            if not 100 <= status < 200 or status == SWITCHING:
                break
            head = await reader.readuntil(b"\r\n\r\n")
            status = _status_of(head)
        if not any(low <= status <= high for low, high in probe.statuses):
            raise FailedError(f"status {status}")
        if probe.body and not await has_text(reader, probe.body.encode(), chunked=_is_chunked(head)):
            raise FailedError(f"the first {BODY_MAX} bytes don't have the text")
    finally:
        _close(writer)


def _status_of(head: bytes) -> int:
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
        raise FailedError("no answer of HTTP/1")
    return int(words[1])


def _is_chunked(head: bytes) -> bool:
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    return any(name == b"transfer-encoding" and value.strip().endswith(b"chunked") for name, _, value in lines)


async def has_text(reader: asyncio.StreamReader, text: bytes, *, chunked: bool) -> bool:
    """Whether a body has it near its beginning; nothing is waited for behind it. Raises what broken chunks come to:
    `ValueError`, and errors of `asyncio` for what ends early."""
    body, left = b"", 0
    while len(body) < BODY_MAX and text not in body:
        if chunked and not left:
            left = int((await reader.readuntil(b"\r\n")).split(b";", 1)[0], 16)
            if left <= 0:
                break
        piece = await reader.read(min(BODY_MAX - len(body), left) if chunked else BODY_MAX - len(body))
        if not piece:
            break
        body += piece
        left -= len(piece) if chunked else 0
        if chunked and not left and text not in body:
            await reader.readexactly(2)
    return text in body


async def _grpc(address: str, probe: Probe) -> None:
    """grpc.health.v1.Health/Check over HTTP/2 without TLS; headers are written without compression."""
    reader, writer = await asyncio.open_connection(address, probe.port, limit=HEAD_MAX)
    try:
        service = probe.service.encode()[:120]
        message = b"\x0a" + bytes([len(service)]) + service if service else b""
        headers = b"".join(
            b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
            for name, value in (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", b"/grpc.health.v1.Health/Check"),
                (b":authority", probe.host.encode()[:120]),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
            )
        )
        writer.write(_PREFACE + _frame(4, 0, 0, b"") + _frame(1, 4, 1, headers))
        writer.write(_frame(0, 1, 1, b"\0" + len(message).to_bytes(4, "big") + message))
        state = await _grpc_state(reader, writer)
        if state != 1:
            raise FailedError("the service is not serving" if state is not None else "the answer has no health in it")
    finally:
        _close(writer)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _FRAME.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


async def _grpc_state(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int | None:
    """The field `status` of the answer; None where the stream ends without one."""
    data = b""
    for _ in range(100):
        high, low, kind, flags, stream = _FRAME.unpack(await reader.readexactly(_FRAME.size))
        payload = await reader.readexactly((high << 16 | low) if (high << 16 | low) <= HEAD_MAX else 0)
        if kind == 4 and not flags & 1:
            writer.write(_frame(4, 1, 0, b""))
        elif kind == 6 and not flags & 1:
            writer.write(_frame(6, 1, 0, payload))
        elif kind == 0 and stream & 0x7FFFFFFF == 1:
            data += payload
            if len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5], "big"):
                return _status_in(data[5:])
        elif kind in (3, 7) or (kind == 1 and flags & 1):
            return None
    return None


def _status_in(message: bytes) -> int:
    """Of a HealthCheckResponse; a field that is left out is 0, unknown."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


async def _ping(address: str) -> None:
    """Echo over a datagram socket, which users of `net.ipv4.ping_group_range` may open, or a raw one."""
    six = ":" in address
    family, protocol = (socket.AF_INET6, 58) if six else (socket.AF_INET, 1)
    try:
        icmp = socket.socket(family, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        try:
            icmp = socket.socket(family, socket.SOCK_RAW, protocol)
        except PermissionError:
            raise FailedError(NOT_PERMITTED) from None
    raw = icmp.type == socket.SOCK_RAW
    with icmp:
        icmp.setblocking(False)
        loop = asyncio.get_running_loop()
        asked, answered = (128, 129) if six else (8, 0)
        mark = os.urandom(16)
        packet = _ECHO.pack(asked, 0, 0, 1, 1) + mark
        packet = _ECHO.pack(asked, 0, _checksum(packet), 1, 1) + mark
        await loop.sock_sendto(icmp, packet, (address, 0))
        while True:
            told = await loop.sock_recv(icmp, 1024)
            if raw and not six:
                told = told[(told[0] & 15) * 4 :]
            if told[:1] == bytes([answered]) and mark in told:
                return


def _checksum(data: bytes) -> int:
    """RFC 1071; the kernel makes it itself for IPv6 and for datagram sockets."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
