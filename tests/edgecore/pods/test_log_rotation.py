"""Logs of running containers stay within their bounds, and are whole whatever fails meanwhile."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from edgecore.pods.log_files import files_of, rotated_files
from edgecore.pods.log_rotation import LogRotation, RotationSettings
from edgecore.pods.port import ContainerSpec, ContainerState, SandboxSpec
from edgecore.pods.runtimes.fake import FakeRuntime
from skerry.clocks import ManualClock
from skerry.errors import UnavailableError

LIMIT = 1000


class Gateway:
    def __init__(self, folder: Path, *, files_max: int = 3) -> None:
        self.clock = ManualClock(wall_ms=1_750_000_000_000)
        self.runtime = FakeRuntime(self.clock)
        self.folder = folder
        settings = RotationSettings(bytes_max=LIMIT, files_max=files_max)
        self.rotation = LogRotation(self.runtime, folder, self.clock, settings)
        self.path = folder / "default_web_uid-1" / "app" / "0.log"

    async def start(self) -> ContainerState:
        sandbox = SandboxSpec(
            pod_uid="uid-1",
            pod_name="web",
            pod_namespace="default",
            attempt=0,
            hostname="web",
            log_dir=self.path.parent.parent,
        )
        self.path.parent.mkdir(parents=True)
        self.path.touch()
        return await self.runtime.start(
            ContainerSpec(
                sandbox=sandbox,
                sandbox_id=(await self.runtime.run_sandbox(sandbox)).id,
                name="app",
                attempt=0,
                image="app",
                command=("run",),
                args=(),
                env=(),
                working_dir="",
                mounts=(),
            )
        )

    def say(self, text: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(text.ljust(LIMIT, b"."))


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


async def test_a_log_that_has_grown_too_large_is_renamed_compressed_later_and_removed_at_last(
    gateway: Gateway,
) -> None:
    await gateway.start()
    for number in range(4):
        gateway.say(b"%d" % number)
        await gateway.rotation.look()
        gateway.clock.advance(10)
    assert gateway.path.read_bytes() == b""
    older, newest = rotated_files(gateway.path)
    assert newest.name == "0.log.20250615-150710" and newest.read_bytes().startswith(b"3")
    assert older.name == "0.log.20250615-150700.gz" and gzip.decompress(older.read_bytes()).startswith(b"2")
    assert gateway.runtime.reopened == ["app"] * 4
    assert {each.name for each in gateway.path.parent.iterdir()} == {each.name for each in files_of(gateway.path)}


async def test_what_is_small_or_of_a_container_that_has_ended_stays(gateway: Gateway) -> None:
    await gateway.start()
    gateway.path.write_bytes(b"." * (LIMIT - 1))
    await gateway.rotation.look()
    gateway.say(b"")
    gateway.runtime.end("uid-1", "app", code=0)
    await gateway.rotation.look()
    assert files_of(gateway.path) == [gateway.path]
    assert gateway.runtime.reopened == []


async def test_a_log_that_was_renamed_and_not_opened_anew_or_removed_by_somebody_is_opened(gateway: Gateway) -> None:
    await gateway.start()
    gateway.path.unlink()
    await gateway.rotation.look()
    await gateway.rotation.look()
    assert gateway.path.exists()
    assert gateway.runtime.reopened == ["app"]


async def test_a_runtime_that_does_not_answer_costs_no_name(gateway: Gateway) -> None:
    await gateway.start()
    gateway.say(b"one")
    gateway.runtime.unavailable = "it is away"
    with pytest.raises(UnavailableError):
        await gateway.rotation.look()
    assert files_of(gateway.path) == [gateway.path]
    gateway.runtime.unavailable = ""
    await gateway.rotation.look()
    assert len(rotated_files(gateway.path)) == 1


async def test_one_file_is_all_that_is_kept_where_one_is_wanted(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, files_max=1)
    await gateway.start()
    gateway.say(b"one")
    await gateway.rotation.look()
    assert files_of(gateway.path) == [gateway.path]
    assert gateway.path.read_bytes() == b""


async def test_nothing_is_looked_at_where_there_is_nothing(gateway: Gateway) -> None:
    await gateway.rotation.look()
    gateway.folder.joinpath("stray").touch()
    await gateway.rotation.look()
