"""The ring's bounds, and what those who fell behind are told."""

from __future__ import annotations

import asyncio

from cloudcore.store.port import Change
from cloudcore.store.ring import Ring
from skerry.objects.meta import Key, Revision


def change(revision: int, size: int = 1) -> Change:
    return Change(revision=Revision(revision), key=Key("pods", "ns", "a"), uid="u", before=None, after=b"x" * size)


def numbers(ring: Ring, after: int, limit: int = 100) -> list[int] | None:
    found = ring.after(Revision(after), limit=limit)
    return None if found is None else [one.revision for one in found]


def test_a_ring_keeps_the_newest_and_says_what_has_left() -> None:
    ring = Ring(floor=Revision(10), limit=4)
    ring.append([change(revision) for revision in range(11, 16)])
    assert numbers(ring, 10) == [11, 12, 13, 14, 15]
    assert numbers(ring, 13, limit=1) == [14]
    assert numbers(ring, 9) is None
    ring.append([change(16)])
    assert ring.floor == 12
    assert numbers(ring, 11) is None
    assert numbers(ring, 12) == [13, 14, 15, 16]
    assert numbers(ring, 99) == []


def test_a_ring_is_bounded_in_bytes_and_keeps_at_least_the_newest() -> None:
    ring = Ring(floor=Revision(0), limit=100, max_bytes=40)
    ring.append([change(revision, size=10) for revision in range(1, 6)])
    assert numbers(ring, 0) == [1, 2, 3, 4, 5]
    ring.append([change(6, size=10)])
    assert numbers(ring, 1) is None
    assert numbers(ring, 2) == [3, 4, 5, 6]
    ring.append([change(7, size=500)])
    assert numbers(ring, 6) == [7]
    assert numbers(ring, 5) is None
    ring.append([change(8, size=10)])
    assert numbers(ring, 7) == [8]


def test_forgetting_and_starting_over_move_the_floor() -> None:
    ring = Ring(floor=Revision(0), limit=10)
    ring.append([change(revision) for revision in range(1, 6)])
    ring.forget(Revision(3))
    ring.forget(Revision(2))
    assert (ring.floor, numbers(ring, 3), numbers(ring, 2)) == (3, [4, 5], None)
    ring.restart(floor=Revision(20))
    assert (numbers(ring, 5), numbers(ring, 20)) == (None, [])


async def test_followers_wake_for_news_and_for_the_end() -> None:
    ring = Ring(floor=Revision(0), limit=10)
    waiting = asyncio.create_task(ring.news())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not ring.closed
    ring.append([change(1)])
    await asyncio.wait_for(waiting, timeout=5)
    ring.close()
    await asyncio.wait_for(ring.news(), timeout=5)
    assert ring.closed
