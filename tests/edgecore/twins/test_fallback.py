"""What a device does when the cloud is not heard."""

from __future__ import annotations

import pytest

from devices.manifests import twin_config
from skerry.errors import InvalidError
from skerry.objects.json import JsonObject
from tests.edgecore.twins.gateway import DEVICE, Gateway, device


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def safe(value: str = "5") -> JsonObject:
    return device(setpoint={"initial": 20, "twin": {"fallback": {"value": value, "afterSeconds": 1}}})


async def test_the_safe_value_is_wanted_after_a_silence_and_what_the_cloud_was_given_meanwhile_wins(
    gateway: Gateway,
) -> None:
    async with gateway.alive():
        await gateway.put_device(safe())
        await gateway.want_in_cloud("50")
        await gateway.until(lambda: gateway.ack() == "verified")
        gateway.in_step = False
        await gateway.until(lambda: gateway.driver.writes[-1][2] == 5.0)
        held = gateway.twin().desired
        assert held is not None and held.fallback and held.origin == "fallback"
        assert gateway.wanted_up()[-1].desired == held
        gateway.in_step = True
        await gateway.want_in_cloud("60")  # by somebody who has not seen it
        await gateway.until(lambda: gateway.driver.writes[-1][2] == 60.0)
        now = gateway.twin().desired
        assert now is not None and now.conflict == held


async def test_what_arrives_while_the_gateway_catches_up_is_no_silence(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(safe())
        gateway.in_step = False
        start_s = gateway.clock.monotonic_s()
        number = 0
        while gateway.clock.monotonic_s() < start_s + 1.5:
            number += 1
            await gateway.put_device(safe())
            await gateway.until(lambda: gateway.twin().reported is not None)
        assert gateway.twin().desired is None, f"after {number} objects"


async def test_what_somebody_on_site_wants_is_left_alone(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(safe())
        await gateway.until(lambda: gateway.twin().reported is not None)
        await gateway.keeper.set_desired(DEVICE, "setpoint", "30", origin="op")
        gateway.in_step = False
        await gateway.until(lambda: gateway.ack() == "verified")
        over_s = gateway.clock.monotonic_s() + 1.2
        await gateway.until(lambda: gateway.clock.monotonic_s() > over_s)
        assert gateway.driver.writes == [(DEVICE, "setpoint", 30.0)]


async def test_a_fallback_that_the_property_does_not_take_makes_its_device_invalid(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(safe("95"))
        await gateway.until(lambda: any("fallback.value" in one.reason for one in gateway.keeper.devices()))


@pytest.mark.parametrize("given", [{}, {"value": "1"}, {"value": "1", "afterSeconds": 0}, {"value": "1", "x": 2}])
def test_a_fallback_needs_a_value_and_a_time(given: JsonObject) -> None:
    with pytest.raises(InvalidError, match="fallback"):
        twin_config({"fallback": given}, "spec.properties[x]", 1000, every_reading=False)
