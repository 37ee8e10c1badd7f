"""Lines between sites and the cloud, in three forms with one face; the best that this machine can do is taken.

`NetemLine`: a veth pair, shaped by the kernel's netem. `TunnelLine`: TUN devices with `tunnel` between, where the
kernel has no netem. `RelayLine`: `relay`, for whoever is not root. The first two carry every packet of a site's
namespace. Nothing is kept but what the kernel keeps in the namespaces.
"""

from __future__ import annotations

import contextlib
import json
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final, Protocol

from skerry.errors import UnavailableError
from skerry.frozen import Frozen, as_dict
from skerry.objects.json import JsonObject, int_at
from skerry.testkit.real.addresses import Ends, cloud_addresses, ends_of
from skerry.testkit.real.namespaces import Namespace, new_namespace, tool
from skerry.testkit.real.pipe import CLEAR, QUEUE_PACKETS_MAX, Direction, Shape
from skerry.testkit.real.power import Steward

SITE_DEVICE: Final = "wan0"
SEED: Final = 7


class Carried(Frozen):
    """What a line has carried since it was made, in bytes of IP (of streams, on a relay), and lost, in packets."""

    up_bytes: int
    down_bytes: int
    up_lost: int
    down_lost: int


class Line(Protocol):
    """One site's way to the cloud."""

    def shape(self, shape: Shape, *, unplugged: bool = False) -> None:
        """From now on so. Unplugged: the site is told at once that there is no way (its route is gone)."""
        ...

    def carried(self) -> Carried: ...

    def sever(self) -> None:
        """End the connections over it at both ends, where the kernel can do that."""
        ...

    def close(self) -> None: ...


def netem_arguments(direction: Direction) -> list[str]:
    """What `tc qdisc replace dev X root` is told (tc-netem(8))."""
    words = ["netem", "limit", str(QUEUE_PACKETS_MAX if direction.kbit else 1000)]
    loss = 1.0 if direction.blocked else direction.loss
    if loss:
        words += ["loss", "random", f"{loss * 100:g}%"]
    if direction.delay_ms and not direction.blocked:
        words += ["delay", f"{direction.delay_ms:g}ms"]
    if direction.kbit and not direction.blocked:
        words += ["rate", f"{direction.kbit * 1000:.0f}bit"]
    return words


