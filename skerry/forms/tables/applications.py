"""Node groups and edge applications: how many of their nodes, or objects, there are and work. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns
from skerry.objects.edge_applications import AVAILABLE, targets_of
from skerry.objects.json import Json, JsonObject, maps_at, str_at, str_map_at, strs_at
from skerry.objects.node_groups import GROUP, SUCCEEDED


def _group(obj: JsonObject, now_ms: int) -> list[Json]:
    told = maps_at(obj, "status", "nodeStatuses")
    had = [each for each in told if str_at(each, "selectionStatus") == SUCCEEDED]
    ready = [each for each in had if str_at(each, "readyStatus") == "Ready"]
    labels = str_map_at(obj, "spec", "matchLabels")
    others = [str_at(each, "nodeName") for each in told if str_at(each, "selectionStatus") != SUCCEEDED]
    return [
        str_at(obj, "metadata", "name"),
        len(told),
        len(had),
        len(ready),
        age(obj, now_ms),
        ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        or ",".join(strs_at(obj, "spec", "nodes"))
        or NONE,
        ",".join(others) or NONE,
    ]


def _application(obj: JsonObject, now_ms: int) -> list[Json]:
    told = maps_at(obj, "status", "workloadStatus")
    available = [each for each in told if str_at(each, "conditions") == AVAILABLE]
    faults = [str_at(each, "message") for each in told if str_at(each, "message")]
    return [
        str_at(obj, "metadata", "name"),
        ",".join(target.group or "by-labels" for target in targets_of(obj)) or NONE,
        len(told),
        len(available),
        age(obj, now_ms),
        "; ".join(faults) or NONE,
    ]


PRINTERS: Final = {
    (GROUP, "EdgeApplication"): Printer(
        columns=columns("Name", "Groups", "Objects:integer", "Available:integer", "Age", wide=("Why",)),
        cells=_application,
    ),
    (GROUP, "NodeGroup"): Printer(
        columns=columns(
            "Name", "Wanted:integer", "Nodes:integer", "Ready:integer", "Age", wide=("Selects", "Not In It")
        ),
        cells=_group,
    ),
}
"""By (group, kind)."""
