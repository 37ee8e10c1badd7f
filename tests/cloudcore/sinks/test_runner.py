"""What a sink sends over failures, refusals and another leader; and what a Sink may say."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cloudcore.registry.port import Objects
from cloudcore.registry.validation.sinks import validate_sink
from cloudcore.sinks.http import HttpReceiver
from cloudcore.sinks.mqtt import MqttReceiver
from cloudcore.sinks.port import RefusedRowsError, Secret, SlowError
from cloudcore.sinks.postgres import PostgresReceiver
from cloudcore.sinks.rows import Row
from cloudcore.sinks.runner import SINKS, SinkParts, Sinks, SinkTask, receiver_of
from cloudcore.store.port import Batch, Record, StoredRecord
from skerry.errors import FencedError, UnavailableError
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key
from skerry.objects.times import ms_at
from tests.cloudcore.worlds import World, make_world


@dataclass
class Fake:
    """Takes rows in memory, as told."""

    rows: list[Row] = field(default_factory=list[Row])
    calls: list[list[int]] = field(default_factory=list[list[int]])
    """Numbers of the rows of each call."""
    secrets: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    away: int = 0
    """Times that it is not there."""
    refuses: Callable[[Row], bool] = lambda row: False
    skips: Callable[[Row], bool] = lambda row: False
    rows_max: int = 10_000
    """It is too slow for more."""
    closed: int = 0
    closes: asyncio.Event | None = None
    """It does not close before this."""
    fails_with: Exception = field(default_factory=lambda: UnavailableError("nobody there"))

    def make(self, sink: JsonObject, secret: Secret) -> Fake:
        self.secrets.append(dict(secret))
        return self

    async def send(self, rows: Sequence[Row]) -> int:
        self.calls.append([row.number for row in rows])
        if len(rows) > self.rows_max:
            raise SlowError("no answer in time")
        if self.away:
            self.away -= 1
            raise self.fails_with
        if any(self.refuses(row) for row in rows):
            raise RefusedRowsError("HTTP 400: no")
        taken = [row for row in rows if not self.skips(row)]
        self.rows += taken
        return len(rows) - len(taken)

    async def close(self) -> None:
        if self.closes is not None:
            await self.closes.wait()
        self.closed += 1

    @property
    def numbers(self) -> list[int]:
        return [row.number for row in self.rows]


@dataclass
class FencedObjects:
    """Of a replica that another one has taken over from."""

    async def update(self, *_: object, **__: object) -> None:
        raise FencedError("another leads")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world(real_rules=True) as made:
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "BACKOFF_S"):
        monkeypatch.setattr(f"cloudcore.sinks.runner.{name}", 0.001)
    monkeypatch.setattr("cloudcore.sinks.runner.TOLD_S", 0.0)


async def append(world: World, *series: str) -> None:
    body = json.dumps({"seq": 1, "value": "1", "type": "INT", "q": "good", "node": "eu-1"}).encode()
    records = tuple(Record(series=name, at_ms=number * 1000, body=body) for number, name in enumerate(series))
    await world.store.commit(Batch(records=records))


@asynccontextmanager
async def sending(world: World, fake: Fake) -> AsyncGenerator[None]:
    parts = SinkParts(
        objects=world.objects, store=world.store, cache=world.cache, kind=world.kind(SINKS), clock=world.clock
    )
    running = asyncio.create_task(Sinks(parts, fake.make).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def until(level: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not level():
            await asyncio.sleep(0.005)


def sink(**spec: Any) -> JsonObject:
    return {
        "apiVersion": "skerry.dev/v1",
        "kind": "Sink",
        "metadata": {"name": "s"},
        "spec": {"webhook": {"url": "https://there.example/in"}, "from": "Beginning", **spec},
    }


def status(world: World) -> Any:
    return world.get(SINKS, "s").get("status", {})


async def test_every_row_of_the_namespace_is_sent_in_order_and_goes_on_after_a_restart(world: World) -> None:
    await append(world, "d/plc/t", "other/plc/t", "desired:d/plc", "d/plc/t", "d/plc/u")
    await world.create(SINKS, sink(selector={"properties": ["t"]}, batch=2))
    fake = Fake()
    async with sending(world, fake):
        await until(lambda: status(world).get("cursor") == 5)
    assert fake.numbers == [1, 4]
    assert (status(world)["sent"], status(world)["behind"], status(world)["trimmed"]) == (2, 0, 0)
    (ready,) = status(world)["conditions"]
    assert (ready["type"], ready["status"]) == ("Ready", "True")
    await append(world, "d/plc/t", "d/plc/t")
    again = Fake()
    async with sending(world, again):
        await until(lambda: status(world).get("sent") == 4)
        assert again.numbers == [6, 7]
        await append(world, "d/plc/t")
        await until(lambda: again.numbers == [6, 7, 8])


async def test_a_new_sink_begins_with_what_comes_unless_it_says_otherwise(world: World) -> None:
    await append(world, "d/plc/t")
    await world.create(SINKS, sink(**{"from": "Now"}))
    fake = Fake()
    async with sending(world, fake):
        await until(lambda: status(world).get("cursor") == 1)
        await append(world, "d/plc/t")
        await until(lambda: fake.numbers == [2])


async def test_a_sink_that_its_library_can_not_use_is_no_other_sinks_trouble(world: World) -> None:
    await append(world, "d/plc/t")
    for name in ("broken", "s"):
        await world.create(SINKS, {**sink(), "metadata": {"name": name}})
    good = Fake()
    broken = Fake(away=1_000_000, fails_with=ValueError("a line end in 'hunter2'"))
    parts = SinkParts(
        objects=world.objects, store=world.store, cache=world.cache, kind=world.kind(SINKS), clock=world.clock
    )

    def make(made: JsonObject, secret: Secret) -> Fake:
        return (broken if str_at(made, "metadata", "name") == "broken" else good).make(made, secret)

    running = asyncio.create_task(Sinks(parts, make).run())
    try:
        await until(lambda: good.numbers == [1] and len(broken.calls) > 2)
        said = world.get(SINKS, "broken")["status"]["conditions"][0]
        assert said["status"] == "False" and "ValueError" in said["message"] and "hunter2" not in said["message"]
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_who_is_away_is_tried_again_and_that_is_said(world: World) -> None:
    await append(world, "d/plc/t", "d/plc/t")
    await world.create(SINKS, sink())
    fake = Fake(away=3)
    seen: list[str] = []
    async with sending(world, fake):
        while not status(world).get("sent"):
            seen += [each["message"] for each in status(world).get("conditions", []) if each["status"] == "False"]
            await asyncio.sleep(0.001)
    assert set(seen) == {"nobody there"}
    assert fake.numbers == [1, 2] and status(world)["conditions"][0]["status"] == "True"


async def test_a_row_that_is_refused_is_found_named_and_passed_over(world: World) -> None:
    await append(world, *["d/plc/t"] * 9)
    await world.create(SINKS, sink())
    fake = Fake(refuses=lambda row: row.number in (3, 8), skips=lambda row: row.number == 5)
    async with sending(world, fake):
        await until(lambda: status(world).get("cursor") == 9)
    assert fake.numbers == [1, 2, 4, 6, 7, 9]
    told = status(world)
    assert (told["sent"], told["refused"], told["skipped"]) == (6, 2, 1)
    assert told["lastRefused"].startswith("d/plc/t of 1970-01-01T00:00:07.000000Z: HTTP 400: no")


def ready(world: World) -> tuple[str, str]:
    conditions = status(world).get("conditions")
    return (conditions[0]["status"], conditions[0]["reason"]) if conditions else ("", "")


async def test_who_refuses_everything_loses_nothing_and_is_tried_with_one_row_until_it_is_mended(
    world: World,
) -> None:
    """A wrong URL answers 400 as one answers a row at fault."""
    await append(world, *["d/plc/t"] * 9)
    await world.create(SINKS, sink())
    fake = Fake(refuses=lambda row: True)
    async with sending(world, fake):
        await until(lambda: ready(world) == ("False", "Refused"))
        said = status(world)["conditions"][0]["message"]
        assert said.startswith("none of 9 rows is taken, so they wait: d/plc/t of 1970-01-01T00:00:08")
        assert said.endswith("HTTP 400: no (spec.refusalPolicy: Skip passes over them)")
        before = len(fake.calls)
        await until(lambda: len(fake.calls) > before + 5)
        assert all(len(call) == 1 for call in fake.calls[before + 2 :]), "one row asks whether it is mended"
        await append(world, "d/plc/t")
        await until(lambda: "none of 10 rows" in status(world)["conditions"][0]["message"])
        told = status(world)
        assert (told["cursor"], told["sent"], told["refused"], told["behind"]) == (0, 0, 0, 10)
        fake.refuses = lambda row: row.number == 4
        await until(lambda: ready(world) == ("True", "Sending"))
        await until(lambda: status(world)["cursor"] == 10)
    assert fake.numbers == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert (status(world)["sent"], status(world)["refused"], status(world)["trimmed"]) == (9, 1, 0)


async def test_refused_rows_are_passed_over_when_one_behind_them_is_taken(world: World) -> None:
    await append(world, "d/plc/u", *["d/plc/t"] * 3)
    await world.create(SINKS, sink(selector={"properties": ["t"]}))
    fake = Fake(refuses=lambda row: row.number < 6, skips=lambda row: row.number == 3)
    async with sending(world, fake):
        await until(lambda: ready(world) == ("False", "Refused"))
        await append(world, *["d/plc/t"] * 3)
        await until(lambda: status(world).get("cursor") == 7)
        assert ready(world) == ("True", "Sending")
    told = status(world)
    assert fake.numbers == [6, 7]
    assert (told["sent"], told["refused"], told["skipped"], told["trimmed"]) == (2, 4, 0, 0)
    assert told["lastRefused"].startswith("d/plc/t of 1970-01-01T00:00:00.000000Z: HTTP 400: no")


async def test_who_wants_it_so_has_every_refused_row_passed_over(world: World) -> None:
    await append(world, *["d/plc/t"] * 7)
    await world.create(SINKS, sink(refusalPolicy="Skip"))
    async with sending(world, Fake(refuses=lambda row: True)):
        await until(lambda: status(world).get("cursor") == 7)
    assert (status(world)["refused"], ready(world)) == (7, ("True", "Sending"))


async def test_no_more_rows_are_tried_in_vain_than_make_it_plain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudcore.sinks.runner.REFUSED_MAX", 3)
    await append(world, *["d/plc/t"] * 64)
    await world.create(SINKS, sink())
    fake = Fake(refuses=lambda row: row.number < 9)
    seen: set[str] = set()
    async with sending(world, fake):
        await until(lambda: seen.add(str(status(world).get("conditions"))) or status(world).get("cursor") == 64)
    assert [call[0] for call in fake.calls if len(call) == 1][:4] == [1, 2, 3, 1], "then it stopped for a while"
    assert fake.numbers == [*range(9, 65)] and status(world)["refused"] == 8


async def test_who_took_a_row_lately_is_tried_with_a_whole_batch_before_anything_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Prometheus refuses all of a backlog but what is live between its rows."""
    monkeypatch.setattr("cloudcore.sinks.runner.REFUSED_MAX", 3)
    await append(world, "d/plc/t")
    await world.create(SINKS, sink())
    fake = Fake(refuses=lambda row: row.number not in (1, 20, 40))
    seen: set[str] = set()
    async with sending(world, fake):
        await until(lambda: status(world).get("cursor") == 1)
        await append(world, *["d/plc/t"] * 19)
        await until(lambda: seen.add(ready(world)[1]) or status(world)["cursor"] == 20)
        assert seen == {"Sending"}
        world.clock.advance(601)
        await append(world, *["d/plc/t"] * 20)
        await until(lambda: seen.add(ready(world)[1]) or status(world)["cursor"] == 40)
        assert seen == {"Sending", "Refused"}, "by now it may be somebody else"
    assert fake.numbers == [1, 20, 40] and status(world)["refused"] == 37


