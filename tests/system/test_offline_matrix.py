"""Some cells of the offline matrix, in every run of the system tests; `make matrix` runs all, many times over.

Here only what is counted must hold, and that all comes about in the end.
"""

from __future__ import annotations

import pytest

from benchmarks.matrix.__main__ import row
from benchmarks.matrix.engines import ENGINES
from benchmarks.matrix.faults import FAULTS
from benchmarks.matrix.phases import PHASES
from skerry.testkit.real.rig import may_isolate

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(240)]

CELLS = {"power loss": ("starting", "deleting"), "DNS gone": ("updating",)}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_gateway_that_was_left_alone_runs_what_is_declared(engine: str, name: str) -> None:
    if not may_isolate():
        pytest.skip("network namespaces need root")
    (fault,) = (each for each in FAULTS if each.name == name)
    phases = [each for each in PHASES if each.name in CELLS[name]]
    cells = [*row(fault, phases, engine=engine, points=1)]
    assert [each.phase for each in cells] == [*CELLS[name]]
    assert all(each.looks > 10 for each in cells)
    assert [each for each in cells if not each.holds] == []
