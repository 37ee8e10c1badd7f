"""A runtime in memory: for tests and simulation of what is above it.

Keeps sandboxes and containers in dictionaries; `restarted` gives the same ones to a new agent. Containers run until
`end` is called, they are stopped, or `lose_power` ends all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

from edgecore.pods.port import (
    Abilities,
    ContainerSpec,
    ContainerState,
    ContainerUsage,
    Credentials,
    ExecResult,
    ExecStream,
    ImageMissingError,
    ImagesPlace,
    ImageState,
    Pulled,
    PullPolicy,
    Resources,
    RuntimeStatus,
    SandboxSpec,
    SandboxState,
    Size,
    Streamed,
    TellsPull,
    untold,
)
from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.frozen import as_dict, replace
from skerry.ports import Clock


class FakeRuntime:
    """See `Runtime`. Commands it knows: `exit N` ends at once, `cannot` can't be started, `stubborn` ignores
    SIGTERM; all others run. Images starting with `missing` are missing.

    In a container that runs, `say TEXT CODE` writes and ends with that code, `repeat` writes what it reads, and
    `hang` does nothing; there are no others."""

    def __init__(
        self,
        clock: Clock,
        containers: dict[str, ContainerState] | None = None,
        sandboxes: dict[str, SandboxState] | None = None,
    ) -> None:
        self._clock = clock
        self._containers = {} if containers is None else containers
        self._sandboxes = {} if sandboxes is None else sandboxes
        self.sandbox_specs: dict[str, SandboxSpec] = {}
        """Of those that were run, by id."""
        self.no_sandboxes = ""
        """When set, no sandbox can be had, for this reason."""
        self.stuck = ""
        """When set, no sandbox can be taken away, for this reason."""
        self.specs: dict[str, ContainerSpec] = {}
        """What was started, by id."""
        self.starts: list[tuple[str, int]] = []
        """Names and attempts in the order of their starts."""
        self.stops: list[tuple[str, float]] = []
        self.resources: dict[str, Resources] = {}
        """What running containers may use, by id."""
        self.reopened: list[str] = []
        """Names of containers whose logs were opened anew."""
        self.runs: list[tuple[str, tuple[str, ...]]] = []
        """Container names and what was executed in them."""
        self.ports: set[int] = set()
        """On which something listens, that gives back what it gets."""
        self.streams: list[_Said] = []
        """What was executed, attached to and forwarded."""
        self.used: dict[str, ContainerUsage] = {}
        """By container id, where it is more than nothing."""
        self._images: dict[str, ImageState] = {}
        self.arriving: dict[str, asyncio.Event] = {}
        """Images that have to be pulled, and when they are here."""
        self.image_bytes = 0
        """How large images are."""
        self.told = RuntimeStatus(ready=True, network_ready=True)
        self.unavailable = ""
        """When set, every call fails with it."""
        self.looks = 0
        """How often it was asked for a pod's containers."""
        self._changed: dict[str, None] = {}
        self._news = asyncio.Event()

    @property
    def name(self) -> str:
        return "fake"

    @property
    def version(self) -> str:
        return "1"

    def restarted(self) -> FakeRuntime:
        """The same containers, as a new agent finds them."""
        return FakeRuntime(self._clock, self._containers, self._sandboxes)

    @property
    def abilities(self) -> Abilities:
        return Abilities(pod_network=False, isolation=False, images=False, limits=True, sub_paths=True)

    @property
    def cgroup_driver(self) -> Literal["", "cgroupfs", "systemd"]:
        return ""

    def _check(self) -> None:
        if self.unavailable:
            raise UnavailableError(self.unavailable)

    def _put(self, state: ContainerState) -> ContainerState:
        self._containers[state.id] = state
        self._changed[state.pod_uid] = None
        self._news.set()
        return state

    def lose_power(self) -> None:
        """As after a boot: what was running has ended, and no sandbox lives."""
        for state in [state for state in self._containers.values() if state.phase != "exited"]:
            now_ms = self._clock.wall_ms()
            self._put(replace(state, phase="exited", exit_code=255, reason="Unknown", finished_ms=now_ms))
        for sandbox in self._sandboxes.values():
            self._sandboxes[sandbox.id] = replace(sandbox, ready=False)

    async def sandboxes(self, pod_uid: str = "") -> Sequence[SandboxState]:
        self._check()
        found = [state for state in self._sandboxes.values() if pod_uid in ("", state.pod_uid)]
        return sorted(found, key=lambda state: (state.pod_uid, state.attempt))

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxState:
        self._check()
        sandbox = f"{spec.pod_uid}/{spec.attempt}"
        if sandbox in self._sandboxes:
            return self._sandboxes[sandbox]
        if self.no_sandboxes:
            raise UnavailableError(self.no_sandboxes)
        self.sandbox_specs[sandbox] = spec
        made = self._sandboxes[sandbox] = SandboxState(
            id=sandbox,
            pod_uid=spec.pod_uid,
            pod_name=spec.pod_name,
            pod_namespace=spec.pod_namespace,
            attempt=spec.attempt,
            ready=True,
            addresses=(),
            created_ms=self._clock.wall_ms(),
        )
        return made

    async def stop_sandbox(self, sandbox_id: str) -> None:
        self._check()
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.ready:
            return
        for state in [state for state in self._containers.values() if state.sandbox_id == sandbox_id]:
            if state.phase != "exited":
                self.end(state.pod_uid, state.name, code=137, signal=9)
        self._sandboxes[sandbox_id] = replace(sandbox, ready=False)
        self._changed[sandbox.pod_uid] = None
        self._news.set()

    async def remove_sandbox(self, sandbox_id: str) -> None:
        self._check()
        if self.stuck:
            raise UnavailableError(self.stuck)
        sandbox = self._sandboxes.pop(sandbox_id, None)
        assert sandbox is None or not sandbox.ready, "only a stopped sandbox is removed"
        for state in [state for state in self._containers.values() if state.sandbox_id == sandbox_id]:
            del self._containers[state.id]

    async def ensure_image(
        self, image: str, policy: PullPolicy, credentials: Sequence[Credentials], tell: TellsPull = untold
    ) -> ImageState:
        self._check()
        if image.startswith("missing"):
            raise ImageMissingError(
                f'image "{image}" is not here', "ErrImageNeverPull" if policy == "Never" else "ErrImagePull"
            )
        if image in self.arriving:
            tell(None)
            await self.arriving[image].wait()
            tell(Pulled(took_s=1.5, all_s=2.0))
        made = ImageState(id=f"fake:{image}", names=(image,), size_bytes=self.image_bytes)
        return self._images.setdefault(made.id, made)

    async def images(self) -> Sequence[ImageState]:
        self._check()
        return sorted(self._images.values(), key=lambda image: image.id)

    async def remove_image(self, image_id: str) -> None:
        self._check()
        self._images.pop(image_id, None)

    async def images_place(self) -> ImagesPlace | None:
        used_bytes = sum(image.size_bytes for image in self._images.values())
        return ImagesPlace(directory=Path("/"), used_bytes=used_bytes)

    async def status(self) -> RuntimeStatus:
        self._check()
        return self.told

    async def list(self, pod_uid: str = "") -> Sequence[ContainerState]:
        self._check()
        self.looks += bool(pod_uid)
        found = [state for state in self._containers.values() if pod_uid in ("", state.pod_uid)]
        return sorted(found, key=lambda state: (state.pod_uid, state.name, state.attempt))

    async def start(self, spec: ContainerSpec) -> ContainerState:
        self._check()
        container = f"{spec.sandbox.pod_uid}.{spec.name}.{spec.attempt}"
        if container in self._containers:
            return self._containers[container]
        sandbox = self._sandboxes.get(spec.sandbox_id)
        if sandbox is None or not sandbox.ready:
            raise UnavailableError(f"sandbox {spec.sandbox_id} is not ready")
        self.specs[container] = spec
        self.resources[container] = spec.resources
        self.starts.append((spec.name, spec.attempt))
        running = ContainerState(
            id=container,
            sandbox_id=spec.sandbox_id,
            pod_uid=spec.sandbox.pod_uid,
            name=spec.name,
            attempt=spec.attempt,
            image=spec.image,
            image_id=spec.image_id,
            phase="running",
            created_ms=self._clock.wall_ms(),
            started_ms=self._clock.wall_ms(),
            labels=spec.labels,
        )
        match spec.command:
            case ("exit", code):
                self._put(running)
                return self.end(spec.sandbox.pod_uid, spec.name, code=int(code))
            case ("cannot",):
                now_ms = self._clock.wall_ms()
                failed = replace(
                    running, phase="exited", exit_code=128, reason="ContainerCannotRun", finished_ms=now_ms
                )
                return self._put(replace(failed, message="no such command"))
            case _:
                return self._put(running)

    def end(self, pod_uid: str, name: str, *, code: int, signal: int = 0) -> ContainerState:
        """The newest container of that name ends."""
        newest = max(
            (state for state in self._containers.values() if (state.pod_uid, state.name) == (pod_uid, name)),
            key=lambda state: state.attempt,
        )
        ended = replace(
            newest,
            phase="exited",
            exit_code=code,
            signal=signal,
            reason="Completed" if code == 0 else "Error",
            finished_ms=self._clock.wall_ms(),
        )
        return self._put(ended)

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        self._check()
        state = self._containers.get(container_id)
        if state is None or state.phase == "exited":
            return
        self.stops.append((state.name, grace_s))
        spec = self.specs.get(container_id)
        killed = grace_s == 0 or (spec is not None and spec.command == ("stubborn",))
        self.end(state.pod_uid, state.name, code=137 if killed else 143, signal=9 if killed else 15)

    async def remove(self, container_id: str) -> None:
        self._check()
        state = self._containers.pop(container_id, None)
        assert state is None or state.phase == "exited", "only an exited container is removed"

    async def update(self, container_id: str, resources: Resources) -> None:
        self._running(container_id)
        before = self.resources.get(container_id, Resources())
        told = {name: value for name, value in as_dict(resources).items() if value}
        self.resources[container_id] = replace(before, **told)

    async def reopen_log(self, container_id: str) -> None:
        state = self._running(container_id)
        self.reopened.append(state.name)
        spec = self.specs.get(container_id)
        if spec is not None:
            path = spec.sandbox.log_dir / state.name / f"{state.attempt}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    async def run_in(self, container_id: str, argv: Sequence[str], *, timeout_s: float) -> ExecResult:
        stream = self._execute(container_id, argv)
        if isinstance(stream, _Repeated | _Hanging):
            raise TimeoutError
        return ExecResult(exit_code=await stream.result(), output=stream.text)

    async def exec(self, container_id: str, argv: Sequence[str], how: Streamed) -> ExecStream:
        return self._execute(container_id, argv)

    def _execute(self, container_id: str, argv: Sequence[str]) -> _Said:
        state = self._running(container_id)
        self.runs.append((state.name, tuple(argv)))
        match tuple(argv):
            case ("say", text, code):
                return self._opened(_Said(text.encode(), int(code)))
            case ("repeat",):
                return self._opened(_Repeated())
            case ("hang",):
                return self._opened(_Hanging())
            case _:
                raise InvalidError(f"no such command in PATH: {argv[0]}")

    async def attach(self, container_id: str, how: Streamed) -> ExecStream:
        self._running(container_id)
        return self._opened(_Repeated())

    async def usage(self) -> Sequence[ContainerUsage]:
        self._check()
        return [
            self.used.get(state.id)
            or ContainerUsage(
                pod_uid=state.pod_uid,
                name=state.name,
                at_ms=self._clock.wall_ms(),
                cpu_ns=0,
                memory_working_set_bytes=0,
            )
            for state in self._containers.values()
            if state.phase == "running"
        ]

    def _running(self, container_id: str) -> ContainerState:
        self._check()
        state = self._containers.get(container_id)
        if state is None or state.phase != "running":
            raise NotFoundError("the container is not running")
        return state

    def _opened(self, stream: _Said) -> _Said:
        self.streams.append(stream)
        return stream

    async def forward(self, sandbox_id: str, port: int) -> ExecStream:
        self._check()
        if port not in self.ports:
            raise UnavailableError(f"failed to connect to localhost:{port} inside the pod: connection refused")
        return self._opened(_Repeated())

    async def changes(self) -> AsyncIterator[str]:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._changed:
                uid = next(iter(self._changed))
                del self._changed[uid]
                yield uid

    async def close(self) -> None:
        """Nothing is held."""


