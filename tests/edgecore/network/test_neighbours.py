"""Gateways of the site that die while nobody else can say so."""

from __future__ import annotations

from typing import Any

from edgecore.network.neighbours import Neighbours, found_in
from tests.edgecore.network.conftest import Known, endpoint, service, slice_of

TABLE = """IP address       HW type     Flags       HW address            Mask     Device
192.0.2.2        0x1         0x2         02:00:00:00:00:02     *        eth0
192.0.2.3        0x1         0x0         00:00:00:00:00:00     *        eth0
192.0.2.4        0x1         0x0         00:00:00:00:00:00     *        eth0
192.0.2.4        0x1         0x6         02:00:00:00:00:04     *        eth1
"""


def test_who_answered_is_read_from_the_kernels_table() -> None:
    assert found_in(TABLE) == {"192.0.2.2": True, "192.0.2.3": False, "192.0.2.4": True}
    assert found_in("") == {}


def test_who_is_missed_twice_is_left_out_until_it_is_found(known: Known) -> None:
    told: list[int] = []
    neighbours = Neighbours(known.directory, lambda: told.append(1))
    web: Any = {"selector": {"app": "web"}}
    known.put(service("web", **web), slice_of("web", endpoint("10.2.0.1"), endpoint("10.3.0.1", "n3")))

    def ready() -> list[str]:
        return [each.address for each in known.directory.members("d", "web") if each.ready]

    others = {"192.0.2.2": "n2", "192.0.2.3": "n3", "192.0.2.9": "n9"}
    neighbours.looked(others, found_in(TABLE))
    assert ready() == ["10.2.0.1", "10.3.0.1"] and told == []
    neighbours.looked(others, found_in(TABLE))
    assert ready() == ["10.2.0.1"] and told == [1]
    neighbours.looked(others, found_in(TABLE))
    assert told == [1], "nothing new is told"
    neighbours.looked(others, {"192.0.2.2": True, "192.0.2.3": True})
    assert ready() == ["10.2.0.1", "10.3.0.1"] and told == [1, 1]
