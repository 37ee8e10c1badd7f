"""Which images go when their disk is nearly full, and which never do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.pods.image_collection import Acquaintances, CollectionSettings, Disk, collection, to_free
from edgecore.pods.image_collector import ImageCollector
from edgecore.pods.port import ContainerState, ImageState
from edgecore.pods.runtimes.fake import FakeRuntime
from skerry.clocks import ManualClock

SETTINGS = CollectionSettings()


def image(name: str, size: int = 100, *, pinned: bool = False) -> ImageState:
    return ImageState(id=f"sha256:{name}", names=(f"{name}:1",), size_bytes=size, pinned=pinned)


def container(image_id: str, name: str = "x") -> ContainerState:
    return ContainerState(
        id="c", sandbox_id="s", pod_uid="u", name="app", attempt=0, image=name, image_id=image_id, phase="exited"
    )


@pytest.mark.parametrize(
    ("high", "low", "free", "bytes_"),
    [
        (85, 80, 160, 0),
        (85, 80, 150, 50),
        (85, 80, 0, 200),
        (50, 10, 500, 400),
        (100, 80, 0, 0),
    ],
)
def test_room_is_made_from_the_high_mark_down_to_the_low(high: int, low: int, free: int, bytes_: int) -> None:
    settings = CollectionSettings(high_percent=high, low_percent=low)
    assert to_free(settings, Disk(total=1000, free=free)) == bytes_


def test_a_disk_that_has_no_size_is_left_alone() -> None:
    assert to_free(SETTINGS, Disk(total=0, free=0)) == 0


def test_who_was_not_used_for_longest_goes_first() -> None:
    images = [image("a"), image("b"), image("c")]
    known = Acquaintances().met(images, [], now_s=0.0)
    known = known.met(images, [container("sha256:a")], now_s=50.0)
    known = known.met(images, [container("", "b:1")], now_s=60.0)
    chosen = collection(SETTINGS, images, known, wanted_bytes=150, now_s=200.0)
    assert [each.names[0] for each in chosen.images] == ["c:1", "a:1"]
    assert chosen.found_bytes == 200


def test_what_is_used_young_or_pinned_stays() -> None:
    old = [image("used"), image("pinned", pinned=True), image("free")]
    known = Acquaintances().met(old, [], now_s=0.0)
    images = [*old, image("young")]
    known = known.met(images, [], now_s=100.0).met(images, [container("sha256:used")], now_s=200.0)
    chosen = collection(SETTINGS, images, known, wanted_bytes=10**9, now_s=200.0)
    assert [each.names[0] for each in chosen.images] == ["free:1"]


def test_an_image_that_went_and_came_again_is_young() -> None:
    known = Acquaintances().met([image("a")], [], now_s=0.0).met([], [], now_s=10.0)
    known = known.met([image("a")], [], now_s=130.0)
    assert not collection(SETTINGS, [image("a")], known, wanted_bytes=1, now_s=200.0).images


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans(), st.booleans()), max_size=8), st.integers(1, 300))
def test_no_more_goes_than_is_needed(rows: list[tuple[int, bool, bool]], wanted: int) -> None:
    images = [image(str(at), size, pinned=pinned) for at, (size, pinned, _) in enumerate(rows)]
    used = [container(f"sha256:{at}") for at, (_, _, used) in enumerate(rows) if used]
    known = Acquaintances().met(images, [], now_s=0.0).met(images, used, now_s=500.0)
    chosen = collection(SETTINGS, images, known, wanted_bytes=wanted, now_s=500.0)
    removable = [each for each in images if not each.pinned and each.id not in {state.image_id for state in used}]
    assert set(chosen.images) <= set(removable)
    assert chosen.found_bytes >= min(wanted, sum(each.size_bytes for each in removable))
    assert sum(each.size_bytes for each in chosen.images[:-1]) < wanted


async def test_the_collector_removes_what_is_too_much_and_says_once_that_it_is_not_enough(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    runtime = FakeRuntime(clock)
    runtime.image_bytes = 100
    for name in ("a", "b"):
        await runtime.ensure_image(name, "IfNotPresent", ())
    free = [500]
    collector = ImageCollector(runtime, clock, SETTINGS, lambda _: Disk(total=1000, free=free[0]))
    assert await collector.look() == 0
    clock.advance(SETTINGS.age_s_min + 1)
    free[0] = 120
    assert await collector.look() == 100
    assert len(await runtime.images()) == 1
    free[0] = 0
    assert await collector.look() == 100
    assert await collector.look() == 0
    assert [record.message for record in caplog.records if "too little room" in record.message] == [
        "too little room on the images' disk wanted=200 removed=100"
    ]


async def test_all_that_may_go_goes_for_who_needs_the_room() -> None:
    clock = ManualClock()
    runtime = FakeRuntime(clock)
    runtime.image_bytes = 100
    for name in ("a", "b"):
        await runtime.ensure_image(name, "IfNotPresent", ())
    collector = ImageCollector(runtime, clock, SETTINGS, lambda _: Disk(total=1000, free=900))
    await collector.look()
    clock.advance(SETTINGS.age_s_min + 1)
    assert await collector.make_room() == 200
    assert (await runtime.images_place()).directory == Path("/")  # type: ignore[union-attr]
