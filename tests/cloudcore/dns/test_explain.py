"""What `skerry dns explain` says is what the server answers."""

from __future__ import annotations

import ipaddress
from typing import Any

import dns.edns
import dns.message
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudcore.dns.explain import explain
from cloudcore.dns.replies import Client
from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.servicefile import services_of
from cloudcore.dns.steering import POLICIES
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_records, with_services
from skerry.dns.names import name_of
from skerry.dns.numbers import AAAA, A
from skerry.objects.json import list_at
from skerry.probing.monitor import Counter

ORIGIN = name_of("example.com")
WWW = name_of("www.example.com")
HEAD = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\nalias 60 CNAME www\n*.app 60 CNAME alias\n"
REGIONS = ("fra", "iad", "sin", "")
PLACES = {"europe": ["192.0.2.0/24", "2001:db8:e::/48"], "america": ["198.51.100.0/25", "2001:db8:a::/47"]}
ADDRESSES = [*(f"203.0.113.{number}" for number in range(1, 7)), *(f"2001:db8::{number}" for number in range(1, 4))]
CLIENTS = ["192.0.2.7", "198.51.100.9", "198.51.100.200", "203.0.113.99", "2001:db8:e::1", "2001:db8:a:1::1", "::1"]


@st.composite
def said(draw: st.DrawFn) -> dict[str, Any]:
    """A file of services."""
    regions = st.sampled_from(REGIONS)
    states = st.sampled_from(["up", "up", "down", "drained"])
    about: dict[str, Any] = {
        "policy": draw(st.sampled_from(POLICIES)),
        "ttl": draw(st.sampled_from([0, 1, 30])),
        "endpoints": [
            {"address": each, "region": draw(regions), "weight": draw(st.integers(0, 3)), "state": draw(states)}
            for each in draw(st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=8, unique=True))
        ],
        "sticky": draw(st.booleans()),
        "minUpPercent": draw(st.sampled_from([0, 0, 50, 100])),
        "tiers": draw(st.lists(st.lists(regions, max_size=2), max_size=2)),
    }
    if draw(st.booleans()):
        about["canary"] = {
            "region": draw(st.sampled_from(REGIONS[:3])),
            "percent": draw(st.sampled_from([0, 50, 100])),
        }
    if draw(st.booleans()):
        about["probe"] = {"type": "TCP", "port": 80}
    order = st.lists(regions, max_size=3, unique=True)
    return {
        "places": PLACES,
        "orders": draw(st.dictionaries(st.sampled_from(["europe", "america", "default"]), order, max_size=3)),
        "latencies": {"europe": {"sin": 3, "fra": 5}, "default": {"iad": 1}},
        "services": {"www": about},
    }


def test_without_a_client_all_is_told_and_how_to_ask() -> None:
    about = {
        "services": {"www": {"endpoints": [{"address": "203.0.113.1"}, {"address": "203.0.113.2", "state": "down"}]}}
    }
    zone = with_services(parse_records(HEAD, ORIGIN), ORIGIN, services_of(about, ORIGIN))
    told = explain({ORIGIN: zone}, WWW, A)
    assert "203.0.113.2 (no region) is down" in list_at(told, "steps")
    assert "--from ADDRESS" in str(list_at(told, "steps")[-1]) and len(list_at(told, "answer")) == 2


def ask(responder: Responder, name: str, kind: str, client: str) -> tuple[list[str], int]:
    """Addresses and scope, for a resolver that tells the client's whole address."""
    options = [dns.edns.ECSOption(client, ipaddress.ip_address(client).max_prefixlen)]
    query = dns.message.make_query(name, kind, use_edns=0, options=[*options])
    there = Client(address=bytes([203, 0, 113, 250]), transport="udp")
    reply = responder.reply(query.to_wire(), there, 0.0)
    assert reply is not None
    answer = dns.message.from_wire(reply.data)
    scopes = [option.scopelen for option in answer.options if isinstance(option, dns.edns.ECSOption)]
    return sorted(line for rrset in answer.answer for line in rrset.to_text().split("\n")), scopes[0]


@settings(deadline=None, max_examples=30)
@given(
    about=said(),
    verdicts=st.lists(st.tuples(st.booleans(), st.sampled_from([None, 10, 1000])), min_size=9, max_size=9),
    drained=st.integers(0, 8),
    more=st.integers(0, 8),
    name=st.sampled_from(["www.example.com", "alias.example.com", "x.y.app.example.com"]),
    stale=st.booleans(),
)
def test_what_is_explained_is_what_is_answered(
    about: dict[str, Any],
    verdicts: list[tuple[bool, int | None]],
    drained: int,
    more: int,
    name: str,
    stale: bool,
) -> None:
    zone: Zone = with_services(parse_records(HEAD, ORIGIN), ORIGIN, services_of(about, ORIGIN, strict=False))
    zones = {ORIGIN: zone}
    table = HealthTable.of_zones(zones)
    table.set_stale(stale=stale)
    responder = Responder(Desk(zones=zones, health=table))
    places = [*table.slots]
    # Answers are asked for before all is known, so that what was made ready has to be made anew.
    for upto in (more, len(places)):
        for number, (down, good_s) in list(zip(range(len(places)), verdicts, strict=False))[:upto]:
            counter = Counter(state="down" if down else "up", proven=good_s is not None)
            table.set_verdict(places[number], down=down, unsure=good_s == 10, counter=counter, good_s=good_s)
            table.set_drained(places[number], drained=number == drained)
        responder.look(0.0)
        for client in CLIENTS:
            packed = ipaddress.ip_address(client).packed
            for kind, word in ((A, "A"), (AAAA, "AAAA")):
                told = explain(zones, name_of(name), kind, packed, table, None, 2000)
                answer, scope = ask(responder, name, word, client)
                lines = sorted(str(line).replace(f" {word} ", f" IN {word} ") for line in list_at(told, "answer"))
                assert [line.replace(" CNAME ", " IN CNAME ") for line in lines] == answer
                steps = " ".join(str(step) for step in list_at(told, "steps"))
                if "is a service, " in steps:
                    assert f"(scope /{scope})" in steps
