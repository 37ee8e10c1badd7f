"""Attachments to containers of the process runtime, and what these use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgecore.pods.port import Streamed
from edgecore.pods.runtimes.process import ProcessRuntime
from edgecore.pods.runtimes.process_usage import used_below
from skerry.clocks import SystemClock
from skerry.errors import InvalidError
from tests.contracts.runtime_contract import spec_of
from tests.edgecore.pods.runtimes.test_process import PROGRAMS, settings, shell


@pytest_asyncio.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[ProcessRuntime]:
    made = ProcessRuntime(settings(tmp_path), SystemClock())
    yield made
    for state in await made.list():
        await made.stop(state.id, grace_s=0)
    await made.close()


async def test_what_it_says_from_now_on_is_attached_to(runtime: ProcessRuntime, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo before; until [ -e {go} ]; do sleep 0.02; done; echo out; echo err >&2"
    state = await runtime.start(await shell(runtime, tmp_path, script))
    log = tmp_path / "logs" / "app" / "0.log"
    async with asyncio.timeout(20):
        while "before" not in log.read_text():
            await asyncio.sleep(0.01)
        stream = await runtime.attach(state.id, Streamed())
        go.touch()
        assert [piece async for piece in stream.output()] == [(1, b"out\n"), (2, b"err\n")]
        await stream.close()


async def test_there_is_no_input_to_attach_to(runtime: ProcessRuntime, tmp_path: Path) -> None:
    state = await runtime.start(await spec_of(runtime, PROGRAMS, tmp_path, PROGRAMS.runs))
    with pytest.raises(InvalidError, match="use exec"):
        await runtime.attach(state.id, Streamed(stdin=True))


def test_usage_is_summed_over_all_that_is_below(tmp_path: Path) -> None:
    def process(pid: int, parent: int, *, ticks: int, pages: int) -> None:
        fields = ["S", str(parent), *["0"] * 9, str(ticks), "1", "2", "3", *["0"] * 6, str(pages), "0"]
        place = tmp_path / str(pid)
        place.mkdir()
        (place / "stat").write_text(f"{pid} (a (b) c) {' '.join(fields)}\n")

    process(1, 0, ticks=1000, pages=1000)
    process(10, 1, ticks=5000, pages=5000)
    process(11, 10, ticks=94, pages=3)
    process(12, 11, ticks=0, pages=4)
    (tmp_path / "13").mkdir()
    (tmp_path / "self").mkdir()
    used = used_below([10, 99], tmp_path)
    assert set(used) == {10}
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    assert (used[10].cpu_ns, used[10].memory_bytes, used[10].pids) == (
        106 * tick_ns,
        7 * os.sysconf("SC_PAGE_SIZE"),
        2,
    )
