"""Gateways that try addresses of services: who looks, when, and how they vote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.gslb.controller import SLICES, GslbController
from cloudcore.controllers.gslb.observing import GatewayObservers
from cloudcore.controllers.gslb.vantage import Ballot, Gateway, Target, is_public, shared, target_of, vantage_points
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.gslb import DNS_SNAPSHOTS, DNS_ZONES, GLOBAL_SERVICES, GSLBS
from skerry.objects.json import decode_object, encode_object
from skerry.objects.select import EVERYTHING, parse_labels
from skerry.probing.asking import Try, answer, tries_of
from skerry.probing.probe import NOT_PERMITTED
from tests.cloudcore.worlds import World, make_world

PROBE: Any = {"type": "TCP", "port": 80, "intervalSeconds": 5, "downThreshold": 2}
PLACES = {"g1": "eu", "g2": "eu", "g3": "us", "g4": "us", "g5": "ap"}


def gateways(**changed: bool) -> list[Gateway]:
    return [
        Gateway(name=name, region=region, heard=changed.get(name, True), labels={"role": name})
        for name, region in PLACES.items()
    ]


def target(address: str) -> Target:
    return target_of(Try(address=address, host="www.example.com", given=PROBE))


ONE, TWO = target("203.0.113.1"), target("203.0.113.2")


def test_gateways_of_many_regions_look_and_stay_who_they_are() -> None:
    chosen = vantage_points(gateways(), EVERYTHING, 3, "example.com")
    assert {PLACES[name] for name in chosen} == {"eu", "us", "ap"}
    assert vantage_points(reversed(gateways()), EVERYTHING, 3, "example.com") == chosen
    gone = vantage_points(gateways(**{chosen[0]: False}), EVERYTHING, 3, "example.com")
    assert set(chosen[1:]) < set(gone) and chosen[0] not in gone
    assert vantage_points(gateways(), parse_labels("role=g4"), 3, "example.com") == ("g4",)
    assert len(vantage_points(gateways(), EVERYTHING, 9, "example.com")) == 5


def looked(ballot: Ballot, gateway: str, now_s: float, *results: tuple[Target, bool | None]) -> None:
    ballot.take(gateway, results, now_s)


def test_a_gateway_votes_when_it_is_sure_and_is_silent_when_it_is_cut_off() -> None:
    ballot = Ballot()
    assert ballot.due("g1", [ONE, TWO], 0.0) == [ONE, TWO]
    looked(ballot, "g1", 0.0, (ONE, True), (TWO, True))
    assert ballot.votes(ONE, ["g1"], 0.0) == (0, 0), "one look is a guess"
    assert ballot.due("g1", [ONE], 4.0) == [] and ballot.due("g1", [ONE], 5.0) == [ONE]
    looked(ballot, "g1", 5.0, (ONE, True), (TWO, True))
    assert ballot.votes(ONE, ["g1", "g2"], 5.0) == (1, 0)
    for now_s in (10.0, 15.0):
        looked(ballot, "g1", now_s, (ONE, False), (TWO, True))
    assert ballot.votes(ONE, ["g1"], 15.0) == (0, 1) and ballot.votes(TWO, ["g1"], 15.0) == (1, 0)
    looked(ballot, "g1", 20.0, (ONE, False), (TWO, False))
    assert ballot.votes(ONE, ["g1"], 20.0) == ballot.votes(TWO, ["g1"], 20.0) == (0, 0), (
        "all fails: it is the gateway"
    )
    looked(ballot, "g1", 25.0, (ONE, False), (TWO, True))
    looked(ballot, "g1", 30.0, (ONE, False), (TWO, True))
    assert ballot.votes(ONE, ["g1"], 30.0) == (0, 1)
    assert ballot.votes(ONE, ["g1"], 61.0) == (0, 0), "it says nothing any more"
    ballot.keep({"g1": {TWO.id}})
    assert ballot.votes(ONE, ["g1"], 30.0) == (0, 0) and ballot.votes(TWO, ["g1"], 30.0) == (1, 0)


def test_a_gateway_that_may_not_look_is_asked_no_more_often_than_others_and_has_no_vote() -> None:
    ballot, three = Ballot(), target("203.0.113.3")
    for now_s in (0.0, 5.0, 10.0):
        looked(ballot, "g1", now_s, (ONE, False), (TWO, True), (three, None))
    assert ballot.due("g1", [ONE, TWO, three], 14.9) == []
    assert ballot.due("g1", [three, TWO], 15.0) == [three, TWO]
    assert ballot.votes(three, ["g1"], 10.0) == (0, 0) and ballot.votes(ONE, ["g1"], 10.0) == (0, 1)
    looked(ballot, "g1", 15.0, (ONE, False), (TWO, False), (three, None))
    assert ballot.votes(ONE, ["g1"], 15.0) == (0, 0), "all that it may try fails"
    looked(ballot, "g1", 20.0, (three, True))
    looked(ballot, "g1", 25.0, (three, True))
    assert ballot.votes(three, ["g1"], 25.0) == (1, 0), "since it may"


def test_who_has_much_that_is_slow_keeps_nobody_elses_addresses_waiting() -> None:
    much = [target(f"203.0.113.{number}") for number in range(120)]
    one = target("198.51.100.1")
    owners = {**{each.id: "much" for each in much}, one.id: "shop"}
    ballot, tried = Ballot(), {each.id: 0 for each in (*much, one)}
    for now_s in range(0, 60, 6):
        asked = shared(ballot.due("g1", [*much, one], float(now_s)), owners, 100)
        assert len(asked) <= 100
        for each in asked:
            tried[each.id] += 1
        looked(ballot, "g1", float(now_s), *((each, False) for each in asked))
    assert tried[one.id] == 10
    assert min(tried[each.id] for each in much) >= 5, "and its own take turns"


@pytest.mark.parametrize(
    "address",
    [
        *("224.0.0.1", "239.1.1.1", "ff02::1", "ff0e::1", "10.0.0.1", "::ffff:10.0.0.1", "::10.0.0.1", "no"),
        *("64:ff9b::a00:1", "64:ff9b:1::8.8.8.8", "2002:a00:1::", "2001:0:a00:1::", "fd00::1", "fe80::1%1"),
    ],
)
def test_what_leads_into_networks_of_sites_or_to_many_hosts_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_hosts_of_the_internet_are_public_also_through_a_translator() -> None:
    assert all(is_public(each) for each in ("9.9.9.9", "2620:fe::fe", "64:ff9b::9.9.9.9", "2002:909:909::1"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as made:
        yield made


async def looking(world: World, down: set[tuple[str, str]], away: set[str], *, private: bool = False) -> Any:
    """A zone with gateways that look, until they have looked often enough."""
    for name, region in PLACES.items():
        await world.create("nodes", {"metadata": {"name": name, "labels": {"topology.kubernetes.io/region": region}}})
        await world.set_status("nodes", name, conditions=[{"type": "Ready", "status": "True"}])
    servers = [{"name": "ns1", "addresses": ["192.0.2.1"]}]
    spec = {"nameservers": servers, "observers": {"count": 5, "privateAddresses": private}}
    await world.create(DNS_ZONES, {"metadata": {"name": "example.com"}, "spec": spec})
    rows = [{"address": address, "region": "eu"} for address in ("9.9.9.1", "9.9.9.2", "10.0.0.1", "224.0.0.9")]
    await world.create(
        GLOBAL_SERVICES,
        {"metadata": {"name": "web"}, "spec": {"hosts": ["www.example.com"], "endpoints": rows, "probe": PROBE}},
    )
    controller = GslbController(world.tools, lambda zone, spec: "")
    await world.settle(controller)

    async def reads(node: str, kind: str, params: bytes) -> AsyncGenerator[bytes]:
        assert kind == "probes"
        if node in away:
            raise UnavailableError("away")
        yield encode_object(
            answer(["no" if (node, each.address) in down else "" for each in tries_of(decode_object(params))])
        )

    observers = GatewayObservers(world.tools, reads)
    for _ in range(4):
        world.clock.advance(6)
        await observers.look()
    await world.settle(controller)
    return world.get(GLOBAL_SERVICES, "web")["status"].get("observations", [])


async def test_votes_are_in_the_status_and_in_the_snapshot_that_servers_follow(world: World) -> None:
    down = {(name, "9.9.9.1") for name in ("g1", "g2", "g3")}
    told = await looking(world, down, {"g5"})
    assert told == [
        {"host": "www.example.com", "address": "9.9.9.1", "up": 1, "down": 3},
        {"host": "www.example.com", "address": "9.9.9.2", "up": 4, "down": 0},
    ], "nobody looks into networks of sites"
    rows = world.get(DNS_SNAPSHOTS, "example.com", "")["spec"]["services"]["services"]["www.example.com."][
        "endpoints"
    ]
    votes = {row["address"]: row.get("votes") for row in rows}
    assert votes == {
        "9.9.9.1": {"up": 1, "down": 3},
        "9.9.9.2": {"up": 4, "down": 0},
        "10.0.0.1": None,
        "224.0.0.9": None,
    }
    assert world.get(GLOBAL_SERVICES, "web")["status"]["conditions"][0]["status"] == "True", "the rest is kept"


async def test_networks_of_sites_are_looked_into_where_the_zones_owner_allows_it(world: World) -> None:
    told = await looking(world, set(), set(), private=True)
    assert {row["address"]: row["up"] for row in told} == {"9.9.9.1": 5, "9.9.9.2": 5, "10.0.0.1": 5}


async def test_addresses_of_a_gslb_are_tried_as_well_and_its_status_says_how_they_vote(world: World) -> None:
    notes = {"k8gb.io/exposed-ip-addresses": "9.9.9.7", "skerry.dev/probe": '{"type": "TCP", "port": 443}'}
    rule = {"host": "shop.example.com", "http": {"paths": [{"backend": {"service": {"name": "shop"}}}]}}
    spec = {"ingress": {"rules": [rule]}, "strategy": {"type": "roundRobin"}}
    await world.create(GSLBS[0], {"metadata": {"name": "shop", "annotations": notes}, "spec": spec})
    body = {"metadata": {"name": "shop"}, "spec": {"ports": [{"port": 80}]}}
    await world.create("services", body)
    rows = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]
    labels = {"kubernetes.io/service-name": "shop"}
    await world.create(SLICES, {"metadata": {"name": "shop-1", "labels": labels}, "endpoints": rows})
    assert len(await looking(world, {(name, "9.9.9.7") for name in ("g1", "g2", "g3")}, set())) == 2
    told = world.get(GSLBS[0], "shop")["status"]
    assert told["observations"] == [{"host": "shop.example.com", "address": "9.9.9.7", "up": 2, "down": 3}]
    assert told["healthyRecords"] == {"shop.example.com": []}, "it is healthy inside, and nobody reaches it"
    assert told["serviceHealth"] == {"shop.example.com": "Healthy"}
    (row,) = world.get(DNS_SNAPSHOTS, "example.com", "")["spec"]["services"]["services"]["shop.example.com."][
        "endpoints"
    ]
    assert row["votes"] == {"up": 2, "down": 3}


async def test_a_namespace_that_is_slow_keeps_no_other_from_being_asked(world: World) -> None:
    await looking(world, set(), set())
    await world.create("namespaces", {"metadata": {"name": "slow"}})
    row = {"host": "slow.example.com", "address": "9.9.9.9"}
    await world.create(
        GLOBAL_SERVICES,
        {"metadata": {"name": "a"}, "spec": {"hosts": [row["host"]], "endpoints": [row], "probe": PROBE}},
        "slow",
    )
    await world.settle(GslbController(world.tools, lambda zone, spec: ""))
    answered, both = asyncio.Event(), asyncio.Event()
    heard: set[str] = set()

    async def reads(node: str, kind: str, params: bytes) -> AsyncGenerator[bytes]:
        hosts = {each.host for each in tries_of(decode_object(params))}
        if "slow.example.com" in hosts:
            await answered.wait()
        heard.update(hosts)
        if "www.example.com" in heard:
            both.set()
        yield encode_object(answer([""] * len(tries_of(decode_object(params)))))

    observers = GatewayObservers(world.tools, reads)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(observers.look())
        await both.wait()
        assert heard == {"www.example.com"}
        answered.set()


async def test_a_gateway_that_answers_nonsense_and_a_store_that_is_away_stop_nobody(world: World) -> None:
    """What a leader's part lets through ends the cloud's process."""

    class Away:
        """The world's objects, of which none can be written for a while."""

        def __init__(self) -> None:
            self.away = True

        def __getattr__(self, name: str) -> Any:
            return getattr(world.objects, name)

        async def update(self, *args: Any, **named: Any) -> Any:
            if self.away:
                raise UnavailableError("the database moves")
            return await world.objects.update(*args, **named)

    await looking(world, set(), set())
    away: Any = Away()

    async def reads(node: str, kind: str, params: bytes) -> AsyncGenerator[bytes]:
        yield b"[" if node == "g1" else b"[1]" if node == "g2" else encode_object(answer(["", ""]))

    observers = GatewayObservers(replace(world.tools, objects=away), reads)
    for _ in range(4):
        world.clock.advance(6)
        await observers.look()
    assert [row["up"] for row in world.get(GLOBAL_SERVICES, "web")["status"]["observations"]] == [5, 5]
    away.away = False
    await observers.look()
    assert [row["up"] for row in world.get(GLOBAL_SERVICES, "web")["status"]["observations"]] == [3, 3]


async def test_a_gateway_that_may_not_look_is_asked_again_after_the_interval(world: World) -> None:
    await looking(world, set(), set())
    asked: list[str] = []

    async def reads(node: str, kind: str, params: bytes) -> AsyncGenerator[bytes]:
        asked.append(node)
        yield encode_object(answer([NOT_PERMITTED] * len(tries_of(decode_object(params)))))

    observers = GatewayObservers(world.tools, reads)
    for _ in range(4):
        await observers.look()
        world.clock.advance(1)
    assert sorted(asked) == sorted(PLACES)
    world.clock.advance(1)
    await observers.look()
    assert len(asked) == 2 * len(PLACES)
