"""Run every measurement, print it, and keep the figures with the machine they were measured on.

    python -m benchmarks [NAME ...]

Each module of this package has a `main() -> Sequence[tuple[str, str]]` and is one measurement; packages in it help.
Results go to benchmarks/results/NAME.txt, which is not kept in the repository: figures belong to a machine.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import benchmarks

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Where the figures come from."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}, {time.strftime('%Y-%m-%d')}"
    )


def run(name: str) -> None:
    rows: Sequence[tuple[str, str]] = importlib.import_module(f"benchmarks.{name}").main()
    width = max(len(what) for what, _ in rows)
    lines = [f"{name} ({machine()})", *(f"  {what:<{width}}  {figure}" for what, figure in rows)]
    print("\n".join(lines), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.txt").write_text("\n".join(lines) + "\n")


def main(wanted: Sequence[str]) -> None:
    # The budgets are for agents over WebSocket; what measures QUIC says so.
    os.environ.setdefault("SKERRY_TRANSPORT", "websocket")
    os.environ.setdefault("SKERRY_RUNTIME", "process")
    modules = [module for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg]
    names = [module.name for module in modules if module.name != "__main__"]
    unknown = set(wanted) - set(names)
    if unknown:
        raise SystemExit(f"no such measurement: {', '.join(sorted(unknown))} (there are: {', '.join(names)})")
    for name in wanted or names:
        run(name)


if __name__ == "__main__":
    main(sys.argv[1:])
