"""The UDP side: packets in and out of the kernel by the batch (recvmmsg, sendmmsg), with as little as can be for
each.

What was answered once and lasts (`Reply.lasting`) is found by the bytes of the query behind its id; then nothing is
read, made or copied: the kernel sends the id from where the query lies and the rest from where the ready answer lies.
All arrays are made once. The addresses and the control messages of a batch go out as they came in, so that an answer
leaves from the address that was asked, on a host with many. See docs/decisions/0400.

Keeps the ready answers of this process, bounded in number and bytes; a crash leaves nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from cloudcore.dns.counts import Counts
from cloudcore.dns.recent import Recent
from cloudcore.dns.replies import Client
from cloudcore.dns.responder import Responder
from skerry.errors import UnavailableError

BATCH: Final = 64
SLOT: Final = 4096
"""Bytes for a query; what is longer is cut, and then malformed."""
CONTROL: Final = 64
NAME: Final = 28
"""Of a sockaddr_in6, the longest there is here."""
READY_MAX: Final = 200_000
"""Ready answers; when they are so many they are all forgotten, and made again as they are asked for."""
READY_BYTES_MAX: Final = 64 << 20
"""The same by their bytes and their queries'."""
KEPT_QUERY_MAX: Final = 320
"""Bytes of a query whose answer is kept: the longest name, EDNS and a client subnet are less. What is longer has
options that nobody needs, which would be kept with it."""
PASSING_MAX: Final = 50_000
"""Of these, answers to what has no end, of which most is asked once: names that are in no zone, client subnets."""
WAITING: Final = 4 << 20
"""Bytes of queries that wait in a socket, with what the kernel adds to each: some 10,000."""
ONCE_MAX: Final = 100_000
IDLE_S: Final = 1
"""A wait for packets ends after this, to look whether to stop."""
_WAITFORONE: Final = 0x10000
_INET: Final = struct.pack("=H", socket.AF_INET)
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"
_NOBODY: Final = bytes((127, 0, 0, 1))
"""Who asks before anybody does."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("parts", ctypes.c_void_p),
        ("parts_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Sized(ctypes.Structure):
    _fields_ = (("message", _Message), ("size", ctypes.c_uint))


_Call = Callable[..., int]
_Bytes = Any
_PLACE: Final = struct.Struct("@PN")
_BYTES_AT: Final = bytes.__basicsize__ - 1
"""Where what is in an object of bytes begins, behind its head: in CPython, whose `id` is an address."""
_MESSAGE_SIZE: Final = ctypes.sizeof(_Sized)
_VECTOR_SIZE: Final = ctypes.sizeof(_Iovec)


def _calls() -> tuple[_Call, _Call]:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        receive, send = libc.recvmmsg, libc.sendmmsg
    except (OSError, AttributeError) as error:
        raise UnavailableError("the DNS server needs recvmmsg and sendmmsg, which Linux has since 3.0") from error
    receive.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
    send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    return receive, send


def datagram_socket(address: str, port: int) -> socket.socket:
    """A socket that shares its port with others of ours. Raises `UnavailableError`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        ready_for_datagrams(udp)
        udp.bind((address, port))
    except OSError as error:
        udp.close()
        raise UnavailableError(f"can't listen for DNS on {address} port {port} (UDP): {error.strerror}") from error
    return udp


def ready_for_datagrams(udp: socket.socket) -> None:
    """What a socket needs, whoever opened it. Raises `OSError`."""
    udp.setblocking(True)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", IDLE_S, 0))
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WAITING)
    with suppress(PermissionError):  # more than net.core.rmem_max, for who may
        udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, WAITING)
    # No path may tell us to cut answers into fragments, which a forger could replace (RFC 9715).
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_OMIT)
    else:
        udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        udp.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)


_SO_RCVBUFFORCE: Final = 33
_IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_OMIT: Final = 5


