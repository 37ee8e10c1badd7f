"""A real cloud and a real gateway over QUIC: a session, logs, silence, and what happens where UDP does not pass."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.objects.json import str_at
from tests.system.real_fleet import CORE, RealFleet, config_map, pod, real_fleet, until

pytestmark = pytest.mark.system

HEARTBEAT_S = 2.0
FLAGS = ("--heartbeat-s", str(HEARTBEAT_S), "--node-grace-s", "1")
SLACK_S = 2.5
"""For a busy machine."""


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealFleet]:
    monkeypatch.setenv("SKERRY_TRANSPORT", "auto")
    with real_fleet(tmp_path, *FLAGS) as fleet:
        until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        yield fleet


def connected(fleet: RealFleet, transport: str) -> None:
    until(lambda: fleet.edge.link_state() == "connected", "the gateway to be connected")
    assert transport_of(fleet) == transport


def transport_of(fleet: RealFleet) -> str:
    return str_at(fleet.edge.api.request("GET", "/skerry/link").obj, "transport")


def maps_of(fleet: RealFleet) -> str:
    """Files that the agent's process has mapped, the libraries it has loaded among them."""
    assert fleet.edge.process is not None
    return Path(f"/proc/{fleet.edge.process.pid}/maps").read_text()


def test_a_pod_its_config_and_its_logs_go_over_quic(fleet: RealFleet) -> None:
    fleet.edge.start()
    connected(fleet, "quic")
    assert "aioquic" in maps_of(fleet)
    fleet.create(f"{CORE}/configmaps", config_map("large", "x" * 500_000))
    chatty = pod("web", "large")
    chatty["spec"]["containers"][0]["command"] = ["sh", "-c", "seq 1 20000; while :; do sleep 1; done"]  # type: ignore[index,call-overload]
    fleet.create(f"{CORE}/pods", chatty)
    until(lambda: fleet.run_of("web"), "the pod to run")

    def log() -> str:
        return fleet.cloud.skerry("logs", "web")

    until(lambda: log().split()[-1:] == ["20000"], "the whole log")
    assert log().split() == [str(number) for number in range(1, 20_001)]


def test_silence_is_noticed_by_both_within_two_heartbeats(fleet: RealFleet) -> None:
    fleet.edge.start()
    connected(fleet, "quic")
    until(lambda: fleet.ready() == "True", "the node to be ready")
    assert fleet.cloud.process is not None
    assert fleet.edge.process is not None
    fleet.edge.process.send_signal(signal.SIGSTOP)
    took = until(lambda: fleet.ready() == "Unknown", "the cloud to notice")
    assert took <= 2 * HEARTBEAT_S + SLACK_S
    fleet.edge.process.send_signal(signal.SIGCONT)
    until(lambda: fleet.ready() == "True", "the node to be ready again")
    fleet.cloud.process.send_signal(signal.SIGSTOP)
    took = until(lambda: fleet.edge.link_state() != "connected", "the gateway to notice")
    assert took <= 2 * HEARTBEAT_S + SLACK_S
    fleet.cloud.process.send_signal(signal.SIGCONT)
    until(lambda: fleet.edge.link_state() == "connected", "the gateway to be back", deadline_s=60)


def test_a_cloud_that_is_killed_and_started_anew_is_found_again(fleet: RealFleet) -> None:
    fleet.edge.start()
    connected(fleet, "quic")
    fleet.cloud.stop(signal.SIGKILL)
    fleet.start_cloud()
    until(lambda: "link down" in fleet.edge.log, "the gateway to notice")
    until(lambda: fleet.edge.link_state() == "connected", "the gateway to be back", deadline_s=60)
    fleet.create(f"{CORE}/pods", pod("after"))
    until(lambda: fleet.run_of("after"), "the pod to run", deadline_s=60)


def test_where_udp_does_not_pass_websocket_carries_on_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKERRY_TRANSPORT", "auto")
    with real_fleet(tmp_path, *FLAGS, "--quic-port", "off") as fleet:
        assert fleet.cloud.endpoints["quic_port"] is None
        fleet.edge.start()
        connected(fleet, "websocket")
        assert "aioquic" not in maps_of(fleet), "that nobody answers is asked without it"
        fleet.edge.stop()
        fleet.edge.start()
        connected(fleet, "websocket")


def test_a_gateway_that_knew_quic_does_not_load_it_while_its_cloud_is_away(fleet: RealFleet) -> None:
    fleet.edge.start()
    connected(fleet, "quic")
    fleet.edge.stop()
    fleet.cloud.stop(signal.SIGKILL)
    fleet.edge.start()
    until(lambda: fleet.edge.log.count("link down") >= 1, "the gateway to have dialled in vain")
    assert "aioquic" not in maps_of(fleet)
    fleet.start_cloud()
    connected(fleet, "quic")


def test_an_agent_that_is_told_to_use_websocket_never_loads_quic(
    fleet: RealFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fleet.cloud.endpoints["quic_port"] == fleet.cloud.endpoints["hub_port"]
    monkeypatch.setenv("SKERRY_TRANSPORT", "websocket")
    fleet.edge.start()
    connected(fleet, "websocket")
    assert "aioquic" not in maps_of(fleet)
