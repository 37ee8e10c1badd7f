"""How it is written whose the machine's network is."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

from edgecore.network.claim import Claim, owner_in, owner_of
from edgecore.network.cni import configuration
from edgecore.network.cni import owner_in as owner_in_file


def test_a_data_directory_is_one_whichever_way_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert owner_of(tmp_path / "link") == owner_of(tmp_path / "x" / ".." / "data") == str(tmp_path / "data")
    long = owner_of(tmp_path / ("x" * 250))
    assert len(long) == 64 and long != owner_of(tmp_path / ("x" * 251))
    assert len(owner_of(tmp_path / "a\nb")) == 64


def test_only_our_own_mark_is_one() -> None:
    assert owner_in(json.dumps([{"ifname": "lo", "ifalias": "skerry /var/lib/skerry"}])) == "/var/lib/skerry"
    assert owner_in(json.dumps([{"ifname": "lo", "ifalias": "loopback"}])) == ""
    assert owner_in(json.dumps([{"ifname": "lo"}])) == owner_in("") == ""


def test_the_runtimes_file_says_whose_it_is_and_old_or_broken_ones_do_not() -> None:
    assert owner_in_file(configuration(["10.1.0.0/24"], [], owner="/data")) == "/data"
    assert owner_in_file("{}") == owner_in_file("{") == ""


def test_a_network_whose_owner_cannot_be_written_is_held_all_the_same(tmp_path: Path) -> None:
    claim = Claim(tmp_path)
    limits, heeded = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # as of a disk that is full
    try:
        assert claim.hold() == claim.hold() == ""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, heeded)
        claim.release()
