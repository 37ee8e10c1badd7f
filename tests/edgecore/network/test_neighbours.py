"""Gateways of the site that die while nobody else can say so."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgecore.network.neighbour_table import answered, read_into
from edgecore.network.neighbours import Neighbours
from tests.edgecore.network.conftest import Known, endpoint, service, slice_of

REACHABLE, STALE, FAILED, NOARP = 0x02, 0x04, 0x20, 0x40


def row(address: str, state: int) -> bytes:
    """As the kernel tells of one neighbour."""
    packed = ip_address(address).packed
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    body = struct.pack("=BxxxiHBB", family, 2, state, 0, 1)
    body += struct.pack("=HH", 4, 3) + struct.pack("=HH", 4 + len(packed), 1) + packed
    return struct.pack("=IHHII", 16 + len(body), 28, 2, 1, 7) + body


DONE = struct.pack("=IHHIIi", 20, 3, 2, 1, 7, 0)
FOUND = {"192.0.2.2": True, "192.0.2.3": False, "192.0.2.4": True, "fd00::2": True, "fd00::3": False}


def test_who_answered_is_read_from_the_kernels_table() -> None:
    rows = [("192.0.2.2", REACHABLE), ("192.0.2.3", FAILED), ("192.0.2.4", FAILED), ("192.0.2.4", STALE)]
    rows += [("fd00::2", STALE), ("fd00::3", FAILED), ("ff02::1", NOARP)]
    found: dict[str, bool] = {}
    assert not read_into(found, b"".join(row(*each) for each in rows))
    assert read_into(found, DONE)
    assert found == FOUND


@given(st.binary(max_size=100))
def test_no_bytes_upset_a_reader(data: bytes) -> None:
    assert read_into({}, data) in (True, False)
    assert read_into({}, struct.pack("=IHHII", 16 + len(data), 28, 2, 1, 7) + data) in (True, False)


def test_this_machines_kernel_tells() -> None:
    assert all(value in (True, False) for value in answered().values())


def test_who_is_missed_twice_is_left_out_until_it_is_found(known: Known) -> None:
    told: list[int] = []
    neighbours = Neighbours(known.directory, lambda: told.append(1))
    web: Any = {"selector": {"app": "web"}}
    known.put(service("web", **web), slice_of("web", endpoint("10.2.0.1"), endpoint("10.3.0.1", "n3")))

    def ready() -> list[str]:
        return [each.address for each in known.directory.members("d", "web") if each.ready]

    others = {"192.0.2.2": "n2", "192.0.2.3": "n3", "192.0.2.9": "n9"}
    neighbours.looked(others, FOUND)
    assert ready() == ["10.2.0.1", "10.3.0.1"] and told == []
    neighbours.looked(others, FOUND)
    assert ready() == ["10.2.0.1"] and told == [1]
    neighbours.looked(others, FOUND)
    assert told == [1], "nothing new is told"
    neighbours.looked(others, {"192.0.2.2": True, "192.0.2.3": True})
    assert ready() == ["10.2.0.1", "10.3.0.1"] and told == [1, 1]


def test_who_is_found_at_one_of_two_addresses_is_there(known: Known) -> None:
    neighbours = Neighbours(known.directory, lambda: None)
    others = {"192.0.2.3": "n3", "fd00::2": "n3", "fd00::3": "n4"}
    for _ in range(3):
        neighbours.looked(others, FOUND)
    assert known.directory.gone == {"n4"}
