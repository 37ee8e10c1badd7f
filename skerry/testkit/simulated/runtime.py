"""Containers of a simulated gateway: they start at once, and run until they are stopped or their end is played.

No image is fetched and no program runs, so every image is there and every command works. The containers are the
machine's, not the agent's: an agent that is killed leaves them running, a power cut ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgecore.pods.asking import Answer, Whom
from edgecore.pods.handlers import Handler
from edgecore.pods.port import (
    Abilities,
    ContainerSpec,
    ContainerState,
    ContainerUsage,
    Credentials,
    ExecResult,
    ExecStream,
    ImagesPlace,
    ImageState,
    PullPolicy,
    Resources,
    RuntimeStatus,
    SandboxSpec,
    SandboxState,
    Streamed,
    TellsPull,
    untold,
)
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.frozen import replace
from skerry.ports import Clock


@dataclass(slots=True)
class Machinery:
    """What the machine keeps over the lives of its agents."""

    clock: Clock
    note: Callable[[str], None]
    containers: dict[str, ContainerState] = field(default_factory=dict[str, ContainerState])
    sandboxes: dict[str, SandboxState] = field(default_factory=dict[str, SandboxState])
    specs: dict[str, ContainerSpec] = field(default_factory=dict[str, ContainerSpec])
    changed: dict[str, None] = field(default_factory=dict[str, None])
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, state: ContainerState) -> ContainerState:
        self.containers[state.id] = state
        self.changed[state.pod_uid] = None
        self.news.set()
        return state

    def end(self, state: ContainerState, *, code: int, signal: int = 0, reason: str = "") -> ContainerState:
        ended = replace(
            state,
            phase="exited",
            exit_code=code,
            signal=signal,
            reason=reason or ("Completed" if code == 0 else "Error"),
            finished_ms=self.clock.wall_ms(),
        )
        self.note(f"container {self.title(state)} ended code={code}")
        return self.put(ended)

    def title(self, state: ContainerState) -> str:
        spec = self.specs.get(state.id)
        pod = f"{spec.sandbox.pod_namespace}/{spec.sandbox.pod_name}" if spec is not None else state.pod_uid
        return f"{pod}/{state.name} attempt={state.attempt}"

    def play_end(self, pod_uid: str, name: str, *, code: int) -> None:
        """The newest container of that name ends by itself. Raises `NotFoundError`."""
        running = [
            state
            for state in self.containers.values()
            if state.pod_uid == pod_uid and name in ("", state.name) and state.phase == "running"
        ]
        if not running:
            raise NotFoundError(f"no container {name or 'of this pod'} runs here")
        for state in running:
            self.end(state, code=code)

    def lose_power(self) -> None:
        for state in [state for state in self.containers.values() if state.phase == "running"]:
            self.end(state, code=255, reason="Unknown")
        self.sandboxes = {name: replace(each, ready=False) for name, each in self.sandboxes.items()}


class SimulatedAsking:
    """Implements `edgecore.pods.asking.Asking`: whoever runs is well, and hooks do what they should."""

    async def probe(self, handler: Handler, whom: Whom, *, timeout_s: float) -> Answer:
        return Answer(outcome="success")

    async def hook(self, handler: Handler, whom: Whom, *, timeout_s: float) -> str:
        return ""


class SimulatedRuntime:
    """The face of the machinery for one agent. Implements `edgecore.pods.port.Runtime`."""

    def __init__(self, machinery: Machinery) -> None:
        self._machinery = machinery
        self.dead = False
        """The agent that it belonged to was killed: nothing it still wants is done."""

    @property
    def name(self) -> str:
        return "simulated"

    @property
    def version(self) -> str:
        return "1"

    @property
    def abilities(self) -> Abilities:
        return Abilities(pod_network=False, isolation=False, images=False, rotates_logs=True, sub_paths=True)

    @property
    def cgroup_driver(self) -> Literal["", "cgroupfs", "systemd"]:
        return ""

    def _check(self) -> None:
        if self.dead:
            raise UnavailableError("the process was killed")

    async def sandboxes(self, pod_uid: str = "") -> Sequence[SandboxState]:
        self._check()
        found = [state for state in self._machinery.sandboxes.values() if pod_uid in ("", state.pod_uid)]
        return sorted(found, key=lambda state: (state.pod_uid, state.attempt))

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxState:
        self._check()
        machinery = self._machinery
        sandbox = f"{spec.pod_uid}/{spec.attempt}"
        if sandbox not in machinery.sandboxes:
            machinery.sandboxes[sandbox] = SandboxState(
                id=sandbox,
                pod_uid=spec.pod_uid,
                pod_name=spec.pod_name,
                pod_namespace=spec.pod_namespace,
                attempt=spec.attempt,
                ready=True,
                addresses=(),
                created_ms=machinery.clock.wall_ms(),
            )
        return machinery.sandboxes[sandbox]

    async def stop_sandbox(self, sandbox_id: str) -> None:
        self._check()
        machinery = self._machinery
        sandbox = machinery.sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.ready:
            return
        for state in [state for state in machinery.containers.values() if state.sandbox_id == sandbox_id]:
            if state.phase == "running":
                machinery.end(state, code=137, signal=9)
        machinery.sandboxes[sandbox_id] = replace(sandbox, ready=False)
        machinery.changed[sandbox.pod_uid] = None
        machinery.news.set()

    async def remove_sandbox(self, sandbox_id: str) -> None:
        self._check()
        machinery = self._machinery
        sandbox = machinery.sandboxes.pop(sandbox_id, None)
        assert sandbox is None or not sandbox.ready, "only a stopped sandbox is removed"
        for state in [state for state in machinery.containers.values() if state.sandbox_id == sandbox_id]:
            await self.remove(state.id)

    async def run_in(self, container_id: str, argv: Sequence[str], *, timeout_s: float) -> ExecResult:
        raise UnavailableError("nothing is executed in simulated containers")

    async def update(self, container_id: str, resources: Resources) -> None:
        raise InvalidError("simulated containers use nothing")

    async def reopen_log(self, container_id: str) -> None:
        raise InvalidError("simulated containers say nothing")

    async def exec(self, container_id: str, argv: Sequence[str], how: Streamed) -> ExecStream:
        raise UnavailableError("nothing is executed in simulated containers")

    async def attach(self, container_id: str, how: Streamed) -> ExecStream:
        raise UnavailableError("simulated containers say nothing")

    async def usage(self) -> Sequence[ContainerUsage]:
        return ()

    async def forward(self, sandbox_id: str, port: int) -> ExecStream:
        raise UnavailableError("nothing listens in simulated containers")

    async def ensure_image(
        self, image: str, policy: PullPolicy, credentials: Sequence[Credentials], tell: TellsPull = untold
    ) -> ImageState:
        self._check()
        return ImageState(id=f"simulated:{image}", names=(image,), size_bytes=0)

    async def images(self) -> Sequence[ImageState]:
        return ()

    async def remove_image(self, image_id: str) -> None:
        """There are none of the runtime's own."""

    async def images_place(self) -> ImagesPlace | None:
        return None

    async def status(self) -> RuntimeStatus:
        return RuntimeStatus(ready=True, network_ready=True)

    async def list(self, pod_uid: str = "") -> Sequence[ContainerState]:
        self._check()
        found = [state for state in self._machinery.containers.values() if pod_uid in ("", state.pod_uid)]
        return sorted(found, key=lambda state: (state.pod_uid, state.name, state.attempt))

    async def start(self, spec: ContainerSpec) -> ContainerState:
        self._check()
        machinery = self._machinery
        container = f"{spec.sandbox.pod_uid}.{spec.name}.{spec.attempt}"
        if container in machinery.containers:
            return machinery.containers[container]
        sandbox = machinery.sandboxes.get(spec.sandbox_id)
        if sandbox is None or not sandbox.ready:
            raise UnavailableError(f"sandbox {spec.sandbox_id} is not ready")
        machinery.specs[container] = spec
        started = machinery.put(
            ContainerState(
                id=container,
                sandbox_id=spec.sandbox_id,
                pod_uid=spec.sandbox.pod_uid,
                name=spec.name,
                attempt=spec.attempt,
                image=spec.image,
                image_id=spec.image_id,
                phase="running",
                created_ms=machinery.clock.wall_ms(),
                started_ms=machinery.clock.wall_ms(),
                labels=spec.labels,
            )
        )
        machinery.note(f"container {machinery.title(started)} started")
        return started

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        self._check()
        state = self._machinery.containers.get(container_id)
        if state is not None and state.phase == "running":
            killed = grace_s == 0
            self._machinery.end(state, code=137 if killed else 143, signal=9 if killed else 15)

    async def remove(self, container_id: str) -> None:
        self._check()
        state = self._machinery.containers.pop(container_id, None)
        self._machinery.specs.pop(container_id, None)
        assert state is None or state.phase == "exited", "only an exited container is removed"

    async def changes(self) -> AsyncIterator[str]:
        machinery = self._machinery
        while True:
            await machinery.news.wait()
            if self.dead:
                return
            machinery.news.clear()
            while machinery.changed:
                uid = next(iter(machinery.changed))
                del machinery.changed[uid]
                yield uid

    async def close(self) -> None:
        """Nothing is held."""
