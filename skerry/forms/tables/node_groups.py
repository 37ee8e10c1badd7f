"""Node groups: how many of their nodes they have, and how many of these are ready. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns
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


PRINTERS: Final = {
    (GROUP, "NodeGroup"): Printer(
        columns=columns(
            "Name", "Wanted:integer", "Nodes:integer", "Ready:integer", "Age", wide=("Selects", "Not In It")
        ),
        cells=_group,
    ),
}
"""By (group, kind)."""
