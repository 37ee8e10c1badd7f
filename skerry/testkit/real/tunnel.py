"""A line made of packets: a TUN device in the site's namespace, one in the cloud's, and this program between.

    python -m skerry.testkit.real.tunnel SITE_FD CLOUD_FD SITE_DEVICE CLOUD_DEVICE SEED

It carries whole IP packets (version 4 and 6, TCP, UDP and all else), so it works on kernels without netem, and
counts what it carries. Told what to do by lines of JSON on its standard input; ends, and the devices with it, when
that is closed. Keeps packets that are on their way, in memory: a crash is a cut.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from skerry.testkit.real.namespaces import enter
from skerry.testkit.real.pipe import Direction, Pipe

TUNSETIFF: Final = 0x400454CA
IFF_TUN: Final = 0x0001
IFF_NO_PI: Final = 0x1000
PACKET_BYTES_MAX: Final = 65_536
PACKETS_A_TURN: Final = 64
"""So that one direction under load does not keep the other, or a command, waiting."""


@dataclass(slots=True)
class _Way:
    """One direction: from which device, to which."""

    source: int
    target: int
    pipe: Pipe
    waiting: list[tuple[float, int, bytes]] = field(default_factory=list)
    packets: int = 0
    carried: int = 0
    lost: int = 0

    def read(self, now: float) -> None:
        """Take in what the device has, up to a turn's worth."""
        for _ in range(PACKETS_A_TURN):
            try:
                packet = os.read(self.source, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            arrives = self.pipe.offer(len(packet), now)
            if arrives is None:
                self.lost += 1
            elif arrives <= now and not self.waiting:
                self._deliver(packet)
            else:
                self.packets += 1
                heapq.heappush(self.waiting, (arrives, self.packets, packet))

    def deliver_due(self, now: float) -> float | None:
        """Let arrive what is due; when the next one is."""
        while self.waiting and self.waiting[0][0] <= now:
            self._deliver(heapq.heappop(self.waiting)[2])
        return self.waiting[0][0] if self.waiting else None

    def change(self, direction: Direction) -> None:
        self.pipe.direction = direction
        if direction.blocked:
            self.lost += len(self.waiting)
            self.waiting.clear()

    def _deliver(self, packet: bytes) -> None:
        self.packets += 1
        self.carried += len(packet)
        try:
            os.write(self.target, packet)
        except OSError:
            self.lost += 1  # the other end is down, or its queue is full


def open_tun(device: str) -> int:
    """A TUN device of that name in the namespace that this process is in; it lives as long as the descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def serve(up: _Way, down: _Way) -> None:
    """Carry until standard input is closed."""
    poll = select.poll()
    for fd in (up.source, down.source, sys.stdin.fileno()):
        poll.register(fd, select.POLLIN)
    while True:
        now = time.monotonic()
        due = [at for at in (up.deliver_due(now), down.deliver_due(now)) if at is not None]
        wait_ms = None if not due else max(0.0, min(due) - now) * 1000
        ready = {fd for fd, _ in poll.poll(wait_ms)}
        now = time.monotonic()
        for way in (up, down):
            if way.source in ready:
                way.read(now)
        if sys.stdin.fileno() in ready:
            line = sys.stdin.readline()
            if not line:
                return
            _obey(json.loads(line), up, down)


def _obey(order: dict[str, dict[str, object]], up: _Way, down: _Way) -> None:
    for name, way in (("up", up), ("down", down)):
        if name in order:
            way.change(Direction(**order[name]))  # type: ignore[arg-type] - our own runner wrote it
    told = {"up_bytes": up.carried, "down_bytes": down.carried, "up_lost": up.lost, "down_lost": down.lost}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main(argv: list[str]) -> None:
    site_fd, cloud_fd, site_device, cloud_device, seed = argv
    chance = random.Random(int(seed)).random  # noqa: S311 - a line that loses the same packets again
    enter(int(site_fd))
    site = open_tun(site_device)
    enter(int(cloud_fd))
    cloud = open_tun(cloud_device)
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    serve(_Way(site, cloud, Pipe(chance)), _Way(cloud, site, Pipe(chance)))


if __name__ == "__main__":
    main(sys.argv[1:])
