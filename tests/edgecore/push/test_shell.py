"""Pushes at work, to places in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from devices.mqtt.config import Broker
from devices.pushes import PushTarget, Told, encode_push, push_targets, queue_name
from edgecore.push import plan
from edgecore.push.places import RefusedError
from edgecore.push.plan import PushSettings
from edgecore.push.shell import AT_ONCE, Pusher, PushParts
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held, NewPush, OutboxBudgets
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SeededIds, SystemClock
from skerry.errors import StorageFullError, UnavailableError
from skerry.objects.json import JsonObject, decode_object, encode_object, str_at
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.reports import EVENT, EventReport

DEVICE = Key("devices.devices.kubeedge.io", "plant", "scale")


class Memory:
    """Places in memory. `fate` says what becomes of a push: "" it arrives, "away", "refused"."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, str]] = []
        self.tried = 0
        self.fate: Callable[[str, str], str] = lambda place, text: ""
        self.kept: frozenset[Broker] = frozenset()
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = self.most = 0

    async def push(self, target: PushTarget, payload: bytes) -> None:
        self.tried += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.open.wait()
        self.at_once -= 1
        text = payload.decode().partition("&")[0]
        match self.fate(target.place, text):
            case "away":
                raise UnavailableError("no answer")
            case "refused":
                raise RefusedError("it answers 422")
            case _:
                self.arrived.append((target.place, text))

    async def keep(self, brokers: frozenset[Broker]) -> None:
        self.kept = brokers

    async def close(self) -> None: ...


def device(*hosts: str) -> JsonObject:
    """A property `pN` for each host."""
    properties: list[JsonObject] = [
        {"name": f"p{number}", "pushMethod": {"http": {"hostName": host}}} for number, host in enumerate(hosts)
    ]
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": "scale", "namespace": "plant", "uid": "u"},
        "spec": {"protocol": {"protocolName": "modbus"}, "properties": [*properties]},
    }


def held(obj: JsonObject, revision: int = 1, *, key: Key = DEVICE) -> EdgeBatch:
    return EdgeBatch(puts=(Held(key=key, stamp=Stamp("u", Revision(revision)), body=encode_object(obj)),))


def pushes(obj: JsonObject, prop: str, *numbers: int) -> EdgeBatch:
    (target,) = push_targets(obj, None)[0][prop]
    return EdgeBatch(
        pushes=tuple(
            NewPush(
                queue_name("plant", "scale", target),
                encode_push(
                    "http",
                    Told(
                        namespace="plant", device="scale", prop=prop, value=str(number), type="INT", unit="",
                        quality="good", reason="", source_ms=0, seq=number,
                    ),
                ),
            )
            for number in numbers
        )
    )  # fmt: skip


def new_store(budget: int = 1 << 20) -> AsyncEdgeStore:
    clock = SystemClock()
    return AsyncEdgeStore(MemoryEdgeStore(clock=clock, incarnation="one", budgets=OutboxBudgets(push=budget)))


@asynccontextmanager
async def pushing(store: AsyncEdgeStore, places: Memory) -> AsyncGenerator[Pusher]:
    parts = PushParts(
        node="n",
        store=store,
        places=places,
        clock=SystemClock(),
        ids=SeededIds(1),
        settings=PushSettings(retry_s_min=0.001, retry_s_max=0.01, store_again_s=0.01),
    )
    pusher = Pusher(parts)
    running = asyncio.create_task(pusher.run())
    try:
        async with asyncio.timeout(60):
            yield pusher
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0.002)


def events(store: AsyncEdgeStore) -> list[str]:
    found = [each for each in store.outbox(after=0, limit=99) if each.kind == EVENT]
    return [str_at(EventReport.decode(decode_object(each.body)).event, "reason") for each in found]


async def test_pushes_arrive_in_order_and_leave_the_store() -> None:
    store, places, obj = new_store(), Memory(), device("http://a", "http://a", "http://b")
    await store.apply(held(obj))
    await store.apply(pushes(obj, "p0", *range(60)))
    async with pushing(store, places):
        await store.apply(pushes(obj, "p1", 60))
        await store.apply(pushes(obj, "p2", 1))
        await until(lambda: len(places.arrived) == 62 and not store.push_queues())
    at_a = [text for place, text in places.arrived if place == "http://a"]
    assert at_a == [*(f"p0={number}" for number in range(60)), "p1=60"], "of a device to a place, one order"
    assert ("http://b", "p2=1") in places.arrived


