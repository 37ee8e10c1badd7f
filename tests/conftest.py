"""What holds for all tests: Hypothesis searches the same examples in every run, gateways dial WebSocket, and their
pods are processes.

A run fails for a change of the code, never for its luck or its neighbours. New examples are searched with
`pytest --hypothesis-profile search`; what that finds is written down as an `@example` or a test.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from tests.system.places import Places

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=2000)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def usual_settings_unless_said() -> Iterator[None]:
    """What is tested with a gateway is tested over WebSocket unless the test says otherwise: an agent that dials QUIC
    takes longer to start, which is no matter of most tests; and `tests/system/test_quic_fleet.py` says otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        if "SKERRY_TRANSPORT" not in os.environ:
            patch.setenv("SKERRY_TRANSPORT", "websocket")
        if "SKERRY_RUNTIME" not in os.environ:
            patch.setenv("SKERRY_RUNTIME", "process")  # never the containerd of the machine
        if "SKERRY_LOCAL_API" not in os.environ:
            patch.setenv(
                "SKERRY_LOCAL_API", "127.0.0.1:10550"
            )  # of agents side by side one would have what is for pods
        yield


_ALL_OF_SYSTEM: Final = re.compile(
    r"^pytestmark = [^\]\n]*mark\.system|^pytestmark = \[\n[^\]]*mark\.system", re.MULTILINE
)
"""Of a file that has system tests alone."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run of system tests, or of all others, imports no file that has none of them: each worker imports all, and
    what it imports costs it seconds."""
    wanted = config.getoption("markexpr")
    if wanted not in ("system", "not system") or not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text()
    if wanted == "system":
        return None if "mark.system" in text or "pytestmark" in text else True
    return True if _ALL_OF_SYSTEM.search(text) else None


def pytest_collection_finish() -> None:
    """What was imported is there until the end: no collection looks at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def what_a_file_left_open_is_its_own_fault() -> Iterator[None]:
    """A socket that nobody closes is warned of when it is collected, which would be in some test of another file."""
    yield
    gc.collect()


_PLACES: Final = Places(
    run=os.environ.get("PYTEST_XDIST_TESTRUNUID", ""), workers=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """A file of system tests begins when there is a place for it (0580); no test's limit runs while it waits."""
    if _PLACES.run and item.get_closest_marker("system"):
        _PLACES.begin(item.path)
    try:
        return (yield)
    finally:
        if nextitem is None:
            _PLACES.release()


_HANGS_S: Final = 300.0
"""System tests have deadlines of their own that say what did not come; this is longer, for those that hang."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that are marked as long come first."""
    for item in items:
        if item.get_closest_marker("system") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_HANGS_S))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
