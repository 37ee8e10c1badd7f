"""A kubelet's own look at pods that come: what does not fit, and what was not meant for this gateway."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edgecore.pods.admitting import Gateway, needs_of, not_admitted
from skerry.frozen import replace
from skerry.objects.json import Json, JsonObject
from skerry.objects.taints import Taint
from tests.edgecore.pods.pods_of import container, pod, pod_with

GATE = Gateway(
    name="gate-1",
    labels={"zone": "north", "disk": "ssd"},
    allocatable={"cpu": "2", "memory": "1Gi", "ephemeral-storage": "10Gi", "pods": "3"},
    used={"cpu": 1500, "memory": 512 << 20, "pods": 2},
)


def asking(**requests: Json) -> JsonObject:
    return pod(container(resources={"requests": {name.replace("_", "-"): each for name, each in requests.items()}}))


def refused(the_pod: JsonObject, **changes: object) -> tuple[str, str]:
    found = not_admitted(the_pod, replace(GATE, **changes))
    assert found is None or found.refused
    return ("", "") if found is None else (found.reason, found.message)


@pytest.mark.parametrize(
    ("requests", "reason", "message"),
    [
        ({"cpu": "501m"}, "OutOfcpu", "cpu, requested: 501, used: 1500, capacity: 2000"),
        ({"memory": "513Mi"}, "OutOfmemory", "memory, requested: 537919488, used: 536870912, capacity: 1073741824"),
        (
            {"ephemeral_storage": "11Gi"},
            "OutOfephemeral-storage",
            "ephemeral-storage, requested: 11811160064, used: 0, capacity: 10737418240",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_kubelets_words(
    requests: Mapping[str, Json], reason: str, message: str
) -> None:
    said = f"Pod was rejected: Node didn't have enough resource: {message}"
    assert refused(asking(**requests)) == (reason, said)


def test_what_fits_to_the_last_byte_is_admitted() -> None:
    assert refused(asking(cpu="500m", memory="512Mi", ephemeral_storage="10Gi")) == ("", "")
    assert refused(asking(), used={"cpu": 9000, "memory": 9 << 30, "pods": 2}) == ("", "")  # it asks for nothing


def test_there_is_an_end_to_how_many_pods_there_are() -> None:
    text = "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"
    assert refused(pod(), used={"pods": 3}) == ("OutOfpods", text)


def test_what_the_system_needs_is_admitted_whatever_is_left() -> None:
    assert refused(pod_with({"priority": 2_000_001_000}, *_large())) == ("", "")
    assert refused(pod_with({}, *_large()))[0] == "OutOfcpu"


def _large() -> list[JsonObject]:
    return [container(resources={"requests": {"cpu": "64"}})]


MISSED = (
    "NodeAffinity",
    "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
)


def required(*terms: JsonObject) -> JsonObject:
    needed: JsonObject = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [*terms]}}
    return pod(affinity={"nodeAffinity": needed})


def test_what_was_meant_for_another_node_is_refused() -> None:
    assert refused(pod(nodeSelector={"disk": "ssd", "zone": "north"})) == ("", "")
    assert refused(pod(nodeSelector={"disk": "hdd"})) == MISSED
    assert refused(pod(nodeSelector={"gpu": ""})) == MISSED
    north: JsonObject = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["north"]}]}
    south: JsonObject = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["south"]}]}
    other: JsonObject = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gate-2"]}]}
    assert refused(required(south, north)) == ("", "")
    assert refused(required(south, other)) == MISSED
    assert refused(required()) == MISSED


def test_a_gateway_that_does_not_know_its_node_believes_who_placed_the_pod() -> None:
    assert refused(pod(nodeSelector={"disk": "hdd"}), labels=None) == ("", "")


def test_what_a_pod_holds_is_counted_as_the_scheduler_counts() -> None:
    init = container("init", resources={"requests": {"cpu": "2", "ephemeral-storage": "1Gi"}})
    app = container(resources={"requests": {"cpu": "1", "memory": "1Mi"}})
    assert needs_of(pod(app, initContainers=[init])) == {
        "pods": 1,
        "cpu": 2000,
        "memory": 1 << 20,
        "ephemeral-storage": 1 << 30,
    }


def test_what_is_for_another_system_is_refused_before_anything_else() -> None:
    text = "Pod was rejected: Failed to admit pod as the OS field doesn't match node OS"
    assert refused(pod_with({"os": {"name": "windows"}}, *_large())) == ("PodOSNotSupported", text)
    assert refused(pod(os={"name": "linux"})) == ("", "")
    labelled = pod()
    labelled["metadata"] = {"name": "a", "labels": {"kubernetes.io/os": "windows"}}
    assert refused(labelled)[0] == "PodOSSelectorNodeLabelDoesNotMatch"


def test_huge_pages_that_were_not_set_aside_are_not_there() -> None:
    asks = asking(**{"hugepages-2Mi": "4Mi"})
    text = "hugepages-2Mi, requested: 4194304, used: 0, capacity: 0"
    assert refused(asks) == ("OutOfhugepages-2Mi", f"Pod was rejected: Node didn't have enough resource: {text}")
    room = {**GATE.allocatable, "hugepages-2Mi": "4Mi"}
    assert refused(asks, allocatable=room) == ("", "")
    assert refused(asks, allocatable=room, used={"hugepages-2Mi": 2 << 20})[0] == "OutOfhugepages-2Mi"


def test_a_taint_that_sends_pods_away_lets_none_come() -> None:
    hot = (Taint("state", "hot", "NoExecute"),)
    text = "Pod was rejected: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
    assert refused(pod(), taints=hot) == ("TaintToleration", text)
    assert refused(pod(tolerations=[{"operator": "Exists", "tolerationSeconds": 5}]), taints=hot) == ("", "")
    static = pod()
    static["metadata"] = {"name": "a", "annotations": {"kubernetes.io/config.source": "file"}}
    assert refused(static, taints=hot) == ("", "")
