"""A gateway of real processes: its agent, its machine, its link and its clock."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecore.pods.port import ContainerState
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject, int_at, str_at
from skerry.objects.meta import uid_of
from skerry.testkit import arguments
from skerry.testkit.api import Api
from skerry.testkit.face import BootClock, PodView, TwinView, UnsupportedError
from skerry.testkit.faults import Faults
from skerry.testkit.real.clocks import FakedClock, compiler
from skerry.testkit.real.containers import container_states
from skerry.testkit.real.pipe import Direction
from skerry.testkit.real.programs import EdgeProgram
from skerry.testkit.real.sites import Link
from skerry.testkit.real.transcript import Transcript
from skerry.testkit.views import pod_view


class RealEdge:
    """Implements `skerry.testkit.Edge`."""

    def __init__(self, program: EdgeProgram, clock: RealClock, link: RealLink, labels: Mapping[str, str]) -> None:
        self._program, self._clock, self._link = program, clock, link
        self._transcript = link.transcript
        self._api = Api(program.api)
        self.labels = dict(labels)
        self._last_pods: list[JsonObject] = []

    @property
    def name(self) -> str:
        return self._program.node

    @property
    def link(self) -> RealLink:
        return self._link

    @property
    def clock(self) -> RealClock:
        return self._clock

    @property
    def connected(self) -> bool:
        return self._program.link_state == "connected"

    @property
    def in_step(self) -> bool:
        found = self._program.find("/skerry/link")
        return str_at(found, "state") == "connected" and str_at(found, "sessionState") == "in_step"

    @property
    def running(self) -> bool:
        return self._program.running

    @property
    def powered(self) -> bool:
        return self._program.machine.powered

    @property
    def waiting(self) -> int:
        return int_at(self._program.find("/skerry/status"), "outbox", "reports")

    def kill(self) -> None:
        if self.running:
            self._program.stop(signal.SIGKILL)
            self._transcript.note(self.name, "agent killed")

    def begin(self) -> None:
        """The first start, which is no fault that a test made."""
        self._program.start()
        self._transcript.note(self.name, "begins")

    def start(self) -> None:
        if not self.running:
            self._program.start()
            self._transcript.fault(self.name, "agent starts")

    def power_off(self) -> None:
        if not self.powered:
            return
        self._transcript.fault(self.name, "power off")
        self._program.machine.power_off()

    def power_cycle(self, off_s: float = 0.0, *, clock: BootClock = "kept") -> None:
        dark_s = arguments.seconds(off_s, "power_cycle(off_s)")
        arguments.boot_clock(clock)
        self.power_off()
        time.sleep(dark_s)
        if clock == "1970":
            self._clock.forget()
        self._transcript.fault(self.name, f"power on, clock {clock}")
        self.start()

    def get(self, kind: str, name: str, namespace: str = "default") -> JsonObject | None:
        return self._api.get(kind, name, namespace)

    def list(self, kind: str, namespace: str = "") -> list[JsonObject]:
        return self._api.list(kind, namespace)

    def pods(self) -> Sequence[PodView]:
        if not self.powered:
            return ()
        if self.running:
            self._last_pods = self._api.list("pod")
        states = container_states(self._program.data)
        views = [pod_view(pod, [each for each in states if each.pod_uid == uid_of(pod)]) for pod in self._last_pods]
        views += [
            _unknown_pod(states, uid) for uid in sorted(_running(states) - {uid_of(p) for p in self._last_pods})
        ]
        return sorted(views, key=lambda view: (view.namespace, view.name))

    def pod(self, prefix: str, namespace: str = "default") -> PodView | None:
        return next((v for v in self.pods() if v.namespace == namespace and v.name.startswith(prefix)), None)

    def twin(self, device: str, prop: str, namespace: str = "default") -> TwinView | None:
        return self._api.twin(device, prop, namespace)

    def set_desired(self, device: str, prop: str, value: str, namespace: str = "default") -> None:
        arguments.wanted(value)
        path = f"/apis/devices.kubeedge.io/v1beta1/namespaces/{namespace}/devices/{device}/twins/{prop}"
        self._program.api.request("PUT", path, body={"value": value})


class RealLink:
    """Implements `skerry.testkit.LinkFaults`."""

    def __init__(self, name: str, link: Link, transcript: Transcript) -> None:
        self._name, self._link, self.transcript = name, link, transcript
        self._faults = Faults()

    @property
    def state(self) -> str:
        return self._faults.told()

    def cut(self) -> None:
        self._faults.is_cut = True
        self._link.cut()
        self._noted()

    def half_open(self, *, up: bool = True, down: bool = True) -> None:
        self._faults.half_open(up=up, down=down)
        self._link.half_open(up=up, down=down)
        self._noted()

    def slow(self, *, kbit: float | None = None, loss: float = 0.0, delay_ms: float = 0.0) -> None:
        self._faults.slow(kbit=kbit, loss=loss, delay_ms=delay_ms)
        way = Direction(kbit=kbit, loss=loss, delay_ms=delay_ms)
        self._link.slow_one_way(up=way, down=way)
        self._noted()

    def heal(self) -> None:
        self._faults = Faults()
        self._link.heal()
        self._noted()

    @property
    def bytes_up(self) -> int:
        return self._link.carried().up_bytes

    @property
    def bytes_down(self) -> int:
        return self._link.carried().down_bytes

    def _noted(self) -> None:
        self.transcript.fault(self._name, f"link: {self.state}")


class RealClock:
    """Implements `skerry.testkit.EdgeClock`."""

    def __init__(self, name: str, file: Path, transcript: Transcript) -> None:
        self._name, self._transcript = name, transcript
        self._faked = FakedClock(file)

    @property
    def env(self) -> Mapping[str, str]:
        """For the agent; empty where no clock can be set."""
        try:
            return self._faked.env
        except UnavailableError:
            return {}

    @property
    def wall_ms(self) -> int:
        return self._faked.wall_ms

    def step(self, seconds: float) -> None:
        by_s = arguments.clock_step(seconds)
        self._check()
        self._faked.step(by_s)
        self._transcript.fault(self._name, f"clock stepped by {seconds:g} s")

    def forget(self) -> None:
        """It says 1970."""
        self._check()
        self._faked.forget()

    @staticmethod
    def _check() -> None:
        try:
            compiler()
        except UnavailableError as error:
            raise UnsupportedError(f"{error}; the simulated backend needs nothing") from error


def _running(states: Sequence[ContainerState]) -> set[str]:
    return {state.pod_uid for state in states if state.phase == "running"}


def _unknown_pod(states: Sequence[ContainerState], uid: str) -> PodView:
    """Containers that still run of a pod that the gateway holds no more: it is being stopped."""
    metadata: JsonObject = {"name": uid, "namespace": "", "uid": uid}
    return pod_view({"metadata": metadata}, [state for state in states if state.pod_uid == uid])