async def test_a_row_that_holds_a_sink_up_and_goes_from_the_history_meanwhile_is_counted_once(world: World) -> None:
    await append(world, *["d/plc/t"] * 6)
    await world.create(SINKS, sink())
    fake = Fake(refuses=lambda row: row.number < 5)
    fake.refuses = lambda row: True
    async with sending(world, fake):
        await until(lambda: ready(world) == ("False", "Refused"))
        await world.store.trim_records(before_ms=2000, keep_per_series=99)
        fake.refuses = lambda row: False
        await until(lambda: status(world).get("cursor") == 6)
    assert fake.numbers == [1, 3, 4, 5, 6], "the first one is remembered"
    assert (status(world)["sent"], status(world)["trimmed"]) == (5, 1)


async def test_what_is_tried_again_is_the_same_rows_though_more_have_come(world: World) -> None:
    """Who has them already can tell by their numbers."""
    await append(world, "d/plc/t", "d/plc/t")
    await world.create(SINKS, sink())
    fake = Fake(away=10**6)
    async with sending(world, fake):
        await until(lambda: fake.calls)
        await append(world, "d/plc/t")
        fake.away = 1
        await until(lambda: fake.numbers == [1, 2, 3])
    assert {tuple(call) for call in fake.calls} == {(1, 2), (3,)}


