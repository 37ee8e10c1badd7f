"""The rig: a cloud, sites and gateways on this machine, put together and taken apart.

With root: every site is a network namespace joined to the cloud's by a line, and every gateway a machine that can
lose its power (`machine`). Without: all on loopback, with a relay for each site's line. Which it is, `describe` says.
Everything is kept below one directory that goes with the rig.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.testkit.real.addresses import cloud_addresses
from skerry.testkit.real.lines import (
    Gate,
    Line,
    NetemLine,
    RelayLine,
    TunnelLine,
    kernel_has_netem,
    new_cloud_place,
)
from skerry.testkit.real.namespaces import Namespace, new_namespace, tool
from skerry.testkit.real.power import Machine, Steward
from skerry.testkit.real.programs import CloudProgram, EdgeProgram
from skerry.testkit.real.runs import RUN_VARIABLE, new_run
from skerry.testkit.real.sites import Link, Site

HTTPS_PORT: Final = 6443
HUB_PORT: Final = 10443
LineForm = Literal["netem", "tunnel", "relay"]


class RigSettings(Frozen):
    """How the rig is built."""

    line: LineForm | None = None
    """None: the best that this user, on this kernel, can have."""
    family: Literal[4, 6] = 4
    """By which version of IP gateways reach the cloud."""
    cloud_flags: tuple[str, ...] = ()
    edge_flags: tuple[str, ...] = ()


@dataclass(slots=True)
class Rig:
    """Made by `rig`."""

    directory: Path
    settings: RigSettings
    line: LineForm
    cloud: CloudProgram
    place: Namespace | None
    """The cloud's network."""
    _stack: ExitStack = field(repr=False)
    _lines_log: Path = field(repr=False)
    sites: dict[str, Site] = field(default_factory=dict[str, Site])
    edges: dict[str, EdgeProgram] = field(default_factory=dict[str, EdgeProgram])

    @property
    def describe(self) -> str:
        """What the lines are made of, for whoever reads a figure."""
        return {
            "netem": "network namespaces, veth with tc netem",
            "tunnel": "network namespaces, packets through a user-space line (this kernel has no netem)",
            "relay": "loopback, a relay for TCP and UDP (not root)",
        }[self.line]

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def site(self, name: str) -> Site:
        """The site of that name, made when it is asked for first."""
        if name in self.sites:
            return self.sites[name]
        number = len(self.sites)
        line: Line
        namespace: Namespace | None = None
        if self.place is None:
            line = RelayLine(("127.0.0.1", self.cloud.hub_port), seed=number, log=self._lines_log)
            address = f"{line.address[0]}:{line.address[1]}"
        else:
            namespace = new_namespace(name)
            self._stack.callback(namespace.close)
            line = (
                NetemLine(namespace, self.place, number)
                if self.line == "netem"
                else TunnelLine(namespace, self.place, number, log=self._lines_log)
            )
            address = hub_address(self.settings.family)
        self._stack.callback(line.close)
        self.sites[name] = Site(name=name, number=number, namespace=namespace, link=Link(line), cloud=address)
        return self.sites[name]

    def machine(self, name: str, *, site: str = "") -> Machine:
        """A machine at a site ("": at the cloud's place), which loses its power when the rig is taken apart."""
        namespace = self.sites[site].namespace if site else self.place
        machine = Machine(name, self.logs, namespace)
        self._stack.callback(machine.power_off)
        return machine

    def steward(self, name: str, module: str, *arguments: str) -> Steward:
        """A helper program of the kit, which ends with the rig."""
        log = self.logs / f"{name.replace(' ', '-')}.log"
        made = Steward(name, [sys.executable, "-m", module, *arguments], log=log)
        self._stack.callback(made.end)
        return made

    def edge(self, name: str, *, flags: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> EdgeProgram:
        """A gateway at a site of its own, joined and not running."""
        if name in self.edges:
            raise InvalidError(f"there is a gateway {name} already")
        site = self.site(name)
        edge = EdgeProgram(
            machine=self.machine(name, site=name),
            data=self.directory / "edges" / name,
            node=name,
            flags=(*self.settings.edge_flags, *flags),
            env=env or {},
        )
        edge.join(site.cloud, self.cloud.skerry("token", "create", name).strip())
        self.edges[name] = edge
        return edge


def hub_address(family: int, replica: int = 1) -> str:
    """Where a gateway in a namespace finds the hub."""
    four, six = cloud_addresses(replica)
    return f"{four}:{HUB_PORT}" if family == 4 else f"[{six}]:{HUB_PORT}"


def best_line() -> LineForm:
    """The best line that this user, on this kernel, can have."""
    if not may_isolate():
        return "relay"
    place = new_namespace("probe")
    try:
        return "netem" if kernel_has_netem(place) else "tunnel"
    finally:
        place.close()


def may_isolate() -> bool:
    """Root, with the tools and the TUN device that namespaces need."""
    try:
        for name in ("ip", "nsenter", "unshare"):
            tool(name)
    except UnavailableError:
        return False
    return os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK)


@contextmanager
def rig(settings: RigSettings | None = None) -> Generator[Rig]:
    """A rig whose cloud runs. Whatever happens inside, nothing of it is there afterwards."""
    settings = settings or RigSettings()
    with ExitStack() as stack:
        directory = new_run()
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        (directory / "logs").mkdir()
        (directory / "edges").mkdir()
        os.environ[RUN_VARIABLE] = str(directory)
        line = settings.line or best_line()
        log = directory / "logs" / "lines.log"
        place: Namespace | None = None
        gate: Gate | None = None
        if line != "relay":
            place = new_cloud_place(1)
            stack.callback(place.close)
            gate = Gate(place, (str(cloud_addresses(1)[0]), HTTPS_PORT), log=log)
            stack.callback(gate.close)
        machine = Machine("cloud", directory / "logs", place)
        stack.callback(machine.power_off)
        cloud = CloudProgram(
            machine=machine,
            data=directory / "cloud",
            bind="::" if place else "127.0.0.1",
            https_port=HTTPS_PORT if place else 0,
            hub_port=HUB_PORT if place else 0,
            flags=settings.cloud_flags,
            gate=gate.address if gate else None,
        )
        cloud.start()
        yield Rig(directory, settings, line, cloud, place, stack, log)
