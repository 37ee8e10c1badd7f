"""Where an Ingress is reached."""

from __future__ import annotations

from cloudcore.controllers.ingress.plan import SHOWN_MAX, addressed
from skerry.objects.json import JsonObject, map_at, maps_at

INGRESS: JsonObject = {"metadata": {"name": "one"}, "spec": {}, "status": {"loadBalancer": {}}}


def test_addresses_are_those_of_its_gateways_in_an_order_that_stays() -> None:
    told = addressed(INGRESS, ["10.0.0.10", "10.0.0.9", "fd00::1", "edge.example", "10.0.0.9"])
    wanted = [{"ip": "10.0.0.9"}, {"ip": "10.0.0.10"}, {"ip": "fd00::1"}, {"hostname": "edge.example"}]
    assert maps_at(told, "status", "loadBalancer", "ingress") == wanted
    assert addressed(told, ["edge.example", "fd00::1", "10.0.0.10", "10.0.0.9"]) is told
    assert map_at(addressed(told, []), "status", "loadBalancer") == {}
    assert addressed(INGRESS, []) is INGRESS


def test_an_ingress_does_not_grow_with_the_fleet() -> None:
    told = addressed(INGRESS, [f"10.0.{number // 256}.{number % 256}" for number in range(5000)])
    assert len(maps_at(told, "status", "loadBalancer", "ingress")) == SHOWN_MAX
