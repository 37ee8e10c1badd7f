"""What every container runtime must do. A form's test module subclasses and gives `runtime` and `programs`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgecore.pods.port import (
    COULD_NOT_START,
    ContainerSpec,
    ContainerState,
    ExecStream,
    ImageMissingError,
    Resources,
    Runtime,
    SandboxSpec,
    Streamed,
)
from skerry.errors import InvalidError, NotFoundError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """How the form spells a program that does this."""

    runs: tuple[str, ...]
    exits_3: tuple[str, ...]
    cannot_start: tuple[str, ...]
    ignores_term: tuple[str, ...]
    image: str
    says_hello_and_fails: tuple[str, ...]
    """In a container that runs: `hello` on stdout, exit code 3."""
    repeats: tuple[str, ...]
    """In a container that runs: what it reads, until that ends."""
    hangs: tuple[str, ...]


def sandbox_of(tmp_path: Path, *, attempt: int = 0, pod_uid: str = "uid-1") -> SandboxSpec:
    return SandboxSpec(
        pod_uid=pod_uid,
        pod_name="pod",
        pod_namespace="default",
        attempt=attempt,
        hostname="pod",
        log_dir=tmp_path / "logs",
    )


async def spec_of(
    runtime: Runtime, programs: Programs, tmp_path: Path, command: tuple[str, ...], *, name: str = "app"
) -> ContainerSpec:
    """In the pod's first sandbox, which is made; with its image, which is there."""
    sandbox = sandbox_of(tmp_path)
    image = await runtime.ensure_image(programs.image, "IfNotPresent", ())
    return ContainerSpec(
        sandbox=sandbox,
        sandbox_id=(await runtime.run_sandbox(sandbox)).id,
        name=name,
        attempt=0,
        image=programs.image,
        image_id=image.id,
        command=command,
        args=(),
        env=(),
        working_dir="",
        mounts=(),
        labels=(("skerry.test/of", name),),
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
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        assert (state.phase, state.pod_uid, state.name, state.attempt) == ("running", "uid-1", "app", 0)
        assert state.started_ms > 0
        assert state.image == programs.image
        assert state.image_id
        assert state.labels == (("skerry.test/of", "app"),)
        assert list(await runtime.list()) == list(await runtime.list("uid-1")) == [state]
        assert list(await runtime.list("another")) == []
        await runtime.stop(state.id, grace_s=0)

    async def test_starting_it_again_gives_the_one_that_is_there(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        spec = await spec_of(runtime, programs, tmp_path, programs.runs)
        assert await runtime.start(spec) == await runtime.start(spec)
        (state,) = await runtime.list()
        await runtime.stop(state.id, grace_s=0)

    async def test_an_exit_code_is_kept(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        await runtime.start(await spec_of(runtime, programs, tmp_path, programs.exits_3))
        (state,) = await until(runtime, lambda states: states[0].phase == "exited")
        assert (state.exit_code, state.signal, state.reason) == (3, 0, "Error")
        assert state.finished_ms >= state.started_ms > 0

    async def test_what_cannot_start_says_why(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.cannot_start))
        assert (state.phase, state.exit_code) == ("exited", 128)
        assert state.reason in COULD_NOT_START
        assert "no such" in state.message.lower()

    async def test_a_missing_image_is_named_with_the_reason_that_its_policy_has(self, runtime: Runtime) -> None:
        with pytest.raises(ImageMissingError, match="missing/app:1") as missing:
            await runtime.ensure_image("missing/app:1", "IfNotPresent", ())
        assert missing.value.reason == "ErrImagePull"
        with pytest.raises(ImageMissingError) as missing:
            await runtime.ensure_image("missing/app:1", "Never", ())
        assert missing.value.reason == "ErrImageNeverPull"

    async def test_a_sandbox_is_made_once_and_listed_until_it_is_removed(
        self, runtime: Runtime, tmp_path: Path
    ) -> None:
        made = await runtime.run_sandbox(sandbox_of(tmp_path))
        assert (made.ready, made.pod_uid, made.pod_name, made.pod_namespace, made.attempt) == (
            True,
            "uid-1",
            "pod",
            "default",
            0,
        )
        assert made.created_ms > 0
        assert await runtime.run_sandbox(sandbox_of(tmp_path)) == made
        assert list(await runtime.sandboxes()) == list(await runtime.sandboxes("uid-1")) == [made]
        assert list(await runtime.sandboxes("another")) == []
        await runtime.stop_sandbox(made.id)
        await runtime.stop_sandbox(made.id)
        assert [(each.id, each.ready) for each in await runtime.sandboxes()] == [(made.id, False)]
        assert not (await runtime.run_sandbox(sandbox_of(tmp_path))).ready, "it never becomes so again"
        second = await runtime.run_sandbox(sandbox_of(tmp_path, attempt=1))
        assert second.ready and second.id != made.id
        await runtime.remove_sandbox(made.id)
        await runtime.remove_sandbox(made.id)
        assert [each.id for each in await runtime.sandboxes()] == [second.id]
        await runtime.stop_sandbox(second.id)
        await runtime.remove_sandbox(second.id)

    async def test_with_its_sandbox_a_container_ends_and_is_forgotten(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        await runtime.stop_sandbox(state.sandbox_id)
        (ended,) = await runtime.list()
        assert (ended.phase, ended.exit_code, ended.sandbox_id) == ("exited", 137, state.sandbox_id)
        await runtime.remove_sandbox(state.sandbox_id)
        assert list(await runtime.list()) == []
        assert list(await runtime.sandboxes()) == []

    async def test_nothing_is_started_in_a_sandbox_that_is_gone(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        spec = await spec_of(runtime, programs, tmp_path, programs.runs)
        await runtime.stop_sandbox(spec.sandbox_id)
        with pytest.raises(UnavailableError):
            await runtime.start(spec)
        assert [state.phase for state in await runtime.list() if state.phase == "running"] == []

    async def test_stop_asks_first(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        await runtime.stop(state.id, grace_s=20)
        (state,) = await runtime.list()
        assert (state.phase, state.exit_code) == ("exited", 143)
        assert state.signal in (0, 15), "0 where a runtime tells only of codes"

    async def test_who_does_not_listen_is_killed_after_the_grace(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.ignores_term))
        await runtime.stop(state.id, grace_s=0.3)
        (state,) = await runtime.list()
        assert (state.phase, state.exit_code) == ("exited", 137)
        assert state.signal in (0, 9), "0 where a runtime tells only of codes"
        await runtime.stop(state.id, grace_s=0.3)
        await runtime.stop("uid-9.app.0", grace_s=0.3)

    async def test_a_removed_container_is_forgotten(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        await runtime.stop(state.id, grace_s=0)
        await runtime.remove(state.id)
        await runtime.remove(state.id)
        assert list(await runtime.list()) == []

    async def test_the_next_agent_finds_what_runs_and_can_stop_it(
        self, runtime: Runtime, programs: Programs, tmp_path: Path, again: Callable[[], Awaitable[Runtime]]
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        other = await again()
        assert list(await other.list()) == [state]
        await other.stop(state.id, grace_s=0)
        assert [item.phase for item in await other.list()] == ["exited"]
        await other.close()

    async def test_changes_name_the_pod(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        await runtime.start(await spec_of(runtime, programs, tmp_path, programs.exits_3))
        async with asyncio.timeout(20):
            async for uid in runtime.changes():
                assert uid == "uid-1"
                if [state.phase for state in await runtime.list()] == ["exited"]:
                    break

    async def test_a_command_in_a_container_gives_its_output_and_exit_code(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        done = await runtime.run_in(state.id, programs.says_hello_and_fails, timeout_s=20)
        assert (done.exit_code, done.output.strip()) == (3, b"hello")
        stream = await runtime.exec(state.id, programs.says_hello_and_fails, Streamed())
        assert await said(stream) == [(1, b"hello")]
        assert await stream.result() == 3
        await stream.close()
        await runtime.stop(state.id, grace_s=0)

    async def test_a_command_reads_what_is_written_to_it(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        stream = await runtime.exec(state.id, programs.repeats, Streamed(stdin=True))
        output = stream.output()
        await stream.write(b"one")
        assert await anext(output) == (1, b"one")
        await stream.write(b"two")
        assert await anext(output) == (1, b"two")
        await stream.end_input()
        assert [piece async for piece in output] == []
        assert await stream.result() == 0
        await stream.close()
        await runtime.stop(state.id, grace_s=0)

    async def test_a_command_is_refused_that_is_not_there_or_has_no_container(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        with pytest.raises(InvalidError, match="no-such-command"):
            await runtime.run_in(state.id, ("no-such-command",), timeout_s=20)
        await runtime.stop(state.id, grace_s=0)
        with pytest.raises(NotFoundError):
            await runtime.run_in(state.id, programs.repeats, timeout_s=20)
        with pytest.raises(NotFoundError):
            await runtime.exec(state.id, programs.repeats, Streamed())

    async def test_a_command_that_takes_too_long_is_ended(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        with pytest.raises(TimeoutError):
            await runtime.run_in(state.id, programs.hangs, timeout_s=1)
        await runtime.stop(state.id, grace_s=0)

    async def test_what_a_running_container_may_use_is_changed(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        wanted = Resources(cpu_shares=512, cpu_quota_us=20_000, cpu_period_us=100_000, memory_bytes=64 << 20)
        if runtime.abilities.limits:
            await runtime.update(state.id, wanted)
            await runtime.update(state.id, wanted)
            assert list(await runtime.list()) == [state], "it runs on"
        else:
            with pytest.raises(InvalidError, match="not enforced"):
                await runtime.update(state.id, wanted)
        await runtime.stop(state.id, grace_s=0)
        with pytest.raises(NotFoundError, match="not running"):
            await runtime.update(state.id, wanted)

    async def test_a_log_that_was_renamed_is_opened_anew_by_who_does_not_rotate_it(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        if runtime.abilities.rotates_logs:
            with pytest.raises(InvalidError, match="itself"):
                await runtime.reopen_log(state.id)
        else:
            await runtime.reopen_log(state.id)
        await runtime.stop(state.id, grace_s=0)
        with pytest.raises(NotFoundError, match="not running"):
            await runtime.reopen_log(state.id)

    async def test_a_port_on_which_nothing_listens_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        sandbox = await runtime.run_sandbox(sandbox_of(tmp_path))
        with pytest.raises(UnavailableError, match="localhost:9 "):
            await runtime.forward(sandbox.id, 9)

    async def test_nothing_is_attached_to_that_does_not_run(
        self, runtime: Runtime, programs: Programs, tmp_path: Path
    ) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        stream = await runtime.attach(state.id, Streamed())
        await stream.close()
        await runtime.stop(state.id, grace_s=0)
        with pytest.raises(NotFoundError, match="not running"):
            await runtime.attach(state.id, Streamed())

    async def test_what_runs_is_counted(self, runtime: Runtime, programs: Programs, tmp_path: Path) -> None:
        state = await runtime.start(await spec_of(runtime, programs, tmp_path, programs.runs))
        (used,) = [each for each in await runtime.usage() if each.name == "app"]
        assert (used.pod_uid, used.cpu_ns >= 0) == ("uid-1", True)
        await runtime.stop(state.id, grace_s=0)
        assert [each for each in await runtime.usage() if each.name == "app"] == []


async def said(stream: ExecStream) -> list[tuple[int, bytes]]:
    """All that it writes, white space aside."""
    return [(number, data.strip()) async for number, data in stream.output()]
