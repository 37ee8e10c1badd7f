from pathlib import Path

import pytest

from cloudcore.config import CloudSettings, check_settings, reachable_at
from skerry.errors import InvalidError


def settings(**given: object) -> CloudSettings:
    return CloudSettings(data=Path("d"), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bind": "everywhere"}, "--bind: 'everywhere' is not an IP address"),
        ({"service_cidr": ("10.96.0.1/16",)}, "--service-cidr"),
        ({"service_cidr": ("10.96.0.0/30",)}, "between a /8 and a /28"),
        ({"service_cidr": ("10.96.0.0/16", "10.97.0.0/16")}, "--service-cidr"),
        ({"service_cidr": ("10.96.0.0/16", "fd00::/32")}, "between a /64 and a /124"),
        (
            {"service_cidr": ("10.96.0.0/16", "fd00::/112"), "cluster_cidr": ("fd00::/48",)},
            "--cluster-cidr fd00::/48: overlaps --service-cidr fd00::/112",
        ),
        ({"cluster_cidr": ("10.96.128.0/17",)}, "--cluster-cidr 10.96.128.0/17: overlaps --service-cidr"),
        (
            {"cluster_cidr": ("10.244.0.0/16",), "node_cidr_mask_size": ("x",)},
            "--node-cidr-mask-size x: write a number",
        ),
        ({"names": ("a b",)}, "--names: 'a b' is neither"),
        ({"https_port": 7, "hub_port": 7}, "must differ"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(given: dict[str, object], said: str):
    with pytest.raises(InvalidError, match=said):
        check_settings(settings(**given))


def test_settings_that_make_sense_pass():
    check_settings(settings())
    check_settings(settings(https_port=0, hub_port=0, bind="::1", names=("*.x.example", "fd00::1", "a")))


def test_a_client_on_this_machine_uses_loopback_where_everything_is_bound():
    assert [reachable_at(bind) for bind in ("0.0.0.0", "::", "10.0.0.1")] == ["127.0.0.1", "::1", "10.0.0.1"]
