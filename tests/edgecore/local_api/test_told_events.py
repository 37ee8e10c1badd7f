"""Events that a gateway told, as it shows them itself: with a link and without, over a restart."""

from __future__ import annotations

from edgecore.local_api.told_events import BYTES_MAX, KEPT_MAX, ToldEvents
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.objects.json import JsonObject, encode_object, int_at
from skerry.objects.meta import name_of
from skerry.objects.reports import EVENT


def event(name: str, count: int = 1, namespace: str = "default", message: str = "") -> JsonObject:
    return {"metadata": {"name": name, "namespace": namespace}, "count": count, "message": message}


class Gateway:
    def __init__(self) -> None:
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))
        self.events = ToldEvents(self.store)
        self.events.listen()

    async def tell(self, *events: JsonObject) -> None:
        reports = [NewReport(report_class="event", kind=EVENT, key="", body=encode_object(each)) for each in events]
        await self.store.apply(EdgeBatch(reports=tuple(reports)))

    def shown(self, namespace: str = "") -> list[tuple[str, int]]:
        return [(name_of(each), int_at(each, "count")) for each in self.events.list(namespace)]


async def test_what_waits_and_what_went_up_is_shown_once_and_in_its_newest_state() -> None:
    gate = Gateway()
    await gate.tell(event("a"), event("b"))
    await gate.store.prune_outbox(through=gate.store.outbox_head())  # the cloud has it
    await gate.tell(event("c"), event("a", 2), event("d", namespace="other"))
    assert gate.shown() == [("b", 1), ("c", 1), ("a", 2), ("d", 1)]
    assert gate.shown("other") == [("d", 1)]


async def test_what_waits_outlives_the_agent() -> None:
    gate = Gateway()
    await gate.tell(event("a"), event("a", 2))
    gate.events = ToldEvents(gate.store)  # of the next life
    assert gate.shown() == [("a", 2)]


async def test_there_is_an_end_to_what_is_remembered() -> None:
    gate = Gateway()
    for number in range(KEPT_MAX + 10):
        await gate.tell(event(f"e{number}"))
    await gate.store.prune_outbox(through=gate.store.outbox_head())
    assert [name for name, _ in gate.shown()] == [f"e{number}" for number in range(10, KEPT_MAX + 10)]
    await gate.tell(*(event(f"large{number}", message="x" * (BYTES_MAX // 4)) for number in range(8)))
    await gate.store.prune_outbox(through=gate.store.outbox_head())
    assert 1 <= len(gate.shown()) <= 4
