"""A runtime in memory: for tests and simulation of what is above it.

Keeps containers in a dictionary; `restarted` gives the same containers to a new agent. Containers run until `end`
is called, or until they are stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from edgecore.pods.port import ContainerSpec, ContainerState, ImageMissingError
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.ports import Clock


class FakeRuntime:
    """See `Runtime`. Commands it knows: `exit N` ends at once, `cannot` can't be started, `stubborn` ignores
    SIGTERM; all others run. Images starting with `missing` are missing."""

    def __init__(self, clock: Clock, containers: dict[str, ContainerState] | None = None) -> None:
        self._clock = clock
        self._containers = {} if containers is None else containers
        self.specs: dict[str, ContainerSpec] = {}
        """What was started, by id."""
        self.starts: list[tuple[str, int]] = []
        """Names and attempts in the order of their starts."""
        self.stops: list[tuple[str, float]] = []
        self.unavailable = ""
        """When set, every call fails with it."""
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
        return FakeRuntime(self._clock, self._containers)

    def _check(self) -> None:
        if self.unavailable:
            raise UnavailableError(self.unavailable)

    def _put(self, state: ContainerState) -> ContainerState:
        self._containers[state.id] = state
        self._changed[state.pod_uid] = None
        self._news.set()
        return state

    async def list(self, pod_uid: str = "") -> Sequence[ContainerState]:
        self._check()
        found = [state for state in self._containers.values() if pod_uid in ("", state.pod_uid)]
        return sorted(found, key=lambda state: (state.pod_uid, state.name, state.attempt))

    async def start(self, spec: ContainerSpec) -> ContainerState:
        self._check()
        container = f"{spec.pod_uid}.{spec.name}.{spec.attempt}"
        if container in self._containers:
            return self._containers[container]
        if spec.image.startswith("missing"):
            raise ImageMissingError(f'image "{spec.image}" is not here')
        self.specs[container] = spec
        self.starts.append((spec.name, spec.attempt))
        running = ContainerState(
            id=container,
            pod_uid=spec.pod_uid,
            name=spec.name,
            attempt=spec.attempt,
            image=spec.image,
            image_id=f"fake:{spec.image}",
            phase="running",
            started_ms=self._clock.wall_ms(),
        )
        match spec.command:
            case ("exit", code):
                self._put(running)
                return self.end(spec.pod_uid, spec.name, code=int(code))
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
