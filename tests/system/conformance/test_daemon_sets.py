"""DaemonSets and ControllerRevisions: conformance that needs their controller, a scheduler and nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.system.conformance.cluster import MERGE, STRATEGIC, Cluster, Obj, eventually
from tests.system.conformance.fleet import fleet

pytestmark = pytest.mark.system

HASH = "controller-revision-hash"


@pytest.fixture(scope="module", autouse=True)
def nodes(cluster: Cluster) -> Iterator[list[str]]:
    names = [cluster.name("node") for _ in range(3)]
    with fleet(cluster, *names):
        yield names


class Daemons:
    """The DaemonSets of one namespace, on the nodes of this file."""

    def __init__(self, cluster: Cluster, ns: str, nodes: list[str]) -> None:
        self.cluster, self.nodes = cluster, nodes
        self.path = f"/apis/apps/v1/namespaces/{ns}/daemonsets"
        self.revisions = f"/apis/apps/v1/namespaces/{ns}/controllerrevisions"
        self.pods = f"/api/v1/namespaces/{ns}/pods"
        self.mark = cluster.name("mark")
        """A label of these nodes: other files have nodes too."""
        for name in nodes:
            cluster.patch(f"/api/v1/nodes/{name}", {"metadata": {"labels": {self.mark: "yes"}}})

    def make(self, name: str, image: str = "httpd:1", node_label: str = "yes", **spec: object) -> Obj:
        labels = {"daemonset-name": name}
        template: Obj = {
            "metadata": {"labels": labels},
            "spec": {
                "nodeSelector": {self.mark: node_label},
                "containers": [{"name": "app", "image": image, "ports": [{"containerPort": 9376}]}],
            },
        }
        wanted: Obj = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
        }
        return self.cluster.create(self.path, wanted)

    def of(self, name: str) -> list[Obj]:
        return self.cluster.get(self.pods, labelSelector=f"daemonset-name={name}")["items"]

    def runs(self, name: str, nodes: list[str], image: str = "") -> None:
        """One available pod on each of these nodes, and none elsewhere."""

        def is_so() -> bool:
            pods = [pod for pod in self.of(name) if not pod["metadata"].get("deletionTimestamp")]
            where = sorted(pod["spec"].get("nodeName", "") for pod in pods if pod["status"]["phase"] == "Running")
            images = {pod["spec"]["containers"][0]["image"] for pod in pods}
            return where == sorted(nodes) and (not image or images <= {image})

        eventually(is_so, f"{name} runs on {nodes}", 30)

    def settles(self, name: str, count: int) -> Obj:
        def status() -> Obj:
            return self.cluster.get(f"{self.path}/{name}")["status"]

        wanted = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "numberAvailable")
        eventually(lambda: all(status().get(each, 0) == count for each in wanted), f"the status of {name}", 30)
        return self.cluster.get(f"{self.path}/{name}")

    def history(self, name: str) -> list[Obj]:
        found = self.cluster.get(self.revisions, labelSelector=f"daemonset-name={name}")["items"]
        return sorted(found, key=lambda obj: obj["revision"])


@pytest.fixture
def daemons(cluster: Cluster, ns: str, nodes: list[str]) -> Daemons:
    return Daemons(cluster, ns, nodes)


def test_should_run_and_stop_simple_daemon(daemons: Daemons):
    daemons.make("simple")
    daemons.runs("simple", daemons.nodes)
    daemons.settles("simple", 3)
    [pod, *_] = daemons.of("simple")
    daemons.cluster.delete(f"{daemons.pods}/{pod['metadata']['name']}")
    daemons.cluster.gone(f"{daemons.pods}/{pod['metadata']['name']}")
    daemons.runs("simple", daemons.nodes)
    daemons.cluster.delete(f"{daemons.path}/simple", {"propagationPolicy": "Background"})
    eventually(lambda: not daemons.of("simple"), "its pods are gone", 30)


def test_should_run_and_stop_complex_daemon(daemons: Daemons):
    daemons.make("complex", node_label="blue")
    daemons.runs("complex", [])
    one = f"/api/v1/nodes/{daemons.nodes[0]}"
    daemons.cluster.patch(one, {"metadata": {"labels": {daemons.mark: "blue"}}})
    daemons.runs("complex", [daemons.nodes[0]])
    daemons.settles("complex", 1)
    daemons.cluster.patch(one, {"metadata": {"labels": {daemons.mark: "green"}}})
    daemons.runs("complex", [])
    template = {"spec": {"nodeSelector": {daemons.mark: "green"}}}
    spec = {"template": template, "updateStrategy": {"type": "RollingUpdate"}}
    daemons.cluster.patch(f"{daemons.path}/complex", {"spec": spec})
    daemons.runs("complex", [daemons.nodes[0]])


def test_should_retry_creating_failed_daemon_pods(daemons: Daemons):
    daemons.make("failing")
    daemons.runs("failing", daemons.nodes)
    [pod, *_] = daemons.of("failing")
    one = f"{daemons.pods}/{pod['metadata']['name']}"
    daemons.cluster.update(one, lambda obj: obj["status"].update(phase="Failed"), "/status")
    daemons.cluster.gone(one)
    daemons.runs("failing", daemons.nodes)
    assert "FailedDaemonPod" in daemons.cluster.kubectl("events", "-A", "--for", "daemonset/failing")


def test_should_update_pod_when_spec_was_updated_and_update_strategy_is_rolling_update(daemons: Daemons):
    made = daemons.make("rolled", updateStrategy={"type": "RollingUpdate"})
    daemons.runs("rolled", daemons.nodes)
    first = current(daemons, made)
    assert first["revision"] == 1
    assert {pod["metadata"]["labels"][HASH] for pod in daemons.of("rolled")} == {first["metadata"]["labels"][HASH]}
    container = {"name": "app", "image": "agnhost:2"}
    daemons.cluster.patch(
        f"{daemons.path}/rolled", {"spec": {"template": {"spec": {"containers": [container]}}}}, STRATEGIC
    )
    daemons.runs("rolled", daemons.nodes, "agnhost:2")
    second = current(daemons, daemons.cluster.get(f"{daemons.path}/rolled"))
    assert second["revision"] == 2
    assert {pod["metadata"]["labels"][HASH] for pod in daemons.of("rolled")} == {second["metadata"]["labels"][HASH]}
    assert [each["revision"] for each in daemons.history("rolled")] == [1, 2]


def current(daemons: Daemons, obj: Obj) -> Obj:
    """The revision whose data is the set's template, byte for byte, as Go's client makes it of the set."""
    template = {**obj["spec"]["template"], "$patch": "replace"}
    data = json.dumps({"spec": {"template": template}}, sort_keys=True, separators=(",", ":"))

    def found() -> list[Obj]:
        return [
            each
            for each in daemons.history(obj["metadata"]["name"])
            if json.dumps(each["data"], separators=(",", ":")) == data
        ]

    eventually(lambda: len(found()) == 1, "one current revision")
    return found()[0]


def test_should_rollback_without_unnecessary_restarts(daemons: Daemons):
    daemons.make("back", updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}})
    daemons.runs("back", daemons.nodes, "httpd:1")
    before = {pod["metadata"]["uid"] for pod in daemons.of("back")}

    def image(text: str) -> None:
        def change(obj: Obj) -> None:
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = text

        daemons.cluster.update(f"{daemons.path}/back", change)

    image("broken")
    eventually(
        lambda: any(pod["spec"]["containers"][0]["image"] == "broken" for pod in daemons.of("back")), "it begins"
    )
    image("httpd:1")
    daemons.runs("back", daemons.nodes, "httpd:1")
    after = {pod["metadata"]["uid"] for pod in daemons.of("back")}
    assert len(before & after) == 2, "two were never touched"


def test_should_list_and_delete_a_collection_of_daemon_sets(daemons: Daemons):
    cluster = daemons.cluster
    daemons.make("listed")
    daemons.runs("listed", daemons.nodes)
    daemons.settles("listed", 3)
    found = cluster.get("/apis/apps/v1/daemonsets", labelSelector="daemonset-name=listed")
    assert len(found["items"]) == 1
    cluster.delete(daemons.path, {"propagationPolicy": "Background"}, labelSelector="daemonset-name=listed")
    eventually(lambda: not cluster.get(daemons.path)["items"], "none is left")


def test_should_verify_changes_to_a_daemon_set_status(daemons: Daemons):
    cluster, one = daemons.cluster, f"{daemons.path}/told"
    daemons.make("told")
    daemons.runs("told", daemons.nodes)
    added = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    updated = cluster.update(one, lambda obj: obj["status"].setdefault("conditions", []).append(added), "/status")
    assert added.items() <= next(c for c in updated["status"]["conditions"] if c["type"] == "StatusUpdate").items()
    patched = {"type": "StatusPatched", "status": "True"}
    cluster.patch(f"{one}/status", {"status": {"conditions": [patched]}}, MERGE)
    assert [c["type"] for c in cluster.get(f"{one}/status")["status"]["conditions"]] == ["StatusPatched"]


def test_should_manage_the_lifecycle_of_a_controller_revision(daemons: Daemons):
    cluster = daemons.cluster
    owner = daemons.make("revised")
    daemons.runs("revised", daemons.nodes)
    daemons.settles("revised", 3)
    [first] = daemons.history("revised")
    one = f"{daemons.revisions}/{first['metadata']['name']}"
    patched = cluster.patch(one, {"metadata": {"labels": {first["metadata"]["name"]: "patched"}}}, STRATEGIC)
    assert patched["metadata"]["labels"][first["metadata"]["name"]] == "patched"
    reference = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "name": "revised",
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    labels = {"daemonset-name": "revised", HASH: "by-hand"}
    metadata = {"name": "revised-by-hand", "labels": labels, "ownerReferences": [reference]}
    second = {"metadata": metadata, "data": first["data"], "revision": first["revision"] + 1}
    cluster.create(daemons.revisions, second)
    cluster.call("DELETE", one)
    eventually(lambda: [each["revision"] for each in daemons.history("revised")] == [2], "one is left")
    spec = {"template": {"spec": {"terminationGracePeriodSeconds": 1}}, "updateStrategy": {"type": "RollingUpdate"}}
    cluster.patch(f"{daemons.path}/revised", {"spec": spec}, STRATEGIC)
    eventually(lambda: [each["revision"] for each in daemons.history("revised")] == [2, 3], "another one")
    daemons.runs("revised", daemons.nodes)
    cluster.delete(daemons.revisions, labelSelector=f"{HASH}=by-hand")
    eventually(lambda: [each["revision"] for each in daemons.history("revised")] == [3], "the last one is left")


def test_kubectl_rolls_and_goes_back(daemons: Daemons):
    """Beyond the suite: what an operator types."""
    cluster, ns = daemons.cluster, daemons.path.split("/")[5]
    daemons.make("typed")
    kubectl = ("-n", ns)
    assert "successfully rolled out" in cluster.kubectl(*kubectl, "rollout", "status", "ds/typed", "--timeout=60s")
    cluster.kubectl(*kubectl, "set", "image", "ds/typed", "app=httpd:2")
    cluster.kubectl(*kubectl, "annotate", "ds/typed", "kubernetes.io/change-cause=two")
    cluster.kubectl(*kubectl, "rollout", "status", "ds/typed", "--timeout=60s")
    daemons.runs("typed", daemons.nodes, "httpd:2")
    assert "2 " in cluster.kubectl(*kubectl, "rollout", "history", "ds/typed")
    assert "httpd:1" in cluster.kubectl(*kubectl, "rollout", "history", "ds/typed", "--revision=1")
    cluster.kubectl(*kubectl, "rollout", "undo", "ds/typed")
    cluster.kubectl(*kubectl, "rollout", "status", "ds/typed", "--timeout=60s")
    daemons.runs("typed", daemons.nodes, "httpd:1")
    assert [each["revision"] for each in daemons.history("typed")] == [2, 3]
    row = cluster.kubectl(*kubectl, "get", "ds", "typed", "--no-headers").split()
    assert row[:6] == ["typed", "3", "3", "3", "3", "3"]
    assert "3 Running" in cluster.kubectl(*kubectl, "describe", "ds", "typed")
    cluster.kubectl(*kubectl, "rollout", "restart", "ds/typed")
    cluster.kubectl(*kubectl, "rollout", "status", "ds/typed", "--timeout=60s")


def test_kubectl_drains_a_node_and_leaves_its_daemons(daemons: Daemons):
    """Beyond the suite: who repairs a gateway drains it first."""
    cluster, ns = daemons.cluster, daemons.path.split("/")[5]
    daemons.make("stays")
    daemons.runs("stays", daemons.nodes)
    node = daemons.nodes[0]
    spec: Obj = {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i:1"}]}
    cluster.create(daemons.pods, {"metadata": {"name": "goes"}, "spec": spec})
    before = {pod["metadata"]["uid"] for pod in daemons.of("stays")}
    refused = cluster.kubectl("drain", node, "--force", "--timeout=20s", check=False)
    assert "cannot delete DaemonSet-managed Pods" in refused
    cluster.kubectl("drain", node, "--force", "--ignore-daemonsets", "--timeout=30s")
    cluster.gone(f"{daemons.pods}/goes")
    daemons.runs("stays", daemons.nodes)
    assert {pod["metadata"]["uid"] for pod in daemons.of("stays")} == before, f"nothing of {ns} was restarted"
    daemons.settles("stays", 3)
    cluster.kubectl("uncordon", node)


def test_should_surge_pods_onto_nodes_when_spec_was_updated(daemons: Daemons):
    """Of the suite's cases beyond conformance."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    daemons.make("surging", updateStrategy=rolling, minReadySeconds=1)
    daemons.runs("surging", daemons.nodes)
    daemons.settles("surging", 3)
    container = {"name": "app", "image": "agnhost:2"}
    spec = {"template": {"spec": {"containers": [container]}}}
    daemons.cluster.patch(f"{daemons.path}/surging", {"spec": spec}, STRATEGIC)

    def is_done() -> bool:
        pods = daemons.of("surging")
        ready = {pod["spec"].get("nodeName") for pod in pods if is_ready(pod)}
        assert ready == set(daemons.nodes), "each node has one that works at any time"
        return len(pods) == 3 and {pod["spec"]["containers"][0]["image"] for pod in pods} == {"agnhost:2"}

    eventually(is_done, "all are updated", 40)


def is_ready(pod: Obj) -> bool:
    told = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in told)
