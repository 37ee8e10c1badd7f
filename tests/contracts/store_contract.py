"""What every form of the store promises (`cloudcore.store.port`); a form's test class inherits these tests.

The class gives a fixture `disk`: `await disk()` opens the store, and again after a close on the same data. Forms that
several processes share pass `SharedStoreContract` as well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import (
    ABSENT,
    Advance,
    Basis,
    Batch,
    Change,
    Delete,
    Entry,
    Page,
    Position,
    Put,
    Record,
    Standing,
    Store,
    with_revision,
    without_revision,
)
from cloudcore.store.positions import LIVES
from skerry.errors import (
    AlreadyExistsError,
    CallerError,
    ConflictError,
    FencedError,
    GoneError,
    NotFoundError,
    UnavailableError,
)
from skerry.objects.meta import Key, Revision
from skerry.objects.spans import Span, Spans
from skerry.sync.received import Received
from skerry.wire.frames import BULK, PROMPT, Start

Disk = Callable[[], Awaitable[Store]]
Several = Callable[[int], Awaitable[Sequence[Store]]]


def key(name: str, *, resource: str = "pods", namespace: str = "ns") -> Key:
    return Key(resource, namespace, name)


def body(text: str) -> bytes:
    return json.dumps({"metadata": {"name": text}, "data": text}, separators=(",", ":")).encode()


def put(at: Key, text: str = "x", *, expected: int | None = None, uid: str = "") -> Put:
    wanted = None if expected is None else Revision(expected)
    return Put(key=at, uid=uid or f"uid-{at.name}", body=body(text), expected=wanted)


def delete(at: Key, *, expected: int | None = None, text: str | None = None) -> Delete:
    wanted = None if expected is None else Revision(expected)
    return Delete(key=at, expected=wanted, body=None if text is None else body(text))


async def write(store: Store, *writes: Put | Delete) -> tuple[Revision, ...]:
    return await store.commit(Batch(writes=writes))


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    found: list[Change] = []
    async with asyncio.timeout(20):
        async for change in changes:
            found.append(change)
            if len(found) == count:
                return found
    raise AssertionError("a watch never ends by itself")


def names(page: Page) -> list[str]:
    return [item.key.name for item in page.items]


def texts(page: Page) -> list[str]:
    return [json.loads(item.body)["data"] for item in page.items]


class StoreContract:
    async def test_a_new_store_is_empty_at_revision_zero(self, disk: Disk) -> None:
        store = await disk()
        assert (await store.revision(), await store.compacted(), list(await store.resources())) == (0, 0, [])
        assert store.epoch
        assert await store.get(key("a")) is None
        assert await store.position("n") is None
        assert await store.list("pods") == Page(items=(), revision=Revision(0), next_after=None, remaining=0)

    async def test_what_is_read_is_what_was_put_with_its_revision_spliced_in(self, disk: Disk) -> None:
        store = await disk()
        assert await write(store, put(key("a"), "é\U0001f98a")) == (1,)
        found = await store.get(key("a"))
        assert found is not None
        assert (found.key, found.uid, found.revision) == (key("a"), "uid-a", 1)
        assert json.loads(found.body)["metadata"] == {"resourceVersion": "1", "name": "é\U0001f98a"}

    async def test_revisions_are_dense_and_a_refused_write_takes_none(self, disk: Disk) -> None:
        store = await disk()
        assert await write(store, put(key("a")), put(key("b"))) == (1, 2)
        with pytest.raises(AlreadyExistsError):
            await write(store, put(key("a"), expected=ABSENT))
        assert await write(store, put(key("c"), expected=ABSENT)) == (3,)
        assert await store.revision() == 3

    async def test_a_write_that_expected_another_state_is_refused(self, disk: Disk) -> None:
        store = await disk()
        await write(store, put(key("a")), put(key("a")))
        with pytest.raises(ConflictError):
            await write(store, put(key("a"), expected=1))
        with pytest.raises(ConflictError):
            await write(store, delete(key("a"), expected=1))
        with pytest.raises(NotFoundError):
            await write(store, put(key("b"), expected=1))
        with pytest.raises(NotFoundError):
            await write(store, delete(key("b")))
        assert await write(store, put(key("a"), expected=2)) == (3,)
        assert await write(store, delete(key("a"), expected=3)) == (4,)
        assert await store.get(key("a")) is None

    async def test_a_put_never_changes_who_an_object_is(self, disk: Disk) -> None:
        store = await disk()
        await write(store, put(key("a"), uid="u1"))
        with pytest.raises(ConflictError):
            await write(store, put(key("a"), uid="u2"))
        await write(store, delete(key("a")), put(key("a"), uid="u2"))
        found = await store.get(key("a"))
        assert found is not None
        assert (found.uid, found.revision) == ("u2", 3)

    async def test_a_batch_is_applied_whole_or_not_at_all(self, disk: Disk) -> None:
        store = await disk()
        await write(store, put(key("a")))
        batch = Batch(
            writes=(put(key("b")), delete(key("a")), put(key("c"), expected=7)),
            advance=advance(1, Span(1, 1)),
            records=(Record(series="s", at_ms=1, body=b"r"),),
        )
        entered = await store.enter("n", "i")
        with pytest.raises(NotFoundError):
            await store.commit(batch)
        assert names(await store.list("pods")) == ["a"]
        assert await store.position("n") == entered
        assert list(await store.records("s")) == []
        assert await store.revision() == 1

    async def test_the_log_tells_before_and_after_and_dates_a_deletion(self, disk: Disk) -> None:
        store = await disk()
        await write(store, put(key("a"), "1"))
        await write(store, put(key("a"), "2"))
        await write(store, delete(key("a")))
        await write(store, put(key("a"), "3"))
        await write(store, delete(key("a"), text="last"))
        changes = await store.changes(after=Revision(0))
        states = [
            tuple(None if state is None else (json.loads(state)["data"], revision_in(state)) for state in pair)
            for pair in ((change.before, change.after) for change in changes)
        ]
        assert states == [
            (None, ("1", 1)),
            (("1", 1), ("2", 2)),
            (("2", 3), None),
            (None, ("3", 4)),
            (("last", 5), None),
        ]
        assert [change.revision for change in await store.changes(after=Revision(1), limit=2)] == [2, 3]

    async def test_lists_are_ordered_and_know_their_resource_and_namespace(self, disk: Disk) -> None:
        store = await disk()
        places = [("b", "a"), ("a", "b"), ("a", "a"), ("a-b", "a"), ("aa", "a")]
        await write(store, *(put(key(name, namespace=namespace)) for namespace, name in places))
        await write(store, put(key("n", resource="nodes", namespace="")))
        found = await store.list("pods")
        assert [(item.key.namespace, item.key.name) for item in found.items] == sorted(places)
        assert names(await store.list("pods", namespace="a")) == ["a", "b"]
        assert names(await store.list("nodes")) == ["n"]
        assert found.revision == 6
        assert list(await store.resources()) == ["nodes", "pods"]

    async def test_pages_at_an_old_revision_show_the_objects_as_they_were(self, disk: Disk) -> None:
        store = await disk()
        await write(store, *(put(key(name), "old") for name in "abcde"))
        first = await store.list("pods", limit=2)
        assert (names(first), first.next_after, first.remaining) == (["a", "b"], ("ns", "b"), 3)
        await write(store, put(key("c"), "new"), put(key("c"), "newer"), delete(key("d")), put(key("bb"), "new"))
        await write(store, delete(key("e")), put(key("e"), "again"))
        second = await store.list("pods", at=first.revision, after=first.next_after, limit=2)
        assert (names(second), texts(second), second.remaining) == (["c", "d"], ["old", "old"], 1)
        assert [item.revision for item in second.items] == [3, 4]
        assert second.revision == first.revision
        third = await store.list("pods", at=first.revision, after=second.next_after, limit=2)
        assert (names(third), third.next_after, third.remaining) == (["e"], None, 0)
        assert texts(await store.list("pods", namespace="ns", at=Revision(7))) == [
            "old",
            "old",
            "newer",
            "old",
            "old",
        ]
        assert names(await store.list("pods", limit=5)) == ["a", "b", "bb", "c", "e"]

    async def test_a_watch_shows_what_was_and_what_comes_with_none_missing(self, disk: Disk) -> None:
        store = await disk()
        await write(store, put(key("a")), put(key("b")))
        watching = asyncio.create_task(take(store.watch(after=Revision(1)), 3))
        await write(store, put(key("c")))
        await asyncio.sleep(0)
        await write(store, delete(key("a")))
        assert [change.revision for change in await watching] == [2, 3, 4]

    async def test_nothing_is_missing_or_doubled_when_many_write_at_once(self, disk: Disk) -> None:
        store = await disk()
        watching = [asyncio.create_task(take(store.watch(after=Revision(0)), 200)) for _ in range(3)]

        async def writer(number: int) -> list[Revision]:
            return [(await write(store, put(key(f"w{number}"), str(turn))))[0] for turn in range(10)]

        written = await asyncio.gather(*(writer(number) for number in range(20)))
        assert sorted(revision for revisions in written for revision in revisions) == list(range(1, 201))
        for revisions in written:
            assert revisions == sorted(revisions)
        for watched in await asyncio.gather(*watching):
            assert [change.revision for change in watched] == list(range(1, 201))

    async def test_of_rivals_for_one_revision_exactly_one_wins(self, disk: Disk) -> None:
        store = await disk()
        await write(store, put(key("a")))
        outcomes = await asyncio.gather(
            *(write(store, put(key("a"), str(number), expected=1)) for number in range(30)), return_exceptions=True
        )
        assert [outcome for outcome in outcomes if not isinstance(outcome, ConflictError)] == [(2,)]

    async def test_a_batch_is_refused_when_what_it_was_decided_on_has_changed(self, disk: Disk) -> None:
        store = await disk()
        services = Basis(resource="services", revision=await store.revision())
        one, other = key("one", resource="services"), key("other", resource="services")
        await store.commit(Batch(writes=(put(key("pod")),)))
        (first,) = await store.commit(Batch(writes=(put(one),), basis=services))
        with pytest.raises(ConflictError):
            await store.commit(Batch(writes=(put(other),), basis=services))
        with pytest.raises(ConflictError):
            await store.commit(Batch(writes=(put(other),), basis=Basis(resource="services", revision=ABSENT)))
        assert await store.get(other) is None
        since = Basis(resource="services", revision=first)
        second, _ = await store.commit(Batch(writes=(put(other), put(key("pod"))), basis=since))
        await store.commit(Batch(writes=(Delete(key=one, expected=None),)))
        with pytest.raises(ConflictError):
            await store.commit(Batch(writes=(put(one),), basis=Basis(resource="services", revision=second)))
        await store.compact(await store.revision())
        with pytest.raises(ConflictError):
            await store.commit(Batch(writes=(put(one),), basis=Basis(resource="never", revision=second)))

    async def test_of_many_decided_on_the_same_one_is_committed(self, disk: Disk) -> None:
        store = await disk()
        basis = Basis(resource="services", revision=await store.revision())
        batches = [Batch(writes=(put(key(f"s{n}", resource="services")),), basis=basis) for n in range(20)]
        outcomes = await asyncio.gather(*(store.commit(batch) for batch in batches), return_exceptions=True)
        assert [isinstance(outcome, ConflictError) for outcome in outcomes].count(False) == 1
        assert len((await store.list("services")).items) == 1

    async def test_below_the_compacted_revision_history_is_gone_and_says_so(self, disk: Disk) -> None:
        store = await disk()
        await write(store, put(key("a"), "1"), put(key("a"), "2"), put(key("b")), delete(key("b")), put(key("c")))
        await store.compact(Revision(3))
        assert await store.compacted() == 3
        for asked in (
            store.changes(after=Revision(2)),
            store.list("pods", at=Revision(2)),
            take(store.watch(after=Revision(2)), 1),
        ):
            with pytest.raises(GoneError) as error:
                await asked
            assert error.value.compacted == 3
        assert [change.revision for change in await store.changes(after=Revision(3))] == [4, 5]
        assert names(await store.list("pods", at=Revision(3))) == ["a", "b"]
        assert names(await store.list("pods")) == ["a", "c"]
        await store.compact(Revision(1))
        assert await store.compacted() == 3
        await store.compact(Revision(99))
        assert await store.compacted() == 5
        assert await write(store, put(key("d"))) == (6,)
        assert [change.revision for change in await store.changes(after=Revision(5))] == [6]

    async def test_a_restart_finds_everything_as_it_was(self, disk: Disk) -> None:
        store = await disk()
        await store.enter("n", "i")
        await store.commit(
            Batch(
                writes=(put(key("a"), "1"), put(key("a"), "2"), put(key("b")), delete(key("b"))),
                advance=advance(1, Span(1, 4)),
                records=(Record(series="s", at_ms=5, body=b"r"),),
            )
        )
        await store.compact(Revision(1))
        epoch, changes, page = store.epoch, await store.changes(after=Revision(1)), await store.list("pods")
        await store.close()
        with pytest.raises(UnavailableError):
            await store.get(key("a"))
        with pytest.raises(UnavailableError):
            await write(store, put(key("a")))
        store = await disk()
        assert (store.epoch, await store.revision(), await store.compacted()) == (epoch, 4, 1)
        assert list(await store.changes(after=Revision(1))) == list(changes)
        assert await store.list("pods") == page
        assert await store.position("n") == Position(
            node="n", incarnation="i", session=1, received=Received((Spans.upto(4), Spans()))
        )
        assert (await store.enter("n", "i")).session == 2
        assert [record.body for record in await store.records("s")] == [b"r"]
        assert await store.commit(
            Batch(writes=(put(key("c")),), records=(Record(series="s", at_ms=6, body=b"q"),))
        ) == (5,)
        assert [record.number for record in await store.records("s")] == [1, 2]

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

    # The forms run the same test on purpose, hence the check for differing executors is off.
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
        derandomize=True,
    )
    @given(data=st.data())
    async def test_any_history_gives_what_the_model_gives(self, disk: Disk, data: st.DataObject) -> None:
        model = MemoryStore(MemoryState(epoch="model"))
        store = await disk()
        offset = await store.revision()
        # Examples share one disk: each has keys of its own, and revisions relative to where it began.
        resource = f"r{offset}"
        for writes in data.draw(st.lists(st.lists(model_write(), min_size=1, max_size=4), max_size=12)):
            expected = await attempt(model, writes, resource, Revision(0))
            assert await attempt(store, writes, resource, offset) == expected
        newest = await model.revision()
        assert await store.revision() == newest + offset
        at = Revision(data.draw(st.integers(0, newest)))
        limit = data.draw(st.integers(0, 4))
        model_page = await model.list(resource, at=at, limit=limit)
        page = await store.list(resource, at=Revision(at + offset), limit=limit)
        assert relative(page, offset) == relative(model_page, Revision(0))
        assert [
            (change.key, change.revision - offset, change.before is None, change.after is None)
            for change in await store.changes(after=offset)
        ] == [
            (change.key, change.revision, change.before is None, change.after is None)
            for change in await model.changes(after=Revision(0))
        ]


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


async def check_schema_2(store: Store, *, life: int) -> None:
    """What is in `tests/cloudcore/store/written`, opened for the life-th time; leaves more of it each time."""
    found = await store.records("default/plc/t")
    assert [json.loads(record.body)["seq"] for record in found][:6] == [1, 2, 3, 4, 6, 7]
    assert [record.number for record in await store.arrivals("default/plc/t")][:6] == [1, 2, 3, 4, 5, 6]
    assert [record.at_ms for record in await store.records("traffic:eu-1")] == [1_790_000_000_000]
    position = await store.position("eu-1")
    assert position is not None
    assert (position.incarnation, position.session) == ("7f3a", life)
    seq = 7 + life
    assert position.received == Received((Spans.upto(7), Spans.of((Span(1, 4), Span(6, seq - 1)))))
    session = (await store.enter("eu-1", "7f3a")).session
    at = Advance(node="eu-1", incarnation="7f3a", session=session, covered=((BULK, Span(seq, seq)),))
    record = Record(series="default/plc/t", at_ms=1_790_000_008_000, body=b'{"seq":0}', seq=seq)
    await store.commit(Batch(advance=at, records=(record,)))
    assert (await store.records("default/plc/t", newest_first=True, limit=1))[0].seq == seq


def advance(session: int, span: Span) -> Advance:
    """Of one life of one node's outbox, in the prompt lane."""
    return Advance(node="n", incarnation="i", session=session, covered=((PROMPT, span),))


