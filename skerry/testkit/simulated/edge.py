"""A gateway of a simulated fleet: a machine with a disk, containers and clocks, and the agent that runs on it.

The agent is put together by `edgecore.composition`, as the real one is. What outlives it: the disk (as far as it was
synced), the containers (until the power goes), the files of volumes below the gateway's directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from devices.mqtt.config import Broker
from devices.mqtt.port import Connection, Hooks
from edgecore.composition.ground import Ground
from edgecore.composition.pods import agent_clock, compose_pods
from edgecore.composition.whole import Agent, compose
from edgecore.local_api.kinds import DEVICE, DEVICE_STATUS, SCHEME
from edgecore.local_api.objects import LocalObjects
from edgecore.pods.node import Machine
from edgecore.pods.records import PodRecord
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.configuring import DriverFactory
from edgecore.twins.drivers import driver_factories
from skerry.clocks import SeededIds
from skerry.errors import NotFoundError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object, map_at
from skerry.objects.meta import Key
from skerry.objects.scheme import Kind
from skerry.ports import Clock, Link
from skerry.sync.edge import EdgeState
from skerry.testkit import arguments
from skerry.testkit.face import BootClock, PodView, TwinView
from skerry.testkit.mqtt import GATEWAYS
from skerry.testkit.simulated.broker import SimulatedBroker, SimulatedConnection
from skerry.testkit.simulated.chance import GatewayClock, ids_of
from skerry.testkit.simulated.disk import Disk
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.process import Process
from skerry.testkit.simulated.runtime import Machinery, SimulatedAsking, SimulatedRuntime
from skerry.testkit.simulated.transcript import Transcript
from skerry.testkit.simulated.wire import Route
from skerry.testkit.views import pod_view, twin_view

GIB: Final = 1 << 30
POD: Final = "pods"
NOTICE_S: Final = 0.001
"""Until both ends of a link have noticed that it was cut."""


class Site(Frozen):
    """What a gateway is put into."""

    loop: VirtualLoop
    transcript: Transcript
    seed: int
    route: Route
    brokers: Callable[[int], SimulatedBroker | None]
    """The MQTT broker at a port."""
    directory: Path
    """Volumes are below it, and the root of its hostPath volumes."""


class _Life(Frozen):
    """One agent."""

    process: Process
    disk: Disk
    runtime: SimulatedRuntime
    agent: Agent
    objects: LocalObjects


class SimulatedLink:
    """Implements `skerry.testkit.LinkFaults`."""

    def __init__(self, route: Route) -> None:
        self._route = route

    @property
    def state(self) -> str:
        return self._route.faults.told()

    @property
    def bytes_up(self) -> int:
        return self._route.bytes["up"]

    @property
    def bytes_down(self) -> int:
        return self._route.bytes["down"]

    def _note(self) -> None:
        self._route.transcript.fault(self._route.name, f"link: {self.state}")

    def cut(self) -> None:
        self._route.cut()
        self._note()
        self._route.loop.advance(NOTICE_S)

    def half_open(self, *, up: bool = True, down: bool = True) -> None:
        self._route.faults.half_open(up=up, down=down)
        self._note()

    def slow(self, *, kbit: float | None = None, loss: float = 0.0, delay_ms: float = 0.0) -> None:
        self._route.faults.slow(kbit=kbit, loss=loss, delay_ms=delay_ms)
        self._note()

    def heal(self) -> None:
        self._route.healed()
        self._note()


class SimulatedEdge:
    """Implements `skerry.testkit.Edge`."""

    def __init__(self, name: str, labels: Mapping[str, str], site: Site) -> None:
        self._name = name
        self.labels = dict(labels)
        self._site = site
        self._clock = GatewayClock(site.loop)
        self._link = SimulatedLink(site.route)
        self._lives = 0
        self._boots = 0
        self._powered = False
        self._life: _Life | None = None
        self._store = MemoryEdgeStore(incarnation=self._ids("incarnation").uid(), clock=self._clock)
        self._machinery = Machinery(clock=self._clock, note=self._note)
        self._root = site.directory / "root"
        self._brokered: list[SimulatedConnection] = []
        """Connections to MQTT brokers of the agent that runs."""

    def _ids(self, *names: str | int) -> SeededIds:
        return ids_of(self._site.seed, "edge", self._name, *names)

    def _note(self, text: str) -> None:
        self._site.transcript.note(self._name, text)

    def _fault(self, text: str) -> None:
        self._site.transcript.fault(self._name, text)

    @property
    def name(self) -> str:
        return self._name

    @property
    def link(self) -> SimulatedLink:
        return self._link

    @property
    def clock(self) -> SimulatedClock:
        return SimulatedClock(self._clock, self._fault)

    @property
    def root(self) -> Path:
        """Where the paths of hostPath volumes begin."""
        return self._root

    # --- its life ---

    @property
    def running(self) -> bool:
        return self._life is not None and self._life.process.runs

    @property
    def powered(self) -> bool:
        return self._powered

    @property
    def fault(self) -> BaseException | None:
        return self._life.process.fault if self._life is not None else None

    def start(self) -> None:
        if self.running:
            return
        if not self._powered:
            self._boot("kept")
        self._lives += 1
        told = self._note if self._lives == 1 else self._fault
        told(f"agent starts life={self._lives} boot={self._boots}")
        self._life = self._begin()

    def _boot(self, clock: BootClock) -> None:
        self._boots += 1
        self._powered = True
        self._clock.boot(battery=clock == "kept")

    def _boot_id(self) -> str:
        return self._ids("boot", self._boots).uid()

    def _begin(self) -> _Life:
        before = self._store
        self._store = self.new_store(before.incarnation, self._boot_id())
        self._store.restore(before.snapshot())
        loop, ids = self._site.loop, self._ids("life", self._lives)
        disk, runtime = self.new_disk(), self.new_runtime(self._machinery)
        process = Process(loop, self._name)
        made: list[_Life] = []

        async def main(tasks: asyncio.TaskGroup) -> None:
            store = AsyncEdgeStore(self._store, disk)
            time = agent_clock(self._clock, store)
            ground = Ground(
                node=self._name,
                labels=self.labels,
                clouds=("cloud:10443",),
                directory=self._site.directory,
                root=self._root,
                machine=self._machine,
                store=store,
                runtime=runtime,
                asking=SimulatedAsking(),
                dialer=self._dial,
                drivers=self._drivers(ids, time),
                rules=self._rules,
                clock=self._clock,
                time=time,
                ids=ids,
            )
            begun = compose_pods(ground)
            agent = compose(ground, begun)
            objects = LocalObjects(agent.local)
            objects.listen()
            for work in (*begun.workers().values(), *agent.workers().values(), agent.link.run()):
                tasks.create_task(work)
            made.append(_Life(process=process, disk=disk, runtime=runtime, agent=agent, objects=objects))

        process.start(main)
        return made[0]

    # What an agent is given, each a method of its own: whoever wants to see what a suite is worth plants a bug here.

    def new_store(self, incarnation: str, boot_id: str) -> MemoryEdgeStore:
        return MemoryEdgeStore(incarnation=incarnation, clock=self._clock, boot_id=boot_id)

    def new_disk(self) -> Disk:
        return Disk(self._site.loop)

    def new_runtime(self, machinery: Machinery) -> SimulatedRuntime:
        return SimulatedRuntime(machinery)

    def _drivers(self, ids: SeededIds, clock: Clock) -> Mapping[str, DriverFactory]:
        return driver_factories(clock=clock, ids=ids, node=self._name, brokers=self._connect, broker=GATEWAYS)

    def _connect(self, broker: Broker, client_id: str, hooks: Hooks) -> Connection:
        made = SimulatedConnection(broker, client_id, hooks, self._site.loop, self._site.brokers)
        self._brokered.append(made)
        return made

    def _rules(self, hooks: Hooks) -> Connection:
        """To the broker at MQTT's own port, once there is a rule."""
        return self._connect(GATEWAYS, f"skerry-{self._name}-rules", hooks)

    def _machine(self) -> Machine:
        return Machine(
            hostname=self._name,
            addresses=("192.0.2.20",),
            architecture="arm64",
            kernel="6.1.0",
            os_image="Skerry test kit, simulated",
            machine_id=self._ids("machine").token_hex(16),
            system_uuid=self._ids("system").uid(),
            boot_id=self._boot_id(),
            cpus=4,
            memory_bytes=4 * GIB,
            memory_free_bytes=3 * GIB,
            disk_bytes=32 * GIB,
            disk_free_bytes=24 * GIB,
            pids_max=32768,
            pids_used=120,
        )

    async def _dial(self, address: str, /) -> Link:
        return await self._site.route.dial(f"system:node:{self._name}", self._clock.monotonic_s)

    def kill(self) -> None:
        if self._life is not None:
            self._fault("agent is killed")
            self._site.route.hang_up("up")
            self._end()

    def _end(self) -> None:
        life, self._life = self._life, None
        if life is None:
            return
        life.process.silence()
        for connection in self._brokered:
            connection.die()
        self._brokered.clear()
        life.runtime.dead = True
        life.disk.cut(self._site.route.random)
        life.process.kill()

    def power_off(self) -> None:
        if not self._powered:
            return
        self._fault("power off")
        self._site.route.hang_up("up", power=False)
        self._end()
        self._powered = False
        self._machinery.lose_power()

    def power_cycle(self, off_s: float = 0.0, *, clock: BootClock = "kept") -> None:
        dark_s = arguments.seconds(off_s, "power_cycle(off_s)")
        arguments.boot_clock(clock)
        self.power_off()
        if dark_s:
            self._site.loop.advance(dark_s)
        self._fault(f"power on, clock {clock}")
        self._boot(clock)
        self.start()

    # --- what tests look at ---

    @property
    def connected(self) -> bool:
        return self.running and self._life is not None and self._life.agent.link.connected

    @property
    def in_step(self) -> bool:
        return self.connected and self._agent().link.status.state == EdgeState.IN_STEP.value

    @property
    def waiting(self) -> int:
        return self._store.stats().outbox_reports

    def _running(self) -> _Life:
        if self._life is None or not self._life.process.runs:
            raise UnavailableError(f"the agent of {self._name} does not run: its local API does not answer")
        return self._life

    def _agent(self) -> Agent:
        return self._running().agent

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        found = local_kind(kind)
        return self._running().objects.get(found, namespace if found.namespaced else "", name)

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        return self._running().objects.list(local_kind(kind), namespace)

    def pods(self) -> Sequence[PodView]:
        if not self._powered:
            return ()
        told = {uid: PodRecord.decode(body) for uid, body in self._store.pods()}
        shown: dict[str, JsonObject] = {}
        for held in self._store.list(POD):
            obj = decode_object(held.body)
            record = told.get(held.stamp.uid)
            status = record.status if record is not None and record.status else map_at(obj, "status")
            shown[held.stamp.uid] = {**obj, "status": status}
        states = self._machinery.containers.values()
        for state in states:
            if state.pod_uid not in shown:
                spec = self._machinery.specs[state.id]
                metadata: JsonObject = {
                    "name": spec.sandbox.pod_name,
                    "namespace": spec.sandbox.pod_namespace,
                    "uid": state.pod_uid,
                }
                shown[state.pod_uid] = {"metadata": metadata, "status": {}}
        views = [
            pod_view(obj, [state for state in states if state.pod_uid == uid], self._machinery.specs)
            for uid, obj in shown.items()
        ]
        return sorted(views, key=lambda view: (view.namespace, view.name))

    def pod(self, prefix: str, namespace: str = "default") -> PodView | None:
        return next((pod for pod in self.pods() if pod.namespace == namespace and pod.name.startswith(prefix)), None)

    def end_container(self, pod: str, name: str = "", *, code: int = 1, namespace: str = "default") -> None:
        """The containers of a pod end by themselves, as a program that crashes. Of this backend alone."""
        found = self.pod(pod, namespace)
        if found is None:
            raise NotFoundError(f"no pod {namespace}/{pod} on {self._name}")
        self._machinery.play_end(found.uid, name, code=code)

    def twin(self, device: str, prop: str, namespace: str = "default") -> TwinView | None:
        objects = self._running().objects
        held = objects.get(DEVICE, namespace, device)
        return None if held is None else twin_view(held, objects.get(DEVICE_STATUS, namespace, device), prop)

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        arguments.wanted(value)
        twins = self._agent().twins
        key = Key(DEVICE.resource, namespace, device)
        self._site.loop.do(twins.set_desired(key, prop, value, origin="local:test"))


class SimulatedClock:
    """Implements `skerry.testkit.EdgeClock`."""

    def __init__(self, clock: GatewayClock, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say

    @property
    def wall_ms(self) -> int:
        return self._clock.wall_ms()

    def step(self, seconds: float) -> None:
        self._clock.step(arguments.clock_step(seconds))
        self._say(f"clock stepped by {seconds:g} s")


def local_kind(word: str) -> Kind:
    """A kind that gateways hold. Raises `NotFoundError` naming those there are."""
    wanted = word.lower()
    for kind in SCHEME:
        full = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        if wanted in (kind.plural, kind.singular, kind.kind.lower(), full, *kind.short_names):
            return kind
    known = ", ".join(kind.plural for kind in SCHEME)
    raise NotFoundError(f"a gateway holds no {word!r}: it has {known}")
