"""The copy of what a gateway holds: when it is written, and what an empty store gets of it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgecore.store.damage import GONE, META_DAMAGE, META_DROPPED, DamageNote
from edgecore.store.held_copy import FILE, Beside, HeldCopy, forget, read, restore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import META_EPOCH, META_KNOWN_MS, EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.frozen import replace
from skerry.objects.meta import Key
from tests.contracts.edge_store_contract import held

BESIDE = Beside(names=("hold",), is_decision=lambda body: b"stopped" in body)
EVENTUALLY_S = 10.0


class Gateway:
    """A store, and what copies it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self.clock = ManualClock()
        self.store = self.empty()
        self.copy = HeldCopy(self.path, "gate-1", self.store, self.clock, BESIDE)

    def empty(self) -> AsyncEdgeStore:
        return AsyncEdgeStore(MemoryEdgeStore(incarnation="first", clock=self.clock))

    async def put(self, *objects: Held, **more: object) -> None:
        await self.store.apply(EdgeBatch(puts=objects, meta=((META_EPOCH, "e1"),), **more))  # type: ignore[arg-type]

    @asynccontextmanager
    async def copying(self, *, seldom_s: float = 3600) -> AsyncGenerator[None]:
        task = asyncio.create_task(self.copy.run(soon_s=0, seldom_s=seldom_s))
        await asyncio.sleep(0)
        yield
        task.cancel()

    def copied(self) -> set[Key]:
        found = read(self.path, "gate-1")
        return set() if found is None else {each.key for each in found.batch.puts}

    async def until_copied(self, *names: str) -> None:
        async with asyncio.timeout(EVENTUALLY_S):
            while {key.name for key in self.copied()} != set(names):
                await asyncio.sleep(0.005)


