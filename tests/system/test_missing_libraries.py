"""Where the package was installed without a program's libraries it says what to install, without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system


def started(module: str, missing: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A program in a Python that does not have one library."""
    code = f"import sys; sys.modules[{missing!r}] = None; from {module}.main import main; main(sys.argv[1:])"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("module", "missing", "words", "code", "said"),
    [
        (
            "cloudcore",
            "aiohttp",
            ["--data", "DIR"],
            1,
            "cloudcore needs aiohttp, which is not installed: pip install 'skerry[cloud]'",
        ),
        (
            "cloudcore",
            "cryptography",
            ["ca", "list", "--data", "DIR"],
            1,
            "cloudcore needs cryptography, which is not installed: pip install 'skerry[cloud]'",
        ),
        (
            "edgecore",
            "cryptography",
            ["join", "--data", "DIR", "--cloud", "x", "--token", "y"],
            1,
            "edgecore needs cryptography, which is not installed: pip install 'skerry[edge]'",
        ),
        (
            "edgecore",
            "aioquic",
            ["run", "--data", "DIR", "--transport", "quic"],
            2,
            "edgecore run: --transport quic needs aioquic, which is not installed: pip install 'skerry[quic]'",
        ),
        (
            "edgecore",
            "grpclib",
            ["run", "--data", "DIR", "--dmi-socket", "DIR/dmi.sock"],
            2,
            "edgecore run: --dmi-socket needs grpclib, which is not installed: pip install 'skerry[dmi]'",
        ),
    ],
)
def test_a_missing_library_is_one_line_that_says_what_to_install(
    tmp_path: Path, module: str, missing: str, words: list[str], code: int, said: str
) -> None:
    done = started(module, missing, *(word.replace("DIR", str(tmp_path)) for word in words))
    assert (done.returncode, done.stderr.strip()) == (code, said)
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_commands_that_lack_a_library_say_so_and_leave_the_others_alone() -> None:
    said = "skerry device bus needs pymodbus, which is not installed: pip install 'skerry[edge]'"
    done = started("skerry.cli", "pymodbus", "device", "bus", "scan", "--units", "1-3")
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    shown = started("skerry.cli", "pymodbus", "device", "--help")
    words = " ".join(shown.stdout.split())
    assert shown.returncode == 0 and said in words and "history" in words
