"""What a member says of its room, and how many replicas that is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skerry.objects.rooms import ROOMS_MAX, Room, read_pods, read_rooms, replicas_in, rooms_of, shown_rooms

NODES = st.lists(
    st.builds(Room, st.integers(0, 64_000), st.integers(0, 2**38), st.integers(0, 250)),
    max_size=200,
)


def test_a_pod_is_on_one_node() -> None:
    rooms = rooms_of([Room(1024, 2**30, 10), Room(1024, 2**30, 10)])
    assert rooms == (Room(1024, 2**30, 10, nodes=2),)
    assert replicas_in(rooms, {"cpu": 600, "memory": 2**20}) == 2
    assert replicas_in(rooms, {"cpu": 2000}) == 0
    assert replicas_in(rooms, {}) == 20


@given(NODES, st.integers(0, 8000), st.integers(0, 2**34))
def test_never_more_is_told_than_there_is(nodes: list[Room], cpu: int, memory: int) -> None:
    request = {"cpu": cpu, "memory": memory}
    told = rooms_of(nodes)
    assert len(told) <= ROOMS_MAX
    assert replicas_in(told, request) <= replicas_in(nodes, request)


@given(NODES)
def test_what_is_told_is_read_as_it_was(nodes: list[Room]) -> None:
    told = rooms_of(nodes)
    assert read_rooms({"room": shown_rooms(told)}) == told


def test_what_makes_no_sense_is_nothing() -> None:
    assert read_rooms({}) is None
    assert read_rooms({"room": [{"cpuMillis": -4, "nodes": "x"}]}) == (Room(0, 0, 0, nodes=0),)
    assert read_pods({"waiting": {"a": 2, "b": -1, "c": "x"}}, "waiting") == {"a": 2}
    assert read_pods({"waiting": [1]}, "waiting") == {}
