"""How much disk a pod may use, and what is said of one that uses more: pure.

(Kubernetes documentation, "Local ephemeral storage"; order and words of a kubelet's eviction manager.)
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecore.pods.containers import wanted_of
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.quantity import parse_quantity

_STORAGE = "ephemeral-storage"


class Taken(Frozen):
    """Bytes on the gateway's disks."""

    volumes: Mapping[str, int]
    """By the name of an emptyDir."""
    containers: Mapping[str, int]
    """By name: logs, and what is written beside volumes."""


def empty_dirs(pod: JsonObject) -> list[str]:
    """The names of its emptyDir volumes."""
    return [
        str_at(each, "name") for each in maps_at(pod, "spec", "volumes") if isinstance(each.get("emptyDir"), dict)
    ]


def is_limited(pod: JsonObject) -> bool:
    """Somebody has to measure it."""
    return bool(_volume_limits(pod) or _container_limits(pod))


def excess(pod: JsonObject, taken: Taken) -> str:
    """What it uses too much of; "" where it keeps to its limits."""
    for name, limit in _volume_limits(pod).items():
        if taken.volumes.get(name, 0) > _bytes(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    limits = _container_limits(pod)
    in_memory = {
        str_at(each, "name") for each in maps_at(pod, "spec", "volumes") if str_at(each, "emptyDir", "medium")
    }
    whole = sum(taken.containers.values()) + sum(
        size for name, size in taken.volumes.items() if name not in in_memory
    )
    total = sum(_bytes(limit) for limit in limits.values())
    if limits and whole > total:
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {_text(limits, total)}. "
    for name, limit in limits.items():
        if taken.containers.get(name, 0) > _bytes(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def _text(limits: Mapping[str, str], total: int) -> str:
    return next(iter(limits.values())) if len(limits) == 1 else str(total)


def _volume_limits(pod: JsonObject) -> dict[str, str]:
    found = {str_at(each, "name"): str_at(each, "emptyDir", "sizeLimit") for each in maps_at(pod, "spec", "volumes")}
    return {name: limit for name, limit in found.items() if _bytes(limit)}


def _container_limits(pod: JsonObject) -> dict[str, str]:
    found = {
        one.name: str_at(one.spec, "resources", "limits", _STORAGE) for one in wanted_of(pod) if one.part != "init"
    }
    return {name: limit for name, limit in found.items() if _bytes(limit)}


def _bytes(text: str) -> int:
    try:
        return parse_quantity(text).units if text else 0
    except InvalidError:
        return 0
