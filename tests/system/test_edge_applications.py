"""An EdgeApplication on two real gateways, one of which goes away while the application is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.system.cloud_process import CloudProcess, cloud_process
from tests.system.real_fleet import EdgeProcess
from tests.system.test_federation import free_port, get, until

pytestmark = pytest.mark.system

GROUPS = ("hamburg", "kiel")
SCRIPT = "while :; do sleep 0.5; done"


def application(word: str, *groups: str) -> str:
    """Each group's pods have the word in their environment."""
    pod = {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "till", "image": "sh", "command": ["sh", "-c", SCRIPT]}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "till"},
        "spec": {
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "till"}},
            "template": {"metadata": {"labels": {"app": "till"}}, "spec": pod},
        },
    }
    told = {"containerName": "till", "operator": "add", "value": [{"name": "WORD", "value": word}]}
    targets = [{"name": each, "overriders": {"replicas": 1, "envOverriders": [told]}} for each in groups]
    spec = {"workloadTemplate": {"manifests": [deployment]}, "workloadScope": {"targetNodeGroups": targets}}
    kind = {"apiVersion": "apps.kubeedge.io/v1alpha1", "kind": "EdgeApplication"}
    return json.dumps({**kind, "metadata": {"name": "shop", "namespace": "shop"}, "spec": spec})


class Site:
    def __init__(self, cloud: CloudProcess, edges: dict[str, EdgeProcess]) -> None:
        self.cloud = cloud
        self.edges = edges

    def declare(self, word: str, *groups: str) -> None:
        self.cloud.kubectl("apply", "-f", "-", stdin=application(word, *groups))

    def states(self) -> dict[str, str]:
        """Whether each workload is available, as the application says."""
        told = get(self.cloud, "edgeapplication", "shop").get("status", {}).get("workloadStatus", [])
        return {each["identifier"]["name"]: each["conditions"] for each in told}

    def words(self, group: str) -> list[str]:
        """Of the pods that the gateway of a group runs, as it says itself."""
        listed = self.edges[group].api.request("GET", "/api/v1/namespaces/shop/pods").obj
        found: Any = listed["items"]
        return [pod["spec"]["containers"][0]["env"][0]["value"] for pod in found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        cloud = stack.enter_context(cloud_process(base / "cloud", "--hub-port", str(free_port())))
        edges = {group: EdgeProcess(data=base / group) for group in GROUPS}
        cloud.kubectl("create", "namespace", "shop")
        for group, edge in edges.items():
            stack.callback(_end, edge)
            edge.data.mkdir()
            edge.join(cloud, node=f"gate-{group}")
            edge.start()
            spec = {"nodes": [f"gate-{group}"]}
            kind = {"apiVersion": "apps.kubeedge.io/v1alpha1", "kind": "NodeGroup", "metadata": {"name": group}}
            cloud.kubectl("apply", "-f", "-", stdin=json.dumps({**kind, "spec": spec}))
        yield Site(cloud, edges)


def _end(edge: EdgeProcess) -> None:
    if edge.process is not None:
        edge.process.kill()
        edge.process.wait()
    edge.end_containers()


def test_who_is_away_holds_no_group_up_and_follows_on_return(site: Site) -> None:
    site.declare("one", *GROUPS)
    all_there = {"till-hamburg": "Available", "till-kiel": "Available"}
    until(lambda: site.states() == all_there, within_s=90)
    assert [site.words(group) for group in GROUPS] == [["one"], ["one"]]
    site.edges["kiel"].stop()
    until(lambda: _ready(site.cloud, "kiel") in ("NotReady", "Unknown"), within_s=90)
    site.declare("two", *GROUPS)
    until(lambda: site.states() == {**all_there, "till-kiel": "Processing"}, within_s=90)
    until(lambda: site.words("hamburg") == ["two"], within_s=60)
    site.edges["kiel"].start()
    until(lambda: site.words("kiel") == ["two"], within_s=90)
    until(lambda: site.states() == all_there, within_s=90)


def test_a_group_that_is_no_target_any_more_is_cleaned_up_when_it_is_back(site: Site) -> None:
    site.declare("two", *GROUPS)
    until(lambda: site.words("kiel") == ["two"], within_s=90)
    site.edges["kiel"].stop()
    site.declare("two", "hamburg")
    until(lambda: site.states() == {"till-hamburg": "Available"}, within_s=90)
    site.edges["kiel"].start()
    until(lambda: site.words("kiel") == [], within_s=90)
    assert site.words("hamburg") == ["two"]


def _ready(cloud: CloudProcess, group: str) -> str:
    """Of the group's one gateway."""
    status: Any = get(cloud, "nodegroup", group, "").get("status", {})
    return status["nodeStatuses"][0]["readyStatus"]
