"""How many processes a container has, by tables of both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecore.pods.runtimes.cri.pids import pids_place, read_pids

V1 = "12:memory:/kubepods/a\n8:pids,misc:/kubepods/a\n1:name=systemd:/kubepods/a\n0::/x\n"
V2 = "0::/kubepods.slice/a.scope\n"


@pytest.mark.parametrize(("table", "place"), [(V1, "pids/kubepods/a"), (V2, "kubepods.slice/a.scope"), ("", "")])
def test_the_cgroup_of_a_process_is_found(table: str, place: str) -> None:
    assert pids_place(table) == place


def test_its_count_is_read_and_is_0_where_there_is_none(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroups"
    (proc / "7").mkdir(parents=True)
    (proc / "7" / "cgroup").write_text(V2)
    assert read_pids(7, proc, cgroups) == 0
    (cgroups / "kubepods.slice" / "a.scope").mkdir(parents=True)
    (cgroups / "kubepods.slice" / "a.scope" / "pids.current").write_text("12\n")
    assert read_pids(7, proc, cgroups) == 12
    assert read_pids(8, proc, cgroups) == 0
    assert read_pids(0, proc, cgroups) == 0
