"""Pods as workloads make them of their templates. Pure; keeps nothing."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from cloudcore.controllers.ownership import controller_reference
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, list_at, map_at
from skerry.objects.meta import name_of, namespace_of

_SAFE: Final = "bcdfghjklmnpqrstvwxz2456789"


def templated_pod(owner: JsonObject, template: JsonObject) -> JsonObject:
    """A pod of the template, controlled by the owner and named after it, as sent to the API."""
    metadata: JsonObject = {
        "generateName": f"{name_of(owner)}-",
        "namespace": namespace_of(owner),
        "labels": dict(map_at(template, "metadata", "labels")),
        "annotations": dict(map_at(template, "metadata", "annotations")),
        "finalizers": list(list_at(template, "metadata", "finalizers")),
        "ownerReferences": [controller_reference(owner)],
    }
    kept: JsonObject = {name: value for name, value in metadata.items() if value}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": map_at(template, "spec")}


def template_hash(template: JsonObject, collisions: int) -> str:
    """A short name for a template; another one for each collision met. Only its being stable matters."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":")) + (f"#{collisions}" if collisions else "")
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
    return "".join(_SAFE[ord(digit) % len(_SAFE)] for digit in str(number))


class Failure(Frozen):
    """What kept a workload from making or ending a pod."""

    reason: str
    """FailedCreate or FailedDelete."""
    message: str
