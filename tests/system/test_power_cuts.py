"""A cloud and a gateway under SIGKILL, stops and cuts while somebody writes and a device speaks: nothing is lost.

What is done to them follows from one seed (`SKERRY_CUTS_SEED`); when exactly, from the machine.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from skerry.errors import SkerryError
from skerry.objects.json import int_at, maps_at, str_at
from skerry.objects.meta import name_of
from tests.system.real_fleet import (
    CORE,
    DEVICES,
    RealFleet,
    boiler,
    config_map,
    pod,
    processes_of,
    real_fleet,
    set_point,
    until,
)

pytestmark = [pytest.mark.system, pytest.mark.long]

FAULTS_S = 40.0
CONFIGS = ("a", "b", "c", "d")
PODS_MAX = 4
"""Beside the one that is there from the beginning."""


@dataclass
class Writer:
    """Somebody who changes things all the time, and remembers what was answered."""

    fleet: RealFleet
    chance: random.Random
    stop: threading.Event = field(default_factory=threading.Event)
    asked: dict[str, int] = field(default_factory=dict)
    """The newest number that a ConfigMap was asked to have."""
    written: dict[str, int] = field(default_factory=dict)
    """The newest that was acknowledged."""
    made: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Pods of which no answer tells what became of them."""
    refused: int = 0
    _number: int = 0

    def run(self) -> None:
        while not self.stop.wait(0.05):
            self._number += 1
            name = f"p-{self._number}"
            alive = sorted(self.made - self.deleted - self.unknown)
            try:
                match self.chance.randrange(8):
                    case 0 if len(alive) < PODS_MAX:
                        self.unknown.add(name)
                        self.fleet.create(f"{CORE}/pods", pod(name, "a"))
                        self.made.add(name)
                        self.unknown.discard(name)
                    case 1 if alive:
                        name = self.chance.choice(alive)
                        self.unknown.add(name)
                        self.fleet.api().request("DELETE", f"{CORE}/pods/{name}")
                        self.deleted.add(name)
                        self.unknown.discard(name)
                    case _:
                        config = self.chance.choice(CONFIGS)
                        self.asked[config] = self._number
                        self.fleet.patch(f"{CORE}/configmaps/{config}", {"data": {"text": str(self._number)}})
                        self.written[config] = self._number
            except (SkerryError, OSError):
                self.refused += 1  # not acknowledged: it may have been done, or not


@dataclass
class Faults:
    """What happens to the two processes."""

    fleet: RealFleet
    chance: random.Random
    done: list[str] = field(default_factory=list)

    def strike(self) -> None:
        fleet, chance = self.fleet, self.chance
        kind = chance.choice(("cloud", "edge", "both", "stop cloud", "stop edge", "cut"))
        self.done.append(kind)
        if kind in ("cloud", "both"):
            fleet.cloud.stop(signal.SIGKILL)
        if kind in ("edge", "both"):
            fleet.edge.stop(signal.SIGKILL)
        match kind:
            case "cloud" | "edge" | "both":
                time.sleep(chance.uniform(0, 1.5))
                if kind != "cloud":
                    fleet.edge.start()
                if kind != "edge":
                    fleet.start_cloud()
            case "stop cloud":
                self._stop(fleet.cloud.process)
            case "stop edge":
                self._stop(fleet.edge.process)
            case _:
                fleet.edge.api.request("POST", "/skerry/link/cut", body={})
                time.sleep(chance.uniform(0.2, 3))
                fleet.edge.api.request("POST", "/skerry/link/heal", body={})
        time.sleep(chance.uniform(0.2, 2))

    def _stop(self, process: subprocess.Popen[bytes] | None) -> None:
        """A link that is open and dead."""
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.3, 4))
        process.send_signal(signal.SIGCONT)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    with real_fleet(tmp_path, "--heartbeat-s", "1", "--node-grace-s", "1") as fleet:
        until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        for name in CONFIGS:
            fleet.create(f"{CORE}/configmaps", config_map(name, "0"))
        fleet.create(f"{CORE}/pods", pod("base", *CONFIGS))
        model, device = boiler([*range(1, 50)])
        fleet.create(f"{DEVICES}/devicemodels", model)
        fleet.create(f"{DEVICES}/devices", device)
        fleet.edge.start()
        until(lambda: fleet.run_of("base"), "the pod to run")
        until(lambda: fleet.history("boiler", "level"), "the first reading")
        yield fleet


