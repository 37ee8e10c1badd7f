"""The quick ones among the fault cases, in every run of the system tests; `make faults` runs all, with limits.

Here only what is counted must hold. How long things took is a figure of a quiet machine, which this may not be.
"""

from __future__ import annotations

import pytest

from benchmarks.faults import devices, offline
from benchmarks.faults.case import Case
from skerry.errors import UnavailableError
from skerry.testkit.real.clocks import compiler
from skerry.testkit.real.rig import may_isolate

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(240)]

QUICK = {"token-life", "devices-meanwhile", "recreated", "certificate", "restarts"}
CASES = [case for case in (*offline.CASES, *devices.CASES) if case.name in QUICK]
MOVE_CLOCKS = {"token-life", "certificate"}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_fault_case_comes_to_its_end(case: Case) -> None:
    if not may_isolate():
        pytest.skip("network namespaces need root")
    if case.name in MOVE_CLOCKS:
        try:
            compiler()
        except UnavailableError as error:
            pytest.skip(str(error))
    figures = case.run()
    assert figures
    broken = [f"{each.what}: {each.text} ({each.limit_text})" for each in figures if not each.unit and not each.holds]
    assert not broken, f"{case.title}: {broken}"


def test_all_quick_cases_are_there() -> None:
    assert {case.name for case in CASES} == QUICK
