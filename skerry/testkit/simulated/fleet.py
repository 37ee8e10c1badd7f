"""A simulated fleet: one cloud, its gateways and their PLCs, one virtual clock, one seed.

Everything is in memory but the files of volumes, which are below the fleet's directory. Whatever a process of it
fails with by itself comes out of the next call that lets time pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from skerry.daemon import leaves
from skerry.errors import SkerryError
from skerry.testkit import arguments
from skerry.testkit.face import Fleet
from skerry.testkit.fleet import FleetOf
from skerry.testkit.fleets import FleetOptions
from skerry.testkit.simulated.broker import SimulatedBroker
from skerry.testkit.simulated.cloud import SimulatedCloud
from skerry.testkit.simulated.edge import SimulatedEdge, Site
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.modbus import SimulatedPlc
from skerry.testkit.simulated.transcript import Transcript
from skerry.testkit.simulated.wire import Listener, Route

if TYPE_CHECKING:
    import asyncio


class CrashedError(SkerryError):
    """A simulated process ended by a fault of its own: a bug of Skerry, or of the test kit."""


class SimulatedFleet(FleetOf[SimulatedEdge, SimulatedPlc, SimulatedBroker]):
    """Implements `skerry.testkit.Fleet`."""

    ready_s_max = 60.0
    look_s = 0.25
    """Well below what the product itself waits for anywhere."""

    def __init__(self, options: FleetOptions) -> None:
        self._loop = VirtualLoop()
        self._loop.connector = self._connect
        self._transcript = Transcript(self._loop)
        super().__init__(options, self._transcript)
        self._routes: list[Route] = []
        self._closed = False
        self._cloud = self.new_cloud(self._loop, self._transcript)
        self._cloud.start()

    # --- who is there ---

    @property
    def backend(self) -> str:
        return "simulated"

    @property
    def cloud(self) -> SimulatedCloud:
        return self._cloud

    def _new_edge(self, name: str, labels: Mapping[str, str]) -> SimulatedEdge:
        random = Random(f"{self.seed}/{name}")  # noqa: S311 - reproducible on purpose
        route = Route(name, self._loop, random, self._transcript, self._listener)
        self._routes.append(route)
        directory = self._options.directory / name
        (directory / "root").mkdir(parents=True)
        site = Site(
            loop=self._loop,
            transcript=self._transcript,
            seed=self.seed,
            route=route,
            brokers=self._broker_at,
            directory=directory,
        )
        return self.new_gateway(name, labels, site)

    def _begin(self, edge: SimulatedEdge) -> None:
        edge.start()

    def new_cloud(self, loop: VirtualLoop, transcript: Transcript) -> SimulatedCloud:
        return SimulatedCloud(loop, transcript, self.seed, lambda: self._routes)

    def new_gateway(self, name: str, labels: Mapping[str, str], site: Site) -> SimulatedEdge:
        return SimulatedEdge(name, labels, site)

    def _listener(self) -> Listener | None:
        return self._cloud.accept if self._cloud.running else None

    def _new_plc(self, name: str, port: int) -> SimulatedPlc:
        return SimulatedPlc(
            name,
            "127.0.0.1",
            port,
            self._loop,
            note=lambda text: self._transcript.note(f"plc {name}", text),
            fault=lambda text: self._transcript.fault(f"plc {name}", text),
        )

    def _new_broker(self, name: str, port: int) -> SimulatedBroker:
        return SimulatedBroker(
            name,
            "127.0.0.1",
            port,
            self._loop,
            wall_s=lambda: self._cloud.clock.wall_ms() / 1000,
            note=lambda text: self._transcript.note(f"broker {name}", text),
            fault=lambda text: self._transcript.fault(f"broker {name}", text),
        )

    def _broker_at(self, port: int) -> SimulatedBroker | None:
        return next((broker for broker in self._brokers.values() if broker.port == port), None)

    async def _connect(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[Any, asyncio.BaseProtocol]:
        """A TCP connection of a driver: to the PLC at that port, whatever the address is called."""
        plc = next((plc for plc in self._plcs.values() if plc.port == port), None)
        if plc is None:
            raise ConnectionRefusedError(f"{host}:{port}: there is no PLC at this port in the fleet")
        protocol = factory()
        return plc.connect(protocol), protocol

    # --- time ---

    @property
    def pace(self) -> float:
        return 1.0

    @property
    def now_s(self) -> float:
        return self._loop.time()

    def wait(self, seconds: float) -> None:
        self._loop.advance(arguments.seconds(seconds, "wait(seconds)"))
        self._check()

    def _check(self) -> None:
        """Whatever ended by itself has to be heard of."""
        for name, part in (("the cloud", self._cloud), *self._edges.items()):
            if part.fault is not None:
                told = "; ".join(f"{type(error).__name__}: {error}" for error in leaves(part.fault))
                raise CrashedError(f"{name} crashed: {told}") from part.fault

    @property
    def digest(self) -> str:
        """A hash over the whole transcript: the same for the same test and seed."""
        return self._transcript.digest

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for edge in self._edges.values():
            edge.power_off()
        self._cloud.kill()
        self._transcript.close()
        if self._options.keep:
            text = "\n".join(self._transcript.lines) + "\n"
            (self._options.directory / "transcript.txt").write_text(text, encoding="utf-8")
        self._loop.do(self._loop.shutdown_asyncgens())
        self._loop.close()


def open_fleet(options: FleetOptions) -> Fleet:
    """See `skerry.testkit.fleets`."""
    return SimulatedFleet(options)
