from __future__ import annotations

import json

import pytest

from devices.mqtt.config import Broker
from edgecore.bus.discovery import BrokerDiscovery
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import SystemClock
from skerry.errors import UnavailableError
from skerry.objects.device_questions import Discover
from skerry.objects.json import encode_object, maps_at
from skerry.objects.meta import Revision, Stamp
from tests.edgecore.bus.stage import LAMP, device

UPDATE = json.dumps({"twin": {"level": {"actual": {"value": "1"}}}}).encode()


def listening(documents: dict[str, bytes], unheard: tuple[str, ...] = ()) -> tuple[BrokerDiscovery, list[object]]:
    store = AsyncEdgeStore(MemoryEdgeStore(clock=SystemClock(), incarnation="one"))
    asked: list[object] = []

    def collect(topics: set[str], seconds: float) -> tuple[dict[str, bytes], tuple[str, ...]]:
        asked.append((sorted(topics), seconds))
        return documents, unheard

    made = BrokerDiscovery(node="eu-1", broker=Broker(host="b", port=1), prefix="ha", store=store, collect=collect)
    return made, asked


async def test_it_listens_as_long_as_it_is_asked_to_and_knows_what_is_a_device_already() -> None:
    topics = ("$hw/events/device/default/lamp/twin/update", "$hw/events/device/default/new/twin/update")
    discovery, asked = listening(
        dict.fromkeys(topics, UPDATE), unheard=("ha/+/+/config: the broker does not let the gateway hear it",)
    )
    held = Held(key=LAMP, stamp=Stamp("u", Revision(1)), body=encode_object(device("lamp", "bluetooth")))
    await discovery.store.apply(EdgeBatch(puts=(held,)))
    told = await discovery.answer(Discover(namespace="default", seconds=7))
    assert (told["kind"], told["broker"], told["seconds"], told["known"]) == ("NodeDiscovery", "b:1", 7, 1)
    assert [each["name"] for each in maps_at(told, "devices")] == ["new"]
    assert told["leftOut"] == ["ha/+/+/config: the broker does not let the gateway hear it"]
    ((heard, seconds),) = asked  # type: ignore[misc]
    assert seconds == 7 and "ha/+/+/config" in heard and "$hw/events/device/+/+/twin/update" in heard


async def test_a_broker_that_is_away_is_said() -> None:
    discovery, _ = listening({})

    def fail(topics: set[str], seconds: float) -> tuple[dict[str, bytes], tuple[str, ...]]:
        raise UnavailableError("broker b:1: refused")

    discovery.collect = fail
    with pytest.raises(UnavailableError, match="refused"):
        await discovery.answer(Discover(namespace="default"))
