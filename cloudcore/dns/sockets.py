"""The sockets of the server: opened as the settings say, or handed over by who holds them through its restarts.

A socket holds the questions that nobody has read yet, so who holds the socket holds them. The server's own processes
come and go without losing one (docs/decisions/0401); where systemd holds the sockets, the server may (0510). A socket
that is handed over is one of a group that the kernel deals questions out to, so each must be read by somebody.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Final

from cloudcore.dns.datagrams import datagram_socket, ready_for_datagrams
from cloudcore.dns.settings import DnsSettings
from cloudcore.dns.streams import stream_socket
from skerry.activation import Passed, socket_of
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen

PORT_TRIES: Final = 20
TLS_NAMES: Final = frozenset({"tls", "dot"})
"""A socket that is called so is for DNS over TLS, whatever its port."""


class Sockets(Frozen):
    """`udp` has one for each process that reads datagrams, and may have a socket more than once."""

    udp: tuple[socket.socket, ...]
    tcp: tuple[socket.socket, ...]
    tls: tuple[socket.socket, ...]
    port: int


def open_sockets(settings: DnsSettings, passed: Sequence[Passed], stack: ExitStack) -> Sockets:
    """Of a kind of which none was handed over, those of `--listen`, at the port of the others. Raises
    `UnavailableError`, `InvalidError`."""
    handed = [(each.name, stack.enter_context(socket_of(each))) for each in passed]
    try:
        udp, tcp, tls = _sorted_out(settings, handed)
        for each in udp:
            ready_for_datagrams(each)
    except OSError as error:
        raise UnavailableError(f"a socket that was passed can't be served: {error.strerror or error}") from error
    if tls and not settings.tls_certificate:
        raise InvalidError(f"a socket was passed for DNS over TLS ({_named(tls[0])}): --tls-certificate is wanted")
    workers = settings.workers or os.cpu_count() or 1
    port = next((_port(each) for each in (*udp, *tcp)), settings.port)
    if not udp and not tcp:
        udp, tcp, port = _opened(settings, workers, stack)
    elif not udp:
        udp = [
            stack.enter_context(datagram_socket(address, port)) for address in settings.listen for _ in range(workers)
        ]
    elif not tcp:
        tcp = [stack.enter_context(stream_socket(address, port)) for address in settings.listen]
    if settings.tls_certificate and not tls:
        tls = [stack.enter_context(stream_socket(address, settings.tls_port)) for address in settings.listen]
    return Sockets(udp=tuple(_dealt(udp, workers)), tcp=tuple(tcp), tls=tuple(tls), port=port)


def _sorted_out(
    settings: DnsSettings, sockets: Iterable[tuple[str, socket.socket]]
) -> tuple[list[socket.socket], list[socket.socket], list[socket.socket]]:
    """UDP, TCP and TLS, of what was passed by name. Raises `InvalidError`."""
    udp: list[socket.socket] = []
    tcp: list[socket.socket] = []
    tls: list[socket.socket] = []
    for name, each in sockets:
        if each.family not in (socket.AF_INET, socket.AF_INET6):
            raise InvalidError(f"a socket was passed ({name or each.fileno()}) that is of no IP address")
        if each.type == socket.SOCK_DGRAM:
            udp.append(each)
            continue
        if each.type != socket.SOCK_STREAM or not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise InvalidError(f"a socket was passed ({_named(each)}) that takes no connections: Accept=no is wanted")
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_tls = name in TLS_NAMES or (settings.tls_certificate and _port(each) == settings.tls_port)
        (tls if is_tls else tcp).append(each)
    return udp, tcp, tls


def _opened(
    settings: DnsSettings, workers: int, stack: ExitStack
) -> tuple[list[socket.socket], list[socket.socket], int]:
    """UDP (one for each worker and address) and TCP; and the port. Raises `UnavailableError`."""
    for left in reversed(range(PORT_TRIES)):
        with ExitStack() as opened:
            first = opened.enter_context(datagram_socket(settings.listen[0], settings.port))
            port = _port(first)
            try:
                tcp = [opened.enter_context(stream_socket(address, port)) for address in settings.listen]
                udp = [
                    first if number == place == 0 else opened.enter_context(datagram_socket(address, port))
                    for place, address in enumerate(settings.listen)
                    for number in range(workers)
                ]
            except UnavailableError:
                if settings.port or not left:
                    raise
                continue  # somebody has the port that UDP was given for TCP: another one
            stack.enter_context(opened.pop_all())
            return udp, tcp, port
    raise UnavailableError(f"no port is free on {settings.listen[0]} for both UDP and TCP")


def _dealt(udp: Sequence[socket.socket], workers: int) -> list[socket.socket]:
    """Each socket at least once, and those of each address by as many processes as are to answer there."""
    groups: dict[object, list[socket.socket]] = {}
    for each in udp:
        groups.setdefault(each.getsockname(), []).append(each)
    return [group[number % len(group)] for group in groups.values() for number in range(max(workers, len(group)))]


def _port(of: socket.socket) -> int:
    return int(of.getsockname()[1])


def _named(of: socket.socket) -> str:
    host, port, *_ = of.getsockname()
    return f"{host} port {port}"


def observers_socket(settings: DnsSettings) -> socket.socket:
    """Where other servers that try the same endpoints are heard. Raises `UnavailableError`."""
    address = settings.listen[0]
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.bind((address, settings.observe_port))
    except OSError as error:
        made.close()
        raise UnavailableError(f"can't hear observers on {address} port {settings.observe_port}: {error}") from error
    return made


def tls_context(settings: DnsSettings) -> ssl.SSLContext | None:
    """Anew at each reload: certificates end. Raises `InvalidError`."""
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["dot"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidError(f"--tls-certificate, --tls-key: {error}") from error
    return context
