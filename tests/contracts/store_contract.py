"""What every form of the store promises (`cloudcore.store.port`); a form's test class inherits these tests.

The class gives a fixture `disk`: `await disk()` opens the store, and again after a close on the same data. Forms that
several processes share pass `SharedStoreContract` (`shared_store_contract`) as well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import (
    ABSENT,
    Advance,
    Basis,
    Batch,
    Delete,
    Page,
    Position,
    Put,
    Record,
    Store,
    without_revision,
)
from skerry.errors import (
    AlreadyExistsError,
    CallerError,
    ConflictError,
    GoneError,
    NotFoundError,
    UnavailableError,
)
from skerry.objects.meta import Revision
from skerry.objects.spans import Span, Spans
from skerry.sync.received import Received
from skerry.wire.frames import BULK
from tests.contracts.positions_contract import PositionsContract
from tests.contracts.records_contract import RecordsContract
from tests.contracts.store_writes import (
    Disk,
    advance,
    delete,
    key,
    names,
    put,
    take,
    texts,
    write,
)


class StoreContract(PositionsContract, RecordsContract):
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
