"""Run the fault cases and print each figure beside its limit.

    python -m benchmarks.faults [CASE ...]        some cases, by name or number; all by default; nothing is written
    python -m benchmarks.faults --page [CASE ...] the same, and put their figures into docs/reference/faults.md

The page is made of benchmarks/faults/figures.json, in which each case has its place: those that were not run stay as
they are. Exit code 1: a limit was broken, or a case could not be carried out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.faults import crashes, devices, links, offline, replicas, scale
from benchmarks.faults.case import Case, Figure
from benchmarks.faults.page import KEPT, PAGE, Result, page, results_in
from skerry.errors import SkerryError

ROOT = Path(__file__).parents[2]
CASES = sorted(
    (*links.CASES, *offline.CASES, *scale.CASES, *devices.CASES, *crashes.CASES, *replicas.CASES),
    key=lambda case: case.number,
)


def carry_out(case: Case) -> Result:
    """One case, printed as it goes."""
    print(f"{case.number:>2} {case.name}: {case.title}", flush=True)
    began = time.monotonic()
    figures: list[Figure] = []
    failure = ""
    try:
        figures = [*case.run()]
    except (SkerryError, OSError) as error:
        failure = str(error).splitlines()[0]
        traceback.print_exc()
    for figure in figures:
        verdict = "BROKEN" if not figure.holds else "ok" if figure.meets else "MISSED"
        aims = [figure.limit_text, f"target {figure.target_text}" if figure.target_text else ""]
        limit = f"   ({', '.join(aim for aim in aims if aim)})" if any(aims) else ""
        print(f"     {verdict:6} {figure.what}: {figure.text}{limit}", flush=True)
    if failure:
        print(f"     FAILED {failure}", flush=True)
    print(f"     in {time.monotonic() - began:.0f} s", flush=True)
    return Result(case=case.name, machine=machine(), figures=tuple(figures), failure=failure)


def keep(result: Result, root: Path) -> None:
    """Put it in the place of an older one of the same case, and write the page anew."""
    kept = {each.case: each for each in results_in(root / KEPT)} | {result.case: result}
    ordered = [kept[case.name] for case in CASES if case.name in kept]
    (root / KEPT).write_text(json.dumps([each.as_json() for each in ordered], indent=1, ensure_ascii=False) + "\n")
    (root / PAGE).write_text(page(CASES, ordered))


def chosen(words: Sequence[str]) -> list[Case]:
    """The cases of these names and numbers, in the order of the list; all for none. Raises `ValueError`."""
    unknown = [word for word in words if not any(word in (case.name, str(case.number)) for case in CASES)]
    if unknown:
        known = ", ".join(f"{case.number} {case.name}" for case in CASES)
        raise ValueError(f"no such case: {', '.join(unknown)} (there are: {known})")
    return [case for case in CASES if not words or case.name in words or str(case.number) in words]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description="Fault cases, with a figure each."
    )
    parser.add_argument("case", nargs="*", help="; ".join(f"{case.number} {case.name}" for case in CASES))
    parser.add_argument(
        "--page", action="store_true", help=f"put their figures into {PAGE}, in the places of the old"
    )
    given = parser.parse_args(argv)
    try:
        cases = chosen(given.case)
    except ValueError as error:
        parser.error(str(error))
    good = True
    for case in cases:
        result = carry_out(case)
        good = good and result.holds
        if given.page:
            keep(result, ROOT)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
