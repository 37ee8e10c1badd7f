"""Which taints say that new pods should not go to a node: it isn't ready, or runs short of something. Pure.

Only NoSchedule, never NoExecute: that a node is silent never ends what runs on it (SYNC.md, promise 8), and who has
to go for want of room, the gateway itself decides. Keeps nothing.
"""

from __future__ import annotations

from typing import Final

from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.times import time_text

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
PRESSURES: Final = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
"""By the condition that calls for it while it is True."""
OURS: Final = frozenset({NOT_READY, UNREACHABLE, *PRESSURES.values()})


def wanted_taints(node: JsonObject) -> tuple[str, ...]:
    """The keys of the taints that the node should have, by its conditions."""
    short = tuple(
        key for kind, key in PRESSURES.items() if str_at(condition_of(node, kind) or {}, "status") == "True"
    )
    match str_at(condition_of(node, "Ready") or {}, "status"):
        case "True":
            return short
        case "Unknown":
            return (UNREACHABLE, *short)
        case _:
            return (NOT_READY, *short)


def tainted(node: JsonObject, *, now_ms: int) -> JsonObject:
    """The node with the taints it should have and without those it should not; itself where nothing changes."""
    wanted = wanted_taints(node)
    taints = maps_at(node, "spec", "taints")
    kept: list[Json] = [
        taint
        for taint in taints
        if str_at(taint, "effect") != "NoSchedule"
        or str_at(taint, "key") not in OURS
        or str_at(taint, "key") in wanted
    ]
    held = {str_at(taint, "key") for taint in taints if str_at(taint, "effect") == "NoSchedule"}
    kept.extend(_taint(key, now_ms) for key in wanted if key not in held)
    if kept == taints:
        return node
    spec = {name: value for name, value in map_at(node, "spec").items() if name != "taints"}
    return {**node, "spec": {**spec, "taints": kept} if kept else spec}


def _taint(key: str, now_ms: int) -> JsonObject:
    return {"key": key, "effect": "NoSchedule", "timeAdded": time_text(now_ms)}
