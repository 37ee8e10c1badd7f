"""The figures of fault cases as JSON, and docs/reference/faults.md as made from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.case import Case, Figure

PAGE: Final = "docs/reference/faults.md"
KEPT: Final = "benchmarks/faults/figures.json"
"""The figures that the page shows, in the repository: whoever measures one case leaves the others as they are."""
LIST: Final = range(1, 16)
"""The numbers of the cases in the list of the field."""
HEAD: Final = """# Faults, with a figure each

What happens when links, power, clocks and processes fail, measured on real processes: a cloud and gateways in network
namespaces of their own ([what the rig is](../howto/test-kit-real.md)). The cases are those that a fleet meets and
that upstream's tests never try. `make faults` runs them all and writes this page; `make faults CASES="half-open 12"`
runs some, by name or number, and changes their sections alone; `python -m benchmarks.faults CASE` writes nothing. A
*limit* is what may never be exceeded, on a busy machine either: beyond it a case is **broken**. A *target* is the
figure that we want to beat; what is over it is **missed**, though the case holds. A figure with neither is for
information.
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
    run = [(case, by_case[case.name]) for case in cases if case.name in by_case]
    parts = [HEAD, "\n", *(f"{line}\n" for line in _summary(run))]
    for case, result in run:
        parts.append(f"\n## {case.number}. {case.title}\n\n{case.method}\n\n")
        parts.append(f"KubeEdge: {case.kubeedge}.\n\n")
        if result.failure:
            parts.append(f"**Could not be carried out**: {result.failure}\n\n")
        if result.figures:
            parts.append("| | Figure | Limit | Target | |\n|---|---|---|---|---|\n")
            parts += [f"| {' | '.join(_row(figure))} |\n" for figure in result.figures]
            parts.append("\n")
        parts.append(f"`python -m benchmarks.faults {case.name}` on {result.machine}\n")
    return "".join(parts)


def _summary(run: Sequence[tuple[Case, Result]]) -> Iterable[str]:
    """Counted by the numbers of the list: a number of two halves holds where both do."""
    measured = {case.number for case, _ in run}
    broken = {case.number for case, result in run if not result.holds}
    yield f"Of {len(LIST)} cases {len(measured)} are measured, and {len(measured - broken)} hold."
    missing = [number for number in LIST if number not in measured]
    for words, numbers in (("Not measured", missing), ("**Broken**", sorted(broken))):
        if numbers:
            yield f"{words}: {', '.join(map(str, numbers))}."
    aimed = [(case, figure) for case, result in run for figure in result.figures if figure.target is not None]
    missed = [(case, figure) for case, figure in aimed if not figure.meets]
    yield f"Of {len(aimed)} figures with a target {len(missed)} {'misses' if len(missed) == 1 else 'miss'} it."
    if missed:
        yield ""
    for case, figure in missed:
        yield f"- Case {case.number}, {figure.what}: **{figure.text}**, target {figure.target_text}"


def _row(figure: Figure) -> tuple[str, ...]:
    return (figure.what, figure.text, figure.limit_text, figure.target_text, _verdict(figure))


def _verdict(figure: Figure) -> str:
    if not figure.holds:
        return "**broken**"
    if not figure.meets:
        return "**missed**"
    return "holds" if figure.limit_text or figure.target_text else ""