def revision_in(state: bytes) -> int:
    return int(json.loads(state)["metadata"]["resourceVersion"])


def model_write() -> st.SearchStrategy[tuple[str, str, int | None]]:
    """(verb, name, expected revision relative to the start)"""
    expected = st.one_of(st.none(), st.integers(0, 8))
    return st.tuples(st.sampled_from(["put", "put", "delete"]), st.sampled_from(["a", "b", "c"]), expected)


async def attempt(
    store: Store, writes: Sequence[tuple[str, str, int | None]], resource: str, offset: Revision
) -> list[int] | type[CallerError]:
    made: list[Put | Delete] = []
    for number, (verb, name, expected) in enumerate(writes):
        at = key(name, resource=resource)
        wanted = expected if not expected else expected + offset
        made.append(put(at, str(number), expected=wanted) if verb == "put" else delete(at, expected=wanted))
    try:
        return [revision - offset for revision in await write(store, *made)]
    except CallerError as error:
        return type(error)


def relative(page: Page, offset: Revision) -> object:
    items = [(item.key, item.uid, item.revision - offset, without_revision(item.body)) for item in page.items]
    return items, page.revision - offset, page.next_after, page.remaining


def test_the_revision_is_spliced_into_any_metadata_and_out_again() -> None:
    for plain in (b'{"metadata":{}}', b'{"metadata":{"name":"a"},"spec":{}}'):
        stamped = with_revision(plain, Revision(7))
        assert json.loads(stamped)["metadata"]["resourceVersion"] == "7"
        assert without_revision(stamped) == plain


async def take_entries(entries: AsyncIterator[Entry], last: str) -> list[Entry]:
    """Up to the first of the node `last`."""
    found: list[Entry] = []
    async with asyncio.timeout(20):
        async for entry in entries:
            found.append(entry)
            if entry.node == last:
                return found
    raise AssertionError("a watch never ends by itself")


async def reopened(store: Store, disk: Disk) -> Store:
    await store.close()
    return await disk()
