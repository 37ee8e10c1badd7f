"""A disk that is really full: the store says so, keeps what it had, and goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecore.store.port import EdgeBatch, Held, NewReport, OutboxBudgets
from edgecore.store.sqlite import StoreSettings, open_store
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import StorageFullError
from skerry.objects.meta import Key, Revision, Stamp

pytestmark = pytest.mark.system


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place]).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_said_and_nothing_is_lost(small_disk: Path) -> None:
    settings = StoreSettings(directory=small_disk, boot_id="b", budgets=OutboxBudgets())
    store = open_store(settings, SystemClock(), SystemIds()).store
    done = 0
    with pytest.raises(StorageFullError, match="no room left on the disk"):
        while done < 9000:
            name = f"c{done}"
            held = Held(key=Key("configmaps", "d", name), stamp=Stamp(name, Revision(1)), body=b"x" * 2000)
            report = NewReport(report_class="event", kind="event", key="", body=b"y" * 1000)
            store.apply(EdgeBatch(puts=(held,), reports=(report,)))
            done += 1
    assert 0 < done < 9000
    assert store.get(Key("configmaps", "d", f"c{done}")) is None
    assert len(list(store.stamps())) == store.outbox_head() == store.stats().outbox_reports == done
    store.close()
    again = open_store(settings, SystemClock(), SystemIds())
    assert again.set_aside is None
    assert len(list(again.store.stamps())) == done
    again.store.prune_outbox(through=done)  # the cloud's receipt: room again
    assert again.store.apply(EdgeBatch(meta=(("epoch", "e"),))) == done
    again.store.close()