class Datagrams:
    """One socket's packets, until told to stop."""

    def __init__(self, udp: socket.socket, responder: Responder, counts: Counts, recent: Recent) -> None:
        probe = b"as CPython has it"
        assert ctypes.string_at(id(probe) + _BYTES_AT, len(probe)) == probe, "bytes lie where they are sent from"
        self._fd = udp.fileno()
        self._responder = responder
        self._counts = counts
        self._recent = recent
        self._receive, self._send = _calls()
        self._ready: dict[bytes, bytes] = {}
        self._held: dict[bytes, bytes] = {}
        self._steered: dict[bytes, tuple[bytes, bytes]] = {}
        """Of these, what depends on who is up and on the day: where the rest lies, and the rest. It is forgotten at
        once, while others wait."""
        self._bytes = self._steered_bytes = 0
        """Of all that is ready, and of the part that is steered."""
        self._passing: dict[bytes, tuple[bytes, bytes]] = {}
        """Of queries that have no end: for names that are in no zone by themselves, and with client subnets, whose
        answers may depend on who is up; where the rest lies, and the rest. Those kept longest go first."""
        self._once: set[int] = set()
        """Of such queries that were seen, hashes."""
        self._made: list[bytes] = []
        self._stopped = False
        self._lay_out()

    def _lay_out(self) -> None:
        """Arrays that point into each other; the kernel writes into them, and Python reads through views."""
        # Slices of such arrays are bytes.
        self._queries: _Bytes = (ctypes.c_char * (BATCH * SLOT))()
        self._names: _Bytes = (ctypes.c_char * (BATCH * NAME))()
        self._controls: _Bytes = (ctypes.c_char * (BATCH * CONTROL))()
        self._vectors = (_Iovec * (2 * BATCH))()
        self._messages = (_Sized * BATCH)()
        queries, names = ctypes.addressof(self._queries), ctypes.addressof(self._names)
        controls, vectors = ctypes.addressof(self._controls), ctypes.addressof(self._vectors)
        for number in range(BATCH):
            at = queries + number * SLOT
            self._vectors[2 * number] = _Iovec(at, 2)
            self._vectors[2 * number + 1] = _Iovec(at + 2, SLOT - 2)
            message = self._messages[number].message
            message.name, message.name_length = names + number * NAME, NAME
            message.parts, message.parts_length = vectors + 2 * number * _VECTOR_SIZE, 2
            message.control, message.control_length = controls + number * CONTROL, CONTROL
        self._message_bytes = memoryview(self._messages).cast("B")
        self._vector_bytes = memoryview(self._vectors).cast("B")
        self._fresh_messages = bytes(self._message_bytes)
        self._fresh_vectors = bytes(self._vector_bytes)
        size_at = _Sized.size.offset // 4
        self._sizes = self._message_bytes.cast("I")[size_at :: _MESSAGE_SIZE // 4]
        # Of each packet: where it begins behind its id, where its second vector is, and its number.
        self._places = [
            (number * SLOT, number * SLOT + 2, (2 * number + 1) * _VECTOR_SIZE) for number in range(BATCH)
        ]
        self._base = ctypes.addressof(self._messages)

    def warm(self, until_s: float) -> int:
        """Make the answers ready that were kept last by who read this socket before, until then on the monotonic
        clock; how many. Of a query that is in no way new nothing is written down."""
        kept = 0
        for query in self._recent.take_up():
            if kept % 64 == 0 and time.monotonic() >= until_s:
                break
            packet = b"\0\0" + query
            rest = self._lasting(packet, packet.find(b"\0", 12))
            if rest is not None:
                self._keep(query, rest, _place(rest))
                kept += 1
        return kept

    def _lasting(self, packet: bytes, name_end: int) -> bytes | None:
        """The answer behind its id, where it is the same for whoever asks and whoever is up."""
        now_s = time.time()
        if quick := self._responder.quick(packet, name_end + 1, _NOBODY, now_s):
            return quick[0] if quick[2] == "long" else None
        reply = self._responder.reply(packet, Client(address=_NOBODY, transport="udp"), now_s)
        return reply.data[2:] if reply is not None and reply.lasting and not reply.steered else None

    def stop(self) -> None:
        """What was received is answered; safe in a signal handler."""
        self._stopped = True

    def run(self) -> None:
        """Answer until stopped."""
        receive, fd, base = self._receive, self._fd, self._base
        messages, vectors = self._message_bytes, self._vector_bytes
        while not self._stopped:
            messages[:] = self._fresh_messages
            vectors[:] = self._fresh_vectors
            count = receive(fd, base, BATCH, _WAITFORONE, None)
            if count > 0:
                self._answer(count)
            elif (fault := ctypes.get_errno()) not in _PASSING:
                raise UnavailableError(f"DNS over UDP can't receive: {os.strerror(fault)}")

    def _answer(self, count: int) -> None:
        now_s = time.time()
        if self._responder.look(now_s):
            self._forget_steered()
        sizes = self._sizes[:count].tolist()
        ready, passing, steered = self._ready.get, self._passing.get, self._steered.get
        queries, vectors = self._queries, self._vector_bytes
        silent: list[int] = []
        missed = 0
        for (begin, behind, vector), size in zip(self._places, sizes, strict=False):
            query = queries[behind : begin + size]
            place = ready(query)
            if place is None and (kept := passing(query) or steered(query)) is not None:
                place = kept[0]
            if place is None:
                missed += 1
                place = self._slowly(begin // SLOT, begin, size, now_s)
                if place is None:
                    silent.append(begin // SLOT)
                    continue
            vectors[vector : vector + _VECTOR_SIZE] = place
        self._counts.ready += count - missed
        self._send_out(count, silent)
        self._made.clear()

    def _slowly(self, number: int, begin: int, size: int, now_s: float) -> bytes | None:
        """Read the query; where the rest of its answer lies, behind the id."""
        packet: bytes = self._queries[begin : begin + size]
        if len(packet) < 12 or self._names[number * NAME + 2 : number * NAME + 4] == b"\0\0":
            self._counts.dropped += 1
            return None  # no header; or port 0, to which nobody can be answered
        name_end = packet.find(b"\0", 12)
        folded = packet[2:12] + packet[12:name_end].lower() + packet[name_end:]
        is_kept = folded == packet[2:] and size <= KEPT_QUERY_MAX
        if folded != packet[2:] and (place := self._ready.get(folded) or self._steered.get(folded, (None,))[0]):
            return self._recased(packet, name_end, place)
        address = self._address(number)
        if quick := self._responder.quick(packet, name_end + 1, address, now_s):
            rest, rcode, keeping = quick
            self._counts.add_quick(rcode)
            place = _place(rest)
            if keeping == "never" or not is_kept or (keeping == "passing" and not self._is_again(folded)):
                self._made.append(rest)
            elif keeping == "passing":
                self._keep_passing(folded, rest, place)
            else:
                self._keep(folded, rest, place)
                self._recent.add(folded)
            return place
        client = Client(address=address, transport="udp")
        reply = self._responder.reply(packet, client, now_s)
        if reply is None:
            self._counts.dropped += 1
            return None
        self._counts.add(reply)
        if reply.notified and self._responder.desk.on_notify is not None:
            self._responder.desk.on_notify(reply.notified)
        rest = reply.data[2:]
        place = _place(rest)
        if reply.lasting and is_kept:
            self._keep(folded, rest, place, steered=reply.steered)
            if not reply.steered:
                self._recent.add(folded)
        else:
            self._made.append(rest)
        return place

    def _recased(self, packet: bytes, name_end: int, place: bytes) -> bytes:
        """The ready answer with the letters' case of this question, to which all names in it point."""
        address, size = _PLACE.unpack(place)
        rest = ctypes.string_at(address, size)
        rest = rest[:10] + packet[12:name_end] + rest[name_end - 2 :]
        self._made.append(rest)
        self._counts.ready += 1
        return _place(rest)

    def _forget_steered(self) -> None:
        """Between two batches."""
        self._bytes -= self._steered_bytes
        self._steered_bytes = 0
        self._steered.clear()
        self._passing.clear()

    def _is_again(self, query: bytes) -> bool:
        """Most of what has no end is asked once, and is not worth keeping then."""
        mark, once = hash(query), self._once
        if mark in once:
            return True
        if len(once) >= ONCE_MAX:
            once.clear()
        once.add(mark)
        return False

    def _keep_passing(self, query: bytes, rest: bytes, place: bytes) -> None:
        if len(self._passing) >= PASSING_MAX:
            for old in list(islice(self._passing, PASSING_MAX // 2)):
                self._made.append(self._passing.pop(old)[1])  # some of this batch are still to be sent
        self._passing[query] = place, rest

    def _keep(self, query: bytes, rest: bytes, place: bytes, *, steered: bool = False) -> None:
        size = len(query) + len(rest)
        if len(self._ready) + len(self._steered) >= READY_MAX or self._bytes + size > READY_BYTES_MAX:
            # Those of this batch are still to be sent.
            self._made.extend(self._held.values())
            self._made.extend(held for _, held in self._steered.values())
            self._ready.clear()
            self._held.clear()
            self._steered.clear()
            self._bytes = self._steered_bytes = 0
        self._bytes += size
        if steered:
            self._steered_bytes += size
            self._steered[query] = place, rest
        else:
            self._ready[query] = place
            self._held[query] = rest

    def _address(self, number: int) -> bytes:
        """The client's, packed."""
        name: bytes = self._names[number * NAME : (number + 1) * NAME]
        if name.startswith(_INET):
            return name[4:8]
        address = name[8:24]
        return address[12:] if address.startswith(_MAPPED) else address

    def _send_out(self, count: int, silent: list[int]) -> None:
        """All but those that get no answer."""
        begin = 0
        for end in (*silent, count):
            while begin < end:
                sent = self._send(self._fd, self._base + begin * _MESSAGE_SIZE, end - begin, 0)
                if sent > 0:
                    begin += sent
                    continue
                fault = ctypes.get_errno()
                if fault == errno.EINTR:
                    continue
                # This client can't be reached, or the line is full: it asks again.
                self._counts.unsent += 1
                begin += 1
            begin = end + 1


_PASSING: Final = frozenset({errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH})


def _place(data: bytes) -> bytes:
    """Where the bytes lie and how many they are, as a vector has it; they must be held for as long."""
    return _PLACE.pack(id(data) + _BYTES_AT, len(data))
