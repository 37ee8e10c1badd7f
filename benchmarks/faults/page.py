"""The figures of fault cases as JSON, and docs/reference/faults.md as made from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.case import Case, Figure

PAGE: Final = "docs/reference/faults.md"
HEAD: Final = """# Faults, with a figure each

What happens when links, power, clocks and processes fail, measured on real processes: a cloud and gateways in network
namespaces of their own ([what the rig is](../howto/test-kit-real.md)). The cases are those that a fleet meets and
that upstream's tests never try. `make faults` runs them all and writes this page; `python -m benchmarks.faults CASE`
runs one. A figure without a limit is for information.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of one case."""

    case: str
    machine: str
    figures: tuple[Figure, ...]
    failure: str = ""
    """Why it could not be carried out; "" when it was."""

    @property
    def holds(self) -> bool:
        return not self.failure and all(figure.holds for figure in self.figures)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


def results_in(path: Path) -> list[Result]:
    """What is kept; nothing when no case was ever run here."""
    if not path.exists():
        return []
    kept: list[dict[str, Any]] = json.loads(path.read_text())
    return [
        Result(
            case=each["case"],
            machine=each["machine"],
            figures=tuple(Figure(**figure) for figure in each["figures"]),
            failure=each["failure"],
        )
        for each in kept
    ]


def page(cases: Sequence[Case], results: Iterable[Result]) -> str:
    """The whole page."""
    by_case = {result.case: result for result in results}
    parts = [HEAD]
    run = [(case, by_case[case.name]) for case in cases if case.name in by_case]
    held = sum(result.holds for _, result in run)
    parts.append(f"\n{held} of {len(run)} cases hold.\n")
    for case, result in run:
        parts.append(f"\n## {case.number}. {case.title}\n\n{case.method}\n\n")
        parts.append(f"KubeEdge: {case.kubeedge}.\n\n")
        if result.failure:
            parts.append(f"Could not be carried out: {result.failure}\n\n")
        if result.figures:
            parts.append("| | Figure | Limit | |\n|---|---|---|---|\n")
            parts += [
                f"| {figure.what} | {figure.text} | {figure.limit_text} | {_verdict(figure)} |\n"
                for figure in result.figures
            ]
            parts.append("\n")
        parts.append(f"`python -m benchmarks.faults {case.name}` on {result.machine}\n")
    return "".join(parts)


def _verdict(figure: Figure) -> str:
    if not figure.limit_text:
        return ""
    return "holds" if figure.holds else "**broken**"
