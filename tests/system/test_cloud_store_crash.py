"""The cloud's store under SIGKILL: what was acknowledged is there, whole, and nothing else is half there."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudcore.store.sql import open_sql_store
from skerry.clocks import SeededIds
from skerry.objects.meta import Key, Revision

WRITER = """
import asyncio, sys
from pathlib import Path
from cloudcore.store.port import Advance, Batch, Put, Record
from cloudcore.store.sql import open_sql_store
from skerry.clocks import SystemIds
from skerry.objects.meta import Key
from skerry.objects.spans import Span

async def main() -> None:
    store = await open_sql_store(Path(sys.argv[1]), ids=SystemIds())
    life, turn = sys.argv[2], 0

    async def write(worker: int) -> None:
        node, seq = f"node-{life}-{worker}", 0
        await store.enter(node, "i")
        while True:
            seq += 1
            puts = tuple(
                Put(key=Key("pods", node, f"p{seq}-{part}"), uid=part, body=b'{"metadata":{}}', expected=None)
                for part in "ab"
            )
            advance = Advance(node=node, incarnation="i", session=1, covered=((1, Span(seq, seq)),))
            record = Record(series=node, at_ms=seq, body=b"{}")
            revisions = await store.commit(Batch(writes=puts, advance=advance, records=(record,)))
            print(node, seq, revisions[-1], flush=True)

    await asyncio.gather(*(write(worker) for worker in range(8)))

asyncio.run(main())
"""


def killed_writer(path: Path, life: int, after_lines: int) -> dict[str, tuple[int, int]]:
    """Run a writer until it has acknowledged so many commits, kill it; (sequence, revision) acknowledged by node."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(life)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    acknowledged: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(process.stdout, start=1):
        if not line.endswith("\n"):
            break
        node, seq, revision = line.split()
        acknowledged[node] = (int(seq), int(revision))
        if number == after_lines:
            process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    return acknowledged


@pytest.mark.system
async def test_what_was_acknowledged_survives_a_kill_and_nothing_is_half_there(tmp_path: Path) -> None:
    path, chance = tmp_path / "store.db", random.Random(1)
    for life in range(5):
        acknowledged = await asyncio.to_thread(killed_writer, path, life, chance.randrange(1, 2000))
        store = await open_sql_store(path, ids=SeededIds(life))
        newest = await store.revision()
        for node, (seq, revision) in acknowledged.items():
            assert revision <= newest
            position = await store.position(node)
            assert position is not None
            told = position.received.lanes[1].unbroken
            assert told >= seq
            # Whatever took effect did so whole: two objects and a record for each step of the position.
            page = await store.list("pods", namespace=node)
            assert len(page.items) == 2 * told
            assert len(await store.records(node, limit=100_000)) == told
            assert await store.get(Key("pods", node, f"p{seq}-b")) is not None
        seen = 0
        while changes := await store.changes(after=Revision(seen)):
            assert [change.revision for change in changes] == list(range(seen + 1, seen + len(changes) + 1))
            seen = changes[-1].revision
        assert seen == newest
        await store.close()