async def test_what_was_taken_of_a_batch_is_not_sent_again_when_the_rest_fails(world: World) -> None:
    await append(world, *["d/plc/t"] * 4)
    await world.create(SINKS, sink())
    fake = Fake(refuses=lambda row: row.number == 4)
    taken = fake.send

    async def send(rows: Sequence[Row]) -> int:
        if rows[0].number == 3 and len(fake.calls) < 5:
            fake.calls.append([row.number for row in rows])
            raise UnavailableError("gone in between")
        return await taken(rows)

    fake.send = send
    async with sending(world, fake):
        await until(lambda: status(world).get("cursor") == 4)
    assert fake.numbers == [1, 2, 3]
    assert (status(world)["sent"], status(world)["refused"], status(world)["trimmed"]) == (3, 1, 0)


async def test_who_is_too_slow_for_so_many_is_sent_fewer_and_more_again_when_that_goes_well(world: World) -> None:
    await append(world, *["d/plc/t"] * 16)
    await world.create(SINKS, sink(batch=8))
    fake = Fake(rows_max=3)
    async with sending(world, fake):
        await until(lambda: len(fake.numbers) > 2)
        fake.rows_max = 10_000
        await until(lambda: status(world).get("cursor") == 16)
    assert fake.numbers == [*range(1, 17)]
    lengths = [len(call) for call in fake.calls]
    assert lengths[:4] == [8, 8, 4, 2], "once more the same, as it may have arrived"
    assert max(lengths[4:]) >= 4


