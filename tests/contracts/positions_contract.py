"""What every form of the store promises of sessions and of what took effect: numbered, fenced, exactly once."""

from __future__ import annotations

import asyncio

import pytest

from cloudcore.store.port import (
    ABSENT,
    Advance,
    Batch,
    Delete,
    Position,
    Record,
    Standing,
    Store,
)
from cloudcore.store.positions import LIVES
from skerry.errors import (
    ConflictError,
    FencedError,
)
from skerry.objects.spans import Span, Spans
from skerry.sync.received import Received
from skerry.wire.frames import BULK, PROMPT, Start
from tests.contracts.store_writes import (
    Disk,
    advance,
    key,
    put,
    take_entries,
    write,
)


class PositionsContract:
    async def test_what_took_effect_is_kept_lane_by_lane_and_never_takes_effect_again(self, disk: Disk) -> None:
        store = await disk()
        assert await store.enter("n", "i") == Position(node="n", incarnation="i", session=1, received=Received())

        async def commit(*covered: tuple[int, Span]) -> None:
            record = Record(series="s", at_ms=1, body=b"")
            at = Advance(node="n", incarnation="i", session=1, covered=covered)
            await store.commit(Batch(advance=at, records=(record,)))

        await commit((PROMPT, Span(1, 3)))
        await commit((BULK, Span(10, 12)), (BULK, Span(1, 4)))
        await commit()
        for again in ((PROMPT, Span(3, 3)), (BULK, Span(4, 9)), (BULK, Span(12, 20))):
            with pytest.raises(FencedError):
                await commit(again)
        await commit((PROMPT, Span(4, 9)), (BULK, Span(5, 9)))
        position = await store.position("n")
        assert position is not None
        assert position.received == Received((Spans.upto(9), Spans.upto(12)))
        assert len(await store.records("s")) == 4

    async def test_a_newer_session_fences_the_older_whatever_life_it_is_of(self, disk: Disk) -> None:
        store = await disk()
        await store.enter("n", "i")
        await store.commit(Batch(advance=advance(1, Span(1, 2))))
        assert (await store.enter("n", "j")).session == 2
        assert (await store.enter("other", "i")).session == 1
        for late in (advance(1, Span(3, 3)), advance(2, Span(3, 3)), advance(3, Span(3, 3))):
            with pytest.raises(FencedError):
                await store.commit(Batch(writes=(put(key("late")),), advance=late))
        assert await store.get(key("late")) is None
        again = await store.enter("n", "i")
        assert (again.session, again.received) == (3, Received((Spans.upto(2), Spans()))), "a life that came back"
        await store.commit(Batch(advance=advance(3, Span(3, 3))))

    async def test_starts_are_kept_with_the_life_of_an_outbox_and_tell_where_a_copy_parted(self, disk: Disk) -> None:
        store = await disk()
        first, second, other = Start(mark=1, first=1), Start(mark=0xFFFFFFFF, first=5), Start(mark=3, first=4)
        assert (await store.enter("n", "i", starts=(first,))).common == 0
        await store.enter("n", "j", starts=(other,))
        assert (await store.enter("n", "i", starts=(first, second))).common == 0
        await store.commit(Batch(advance=advance(3, Span(1, 6))))
        again = await disk()
        copy = await again.enter("n", "i", starts=(first, other))
        assert copy.common == 3
        assert (await again.enter("n", "i", starts=(first, second))).common == 4, "of the copy nothing was kept"

    async def test_of_many_lives_the_oldest_is_forgotten(self, disk: Disk) -> None:
        store = await disk()
        await store.enter("n", "i")
        await store.commit(Batch(advance=advance(1, Span(1, 2))))
        for number in range(LIVES):
            await store.enter("n", f"j{number}")
        assert (await store.enter("n", "i")).received == Received()
        position = await store.position("n")
        assert position is not None
        assert (position.incarnation, position.session) == ("i", LIVES + 2)

    async def test_of_one_report_sent_twice_at_once_one_takes_effect(self, disk: Disk) -> None:
        store = await disk()
        await store.enter("n", "i")
        batch = Batch(advance=advance(1, Span(1, 1)), records=(Record(series="s", at_ms=1, body=b""),))
        outcomes = await asyncio.gather(*(store.commit(batch) for _ in range(5)), return_exceptions=True)
        assert sum(outcome == () for outcome in outcomes) == 1
        assert len(await store.records("s")) == 1

    async def test_sessions_that_enter_at_once_are_numbered_once_each(self, disk: Disk) -> None:
        store = await disk()
        entered = await asyncio.gather(*(store.enter("n", "i") for _ in range(20)))
        assert sorted(position.session for position in entered) == list(range(1, 21))

    async def test_nobody_enters_once_the_object_is_not_so_any_more(self, disk: Disk) -> None:
        store = await disk()
        lease = key("lease", resource="leases")
        absent = Standing(key=lease, revision=ABSENT)
        assert (await store.enter("leader", "a", while_at=absent)).session == 1
        (first,) = await write(store, put(lease))
        with pytest.raises(ConflictError):
            await store.enter("leader", "b", while_at=absent)
        held = Standing(key=lease, revision=first)
        assert (await store.enter("leader", "b", while_at=held)).session == 2
        advance = Advance(node="leader", incarnation="b", session=2, covered=())
        await store.commit(Batch(writes=(put(lease, "2", expected=first),), advance=advance))
        with pytest.raises(ConflictError):
            await store.enter("leader", "a", while_at=held)
        await store.commit(Batch(writes=(Delete(key=lease, expected=None),), advance=advance))
        with pytest.raises(ConflictError):
            await store.enter("leader", "a", while_at=held)

    async def test_a_node_is_found_at_the_hub_that_it_entered_last(self, disk: Disk) -> None:
        store = await disk()
        await store.enter("n", "i")
        assert await store.entry("n") is None, "a hub that is alone gives no name"
        await asyncio.gather(*(store.enter(f"n{number}", "i", hub="north") for number in range(5)))
        await store.enter("n", "i", hub="south")
        await store.enter("n0", "j", hub="south")
        store = await reopened(store, disk)
        entries = await store.entries()
        assert [(entry.node, entry.hub) for entry in entries[-2:]] == [("n", "south"), ("n0", "south")]
        assert sorted(entry.node for entry in entries) == ["n", "n0", "n1", "n2", "n3", "n4"]
        assert [entry.number for entry in entries] == sorted({entry.number for entry in entries})
        found = await store.entry("n0")
        assert found == entries[-1]
        assert found is not None
        assert (found.session, found.incarnation) == (2, "j")
        assert await store.entries(after=entries[2].number, limit=2) == entries[3:5]
        await store.enter("n1", "i", hub="south")
        (after,) = await store.entries(after=found.number)
        assert (after.node, after.session) == ("n1", 2)

    async def test_who_follows_the_entries_sees_each_newest_one(self, disk: Disk) -> None:
        store = await disk()
        await store.enter("early", "i", hub="h")
        seen = asyncio.create_task(take_entries(store.watch_entries(after=0), "last"))
        for number in range(20):
            await store.enter(f"n{number % 3}", "i", hub="h")
            await asyncio.sleep(0)
        await store.enter("last", "i", hub="h")
        found = await seen
        assert [entry.number for entry in found] == sorted({entry.number for entry in found})
        newest = {entry.node: entry.session for entry in found}
        assert newest == {"early": 1, "n0": 7, "n1": 7, "n2": 6, "last": 1}

    async def test_what_is_written_for_a_node_that_never_entered_is_fenced_once_it_has(self, disk: Disk) -> None:
        store = await disk()
        never = Advance(node="n", incarnation="", session=0, covered=())
        await store.commit(Batch(writes=(put(key("a")),), advance=never))
        with pytest.raises(FencedError):
            await store.commit(
                Batch(advance=Advance(node="n", incarnation="", session=0, covered=((0, Span(1, 1)),)))
            )
        assert (await store.enter("n", "i")).session == 1
        with pytest.raises(FencedError):
            await store.commit(Batch(writes=(put(key("b")),), advance=never))
        assert await store.get(key("b")) is None


async def reopened(store: Store, disk: Disk) -> Store:
    await store.close()
    return await disk()
