"""What a fleet of every backend does alike: it gives each name out once, asks the cloud's API, and waits for levels.

A backend makes its gateways, PLCs and brokers, and lets time pass. Keeps what was made, by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from skerry.testkit import arguments, waiting
from skerry.testkit.api import Api
from skerry.testkit.face import Broker, Edge, FaultView, Manifest, Plc, ReadingView, TwinView
from skerry.testkit.faults import Timeline
from skerry.testkit.fleets import FleetOptions


class AskedCloud:
    """What is asked of a cloud over its API: a part of `skerry.testkit.Cloud`."""

    api: Api

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        return self.api.get(kind, name, namespace)

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        return self.api.list(kind, namespace)

    def twin(self, device: str, prop: str, namespace: str = "default") -> TwinView | None:
        return self.api.twin(device, prop, namespace)

    def history(self, device: str, prop: str, namespace: str = "default") -> Sequence[ReadingView]:
        return self.api.history(device, prop, namespace)

    def node_ready(self, name: str) -> str:
        return self.api.node_ready(name)


class Gateway(Edge, Protocol):
    """As a fleet keeps it."""

    @property
    def labels(self) -> Mapping[str, str]: ...


class Account(Protocol):
    """What was done, and when."""

    timeline: Timeline

    @property
    def lines(self) -> Sequence[str]: ...


T = TypeVar("T")
EdgeT = TypeVar("EdgeT", bound=Gateway)
PlcT = TypeVar("PlcT", bound=Plc)
BrokerT = TypeVar("BrokerT", bound=Broker)


class FleetOf(ABC, Generic[EdgeT, PlcT, BrokerT]):
    """Of gateways, PLCs and brokers of one backend; with what that adds, a `skerry.testkit.Fleet`."""

    ready_s_max: ClassVar[float]
    """Until a new gateway is Ready."""
    look_s: ClassVar[float]
    """Between two looks of a wait."""

    def __init__(self, options: FleetOptions, account: Account) -> None:
        self._options = options
        self._account = account
        self._edges: dict[str, EdgeT] = {}
        self._plcs: dict[str, PlcT] = {}
        self._brokers: dict[str, BrokerT] = {}

    # --- who is there ---

    @property
    def seed(self) -> int:
        return self._options.seed

    @property
    @abstractmethod
    def cloud(self) -> AskedCloud: ...

    @property
    def edges(self) -> Mapping[str, EdgeT]:
        return self._edges

    def edge(self, name: str = "edge-1", *, labels: Mapping[str, str] | None = None, devices: Manifest = ()) -> EdgeT:
        found = self._edges.get(name)
        if found is None:
            found = self._edges[name] = self._new_edge(name, arguments.gateway(name, labels))
            self._begin(found)
            self.eventually(
                lambda: self.cloud.node_ready(name) == "True",
                self.ready_s_max,
                message=f"the new gateway {name} is Ready",
            )
        elif labels is not None and dict(labels) != found.labels:
            raise InvalidError(f"gateway {name} was made with the labels {found.labels}, and can't get others now")
        self._apply((devices,), node=name)
        return found

    @abstractmethod
    def _new_edge(self, name: str, labels: Mapping[str, str]) -> EdgeT:
        """One that does not run yet."""

    @abstractmethod
    def _begin(self, edge: EdgeT) -> None:
        """Start it where its devices are."""

    def plc(self, name: str = "plc", *, port: int = 502) -> PlcT:
        found = self._plcs.get(name)
        if found is None:
            self._check_port(port, self._plcs, what="PLC", where="plc(port=...)", name=name)
            found = self._plcs[name] = self._new_plc(name, port)
        return found

    @abstractmethod
    def _new_plc(self, name: str, port: int) -> PlcT: ...

    def broker(self, name: str = "broker", *, port: int = 1883) -> BrokerT:
        found = self._brokers.get(name)
        if found is None:
            self._check_port(port, self._brokers, what="broker", where="broker(port=...)", name=name)
            found = self._brokers[name] = self._new_broker(name, port)
        return found

    @abstractmethod
    def _new_broker(self, name: str, port: int) -> BrokerT: ...

    @staticmethod
    def _check_port(
        port: int, made: Mapping[str, Plc] | Mapping[str, Broker], *, what: str, where: str, name: str
    ) -> None:
        arguments.port(port, where)
        other = next((other for other, each in made.items() if each.port == port), None)
        if other is not None:
            raise InvalidError(f"port {port} is that of {what} {other!r}: give {name!r} another")

    # --- objects ---

    def apply(self, *manifests: Manifest, namespace: str = "default") -> Sequence[JsonObject]:
        return self._apply(manifests, namespace)

    def _apply(
        self, manifests: Sequence[Manifest], namespace: str = "default", *, node: str = ""
    ) -> Sequence[JsonObject]:
        return self.cloud.api.apply(manifests, namespace, node=node)

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        return self.cloud.get(kind, name, namespace)

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        return self.cloud.list(kind, namespace)

    def patch(self, kind: str, name: str, patch: Mapping[str, object], namespace: str = "default") -> JsonObject:
        return self.cloud.api.patch(kind, name, patch, namespace)

    def delete(self, kind: str, name: str, namespace: str = "default") -> bool:
        return self.cloud.api.delete(kind, name, namespace)

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        self.cloud.api.set_desired(device, prop, value, namespace)

    # --- time ---

    @property
    @abstractmethod
    def now_s(self) -> float: ...

    @abstractmethod
    def wait(self, seconds: float) -> None: ...

    def eventually(
        self,
        condition: Callable[[], T],
        within_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> T:
        asked = waiting.patience(within_s, "within_s", every_s=every_s, usual_s=self.look_s, message=message)
        return waiting.eventually(self, condition, asked)

    def throughout(
        self,
        condition: Callable[[], object],
        for_s: float = 60.0,
        *,
        every_s: float | None = None,
        message: str = "",
    ) -> None:
        asked = waiting.patience(for_s, "for_s", every_s=every_s, usual_s=self.look_s, message=message)
        waiting.throughout(self, condition, asked)

    # --- what was done ---

    @property
    def faults(self) -> Sequence[FaultView]:
        return self._account.timeline.faults

    @property
    def transcript(self) -> Sequence[str]:
        return self._account.lines
