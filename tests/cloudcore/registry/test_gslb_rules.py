"""What a GlobalService, a Gslb and a zone may not say."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry.validation.gslb import validate_dns_zone, validate_global_service, validate_gslb


def fields(**spec: Any) -> list[str]:
    rows = [{"address": "203.0.113.5", "region": "eu"}]
    obj: Any = {"metadata": {"name": "web"}, "spec": {"hosts": ["www.example.com"], "endpoints": rows, **spec}}
    return [cause.field for cause in validate_global_service(obj, None)]


@pytest.mark.parametrize("canary", [{"percent": 5}, {"region": "", "percent": 5}])
def test_a_canary_without_a_region_is_refused_before_servers_refuse_the_zone(canary: Any) -> None:
    assert fields(canary=canary) == ["spec.canary.region"]
    assert fields(canary={**canary, "region": "eu"}) == [] == fields()


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
