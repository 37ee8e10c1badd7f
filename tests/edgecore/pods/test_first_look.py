"""What runs is asked for once at the start, and found by every worker."""

from __future__ import annotations

import asyncio

from edgecore.pods.first_look import FirstLook, Found
from skerry.frozen import replace
from tests.edgecore.pods.pods_of import sandbox, state


async def test_each_pod_finds_its_own_and_one_that_has_nothing_finds_that() -> None:
    first = FirstLook()
    waiting = asyncio.create_task(first.of("a"))
    await asyncio.sleep(0)
    assert not waiting.done(), "not told yet"
    ours, others = state(pod_uid="a"), state(pod_uid="b")
    theirs = replace(sandbox(), pod_uid="b")
    first.tell([ours, others], [theirs])
    assert await waiting == Found(containers=[ours], sandboxes=[])
    assert await first.of("b") == Found(containers=[others], sandboxes=[theirs])
    assert await first.of("c") == Found()


async def test_without_an_answer_each_looks_by_itself_until_there_is_one() -> None:
    first = FirstLook()
    first.fail()
    assert await first.of("a") is None
    first.tell([], [])
    assert await first.of("a") == Found()
