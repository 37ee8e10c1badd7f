"""A peer that is there and says nothing: both sides notice within two heartbeats, and find each other again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.real_fleet import CORE, RealFleet, pod, processes_of, real_fleet, until

pytestmark = pytest.mark.system

HEARTBEAT_S = 2.0
SLACK_S = 1.5
"""For a busy machine."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    with real_fleet(tmp_path, "--heartbeat-s", str(HEARTBEAT_S), "--node-grace-s", "1") as fleet:
        until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        fleet.create(f"{CORE}/pods", pod("web"))
        fleet.edge.start()
        until(lambda: fleet.run_of("web"), "the pod to run")
        until(lambda: fleet.edge.link_state() == "connected", "the gateway to be connected")
        yield fleet


def test_a_gateway_notices_a_stopped_cloud_within_two_heartbeats_and_comes_back(fleet: RealFleet) -> None:
    ran = processes_of(fleet)
    assert fleet.cloud.process is not None
    fleet.cloud.process.send_signal(signal.SIGSTOP)
    took = until(lambda: fleet.edge.link_state() != "connected", "the gateway to notice")
    assert took <= 2 * HEARTBEAT_S + SLACK_S
    assert "nothing heard for two heartbeats" in fleet.edge.log
    assert set(fleet.held("pods")) == {"web"}, "the local API answers meanwhile"
    fleet.cloud.process.send_signal(signal.SIGCONT)
    until(lambda: fleet.edge.link_state() == "connected", "the gateway to be back")
    until(lambda: fleet.ready() == "True", "the node to be ready")
    assert processes_of(fleet) == ran


def test_a_cloud_notices_a_stopped_gateway_within_two_heartbeats_and_takes_it_back(fleet: RealFleet) -> None:
    run, ran = fleet.run_of("web"), processes_of(fleet)
    until(lambda: fleet.ready() == "True", "the node to be ready")
    assert fleet.edge.process is not None
    fleet.edge.process.send_signal(signal.SIGSTOP)
    took = until(lambda: fleet.ready() == "Unknown", "the cloud to notice")
    assert took <= 2 * HEARTBEAT_S + SLACK_S, "the grace has been running while the session was silent"
    assert fleet.run_of("web") == run, "silence kills nothing"
    fleet.edge.process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    until(lambda: fleet.ready() == "True", "the node to be ready again")
    until(lambda: fleet.edge.link_state() == "connected", "the gateway to be connected")
    assert time.monotonic() - began < 15
    assert (fleet.run_of("web"), processes_of(fleet)) == (run, ran)
