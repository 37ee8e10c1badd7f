"""What a daemon writes to its log is one line a record."""

from __future__ import annotations

import logging
import subprocess
import sys

from skerry.daemon import MESSAGE_MAX, LineFormatter, missing_library


def line(message: str, *args: object, exc_info: bool = False) -> str:
    record = logging.LogRecord(
        "x", logging.INFO, "f", 1, message, args, exc_info=sys.exc_info() if exc_info else None
    )
    return LineFormatter("%(levelname)s %(message)s").format(record)


def test_line_ends_and_terminal_commands_of_a_peer_are_escapes() -> None:
    said = line("reason=%s", "bye\n2026 ERROR forged\x1b[2J\x9b\u2028\u202e\ud800")
    assert said == "INFO reason=bye\\x0a2026 ERROR forged\\x1b[2J\\x9b\\u2028\\u202e\\ud800"


def test_what_a_peer_says_is_cut() -> None:
    assert len(line("%s", "x" * 100_000)) < MESSAGE_MAX + 20


def test_other_languages_stay_readable() -> None:
    assert line("Zürich 東京") == "INFO Zürich 東京"


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        said = line("failed", exc_info=True)
    assert said.splitlines()[-1] == "ValueError: broken"


def test_a_library_that_is_not_installed_is_named_with_the_extra_that_brings_it() -> None:
    error = ModuleNotFoundError("No module named 'aiohttp.web'", name="aiohttp.web")
    said = "cloudcore needs aiohttp, which is not installed: pip install 'skerry[cloud]'"
    assert missing_library(error, "cloudcore", "cloud") == said


def test_a_module_of_our_own_that_is_missing_is_a_fault_and_not_an_installation() -> None:
    for error in (ModuleNotFoundError(name="cloudcore.nothing"), ImportError("x"), ValueError("x")):
        assert missing_library(error, "cloudcore", "cloud") == ""


def test_a_log_of_everything_does_not_have_the_headers_of_every_call() -> None:
    """In a process of its own: logging is set up once."""
    script = (
        "import logging; from skerry.daemon import start_logging; start_logging('debug');"
        "logging.getLogger('hpack.hpack').debug('noise'); logging.getLogger('edgecore').debug('news')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "news" in done.stderr and "noise" not in done.stderr