@pytest.fixture
def gate(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


WEB = held("web", resource="pods")
CONFIG = held("settings", resource="configmaps")


async def test_an_empty_store_gets_what_was_held_with_its_stamps_and_decisions(gate: Gateway) -> None:
    await gate.put(
        CONFIG,
        WEB,
        pods=((WEB.stamp.uid, b'{"stopped":1}'), ("uid-other", b'{"runs":1}')),
    )
    await gate.store.apply(EdgeBatch(meta=(("hold", "harvest"), ("other", "x"), (META_KNOWN_MS, "17"))))
    await gate.copy.write()
    lost = gate.empty()
    copy = await restore(gate.path, "gate-1", lost)
    assert copy is not None and copy.whole
    assert {lost.get(each.key) for each in (CONFIG, WEB)} == {CONFIG, WEB}
    assert list(lost.pods()) == [(WEB.stamp.uid, b'{"stopped":1}')]
    assert [lost.meta(name) for name in ("hold", "other", META_KNOWN_MS)] == ["harvest", None, "17"]
    assert not lost.meta(META_EPOCH), "the cloud compares all of it"
    note = DamageNote.read(lost.meta(META_DAMAGE) or "")
    assert note == DamageNote(damage=GONE, copied=copy.sentence), "to be told until somebody has"


async def test_a_store_that_holds_something_or_met_a_cloud_that_says_nothing_is_held_is_left_alone(
    gate: Gateway,
) -> None:
    await gate.put(WEB)
    await gate.copy.write()
    assert await restore(gate.path, "gate-1", gate.store) is None
    emptied = gate.empty()
    await emptied.apply(EdgeBatch(meta=((META_EPOCH, "e1"),)))
    assert await restore(gate.path, "gate-1", emptied) is None


async def test_a_store_that_dropped_what_it_could_not_read_gets_what_it_lacks_and_nothing_else(gate: Gateway) -> None:
    await gate.put(WEB, CONFIG, pods=((WEB.stamp.uid, b'{"stopped":1}'),))
    await gate.copy.write()
    newer = held("settings", 9, resource="configmaps")
    await gate.store.apply(EdgeBatch(puts=(newer,), deletes=(WEB.key,), pods=((WEB.stamp.uid, None),)))
    assert await restore(gate.path, "gate-1", gate.store) is None, "it was deleted"
    await gate.store.apply(EdgeBatch(meta=((META_DROPPED, "yes"),)))
    copy = await restore(gate.path, "gate-1", gate.store)
    assert copy is not None and copy.batch.puts == (WEB,)
    assert (gate.store.get(CONFIG.key), gate.store.get(WEB.key)) == (newer, WEB)
    assert list(gate.store.pods()) == [(WEB.stamp.uid, b'{"stopped":1}')]
    assert gate.store.meta(META_EPOCH) == "e1"
    assert await restore(gate.path, "gate-1", gate.store) is None, "once"


async def test_a_store_that_lost_everything_does_not_replace_the_copy(gate: Gateway) -> None:
    await gate.put(WEB)
    await gate.copy.write()
    await HeldCopy(gate.path, "gate-1", gate.empty(), gate.clock, BESIDE).write()
    assert gate.copied() == {WEB.key}


async def test_pods_and_decisions_are_copied_soon_and_what_else_changes_seldom(gate: Gateway) -> None:
    async with gate.copying():
        await gate.put(WEB)
        await gate.until_copied("web")
        await gate.put(CONFIG)
        await gate.store.apply(EdgeBatch(pods=((WEB.stamp.uid, b'{"runs":1}'),)))
        assert gate.copied() == {WEB.key}
        await gate.store.apply(EdgeBatch(pods=((WEB.stamp.uid, b'{"stopped":1}'),)))
        await gate.until_copied("web", "settings")
        await gate.store.apply(EdgeBatch(deletes=(WEB.key,)))
        await gate.until_copied("settings")


async def test_a_decision_that_is_taken_back_while_it_is_written_is_not_restored(gate: Gateway) -> None:
    async with gate.copying():
        for turn in range(20):
            await gate.put(WEB, pods=((WEB.stamp.uid, b'{"stopped":%d}' % turn),))
            for _ in range(turn):
                await asyncio.sleep(0.0005)
            await gate.store.apply(EdgeBatch(pods=((WEB.stamp.uid, b'{"runs":1}'),)))
            async with asyncio.timeout(EVENTUALLY_S):
                while (found := read(gate.path, "gate-1")) is None or found.batch.pods:
                    await asyncio.sleep(0.005)


async def test_what_changes_seldom_is_copied_in_the_end(gate: Gateway) -> None:
    async with gate.copying(seldom_s=0.01):
        await gate.put(CONFIG)
        await gate.until_copied("settings")


async def test_nothing_new_is_not_written_again(gate: Gateway) -> None:
    await gate.put(WEB)
    await gate.copy.write()
    before = gate.path.stat().st_ino
    await gate.store.apply(EdgeBatch(meta=((META_KNOWN_MS, "18"),)))
    await gate.copy.write()
    assert gate.path.stat().st_ino == before


async def test_of_a_damaged_copy_the_lines_count_that_are_as_they_were_written(gate: Gateway) -> None:
    objects = [replace(held(f"c{number:03}"), body=b'{"text":"%0200d"}' % (number * 7919)) for number in range(400)]
    await gate.put(WEB, *objects)
    await gate.copy.write()
    torn = bytearray(gate.path.read_bytes())
    for place in range(len(torn) // 2, len(torn) // 2 + 64):
        torn[place] ^= 0xA5
    gate.path.write_bytes(torn)
    copy = read(gate.path, "gate-1")
    assert copy is not None and not copy.whole
    wanted = {each.key: each for each in (WEB, *objects)}
    assert WEB in copy.batch.puts and 1 < len(copy.batch.puts) < 401
    assert all(wanted[each.key] == each for each in copy.batch.puts)


async def test_a_record_whose_pod_is_lost_with_the_copys_end_is_not_restored(gate: Gateway) -> None:
    """It would say that the pod has gone, and what runs of it would be ended."""
    pods = [held(f"pod{number:03}", resource="pods") for number in range(200)]
    records = tuple((each.stamp.uid, b'{"stopped":"%0100d"}' % number) for number, each in enumerate(pods))
    await gate.put(*pods, pods=records)
    await gate.copy.write()
    whole = gate.path.read_bytes()
    gate.path.write_bytes(whole[: len(whole) * 3 // 4])
    copy = read(gate.path, "gate-1")
    assert copy is not None and not copy.whole and copy.batch.puts
    assert 0 < len(copy.batch.pods) < 200
    assert {uid for uid, _ in copy.batch.pods} <= {each.stamp.uid for each in copy.batch.puts}


@pytest.mark.parametrize("content", [b"", b"no gzip", zlib.compress(b"{}\n", wbits=31)])
async def test_what_is_no_copy_is_of_no_use_and_harms_nobody(gate: Gateway, content: bytes) -> None:
    gate.path.write_bytes(content)
    assert await restore(gate.path, "gate-1", gate.store) is None


async def test_the_copy_of_another_node_is_of_no_use(gate: Gateway) -> None:
    await gate.put(WEB)
    await gate.copy.write()
    assert await restore(gate.path, "gate-2", gate.empty()) is None
    forget(gate.path.parent)
    forget(gate.path.parent)
    assert await restore(gate.path, "gate-1", gate.empty()) is None


async def test_a_copy_that_cannot_be_written_is_said_once(gate: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    await gate.put(WEB)
    nowhere = HeldCopy(gate.path / "no" / FILE, "gate-1", gate.store, gate.clock, BESIDE)
    await nowhere.write()
    await nowhere.write()
    assert caplog.text.count("is not copied") == 1
