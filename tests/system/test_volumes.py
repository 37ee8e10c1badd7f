"""Volumes that are directories of a gateway, with a real cloud and a real agent: data outlives pods, and goes when it
is to go, whether or not there was a link when that was said."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.objects.json import JsonObject, maps_at, str_at, strs_at
from skerry.objects.meta import being_deleted, name_of
from skerry.objects.volumes import DIRECTORY, VOLUME_PROTECTION
from tests.system.real_fleet import CORE, RealFleet, real_fleet, until

pytestmark = pytest.mark.system
CLAIMS = f"{CORE}/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
TEMPLATE: JsonObject = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Mi"}}}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    with real_fleet(tmp_path, "--heartbeat-s", "1", "--node-grace-s", "1") as fleet:
        until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        yield fleet


def claim(name: str = "data") -> JsonObject:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": TEMPLATE}


def writer(name: str, volume: JsonObject) -> JsonObject:
    """A pod that notes each of its runs in a file of its volume; the scheduler places it."""
    mount: JsonObject = {"name": "v", "mountPath": "/skerry-volume-test"}
    command = "echo run >> /skerry-volume-test/runs; while :; do sleep 0.5; done"
    container: JsonObject = {
        "name": "app",
        "image": "sh",
        "command": ["sh", "-c", command],
        "volumeMounts": [mount],
    }
    spec: JsonObject = {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "volumes": [{"name": "v", **volume}],
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def of_claim(name: str = "data") -> JsonObject:
    return {"persistentVolumeClaim": {"claimName": name}}


def volumes(fleet: RealFleet) -> list[JsonObject]:
    return maps_at(fleet.find(VOLUMES), "items")


def directories(fleet: RealFleet) -> list[Path]:
    kept = fleet.edge.data / "volumes"
    return sorted(kept.iterdir()) if kept.exists() else []


def runs(fleet: RealFleet) -> int:
    return sum((place / "runs").read_text().count("run") for place in directories(fleet) if (place / "runs").exists())


def delete(fleet: RealFleet, path: str) -> None:
    fleet.api().request("DELETE", path)
    until(lambda: fleet.find(path) is None, f"{path} to be gone")


def test_data_outlives_pods_and_power_cuts_and_goes_with_its_claim(fleet: RealFleet) -> None:
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the gateway to be ready")
    fleet.create(CLAIMS, claim())
    fleet.create(f"{CORE}/pods", writer("one", of_claim()))
    until(lambda: fleet.run_of("one"), "the first pod to run")
    until(lambda: runs(fleet) == 1, "it to have written")
    held = fleet.find(f"{CLAIMS}/data")
    (volume,) = volumes(fleet)
    assert str_at(held, "spec", "storageClassName") == "local"
    assert str_at(held, "status", "phase") == str_at(volume, "status", "phase") == "Bound"
    assert [place.name for place in directories(fleet)] == [name_of(volume)]

    delete(fleet, f"{CORE}/pods/one")
    fleet.create(f"{CORE}/pods", writer("two", of_claim()))
    until(lambda: runs(fleet) == 2, "the second pod to have found what the first wrote")

    # Power is lost, and there is no cloud when it comes back.
    until(lambda: fleet.run_of("two"), "the second pod to be told of")
    fleet.cloud.stop()
    fleet.edge.stop(signal.SIGKILL)
    fleet.edge.end_containers()
    fleet.edge.start()
    until(lambda: runs(fleet) == 3, "the second pod to run again from the store")

    # While the gateway is away its pod and its claim are deleted: nothing is forgotten.
    fleet.edge.stop()
    fleet.start_cloud()
    fleet.api().request("DELETE", f"{CORE}/pods/two")
    fleet.api().request("DELETE", f"{CLAIMS}/data")
    assert directories(fleet)
    fleet.edge.start()
    until(lambda: not directories(fleet), "the directory to be removed")
    until(lambda: not volumes(fleet), "the volume to be gone")
    assert fleet.find(f"{CLAIMS}/data") is None


def test_a_volume_waits_for_its_gateway_to_remove_the_directory(fleet: RealFleet) -> None:
    fleet.edge.start()
    until(lambda: fleet.ready() == "True", "the gateway to be ready")
    fleet.create(f"{CORE}/pods", writer("one", {"ephemeral": {"volumeClaimTemplate": {"spec": TEMPLATE}}}))
    until(lambda: fleet.run_of("one"), "the pod with a volume of its own to run")
    assert fleet.find(f"{CLAIMS}/one-v")
    until(lambda: runs(fleet) == 1, "it to have written")
    fleet.api().request("DELETE", f"{CORE}/pods/one")
    until(lambda: fleet.find(f"{CORE}/pods/one") is None, "the pod to be gone")
    until(lambda: not volumes(fleet), "its claim, its volume and its directory to follow it")
    assert not directories(fleet)

    fleet.create(CLAIMS, claim())
    fleet.create(f"{CORE}/pods", writer("two", of_claim()))
    until(lambda: runs(fleet) == 1, "another volume")
    delete(fleet, f"{CORE}/pods/two")
    fleet.edge.stop()
    delete(fleet, f"{CLAIMS}/data")

    def waits() -> bool:
        found = volumes(fleet)
        finalizers = [strs_at(each, "metadata", "finalizers") for each in found if being_deleted(each)]
        return finalizers == [[DIRECTORY]]

    until(waits, "the volume to wait for its directory alone")
    assert VOLUME_PROTECTION not in strs_at(volumes(fleet)[0], "metadata", "finalizers")
    assert len(directories(fleet)) == 1
    fleet.edge.start()
    until(lambda: not volumes(fleet), "the volume to be gone")
    assert not directories(fleet)


def test_what_is_mounted_below_is_somebody_elses(tmp_path: Path) -> None:
    place = tmp_path / "a volume"
    (place / "disk").mkdir(parents=True)
    script = (
        "import sys; from pathlib import Path; from edgecore.pods.local_volumes import remove_directory as r;"
        "print(r(Path(sys.argv[1])))"
    )
    shell = 'mount -t tmpfs none "$1/disk" && "$2" -c "$3" "$1"'
    found = subprocess.run(
        ["unshare", "-rm", "sh", "-c", shell, "sh", str(place), sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == f"{place}/disk is a mount point"
    assert (place / "disk").is_dir()


def test_a_secret_is_put_into_memory_unless_something_lies_there(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from edgecore.pods.memory_volumes import keep_off_disk as keep;"
        "there, full = Path(sys.argv[1]) / 'there', Path(sys.argv[1]) / 'full';"
        "full.mkdir(); (full / 'file').touch();"
        "print(keep(there), keep(there), keep(full), oct(there.stat().st_mode & 0o777));"
        "print([line for line in open('/proc/self/mounts') if str(there) in line])"
    )
    command = ["unshare", "-rm", sys.executable, "-c", script, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert found[0] == "True False False 0o755"
    assert "nosuid,nodev" in found[1] and "mode=755" in found[1] and (tmp_path / "there").is_dir()


def test_left_over_volumes_in_memory_go_and_what_somebody_mounted_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    script = (
        "import sys; from pathlib import Path; from edgecore.pods.leftovers import remove_leftovers;"
        "from edgecore.pods.memory_volumes import keep_off_disk, libc_call;"
        "there = Path(sys.argv[1]) / 'there'; pods = there / 'pods';"
        "[keep_off_disk(pods / uid / 'volumes' / 'token') for uid in ('gone', 'kept', 'busy')];"
        "inside = pods / 'busy' / 'volumes' / 'token' / 'disk'; inside.mkdir();"
        "libc_call('mount', b'tmpfs', bytes(inside), b'tmpfs', 0, None);"
        "print(remove_leftovers(there, {'kept'}), sorted(each.name for each in pods.iterdir()), inside.is_mount())"
    )
    command = ["unshare", "-rm", sys.executable, "-c", script, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == "1 ['busy', 'kept'] True\n"
