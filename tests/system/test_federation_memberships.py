"""A membership's whole life with real processes: left, joined again, set back to a backup, with a type or a kind that
comes and goes, and dialled by a Secret that changes. A gateway of one region runs a pod through all of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.real_fleet import EdgeProcess
from tests.system.test_federation import free_port, get, until

pytestmark = [pytest.mark.system, pytest.mark.long]

SYSTEM = "kube-federation-system"
EVERYWHERE = {"clusterSelector": {}}
MARK = "skerry.dev/federated-by"
SHELL = ["sh", "-c", "while :; do sleep 0.5; done"]
POD = {
    "metadata": {"labels": {"app": "till"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "till", "image": "sh", "command": SHELL}],
    },
}
WIDGETS = {
    "group": "acme.dev",
    "scope": "Namespaced",
    "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
}


def schema(**size: str) -> Any:
    spec = {"type": "object", "properties": {"size": size}}
    return {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}


class Stage:
    def __init__(self, base: Path, stack: ExitStack) -> None:
        self.base = base
        clouds = [
            stack.enter_context(cloud_process(base / name, "--hub-port", str(free_port())))
            for name in ("global", "north", "south")
        ]
        self.world, self.north, self.south = clouds
        self.world.skerry("region", "init")
        for name, cloud in (("north", self.north), ("south", self.south)):
            self.join(cloud, name)
        self.edge = EdgeProcess(data=base / "edge")
        self.edge.data.mkdir()
        stack.callback(self._end)
        self.edge.join(self.north)
        self.edge.start()
        until(lambda: "federateddeployments" in self.world.kubectl("api-resources", "--api-group=types.kubefed.io"))
        self.world.kubectl("create", "namespace", "shop")
        self.federate("FederatedNamespace", "shop", None)
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "till"}}, "template": POD}
        self.federate("FederatedDeployment", "till", {"spec": spec})

    def _end(self) -> None:
        if self.edge.process is not None:
            self.edge.process.kill()
            self.edge.process.wait()
        self.edge.end_containers()

    def join(self, cloud: CloudProcess, name: str) -> None:
        token = self.world.skerry("region", "token", name, "--label", f"side={name}").strip()
        assert cloud.skerry("region", "join", self.world.hub, token).strip() == "connected"

    def federate(self, kind: str, name: str, template: Any, placement: Any = EVERYWHERE) -> None:
        spec = {"placement": placement, **({} if template is None else {"template": template})}
        obj = {
            "apiVersion": "types.kubefed.io/v1beta1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "shop"},
            "spec": spec,
        }
        self.world.kubectl("apply", "-f", "-", stdin=json.dumps(obj))

    def config(self, name: str, **data: str) -> None:
        self.federate("FederatedConfigMap", name, {"data": data})
        until(lambda: data == self.data(self.north, name) == self.data(self.south, name), within_s=60)

    def data(self, cloud: CloudProcess, name: str) -> Any:
        found = get(cloud, "configmap", name)
        return found and found["data"]

    def told(self, member: str, kind: str, name: str) -> Any:
        """What the federated object says of a member."""
        found = (get(self.world, kind, name) or {}).get("status", {})
        return next((each for each in found.get("clusters", []) if each["name"] == member), {})

    def connected(self, *clouds: CloudProcess) -> None:
        for cloud in clouds:
            until(lambda cloud=cloud: cloud.skerry("region", "status").startswith("connected"), within_s=90)

    def runs(self) -> Any:
        """Containers of the pods that run on the gateway."""
        items = json.loads(self.north.kubectl("get", "pods", "-n", "shop", "-o", "json"))["items"]
        running = [pod for pod in items if pod.get("status", {}).get("phase") == "Running"]
        return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["containerID"] for pod in running}

    def kept(self, cloud: CloudProcess) -> Path:
        """A backup of its store, as docs/howto/backups.md has it."""
        path = cloud.data.with_suffix(".backup")
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(cloud.data / "cloud.db")) as store, closing(sqlite3.connect(path)) as copy:
            store.backup(copy)
        return path

    def restore(self, cloud: CloudProcess, backup: Path) -> None:
        cloud.stop()
        for path in cloud.data.glob("cloud.db*"):
            if path.name != "cloud.db.lock":
                path.unlink()
        backup.rename(cloud.data / "cloud.db")
        cloud.start()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path_factory.mktemp("memberships"), stack)


def marks(cloud: CloudProcess, name: str) -> Any:
    metadata = get(cloud, "configmap", name)["metadata"]
    return metadata.get("annotations", {}).get(MARK, ""), metadata.get("labels", {}).get("kubefed.io/managed", "")


@pytest.mark.parametrize("ends", ["leave", "unjoin", "unjoin while it is away"])
def test_who_joins_again_begins_anew_and_what_runs_runs_on(stage: Stage, ends: str) -> None:
    world, north = stage.world, stage.north
    before = until(stage.runs, within_s=90)
    stage.config("prices", tea="3")
    stage.config("old", a="1")
    if ends == "leave":
        north.skerry("region", "leave")
        until(lambda: marks(north, "old") == ("", ""))
        until(lambda: heard(world, "north") == "left", within_s=10)
    else:
        if ends != "unjoin":
            north.stop()
        world.skerry("region", "unjoin", "north")
        if ends != "unjoin":
            north.start()
        until(lambda: "no member any more" in north.skerry("region", "status"), within_s=60)
        twice = world.try_skerry("region", "unjoin", "north")
        assert (twice.returncode != 0, "no member north" in twice.stderr) == (True, True), twice.stderr
    world.kubectl("delete", "federatedconfigmap", "old", "-n", "shop")
    north.kubectl("patch", "configmap", "prices", "-n", "shop", "-p", '{"data":{"tea":"7"}}')
    if ends == "leave":  # the global cloud does not know yet
        until(lambda: "old" in world.skerry("region", "pending"))
    else:
        assert "before you join" in north.try_skerry("region", "join", world.hub, token(world)).stderr
        north.skerry("region", "leave")
    assert north.skerry("region", "leave").strip() == "no member of any federation"
    stage.join(north, "north")
    until(lambda: heard(world, "north") == "yes", within_s=60)
    until(lambda: stage.data(north, "prices") == {"tea": "3"}, within_s=60)
    drift = until(lambda: stage.told("north", "federatedconfigmap", "prices").get("drift"), within_s=60)
    assert [(each["path"], each["found"]) for each in drift] == [("/data/tea", '"7"')]
    until(lambda: "old" not in world.skerry("region", "pending"))
    assert stage.data(north, "old") == {"a": "1"}, "it is the region's own"
    assert stage.runs() == before
    north.kubectl("delete", "configmap", "old", "-n", "shop")


def heard(world: CloudProcess, name: str) -> str:
    rows = [line.split() for line in world.skerry("region", "list").splitlines()]
    return next((row[2] for row in rows if row[0] == name), "")


def token(world: CloudProcess) -> str:
    return world.skerry("region", "token", "north").strip()


def test_what_somebody_deletes_in_a_region_that_is_cut_off_stays_so_until_it_is_not(stage: Stage) -> None:
    stage.config("prices", tea="3")
    stage.world.stop()
    stage.north.kubectl("delete", "configmap", "prices", "-n", "shop")

    def outcomes() -> set[str]:
        rows = json.loads(stage.north.kubectl("get", "regionobjects", "-o", "json"))["items"]
        drift = [each for row in rows for each in row.get("status", {}).get("drift", [])]
        return {each["outcome"] for each in drift if each["found"] == "deleted"}

    until(lambda: "Kept" in outcomes())
    assert stage.data(stage.north, "prices") is None
    stage.world.start()
    until(lambda: stage.data(stage.north, "prices") == {"tea": "3"}, within_s=90)
    until(lambda: outcomes() == {"Reverted"})
    until(lambda: any(each["found"] == "deleted" for each in drifts(stage)), within_s=60)


def drifts(stage: Stage) -> Any:
    return stage.told("north", "federatedconfigmap", "prices").get("drift", [])


def test_a_region_that_is_set_back_is_as_declared_and_loses_what_came_back(stage: Stage) -> None:
    world, north = stage.world, stage.north
    for name in ("prices", "gone", "moved"):
        stage.config(name, a="1")
    before, backup = until(stage.runs, within_s=90), stage.kept(north)
    stage.config("prices", a="2")
    stage.config("fresh", a="1")
    world.kubectl("delete", "federatedconfigmap", "gone", "-n", "shop")
    stage.federate("FederatedConfigMap", "moved", {"data": {"a": "1"}}, {"clusters": [{"name": "south"}]})
    until(lambda: stage.data(north, "gone") is None and stage.data(north, "moved") is None, within_s=60)
    stage.restore(north, backup)
    assert stage.data(north, "gone") == {"a": "1"}, "it came back with the backup"
    stage.connected(north)
    until(lambda: stage.data(north, "prices") == {"a": "2"} and stage.data(north, "fresh"), within_s=60)
    until(lambda: stage.data(north, "gone") is None and stage.data(north, "moved") is None, within_s=60)
    assert stage.data(stage.south, "moved") == {"a": "1"}
    until(lambda: stray(world) == [], within_s=60)
    assert stage.runs() == before


def stray(world: CloudProcess) -> list[str]:
    """MEMBER/NAME of what strays."""
    rows = [line.split() for line in world.skerry("region", "strays").splitlines()[1:]]
    return sorted(f"{row[0]}/{row[3]}" for row in rows)


def test_a_global_cloud_that_is_set_back_removes_nothing_and_shows_what_it_does_not_know(stage: Stage) -> None:
    world, regions = stage.world, (stage.north, stage.south)
    stage.config("prices", a="1")
    before, backup = until(stage.runs, within_s=90), stage.kept(world)
    stage.config("prices", a="2")
    stage.config("later", a="1")
    stage.restore(world, backup)
    stage.connected(*regions)
    until(lambda: all(stage.data(cloud, "prices") == {"a": "1"} for cloud in regions), within_s=60)
    until(lambda: stray(world) == ["north/later", "south/later"], within_s=60)
    assert [stage.data(cloud, "later") for cloud in regions] == [{"a": "1"}] * 2
    stage.config("later", a="3")
    until(lambda: stray(world) == [], within_s=60)
    assert stage.runs() == before


def test_what_happens_while_a_type_is_disabled_is_carried_out_when_it_is_enabled(stage: Stage) -> None:
    world, north, south = stage.world, stage.north, stage.south
    for name in ("prices", "gone", "moved"):
        stage.config(name, a="1")
    south.stop()
    world.skerry("region", "disable", "configmaps")
    world.kubectl("delete", "federatedconfigmap", "gone", "-n", "shop")
    stage.federate("FederatedConfigMap", "prices", {"data": {"a": "2"}})
    stage.federate("FederatedConfigMap", "moved", {"data": {"a": "1"}}, {"clusters": [{"name": "north"}]})
    explained = world.skerry("region", "explain", "federatedconfigmap", "prices", "-n", "shop")
    assert "FederatedConfigMap is not propagated" in explained, explained
    south.start()
    stage.connected(south)
    for cloud in (north, south):
        assert [stage.data(cloud, name) for name in ("prices", "gone", "moved")] == [{"a": "1"}] * 3
    world.skerry("region", "enable", "configmaps")
    until(lambda: stage.data(north, "prices") == stage.data(south, "prices") == {"a": "2"}, within_s=60)
    until(lambda: stage.data(north, "gone") is None and stage.data(south, "gone") is None, within_s=60)
    until(lambda: stage.data(south, "moved") is None, within_s=60)
    assert stage.data(north, "moved") == {"a": "1"}


def test_a_federated_kind_that_is_deleted_takes_its_objects_and_is_made_again(stage: Stage) -> None:
    world, north, south = stage.world, stage.north, stage.south
    stage.config("prices", a="1")
    south.stop()
    world.kubectl("delete", "crd", "federatedconfigmaps.types.kubefed.io")
    until(lambda: stage.data(north, "prices") is None, within_s=60)
    assert "prices" in until(lambda: world.skerry("region", "pending"))
    south.start()
    until(lambda: stage.data(south, "prices") is None, within_s=90)
    until(lambda: "federatedconfigmaps" in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
    stage.config("prices", a="2")


def define(cloud: CloudProcess, version: str = "v1", **size: str) -> None:
    versions = [{"name": version, "served": True, "storage": True, "schema": schema(**size)}]
    spec = {**WIDGETS, "versions": versions}
    metadata = {"name": "widgets.acme.dev"}
    obj = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }
    cloud.kubectl("apply", "-f", "-", stdin=json.dumps(obj))


def test_a_kind_that_one_member_lacks_holds_nobody_up_and_comes_at_once(stage: Stage) -> None:
    world, north, south = stage.world, stage.north, stage.south
    for cloud in (world, south):
        define(cloud, type="string")
    until(lambda: "enabled" in world.try_skerry("region", "enable", "widgets").stdout)
    until(lambda: "federatedwidgets" in world.kubectl("api-resources", "--api-group=types.kubefed.io"))
    stage.federate("FederatedWidget", "w", {"spec": {"size": "large"}})

    def says(what: str) -> bool:
        told = stage.told("north", "federatedwidget", "w")
        return told.get("status") == "CreationFailed" and what in told.get("message", "")

    until(lambda: get(south, "widget", "w"), within_s=60)
    until(lambda: says("acme.dev/v1 Widget is not served here"))
    define(north, "v2", type="string")
    north.kubectl("delete", "crd", "widgets.acme.dev")
    define(north, type="integer")  # a stricter schema
    until(lambda: says("spec.size"), within_s=60)
    define(north, type="string")
    until(lambda: get(north, "widget", "w"), within_s=60)
    until(lambda: "status" not in stage.told("north", "federatedwidget", "w"))
    north.kubectl("delete", "crd", "widgets.acme.dev")
    until(lambda: says("is not served here"), within_s=60)
    define(north, type="string")
    until(lambda: get(north, "widget", "w"), within_s=60)


def dialled(world: CloudProcess, name: str, cloud: CloudProcess, *, of: CloudProcess | None = None) -> None:
    """By the kubeconfig of that cloud, or of another."""
    secret = ("secret", "generic", name, "-n", SYSTEM, f"--from-file=kubeconfig={(of or cloud).kubeconfig}")
    made = world.kubectl("create", *secret, "--dry-run=client", "-o", "json")
    world.kubectl("apply", "-f", "-", stdin=made)
    spec = {"apiEndpoint": f"https://{cloud.https}", "secretRef": {"name": name}}
    metadata = {"name": name, "namespace": SYSTEM}
    obj = {"apiVersion": "core.kubefed.io/v1beta1", "kind": "KubeFedCluster", "metadata": metadata, "spec": spec}
    world.kubectl("apply", "-f", "-", stdin=json.dumps(obj))


def conditions(world: CloudProcess, name: str) -> dict[str, str]:
    member = get(world, "kubefedcluster", name, SYSTEM) or {}
    return {each["type"]: each["status"] for each in member.get("status", {}).get("conditions", [])}


def test_a_member_that_is_dialled_follows_its_secret_and_is_one_member_alone(stage: Stage) -> None:
    world = stage.world
    stage.config("prices", a="1")
    with cloud_process(stage.base / "plain") as plain:
        dialled(world, "far", plain)
        until(lambda: stage.data(plain, "prices") == {"a": "1"}, within_s=60)
        world.kubectl("delete", "secret", "far", "-n", SYSTEM)
        until(lambda: conditions(world, "far").get("ClusterConfigMalformed") == "True", within_s=60)
        dialled(world, "far", plain, of=world)
        until(lambda: conditions(world, "far").get("Offline") == "True", within_s=90)
        dialled(world, "far", plain)
        until(lambda: conditions(world, "far").get("Ready") == "True", within_s=60)

        dialled(world, "same", plain)
        until(
            lambda: "far keeps it" in stage.told("same", "federatedconfigmap", "prices").get("message", ""),
            within_s=60,
        )
        assert marks(plain, "prices")[0].startswith("far.")
        world.kubectl("delete", "kubefedcluster", "far", "-n", SYSTEM)
        until(lambda: marks(plain, "prices")[0].startswith("same."), within_s=60)
        until(lambda: "status" not in stage.told("same", "federatedconfigmap", "prices"), within_s=60)
        world.kubectl("delete", "kubefedcluster", "same", "-n", SYSTEM)
        assert stage.data(plain, "prices") == {"a": "1"}


def test_another_cloud_that_joins_under_a_name_in_use_takes_nothing_of_the_one_before(stage: Stage) -> None:
    """The last: `south` is `north` from here on."""
    world, north, south = stage.world, stage.north, stage.south
    before = until(stage.runs, within_s=90)
    stage.config("prices", a="1")
    lent = {
        "apiVersion": "skerry.dev/v1",
        "kind": "PlacementPolicy",
        "metadata": {"name": "lent", "namespace": "shop"},
    }
    targets = [{"kind": "FederatedDeployment", "name": "ledger"}]
    spec = {"targets": targets, "affinities": [{"clusters": [{"name": "north"}]}], "atMostOnce": {"leaseSeconds": 10}}
    world.kubectl("apply", "-f", "-", stdin=json.dumps({**lent, "spec": spec}))
    selected = {"matchLabels": {"app": "ledger"}}
    template = {**POD, "metadata": {"labels": {"app": "ledger"}}}
    stage.federate(
        "FederatedDeployment", "ledger", {"spec": {"replicas": 1, "selector": selected, "template": template}}
    )
    until(lambda: len(stage.runs()) == len(before) + 1, within_s=90)
    made = world.try_skerry("region", "token", "north")
    assert "takes its place" in made.stderr
    south.skerry("region", "leave")
    assert south.skerry("region", "join", world.hub, made.stdout.strip()).strip() == "connected"
    until(lambda: "joined again with another key" in north.skerry("region", "status"), within_s=60)
    until(lambda: marks(south, "prices")[0].startswith("north."), within_s=60)
    world.kubectl("delete", "federatedconfigmap", "prices", "-n", "shop")
    until(lambda: stage.data(south, "prices") is None, within_s=60)
    assert stage.data(north, "prices") == {"a": "1"}
    waits = get(world, "placementpolicy", "lent")["status"].get("waitsFor", [])
    assert [each["name"].partition(" (")[0] for each in waits] == ["north"], "it may run it until its lease is over"
    assert get(south, "deployment", "ledger") is None
    until(lambda: stage.runs() == before, within_s=60)
    until(lambda: get(south, "deployment", "ledger"), within_s=120)