async def test_who_stays_slow_is_sent_no_more_than_he_takes(world: World) -> None:
    await append(world, *["d/plc/t"] * 12)
    await world.create(SINKS, sink(batch=8))
    fake = Fake(rows_max=2)
    taken = fake.send

    async def send(rows: Sequence[Row]) -> int:
        world.clock.advance(10)
        return await taken(rows)

    fake.send = send
    async with sending(world, fake):
        await until(lambda: status(world).get("cursor") == 12)
    assert [len(call) for call in fake.calls] == [8, 8, 4, *[2] * 6]


async def test_one_slow_answer_now_and_then_is_no_reason_to_send_less(world: World) -> None:
    await append(world, *["d/plc/t"] * 24)
    await world.create(SINKS, sink(batch=8))
    fake = Fake()
    taken, tried = fake.send, Counter[int]()

    async def send(rows: Sequence[Row]) -> int:
        tried[rows[0].number] += 1
        if tried[rows[0].number] == 1:
            fake.calls.append([row.number for row in rows])
            raise SlowError("no answer in time")
        return await taken(rows)

    fake.send = send
    async with sending(world, fake):
        await until(lambda: status(world).get("cursor") == 24)
    assert [len(call) for call in fake.calls] == [8] * 6 and fake.numbers == [*range(1, 25)]


async def test_when_rows_were_taken_last_is_told_where_some_were(world: World) -> None:
    await world.create(SINKS, sink())
    fake = Fake(skips=lambda row: True)
    async with sending(world, fake):
        await append(world, "d/plc/t")
        await until(lambda: status(world).get("skipped") == 1)
        assert "lastSentTime" not in status(world)
        fake.skips = lambda row: False
        await append(world, "d/plc/t")
        await until(lambda: status(world).get("sent") == 1)
        assert ms_at(status(world)["lastSentTime"]) // 1000 == world.clock.wall_ms() // 1000


