"""The disconnect suite is worth something: it stands on an app that works, and falls for each bug that is planted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import Batch
from edgecore.pods.port import ContainerSpec, ContainerState
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.meta import Revision
from skerry.sync.received import Received
from skerry.testkit.fleets import FleetOptions
from skerry.testkit.simulated.cloud import SimulatedCloud
from skerry.testkit.simulated.disk import Disk
from skerry.testkit.simulated.edge import SimulatedEdge, Site
from skerry.testkit.simulated.fleet import SimulatedFleet
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.runtime import Machinery, SimulatedRuntime
from skerry.testkit.simulated.transcript import Transcript
from skerry.testkit.suite.app import App, read_app
from skerry.testkit.suite.catalogue import DISCONNECT, play
from skerry.testkit.suite.stage import Stage

T = TypeVar("T")
FAULTS = {fault.name: fault for fault in DISCONNECT}
APP = Path(__file__).parent / "manifests"


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A fleet with a bug in one of its parts, which fault it falls to, and what is said."""

    edge: type[SimulatedEdge] = SimulatedEdge
    cloud: type[SimulatedCloud] = SimulatedCloud
    fault: str
    said: str


class UnsyncedDisk(Disk):
    """Acknowledges before it is written: the power takes the last half minute."""

    def __init__(self, loop: VirtualLoop, store: MemoryEdgeStore) -> None:
        super().__init__(loop)
        self.loop, self.store = loop, store
        self.snapshots: deque[tuple[float, object]] = deque()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        self.snapshots.append((self.loop.time(), self.store.snapshot()))
        while self.snapshots[0][0] < self.loop.time() - 30:
            self.snapshots.popleft()
        return super().submit(fn, *args, **kwargs)

    def cut(self, random: Random) -> None:
        super().cut(random)
        if self.snapshots:
            self.store.restore(self.snapshots[0][1])


class UnsyncedEdge(SimulatedEdge):
    def new_store(self, incarnation: str, boot_id: str) -> MemoryEdgeStore:
        self.opened = super().new_store(incarnation, boot_id)
        return self.opened

    def new_disk(self) -> Disk:
        return UnsyncedDisk(self._site.loop, self.opened)


class KeepingStore(MemoryEdgeStore):
    """Drops tombstones."""

    def apply(self, batch: EdgeBatch) -> int:
        return super().apply(replace(batch, deletes=()))


class KeepingEdge(SimulatedEdge):
    def new_store(self, incarnation: str, boot_id: str) -> MemoryEdgeStore:
        return KeepingStore(incarnation=incarnation, clock=self._clock, boot_id=boot_id)


class ImpatientRuntime(SimulatedRuntime):
    """Stops what runs when the link is lost; `edge` says whether it is."""

    edge: SimulatedEdge

    async def list(self, pod_uid: str = "") -> list[ContainerState]:
        if not self.edge.connected and self.edge.running:
            for state in await super().list():
                await self.stop(state.id, grace_s=0)
        return [*await super().list(pod_uid)]


class ImpatientEdge(SimulatedEdge):
    def new_runtime(self, machinery: Machinery) -> SimulatedRuntime:
        made = ImpatientRuntime(machinery)
        made.edge = self
        return made


class WaitingRuntime(ImpatientRuntime):
    """Starts nothing without a link."""

    async def list(self, pod_uid: str = "") -> list[ContainerState]:
        return [*await SimulatedRuntime.list(self, pod_uid)]

    async def start(self, spec: ContainerSpec) -> ContainerState:
        if not self.edge.connected:
            raise UnavailableError("waits for the link")
        return await super().start(spec)


class WaitingEdge(SimulatedEdge):
    def new_runtime(self, machinery: Machinery) -> SimulatedRuntime:
        made = WaitingRuntime(machinery)
        made.edge = self
        return made


class ForgetfulStore(MemoryStore):
    """Does not keep how far a node's reports were taken, and now and then loses the answer to a commit."""

    commits = 0

    async def commit(self, batch: Batch) -> tuple[Revision, ...]:
        done = await super().commit(batch)
        if batch.advance is not None and batch.records:
            lives = self.state.lives[batch.advance.node]
            self.state.lives[batch.advance.node] = {
                name: replace(life, received=Received()) for name, life in lives.items()
            }
            self.commits += 1
            if self.commits % 3 == 0:
                raise UnavailableError("the answer was lost")
        return done


class ForgetfulCloud(SimulatedCloud):
    def new_store(self, state: MemoryState) -> MemoryStore:
        return ForgetfulStore(state)


class OneEpochCloud(SimulatedCloud):
    """Does not say that it was restored."""

    def new_epoch(self) -> str:
        return self._state.epoch


class PlantedFleet(SimulatedFleet):
    def __init__(self, options: FleetOptions, plant: Plant) -> None:
        self.plant = plant
        super().__init__(options)

    def new_cloud(self, loop: VirtualLoop, transcript: Transcript) -> SimulatedCloud:
        return self.plant.cloud(loop, transcript, self.seed, lambda: self._routes)

    def new_gateway(self, name: str, labels: Mapping[str, str], site: Site) -> SimulatedEdge:
        return self.plant.edge(name, labels, site)


PLANTS = {
    "acknowledge before write": Plant(
        edge=UnsyncedEdge, fault="change-then-power-cut", said="lost with the power|come back without"
    ),
    "drop of a tombstone": Plant(edge=KeepingEdge, fault="device-deleted-offline", said="lets go of boiler"),
    "pods that stop with the link": Plant(edge=ImpatientEdge, fault="offline-30-min", said="was .*, is "),
    "pods that wait for the link": Plant(edge=WaitingEdge, fault="power-cycle-offline", said="before the link does"),
    "reports that are taken twice": Plant(cloud=ForgetfulCloud, fault="reports-arrive-once", said="twice or out of"),
    "a restore that nobody is told of": Plant(cloud=OneEpochCloud, fault="cloud-restored", said="restored from"),
}


@pytest.fixture(scope="module")
def app() -> App:
    return read_app(APP)


@pytest.fixture
def fleets() -> Iterator[list[SimulatedFleet]]:
    opened: list[SimulatedFleet] = []
    yield opened
    for fleet in opened:
        fleet.close()


@pytest.mark.parametrize("bug", PLANTS)
def test_a_planted_bug_falls_and_the_right_code_stands(
    bug: str, app: App, fleets: list[SimulatedFleet], tmp_path: Path
) -> None:
    plant = PLANTS[bug]
    for number, each in enumerate((replace(plant, edge=SimulatedEdge, cloud=SimulatedCloud), plant)):
        fleet = PlantedFleet(FleetOptions(directory=tmp_path / str(number)), each)
        fleets.append(fleet)
        stage = Stage(fleet=fleet, app=app)
        stage.build()
        if each is not plant:
            play(FAULTS[plant.fault], stage)
            continue
        with pytest.raises(AssertionError, match=plant.said):
            play(FAULTS[plant.fault], stage)
