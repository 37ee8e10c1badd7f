"""Run the fault cases, print each figure beside its limit, and keep them.

    python -m benchmarks.faults [CASE ...]        some cases; all by default
    python -m benchmarks.faults --page [CASE ...] the same, and write docs/reference/faults.md from all figures kept

Figures go to benchmarks/results/faults.json, which is not kept in the repository. Exit code 1: a limit was broken, or
a case could not be carried out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.faults import crashes, devices, links, offline, replicas, scale
from benchmarks.faults.case import Case, Figure
from benchmarks.faults.page import PAGE, Result, page, results_in
from skerry.errors import SkerryError

RESULTS = Path(__file__).parents[1] / "results" / "faults.json"
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
        verdict = "ok" if figure.holds else "BROKEN"
        limit = f"   ({figure.limit_text})" if figure.limit_text else ""
        print(f"     {verdict:6} {figure.what}: {figure.text}{limit}", flush=True)
    if failure:
        print(f"     FAILED {failure}", flush=True)
    print(f"     in {time.monotonic() - began:.0f} s", flush=True)
    return Result(case=case.name, machine=machine(), figures=tuple(figures), failure=failure)


def keep(result: Result) -> None:
    """Add it to what is kept, in the place of an older one of the same case."""
    RESULTS.parent.mkdir(exist_ok=True)
    kept = {each.case: each for each in results_in(RESULTS)} | {result.case: result}
    RESULTS.write_text(json.dumps([each.as_json() for each in kept.values()], indent=1) + "\n")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description="Fault cases, with a figure each."
    )
    parser.add_argument("case", nargs="*", help="; ".join(case.name for case in CASES))
    parser.add_argument("--page", action="store_true", help=f"write {PAGE} from the figures that are kept")
    given = parser.parse_args(argv)
    known = {case.name: case for case in CASES}
    unknown = set(given.case) - known.keys()
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))} (there are: {', '.join(known)})")
    good = True
    for case in [known[name] for name in given.case] or CASES:
        result = carry_out(case)
        keep(result)
        good = good and result.holds
    if given.page:
        (Path(__file__).parents[2] / PAGE).write_text(page(CASES, results_in(RESULTS)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
