"""Images for a pod's containers: looked for, pulled beside the worker, told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from edgecore.pods.events import Happening
from edgecore.pods.port import ImageMissingError, ImageState
from edgecore.pods.pulls import Pulls, Wish
from edgecore.pods.runtimes.fake import FakeRuntime
from skerry.clocks import ManualClock
from skerry.frozen import replace

HERE = 'Container image "app:1" already present on machine and can be accessed by the pod'


class Stage:
    def __init__(self) -> None:
        self.runtime = FakeRuntime(ManualClock())
        self.told: list[Happening] = []
        self.woken = 0
        self.pulls = Pulls(self.runtime, self.told.append, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def said(self) -> list[str]:
        return [what.message for what in self.told]

    def arriving(self, image: str) -> asyncio.Event:
        return self.runtime.arriving.setdefault(image, asyncio.Event())

    async def image(
        self, wanted: Wish, tasks: asyncio.TaskGroup, *, quiet: bool, again: bool = False
    ) -> ImageState | None:
        found = await self.pulls.images([wanted], tasks, quiet=quiet, again=again)
        if found is None:
            return None
        _, state = found[0]
        if isinstance(state, Exception):
            raise state
        return state


@asynccontextmanager
async def beside() -> AsyncGenerator[asyncio.TaskGroup]:
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
        yield tasks


def wish(image: str = "app:1") -> Wish:
    return Wish(container="app", image=image, policy="IfNotPresent", credentials=())


async def test_an_image_that_is_here_is_had_at_once_and_told_of_once() -> None:
    stage = Stage()
    async with beside() as tasks:
        assert await stage.image(wish(), tasks, quiet=False) is not None
        assert await stage.image(wish(), tasks, quiet=True) is not None
    assert (stage.said(), stage.woken) == ([HERE], 0)


async def test_a_pull_goes_on_beside_and_wakes_the_worker_when_it_is_over() -> None:
    stage = Stage()
    comes = stage.arriving("app:1")
    async with beside() as tasks:
        for _ in range(2):
            assert await stage.image(wish(), tasks, quiet=False) is None
        comes.set()
        while not stage.woken:
            await asyncio.sleep(0)
        found = await stage.image(wish(), tasks, quiet=False)
    assert found is not None and found.id == "fake:app:1"
    assert stage.said() == [
        'Pulling image "app:1"',
        'Successfully pulled image "app:1" in 1.5s (2s including waiting). Image size: 0 bytes.',
    ]


async def test_who_wants_another_image_or_none_ends_the_pull() -> None:
    stage = Stage()
    for image in ("app:1", "app:2"):
        stage.arriving(image)
    async with beside() as tasks:
        assert await stage.image(wish(), tasks, quiet=False) is None
        assert await stage.image(wish("app:2"), tasks, quiet=False, again=True) is None
        stage.pulls.keep(("app",))
        stage.pulls.keep(())
    assert (stage.said(), stage.woken) == (['Pulling image "app:1"'], 0)


async def test_a_missing_image_is_raised_where_it_is_wanted() -> None:
    stage = Stage()
    async with beside() as tasks:
        with pytest.raises(ImageMissingError, match="is not here"):
            await stage.image(wish("missing:1"), tasks, quiet=False)
    assert stage.said() == []


async def test_a_container_waits_for_its_image_and_for_those_that_it_mounts() -> None:
    stage = Stage()
    comes = stage.arriving("data:1")
    wishes = [wish(), replace(wish("data:1"), volume="data"), replace(wish("missing:1"), volume="other")]
    async with beside() as tasks:
        for _ in range(2):
            assert await stage.pulls.images(wishes, tasks, quiet=False) is None
        comes.set()
        while not stage.woken:
            await asyncio.sleep(0)
        found = await stage.pulls.images(wishes, tasks, quiet=False)
    assert found is not None
    assert [(each.volume, type(what).__name__) for each, what in found] == [
        ("", "ImageState"),
        ("data", "ImageState"),
        ("other", "ImageMissingError"),
    ]
    assert stage.said()[:2] == ['Pulling image "data:1"', HERE], "each is looked for once"