async def test_who_works_for_a_sink_that_was_made_anew_says_nothing_to_the_new_one(world: World) -> None:
    await append(world, "d/plc/t")
    await world.create(SINKS, sink())
    parts = SinkParts(
        objects=world.objects, store=world.store, cache=world.cache, kind=world.kind(SINKS), clock=world.clock
    )
    fake = Fake()
    await SinkTask(parts, Key(SINKS, "d", "s"), "an older uid", world.get(SINKS, "s"), fake.make).run()
    assert status(world) == {} and fake.numbers == [1]


async def test_long_rows_are_sent_a_few_at_once_and_short_ones_as_many_as_are_wanted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudcore.sinks.runner.BATCH", 4)
    body = len(json.dumps({"seq": 1, "value": "1", "type": "INT", "q": "good", "node": "eu-1"}))
    await append(world, *["d/plc/t"] * 30)
    await world.create(SINKS, sink(batch=16))
    short = Fake()
    async with sending(world, short):
        await until(lambda: len(short.numbers) == 30)
    assert [len(call) for call in short.calls] == [4, 8, 16, 2]
    monkeypatch.setattr("cloudcore.sinks.runner.BYTES_MAX", 3 * body)
    await append(world, *["d/plc/t"] * 7)
    long, limits, tail = Fake(), list[int](), world.store.tail

    async def limited(*, after: int, limit: int = 0) -> Sequence[StoredRecord]:
        limits.append(limit)
        return await tail(after=after, limit=limit)

    monkeypatch.setattr(world.store, "tail", limited)
    async with sending(world, long):
        await until(lambda: len(long.numbers) == 7)
    assert [len(call) for call in long.calls] == [3, 3, 1]
    monkeypatch.setattr("cloudcore.sinks.runner.BYTES_MAX", body)
    await append(world, *["d/plc/t"] * 3)
    longer = Fake()
    limits.clear()
    async with sending(world, longer):
        await until(lambda: len(longer.numbers) == 3)
    assert [len(call) for call in longer.calls] == [1, 1, 1] and limits[:3] == [4, 2, 2], "no more is read than goes"


async def test_what_the_history_gave_up_before_it_was_sent_is_counted(world: World) -> None:
    await world.create(SINKS, sink())
    fake = Fake(away=10**6)
    async with sending(world, fake):
        await until(lambda: "cursor" in status(world))
        await append(world, *["d/plc/t"] * 10)
        await world.store.trim_records(before_ms=0, keep_per_series=4)
        fake.away = 0
        await until(lambda: status(world).get("cursor") == 10)
    assert fake.numbers == [7, 8, 9, 10] and status(world)["trimmed"] == 6


async def test_a_history_that_gave_up_everything_leaves_nobody_behind(world: World) -> None:
    await world.create(SINKS, sink())
    fake = Fake(away=10**6)
    async with sending(world, fake):
        await until(lambda: "cursor" in status(world))
        await append(world, *["d/plc/t"] * 10)
        await until(lambda: status(world)["behind"] == 10)
        await world.store.trim_records(before_ms=10**15, keep_per_series=1)
        fake.away = 0
        await until(lambda: status(world)["behind"] == 0)
    assert (status(world)["cursor"], status(world)["trimmed"], fake.numbers) == (10, 10, [])


