"""A program whose wall clock is moved by the test kit: what tells the time moves, what waits does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from skerry.errors import UnavailableError
from skerry.testkit.real.clocks import BOOT_1970_S, FakedClock

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

TELL = """
import json, sys, time
told = lambda: {"wall": time.time(), "second": int(time.strftime("%s")), "monotonic": time.monotonic()}
print(json.dumps(told()), flush=True)
for _ in sys.stdin:
    print(json.dumps(told()), flush=True)
"""
WAIT = """
import concurrent.futures, json, queue, threading, time
began = time.monotonic()
time.sleep(0.2)
with concurrent.futures.ThreadPoolExecutor() as pool:
    list(pool.map(time.sleep, [0.2] * 4))
try:
    queue.Queue().get(timeout=0.2)
except queue.Empty:
    threading.Event().wait(0.2)
print(time.monotonic() - began)
"""


@pytest.fixture
def clock(tmp_path: Path) -> FakedClock:
    made = FakedClock(tmp_path / "clock")
    try:
        made.env  # noqa: B018 - it makes the library
    except UnavailableError as error:
        pytest.skip(str(error))
    return made


def test_a_program_is_told_another_time_and_hears_of_each_step_at_once(clock: FakedClock) -> None:
    clock.forget()
    with subprocess.Popen(
        [sys.executable, "-c", TELL],
        env={**os.environ, **clock.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None and program.stdout is not None

        def told() -> dict[str, Any]:
            return json.loads(program.stdout.readline())  # type: ignore[union-attr]

        first = told()
        assert BOOT_1970_S <= first["wall"] < BOOT_1970_S + 30 and abs(first["wall"] - first["second"]) < 2
        assert abs(first["monotonic"] - time.monotonic()) < 30
        clock.step(86_400.5)
        program.stdin.write("\n")
        program.stdin.flush()
        assert 86_400 < told()["wall"] - first["wall"] < 86_430
        program.stdin.close()


def test_waits_take_as_long_as_ever(clock: FakedClock) -> None:
    clock.forget()
    done = subprocess.run(
        [sys.executable, "-c", WAIT], env={**os.environ, **clock.env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 0.75 < float(done.stdout) < 3
