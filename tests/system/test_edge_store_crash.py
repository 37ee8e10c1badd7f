"""SIGKILL in the middle of writes: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgecore.store.opening import open_store
from edgecore.store.packing import TOGETHER
from edgecore.store.port import OutboxBudgets
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.blocks import decode_block

KILLS = int(os.environ.get("SKERRY_KILLS", "12"))
"""`make kills` makes it a hundred."""

WRITER = """
import sys
from pathlib import Path
from edgecore.store.port import EdgeBatch, Held, NewReport, OutboxBudgets
from edgecore.store.opening import open_store
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.meta import Key, Revision, Stamp
settings = StoreSettings(directory=Path(sys.argv[1]), boot_id="b", budgets=OutboxBudgets())
store = open_store(settings, SystemClock(), SystemIds()).store
while True:
    name = str(store.outbox_head() + 1)
    held = Held(key=Key("configmaps", "d", name), stamp=Stamp(name, Revision(1)), body=b"[]" + b" " * 998)
    report = NewReport(report_class="telemetry", kind="telemetry", key="s", body=name.encode())
    print(store.apply(EdgeBatch(puts=(held,), reports=(report,))), flush=True)
"""


READER = """
import sys
from pathlib import Path
from edgecore.store.port import EdgeBatch, NewReading, OutboxBudgets
from edgecore.store.opening import open_store
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.blocks import Reading
from skerry.objects.twins import DeviceName
clock = SystemClock()
settings = StoreSettings(directory=Path(sys.argv[1]), boot_id="b", budgets=OutboxBudgets())
store = open_store(settings, clock, SystemIds()).store
seq = int(sys.argv[2])
device = DeviceName(namespace="default", name="boiler", uid="u")
while True:
    now_ms = round(clock.monotonic_s() * 1000)
    seqs = (seq + 1, seq + 2, seq + 3)
    some = [Reading(device, "t", n, f"{n / 8}", "FLOAT", "good", "", now_ms, None, 0) for n in seqs]
    store.apply(EdgeBatch(readings=tuple(NewReading(reading=each, taken_ms=now_ms) for each in some)))
    seq += 3
    print(seq, flush=True)
"""


@pytest.mark.system
@pytest.mark.timeout(600)
def test_no_acknowledged_reading_is_lost_or_kept_twice_where_blocks_grow_and_the_agent_is_killed(
    tmp_path: Path,
) -> None:
    chance = random.Random(2)
    acknowledged = rows_before = 0
    settings = StoreSettings(directory=tmp_path, boot_id="b", budgets=OutboxBudgets())
    for _ in range(KILLS):
        begun = acknowledged
        writer = subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path), str(begun)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 80)):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        opened = open_store(settings, SystemClock(), SystemIds())
        assert opened.set_aside is None
        rows = opened.store.outbox(after=0, limit=10**6)
        found = [reading for row in rows for reading in decode_block(row.body)]
        assert [reading.seq for reading in found] == list(range(1, len(found) + 1))
        assert [reading.value for reading in found] == [f"{reading.seq / 8}" for reading in found]
        assert len(found) in (acknowledged, acknowledged + 3), "what was being written is there whole, or not at all"
        assert opened.store.stats().outbox_reports == len(found)
        commits = (len(found) - begun) // 3
        assert commits < TOGETHER or len(rows) - rows_before < commits, "they grew"
        rows_before = len(rows)
        acknowledged = len(found)
        opened.store.close()
    opened = open_store(settings, SystemClock(), SystemIds())
    assert opened.store.damage() == ""
    opened.store.close()


@pytest.mark.system
def test_acknowledged_writes_survive_sigkill_and_none_is_half_there(tmp_path: Path) -> None:
    chance = random.Random(1)
    acknowledged = 0
    for _ in range(12):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        acknowledged = int(rest[-1]) if rest and writer.wait() else acknowledged
        writer.stdout.close()
        writer.wait()
        settings = StoreSettings(directory=tmp_path, boot_id="b", budgets=OutboxBudgets())
        opened = open_store(settings, SystemClock(), SystemIds())
        assert opened.set_aside is None
        store = opened.store
        head = store.outbox_head()
        assert head in (acknowledged, acknowledged + 1)
        assert [int(item.body) for item in store.outbox(after=0, limit=10**6)] == list(range(1, head + 1))
        assert len(list(store.stamps())) == store.stats().outbox_reports == head
        assert store.damage() == ""
        store.close()
