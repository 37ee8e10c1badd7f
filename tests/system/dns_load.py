"""Asks a DNS server at a rate, whatever it answers, and tells how long each answer took: `python -m
tests.system.dns_load PORT RATE SECONDS FILE`, a file of queries without their ids, each behind two bytes of length.

dnsperf waits for answers when many are missing and tells a mean; here nothing is waited for. Queries lie ready in
memory, each with an id that is its own on its socket, and go out by the batch; what came back is stamped by the
kernel, so a reader that is late is no part of what is measured. A query's time begins before the call that sends its
batch.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

SOCKETS = 16
"""Each is another client to a server that deals clients out to processes."""
RING = 1 << 15
"""Queries of a socket; an id comes back after so many."""
BURST = 16
"""Sent with one call; what comes of them is taken with one as well, so there is room for more."""
BATCH = 64
ROOM = 2
TIMED = 32
WAIT_S = 2.0
"""So long answers are waited for at the end; what comes later is lost."""
_SO_TIMESTAMPNS = 35
_DONTWAIT = 0x40


class _Vector(ctypes.Structure):
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
        ("size", ctypes.c_uint),
        ("", ctypes.c_uint),
    )


MESSAGE = ctypes.sizeof(_Message)


@dataclass(slots=True)
class Loaded:
    """What came of it. Times in milliseconds."""

    sent: int
    answered: int
    lost: int
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    asker_share: float
    """Of a core, that asking took: near 1, it is itself what is slow."""
    late: int
    """Answers after more than a second."""


class _Line:
    """One socket's queries in a ring, and when each was sent."""

    def __init__(self, port: int, queries: Sequence[bytes], libc: ctypes.CDLL) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.connect(("127.0.0.1", port))
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        self.udp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._libc, self._fd = libc, self.udp.fileno()
        whole = b"".join(number.to_bytes(2, "big") + queries[number % len(queries)] for number in range(RING))
        self._held = ctypes.create_string_buffer(whole, len(whole))
        self._vectors = (_Vector * RING)()
        self._out = (_Message * RING)()
        at, vectors = ctypes.addressof(self._held), ctypes.addressof(self._vectors)
        for number in range(RING):
            size = 2 + len(queries[number % len(queries)])
            self._vectors[number] = _Vector(at, size)
            self._out[number].parts = vectors + number * ctypes.sizeof(_Vector)
            self._out[number].parts_length = 1
            at += size
        self._in = (_Message * BATCH)()
        self._heads = (ctypes.c_char * (ROOM * BATCH))()
        self._stamps = (ctypes.c_char * (TIMED * BATCH))()
        self._places = (_Vector * BATCH)()
        for number in range(BATCH):
            self._places[number] = _Vector(ctypes.addressof(self._heads) + ROOM * number, ROOM)
            message = self._in[number]
            message.parts = ctypes.addressof(self._places) + number * ctypes.sizeof(_Vector)
            message.parts_length = 1
            message.control = ctypes.addressof(self._stamps) + TIMED * number
            message.control_length = TIMED
        self._fresh = bytes(self._in)
        self._in_view = memoryview(self._in).cast("B")
        self._ids = struct.Struct(f"!{BATCH}H")
        self._times = memoryview(self._stamps).cast("B").cast("q")
        self.sent_at = [0] * RING
        self.next = 0

    def send(self, count: int) -> int:
        """So many of the next queries, fewer where the ring ends."""
        begin = self.next
        count = min(count, RING - begin)
        now = time.time_ns()
        sent = self._libc.sendmmsg(self._fd, ctypes.addressof(self._out) + begin * MESSAGE, count, _DONTWAIT)
        if sent <= 0:
            return 0
        self.sent_at[begin : begin + sent] = [now] * sent
        self.next = (begin + sent) % RING
        return sent

    def take(self, took: list[int]) -> int:
        """What has come, into the times that it took."""
        total = 0
        while True:
            self._in_view[:] = self._fresh
            count = self._libc.recvmmsg(self._fd, ctypes.addressof(self._in), BATCH, _DONTWAIT, None)
            if count <= 0:
                return total
            ids = self._ids.unpack(self._heads)
            # A control message of a timestamp: 16 bytes of head, then seconds and nanoseconds.
            seconds, rest = self._times[2 : 4 * count : 4].tolist(), self._times[3 : 4 * count : 4].tolist()
            sent_at = self.sent_at
            for name, second, part in zip(ids, seconds, rest):  # noqa: B905 - ids has more than came
                if at := sent_at[name]:
                    took.append(second * 1_000_000_000 + part - at)
                    sent_at[name] = 0
            total += count
            if count < BATCH:
                return total


