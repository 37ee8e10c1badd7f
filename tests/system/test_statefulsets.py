"""StatefulSets on real gateways: order, names and data, through probes that fail, cut links and lost power."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import name_of, uid_of
from tests.system.containerd import BUSYBOX_IMAGE, Containerd, containerd_server
from tests.system.real_fleet import CORE, MERGE_PATCH, NODE, RealFleet, real_fleet, until

pytestmark = pytest.mark.system

SETS = "/apis/apps/v1/namespaces/default/statefulsets"
DATA = "/skerry-fleet-data"
SCRIPT = f"echo $VERSION >> {DATA}/runs; touch {DATA}/ready; trap 'exit 0' TERM; while :; do sleep 0.2; done"
LABELS: JsonObject = {"app": "db"}


@dataclass(slots=True)
class Place:
    """A cloud with one gateway, and the StatefulSet `db` on it."""

    fleet: RealFleet
    image: str = "sh"

    def make(self, replicas: int = 3, **spec: object) -> None:
        service: JsonObject = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "dbs"},
            "spec": {"clusterIP": "None", "selector": LABELS, "ports": [{"port": 80}]},
        }
        self.fleet.create(f"{CORE}/services", service)
        claim: JsonObject = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
        }
        fields: JsonObject = {
            "replicas": replicas,
            "serviceName": "dbs",
            "selector": {"matchLabels": LABELS},
            "template": self.template("1"),
            "volumeClaimTemplates": [claim],
        }
        fields.update(spec)  # type: ignore[arg-type]
        made: JsonObject = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db"},
            "spec": fields,
        }
        self.fleet.create(SETS, made)

    def template(self, version: str) -> JsonObject:
        container: JsonObject = {
            "name": "app",
            "image": self.image,
            "command": ["sh", "-c", SCRIPT],
            "env": [{"name": "VERSION", "value": version}],
            "volumeMounts": [{"name": "data", "mountPath": DATA}],
            "readinessProbe": {
                "exec": {"command": ["test", "-e", f"{DATA}/ready"]},
                "periodSeconds": 1,
                "failureThreshold": 1,
            },
        }
        spec: JsonObject = {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [container],
        }
        return {"metadata": {"labels": LABELS}, "spec": spec}

    def change(self, **spec: object) -> None:
        body: JsonObject = {"spec": spec}  # type: ignore[dict-item]
        self.fleet.api().request("PATCH", f"{SETS}/db", body=body, content_type=MERGE_PATCH)

    def update(self, version: str) -> None:
        self.change(template=self.template(version))

    def status(self) -> JsonObject:
        found = (self.fleet.find(f"{SETS}/db") or {}).get("status")
        return found if isinstance(found, dict) else {}

    def pods(self) -> dict[str, JsonObject]:
        return {name_of(pod): pod for pod in maps_at(self.fleet.find(f"{CORE}/pods"), "items")}

    def ready(self) -> dict[str, str]:
        """By pod that is ready: its version."""
        return {
            name: str_at(maps_at(maps_at(pod, "spec", "containers")[0], "env")[0], "value")
            for name, pod in self.pods().items()
            if str_at(find_condition(maps_at(pod, "status", "conditions"), "Ready"), "status") == "True"
        }

    def holds(self, *names: str, version: str = "1", deadline_s: float = 60) -> None:
        wanted = dict.fromkeys(names, version)
        until(lambda: self.ready() == wanted, f"{wanted} are ready", deadline_s=deadline_s)

    def directory(self, pod: str) -> Path:
        """Where the gateway keeps the pod's data."""
        claim = self.fleet.find(f"{CORE}/persistentvolumeclaims/data-{pod}")
        return self.fleet.edge.data / "volumes" / str_at(claim, "spec", "volumeName")

    def runs(self, pod: str) -> list[str]:
        """The version of each run that has written there."""
        return (self.directory(pod) / "runs").read_text().split()

    def hosts(self) -> set[str]:
        """By the EndpointSlices of the Service `dbs`, from which the names in the cluster are made."""
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        slices = maps_at(self.fleet.find(path), "items")
        found = [each for each in slices if str_at(each, "metadata", "labels", "kubernetes.io/service-name") == "dbs"]
        return {str_at(each, "hostname") for held in found for each in maps_at(held, "endpoints")}

    def is_well(self, pod: str, *, well: bool) -> None:
        """What its probe finds."""
        sign = self.directory(pod) / "ready"
        if well:
            sign.touch()
        else:
            sign.unlink()


@contextmanager
def place_of(directory: Path, image: str = "sh", **environ: str) -> Generator[Place]:
    with real_fleet(directory, "--heartbeat-s", "1", "--node-grace-s", "1") as fleet:
        until(lambda: fleet.find(f"{CORE}/serviceaccounts/default"), "the default service account")
        fleet.edge.environ = environ
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the gateway is ready")
        yield Place(fleet, image)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_of(tmp_path) as made:
        yield made


def test_pods_come_in_order_with_names_and_data_of_their_own(place: Place) -> None:
    place.make(3)
    place.holds("db-0", "db-1", "db-2")
    began = {
        name: str_at(maps_at(pod, "status", "containerStatuses")[0], "state", "running", "startedAt")
        for name, pod in place.pods().items()
    }
    assert sorted(began, key=lambda name: (began[name], name)) == ["db-0", "db-1", "db-2"]
    until(lambda: place.hosts() == {"db-0", "db-1", "db-2"}, "each has a name in the cluster")
    assert len({place.directory(name) for name in began}) == 3

    place.change(replicas=1)
    place.holds("db-0")
    place.change(replicas=2)
    place.holds("db-0", "db-1")
    assert place.runs("db-1") == ["1", "1"], "it found its data again"


