"""How many replicas more a member has room for, by what it says of its nodes. Pure.

A member tells what is free on its nodes: not all together, as a pod is on one node, and not node by node, as there
may be thousands. So nodes with about as much free are told together, rounded down; what is told is never more than
there is. Beside that it counts pods of each object that wait because no node takes them, whatever the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, maps_at

ROOMS_MAX: Final = 64
"""Kinds of node that are told apart."""
WAITS_S_MIN: Final = 60
"""A pod that waits for less may find its node yet (KubeFed's rule)."""
ROWS_MAX: Final = 500
"""Objects whose pods are counted, of one member."""
_DIGITS: Final = (4, 2, 1)
"""Binary digits that are kept, until there are few enough kinds of node."""
_AMOUNT_MAX: Final = 2**62


class Room(Frozen, kw_only=False):
    """What is free on each of some nodes."""

    cpu_millis: int
    memory_bytes: int
    pods: int
    nodes: int = 1


def rooms_of(free: Iterable[Room]) -> tuple[Room, ...]:
    """Of nodes one by one; the largest first."""
    nodes = [room for room in free if room.pods > 0]
    found: list[Room] = []
    for digits in _DIGITS:
        alike = Counter(
            (_floor(room.cpu_millis, digits), _floor(room.memory_bytes, digits), _floor(room.pods, digits))
            for room in nodes
        )
        found = sorted((Room(*amounts, nodes=count) for amounts, count in alike.items()), key=_size, reverse=True)
        if len(found) <= ROOMS_MAX:
            break
    return tuple(found[:ROOMS_MAX])


def _size(room: Room) -> tuple[int, int, int]:
    return room.cpu_millis, room.memory_bytes, room.pods


def _floor(amount: int, digits: int) -> int:
    shift = max(0, amount.bit_length() - digits)
    return max(0, amount) >> shift << shift


def shown_rooms(rooms: Iterable[Room]) -> list[Json]:
    """As they stand in a status."""
    return [
        {"nodes": room.nodes, "cpuMillis": room.cpu_millis, "memoryBytes": room.memory_bytes, "pods": room.pods}
        for room in rooms
    ]


def read_rooms(told: JsonObject) -> tuple[Room, ...] | None:
    """Of a member's status, or of what it says: within bounds whatever it says. None: it says nothing of it."""
    if not isinstance(told.get("room"), list):
        return None
    return tuple(
        Room(
            cpu_millis=_within(int_at(each, "cpuMillis")),
            memory_bytes=_within(int_at(each, "memoryBytes")),
            pods=_within(int_at(each, "pods")),
            nodes=_within(int_at(each, "nodes")),
        )
        for each in maps_at(told, "room")[:ROOMS_MAX]
    )


def _within(amount: int) -> int:
    return max(0, min(amount, _AMOUNT_MAX))


def replicas_in(rooms: Sequence[Room], request: Mapping[str, int]) -> int:
    """How many pods that ask for as much (cpu in thousandths, memory in bytes) find a place."""
    cpu, memory = request.get("cpu", 0), request.get("memory", 0)
    total = 0
    for room in rooms:
        each = room.pods
        if cpu > 0:
            each = min(each, room.cpu_millis // cpu)
        if memory > 0:
            each = min(each, room.memory_bytes // memory)
        total += each * room.nodes
    return total


def read_pods(told: JsonObject, field: str) -> dict[str, int]:
    """Pods by name of a row: `bound`, those that have a node, or `waiting`, those that found none for long."""
    counts = told.get(field)
    if not isinstance(counts, dict):
        return {}
    found = {name: count for name, count in counts.items() if isinstance(count, int) and 0 < count < 2**31}
    return dict(sorted(found.items())[:ROWS_MAX])
