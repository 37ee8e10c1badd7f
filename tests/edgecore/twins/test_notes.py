"""Drivers' notes in the edge store."""

from __future__ import annotations

from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.shell import AsyncEdgeStore
from edgecore.twins.notes import StoredNotes
from skerry.clocks import SystemClock


async def test_a_note_is_read_as_it_was_written_and_there_is_none_before() -> None:
    store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i1", clock=SystemClock()))
    notes = StoredNotes(store)
    assert notes.read("modbus-holes") == ""
    await notes.write("modbus-holes", '{"plc:502":[]}')
    assert StoredNotes(store).read("modbus-holes") == '{"plc:502":[]}'
    assert store.meta("driver-modbus-holes") == '{"plc:502":[]}'
    store.close()
