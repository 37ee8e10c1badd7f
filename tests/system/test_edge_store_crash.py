"""SIGKILL in the middle of writes: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgecore.store.port import OutboxBudgets
from edgecore.store.sqlite import StoreSettings, open_store
from skerry.clocks import SystemClock, SystemIds

WRITER = """
import sys
from pathlib import Path
from edgecore.store.port import EdgeBatch, Held, NewReport, OutboxBudgets
from edgecore.store.sqlite import StoreSettings, open_store
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
