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
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import name_of
from skerry.testkit.api import objects_of, with_node
from skerry.testkit.arguments import check_gateway
from skerry.testkit.face import Fleet, Manifest, UnsupportedError
from skerry.testkit.fleets import FleetOptions
from skerry.testkit.simulated.cloud import SimulatedCloud
from skerry.testkit.simulated.edge import SimulatedEdge, Site
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.modbus import SimulatedPlc
from skerry.testkit.simulated.transcript import Transcript
from skerry.testkit.simulated.wire import Listener, Route
from skerry.testkit.waiting import Patience, eventually, throughout

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
        check_gateway(name, labels)
        found = self._edges.get(name)
        if found is None:
            found = self._edges[name] = self._new_edge(name, labels or {})
            found.start()
            self.eventually(
                lambda: self._cloud.node_ready(name) == "True",
                READY_S_MAX,
                message=f"the new gateway {name} is Ready",
            )
        elif labels is not None and dict(labels) != found.labels:
            raise InvalidError(f"gateway {name} was made with the labels {found.labels}, and can't get others now")
        placed = with_node(devices, name)
        if placed:
            self.apply(placed)
        return found

    def _new_edge(self, name: str, labels: Mapping[str, str]) -> SimulatedEdge:
        random = Random(f"{self.seed}/{name}")  # noqa: S311 - reproducible on purpose
        route = Route(name, self._loop, random, self._transcript, self._listener)
        self._routes.append(route)
        directory = self._options.directory / name
        (directory / "root").mkdir(parents=True)
        site = Site(loop=self._loop, transcript=self._transcript, seed=self.seed, route=route, directory=directory)
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
        other = next((plc.name for plc in self._plcs.values() if plc.port == port), None)
        if other is not None:
            raise InvalidError(f"port {port} is that of PLC {other!r}: give {name!r} another")
        made = SimulatedPlc(
            name, "127.0.0.1", port, self._loop, lambda text: self._transcript.note(f"plc {name}", text)
        )
        self._plcs[name] = made
        return made

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
        for manifest in manifests:
            for source, obj in _readable(manifest):
                _refuse_unsupported(source, obj)
        return self._cloud.api.apply(manifests, namespace)

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
    def now_s(self) -> float:
        return self._loop.time()

    def wait(self, seconds: float) -> None:
        if seconds < 0:
            raise InvalidError(f"time does not go back: wait({seconds:g})")
        self._loop.advance(seconds)
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
        patience = Patience(within_s=within_s, every_s=every_s or EVERY_S, message=message)
        return eventually(self, condition, patience)

    def throughout(
        self,
        condition: Callable[[], object],
        for_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> None:
        throughout(self, condition, Patience(within_s=for_s, every_s=every_s or EVERY_S, message=message))

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


def _readable(manifest: Manifest) -> Sequence[tuple[str, JsonObject]]:
    try:
        return list(objects_of(manifest))
    except SkerryError:
        return ()  # `apply` says what is wrong with it


def _refuse_unsupported(source: str, obj: JsonObject) -> None:
    """What can't be simulated is refused before anything is applied."""
    protocol = str_at(obj, "spec", "protocol", "protocolName")
    if str_at(obj, "kind") == "Device" and protocol.lower() == "mqtt":
        raise UnsupportedError(
            f"{source}: Device {name_of(obj)} speaks MQTT, which needs a broker: use --skerry-backend real"
        )
