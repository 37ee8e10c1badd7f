"""A disk that is really full: the store says so, keeps what it had, and goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
PROGRAM = """
import subprocess, sys
from pathlib import Path
from edgecore.store.port import EdgeBatch, Held, NewReport, OutboxBudgets
from edgecore.store.opening import open_store
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import StorageFullError
from skerry.objects.meta import Key, Revision, Stamp
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", sys.argv[1]], check=True)
settings = StoreSettings(directory=Path(sys.argv[1]), boot_id="b", budgets=OutboxBudgets())
store = open_store(settings, SystemClock(), SystemIds()).store
done = 0
try:
    while done < 9000:
        name = f"c{done}"
        held = Held(key=Key("configmaps", "d", name), stamp=Stamp(name, Revision(1)), body=b"[]" + b" " * 1998)
        report = NewReport(report_class="event", kind="event", key="", body=b"y" * 1000)
        store.apply(EdgeBatch(puts=(held,), reports=(report,)))
        done += 1
except StorageFullError as error:
    print(error)
assert 0 < done < 9000
assert store.get(Key("configmaps", "d", f"c{done}")) is None
assert len(list(store.stamps())) == store.outbox_head() == store.stats().outbox_reports == done
store.close()
again = open_store(settings, SystemClock(), SystemIds())
assert again.set_aside is None
assert len(list(again.store.stamps())) == done
again.store.prune_outbox(through=done)  # the cloud's receipt: room again
assert again.store.stats().outbox_reports == 0
assert again.store.apply(EdgeBatch(meta=(("epoch", "e"),))) == done
again.store.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a small disk")
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    # In a mount namespace of its own: nothing stays mounted, however the test ends.
    run = ["unshare", "-m", sys.executable, "-c", PROGRAM, str(tmp_path)]
    told = subprocess.run(run, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert told.returncode == 0, told.stderr
    assert "no room left on the disk" in told.stdout
