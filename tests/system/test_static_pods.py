"""Static pods on a real gateway: begun and kept without a cloud, shown by it as mirrors that kubectl can use."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import annotations_of, uid_of
from tests.system.real_fleet import CORE, NODE, RealFleet, real_fleet, until
from tests.system.test_restored_cloud import back_up, restore

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

NAME = f"kiosk-{NODE}"
KIOSK = """\
apiVersion: v1
kind: Pod
metadata: {name: kiosk, labels: {app: kiosk}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: sh
    command: ["sh", "-c", "echo hello WORD; while :; do sleep 0.2; done"]
"""


class Place:
    def __init__(self, fleet: RealFleet, directory: Path) -> None:
        self.fleet = fleet
        self.directory = directory
        directory.mkdir()
        fleet.edge.environ["SKERRY_STATIC_PODS"] = str(directory)

    def write(self, word: str = "one") -> None:
        (self.directory / "kiosk.yaml").write_text(KIOSK.replace("WORD", word))

    def local(self) -> JsonObject:
        return self.fleet.held("pods").get(NAME, {})

    def run(self) -> str:
        """Which run of the container the gateway itself shows as running; "" for none."""
        for each in maps_at(self.local(), "status", "containerStatuses"):
            if str_at(each, "state", "running", "startedAt"):
                return str_at(each, "containerID")
        return ""

    def mirror(self) -> JsonObject:
        return self.fleet.find(f"{CORE}/pods/{NAME}") or {}

    def phase(self) -> str:
        return str_at(self.mirror(), "status", "phase")

    def skerry(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "skerry.cli.main", "--data", str(self.fleet.edge.data), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("static")
    with real_fleet(directory) as fleet:
        yield Place(fleet, directory / "pods")


def test_it_begins_without_a_cloud_and_is_shown_when_there_is_one(place: Place) -> None:
    fleet = place.fleet
    fleet.cloud.stop()
    place.write()
    fleet.edge.start()
    until(place.run, "it runs, and no cloud was ever reached")
    listed = place.skerry("pod", "static")
    assert listed.returncode == 0 and NAME in listed.stdout and "no" in listed.stdout
    assert "hello one" in place.skerry("logs", NAME).stdout
    before = place.run()

    fleet.start_cloud()
    until(lambda: place.phase() == "Running", "its mirror shows how it is")
    mirror = place.mirror()
    assert annotations_of(mirror)["kubernetes.io/config.source"] == "file"
    assert place.run() == before
    row = fleet.cloud.kubectl("get", "pods", "--no-headers")
    assert NAME in row and "Running" in row
    assert fleet.cloud.kubectl("logs", NAME).strip() == "hello one"
    assert fleet.cloud.kubectl("exec", NAME, "--", "sh", "-c", "echo from $HOSTNAME").startswith("from")
    described = fleet.cloud.kubectl("describe", "pod", NAME)
    assert f"Controlled By:  Node/{NODE}" in described and "Container started" in described
    until(lambda: json.loads(place.skerry("pod", "static", "-o", "json").stdout)["items"][0]["mirrored"], "known")

    # Deleted in the cloud: it goes on, and is shown again.
    fleet.cloud.kubectl("delete", "pod", NAME, "--wait=false")
    until(lambda: uid_of(place.mirror()) not in ("", uid_of(mirror)) and place.phase() == "Running", "shown again")
    assert place.run() == before
    fleet.cloud.kubectl("delete", "pod", NAME, "--grace-period=0", "--force")
    until(lambda: place.phase() == "Running", "and again")
    assert place.run() == before


def test_it_follows_its_file_and_comes_back_by_itself(place: Place) -> None:
    fleet = place.fleet
    place.write()
    fleet.edge.start()
    until(lambda: place.phase() == "Running", "it is shown")
    first, before = uid_of(place.mirror()), place.run()

    # A restart of the agent is not felt.
    fleet.edge.stop(signal.SIGKILL)
    fleet.edge.start()
    until(lambda: fleet.edge.link_state() == "connected", "the agent is back")
    until(lambda: place.run() == before, "nothing was touched")

    # Without a link: another content, then the power goes.
    fleet.cloud.stop()
    place.write("two")
    until(lambda: place.run() not in ("", before), "it runs as the file says now")
    second = place.run()
    fleet.edge.stop(signal.SIGKILL)
    fleet.edge.end_containers()
    (place.directory / "kiosk.yaml").write_text(KIOSK[: len(KIOSK) // 2])
    fleet.edge.start()
    until(lambda: place.run() not in ("", second), "it is back, though its file was half written")
    wrong = place.skerry("pod", "static")
    assert wrong.returncode == 5 and "kiosk.yaml: " in wrong.stderr, wrong
    place.write("two")

    fleet.start_cloud()
    until(lambda: uid_of(place.mirror()) not in ("", first) and place.phase() == "Running", "the mirror is of that")
    assert fleet.cloud.kubectl("logs", NAME).strip() == "hello two"
    events = fleet.cloud.kubectl("get", "events", "-o", "custom-columns=R:.reason,M:.message")
    assert "InvalidStaticPod" in events

    (place.directory / "kiosk.yaml").unlink()
    until(lambda: not place.mirror(), "it has gone from the cloud")
    until(lambda: place.local() == {}, "and here")


def test_a_restored_cloud_is_told_of_it_again(place: Place, tmp_path: Path) -> None:
    fleet = place.fleet
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the node is there")
    back_up(fleet, tmp_path / "backup.db")
    place.write()
    until(lambda: place.phase() == "Running", "it is shown")
    before = place.run()
    restore(fleet, tmp_path / "backup.db")
    until(lambda: place.phase() == "Running", "the cloud that did not know it shows it", deadline_s=60)
    assert place.run() == before
