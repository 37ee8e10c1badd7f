"""A simulated fleet: one cloud, its gateways and their PLCs, one virtual clock, one seed.

Everything is in memory but the files of volumes, which are below the fleet's directory. Whatever a process of it
fails with by itself comes out of the next call that lets time pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from skerry.daemon import leaves
from skerry.errors import InvalidError, SkerryError
from skerry.objects.json import JsonObject
from skerry.testkit import arguments, waiting
from skerry.testkit.face import FaultView, Fleet, Manifest
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

T = TypeVar("T")

READY_S_MAX = 60.0
EVERY_S = 0.25
"""Between two looks of a wait: well below what the product itself waits for anywhere."""


class CrashedError(SkerryError):
    """A simulated process ended by a fault of its own: a bug of Skerry, or of the test kit."""


class SimulatedFleet:
    """Implements `skerry.testkit.Fleet`."""

    def __init__(self, options: FleetOptions) -> None:
        self._options = options
        self._loop = VirtualLoop()
        self._loop.connector = self._connect
        self._transcript = Transcript(self._loop)
        self._edges: dict[str, SimulatedEdge] = {}
        self._routes: list[Route] = []
        self._plcs: dict[str, SimulatedPlc] = {}
        self._brokers: dict[str, SimulatedBroker] = {}
        self._closed = False
        self._cloud = self.new_cloud(self._loop, self._transcript)
        self._cloud.start()

    # --- who is there ---

    @property
    def backend(self) -> str:
        return "simulated"

    @property
    def seed(self) -> int:
        return self._options.seed

    @property
    def cloud(self) -> SimulatedCloud:
        return self._cloud

    @property
    def edges(self) -> Mapping[str, SimulatedEdge]:
        return self._edges

    def edge(
        self, name: str = "edge-1", *, labels: Mapping[str, str] | None = None, devices: Manifest = ()
    ) -> SimulatedEdge:
        found = self._edges.get(name)
        if found is None:
            found = self._edges[name] = self._new_edge(name, arguments.gateway(name, labels))
            found.start()
            self.eventually(
                lambda: self._cloud.node_ready(name) == "True",
                READY_S_MAX,
                message=f"the new gateway {name} is Ready",
            )
        elif labels is not None and dict(labels) != found.labels:
            raise InvalidError(f"gateway {name} was made with the labels {found.labels}, and can't get others now")
        self._apply((devices,), node=name)
        return found

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

    def new_cloud(self, loop: VirtualLoop, transcript: Transcript) -> SimulatedCloud:
        return SimulatedCloud(loop, transcript, self.seed, lambda: self._routes)

    def new_gateway(self, name: str, labels: Mapping[str, str], site: Site) -> SimulatedEdge:
        return SimulatedEdge(name, labels, site)

    def _listener(self) -> Listener | None:
        return self._cloud.accept if self._cloud.running else None

    def plc(self, name: str = "plc", *, port: int = 502) -> SimulatedPlc:
        found = self._plcs.get(name)
        if found is not None:
            return found
        arguments.port(port, "plc(port=...)")
        other = next((plc.name for plc in self._plcs.values() if plc.port == port), None)
        if other is not None:
            raise InvalidError(f"port {port} is that of PLC {other!r}: give {name!r} another")
        made = SimulatedPlc(
            name,
            "127.0.0.1",
            port,
            self._loop,
            note=lambda text: self._transcript.note(f"plc {name}", text),
            fault=lambda text: self._transcript.fault(f"plc {name}", text),
        )
        self._plcs[name] = made
        return made

    def broker(self, name: str = "broker", *, port: int = 1883) -> SimulatedBroker:
        found = self._brokers.get(name)
        if found is not None:
            return found
        arguments.port(port, "broker(port=...)")
        other = self._broker_at(port)
        if other is not None:
            raise InvalidError(f"port {port} is that of broker {other.name!r}: give {name!r} another")
        made = self._brokers[name] = SimulatedBroker(
            name,
            "127.0.0.1",
            port,
            self._loop,
            wall_s=lambda: self._cloud.clock.wall_ms() / 1000,
            note=lambda text: self._transcript.note(f"broker {name}", text),
            fault=lambda text: self._transcript.fault(f"broker {name}", text),
        )
        return made

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

    # --- objects ---

    def apply(self, *manifests: Manifest, namespace: str = "default") -> Sequence[JsonObject]:
        return self._apply(manifests, namespace)

    def _apply(
        self, manifests: Sequence[Manifest], namespace: str = "default", *, node: str = ""
    ) -> Sequence[JsonObject]:
        return self._cloud.api.apply(manifests, namespace, node=node)

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        return self._cloud.api.get(kind, name, namespace)

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        return self._cloud.api.list(kind, namespace)

    def patch(self, kind: str, name: str, patch: Mapping[str, object], namespace: str = "default") -> JsonObject:
        return self._cloud.api.patch(kind, name, patch, namespace)

    def delete(self, kind: str, name: str, namespace: str = "default") -> bool:
        return self._cloud.api.delete(kind, name, namespace)

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        self._cloud.api.set_desired(device, prop, value, namespace)

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

    def eventually(
        self,
        condition: Callable[[], T],
        within_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> T:
        asked = waiting.patience(within_s, "within_s", every_s=every_s, usual_s=EVERY_S, message=message)
        return waiting.eventually(self, condition, asked)

    def throughout(
        self,
        condition: Callable[[], object],
        for_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> None:
        asked = waiting.patience(for_s, "for_s", every_s=every_s, usual_s=EVERY_S, message=message)
        waiting.throughout(self, condition, asked)

    @property
    def faults(self) -> Sequence[FaultView]:
        return self._transcript.timeline.faults

    @property
    def transcript(self) -> Sequence[str]:
        return self._transcript.lines

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
