"""The authority is changed under a running cloud and gateway, with the commands that an operator uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgecore.link.membership import load_membership
from tests.system.real_fleet import NODE, RealFleet, real_fleet, until

pytestmark = pytest.mark.system


def ca(fleet: RealFleet, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloudcore.main", "ca", words[0], "--data", str(fleet.cloud.data), *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_running_gateway_follows_a_change_of_authority_and_the_old_one_is_retired(tmp_path: Path):
    with real_fleet(tmp_path) as fleet:
        fleet.edge.start()
        old = load_membership(fleet.edge.data).server_name.removeprefix("ca-").partition(".")[0]
        listed = ca(fleet, "list").stdout
        assert [line.split()[:2] for line in listed.splitlines()[1:]] == [[old, "signs"]]
        assert ca(fleet, "rotate").returncode == 0
        fleet.cloud.stop()
        refused = ca(fleet, "retire", old)
        assert refused.returncode == 1
        assert "the cloud can't be asked" in refused.stderr
        fleet.start_cloud()
        before = f"ca-{old}.hub.skerry.internal"
        until(lambda: load_membership(fleet.edge.data).server_name != before, "a new certificate", deadline_s=90)
        lines = [line.split() for line in ca(fleet, "list").stdout.splitlines()[1:]]
        assert [(line[0] == old, line[1], line[-1]) for line in lines] == [
            (False, "signs", "1"),
            (True, "former", "0"),
        ]
        assert ca(fleet, "retire", old).returncode == 0
        fleet.cloud.stop()
        fleet.start_cloud()
        until(lambda: fleet.edge.link_state() == "connected", "the link, without the old one", deadline_s=90)
        gone = ca(fleet, "retire", old)
        assert gone.returncode == 1
        assert "no former authority" in gone.stderr


def test_an_authority_that_gateways_need_is_not_retired(tmp_path: Path):
    with real_fleet(tmp_path) as fleet:
        old = load_membership(fleet.edge.data).server_name.removeprefix("ca-").partition(".")[0]
        assert ca(fleet, "rotate").returncode == 0
        refused = ca(fleet, "retire", old)
        assert (refused.returncode, NODE in refused.stderr) == (1, True), refused.stderr
        assert ca(fleet, "retire", old, "--force").returncode == 0


def test_an_authority_is_not_retired_while_a_node_does_not_say_who_signed_for_it(tmp_path: Path):
    with real_fleet(tmp_path) as fleet:
        old = load_membership(fleet.edge.data).server_name.removeprefix("ca-").partition(".")[0]
        assert ca(fleet, "rotate").returncode == 0
        fleet.api().request("DELETE", f"/api/v1/nodes/{NODE}")
        fleet.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        assert f"not known until their gateways connect: {NODE}" in ca(fleet, "list").stdout
        refused = ca(fleet, "retire", old)
        assert (refused.returncode, f"is not known: {NODE};" in refused.stderr) == (1, True), refused.stderr
        fleet.edge.start()
        until(lambda: fleet.edge.link_state() == "connected", "the link")
        refused = ca(fleet, "retire", old)
        assert f"still have a certificate by {old}: {NODE};" in refused.stderr
        fleet.cloud.stop()
        fleet.start_cloud()
        until(lambda: ca(fleet, "retire", old).returncode == 0, "a certificate by the new authority", deadline_s=90)


def test_who_is_told_that_the_cloud_stops_finds_its_door_closed(tmp_path: Path):
    with real_fleet(tmp_path) as fleet:
        fleet.edge.start()
        until(lambda: fleet.edge.link_state() == "connected", "the link")
        fleet.cloud.stop()
        _, stopping, after = fleet.cloud.log.rpartition("cloudcore stopping")
        assert "node session ended node=eu-1" in after
        assert stopping
        assert "node session opens" not in after
        # By the frame, or by the close of the link alone where that comes while the session begins.
        until(lambda: "the cloud is stopping" in fleet.edge.log, "the end of the session")
        fleet.start_cloud()
        until(lambda: fleet.edge.link_state() == "connected", "the link again", deadline_s=60)
