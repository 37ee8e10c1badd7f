"""What a form of the store promises that several processes share, beside `StoreContract`."""

from __future__ import annotations

import asyncio

import pytest

from cloudcore.store.port import (
    ABSENT,
    Batch,
    Record,
    Store,
)
from skerry.errors import (
    AlreadyExistsError,
    ConflictError,
    FencedError,
    GoneError,
)
from skerry.objects.meta import Revision
from skerry.objects.spans import Span, Spans
from skerry.sync.received import Received
from tests.contracts.store_writes import (
    Several,
    advance,
    key,
    names,
    put,
    take,
    take_entries,
    texts,
    write,
)


class SharedStoreContract:
    """What a form promises that several processes use at once; one that belongs to one process has no part in it.

    The class gives a fixture `several`: `await several(n)` opens n stores on the same data.
    """

    async def test_all_have_one_epoch_and_read_what_any_wrote(self, several: Several) -> None:
        one, other, third = await several(3)
        assert one.epoch == other.epoch == third.epoch
        assert await write(one, put(key("a"))) == (1,)
        assert await write(other, put(key("b"))) == (2,)
        assert (await third.revision(), names(await third.list("pods"))) == (2, ["a", "b"])
        assert (await third.get(key("a"))) == (await one.get(key("a")))

    async def test_every_watcher_sees_every_writers_changes_once_and_in_order(self, several: Several) -> None:
        stores = await several(3)
        count = 3 * 8 * 6
        watching = [asyncio.create_task(take(store.watch(after=Revision(0)), count)) for store in stores]

        async def writer(store: Store, name: str) -> list[Revision]:
            return [(await write(store, put(key(name), str(turn))))[0] for turn in range(6)]

        written = await asyncio.gather(
            *(writer(store, f"w{at}-{number}") for at, store in enumerate(stores) for number in range(8))
        )
        assert sorted(revision for revisions in written for revision in revisions) == list(range(1, count + 1))
        seen = await asyncio.gather(*watching)
        for watched in seen:
            assert [change.revision for change in watched] == list(range(1, count + 1))
            assert watched == seen[0]

    async def test_a_watcher_is_told_of_a_single_write_elsewhere(self, several: Several) -> None:
        one, other = await several(2)
        for number in range(1, 6):
            watching = asyncio.create_task(take(one.watch(after=Revision(number - 1)), 1))
            await asyncio.sleep(0)
            await write(other, put(key("a"), str(number)))
            assert [change.revision for change in await watching] == [number]

    async def test_of_rivals_in_several_processes_exactly_one_wins(self, several: Several) -> None:
        stores = await several(3)
        await write(stores[0], put(key("a")))
        outcomes = await asyncio.gather(
            *(write(store, put(key("a"), str(number), expected=1)) for number in range(10) for store in stores),
            *(write(store, put(key("b"), expected=ABSENT)) for store in stores),
            return_exceptions=True,
        )
        won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert sorted(won) == [(2,), (3,)]
        assert {type(outcome) for outcome in outcomes} == {tuple, ConflictError, AlreadyExistsError}

    async def test_of_one_report_sent_to_several_one_takes_effect(self, several: Several) -> None:
        stores = await several(3)
        await stores[0].enter("n", "i")
        for seq in (1, 2):
            record = Record(series="s", at_ms=seq, body=b"")
            batch = Batch(advance=advance(1, Span(seq, seq)), records=(record,))
            outcomes = await asyncio.gather(*(store.commit(batch) for store in stores), return_exceptions=True)
            assert sorted(type(outcome).__name__ for outcome in outcomes) == [
                "FencedError",
                "FencedError",
                "tuple",
            ]
        for store in stores:
            assert [record.number for record in await store.records("s")] == [1, 2]

    async def test_history_compacted_by_one_is_gone_for_all(self, several: Several) -> None:
        one, other = await several(2)
        await write(one, put(key("a")), put(key("a"), "2"), put(key("b")))
        await one.compact(Revision(2))
        assert await other.compacted() == 2
        with pytest.raises(GoneError):
            await other.changes(after=Revision(1))
        assert [change.revision for change in await take(other.watch(after=Revision(2)), 1)] == [3]

    async def test_a_reader_never_sees_half_of_a_batch(self, several: Several) -> None:
        one, other = await several(2)
        await write(one, put(key("a"), "0"), put(key("b"), "0"))

        async def change() -> None:
            for turn in range(1, 30):
                await write(one, put(key("a"), str(turn)), put(key("b"), str(turn)))

        changing = asyncio.create_task(change())
        while not changing.done():
            page = await other.list("pods")
            first, second = texts(page)
            assert first == second
            assert page.revision == page.items[1].revision == page.items[0].revision + 1
        await changing

    async def test_a_session_at_one_is_fenced_by_a_newer_one_at_another(self, several: Several) -> None:
        one, other = await several(2)
        await one.enter("n", "i")
        await one.commit(Batch(advance=advance(1, Span(1, 2))))
        entered = await other.enter("n", "i")
        assert (entered.session, entered.received) == (2, Received((Spans.upto(2), Spans())))
        with pytest.raises(FencedError):
            await one.commit(Batch(writes=(put(key("late")),), advance=advance(1, Span(3, 3))))
        assert await other.get(key("late")) is None
        await other.commit(Batch(advance=advance(2, Span(3, 3))))

    async def test_who_follows_the_entries_is_told_of_one_elsewhere(self, several: Several) -> None:
        one, other = await several(2)
        for number in range(1, 4):
            seen = asyncio.create_task(take_entries(one.watch_entries(after=number - 1), "n"))
            await asyncio.sleep(0)
            await other.enter("n", "i", hub="other")
            assert [(entry.session, entry.hub) for entry in await seen] == [(number, "other")]

    async def test_entries_at_several_at_once_have_one_order(self, several: Several) -> None:
        stores = await several(3)
        seen = [asyncio.create_task(take_entries(store.watch_entries(after=0), "last")) for store in stores]
        await asyncio.gather(
            *(store.enter(f"n{at}-{n}", "i", hub=f"h{at}") for n in range(8) for at, store in enumerate(stores))
        )
        await stores[0].enter("last", "i", hub="h0")
        first, *others = [await watched for watched in seen]
        assert len(first) == 25
        assert all(found == first for found in others)

    async def test_sessions_that_enter_at_several_at_once_are_numbered_once_each(self, several: Several) -> None:
        stores = await several(3)
        entered = await asyncio.gather(*(store.enter("n", "i") for _ in range(5) for store in stores))
        assert sorted(position.session for position in entered) == list(range(1, 16))