def test_scaling_halts_where_a_pod_is_not_well_and_an_update_can_be_taken_back(place: Place) -> None:
    place.make(1)
    place.holds("db-0")
    place.is_well("db-0", well=False)
    until(lambda: not place.ready(), "its probe fails")
    place.change(replicas=3)
    place.is_well("db-0", well=True)
    place.holds("db-0", "db-1", "db-2")

    place.update("2")
    place.fleet.cloud.kubectl("rollout", "status", "statefulset/db", "--timeout=50s")
    place.holds("db-0", "db-1", "db-2", version="2")
    # A canary first, which breaks.
    place.change(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    broken = place.template("3")
    maps_at(broken, "spec", "containers")[0]["command"] = ["sh", "-c", "exit 1"]
    place.change(template=broken)
    until(lambda: "db-2" not in place.ready(), "the canary breaks")
    assert set(place.ready()) == {"db-0", "db-1"}
    uids = {name: uid_of(pod) for name, pod in place.pods().items() if name != "db-2"}
    place.fleet.cloud.kubectl("rollout", "undo", "statefulset/db")
    place.holds("db-0", "db-1", "db-2", version="2")
    assert uids == {name: uid_of(pod) for name, pod in place.pods().items() if name != "db-2"}


def test_a_burst_comes_and_goes_at_once(place: Place) -> None:
    place.make(1, podManagementPolicy="Parallel")
    place.holds("db-0")
    place.is_well("db-0", well=False)
    until(lambda: not place.ready(), "its probe fails")
    place.change(replicas=3)
    place.holds("db-1", "db-2")
    place.change(replicas=0)
    until(lambda: not place.pods(), "all go", deadline_s=60)


def test_a_pod_of_a_gateway_that_is_away_has_no_second_and_goes_on(place: Place) -> None:
    place.make(2)
    place.holds("db-0", "db-1")
    uid = uid_of(place.pods()["db-1"])
    place.fleet.edge.stop()
    until(lambda: place.fleet.ready() == "Unknown", "the gateway is missed")
    place.fleet.api().request("DELETE", f"{CORE}/pods/db-1")
    place.update("2")
    until(lambda: place.status().get("updateRevision") != place.status().get("currentRevision"), "an update begins")
    pod = place.pods()["db-1"]
    assert uid_of(pod) == uid and str_at(pod, "metadata", "deletionTimestamp")
    assert place.runs("db-1") == ["1"]
    place.fleet.edge.start()
    place.holds("db-0", "db-1", version="2")
    assert place.runs("db-1")[-1] == "2" and uid_of(place.pods()["db-1"]) != uid

    # By force, and only then.
    place.fleet.edge.stop()
    until(lambda: place.fleet.ready() == "Unknown", "the gateway is missed")
    uid = uid_of(place.pods()["db-1"])
    place.fleet.cloud.kubectl("delete", "pod", "db-1", "--grace-period=0", "--force")
    until(lambda: "db-1" in place.pods() and uid_of(place.pods()["db-1"]) != uid, "another is made")
    place.fleet.edge.start()
    place.holds("db-0", "db-1", version="2")


def test_power_and_cloud_are_lost_and_data_is_not(place: Place) -> None:
    place.make(2)
    place.holds("db-0", "db-1")
    place.fleet.cloud.stop()
    place.fleet.edge.stop(signal.SIGKILL)
    place.fleet.edge.end_containers()
    kept = sorted((place.fleet.edge.data / "volumes").iterdir())
    before = [(each / "runs").read_text() for each in kept]
    place.fleet.edge.start()
    until(
        lambda: all((each / "runs").read_text() != text for each, text in zip(kept, before, strict=True)), "they run"
    )
    place.fleet.start_cloud()
    place.holds("db-0", "db-1")
    place.update("2")
    place.holds("db-0", "db-1", version="2", deadline_s=90)
    assert place.runs("db-0") == ["1", "1", "2"]


@pytest.fixture(scope="module")
def containerd() -> Generator[Containerd]:
    with containerd_server(registries={"docker.io": "http://127.0.0.1:9"}) as server:
        yield server


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
def test_the_same_in_containers(tmp_path: Path, containerd: Containerd) -> None:
    environ = {
        "SKERRY_RUNTIME": "containerd",
        "SKERRY_RUNTIME_ENDPOINT": containerd.endpoint,
        "SKERRY_CGROUP_ROOT": containerd.cgroup_root,
    }
    with place_of(tmp_path, BUSYBOX_IMAGE, **environ) as place:
        place.make(2)
        place.holds("db-0", "db-1", deadline_s=90)
        until(lambda: place.hosts() == {"db-0", "db-1"}, "each has a name in the cluster")
        place.update("2")
        place.holds("db-0", "db-1", version="2", deadline_s=90)
        assert place.runs("db-0") == ["1", "2"]
        assert str_at(place.pods()["db-0"], "spec", "nodeName") == NODE
        place.fleet.cloud.kubectl("delete", "statefulset", "db")
        until(lambda: not place.pods(), "all is gone", deadline_s=60)
        assert place.runs("db-0") == ["1", "2"], "but the data"
