"""Nodes and pods as the scheduler's tests want them."""

from typing import Any


def node(
    name: str, *, ready: str = "True", cpu: str = "4", pods: str = "110", labels: Any = None, **spec: Any
) -> Any:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": cpu, "memory": "8Gi", "pods": pods},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def pod(name: str = "p", *, cpu: str = "", labels: Any = None, owner: str = "", **spec: Any) -> Any:
    container: Any = {"name": "c"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    metadata: Any = {"name": name, "namespace": "d", "uid": name, "labels": labels or {}}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "controller": True}]
    return {"metadata": metadata, "spec": {"containers": [container], **spec}}