class _Said:
    """A command that writes a text and ends."""

    def __init__(self, text: bytes, code: int) -> None:
        self.text = text
        self._code = code
        self.sizes: list[Size] = []
        self.closed = False

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        yield 1, self.text

    async def write(self, data: bytes) -> None:
        """Nobody reads."""

    async def end_input(self) -> None:
        """Nobody reads."""

    async def resize(self, size: Size) -> None:
        self.sizes.append(size)

    async def result(self) -> int:
        return self._code

    async def close(self) -> None:
        self.closed = True


class _Repeated(_Said):
    """A command that writes what it reads, until that ends."""

    def __init__(self) -> None:
        super().__init__(b"", 0)
        self._news: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        while data := await self._news.get():
            yield 1, data

    async def write(self, data: bytes) -> None:
        await self._news.put(data)

    async def end_input(self) -> None:
        await self._news.put(b"")


class _Hanging(_Said):
    """A command that neither reads nor writes, and does not end by itself."""

    def __init__(self) -> None:
        super().__init__(b"", 137)
        self._over = asyncio.Event()

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        await self._over.wait()
        return
        yield 1, b""  # one that yields nothing

    async def write(self, data: bytes) -> None:
        await self._over.wait()

    async def close(self) -> None:
        await super().close()
        self._over.set()
