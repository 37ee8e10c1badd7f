"""What every form of the store promises of records: order, pages, and what is trimmed."""

from __future__ import annotations

from cloudcore.store.port import (
    Advance,
    Batch,
    Record,
)
from skerry.objects.spans import Span
from skerry.wire.frames import BULK
from tests.contracts.store_writes import (
    Disk,
)


class RecordsContract:
    async def test_records_are_followed_in_the_order_appended_by_series(self, disk: Disk) -> None:
        store = await disk()
        appended = (
            Record(series="a", at_ms=30, body=b"1"),
            Record(series="b", at_ms=20, body=b"2"),
            Record(series="a", at_ms=10, body=b"3"),
            Record(series="a", at_ms=40, body=b"4"),
        )
        await store.commit(Batch(records=appended))
        found = await store.arrivals("a")
        assert [(record.number, record.body) for record in found] == [(1, b"1"), (3, b"3"), (4, b"4")]
        assert [record.number for record in await store.arrivals("a", after=1, limit=1)] == [3]
        assert [record.number for record in await store.arrivals("a", since_ms=30)] == [1, 4]
        assert await store.revision() == 0

    async def test_records_are_read_in_order_of_time_from_either_end(self, disk: Disk) -> None:
        store = await disk()
        times = [30, 20, 10, 20, 40]
        await store.commit(Batch(records=tuple(Record(series="a", at_ms=at, body=b"") for at in times)))
        await store.commit(Batch(records=(Record(series="b", at_ms=15, body=b""),)))
        order = [3, 2, 4, 1, 5]
        found = await store.records("a")
        assert [record.number for record in found] == order
        assert [record.number for record in await store.records("a", newest_first=True)] == order[::-1]
        assert [record.number for record in await store.records("a", newest_first=True, limit=2)] == [5, 1]
        for at, record in enumerate(found):
            forward = await store.records("a", after=record.place, limit=2)
            assert [one.number for one in forward] == order[at + 1 : at + 3]
            back = await store.records("a", after=record.place, newest_first=True)
            assert [one.number for one in back] == order[:at][::-1]
        for newest_first in (False, True):
            since = await store.records("a", since_ms=20, newest_first=newest_first)
            assert sorted(record.number for record in since) == [1, 2, 4, 5]
        behind = await store.records("a", after=found[0].place, since_ms=30)
        assert [record.number for record in behind] == [1, 5], "whichever of the two begins later"

    async def test_a_backlog_stands_before_what_was_read_after_it_whatever_its_frames_were_late_by(
        self, disk: Disk
    ) -> None:
        store = await disk()
        await store.enter("n", "i")

        async def commit(first: int, *times: int) -> None:
            records = tuple(Record(series="s", at_ms=at, body=b"", seq=first + n) for n, at in enumerate(times))
            covered = ((BULK, Span(first, first + len(times) - 1)),)
            await store.commit(
                Batch(records=records, advance=Advance(node="n", incarnation="i", session=1, covered=covered))
            )

        await commit(1, 1000, 2000)
        await commit(6, 6000, 7000)
        await store.close()
        store = await disk()
        await commit(5, 6100)
        await commit(3, 1900, 6050)
        found = await store.records("s")
        assert [(record.seq, record.at_ms) for record in found] == [
            (1, 1000),
            (2, 2000),
            (3, 2000),
            (4, 6000),
            (5, 6000),
            (6, 6000),
            (7, 7000),
        ]
        assert [record.number for record in found] == [1, 2, 6, 7, 5, 3, 4]

    async def test_pages_show_nothing_twice_while_older_records_arrive(self, disk: Disk) -> None:
        store = await disk()

        async def append(*times: int) -> None:
            await store.commit(Batch(records=tuple(Record(series="s", at_ms=at, body=b"") for at in times)))

        await append(10, 20, 30, 40)
        first = await store.records("s", limit=2)
        await append(15, 25)
        second = await store.records("s", after=first[-1].place, limit=2)
        await append(5, 35)
        third = await store.records("s", after=second[-1].place)
        assert [record.at_ms for record in [*first, *second, *third]] == [10, 20, 25, 30, 35, 40]
        missed = await store.arrivals("s", after=4)
        assert [record.at_ms for record in missed] == [15, 25, 5, 35], "by number nothing is missed"

    async def test_what_arrives_late_is_not_kept_in_place_of_what_is_newer(self, disk: Disk) -> None:
        store = await disk()
        times = [*range(100, 105), *range(10, 15), 102]
        await store.commit(Batch(records=tuple(Record(series="s", at_ms=at, body=b"") for at in times)))
        assert await store.trim_records(before_ms=0, keep_per_series=4) == 7
        assert [record.at_ms for record in await store.records("s")] == [102, 102, 103, 104]
        assert await store.trim_records(before_ms=0, keep_per_series=4) == 0

    async def test_records_too_old_or_too_many_are_trimmed(self, disk: Disk) -> None:
        store = await disk()
        await store.commit(
            Batch(records=tuple(Record(series=series, at_ms=at, body=b"") for series in "ab" for at in range(10)))
        )
        assert await store.trim_records(before_ms=2, keep_per_series=5) == 10
        assert [record.at_ms for record in await store.records("a")] == [5, 6, 7, 8, 9]
        assert [record.at_ms for record in await store.records("b")] == [5, 6, 7, 8, 9]
        assert await store.trim_records(before_ms=7, keep_per_series=5) == 4
        await store.commit(Batch(records=(Record(series="a", at_ms=50, body=b""),)))
        assert [row.number for row in await store.tail(after=8, limit=4)] == [9, 10, 18, 19]
        assert (await store.newest_record(), (await store.arrivals("a"))[-1].number) == (21, 21)
