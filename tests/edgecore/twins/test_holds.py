"""A device that is held: nothing is read of it or written to it, and everybody sees why."""

from __future__ import annotations

import pytest

from skerry.errors import InvalidError, NotFoundError, UnavailableError
from skerry.objects.holds import HOLD
from skerry.objects.json import clone, ensure_map
from skerry.objects.meta import Key
from skerry.objects.twins import decode_device_state
from tests.edgecore.twins.gateway import DEVICE, Gateway, device


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def states(gateway: Gateway) -> list[tuple[str, str]]:
    outbox = gateway.memory.outbox(after=0, limit=1000)
    told = [decode_device_state(report.body) for report in outbox if report.kind == "device_state"]
    return [(state.state, state.reason) for state in told]


async def served(gateway: Gateway) -> None:
    await gateway.put_device(device(level={"script": [*range(1000)]}))
    await gateway.until(lambda: gateway.quality() == "good")


async def test_a_held_device_is_neither_read_nor_written_until_it_is_released(gateway: Gateway) -> None:
    async with gateway.alive():
        await served(gateway)
        await gateway.keeper.hold(DEVICE, reason="new pump", by="op", until_ms=None)
        await gateway.until(lambda: gateway.quality() == "stale")
        await gateway.until(lambda: bool(states(gateway)) and states(gateway)[-1][0] == "held")
        assert "held by op until it is released: new pump" in states(gateway)[-1][1]
        rows = len(gateway.telemetry("level"))
        await gateway.keeper.set_desired(DEVICE, "setpoint", "30", origin="op")
        await gateway.until(lambda: "new pump" in gateway.ack_reason() or gateway.ack() == "pending")
        over_s = gateway.clock.monotonic_s() + 0.1
        await gateway.until(lambda: gateway.clock.monotonic_s() > over_s)
        assert gateway.driver.writes == [] and len(gateway.telemetry("level")) == rows
        with pytest.raises(UnavailableError, match="new pump"):
            await gateway.keeper.read_now(DEVICE, "level")
        await gateway.keeper.release(DEVICE)
        await gateway.until(lambda: gateway.ack() == "verified" and gateway.quality() == "good")
        await gateway.until(lambda: states(gateway)[-1][0] == "online")


async def test_a_hold_survives_a_restart_and_ends_by_time(gateway: Gateway) -> None:
    async with gateway.alive():
        await served(gateway)
        await gateway.keeper.hold(DEVICE, reason="new pump", by="op", until_ms=gateway.clock.wall_ms() + 1500)
        await gateway.until(lambda: gateway.quality() == "stale")
    gateway.start_over()
    async with gateway.alive():
        await gateway.until(lambda: any(one.state == "held" for one in gateway.keeper.devices()))
        await gateway.until(lambda: gateway.quality() == "good")
        (summary,) = gateway.keeper.devices()
        assert summary.holding is None


async def test_what_the_cloud_holds_is_released_on_site_until_the_cloud_holds_anew(gateway: Gateway) -> None:
    async with gateway.alive():
        await served(gateway)
        assert gateway.object is not None
        held = clone(gateway.object)
        ensure_map(held, "metadata", "annotations")[HOLD] = "new pump"
        await gateway.put_device(held)
        await gateway.until(lambda: gateway.quality() == "stale")
        await gateway.keeper.release(DEVICE)
        await gateway.until(lambda: gateway.quality() == "good")
        again = clone(held)
        ensure_map(again, "metadata", "annotations")[HOLD] = "really"
        await gateway.put_device(again)
        await gateway.until(lambda: gateway.quality() == "stale")


async def test_a_hold_needs_a_device_and_a_reason(gateway: Gateway) -> None:
    async with gateway.alive():
        await served(gateway)
        with pytest.raises(InvalidError):
            await gateway.keeper.hold(DEVICE, reason="", by="op", until_ms=None)
        with pytest.raises(NotFoundError):
            await gateway.keeper.hold(Key(DEVICE.resource, "default", "x"), reason="y", by="op", until_ms=None)


async def test_a_hold_is_of_one_life_of_a_device(gateway: Gateway) -> None:
    async with gateway.alive():
        await served(gateway)
        await gateway.keeper.hold(DEVICE, reason="new pump", by="op", until_ms=None)
        await gateway.until(lambda: gateway.quality() == "stale")
        gateway.object = None
        await gateway.put_device(device(uid="u2"))
        await gateway.until(lambda: gateway.quality() == "good" and gateway.twin().uid == "u2")
