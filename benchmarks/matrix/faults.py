"""How a gateway is left alone. Each strikes, holds for a while, and ends."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from benchmarks.matrix.engines import Engine, MakeEngine
from benchmarks.matrix.world import NODE, World, begin, world
from skerry.testkit.real.clocks import FakedClock
from skerry.testkit.real.namespaces import tool
from skerry.testkit.real.programs import EdgeProgram
from skerry.testkit.real.rig import HUB_PORT, Rig

HOLD_S: Final = 5.0
"""Two heartbeats and a half: long enough that both ends know."""
CLOUD_NAME: Final = "cloud.example.test"
NOWHERE: Final = "198.51.100.53"
"""A name server that does not answer (RFC 5737)."""
DISK_MIB: Final = 48
IMAGES_MIB: Final = 512


class Fault(Protocol):
    """One kind, in a world of its own: `place` gives that."""

    name: str
    method: str
    loses_power: bool
    repeats: bool
    """It is of an instant: each point is one of many, chosen by chance."""

    def place(self, make: MakeEngine) -> AbstractContextManager[World]:
        """With what runs its containers."""
        ...

    def strike(self, here: World) -> None: ...

    def end(self, here: World) -> None: ...


class LinkCut:
    name = "link cut"
    method = "nothing passes, and connections end at both ends"
    loses_power = repeats = False

    @contextmanager
    def place(self, make: MakeEngine) -> Generator[World]:
        with make(None) as engine, world() as made:
            here = World(made, made.edge(NODE, flags=engine.flags), engine)
            begin(here)
            yield here

    def strike(self, here: World) -> None:
        here.link.cut()

    def end(self, here: World) -> None:
        time.sleep(HOLD_S)
        here.link.heal()


class HalfOpen(LinkCut):
    name = "half-open"
    method = "packets vanish in both directions, and nobody is told"

    def strike(self, here: World) -> None:
        here.link.half_open()


class PowerLoss(LinkCut):
    name = "power loss"
    method = "SIGKILL of everything on the gateway at a random point, and a boot"
    loses_power = repeats = True

    def strike(self, here: World) -> None:
        here.lose_power()

    def end(self, here: World) -> None:
        here.boot()


class Clock1970:
    """Offline as well: a link would tell the time."""

    name = "clock at 1970"
    method = "power goes and the link too; the gateway boots with no idea of the time, and has its link later"
    loses_power = True
    repeats = False

    def __init__(self) -> None:
        self._clock: FakedClock | None = None

    @contextmanager
    def place(self, make: MakeEngine) -> Generator[World]:
        with make(None) as engine, world() as made:
            clock = self._clock = FakedClock(made.directory / "clock")
            here = World(made, made.edge(NODE, flags=engine.flags, env=clock.env), engine)
            begin(here)
            yield here

    def strike(self, here: World) -> None:
        assert self._clock is not None, "`place` made it"
        here.link.cut()
        here.lose_power()
        self._clock.forget()
        here.boot()

    def end(self, here: World) -> None:
        time.sleep(HOLD_S)
        here.link.heal()


class NoNames:
    """The link is silent first: a name is only asked for when somebody dials."""

    name = "DNS gone"
    method = (
        "the link is dead until both ends know, and when packets pass again, the cloud's name is not found: the name "
        "server does not answer"
    )
    loses_power = repeats = False

    @contextmanager
    def place(self, make: MakeEngine) -> Generator[World]:
        with make(None) as engine, world(cloud_flags=("--names", CLOUD_NAME)) as made:
            here = World(made, _edge_by_name(made, engine), engine)
            begin(here)
            yield here

    def strike(self, here: World) -> None:
        _hosts(here.rig).write_text(_hosts_text(""))
        here.link.half_open()

    def end(self, here: World) -> None:
        time.sleep(HOLD_S)
        here.link.heal()
        time.sleep(HOLD_S)
        _hosts(here.rig).write_text(_hosts_text(_address(here.rig)))


def _hosts(made: Rig) -> Path:
    return made.directory / "hosts"


def _address(made: Rig) -> str:
    return made.sites[NODE].cloud.rpartition(":")[0].strip("[]")


def _hosts_text(address: str) -> str:
    return "127.0.0.1 localhost\n" + (f"{address} {CLOUD_NAME}\n" if address else "")


def _edge_by_name(made: Rig, engine: Engine) -> EdgeProgram:
    """A gateway that knows its cloud by name, and has a hosts file and a name server of its own."""
    site = made.site(NODE)
    edge = EdgeProgram(
        machine=made.machine(NODE, site=NODE),
        data=made.directory / "edges" / NODE,
        node=NODE,
        flags=engine.flags,
    )
    made.edges[NODE] = edge
    names = made.directory / "resolv.conf"
    names.write_text(f"nameserver {NOWHERE}\noptions timeout:2 attempts:1\n")
    _hosts(made).write_text(_hosts_text(site.cloud.rpartition(":")[0].strip("[]")))
    edge.machine.power_on()
    for own, place in ((_hosts(made), "/etc/hosts"), (names, "/etc/resolv.conf")):
        edge.machine.run("mount", [tool("mount"), "--bind", own, Path(place).resolve()])
    edge.join(f"{CLOUD_NAME}:{HUB_PORT}", made.cloud.skerry("token", "create", NODE).strip())
    return edge


class DiskFull:
    """The images and what containers write are on the same disk, as on a board with one card."""

    name = "disk full"
    method = (
        f"the last byte of the gateway's disk ({DISK_MIB} MiB beside its images) is taken, and given back; pods are "
        "not evicted meanwhile (`--eviction-hard none`)"
    )
    loses_power = repeats = False

    @contextmanager
    def place(self, make: MakeEngine) -> Generator[World]:
        flags = ("--history-mib", "0", "--eviction-hard", "none")
        with world(edge_flags=flags) as made, _disk(made.directory / "disk") as disk, make(disk) as engine:
            data = made.directory / "edges" / NODE
            for folder in (data, disk / "edge"):
                folder.mkdir(mode=0o700)
            subprocess.run([tool("mount"), "--bind", disk / "edge", data], check=True)
            try:
                here = World(made, made.edge(NODE, flags=engine.flags), engine)
                _shrink(disk)
                begin(here)
                yield here
            finally:
                made.edges[NODE].machine.power_off()
                subprocess.run([tool("umount"), "--lazy", data], check=True)

    def strike(self, here: World) -> None:
        with (here.edge.data / "filler").open("wb", buffering=0) as filler:
            for block in (1 << 20, 4096, 1):
                try:
                    while True:
                        filler.write(b"x" * block)
                except OSError:
                    continue

    def end(self, here: World) -> None:
        time.sleep(HOLD_S)
        (here.edge.data / "filler").unlink()


@contextmanager
def _disk(place: Path) -> Generator[Path]:
    """With room for images."""
    place.mkdir()
    subprocess.run([tool("mount"), "-t", "tmpfs", "-o", f"size={IMAGES_MIB}m,mode=0755", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run([tool("umount"), "--lazy", place], check=True)


def _shrink(disk: Path) -> None:
    """To what is taken, and `DISK_MIB`."""
    used_mib = shutil.disk_usage(disk).used >> 20
    subprocess.run([tool("mount"), "-o", f"remount,size={used_mib + DISK_MIB}m", disk], check=True)


FAULTS: Final[tuple[Fault, ...]] = (LinkCut(), HalfOpen(), NoNames(), Clock1970(), DiskFull(), PowerLoss())
