"""Logs of real containers over rotations: read by the cloud's API whole, followed without a gap."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.system.containerd import Containerd, containerd_server, until
from tests.system.real_fleet import CORE, RealFleet, real_fleet
from tests.system.test_containerd_pods import delete, log_of, pod, runs

pytestmark = pytest.mark.system
BURST = 20_000
BURSTS = 4
TALKS = f"""
n=0
for burst in $(seq {BURSTS}); do
  for i in $(seq {BURST}); do n=$((n+1)); echo "line-$n of a log that is to be rotated before it ends"; done
  sleep 12
done
echo done; sleep 1000"""


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.fixture(scope="module")
def fleet(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Generator[RealFleet]:
    with real_fleet(tmp_path_factory.mktemp("fleet")) as made:
        made.edge.environ = {
            "SKERRY_RUNTIME": "containerd",
            "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
            "SKERRY_LOG_SIZE_MIB": "1",
            "SKERRY_LOG_FILES": "9",
        }
        made.edge.start()
        until(lambda: made.ready() == "True", "the node is ready", lambda: made.edge.log)
        yield made


def numbers(text: str) -> list[int]:
    return [int(line.split(" ")[0].removeprefix("line-")) for line in text.splitlines() if line.startswith("line-")]


def files_of(fleet: RealFleet) -> list[str]:
    places: list[Path] = [*fleet.edge.data.glob("logs/default_talker_*/app/*")]
    return sorted(place.name for place in places)


def test_a_log_is_rotated_and_is_one_for_who_reads_and_who_follows(fleet: RealFleet, containerd: Containerd) -> None:
    fleet.create(f"{CORE}/pods", pod("talker", TALKS))
    runs(fleet, "talker")
    heard: list[bytes] = []

    def follow() -> None:
        heard.extend(fleet.api().chunks(f"{CORE}/pods/talker/log?follow=true"))

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    said = [*range(1, BURST * BURSTS + 1)]
    until(lambda: log_of(fleet, "talker").endswith("done\n"), "it has said all", lambda: fleet.edge.log, seconds=150)
    until(lambda: any(name.endswith(".gz") for name in files_of(fleet)), "older ones are compressed", seconds=30)
    rotated = [name for name in files_of(fleet) if name != "0.log"]
    assert len(rotated) >= 2, rotated
    assert [name for name in rotated if not name.endswith(".gz")] == rotated[-1:]
    assert numbers(log_of(fleet, "talker")) == said
    tail = b"".join(fleet.api().chunks(f"{CORE}/pods/talker/log?tailLines={BURST}")).decode()
    assert numbers(tail) == said[1 - BURST :]
    until(lambda: b"".join(heard[-2:]).endswith(b"done\n"), "the follower heard the end")
    assert numbers(b"".join(heard).decode()) == said
    delete(fleet, "talker")
    follower.join(30)
    assert not follower.is_alive()
    until(lambda: not files_of(fleet), "its logs are gone")
