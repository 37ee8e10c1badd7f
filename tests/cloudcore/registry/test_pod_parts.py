"""What writing a subresource of a pod leaves of what was sent."""

from __future__ import annotations

from cloudcore.registry.pod_parts import with_ephemeral_containers, with_resources
from skerry.objects.json import Json, JsonObject, map_at

CONTAINER: JsonObject = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "1"}}}


def pod(**spec: Json) -> JsonObject:
    meta: JsonObject = {"name": "web", "generation": 3, "labels": {"a": "b"}}
    return {"metadata": meta, "spec": {"containers": [CONTAINER], **spec}, "status": {"phase": "Running"}}


def test_only_ephemeral_containers_are_taken_and_the_generation_counts_them() -> None:
    wanted = pod(ephemeralContainers=[{"name": "d"}], hostname="other")
    wanted["metadata"] = {"labels": {}}
    assert with_ephemeral_containers(wanted, pod()) == {
        **pod(ephemeralContainers=[{"name": "d"}]),
        "metadata": {**map_at(pod(), "metadata"), "generation": 4},
    }
    assert with_ephemeral_containers({**pod(), "status": {}}, pod()) == pod()


def test_only_resources_are_taken_of_containers_that_are_known() -> None:
    more: JsonObject = {"requests": {"cpu": "2"}}
    wanted = pod(containers=[{**CONTAINER, "image": "y", "resources": more}], hostname="other")
    assert map_at(with_resources(wanted, pod()), "spec") == {"containers": [{**CONTAINER, "resources": more}]}
    renamed = pod(containers=[{"name": "d"}])
    assert map_at(with_resources(renamed, pod()), "spec") == {"containers": [{"name": "d"}]}
    assert with_resources(pod(), pod()) == pod()