async def test_a_place_that_is_away_holds_up_no_other_and_people_hear_of_it() -> None:
    store, places, obj = new_store(), Memory(), device("http://a", "http://b")
    away = True
    places.fate = lambda place, _: "away" if away and place == "http://a" else ""
    await store.apply(held(obj))
    async with pushing(store, places) as pusher:
        await store.apply(pushes(obj, "p0", 1, 2))
        await store.apply(pushes(obj, "p1", 3))
        await until(lambda: places.arrived == [("http://b", "p1=3")])
        await until(lambda: pusher.note_of(DEVICE))
        assert pusher.note_of(DEVICE) == "pushes to http://a fail: no answer"
        (sight,) = pusher.sights()
        assert (sight.place, sight.queue.waiting, sight.reason) == ("http://a", 2, "no answer")
        away = False
        await until(lambda: len(places.arrived) == 3)
        assert places.arrived[1:] == [("http://a", "p0=1"), ("http://a", "p0=2")]
        await until(lambda: events(store) == ["PushFailed", "PushResumed"])
        assert pusher.note_of(DEVICE) == ""


async def test_what_is_refused_for_what_it_is_is_given_up_and_counted() -> None:
    store, places, obj = new_store(), Memory(), device("http://a")
    places.fate = lambda _, text: "refused" if text == "p0=1" else ""
    await store.apply(held(obj))
    async with pushing(store, places) as pusher:
        await store.apply(pushes(obj, "p0", 1, 2))
        await until(lambda: places.arrived == [("http://a", "p0=2")])
        await until(lambda: [(each.queue.waiting, each.queue.dropped) for each in pusher.sights()] == [(0, 1)])
        assert places.tried == plan.REFUSALS_MAX + 1


async def test_what_nobody_names_any_more_goes_and_what_goes_elsewhere_is_not_sent_there() -> None:
    store, places, obj = new_store(), Memory(), device("http://a", "http://a")
    places.fate = lambda *_: "away"
    await store.apply(held(obj))
    await store.apply(pushes(obj, "p0", 1))
    async with pushing(store, places):
        await until(lambda: places.tried)
        places.fate = lambda _, text: "away" if text == "p0=1" else ""
        await store.apply(held(device("http://b", "http://a"), 2))
        await store.apply(pushes(obj, "p1", 5))
        await until(lambda: places.arrived == [("http://a", "p1=5")])
        await store.apply(held(device("http://b", "http://b"), 3))
        await until(lambda: not store.push_queues())
    assert places.arrived == [("http://a", "p1=5")]


async def test_what_was_dropped_for_want_of_room_is_told() -> None:
    store, places, obj = new_store(1_000), Memory(), device("http://a")
    places.fate = lambda *_: "away"
    await store.apply(held(obj))
    async with pushing(store, places):
        await store.apply(pushes(obj, "p0", 0))
        await until(lambda: places.tried)
        await store.apply(pushes(obj, "p0", *range(1, 30)))
        await until(lambda: "PushDropped" in events(store))
        (queue,) = store.push_queues()
        assert queue.waiting + queue.dropped == 30 and queue.dropped > 10


async def test_what_was_sent_when_the_agent_ends_is_not_sent_again() -> None:
    store, places, obj = new_store(), Memory(), device("http://a")
    places.fate = lambda _, text: "away" if text == "p0=2" else ""
    await store.apply(held(obj))
    await store.apply(pushes(obj, "p0", 1, 2))
    async with pushing(store, places):
        await until(lambda: places.tried >= 2)
    places.fate = lambda *_: ""
    async with pushing(store, places):
        await until(lambda: not store.push_queues())
    assert [text for _, text in places.arrived] == ["p0=1", "p0=2"]


async def test_many_devices_that_come_back_together_take_turns() -> None:
    store, places = new_store(), Memory()
    places.open.clear()
    for number in range(20):
        obj = device("http://a")
        obj["metadata"] = {"name": f"d{number}", "namespace": "plant", "uid": "u"}
        await store.apply(held(obj, key=Key(DEVICE.resource, "plant", f"d{number}")))
        (push,) = pushes(obj, "p0", number).pushes
        await store.apply(EdgeBatch(pushes=(push._replace(queue=push.queue.replace("scale", f"d{number}")),)))
    async with pushing(store, places):
        await until(lambda: places.at_once == AT_ONCE)
        places.open.set()
        await until(lambda: len(places.arrived) == 20)
    assert places.most == AT_ONCE


async def test_a_full_disk_has_nothing_sent_again_and_stops_nobody() -> None:
    inner = FailingEdgeStore(MemoryEdgeStore(clock=SystemClock(), incarnation="one"))
    store, places, obj = AsyncEdgeStore(inner), Memory(), device("http://a", "http://b")
    await store.apply(held(obj))
    await store.apply(pushes(obj, "p0", 1))
    await store.apply(pushes(obj, "p1", 2))
    inner.fail_writes_with = StorageFullError("no room")
    async with pushing(store, places):
        await until(lambda: len(places.arrived) == 2 and inner.attempts >= 2)
        inner.fail_writes_with = None
        await until(lambda: not store.push_queues())
    assert sorted(text for _, text in places.arrived) == ["p0=1", "p1=2"]