async def test_where_readings_come_all_the_time_the_status_is_written_now_and_then(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudcore.sinks.runner.TOLD_S", 5.0)
    await world.create(SINKS, sink())
    fake = Fake()
    async with sending(world, fake):
        await until(lambda: ready(world) == ("True", "Sending"))
        before = world.get(SINKS, "s")["metadata"]["resourceVersion"]
        for number in range(1, 9):
            await append(world, "d/plc/t")
            await until(lambda number=number: len(fake.numbers) == number)
        assert world.get(SINKS, "s")["metadata"]["resourceVersion"] == before, "each look found one, and then no more"
        world.clock.advance(6)
        await until(lambda: status(world)["cursor"] == 8)


async def test_who_stops_says_how_far_it_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudcore.sinks.runner.TOLD_S", 1e9)
    await append(world, *["d/plc/t"] * 6)
    await world.create(SINKS, sink(batch=1))
    fake = Fake()
    taken = fake.send

    async def send(rows: Sequence[Row]) -> int:
        if rows[0].number == 5:
            await asyncio.Event().wait()
        return await taken(rows)

    fake.send = send
    async with sending(world, fake):
        await until(lambda: fake.numbers == [1, 2, 3, 4])
        assert status(world)["cursor"] < 4
    assert (status(world)["cursor"], status(world)["sent"]) == (4, 4), "another one goes on from there"


async def test_one_that_does_not_end_keeps_no_other_from_beginning_and_begins_anew_when_it_has(world: World) -> None:
    await append(world, "d/plc/t")
    for name in ("stuck", "s"):
        await world.create(SINKS, {**sink(), "metadata": {"name": name}})
    stuck, good = Fake(closes=asyncio.Event()), Fake()
    parts = SinkParts(
        objects=world.objects, store=world.store, cache=world.cache, kind=world.kind(SINKS), clock=world.clock
    )

    def make(made: JsonObject, secret: Secret) -> Fake:
        return (stuck if str_at(made, "metadata", "name") == "stuck" else good).make(made, secret)

    running = asyncio.create_task(Sinks(parts, make).run())
    try:
        await until(lambda: stuck.numbers == good.numbers == [1])
        await world.set_spec(SINKS, "stuck", batch=5)
        await world.set_spec(SINKS, "s", batch=5)
        await until(lambda: len(good.secrets) == 2)
        await append(world, "d/plc/t")
        await until(lambda: good.numbers == [1, 2])
        assert (len(stuck.secrets), stuck.numbers) == (1, [1])
        assert stuck.closes is not None
        stuck.closes.set()
        await until(lambda: stuck.numbers == [1, 2])
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_credentials_come_from_the_secret_and_a_change_of_it_begins_anew(world: World) -> None:
    await append(world, "d/plc/t")
    await world.create(SINKS, sink(secretRef={"name": "key"}))
    fake = Fake()
    async with sending(world, fake):
        await until(lambda: status(world).get("conditions"))
        assert "there is no Secret key in d" in status(world)["conditions"][0]["message"]
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "data": {"token": "YWJj"}}
        await world.create("secrets", secret)
        await until(lambda: fake.numbers == [1])
    assert fake.secrets[-1] == {"token": "abc"}


async def test_a_paused_sink_sends_nothing_and_goes_on_where_it_was(world: World) -> None:
    await append(world, "d/plc/t")
    await world.create(SINKS, sink())
    fake = Fake()
    async with sending(world, fake):
        await until(lambda: status(world).get("sent") == 1)
        await world.set_spec(SINKS, "s", paused=True)
        await until(lambda: fake.closed)
        await until(lambda: ready(world) == ("False", "Paused"))
        await append(world, "d/plc/t")
        await until(lambda: status(world)["behind"] == 1)
        assert fake.numbers == [1]
        await world.set_spec(SINKS, "s", paused=False)
        await until(lambda: fake.numbers == [1, 2] and ready(world) == ("True", "Sending"))
        await world.delete(SINKS, "s")
        await until(lambda: fake.closed == 2)


async def test_who_does_not_lead_any_more_says_nothing_and_the_next_one_sends_again(world: World) -> None:
    await append(world, "d/plc/t")
    await world.create(SINKS, sink())
    fake = Fake()
    parts = SinkParts(
        objects=cast(Objects, FencedObjects()),
        store=world.store,
        cache=world.cache,
        kind=world.kind(SINKS),
        clock=world.clock,
    )
    running = asyncio.create_task(Sinks(parts, fake.make).run())
    await until(lambda: fake.closed)
    running.cancel()
    await asyncio.wait([running])
    assert "cursor" not in status(world)
    again = Fake()
    async with sending(world, again):
        await until(lambda: again.numbers == [1])


