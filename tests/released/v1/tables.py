"""State machines as data: which input is welcome in which state, and where it may lead.

A table is `{state: {input: states}}`; inputs are names of frames and of the shell's calls. The machines move
only through `check`, so the table can't lie; diagrams in docs/explanation/session.md are drawn from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias, TypeVar

S = TypeVar("S", bound=Enum)
Table: TypeAlias = "Mapping[S, Mapping[str, frozenset[S]]]"


def row(*same: str, here: S, **moves: S | tuple[S, ...]) -> dict[str, frozenset[S]]:
    """One state's row: inputs in `same` stay here, others lead to the named states."""
    cells: dict[str, frozenset[S]] = {name: frozenset((here,)) for name in same}
    for name, to in moves.items():
        cells[name] = frozenset(to if isinstance(to, tuple) else (to,))
    return cells


def check(table: Table[S], state: S, cause: str, to: S) -> None:
    """Assert that the table has this move."""
    assert to in table[state].get(cause, frozenset[S]()), f"no way from {state.value} by {cause} to {to.value}"


def mermaid(table: Table[S]) -> str:
    """The table as a Mermaid state diagram, inputs that stay left out."""
    lines = ["stateDiagram-v2"]
    for state, cells in table.items():
        targets: dict[S, list[str]] = {}
        for cause, to in cells.items():
            for target in sorted(to, key=lambda s: str(s.value)):
                if target is not state:
                    targets.setdefault(target, []).append(cause)
        lines += [f"    {state.value} --> {target.value}: {', '.join(causes)}" for target, causes in targets.items()]
    return "\n".join(lines) + "\n"
