"""What a GlobalService may not say."""

from __future__ import annotations

from typing import Any

import pytest

from cloudcore.registry.validation.gslb import validate_global_service


def fields(**spec: Any) -> list[str]:
    rows = [{"address": "203.0.113.5", "region": "eu"}]
    obj: Any = {"metadata": {"name": "web"}, "spec": {"hosts": ["www.example.com"], "endpoints": rows, **spec}}
    return [cause.field for cause in validate_global_service(obj, None)]


@pytest.mark.parametrize("canary", [{"percent": 5}, {"region": "", "percent": 5}])
def test_a_canary_without_a_region_is_refused_before_servers_refuse_the_zone(canary: Any) -> None:
    assert fields(canary=canary) == ["spec.canary.region"]
    assert fields(canary={**canary, "region": "eu"}) == [] == fields()
