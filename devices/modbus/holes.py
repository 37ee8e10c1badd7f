"""What was learned of the holes in devices' address spaces, as a note that outlives the agent.

Pure: text in and out. The note is a JSON object: by line, a list of [unit, table, address, learned_ms]. What can't be
read of it is forgotten, and learned again at the price of a few refused requests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast, get_args

from devices.bus import Hole
from devices.plan import Table

NOTE: Final = "modbus-holes"
"""Its name among a driver's notes."""
LINES_MAX: Final = 256


def write_holes(holes: Mapping[str, Sequence[Hole]]) -> str:
    """Lines without holes are left out."""
    kept = {line: its for line, its in list(holes.items())[-LINES_MAX:] if its}
    return json.dumps(
        {line: [[*hole.boundary, hole.learned_ms] for hole in its] for line, its in kept.items()},
        separators=(",", ":"),
    )


def read_holes(text: str) -> dict[str, list[Hole]]:
    """By line."""
    try:
        note = json.loads(text or "{}")
        return {str(line): [_hole(one) for one in its] for line, its in cast("dict[str, list[Any]]", note).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _hole(entry: Any) -> Hole:
    unit, table, address, learned_ms = entry
    if table not in get_args(Table):
        raise ValueError(f"{table!r} is no table")
    return Hole(boundary=(int(unit), table, int(address)), learned_ms=int(learned_ms))
