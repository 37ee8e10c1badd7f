"""metav1.LabelSelector as kubectl prints it. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE
from skerry.objects.json import Json, maps_at, str_at, str_map_at, strs_at

_WORDS: Final = {"In": "in", "NotIn": "notin"}


def selector_text(selector: Json) -> str:
    """`app=web,tier in (a,b),!old`; `<none>` for an empty or absent one."""
    parts = [f"{name}={value}" for name, value in sorted(str_map_at(selector, "matchLabels").items())]
    for asked in maps_at(selector, "matchExpressions"):
        key, operator = str_at(asked, "key"), str_at(asked, "operator")
        match operator:
            case "In" | "NotIn":
                parts.append(f"{key} {_WORDS[operator]} ({','.join(sorted(strs_at(asked, 'values')))})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts) or NONE
