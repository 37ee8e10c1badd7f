"""What a GlobalService, a Gslb and a zone may not say."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry.validation.gslb import (
    global_service_warnings,
    validate_dns_zone,
    validate_global_service,
    validate_gslb,
)


def fields(**spec: Any) -> list[str]:
    rows = [{"address": "203.0.113.5", "region": "eu"}]
    obj: Any = {"metadata": {"name": "web"}, "spec": {"hosts": ["www.example.com"], "endpoints": rows, **spec}}
    return [cause.field for cause in validate_global_service(obj, None)]


@pytest.mark.parametrize("canary", [{"percent": 5}, {"region": "", "percent": 5}])
def test_a_canary_without_a_region_is_refused_before_servers_refuse_the_zone(canary: Any) -> None:
    assert fields(canary=canary) == ["spec.canary.region"]
    assert fields(canary={**canary, "region": "eu"}) == [] == fields()
    assert fields(canary={"region": "eu"}) == ["spec.canary.percent"], (
        "it would have no clients, and say nothing of it"
    )


@pytest.mark.parametrize("address", ["::ffff:192.0.2.1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255"])
def test_an_endpoint_is_the_address_of_one_host(address: str) -> None:
    assert fields(endpoints=[{"address": address}]) == ["spec.endpoints[0].address"]
    assert fields(endpoints=[{"address": "2001:db8::1"}, {"address": "2001:DB8:0::1"}]) == [
        "spec.endpoints[1].address"
    ]


def test_regions_that_nothing_is_in_are_warned_of() -> None:
    spec: Any = {
        "endpoints": [{"address": "203.0.113.5", "region": "eu"}],
        "regionOrder": ["eu", "mars"],
        "weights": {"venus": 1},
        "tiers": [["eu"], ["pluto"]],
        "canary": {"region": "io"},
        "drains": [{"region": "ceres"}, {"address": "203.0.113.5"}],
    }
    told = [*global_service_warnings({"spec": spec})]
    assert [each.partition(":")[0] for each in told] == [
        *("spec.regionOrder[1]", "spec.weights.venus", "spec.tiers[1][0]"),
        *("spec.canary.region", "spec.drains[0].region"),
    ]
    assert not [*global_service_warnings({"spec": {**spec, "resourceRef": {"kind": "Ingress"}}})]


@pytest.mark.parametrize(
    ("reference", "wrong"),
    [
        ({"kind": "HTTPRoute", "name": "web"}, []),
        ({"kind": "TCPRoute", "apiVersion": "gateway.networking.k8s.io/v1alpha2", "matchLabels": {"a": "b"}}, []),
        ({"kind": "HTTPRoute", "apiVersion": "v1", "name": "web"}, ["spec.resourceRef.apiVersion"]),
        ({"kind": "Pod", "name": "web"}, ["spec.resourceRef.kind"]),
        ({"kind": "Service"}, ["spec.resourceRef"]),
        ({"kind": "Service", "name": "web", "matchLabels": {"a": "b"}}, ["spec.resourceRef"]),
    ],
)
def test_a_reference_leads_to_one_kind_by_name_or_by_labels(reference: Any, wrong: list[str]) -> None:
    assert fields(resourceRef=reference) == wrong


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('{"type": "HTTPS", "path": "/healthz"}', ""),
        ("none", ""),
        ("[1]", "must be a map"),
        ("{", "is not JSON"),
        ('{"type": "SMTP"}', "it.type"),
        ('{"type": "TCP"}', "it.port"),
        ('{"type": "HTTP", "verb": "HEAD"}', "'verb' is not one of"),
    ],
)
def test_a_probe_of_a_gslb_is_looked_at_when_it_is_written(said: str, words: str) -> None:
    reference = {"apiVersion": "v1", "kind": "Service", "name": "web"}
    spec = {"resourceRef": reference, "strategy": {"type": "roundRobin"}}
    obj: Any = {"metadata": {"name": "web", "annotations": {"skerry.dev/probe": said}}, "spec": spec}
    told = [*validate_gslb(obj, None)]
    assert [cause.field for cause in told] == (["metadata.annotations[skerry.dev/probe]"] if words else [])
    assert not words or words in told[0].message


def test_the_probe_of_a_zone_is_looked_at_when_it_is_written() -> None:
    spec = {"nameservers": [{"name": "ns1", "addresses": ["192.0.2.1"]}], "probe": {"type": "TCP"}}
    obj: Any = {"metadata": {"name": "example.com"}, "spec": spec}
    assert [cause.field for cause in validate_dns_zone(obj, None)] == ["spec.probe.port"]
