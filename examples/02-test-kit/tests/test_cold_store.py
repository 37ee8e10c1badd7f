"""What the owner of a cold store wants to know of it before the link dies for the first time."""

from pathlib import Path

import pytest

MANIFESTS = Path(__file__).parent.parent / "manifests"


def tenths(celsius):
    """A temperature as the freezer has it: tenths in 16 bits, two's complement."""
    return round(celsius * 10) & 0xFFFF


@pytest.fixture
def freezer(plc):
    device = plc("freezer", port=5020)
    device.input[0] = device.holding[0] = tenths(-20)
    return device


@pytest.fixture
def shop(edge, apply, eventually, freezer):
    """A gateway with the watcher running and the freezer read."""
    gateway = edge("shop-12", labels={"site": "shop-12"})
    apply(MANIFESTS / "app.yaml", MANIFESTS / "devices.yaml")
    eventually(lambda: gateway.pod("watcher").running)
    eventually(lambda: gateway.twin("freezer", "temperature").reported == "-20.0")
    return gateway


@pytest.fixture
def hour_s(fleet):
    """An hour where time is simulated. Real processes wait really, and half a minute of them shows the same."""
    return 3600 if fleet.backend == "simulated" else 30


def test_the_watcher_does_not_notice_that_the_link_is_gone(shop, fleet, hour_s):
    container = shop.pod("watcher").containers[0].id
    shop.link.cut()
    fleet.throughout(lambda: shop.pod("watcher").containers[0].id == container, for_s=hour_s, every_s=hour_s / 60)
    shop.link.heal()
    fleet.eventually(lambda: shop.in_step, within_s=120)
    assert shop.pod("watcher").containers[0].id == container


def test_after_a_power_cut_the_watcher_is_back_before_the_link(shop, eventually):
    shop.link.cut()
    shop.power_cycle(off_s=60, clock="1970")
    eventually(lambda: shop.pod("watcher").running, within_s=30)
    assert not shop.connected


def test_a_setpoint_can_be_changed_in_the_shop_without_a_link(shop, cloud, freezer, eventually):
    shop.link.cut()
    shop.set_desired("freezer", "setpoint", "-24")
    eventually(lambda: freezer.holding[0] == tenths(-24), within_s=10)
    shop.link.heal()
    eventually(lambda: cloud.twin("freezer", "setpoint").reported == "-24.0", within_s=120)


def test_every_warming_of_the_night_is_in_the_cloud_in_the_morning(shop, fleet, freezer, hour_s):
    shop.link.cut()
    for celsius in (-20, -17.5, -15, -18, -20):
        freezer.input[0] = tenths(celsius)
        fleet.wait(hour_s)
    shop.link.heal()
    fleet.eventually(lambda: shop.in_step and shop.waiting == 0, within_s=180)
    values = [reading.value for reading in fleet.cloud.history("freezer", "temperature")]
    seen = [value for at, value in enumerate(values) if at == 0 or values[at - 1] != value]
    assert seen == ["-20.0", "-17.5", "-15.0", "-18.0", "-20.0"]


def test_a_bad_line_is_slow_and_nothing_else(shop, fleet, hour_s):
    shop.link.slow(kbit=64, loss=0.05, delay_ms=300)
    fleet.patch("configmap", "alarm", {"data": {"limit": "-16"}})
    fleet.eventually(lambda: shop.get("configmap", "alarm")["data"]["limit"] == "-16", within_s=30)
    fleet.throughout(lambda: shop.connected, for_s=hour_s / 6, every_s=5)
