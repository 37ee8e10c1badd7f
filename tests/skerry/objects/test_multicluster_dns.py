"""Names on three levels, as KubeFed's controllers make them."""

from __future__ import annotations

from typing import Any

from skerry.objects.meta import Key
from skerry.objects.multicluster_dns import INGRESS_RECORDS, SERVICE_RECORDS, endpoints_of, names_of

SERVICE = Key(SERVICE_RECORDS, "shop", "web")
INGRESS = Key(INGRESS_RECORDS, "shop", "web")


def shard(cluster: str, region: str, *zones: str, ip: str = "") -> Any:
    balancer = {"ingress": [{"ip": ip}]} if ip else {}
    return {"cluster": cluster, "region": region, "zones": [*zones], "loadBalancer": balancer}


def record(*rows: Any, **spec: Any) -> Any:
    return {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"domainRef": "fed", **spec},
        "status": {"domain": "example.com", "dns": [*rows]},
    }


def rows(made: Any) -> list[tuple[str, str, list[str]]]:
    return [(each["dnsName"].removesuffix(".example.com"), each["recordType"], each["targets"]) for each in made]


def test_each_level_has_the_addresses_of_its_members() -> None:
    made = endpoints_of(
        SERVICE, record(shard("a", "eu", "eu-1", ip="1.1.1.1"), shard("b", "us", "us-1", ip="2.2.2.2"))
    )
    assert rows(made) == [
        ("web.shop.fed.svc.eu-1.eu", "A", ["1.1.1.1"]),
        ("web.shop.fed.svc.eu", "A", ["1.1.1.1"]),
        ("web.shop.fed.svc", "A", ["1.1.1.1", "2.2.2.2"]),
        ("web.shop.fed.svc.us-1.us", "A", ["2.2.2.2"]),
        ("web.shop.fed.svc.us", "A", ["2.2.2.2"]),
    ]
    first: Any = made[0]
    assert first["recordTTL"] == 180
    assert "labels" not in first


def test_who_has_nothing_is_an_alias_of_the_wider_name() -> None:
    made = endpoints_of(SERVICE, record(shard("a", "eu", "eu-1"), shard("b", "eu", "eu-2", ip="2.2.2.2")))
    assert rows(made) == [
        ("web.shop.fed.svc.eu-1.eu", "CNAME", ["web.shop.fed.svc.eu.example.com"]),
        ("web.shop.fed.svc.eu-2.eu", "A", ["2.2.2.2"]),
        ("web.shop.fed.svc.eu", "A", ["2.2.2.2"]),
        ("web.shop.fed.svc", "A", ["2.2.2.2"]),
    ]


def test_the_name_for_all_goes_when_nobody_has_it_and_the_aliases_stay() -> None:
    made = endpoints_of(SERVICE, record(shard("a", "eu", "eu-1")))
    assert rows(made) == [
        ("web.shop.fed.svc.eu-1.eu", "CNAME", ["web.shop.fed.svc.eu.example.com"]),
        ("web.shop.fed.svc.eu", "CNAME", ["web.shop.fed.svc.example.com"]),
    ]


def test_addresses_beat_an_alias_in_a_zone_of_two_members() -> None:
    made = endpoints_of(SERVICE, record(shard("a", "eu", "eu-1"), shard("b", "eu", "eu-1", ip="2.2.2.2")))
    assert ("web.shop.fed.svc.eu-1.eu", "A", ["2.2.2.2"]) in rows(made)
    assert not [kind for _, kind, _ in rows(made) if kind == "CNAME"]


def test_prefix_and_external_name_and_ttl() -> None:
    made: Any = endpoints_of(
        SERVICE,
        record(shard("a", "eu", "eu-1", ip="1.1.1.1"), dnsPrefix="www", externalName="front", recordTTL=30),
    )
    assert {each["recordTTL"] for each in made} == {30}
    by_name = {each["dnsName"]: each for each in made}
    assert by_name["www.example.com"]["targets"] == ["front.shop.fed.svc.example.com"]
    assert "labels" not in by_name["www.example.com"]
    assert by_name["front.shop.fed.svc.example.com"]["labels"] == {"serviceName": "web"}


def test_a_member_of_no_region_counts_for_all_alone() -> None:
    made = endpoints_of(SERVICE, record(shard("a", "", ip="1.1.1.1")))
    assert rows(made) == [("web.shop.fed.svc", "A", ["1.1.1.1"])]


def test_six_and_four_are_apart() -> None:
    row = shard("a", "eu", ip="1.1.1.1")
    row["loadBalancer"]["ingress"].append({"ip": "2001:db8::1"})
    assert rows(endpoints_of(SERVICE, record(row)))[1:] == [
        ("web.shop.fed.svc.eu", "AAAA", ["2001:db8::1"]),
        ("web.shop.fed.svc", "A", ["1.1.1.1"]),
        ("web.shop.fed.svc", "AAAA", ["2001:db8::1"]),
    ]


def test_a_name_knows_how_far_each_address_is() -> None:
    made = names_of(
        SERVICE,
        record(
            shard("a", "eu", "eu-1", ip="1.1.1.1"),
            shard("b", "eu", "eu-2", ip="2.2.2.2"),
            shard("c", "us", "us-1", ip="3.3.3.3"),
        ),
    )
    zone = next(each for each in made if each.name.startswith("web.shop.fed.svc.eu-1."))
    assert [(each.address, each.level) for each in zone.placed] == [("1.1.1.1", 0), ("2.2.2.2", 1), ("3.3.3.3", 2)]


def test_hosts_of_an_ingress_have_all_members() -> None:
    given = record(
        shard("a", "eu", ip="1.1.1.1"), shard("b", "us", ip="2.2.2.2"), hosts=["Shop.example.com", "x.org"]
    )
    made = endpoints_of(INGRESS, given)
    assert rows(made) == [("shop", "A", ["1.1.1.1", "2.2.2.2"]), ("x.org", "A", ["1.1.1.1", "2.2.2.2"])]
    assert endpoints_of(INGRESS, record(shard("a", "eu"), hosts=["x.org"])) == []


def test_what_names_of_balancers_lead_to_goes_in_place_of_them() -> None:
    row = shard("a", "eu")
    row["loadBalancer"] = {"ingress": [{"hostname": "lb.example.net"}]}
    assert rows(endpoints_of(SERVICE, record(row)))[0][1] == "CNAME"
    row["addresses"] = ["1.1.1.1"]
    assert rows(endpoints_of(SERVICE, record(row)))[0][2] == ["1.1.1.1"]
