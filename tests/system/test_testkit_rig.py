"""The rig of the real backend: gateways that lose their power, and runs that leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.objects.json import JsonObject
from skerry.testkit.real.programs import until
from skerry.testkit.real.rig import Rig, RigSettings, may_isolate, rig
from skerry.testkit.real.runs import PREFIX, processes_of, remove_stale

pytestmark = [pytest.mark.system, pytest.mark.long]

SETTINGS = ("--heartbeat-s", "1", "--node-grace-s", "1")
STRAY = f"sleep {90_000 + os.getpid()}"
"""A process that leaves its session, known by its number."""
POD: JsonObject = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {
        "nodeName": "plant-7",
        "containers": [
            {"name": "app", "image": "sh", "command": ["sh", "-c", f"setsid {STRAY} & while :; do sleep 0.5; done"]}
        ],
    },
}


@pytest.fixture(params=["isolated", "isolated, IPv6", "plain"])
def site(request: pytest.FixtureRequest) -> Iterator[Rig]:
    form: str = request.param
    if form != "plain" and not may_isolate():
        pytest.skip("namespaces need root")
    settings = RigSettings(
        line="relay" if form == "plain" else None, family=6 if "6" in form else 4, cloud_flags=SETTINGS
    )
    with rig(settings) as made:
        yield made


def test_a_gateway_that_loses_its_power_takes_everything_along_and_comes_back_by_itself(site: Rig) -> None:
    edge = site.edge("plant-7")
    edge.start()
    until(lambda: edge.link_state == "connected", "the gateway to be connected")
    until(lambda: site.cloud.find("/api/v1/namespaces/default/serviceaccounts/default"), "the service account")
    site.cloud.create("/api/v1/namespaces/default/pods", POD)
    until(edge.containers, "the pod's container to run")
    until(strays, "the process that left its session")
    before = edge.containers()
    site.sites["plant-7"].link.cut()
    edge.machine.power_off()
    assert not strays(), "nothing escapes"
    edge.start()
    until(lambda: edge.containers() and edge.containers() != before, "the pod to run again, with no cloud")
    until(lambda: edge.link_state not in ("connected", ""), "the agent to know that it is offline")
    site.sites["plant-7"].link.heal()
    until(lambda: edge.link_state == "connected", "the gateway to be back", within_s=60)


def strays() -> list[Path]:
    found: list[Path] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().rstrip(b"\0").replace(b"\0", b" ") == STRAY.encode():
                found.append(path)
    return found


RUN = f"""
import sys, time
from skerry.testkit.real.rig import RigSettings, rig
with rig(RigSettings(line=sys.argv[1] or None, cloud_flags={SETTINGS!r})) as made:
    edge = made.edge("plant-7")
    edge.start()
    print(made.directory, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("line", ["", "relay"])
def test_a_run_that_is_killed_leaves_no_process_and_its_files_go_with_the_next(line: str) -> None:
    if not line and not may_isolate():
        pytest.skip("namespaces need root")
    runner = subprocess.Popen([sys.executable, "-c", RUN, line], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    try:
        directory = Path(runner.stdout.readline().strip())
        assert directory.name.startswith(PREFIX) and processes_of(directory)
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.communicate()
    until(lambda: not processes_of(directory), "every process of the run to end")
    assert directory.exists()
    assert directory in remove_stale(Path(tempfile.gettempdir()))
    assert not directory.exists()


def test_two_rigs_at_once_do_not_meet() -> None:
    if not may_isolate():
        pytest.skip("namespaces need root")
    with rig() as one, rig() as other:
        first, second = one.edge("plant-7"), other.edge("plant-7")
        first.start()
        second.start()
        for edge in (first, second):
            until(lambda edge=edge: edge.link_state == "connected", "each to be connected to its own cloud")
        one.sites["plant-7"].link.cut()
        first.stop(signal.SIGKILL)
        time.sleep(0.1)
        assert second.link_state == "connected"
    assert not one.directory.exists() and not other.directory.exists()
