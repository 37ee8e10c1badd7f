"""Gateways that try addresses of services: who looks, when, and how they vote."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from cloudcore.controllers.gslb.controller import GslbController
from cloudcore.controllers.gslb.observing import GatewayObservers
from cloudcore.controllers.gslb.vantage import Ballot, Gateway, Target, target_of, vantage_points
from skerry.errors import UnavailableError
from skerry.objects.gslb import DNS_SNAPSHOTS, DNS_ZONES, GLOBAL_SERVICES
from skerry.objects.json import decode_object, encode_object
from skerry.objects.select import EVERYTHING, parse_labels
from skerry.probing.asking import Try, answer, tries_of
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


def looked(ballot: Ballot, gateway: str, now_s: float, *results: tuple[Target, bool]) -> None:
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
    rows = [{"address": address, "region": "eu"} for address in ("9.9.9.1", "9.9.9.2", "10.0.0.1")]
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
    assert votes == {"9.9.9.1": {"up": 1, "down": 3}, "9.9.9.2": {"up": 4, "down": 0}, "10.0.0.1": None}
    assert world.get(GLOBAL_SERVICES, "web")["status"]["conditions"][0]["status"] == "True", "the rest is kept"


async def test_networks_of_sites_are_looked_into_where_the_zones_owner_allows_it(world: World) -> None:
    told = await looking(world, set(), set(), private=True)
    assert {row["address"]: row["up"] for row in told} == {"9.9.9.1": 5, "9.9.9.2": 5, "10.0.0.1": 5}
