"""The containerd that other tests stand on: it runs what it was given, and leaves nothing of it behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.system.containerd import BUSYBOX_IMAGE, ImageRecipe, containerd_server, until

pytestmark = pytest.mark.system


def test_a_container_runs_on_after_containerd_was_killed_and_all_is_gone_in_the_end() -> None:
    with containerd_server() as containerd:
        containerd.load(ImageRecipe(name="skerry.test/odd:2", command=("sleep", "1000"), files={"etc/odd": b"1"}))
        containerd.ctr("run", "--detach", f"{BUSYBOX_IMAGE}", "one", "sleep", "1000")
        containerd.ctr("run", "--detach", "skerry.test/odd:2", "two")
        pids = containerd.pids()
        assert set(pids) == {"one", "two"}
        containerd.kill()
        containerd.start()
        assert containerd.pids() == pids
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.values()), "containers ended")
    assert not containerd.folder.exists()
    links = subprocess.run(["ip", "link"], capture_output=True, text=True).stdout
    assert containerd.bridge not in links
    assert str(containerd.folder) not in Path("/proc/mounts").read_text()
