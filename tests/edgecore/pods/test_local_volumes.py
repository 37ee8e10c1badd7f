"""Directories of volumes go when the cloud asks for it, once nobody uses them, and that is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edgecore.pods.claims import note_use
from edgecore.pods.local_volumes import LocalVolumes, remove_directory
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_EPOCH, EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.objects.json import decode_object
from skerry.objects.meta import Key
from skerry.objects.volumes import DIRECTORY, VOLUME_PROTECTION
from tests.edgecore.pods.pods_of import body_of, stamp_of
from tests.edgecore.pods.test_claims import own


class Gateway:
    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))
        self.volumes = LocalVolumes(self.store, node="gate-1", directory=tmp_path)
        self.place = tmp_path / "volumes" / "pvc-1"
        self.place.mkdir(parents=True)
        (self.place / "rows").write_text("1")

    async def put(self, volume: Any) -> None:
        key = Key("persistentvolumes", "", volume["metadata"]["name"])
        await self.store.apply(EdgeBatch(puts=(Held(key=key, stamp=stamp_of(volume), body=body_of(volume)),)))

    def told(self) -> list[Any]:
        return [decode_object(item.body) for item in self.store.outbox(after=0, limit=9) if item.kind == "volume"]


def going(volume: Any, *finalizers: str, policy: str = "Delete") -> Any:
    metadata = {
        **volume["metadata"],
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": list(finalizers or (DIRECTORY,)),
    }
    return {"metadata": metadata, "spec": {**volume["spec"], "persistentVolumeReclaimPolicy": policy}}


async def test_what_is_asked_for_is_removed_and_told_once(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    await gateway.put(going(own()))
    assert not await gateway.volumes.look()
    assert not await gateway.volumes.look()
    assert not gateway.place.exists()
    assert gateway.told() == [{"name": "pv", "uid": "pv-1", "fault": ""}]
    await gateway.store.apply(EdgeBatch(meta=((META_EPOCH, "restored"),)))
    await gateway.volumes.look()
    assert len(gateway.store.outbox(after=0, limit=9)) == 1  # one state, told to the new cloud as well
    assert gateway.store.outbox_head() == 2


@pytest.mark.parametrize(
    "volume",
    [
        own(),
        going(own(), policy="Retain"),
        going(own(), DIRECTORY, VOLUME_PROTECTION),
        going(own(), "example.com/other"),
        going(own(node="gate-2")),
        going(own("..")),
        going(own("../pods")),
    ],
)
async def test_nothing_else_is_removed(tmp_path: Path, volume: Any) -> None:
    gateway = Gateway(tmp_path)
    await gateway.put(volume)
    await gateway.volumes.look()
    assert (gateway.place / "rows").exists()
    assert gateway.told() == []


async def test_a_directory_in_use_waits_for_its_last_pod(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    note_use(tmp_path / "pods" / "uid-1", "v", gateway.place)
    await gateway.put(going(own()))
    assert await gateway.volumes.look()
    assert gateway.place.exists()
    (tmp_path / "pods" / "uid-1" / "claims" / "v").unlink()
    assert not await gateway.volumes.look()
    assert not gateway.place.exists()


async def test_what_can_not_be_removed_is_told_and_tried_again(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    (gateway.place / "rows").unlink()
    gateway.place.rmdir()
    gateway.place.write_text("no directory")
    await gateway.put(going(own()))
    assert await gateway.volumes.look()
    assert "Not a directory" in gateway.told()[-1]["fault"]
    gateway.place.unlink()
    assert not await gateway.volumes.look()
    assert gateway.told()[-1]["fault"] == ""


async def test_it_acts_when_it_hears_of_it(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    task = asyncio.create_task(gateway.volumes.run())
    await asyncio.sleep(0)
    await gateway.put(going(own()))
    async with asyncio.timeout(10):
        while not gateway.told():
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not gateway.place.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    place, outside = tmp_path / "v", tmp_path / "outside"
    place.mkdir()
    outside.mkdir()
    (outside / "kept").touch()
    (place / "link").symlink_to(outside)
    assert remove_directory(place) == ""
    assert (outside / "kept").exists()
    assert remove_directory(place) == ""
