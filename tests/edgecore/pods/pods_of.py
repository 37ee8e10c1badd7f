"""Pods and containers for the tests of `edgecore.pods`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecore.pods.env import NodeFacts, Surroundings
from edgecore.pods.port import ContainerState, SandboxState
from skerry.objects.json import Json, JsonObject, encode_object, map_at
from skerry.objects.meta import Key, Revision, Stamp

NOW_MS = 1_750_000_000_000
NODE = NodeFacts(name="gate-1", address="10.0.0.7", allocatable={"cpu": "4", "memory": "1Gi"})


def container(name: str = "app", /, **fields: Json) -> JsonObject:
    return {"name": name, "image": "app", **fields}


def pod(*containers: JsonObject, uid: str = "uid-1", name: str = "web", **spec: Json) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "generation": 1, "labels": {"app": "web"}},
        "spec": {"nodeName": "gate-1", "containers": [*(containers or (container(),))], **spec},
    }


def sandbox(attempt: int = 0, *, ready: bool = True, addresses: tuple[str, ...] = ()) -> SandboxState:
    return SandboxState(
        id=f"uid-1/{attempt}",
        pod_uid="uid-1",
        pod_name="web",
        pod_namespace="default",
        attempt=attempt,
        ready=ready,
        addresses=addresses,
        created_ms=NOW_MS,
    )


def pod_with(spec: Mapping[str, Json], *containers: JsonObject) -> JsonObject:
    """A pod with these fields of its spec, whatever they are called."""
    plain = pod(*containers)
    return {**plain, "spec": {**map_at(plain, "spec"), **spec}}


def state(name: str = "app", attempt: int = 0, **fields: object) -> ContainerState:
    values: dict[str, Any] = {
        "id": f"uid-1.{name}.{attempt}",
        "sandbox_id": "uid-1/0",
        "pod_uid": "uid-1",
        "name": name,
        "attempt": attempt,
        "image": "app",
        "image_id": "fake:app",
        "phase": "running",
        "started_ms": NOW_MS,
        **fields,
    }
    return ContainerState(**values)


def ended(
    name: str = "app", attempt: int = 0, *, code: int = 1, at_ms: int = NOW_MS, **fields: object
) -> ContainerState:
    reason = "Completed" if code == 0 else "Error"
    return state(name, attempt, phase="exited", exit_code=code, reason=reason, finished_ms=at_ms, **fields)


def around(the_pod: JsonObject, **objects: JsonObject) -> Surroundings:
    """Objects by `configmaps_name`."""

    def find(resource: str, name: str) -> JsonObject | None:
        return objects.get(f"{resource}_{name}")

    return Surroundings(pod=the_pod, node=NODE, find=find)


def key_of(obj: JsonObject, resource: str = "pods") -> Key:
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    return Key(resource, str(metadata["namespace"]), str(metadata["name"]))


def stamp_of(obj: JsonObject, revision: int = 1) -> Stamp:
    metadata = obj["metadata"]
    assert isinstance(metadata, dict)
    return Stamp(str(metadata.get("uid", "u")), Revision(revision))


def body_of(obj: JsonObject) -> bytes:
    return encode_object(obj)
