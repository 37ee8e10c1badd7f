"""Which of its moves brought a device to the gateway that it is on: a number that only grows.

Pure. The API server counts it in an annotation of the Device whenever `spec.nodeName` becomes another's, and the
gateway says it with everything that it tells of the device's state. A device that goes to another gateway and comes
back meets what its first one had told before and could not send: that has an older number, and is nothing any more
(docs/decisions/0275). 0 says nothing: the Device was placed before there was a number, or the agent is older.
"""

from __future__ import annotations

import re
from typing import Final

from skerry.objects.json import JsonObject, clone, ensure_map, str_at
from skerry.objects.meta import annotations_of

OWNER: Final = "twin.skerry.dev/owner"
_NUMBER: Final = re.compile(r"[1-9]\d{0,14}")


def owner_of(device: JsonObject | None) -> int:
    """The number of the Device's last move; 0 where there is none."""
    text = annotations_of(device).get(OWNER, "") if device is not None else ""
    return int(text) if _NUMBER.fullmatch(text) else 0


def stamp_owner(old: JsonObject | None, new: JsonObject) -> JsonObject:
    """What the API server does before it stores a Device: count a move, and let nobody else count. Returns `new`
    itself when nothing is to be done."""
    number = owner_of(old)
    node = str_at(new, "spec", "nodeName")
    if node and node != str_at(old, "spec", "nodeName"):
        number += 1
    text = str(number) if number else ""
    if annotations_of(new).get(OWNER, "") == text:
        return new
    device = clone(new)
    kept = ensure_map(device, "metadata", "annotations")
    kept.pop(OWNER, None)
    if text:
        kept[OWNER] = text
    return device


def is_outdated(told: int, device: JsonObject | None) -> bool:
    """What was told under this number is of before the device's last move."""
    return 0 < told < owner_of(device)
