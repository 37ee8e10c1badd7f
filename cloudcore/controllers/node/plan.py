"""Which taints say that a node isn't ready. Pure.

Only NoSchedule, never NoExecute: that a node is silent never ends what runs on it (SYNC.md, promise 8). Keeps
nothing.
"""

from __future__ import annotations

from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at
from skerry.objects.times import time_text

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


def wanted_taint(node: JsonObject) -> str:
    """The key of the taint the node should have, by its Ready condition; "" for none."""
    match str_at(condition_of(node, "Ready") or {}, "status"):
        case "True":
            return ""
        case "Unknown":
            return UNREACHABLE
        case _:
            return NOT_READY


def tainted(node: JsonObject, *, now_ms: int) -> JsonObject:
    """The node with the taint it should have and without the one it should not; itself where nothing changes."""
    wanted = wanted_taint(node)
    taints = maps_at(node, "spec", "taints")
    kept: list[Json] = [
        taint
        for taint in taints
        if str_at(taint, "effect") != "NoSchedule"
        or str_at(taint, "key") not in (NOT_READY, UNREACHABLE)
        or str_at(taint, "key") == wanted
    ]
    has = any(str_at(taint, "key") == wanted and str_at(taint, "effect") == "NoSchedule" for taint in taints)
    if wanted and not has:
        kept.append({"key": wanted, "effect": "NoSchedule", "timeAdded": time_text(now_ms)})
    if kept == taints:
        return node
    spec = {name: value for name, value in map_at(node, "spec").items() if name != "taints"}
    return {**node, "spec": {**spec, "taints": kept} if kept else spec}
