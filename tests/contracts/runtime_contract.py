"""What every container runtime must do. A form's test module subclasses and gives `runtime` and `programs`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgecore.pods.port import ContainerSpec, ContainerState, ImageMissingError, Runtime
from skerry.frozen import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """How the form spells a program that does this."""

    runs: tuple[str, ...]
    exits_3: tuple[str, ...]
    cannot_start: tuple[str, ...]
    ignores_term: tuple[str, ...]
    image: str


def spec_of(programs: Programs, tmp_path: Path, command: tuple[str, ...], *, name: str = "app") -> ContainerSpec:
    return ContainerSpec(
        pod_uid="uid-1",
        pod_name="pod",
        pod_namespace="default",
        name=name,
        attempt=0,
        image=programs.image,
        command=command,
        args=(),
        env=(),
        working_dir="",
        mounts=(),
        log_dir=tmp_path / "logs",
    )


async def until(runtime: Runtime, wanted: Callable[[list[ContainerState]], bool]) -> list[ContainerState]:
    """Poll a level, with a deadline."""
    async with asyncio.timeout(20):
        while True:
            states = list(await runtime.list())
            if wanted(states):
                return states
            await asyncio.sleep(0.01)


class RuntimeContract:
    """Subclasses override `runtime` and `programs`."""

    @pytest.fixture
    def runtime(self) -> Runtime:
        raise NotImplementedError

    @pytest.fixture
    def programs(self) -> Programs:
        raise NotImplementedError

    @pytest.fixture
    def again(self) -> Callable[[], Awaitable[Runtime]]:
        """A runtime as the next agent has it, while the first is still there."""
        raise NotImplementedError

    async def test_a_started_container_is_listed_as_running(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(spec_of(programs, tmp_path, programs.runs))
        assert (state.phase, state.pod_uid, state.name, state.attempt) == ("running", "uid-1", "app", 0)
        assert state.started_ms > 0
        assert state.image == programs.image
        assert state.image_id
        assert list(await runtime.list()) == list(await runtime.list("uid-1")) == [state]
        assert list(await runtime.list("another")) == []
        await runtime.stop(state.id, grace_s=0)

    async def test_starting_it_again_gives_the_one_that_is_there(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        spec = spec_of(programs, tmp_path, programs.runs)
        assert await runtime.start(spec) == await runtime.start(spec)
        (state,) = await runtime.list()
        await runtime.stop(state.id, grace_s=0)

    async def test_an_exit_code_is_kept(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        await runtime.start(spec_of(programs, tmp_path, programs.exits_3))
        (state,) = await until(runtime, lambda states: states[0].phase == "exited")
        assert (state.exit_code, state.signal, state.reason) == (3, 0, "Error")
        assert state.finished_ms >= state.started_ms > 0

    async def test_what_cannot_start_says_why(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        state = await runtime.start(spec_of(programs, tmp_path, programs.cannot_start))
        assert (state.phase, state.exit_code, state.reason) == ("exited", 128, "ContainerCannotRun")
        assert "no such" in state.message.lower()

    async def test_a_missing_image_is_named(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        spec = replace(spec_of(programs, tmp_path, programs.runs), image="missing/app:1")
        with pytest.raises(ImageMissingError, match="missing/app:1"):
            await runtime.start(spec)
        assert list(await runtime.list()) == []

    async def test_stop_asks_first(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        state = await runtime.start(spec_of(programs, tmp_path, programs.runs))
        await runtime.stop(state.id, grace_s=20)
        (state,) = await runtime.list()
        assert (state.phase, state.exit_code, state.signal) == ("exited", 143, 15)

    async def test_who_does_not_listen_is_killed_after_the_grace(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(spec_of(programs, tmp_path, programs.ignores_term))
        await runtime.stop(state.id, grace_s=0.3)
        (state,) = await runtime.list()
        assert (state.phase, state.exit_code, state.signal) == ("exited", 137, 9)
        await runtime.stop(state.id, grace_s=0.3)
        await runtime.stop("uid-9.app.0", grace_s=0.3)

    async def test_a_removed_container_is_forgotten(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(spec_of(programs, tmp_path, programs.runs))
        await runtime.stop(state.id, grace_s=0)
        await runtime.remove(state.id)
        await runtime.remove(state.id)
        assert list(await runtime.list()) == []

    async def test_the_next_agent_finds_what_runs_and_can_stop_it(
        self, runtime: Runtime, programs: Programs, tmp_path: Path, again: Callable[[], Awaitable[Runtime]]
    ) -> None:
        state = await runtime.start(spec_of(programs, tmp_path, programs.runs))
        other = await again()
        assert list(await other.list()) == [state]
        await other.stop(state.id, grace_s=0)
        assert [item.phase for item in await other.list()] == ["exited"]
        await other.close()

    async def test_changes_name_the_pod(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        await runtime.start(spec_of(programs, tmp_path, programs.exits_3))
        async with asyncio.timeout(20):
            async for uid in runtime.changes():
                assert uid == "uid-1"
                if [state.phase for state in await runtime.list()] == ["exited"]:
                    break