DATABASE: JsonObject = {"host": "db.example", "database": "plant"}


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("webhook", HttpReceiver),
        ("influx", HttpReceiver),
        ("prometheus", HttpReceiver),
        ("postgres", PostgresReceiver),
        ("mqtt", MqttReceiver),
    ],
)
def test_every_place_has_its_receiver(place: str, kind: type[object]) -> None:
    spec: JsonObject = {place: {"url": "https://there"}}
    made = receiver_of({"metadata": {"name": "s", "namespace": "d", "uid": "u"}, "spec": spec}, {}, epoch="e")
    assert type(made) is kind


def faults(spec: JsonObject, namespace: str = "d") -> list[str]:
    obj: JsonObject = {"metadata": {"name": "s", "namespace": namespace}, "spec": spec}
    return [f"{cause.field}: {cause.message}" for cause in validate_sink(obj, None)]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "spec: Required value: must have exactly one of webhook, influx"),
        ({"webhook": {"url": "https://a"}, "mqtt": {"url": "mqtts://a"}}, "must have exactly one of"),
        ({"webhook": {}}, "spec.webhook.url: Required value"),
        ({"webhook": {"url": "http://there.example"}}, "must be https://, or spec.allowPlain"),
        ({"webhook": {"url": "ftp://a"}}, "must be https://HOST"),
        ({"webhook": {"url": "https://u:p@a"}}, "credentials belong into the Secret"),
        ({"mqtt": {"url": "mqtts://a", "topic": "x/{nam}"}}, "{nam} is none of {namespace}"),
        ({"mqtt": {"url": "mqtts://a", "topic": "x/+"}}, "must be a topic that can be published to"),
        ({"postgres": {**DATABASE, "table": "a;b"}, "secretRef": {"name": "x"}}, "must be TABLE or SCHEMA.TABLE"),
        ({"postgres": DATABASE}, "spec.secretRef: Required value"),
        ({"postgres": {"database": "d"}, "secretRef": {"name": "x"}}, "spec.postgres.host: Required value"),
        ({"postgres": {"host": "db"}, "secretRef": {"name": "x"}}, "spec.postgres.database: Required value"),
        ({"postgres": {**DATABASE, "host": "/run/sock"}, "secretRef": {"name": "x"}}, "spec.postgres.host"),
        ({"postgres": {**DATABASE, "host": "a,b"}, "secretRef": {"name": "x"}}, "spec.postgres.host"),
        ({"postgres": {**DATABASE, "port": 0}, "secretRef": {"name": "x"}}, "spec.postgres.port"),
        ({"postgres": {**DATABASE, "database": "d host=evil"}, "secretRef": {"name": "x"}}, "spec.postgres.database"),
        ({"influx": {"url": "https://a/write?db=x&precision=ms"}}, "times are sent in nanoseconds"),
        ({"prometheus": {"url": "https://a", "metric": "a b"}}, "must be a name of a metric"),
        ({"webhook": {"url": "https://a"}, "batch": 0}, "spec.batch"),
        ({"webhook": {"url": "https://a"}, "from": "Then"}, "spec.from"),
        ({"webhook": {"url": "https://a"}, "refusalPolicy": "Drop"}, "spec.refusalPolicy"),
        ({"webhook": {"url": "https://a"}, "selector": {"namespaces": ["x"]}}, "its own namespace"),
        ({"webhook": {"url": "https://a"}, "selector": {"qualities": ["fine"]}}, "qualities[0]"),
    ],
)
def test_what_a_sink_may_not_say(spec: JsonObject, told: str) -> None:
    (found,) = faults(spec)
    assert told in found and "u:p" not in found


def test_what_a_sink_may_say() -> None:
    assert faults({"webhook": {"url": "http://127.0.0.1:8080/in"}}) == []
    assert faults({"webhook": {"url": "http://there.example"}, "allowPlain": True}) == []
    for host in ("Db-1.example", "10.0.0.7", "::1"):
        table: JsonObject = {"host": host, "port": 65_535, "database": "plant", "table": "public.t"}
        assert faults({"postgres": table, "secretRef": {"name": "x"}}) == []
    system: JsonObject = {"mqtt": {"url": "mqtts://a"}, "selector": {"namespaces": ["*"]}}
    assert faults(system, namespace="kube-system") == []
