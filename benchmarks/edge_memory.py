"""Resident memory of an idle agent, and of the supervisor of one container: budget 45 MB (aim 40) and 3 MB private.

    python benchmarks/edge_memory.py

Starts a real agent without a cloud (its dials fail, as offline), waits, and reads /proc. Medians of several runs.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgecore.link.membership import Credentials, save_membership

BUDGET_MB = 45
RUNS = 3


def figures_mb(pid: int) -> dict[str, float]:
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {name: int(rows[name].split()[0]) / 1024 for name in ("Rss", "Pss", "Private_Dirty")}


def idle_agent() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        nobody = Credentials(key_pem="none", certificate_pem="none", ca_pem="none")
        save_membership(data, nobody, node="bench", clouds=("127.0.0.1:1",), renew_after_ms=1 << 45)
        agent = subprocess.Popen(
            [sys.executable, "-m", "edgecore.main", "run", "--data", directory],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert agent.stderr is not None
        while b"edgecore ready" not in (line := agent.stderr.readline()):
            assert line, "the agent ended"
        time.sleep(5)
        found = figures_mb(agent.pid)
        agent.terminate()
        agent.wait(10)
        agent.stderr.close()
        return found


def main() -> None:
    runs = [idle_agent() for _ in range(RUNS)]
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    print(f"machine: {platform.machine()}, Python {platform.python_version()}, {RUNS} runs, medians")
    print("idle agent: " + ", ".join(f"{name} {value:.1f} MB" for name, value in middle.items()))
    verdict = "within" if middle["Rss"] <= BUDGET_MB else "OVER"
    print(f"{verdict} the budget of {BUDGET_MB} MB resident")
    sys.exit(0 if middle["Rss"] <= BUDGET_MB else 1)


if __name__ == "__main__":
    main()