def go_first(pid: int, cores: set[int]) -> None:
    """On these cores, before the machine's other work, where that is allowed: else neighbours are what is measured,
    or who asks and who answers wait for each other."""
    with suppress(PermissionError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)
            os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))


def read_queries(path: Path) -> list[bytes]:
    data, at = path.read_bytes(), 0
    found: list[bytes] = []
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def write_queries(path: Path, queries: Sequence[bytes]) -> None:
    path.write_bytes(b"".join(len(each).to_bytes(2, "big") + each for each in queries))


def ask(port: int, rate: float, seconds: float, queries: Sequence[bytes]) -> Loaded:
    libc = ctypes.CDLL(None, use_errno=True)
    for name in ("sendmmsg", "recvmmsg"):
        call = getattr(libc, name)
        call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
        call.argtypes += [ctypes.c_void_p] if name == "recvmmsg" else []
    share = max(1, len(queries) // SOCKETS)
    lines = [_Line(port, [*queries[at * share :], *queries[: at * share]], libc) for at in range(SOCKETS)]
    took: list[int] = []
    sent, turn, begun, used = 0, 0, time.monotonic(), time.process_time()
    end = begun + seconds
    while (now := time.monotonic()) < end:
        due = int((now - begun) * rate) - sent
        if due >= BURST:
            sent += lines[turn].send(BURST)
            turn = (turn + 1) % SOCKETS
        lines[(turn + SOCKETS // 2) % SOCKETS].take(took)
        if due < BURST:
            time.sleep((BURST - due) / rate)
    spent = time.monotonic() - begun
    used = time.process_time() - used
    quiet = time.monotonic() + WAIT_S
    while len(took) < sent and time.monotonic() < quiet:
        for line in lines:
            line.take(took)
        time.sleep(0.001)
    for line in lines:
        line.udp.close()
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] / 1e6 if took else 0.0  # noqa: E731
    late = sum(each > 1_000_000_000 for each in took[-10_000:])
    return Loaded(
        sent=sent,
        answered=len(took),
        lost=sent - len(took),
        rate=sent / spent,
        p50_ms=at(0.5),
        p99_ms=at(0.99),
        p999_ms=at(0.999),
        max_ms=at(1.0),
        asker_share=used / spent,
        late=late,
    )


@contextmanager
def asking(
    port: int, rate: float, seconds: float, queries: Sequence[bytes], *, first: bool = False
) -> Generator[list[Loaded]]:
    """In a process of its own; what came of it is there at the end."""
    found: list[Loaded] = []
    with tempfile.NamedTemporaryFile() as held:
        write_queries(Path(held.name), queries)
        command = [
            sys.executable,
            "-m",
            "tests.system.dns_load",
            *map(str, (port, rate, seconds)),
            held.name,
            "first" if first else "",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield found
            told, _ = process.communicate(timeout=seconds + 60)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    found.append(Loaded(**json.loads(told)))


if __name__ == "__main__":
    if sys.argv[5] == "first":
        go_first(os.getpid(), {max(os.sched_getaffinity(0))})
    print(
        json.dumps(
            asdict(ask(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), read_queries(Path(sys.argv[4]))))
        )
    )