def test_nothing_acknowledged_is_lost_and_nothing_runs_or_is_told_twice(fleet: RealFleet) -> None:
    seed = int(os.environ.get("SKERRY_CUTS_SEED", "1"))
    run, ran = fleet.run_of("base"), processes_of(fleet)
    writer, faults = Writer(fleet, random.Random(seed)), Faults(fleet, random.Random(seed))
    writing = threading.Thread(target=writer.run)
    writing.start()
    try:
        end = time.monotonic() + FAULTS_S
        while time.monotonic() < end:
            faults.strike()
    finally:
        writer.stop.set()
        writing.join(90)
    about = f"seed {seed}: {faults.done}"
    assert len(writer.written) == len(CONFIGS) and len(writer.made) > 2, about

    set_point(fleet, "77")
    until(lambda: fleet.ack("boiler", "setpoint") == "verified", f"the setpoint to be verified; {about}")
    check_writes(fleet, writer, about)
    until(lambda: configs_held(fleet) == configs_in_cloud(fleet), f"the ConfigMaps to arrive; {about}")
    until(lambda: is_settled(fleet), f"the pods to be as the cloud wants them; {about}")
    check_pods(fleet, writer, about)
    assert fleet.run_of("base") == run, about
    assert ran.items() <= processes_of(fleet).items(), f"the first pod was never touched; {about}"
    check_history(fleet, about)


def check_writes(fleet: RealFleet, writer: Writer, about: str) -> None:
    for name, text in configs_in_cloud(fleet).items():
        assert writer.written[name] <= int(text) <= writer.asked[name], f"ConfigMap {name}; {about}"


def check_pods(fleet: RealFleet, writer: Writer, about: str) -> None:
    pods = {name_of(each): each for each in maps_at(fleet.api().request("GET", f"{CORE}/pods").obj, "items")}
    sure = writer.made - writer.deleted - writer.unknown
    assert sure <= pods.keys(), f"pods that were made; {about}"
    assert pods.keys() <= sure | writer.unknown | {"base"}, f"pods that were deleted; {about}"
    for name, each in pods.items():
        (status,) = maps_at(each, "status", "containerStatuses")
        assert int_at(status, "restartCount") == 0, f"{name} was restarted; {about}"


def check_history(fleet: RealFleet, about: str) -> None:
    """Every reading that the gateway kept, once and in order, and those of now as well."""
    before = len(fleet.history("boiler", "level"))
    until(lambda: len(fleet.history("boiler", "level")) > before + 10, f"history to go on; {about}")
    numbers = fleet.history("boiler", "level")
    assert numbers == list(range(1, len(numbers) + 1)), about
    assert len(numbers) > FAULTS_S * 2, about


def configs_in_cloud(fleet: RealFleet) -> dict[str, str]:
    items = maps_at(fleet.api().request("GET", f"{CORE}/configmaps").obj, "items")
    return {name_of(item): str_at(item, "data", "text") for item in items if name_of(item) in CONFIGS}


def configs_held(fleet: RealFleet) -> dict[str, str]:
    held = fleet.held("configmaps")
    return {name: str_at(item, "data", "text") for name, item in held.items() if name in CONFIGS}


def is_settled(fleet: RealFleet) -> bool:
    """The gateway runs what the cloud wants, nothing else, and the cloud knows."""
    pods = maps_at(fleet.api().request("GET", f"{CORE}/pods").obj, "items")
    running = [each for each in pods if str_at(each, "status", "phase") == "Running"]
    leaving = [each for each in pods if str_at(each, "metadata", "deletionTimestamp")]
    return len(running) == len(pods) == len(processes_of(fleet)) == len(fleet.held("pods")) and not leaving
