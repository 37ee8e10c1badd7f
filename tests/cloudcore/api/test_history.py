"""A device property's history, and the holes in it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cloudcore.store.port import Batch, Record
from tests.cloudcore.api.conftest import ApiWorld

URL = "/apis/devices.kubeedge.io/v1beta1/namespaces/ns/devices/plc/history?property=t"


async def test_a_hole_is_told_from_a_reading(world: ApiWorld) -> None:
    gap = {"id": 4, "count": 7, "fromMs": 1_000, "toMs": 61_000}
    bodies = [{"value": "1", "type": "INT", "q": "good", "seq": 1, "node": "eu-1"}, {"gap": gap, "node": "eu-1"}]
    records = [Record(series="ns/plc/t", at_ms=90_000, body=json.dumps(body).encode()) for body in bodies]
    await world.store.commit(Batch(records=tuple(records)))
    reading, hole = (await world.get(URL))["items"]
    assert (reading["value"], reading["sequence"], "gap" in reading) == ("1", 1, False)
    assert hole == {
        "number": reading["number"] + 1,
        "time": "1970-01-01T00:01:30.000000Z",
        "node": "eu-1",
        "gap": {
            "id": 4,
            "count": 7,
            "from": "1970-01-01T00:00:01.000000Z",
            "to": "1970-01-01T00:01:01.000000Z",
        },
    }


async def append(world: ApiWorld, *times: int) -> None:
    records = (Record(series="ns/plc/t", at_ms=at, body=b'{"value":"%d"}' % at) for at in times)
    await world.store.commit(Batch(records=tuple(records)))


def values(page: Any) -> list[int]:
    return [int(item["value"]) for item in page["items"]]


async def test_readings_are_shown_in_order_of_time_whenever_they_arrived(world: ApiWorld) -> None:
    await append(world, 1000, 4000, 5000, 2000, 3000)
    assert values(await world.get(URL)) == [1000, 2000, 3000, 4000, 5000]
    assert values(await world.get(f"{URL}&order=newest&limit=2")) == [5000, 4000]
    assert values(await world.get(f"{URL}&sinceTime=1970-01-01T00:00:03Z")) == [3000, 4000, 5000]
    since = await world.get(f"{URL}&sinceTime=1970-01-01T00:00:03Z&order=newest")
    assert values(since) == [5000, 4000, 3000]


@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_pages_go_on_where_the_one_before_ended_and_show_nothing_twice(world: ApiWorld, order: str) -> None:
    await append(world, 1000, 4000, 2000, 4000)
    page = await world.get(f"{URL}&order={order}&limit=3")
    await append(world, 1000, 3000, 4000)
    token = page["metadata"]["continue"]
    rest = await world.get(f"{URL}&limit=9&continue={token}")
    assert "continue" not in rest["metadata"]
    seen = [item["number"] for item in [*page["items"], *rest["items"]]]
    assert len(seen) == len(set(seen))
    shown = values(page) + values(rest)
    assert shown == sorted(shown, reverse=order == "newest")
    if order == "oldest":
        assert shown == [1000, 2000, 4000, 4000, 4000], "what arrived behind the page is not in it"
    else:
        assert shown == [4000, 4000, 2000, 1000, 1000]


async def test_who_follows_the_numbers_gets_every_reading_once(world: ApiWorld) -> None:
    await append(world, 1000, 4000, 5000)
    page = await world.get(f"{URL}&after=0&limit=2")
    assert (values(page), page["metadata"]["continue"]) == ([1000, 4000], "2")
    await append(world, 2000, 3000)
    rest = await world.get(f"{URL}&after=2")
    assert values(rest) == [5000, 2000, 3000]
    assert "continue" not in rest["metadata"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("order=up", "order: must be `oldest` or `newest`, not 'up'"),
        ("continue=4", "continue: must be what `metadata.continue` of a page said, not '4'"),
        ("continue=oldest.1.2.9223372036854775808", "continue: must be"),
        ("continue=oldest.1.2.3&order=newest", "order: the page before was in order `oldest`"),
        ("after=1&order=newest", "after: goes by arrival"),
        ("after=1&continue=oldest.1.2.3", "after: goes by arrival"),
        ("after=oldest.1.2.3", "after: must be a whole number, .*: a page in order of time goes on with `continue`"),
        ("after=x", "after: must be a whole number, not 'x'"),
        ("limit=-1", "limit: must be a whole number"),
        ("sinceTime=yesterday", "cannot parse"),
    ],
)
async def test_a_question_that_makes_no_sense_is_answered_with_what_is_wrong(
    world: ApiWorld, query: str, told: str
) -> None:
    replied = await world.ask("GET", f"{URL}&{query}")
    assert replied.code == 400
    assert re.search(told, replied.obj["message"])


async def test_a_time_says_how_sure_it_is_where_there_is_a_doubt(world: ApiWorld) -> None:
    bodies = [b"{}", b'{"dated":{"estimated":false,"errorMs":40}}', b'{"dated":{"estimated":true,"errorMs":0}}']
    records = tuple(Record(series="ns/plc/t", at_ms=at, body=body) for at, body in enumerate(bodies))
    await world.store.commit(Batch(records=records))
    items = (await world.get(URL))["items"]
    told = [{name: item[name] for name in ("estimated", "errorMs") if name in item} for item in items]
    assert told == [{}, {"errorMs": 40}, {"estimated": True}]


async def test_steps_are_made_here_and_go_on_where_the_page_ended(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudcore.api.verbs.history.SCAN_ROWS", 4)
    await append(world, *range(1000, 12_000, 1000))
    url = f"{URL}&step=2s&aggregate=count,last&untilTime=1970-01-01T00:00:10Z"
    page = await world.get(f"{url}&limit=3")
    rest = await world.get(f"{url}&continue={page['metadata']['continue']}")
    assert (page["stepMs"], page["aggregates"]) == (2000, ["count", "last"])
    assert [item["last"] for item in [*page["items"], *rest["items"]]] == [
        "1000",
        "3000",
        "5000",
        "7000",
        "9000",
        "10000",
    ]
    assert [item["count"] for item in [*page["items"], *rest["items"]]] == [1, 2, 2, 2, 2, 1]
    assert "continue" not in rest["metadata"]


async def test_holes_of_two_lives_of_an_outbox_are_two_though_their_numbers_are_one(world: ApiWorld) -> None:
    gaps = [{"id": 1, "life": life, "count": 30, "fromMs": 0, "toMs": 1} for life in ("0a1b", "0c2d")]
    records = [
        Record(series="ns/plc/t", at_ms=1000, body=json.dumps({"gap": gap, "node": "eu-1"}).encode()) for gap in gaps
    ]
    await world.store.commit(Batch(records=tuple(records)))
    (step,) = (await world.get(f"{URL}&step=1m&aggregate=count"))["items"]
    assert step["dropped"] == 60
    assert [item["gap"]["life"] for item in (await world.get(URL))["items"]] == ["0a1b", "0c2d"]


async def test_a_hole_that_grew_is_counted_once_over_pages_of_steps(world: ApiWorld) -> None:
    bodies = [{"gap": {"id": 4, "count": count, "fromMs": 0, "toMs": 1}, "node": "eu-1"} for count in (100, 150)]
    records = [
        Record(series="ns/plc/t", at_ms=at_s * 1000, body=json.dumps(body).encode())
        for at_s, body in zip((1, 61), bodies, strict=True)
    ]
    await world.store.commit(Batch(records=tuple(records)))
    url = f"{URL}&step=1m&aggregate=count&limit=1"
    page = await world.get(url)
    rest = await world.get(f"{url}&continue={page['metadata']['continue']}")
    assert [item["dropped"] for item in [*page["items"], *rest["items"]]] == [100, 50]


async def test_a_look_at_a_long_time_ends_with_a_whole_step(world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudcore.api.verbs.history.SCAN_ROWS", 2)
    monkeypatch.setattr("cloudcore.api.verbs.history.SCANNED_MAX", 4)
    await append(world, *range(1000, 11_000, 1000))
    url, counts = f"{URL}&step=3s&aggregate=count", list[int]()
    page = await world.get(url)
    assert len(page["items"]) < 4, "it read no more than it may"
    while True:
        counts += [item["count"] for item in page["items"]]
        token = page["metadata"].get("continue")
        if not token:
            break
        page = await world.get(f"{url}&continue={token}")
    assert counts == [2, 3, 3, 2]


async def test_a_history_ends_where_it_is_asked_to(world: ApiWorld) -> None:
    await append(world, 1000, 2000, 3000, 4000)
    until = "untilTime=1970-01-01T00:00:03Z"
    assert values(await world.get(f"{URL}&{until}")) == [1000, 2000, 3000]
    page = await world.get(f"{URL}&{until}&order=newest&limit=2")
    assert values(page) == [3000, 2000]
    rest = await world.get(f"{URL}&{until}&continue={page['metadata']['continue']}")
    assert values(rest) == [1000]
    assert "continue" not in (await world.get(f"{URL}&{until}&limit=3"))["metadata"]
