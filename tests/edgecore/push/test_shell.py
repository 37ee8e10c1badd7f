"""Pushes at work, to places in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from devices.mqtt.config import Broker
from devices.pushes import PushTarget, Told, encode_push, push_targets, queue_name
from edgecore.push import plan
from edgecore.push.places import RefusedError, TurnedAwayError
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

MISTAKEN = "waits until the Device's pushMethod is mended"
DEVICE = Key("devices.devices.kubeedge.io", "plant", "scale")


class Memory:
    """Places in memory. `fate` says what becomes of a push: "" it arrives, "away", "refused", "turned away", or
    "fault"."""

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
            case "turned away":
                raise TurnedAwayError("it answers 404")
            case "fault":
                raise ValueError("no such thing")
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
                queue_name("plant", "scale", prop, target),
                encode_push(
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
async def pushing(
    store: AsyncEdgeStore, places: Memory, settings: PushSettings | None = None
) -> AsyncGenerator[Pusher]:
    parts = PushParts(
        node="n",
        store=store,
        places=places,
        clock=SystemClock(),
        ids=SeededIds(1),
        settings=settings or PushSettings(retry_s_min=0.001, retry_s_max=0.01, store_again_s=0.01),
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
    assert [text for text in at_a if text != "p1=60"] == [f"p0={number}" for number in range(60)]
    assert "p1=60" in at_a
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


async def test_a_push_that_is_turned_away_steps_aside_for_the_others_at_its_place() -> None:
    store, places, obj = new_store(), Memory(), device("http://a", "http://a", "http://a")
    fates = {"p0=1": "turned away", "p1=1": "fault"}
    places.fate = lambda _, text: fates.get(text, "")
    await store.apply(held(obj))
    for prop in ("p0", "p1", "p2"):
        await store.apply(pushes(obj, prop, 1, 2))
    async with pushing(store, places) as pusher:
        await until(lambda: [text for _, text in places.arrived] == ["p2=1", "p2=2"])
        await until(lambda: "; " in pusher.note_of(DEVICE))
        assert pusher.note_of(DEVICE) == (
            "pushes of p0 to http://a fail: it answers 404; "
            "pushes of p1 to http://a fail: a fault in the agent, which its log has: ValueError"
        )
        fates.clear()
        await until(lambda: len(places.arrived) == 6 and events(store) == ["PushFailed", "PushResumed"])
        assert pusher.note_of(DEVICE) == ""


async def test_a_place_that_is_away_is_tried_for_all_by_few() -> None:
    store, places, obj = new_store(), Memory(), device(*["http://a"] * 40)
    places.fate = lambda *_: "away"
    await store.apply(held(obj))
    for number in range(40):
        await store.apply(pushes(obj, f"p{number}", number))
    async with pushing(store, places, PushSettings(retry_s_min=60, retry_s_max=60)) as pusher:
        await until(lambda: all(each.reason == "no answer" for each in pusher.sights()))
        assert len(pusher.sights()) == 40 and places.tried <= AT_ONCE


async def test_what_waits_stays_while_its_device_has_a_mistake_and_is_told_when_it_goes() -> None:
    store, places, obj = new_store(), Memory(), device("http://a")
    places.fate = lambda *_: "away"
    await store.apply(held(obj))
    await store.apply(pushes(obj, "p0", 1, 2, 3))
    mistaken, without = device("http://a"), device("http://a")
    mistaken["spec"] = {
        "protocol": {"protocolName": "modbus"},
        "properties": [{"name": "p0", "pushMethod": {"http": {"hostName": "htp://a"}}}],
    }
    without["spec"] = {"protocol": {"protocolName": "modbus"}, "properties": [{"name": "p0"}]}
    async with pushing(store, places) as pusher:
        await until(lambda: events(store) == ["PushFailed"])
        await store.apply(held(mistaken, 2))
        await until(lambda: [each.reason for each in pusher.sights()] == [MISTAKEN])
        tried = places.tried
        places.fate = lambda *_: ""
        await store.apply(pushes(obj, "p0", 4))
        assert [each.queue.waiting for each in pusher.sights()] == [4] and places.tried <= tried + 1
        await store.apply(held(obj, 3))
        await until(lambda: not store.push_queues())
        assert [text for _, text in places.arrived] == ["p0=1", "p0=2", "p0=3", "p0=4"]
        await until(lambda: events(store) == ["PushFailed", "PushResumed"])
        places.fate = lambda *_: "away"
        await store.apply(pushes(obj, "p0", 5))
        await store.apply(held(without, 4))
        await until(lambda: "PushDropped" in events(store) and not store.push_queues())


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
