"""What a pod asks of the scheduler."""

from __future__ import annotations

from cloudcore.scheduler.ask import ask_of, requests_of
from skerry.objects.json import Json, JsonObject


def test_a_pod_that_is_resized_counts_as_the_larger_until_its_gateway_has_agreed() -> None:
    def pod(asked: str, given: str, reason: str = "") -> JsonObject:
        conditions: Json = [{"type": "PodResizePending", "status": "True", "reason": reason}] if reason else []
        told: Json = [{"name": "c", "allocatedResources": {"cpu": given}}]
        containers: Json = [{"name": "c", "resources": {"requests": {"cpu": asked}}}]
        return {"spec": {"containers": containers}, "status": {"containerStatuses": told, "conditions": conditions}}

    assert requests_of(pod("2", "1")) == requests_of(pod("1", "2")) == {"cpu": 2000}
    assert requests_of(pod("2", "1", "Deferred")) == {"cpu": 2000}
    assert requests_of(pod("2", "1", "Infeasible")) == {"cpu": 1000}


def test_a_term_about_nodes_that_makes_no_sense_matches_none_and_the_pod_is_read() -> None:
    term: JsonObject = {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["x"]}]}
    node: JsonObject = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}],
    }
    pod: JsonObject = {
        "metadata": {"name": "p", "namespace": "d", "uid": "u"},
        "spec": {"affinity": {"nodeAffinity": node}},
    }
    ask = ask_of(pod)
    assert ask.required is not None and not ask.required.matches({"cores": "4"}, "gw-1")
    assert not any(wish.matches({"cores": "4"}, "gw-1") for _, wish in ask.preferred)
