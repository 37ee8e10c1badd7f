"""The cloud's name when nobody resolves it."""

from __future__ import annotations

import asyncio

import pytest

from edgecore.link.dial import WayMissingError
from edgecore.link.names import META_ADDRESSES, CloudNames
from edgecore.store.failing import FailingEdgeStore
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.errors import UnavailableError
from skerry.ports import Link
from skerry.transport.memory import pair


def a_store() -> AsyncEdgeStore:
    return AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))


class Place:
    """A name server, and a cloud at some addresses."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, ...]] = {}
        self.serves: set[str] = set()
        self.dialled: list[str] = []
        self.missing = False

    async def resolve(self, host: str) -> tuple[str, ...]:
        if host not in self.answers:
            raise OSError(-3, "Temporary failure in name resolution")
        return self.answers[host]

    async def dial(self, address: str) -> Link:
        self.dialled.append(address)
        if self.missing:
            raise WayMissingError("no library")
        if address not in self.serves:
            raise UnavailableError(f"{address}: no route")
        return pair(edge_name="system:node:eu-1")[0]


async def test_a_name_that_is_not_found_any_more_is_dialled_where_it_was() -> None:
    store, place = a_store(), Place()
    place.answers["cloud.example"] = ("192.0.2.1", "2001:db8::1")
    place.serves = {"cloud.example:10443", "[2001:db8::1]:10443"}
    await CloudNames(store, place.resolve).remembering(place.dial)("cloud.example:10443")
    del place.answers["cloud.example"]
    await CloudNames(store, place.resolve).remembering(place.dial)("cloud.example:10443")  # after a restart, too
    assert place.dialled == ["cloud.example:10443", "192.0.2.1:10443", "[2001:db8::1]:10443"]


async def test_a_name_that_was_never_found_says_so() -> None:
    place = Place()
    with pytest.raises(UnavailableError, match=r"cloud\.example is not found: Temporary failure in name resolution"):
        await CloudNames(a_store(), place.resolve).remembering(place.dial)("cloud.example:10443")
    assert place.dialled == []


async def test_where_no_address_serves_the_last_one_says_why() -> None:
    store, place = a_store(), Place()
    place.answers["cloud.example"] = ("192.0.2.1", "192.0.2.2")
    place.serves = {"cloud.example:1"}
    names = CloudNames(store, place.resolve)
    await names.remembering(place.dial)("cloud.example:1")
    del place.answers["cloud.example"]
    with pytest.raises(UnavailableError, match=r"192\.0\.2\.2:1: no route"):
        await names.remembering(place.dial)("cloud.example:1")


async def test_only_addresses_by_which_a_link_was_opened_are_remembered() -> None:
    store, place = a_store(), Place()
    place.answers["cloud.example"] = ("198.51.100.66",)  # whoever it is, it is not the cloud
    names = CloudNames(store, place.resolve)
    with pytest.raises(UnavailableError):
        await names.remembering(place.dial)("cloud.example:1")
    assert names.known == {}
    assert store.meta(META_ADDRESSES) is None


async def test_answers_turned_round_are_written_once() -> None:
    store, place = a_store(), Place()
    place.answers["cloud.example"] = ("192.0.2.1", "192.0.2.2")
    place.serves = {"cloud.example:1"}
    names = CloudNames(store, place.resolve)
    await names.remembering(place.dial)("cloud.example:1")
    written = store.meta(META_ADDRESSES)
    place.answers["cloud.example"] = ("192.0.2.2", "192.0.2.1")
    await names.remembering(place.dial)("cloud.example:1")
    assert store.meta(META_ADDRESSES) == written


async def test_an_address_needs_no_name_server() -> None:
    place = Place()
    place.serves = {"[2001:db8::1]:10443"}
    await CloudNames(a_store(), place.resolve).remembering(place.dial)("[2001:db8::1]:10443")
    assert place.dialled == ["[2001:db8::1]:10443"]


async def test_a_way_that_is_missing_is_missing_at_every_address() -> None:
    store, place = a_store(), Place()
    place.answers["cloud.example"] = ("192.0.2.1", "192.0.2.2")
    place.serves = {"cloud.example:1"}
    names = CloudNames(store, place.resolve)
    await names.remembering(place.dial)("cloud.example:1")
    del place.answers["cloud.example"]
    place.missing = True
    with pytest.raises(WayMissingError):
        await names.remembering(place.dial)("cloud.example:1")
    assert place.dialled == ["cloud.example:1", "192.0.2.1:1"]


async def test_a_name_server_that_does_not_answer_is_waited_for_within_bounds() -> None:
    async def silent(_: str) -> tuple[str, ...]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(UnavailableError, match=r"no name server answers within 0\.01 s"):
        await CloudNames(a_store(), silent, within_s=0.01).remembering(Place().dial)("cloud.example:1")


async def test_a_link_is_opened_though_its_addresses_can_not_be_written_down() -> None:
    failing = FailingEdgeStore(MemoryEdgeStore(incarnation="i", clock=ManualClock()))
    store, place = AsyncEdgeStore(failing), Place()
    failing.fail_writes_with = UnavailableError("the disk is full")
    place.answers["cloud.example"] = ("192.0.2.1",)
    place.serves = {"cloud.example:1"}
    assert await CloudNames(store, place.resolve).remembering(place.dial)("cloud.example:1")
