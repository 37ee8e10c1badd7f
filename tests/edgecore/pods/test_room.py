"""What there is of everything, and what pods take of it."""

from __future__ import annotations

from pathlib import Path

from edgecore.pods.eviction import Amount, Threshold
from edgecore.pods.port import ContainerUsage, ImagesPlace
from edgecore.pods.room import FileSystem, Room, RoomParts, candidates, file_system, look
from edgecore.pods.runtimes.fake import FakeRuntime
from skerry.clocks import ManualClock
from skerry.frozen import replace
from tests.edgecore.pods.pods_of import container, pod, state
from tests.edgecore.pods.test_node import MACHINE

DISK = Threshold(signal="nodefs.available", amount=Amount(share=0.1))
IMAGES = Threshold(signal="imagefs.available", amount=Amount(share=0.1))


class Runtime(FakeRuntime):
    """One whose images are on a disk of their own, or nowhere."""

    place: ImagesPlace | None = None

    async def images_place(self) -> ImagesPlace | None:
        return self.place


def parts(directory: Path, *, apart: bool = False) -> RoomParts:
    runtime = Runtime(ManualClock(), {"uid-1.app.0": state()})
    runtime.place = ImagesPlace(directory=Path("/images"), used_bytes=0) if apart else None
    runtime.used["uid-1.app.0"] = ContainerUsage(
        pod_uid="uid-1",
        name="app",
        at_ms=0,
        cpu_ns=0,
        memory_working_set_bytes=7,
        disk_bytes=1 << 20,
        inodes=5,
        pids=3,
    )

    def disk(place: Path) -> FileSystem:
        found = FileSystem(device=1, bytes_all=1000, bytes_free=400, inodes_all=50, inodes_free=9)
        return replace(found, device=2, inodes_all=0) if place == Path("/images") else found

    return RoomParts(runtime=runtime, machine=lambda: MACHINE, directory=directory, disk=disk)


async def test_a_look_sees_memory_ids_and_both_disks(tmp_path: Path) -> None:
    room = await look(parts(tmp_path, apart=True))
    found = {signal: (each.available, each.capacity) for signal, each in room.seen.items()}
    assert found == {
        "memory.available": (MACHINE.memory_free_bytes, MACHINE.memory_bytes),
        "pid.available": (MACHINE.pids_max - MACHINE.pids_used, MACHINE.pids_max),
        "nodefs.available": (400, 1000),
        "nodefs.inodesFree": (9, 50),
        "imagefs.available": (400, 1000),
    }, "a file system that does not count inodes is not short of them"
    assert room.images_apart
    assert not (await look(parts(tmp_path))).images_apart


async def test_a_pod_takes_its_volumes_its_logs_and_its_layers_of_one_disk(tmp_path: Path) -> None:
    logs, volumes = tmp_path / "logs" / "one", tmp_path / "pods" / "uid-1" / "volumes" / "v"
    for folder, size in ((logs / "app", 200_000), (volumes, 3_000_000)):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * size)
    room = Room(seen={}, images_apart=False)
    (found,) = await candidates(parts(tmp_path), room, DISK, [(pod(container()), logs)])
    assert 4_200_000 < found.use.disk_bytes < 4_500_000
    assert found.use.inodes > 5
    assert (found.use.memory_bytes, found.use.pids) == (7, 3)
    assert 1_200_000 < found.containers["app"].disk_bytes < 1_300_000, "its layer and its log"
    apart = replace(room, images_apart=True)
    (files,) = await candidates(parts(tmp_path), apart, DISK, [(pod(container()), logs)])
    assert 3_200_000 < files.use.disk_bytes < 3_300_000
    (layers,) = await candidates(parts(tmp_path), apart, IMAGES, [(pod(container()), logs)])
    assert layers.use.disk_bytes == 1 << 20


def test_a_real_file_system_tells_of_itself(tmp_path: Path) -> None:
    found = file_system(tmp_path)
    assert 0 < found.bytes_free <= found.bytes_all
    assert found.inodes_free <= found.inodes_all
