"""Claims, volumes, classes and pods that use them, as the tests of storage want them."""

from __future__ import annotations

from typing import Any

from skerry.objects.volumes import DEFAULT_CLASS, LOCAL


def claim(name: str = "data", size: str = "1Gi", *, uid: str = "", **spec: Any) -> Any:
    metadata: Any = {"name": name, "namespace": "d"}
    if uid:
        metadata["uid"] = uid
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": metadata, "spec": wanted, "status": {"phase": "Pending"}}


def volume(name: str = "pv", size: str = "1Gi", *, phase: str = "", **spec: Any) -> Any:
    made: Any = {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/srv/{name}"},
            "persistentVolumeReclaimPolicy": "Retain",
            **spec,
        },
    }
    if phase:
        made["status"] = {"phase": phase}
    return made


def reference(name: str = "data", uid: str = "") -> Any:
    return {"kind": "PersistentVolumeClaim", "namespace": "d", "name": name, **({"uid": uid} if uid else {})}


def on(*hosts: str) -> Any:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(hosts)}]}
    return {"required": {"nodeSelectorTerms": [term]}}


def local_class(name: str = "local", *, default: bool = False, **more: Any) -> Any:
    annotations = {"annotations": {DEFAULT_CLASS: "true"}} if default else {}
    return {
        "metadata": {"name": name, **annotations},
        "provisioner": LOCAL,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        **more,
    }


def user(name: str = "p", *claims: str, **spec: Any) -> Any:
    """A pod that uses claims."""
    volumes = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims]
    return {
        "metadata": {"name": name, "namespace": "d"},
        "spec": {"containers": [{"name": "c"}], "volumes": volumes, **spec},
    }
