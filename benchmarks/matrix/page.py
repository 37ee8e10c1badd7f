"""The figures of the matrix as JSON, and docs/reference/offline-matrix.md as made from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.faults.case import number_text
from benchmarks.matrix.cells import Cell
from benchmarks.matrix.engines import ENGINES
from benchmarks.matrix.faults import FAULTS, HOLD_S
from benchmarks.matrix.phases import PHASES

PAGE: Final = "docs/reference/offline-matrix.md"
KEPT: Final = "benchmarks/matrix/figures.json"
_LOAD: Final = re.compile(r", load ([0-9.]+)")
HEAD: Final = f"""# Left alone: the offline matrix

What becomes of a gateway's pods when it is left alone in the middle of something, on real processes: a cloud and a
gateway in a network namespace of its own ([what the rig is](../howto/test-kit-real.md)), whose containers the agent
runs itself or has run by a containerd of the gateway's own. Each row is a fault, each
column what the gateway was about to do; the fault strikes at a moment of chance within 1.2 s of its beginning, holds
for {HOLD_S:g} s (a loss of power: as long as the boot), and ends. A cell has two figures, in seconds from the fault's
end: when the gateway **ran what is declared** and nothing else, and when the cloud **said so** of every pod. It
**holds** if all pods came to be as declared within a minute, no container ever ran twice at once (looked for every
30 ms), and a pod that nothing was asked of was not restarted by anything but a loss of power.

`make matrix` runs it and writes this page; `make matrix CUTS=5` loses power at five points in each only.
"""


Place = tuple[str, str, str]


def place_of(cell: Cell) -> Place:
    return cell.engine, cell.fault, cell.phase


def kept(path: Path) -> dict[Place, tuple[Cell, str]]:
    """The newest of each cell, with the machine it was measured on."""
    if not path.exists():
        return {}
    rows = [(Cell(**row["cell"]), str(row["machine"])) for row in json.loads(path.read_text())]
    return {place_of(cell): (cell, where) for cell, where in rows}


def keep(cells: Iterable[Cell], machine: str, root: Path) -> None:
    """Put them in the places of the old ones, and write the page anew."""
    held = kept(root / KEPT) | {place_of(each): (each, machine) for each in cells}
    order = [(engine, fault.name, phase.name) for engine in ENGINES for fault in FAULTS for phase in PHASES]
    rows = [held[place] for place in order if place in held]
    written = [{"cell": each.as_json(), "machine": where} for each, where in rows]
    (root / KEPT).write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    (root / PAGE).write_text(page(rows))


def page(rows: Sequence[tuple[Cell, str]]) -> str:
    """The whole page."""
    cells = {place_of(each): each for each, _ in rows}
    holding = sum(each.holds for each in cells.values())
    number = len(ENGINES) * len(FAULTS) * len(PHASES)
    parts = [HEAD, f"\nOf {number} cells {len(cells)} are measured, and {holding} hold.\n"]
    for engine in ENGINES:
        parts.append(f"\n## On {engine}\n\n")
        parts.append(f"| | {' | '.join(phase.name for phase in PHASES)} |\n|---{'|---' * len(PHASES)}|\n")
        for fault in FAULTS:
            told = [_text(cells.get((engine, fault.name, phase.name))) for phase in PHASES]
            parts.append(f"| **{fault.name}** | {' | '.join(told)} |\n")
    parts.append("\n## What they are\n\nThe columns:\n\n")
    parts += [f"- **{phase.name}**: {phase.method}\n" for phase in PHASES]
    parts.append("\nThe rows:\n\n")
    parts += [f"- **{fault.name}**: {fault.method}\n" for fault in FAULTS]
    parts.append(f"\nMeasured on {'; '.join(_machines([where for _, where in rows]))}.\n")
    return "".join(parts)


def _machines(told: Sequence[str]) -> list[str]:
    """Each once, with the loads under which it was."""
    loads: dict[str, list[float]] = {}
    for each in told:
        found = _LOAD.search(each)
        if found is None:
            loads.setdefault(each, [])
        else:
            place = each[: found.start()] + "{}" + each[found.end() :]
            loads.setdefault(place, []).append(float(found[1]))
    return sorted(
        place.replace("{}", f", load {min(each):g} to {max(each):g}") if each else place
        for place, each in loads.items()
    )


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "not measured"
    if cell.failure:
        return f"**broken**: {cell.failure}"
    said = f"{number_text(cell.declared_s)} / {number_text(cell.told_s)} s"
    if cell.points > 1:
        said += f", the slowest of {cell.points}"
    faults = [f"{count} {what}" for count, what in ((cell.doubles, "twice"), (cell.restarts, "restarts")) if count]
    return f"{said} **broken**: {', '.join(faults)}" if faults else said
