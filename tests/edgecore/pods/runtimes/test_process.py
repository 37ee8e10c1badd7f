"""The process runtime: the contract on real processes, and what only it has to survive."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from edgecore.pods.log_files import files_of, rotated_files, rotated_name
from edgecore.pods.port import ContainerSpec, ExecStream, Mount, Runtime, Security, Size, Streamed
from edgecore.pods.runtimes.apart.log_file import later
from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings
from skerry.clocks import SystemClock
from skerry.errors import InvalidError
from skerry.frozen import replace
from tests.contracts.runtime_contract import Programs, RuntimeContract, spec_of, until

STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
PROGRAMS = Programs(
    runs=("sleep", "1000"),
    exits_3=("sh", "-c", "exit 3"),
    cannot_start=("/no/such/command",),
    ignores_term=STUBBORN,
    image="sh",
    says_hello_and_fails=("sh", "-c", "echo hello; exit 3"),
    repeats=("cat",),
    hangs=("sleep", "1000"),
)


def settings(tmp_path: Path, *, log_bytes: int = 10 << 20) -> ProcessSettings:
    return ProcessSettings(directory=tmp_path / "c", images=tmp_path / "images", log_bytes=log_bytes, log_files=3)


@pytest_asyncio.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[ProcessRuntime]:
    made = ProcessRuntime(settings(tmp_path, log_bytes=50_000), SystemClock())
    yield made
    for state in await made.list():
        await made.stop(state.id, grace_s=0)
    await made.close()


class TestProcess(RuntimeContract):
    @pytest.fixture
    def runtime(self, runtime: ProcessRuntime) -> Runtime:
        return runtime

    @pytest.fixture
    def programs(self) -> Programs:
        return PROGRAMS

    @pytest.fixture
    def again(self, tmp_path: Path) -> Callable[[], Awaitable[Runtime]]:
        async def make() -> Runtime:
            return ProcessRuntime(settings(tmp_path), SystemClock())

        return make


async def shell(runtime: Runtime, tmp_path: Path, script: str) -> ContainerSpec:
    return await spec_of(runtime, PROGRAMS, tmp_path, ("sh", "-c", script))


def log_of(tmp_path: Path, name: str = "app") -> list[str]:
    return (tmp_path / "logs" / name / "0.log").read_text().splitlines()


def texts(lines: list[str]) -> list[str]:
    return [line.split(" ", 3)[3] for line in lines]


async def ended(runtime: ProcessRuntime) -> None:
    await until(runtime, lambda states: all(state.phase == "exited" for state in states))


def state_file(tmp_path: Path) -> dict[str, object]:
    return json.loads((tmp_path / "c" / "uid-1" / "app.0" / "state").read_bytes())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ends while it is read
        return False


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while alive(pid):
            await asyncio.sleep(0.01)


async def test_both_streams_are_logged_with_times_and_tags(runtime: ProcessRuntime, tmp_path: Path) -> None:
    await runtime.start(
        await shell(runtime, tmp_path, "echo out; echo err >&2; printf rest; head -c 40000 /dev/zero | tr '\\0' x")
    )
    await ended(runtime)
    lines = log_of(tmp_path)
    assert {tuple(line.split(" ")[1:3]) for line in lines} == {("stdout", "F"), ("stderr", "F"), ("stdout", "P")}
    assert lines[0][10] == "T" and lines[0].split(" ")[0].endswith("Z")
    assert "err" in texts(lines)
    out = "".join(line.split(" ", 3)[3] + ("\n" if " F " in line[:50] else "") for line in lines if "stdout" in line)
    assert out == "out\nrest" + "x" * 40000 + "\n"


async def test_logs_rotate_and_no_line_is_lost_between_files(runtime: ProcessRuntime, tmp_path: Path) -> None:
    await runtime.start(await shell(runtime, tmp_path, "for i in $(seq 5000); do echo line-$i; done"))
    await ended(runtime)
    directory = tmp_path / "logs" / "app"
    files = files_of(directory / "0.log")
    assert len(files) == 3 and set(directory.iterdir()) == set(files)
    kept = [line for file in files for line in texts(file.read_text().splitlines())]
    assert kept == [f"line-{number}" for number in range(5001 - len(kept), 5001)]
    assert files[1].stat().st_size >= 50_000


def test_a_supervisor_gives_rotated_logs_the_names_that_the_agent_gives(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for now_s in (1_750_000_000, 1_750_000_000, 1_750_000_000, 1_750_000_001, 0):
        newest = [each.name.removeprefix("0.log.") for each in rotated_files(path)][-1:]
        name = rotated_name(path, now_s * 1000)
        assert name.name == "0.log." + later(newest[0] if newest else "", now_s)
        name.touch()
    assert [each.name for each in rotated_files(path)] == [
        "0.log.20250615-150640",
        "0.log.20250615-150640.000000001",
        "0.log.20250615-150640.000000002",
        "0.log.20250615-150641",
        "0.log.20250615-150641.000000001",
    ]


async def test_environment_is_the_containers_own(runtime: ProcessRuntime, tmp_path: Path) -> None:
    os.environ["SKERRY_TEST_SECRET"] = "x"
    try:
        spec = replace(
            await shell(runtime, tmp_path, "env | sort; pwd"), env=(("GREETING", "hello\nworld"),), working_dir="/tmp"
        )
        await runtime.start(spec)
    finally:
        del os.environ["SKERRY_TEST_SECRET"]
    await ended(runtime)
    lines = texts(log_of(tmp_path))
    assert "GREETING=hello" in lines and "world" in lines
    assert "HOSTNAME=pod" in lines
    assert lines[-1] == "/tmp"
    assert not any("SECRET" in line for line in lines)


async def test_nothing_of_a_container_goes_on_after_its_first_process(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    await runtime.start(
        await shell(runtime, tmp_path, "setsid sh -c 'sleep 1000 & echo $!; wait' & sleep 0.2; exit 0")
    )
    await ended(runtime)
    assert not alive(int(texts(log_of(tmp_path))[0]))


async def test_stop_reaches_grandchildren_that_left_the_group(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(
        await shell(runtime, tmp_path, "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait")
    )
    async with asyncio.timeout(10):
        while not log_of(tmp_path):
            await asyncio.sleep(0.01)
    await runtime.stop(state.id, grace_s=0.3)
    assert not alive(int(texts(log_of(tmp_path))[0]))


async def test_a_shorter_grace_overtakes_a_longer(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, STUBBORN))
    async with asyncio.timeout(15):
        patient = asyncio.create_task(runtime.stop(state.id, grace_s=600))
        await asyncio.sleep(0.2)
        await runtime.stop(state.id, grace_s=0.1)
        await patient


async def test_a_killed_supervisor_takes_its_container_along(runtime: ProcessRuntime, tmp_path: Path) -> None:
    await runtime.start(await shell(runtime, tmp_path, "sleep 1000 & sleep 1000"))
    written = state_file(tmp_path)
    supervisor, pid = int(str(written["supervisor"])), int(str(written["pid"]))
    os.kill(supervisor, signal.SIGKILL)
    (state,) = await until(runtime, lambda states: states[0].phase == "exited")
    await gone(pid)
    assert (state.exit_code, state.reason) == (137, "ContainerStatusUnknown")


async def test_after_a_reboot_what_ran_has_ended(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    written = state_file(tmp_path)
    await runtime.stop(state.id, grace_s=0)
    before = {**written, "boot_id": "another boot"}
    (tmp_path / "c" / "uid-1" / "app.0" / "state").write_text(json.dumps(before))
    # The supervisor lets go of its lock a moment after it has told the end.
    (state,) = await until(runtime, lambda states: states[0].phase == "exited")
    assert (state.exit_code, state.reason) == (255, "Unknown")
    assert list(await runtime.list()) == [state]


async def test_a_container_that_the_agent_never_launched_is_started_now(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    spec = await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs)
    state = await runtime.start(spec)
    await runtime.stop(state.id, grace_s=0)
    place = tmp_path / "c" / "uid-1" / "app.0"
    for name in ("state", "lock", "stop"):
        (place / name).unlink()
    assert [item.reason for item in await runtime.list()] == ["ContainerCannotRun"]
    (place / "state").unlink()
    assert (await runtime.start(spec)).phase == "running"


async def test_volumes_are_where_the_pod_wants_them(runtime: ProcessRuntime, tmp_path: Path) -> None:
    for name in ("config", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "key").write_text("value")
    mounts = (
        Mount(host_path=tmp_path / "config", container_path="/skerry-test/deep/config", read_only=True),
        Mount(host_path=tmp_path / "data", container_path="/etc/skerry-test", read_only=False),
        Mount(host_path=tmp_path / "config" / "key", container_path="/etc/skerry-file", read_only=True),
    )
    script = (
        "cat /skerry-test/deep/config/key /etc/skerry-file; echo; test -s /etc/passwd && echo passwd;"
        "echo written > /etc/skerry-test/file; echo no > /skerry-test/deep/config/other || echo refused; ls / | wc -l"
    )
    await runtime.start(replace(await shell(runtime, tmp_path, script), mounts=mounts))
    await ended(runtime)
    lines = texts([line for line in log_of(tmp_path) if " stdout " in line])
    assert lines[:3] == ["valuevalue", "passwd", "refused"]
    assert (tmp_path / "data" / "file").read_text() == "written\n"
    assert not Path("/skerry-test").exists() and not Path("/etc/skerry-test").exists()
    assert int(lines[3]) == len([place for place in Path("/").iterdir() if not place.name.startswith(".")]) + 1


async def test_a_container_gains_no_privileges_and_is_not_root_where_it_must_not_be(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    spec = await shell(runtime, tmp_path, "grep NoNewPrivs /proc/self/status")
    await runtime.start(replace(spec, security=Security(no_new_privileges=True)))
    await ended(runtime)
    assert texts(log_of(tmp_path)) == ["NoNewPrivs:\t1"]
    if os.geteuid() == 0:
        with pytest.raises(InvalidError, match="runAsNonRoot"):
            await runtime.start(replace(spec, name="other", security=Security(run_as_non_root=True)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have other groups")
async def test_a_container_and_its_commands_have_the_groups_of_the_pod(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    security = Security(run_as_user=1234, run_as_group=55, supplemental_groups=(77, 78))
    spec = replace(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs), security=security)
    state = await runtime.start(spec)
    assert (await runtime.run_in(state.id, ("id", "-G"), timeout_s=20)).output == b"55 77 78\n"
    status = Path(f"/proc/{state_file(tmp_path)['pid']}/status").read_text()
    assert "Groups:\t77 78" in status


async def part_of(runtime: ProcessRuntime, tmp_path: Path, part: str, script: str) -> ContainerSpec:
    mount = Mount(host_path=tmp_path / "v", container_path="/its/part", read_only=False, sub_path=part)
    return replace(await shell(runtime, tmp_path, script), mounts=(mount,))


async def test_a_part_of_a_volume_is_made_and_mounted_alone(runtime: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v").chmod(0o777)
    (tmp_path / "v" / "hidden").touch()
    state = await runtime.start(await part_of(runtime, tmp_path, "a/b", "ls -A /its/part; echo x > /its/part/made"))
    assert state.reason != "ContainerCannotRun", state.message
    await ended(runtime)
    assert texts(log_of(tmp_path)) == []
    assert (tmp_path / "v/a/b/made").read_text() == "x\n"
    assert (tmp_path / "v/a/b").stat().st_mode & 0o777 == 0o777


async def test_a_file_of_a_volume_is_mounted_alone(runtime: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "file").write_text("inside")
    await runtime.start(await part_of(runtime, tmp_path, "file", "cat /its/part"))
    await ended(runtime)
    assert texts(log_of(tmp_path)) == ["inside"]


async def test_a_link_in_a_volume_leads_no_mount_elsewhere(runtime: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "v" / "a").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "v" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "v" / "a" / "out").symlink_to("../../secret")
    for number, part in enumerate(("out", "a/out", "out/x")):
        spec = replace(await part_of(runtime, tmp_path, part, "ls /its/part"), name=f"app{number}")
        state = await runtime.start(spec)
        assert (state.reason, "symbolic link" in state.message) == ("ContainerCannotRun", True), state.message
    assert list((tmp_path / "secret").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_user_and_group_are_those_of_the_pod(runtime: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o777)
    (tmp_path / "data").chmod(0o777)
    mount = Mount(host_path=tmp_path / "data", container_path="/skerry-test", read_only=False)
    spec = replace(
        await shell(runtime, tmp_path, "id -u; id -g; id -G; echo x > /skerry-test/f"),
        security=Security(run_as_user=65534),
        mounts=(mount,),
    )
    await runtime.start(replace(spec, security=Security(run_as_user=65534, run_as_group=65533)))
    await ended(runtime)
    assert texts(log_of(tmp_path)) == ["65534", "65533", "65533"]
    assert (tmp_path / "data" / "f").stat().st_uid == 65534


async def test_a_nul_character_is_refused(runtime: ProcessRuntime, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="NUL"):
        await runtime.start(replace(await shell(runtime, tmp_path, "true"), env=(("A", "b\0c"),)))
    with contextlib.suppress(FileNotFoundError):
        assert list(await runtime.list()) == []


async def test_a_supervisor_is_small(runtime: ProcessRuntime, tmp_path: Path) -> None:
    await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    status = Path(f"/proc/{state_file(tmp_path)['supervisor']}/status").read_text()
    anonymous_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    assert anonymous_kb < 4096


async def read_all(stream: ExecStream) -> bytes:
    return b"".join([data async for _, data in stream.output()])


async def test_a_command_is_in_the_containers_mounts_directory_and_environment_with_its_user(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "file").write_text("inside")
    is_root = os.geteuid() == 0
    if is_root:  # the other user must get there
        for place in (tmp_path, *tmp_path.parents):
            if place.is_relative_to("/tmp") and place != Path("/tmp"):
                place.chmod(0o755)
    spec = replace(
        await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs),
        env=(("SAID", "by the pod"),),
        mounts=(Mount(host_path=tmp_path / "v", container_path="/a/new/place", read_only=True),),
        working_dir="/a/new/place",
        security=Security(run_as_user=1234, run_as_group=55) if is_root else Security(),
    )
    state = await runtime.start(spec)
    assert state.phase == "running", state.message
    done = await runtime.run_in(state.id, ("sh", "-c", "pwd; cat file; echo; echo $SAID; id -u; id -g"), timeout_s=20)
    wanted = [1234, 55] if is_root else [os.geteuid(), os.getegid()]
    assert done.output.decode().split("\n") == ["/a/new/place", "inside", "by the pod", *map(str, wanted), ""]


async def test_a_shell_has_a_terminal_of_the_size_that_was_asked_for(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    stream = await runtime.exec(state.id, ("sh",), Streamed(stdin=True, tty=True))
    await stream.resize(Size(width=77, height=33))
    await stream.write(b"stty size; echo $TERM; test -t 2 && exit 7\n")
    written = await read_all(stream)
    assert b"33 77" in written and b"xterm" in written
    assert await stream.result() == 7
    await stream.close()


async def test_both_streams_of_a_command_are_told_apart(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    stream = await runtime.exec(state.id, ("sh", "-c", "echo out; echo err >&2"), Streamed())
    assert {(number, data) async for number, data in stream.output()} == {(1, b"out\n"), (2, b"err\n")}
    await stream.close()


async def test_what_a_command_leaves_behind_ends_with_the_container(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    done = await runtime.run_in(state.id, ("sh", "-c", "sleep 1000 & echo $!"), timeout_s=20)
    left = int(done.output)
    assert alive(left)
    stream = await runtime.exec(state.id, ("sh", "-c", "echo $$; exec sleep 1000"), Streamed())
    output = stream.output()
    _, said = await anext(output)
    await runtime.stop(state.id, grace_s=0)
    assert [piece async for piece in output] == []
    assert await stream.result() == 137
    await stream.close()
    await gone(left)
    await gone(int(said))


async def test_a_command_that_took_too_long_leaves_nothing(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    with pytest.raises(TimeoutError):
        await runtime.run_in(
            state.id, ("sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid; sleep 1000"), timeout_s=2
        )
    await gone(int((tmp_path / "pid").read_text()))


async def test_a_large_output_waits_for_its_reader_and_a_result_keeps_ten_kibibytes(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    big = ("sh", "-c", "head -c 3000000 /dev/zero")
    assert (await runtime.run_in(state.id, big, timeout_s=30)).output == b"\0" * 10240
    stream = await runtime.exec(state.id, big, Streamed())
    assert len(await read_all(stream)) == 3_000_000
    assert await stream.result() == 0
    await stream.close()
    copy = await runtime.exec(state.id, ("wc", "-c"), Streamed(stdin=True))
    for _ in range(100):
        await copy.write(b"x" * 30_000)
    await copy.end_input()
    assert int(await read_all(copy)) == 3_000_000
    await copy.close()


async def test_who_hangs_up_a_terminal_ends_its_shell(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    stream = await runtime.exec(state.id, ("sh", "-c", "echo $$; exec sleep 1000"), Streamed(stdin=True, tty=True))
    _, said = await anext(aiter(stream.output()))
    await stream.close()
    await gone(int(said))


async def test_a_port_of_a_pod_is_reached(runtime: ProcessRuntime, tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.read())
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    spec = await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs)
    stream = await runtime.forward(spec.sandbox_id, server.sockets[0].getsockname()[1])
    await stream.write(b"you")
    await stream.end_input()
    assert await read_all(stream) == b"hello you"
    assert await stream.result() == 0
    await stream.close()
    server.close()
