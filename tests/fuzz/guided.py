"""Coverage-guided fuzzing with atheris, for as long as one likes: `make fuzz`, or `python -m tests.fuzz.guided`.

atheris is an extra of its own (`pip install -e .[fuzz]`), because it has wheels for few platforms only; without it
the run says so, and ends well. New inputs that reach new code go to the directory given, never into the repository.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
"""As in `search`, which would import what is to be instrumented too early."""


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in ("codec", "edge", "cloud", "report"):
        print("usage: python -m tests.fuzz.guided codec|edge|cloud|report [SECONDS] [DIRECTORY]", file=sys.stderr)
        return 2
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (pip install -e '.[fuzz]'); skipped: see python -m tests.fuzz.search")
        return 0
    target = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    found = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(tempfile.gettempdir()) / f"skerry-fuzz-{target}"
    found.mkdir(parents=True, exist_ok=True)
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["skerry", "cloudcore.hub.effects", "tests.fuzz"]):
        targets = importlib.import_module("tests.fuzz.targets")
    print(f"{target}: {seconds} s; new inputs and findings in {found}")
    options = [
        sys.argv[0],
        str(found),
        str(CORPUS / target),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={found}/",
        "-max_len=65536",
        "-rss_limit_mb=1024",
        "-timeout=10",
        "-print_final_stats=1",
    ]
    atheris.Setup(options, targets.TARGETS[target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
