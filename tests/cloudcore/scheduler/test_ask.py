"""What a pod asks of the scheduler."""

from __future__ import annotations

from cloudcore.scheduler.ask import requests_of
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
