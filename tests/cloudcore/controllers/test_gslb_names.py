"""Whose a name is, and what labels with underscores say of it: who answers a challenge has certificates."""

from __future__ import annotations

from typing import Any

from cloudcore.controllers.gslb.controller import GslbController
from skerry.objects.gslb import DNS_ENDPOINTS
from tests.cloudcore.controllers.gslb_world import (
    controller,
    endpoint,
    global_service,
    problems,
    snapshot,
    states,
    world,
    zone,
)
from tests.cloudcore.worlds import World

__all__ = ["controller", "world"]


async def elsewhere(world: World, name: str, *rows: Any) -> None:
    """A DNSEndpoint of another namespace."""
    world.clock.advance(1)
    await world.create(DNS_ENDPOINTS, {"metadata": {"name": name}, "spec": {"endpoints": [*rows]}}, "other")


def row(name: str, kind: str, *targets: str) -> Any:
    return {"dnsName": name, "recordType": kind, "targets": [*targets]}


CHALLENGE = row("_acme-challenge.www.example.com", "TXT", "stolen")


async def test_a_name_and_what_underscores_say_of_it_is_of_one_namespace(
    world: World, controller: GslbController
) -> None:
    await zone(world, records=[{"name": "www", "type": "MX", "data": ["10 mail.test."]}])
    await global_service(world, "web", "www.example.com")
    await endpoint(world, "web", row("www.example.com", "CAA", '0 issue "ours.test"'))
    await endpoint(world, "acme", row("_acme-challenge.www.example.com", "TXT", "ours"))
    stolen = (
        row("www.example.com", "HTTPS", "1 away.test."),
        row("www.example.com", "TXT", "stolen"),
        row("www.example.com", "A", "198.51.100.66"),
        row("_443._tcp.www.example.com", "TXT", "stolen"),
        CHALLENGE,
    )
    await elsewhere(world, "thief", *stolen, row("below.www.example.com", "A", "192.0.2.7"))
    await elsewhere(world, "apex", row("_dmarc.example.com", "TXT", "v=DMARC1"))
    await endpoint(world, "apex", row("x._domainkey.example.com", "TXT", "v=DKIM1"))
    await world.settle(controller)
    text = snapshot(world)["zone"]
    assert "stolen" not in text and "away.test" not in text and "198.51.100.66" not in text
    for said in ("CAA", "MX", "ours", "v=DMARC1", "v=DKIM1", "192.0.2.7"):
        assert said in text, "whose it is has as many objects and types there as he likes"
    told = "www.example.com: www.example.com is of namespace d"
    assert f"DNSEndpoint other/thief: {told}" in problems(world)
    assert f"DNSEndpoint other/thief: _443._tcp.{told}" in problems(world)
    assert "DNSEndpoint other/thief: www.example.com is GlobalService d/web's" in problems(world)


async def test_who_comes_first_with_a_challenge_has_the_host(world: World, controller: GslbController) -> None:
    await zone(world)
    await elsewhere(world, "first", CHALLENGE)
    await global_service(world, "web", "www.example.com")
    await world.settle(controller)
    assert "services" not in snapshot(world)["services"] and "stolen" in snapshot(world)["zone"]
    await world.objects.delete(world.kind(DNS_ENDPOINTS), world.key(DNS_ENDPOINTS, "first", "other"))
    await world.settle(controller)
    assert set(states(world)) == {"203.0.113.1"}


async def test_a_host_of_the_zone_itself_is_nobodys_and_nobody_speaks_for_it(
    world: World, controller: GslbController
) -> None:
    """Whoever answers its challenge has a certificate for it."""
    own = [
        {"name": "www", "type": "A", "data": ["192.0.2.80"]},
        {"name": "old", "type": "CNAME", "data": ["www"]},
        {"name": "corp", "type": "MX", "data": ["10 mail.test."]},
    ]
    await zone(world, records=own)
    told = [
        (row("_acme-challenge.www.example.com", "TXT", "stolen"), "www.example.com is DnsZone example.com's"),
        (row("x._tcp.www.example.com", "TXT", "stolen"), "www.example.com is DnsZone example.com's"),
        (row("www.example.com", "HTTPS", "1 stolen.test."), "www.example.com is DnsZone example.com's"),
        (row("www.example.com", "CAA", '0 issue "stolen.test"'), "www.example.com is DnsZone example.com's"),
        (row("_acme-challenge.old.example.com", "TXT", "stolen"), "old.example.com is DnsZone example.com's"),
        (row("_acme-challenge.ns1.example.com", "TXT", "stolen"), "ns1.example.com is DnsZone example.com's"),
        (row("_acme-challenge.corp.example.com", "TXT", "stolen"), "corp.example.com is DnsZone example.com's"),
        (row("_acme-challenge.example.com", "TXT", "stolen"), "speaks for the zone itself"),
        (row("x._acme-challenge.example.com", "TXT", "stolen"), "speaks for the zone itself"),
    ]
    await elsewhere(world, "thief", *(each for each, _ in told))
    await world.settle(controller)
    assert "stolen" not in snapshot(world)["zone"]
    for each, why in told:
        assert any(f"thief: {each['dnsName']}: {why}" in line for line in problems(world)), (each, problems(world))
    # A host at which the zone has mail alone may be somebody's, and then he speaks for it.
    await elsewhere(world, "corp", row("corp.example.com", "A", "192.0.2.81"))
    await elsewhere(world, "corp-acme", row("_acme-challenge.corp.example.com", "TXT", "theirs"))
    await world.settle(controller)
    assert "theirs" in snapshot(world)["zone"]


async def test_a_challenge_speaks_for_no_names_that_others_had_before(
    world: World, controller: GslbController
) -> None:
    """It gives certificates for all names right below its host."""
    await zone(world, records=[{"name": "a.own", "type": "A", "data": ["192.0.2.80"]}])
    await global_service(world, "web", "one.apps.example.com", "*.wild.example.com")
    stolen = [row(f"_acme-challenge.{name}.example.com", "TXT", "stolen") for name in ("apps", "wild", "own")]
    hosts = [row(f"{name}.example.com", "A", "192.0.2.7") for name in ("apps", "wild", "own")]
    await elsewhere(world, "first", *stolen)
    await elsewhere(world, "hosts", *hosts)
    await elsewhere(world, "again", *stolen)
    await world.settle(controller)
    text = snapshot(world)["zone"]
    assert "stolen" not in text and text.count("192.0.2.7") == 3
    assert "DNSEndpoint other/again: _acme-challenge.apps.example.com: speaks for all names right below" in " ".join(
        problems(world)
    )


async def test_nobody_keeps_a_host_from_its_certificate_by_a_name_below_it(
    world: World, controller: GslbController
) -> None:
    await zone(world)
    await global_service(world, "web", "www.example.com")
    await elsewhere(world, "below", row("x.www.example.com", "A", "192.0.2.7"))
    await endpoint(world, "acme", row("_acme-challenge.www.example.com", "TXT", "renewed"))
    await world.settle(controller)
    assert "renewed" in snapshot(world)["zone"] and "192.0.2.7" in snapshot(world)["zone"]