def kernel_has_netem(place: Namespace) -> bool:
    """Tried, on a loopback of our own."""
    try:
        place.run(tool("tc"), "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
        place.run(tool("tc"), "qdisc", "del", "dev", "lo", "root")
    except UnavailableError:
        return False
    return True


class _Wired:
    """What the two forms with namespaces share: addresses and routes of both ends."""

    def __init__(self, site: Namespace, cloud: Namespace, number: int) -> None:
        self.site, self.cloud = site, cloud
        self.ends: Ends = ends_of(number)
        self.cloud_device = f"site{number}"
        self._unplugged = False

    def _configure(self) -> None:
        ends = self.ends
        _address(self.site, SITE_DEVICE, ends.site_4, ends.site_6, ends.cloud_4)
        _address(self.cloud, self.cloud_device, ends.cloud_4, ends.cloud_6, ends.site_4)
        for family, gateway in (("-4", ends.cloud_4), ("-6", ends.cloud_6)):
            way = ["default", "via", str(gateway), "dev", SITE_DEVICE, "metric", "100"]
            self.site.run(tool("ip"), family, "route", "add", *way)
        # Who listens on all addresses answers from the one that was asked, not from its end of the line (UDP).
        four, six = cloud_addresses(1)
        for family, target, source in (("-4", f"{ends.site_4}/32", four), ("-6", f"{ends.site_6}/128", six)):
            way = [target, "dev", self.cloud_device, "src", str(source), "metric", "0" if family == "-4" else "10"]
            self.cloud.run(tool("ip"), family, "route", "replace", *way)

    def sever(self) -> None:
        """By SOCK_DESTROY (ss(8), `-K`); a kernel without it leaves both ends to find out by their heartbeats."""
        ends = self.ends
        for place, peers in (
            (self.site, [address for pair in map(cloud_addresses, range(1, 4)) for address in pair]),
            (self.cloud, [ends.site_4, ends.site_6]),
        ):
            for peer in peers:
                with contextlib.suppress(UnavailableError):
                    place.run(tool("ss"), "-K", "-t", "dst", str(peer))

    def _plug(self, *, unplugged: bool) -> None:
        """A better route that leads nowhere, so that who dials is told at once, as with a cable pulled."""
        if unplugged != self._unplugged:
            self._unplugged = unplugged
            for family in ("-4", "-6"):
                verb = "add" if unplugged else "del"
                self.site.run(tool("ip"), family, "route", verb, "unreachable", "default", "metric", "1")


def _address(place: Namespace, device: str, four: IPv4Address, six: IPv6Address, peer: IPv4Address) -> None:
    place.run(tool("ip"), "link", "set", device, "up")
    place.run(tool("ip"), "addr", "add", str(four), "peer", str(peer), "dev", device)
    place.run(tool("ip"), "-6", "addr", "add", f"{six}/64", "dev", device, "nodad")


class NetemLine(_Wired):
    """A veth pair whose ends the kernel delays, drops and throttles."""

    def __init__(self, site: Namespace, cloud: Namespace, number: int) -> None:
        super().__init__(site, cloud, number)
        peer = ["type", "veth", "peer", "name", self.cloud_device, "netns", self.cloud.path]
        site.run(tool("ip"), "link", "add", SITE_DEVICE, *peer)
        self._configure()

    def shape(self, shape: Shape, *, unplugged: bool = False) -> None:
        for place, device, direction in (
            (self.site, SITE_DEVICE, shape.up),
            (self.cloud, self.cloud_device, shape.down),
        ):
            command = [tool("tc"), "qdisc", "replace", "dev", device, "root"]
            if direction == CLEAR:
                command = [tool("tc"), "qdisc", "replace", "dev", device, "root", "pfifo", "limit", "1000"]
            else:
                command += netem_arguments(direction)
            place.run(*command)
        self._plug(unplugged=unplugged)

    def carried(self) -> Carried:
        up, down = self._statistics(self.cloud, self.cloud_device), self._statistics(self.site, SITE_DEVICE)
        return Carried(up_bytes=up[0], down_bytes=down[0], up_lost=down[1], down_lost=up[1])

    def close(self) -> None:
        self.cloud.run(tool("ip"), "link", "del", self.cloud_device)

    @staticmethod
    def _statistics(place: Namespace, device: str) -> tuple[int, int]:
        """Bytes received, packets that the queue for sending dropped."""
        shown = json.loads(place.run(tool("ip"), "-j", "-s", "link", "show", "dev", device))
        queue = json.loads(place.run(tool("tc"), "-j", "-s", "qdisc", "show", "dev", device))
        return int(shown[0]["stats64"]["rx"]["bytes"]), sum(int(each.get("drops", 0)) for each in queue)


class TunnelLine(_Wired):
    """TUN devices, and a program of ours between them."""

    def __init__(self, site: Namespace, cloud: Namespace, number: int, *, log: Path) -> None:
        super().__init__(site, cloud, number)
        command = [sys.executable, "-m", "skerry.testkit.real.tunnel", str(site.fd), str(cloud.fd)]
        command += [SITE_DEVICE, self.cloud_device, str(SEED + number)]
        self._steward = Steward(f"line {number}", command, pass_fds=(site.fd, cloud.fd), log=log)
        self._configure()

    def shape(self, shape: Shape, *, unplugged: bool = False) -> None:
        self._steward.order({"up": as_dict(shape.up), "down": as_dict(shape.down)})
        self._plug(unplugged=unplugged)

    def carried(self) -> Carried:
        return _carried(self._steward.order({}))

    def close(self) -> None:
        self._steward.end()


class RelayLine:
    """A relay on loopback, TCP and UDP, in front of one address of the cloud."""

    def __init__(self, target: tuple[str, int], *, host: str = "127.0.0.1", seed: int = SEED, log: Path) -> None:
        command = [sys.executable, "-m", "skerry.testkit.real.relay", host, target[0], str(target[1]), str(seed)]
        self._steward = Steward(f"relay to {target[0]}:{target[1]}", command, log=log)
        self.address = (host, int_at(self._steward.greeting, "port"))
        """What the site dials in the cloud's stead."""

    def shape(self, shape: Shape, *, unplugged: bool = False) -> None:
        self._steward.order({"up": as_dict(shape.up), "down": as_dict(shape.down), "refuse": unplugged})

    def sever(self) -> None:
        self._steward.order({"sever": True})

    def carried(self) -> Carried:
        return _carried(self._steward.order({}))

    def close(self) -> None:
        self._steward.end()


class Gate:
    """A way from this machine's loopback into the cloud's namespace: for kubectl and whoever asks from outside."""

    def __init__(self, cloud: Namespace, target: tuple[str, int], *, log: Path) -> None:
        command = [sys.executable, "-m", "skerry.testkit.real.relay", "127.0.0.1", target[0], str(target[1]), "0"]
        self._steward = Steward("gate", [*command, str(cloud.fd)], pass_fds=(cloud.fd,), log=log)
        self.address = ("127.0.0.1", int_at(self._steward.greeting, "port"))

    def close(self) -> None:
        self._steward.end()


def new_cloud_place(replicas: int) -> Namespace:
    """The namespace in which the cloud listens, with an address of each family for each replica."""
    place = new_namespace("cloud")
    for number in range(1, replicas + 1):
        four, six = cloud_addresses(number)
        place.run(tool("ip"), "addr", "add", f"{four}/32", "dev", "lo")
        place.run(tool("ip"), "-6", "addr", "add", f"{six}/128", "dev", "lo", "nodad")
    return place


def _carried(answer: JsonObject) -> Carried:
    return Carried(
        up_bytes=int_at(answer, "up_bytes"),
        down_bytes=int_at(answer, "down_bytes"),
        up_lost=int_at(answer, "up_lost"),
        down_lost=int_at(answer, "down_lost"),
    )
