"""What the keeper does when the cloud was restored from a backup: it tells everything that it knows again."""

from __future__ import annotations

import pytest

from edgecore.twins.stage import Stage
from skerry.objects.desired import Desired
from skerry.objects.json import clone, maps_at
from skerry.objects.twins import decode_device_state
from tests.edgecore.twins.gateway import DEVICE, Gateway, device


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def reported_again(gateway: Gateway) -> set[str]:
    return {report.key for report in gateway.memory.outbox(after=0, limit=1000) if report.kind == "twin_reported"}


def states_told(gateway: Gateway) -> list[str]:
    outbox = gateway.memory.outbox(after=0, limit=1000)
    return [decode_device_state(report.body).state for report in outbox if report.kind == "device_state"]


async def settled(gateway: Gateway, value: str) -> None:
    await gateway.until(lambda: gateway.ack() == "verified" and wanted(gateway) == value)


def wanted(gateway: Gateway) -> str:
    desired = gateway.twin().desired
    return desired.value if desired else ""


def told_up(gateway: Gateway) -> Desired | None:
    found = gateway.wanted_up()
    return found[-1].desired if found else None


async def test_all_twins_and_states_are_told_again_and_nothing_is_written_to_devices(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device(level={"initial": 3}))
        await gateway.want_in_cloud("21.5")
        await settled(gateway, "21.5")
        await gateway.until(lambda: "online" in states_told(gateway))
        await gateway.until(lambda: gateway.twin("level").reported is not None)
        await gateway.meet_restored_cloud()
        await gateway.until(lambda: reported_again(gateway) == {"default/boiler/setpoint", "default/boiler/level"})
        await gateway.until(lambda: states_told(gateway) == ["online"])
    told = gateway.told()
    assert told.ack is not None and told.ack.state == "verified"
    assert told.reported is not None and told.reported.value == "21.5"
    assert gateway.driver.writes == [(DEVICE, "setpoint", 21.5)]


async def test_a_desired_value_that_the_backup_lacks_is_kept_and_told(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("21.5")
        await settled(gateway, "21.5")
        await gateway.meet_restored_cloud()
        await gateway.until(lambda: told_up(gateway) is not None)
        gateway.object = None
        await gateway.put_device(device(level={"initial": 4}))
        await gateway.until(lambda: (seen := gateway.twin("level").reported) is not None and seen.value == "4")
        assert wanted(gateway) == "21.5"
    up = told_up(gateway)
    assert up is not None and up.value == "21.5"
    assert gateway.driver.writes == [(DEVICE, "setpoint", 21.5)], "what was carried out is not written again"


async def test_what_the_restored_cloud_takes_away_later_is_gone(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("21.5")
        await settled(gateway, "21.5")
        await gateway.meet_restored_cloud()
        assert gateway.object is not None
        await gateway.put_device(gateway.object)
        await gateway.until(lambda: gateway.twin().seen.cloud > 0)
        without = clone(gateway.object)
        del maps_at(without, "spec", "properties")[0]["desired"]
        await gateway.put_device(without)
        await gateway.until(lambda: (held := gateway.twin().desired) is None or held.removed)


async def test_a_value_set_in_the_restored_cloud_is_carried_out_though_its_version_was_used_before(
    gateway: Gateway,
) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        backup = gateway.object
        await gateway.want_in_cloud("21.5")
        await settled(gateway, "21.5")
        used = gateway.twin().desired
        await gateway.meet_restored_cloud()
        gateway.object = backup
        await gateway.want_in_cloud("30")
        await settled(gateway, "30")
        again = gateway.twin().desired
    assert used is not None and again is not None and used.ver == again.ver, "else this tests nothing"
    assert gateway.driver.writes == [(DEVICE, "setpoint", 21.5), (DEVICE, "setpoint", 30.0)]


async def test_an_agent_that_died_before_it_told_a_restored_cloud_does_so_when_it_starts(gateway: Gateway) -> None:
    async with gateway.alive():
        await gateway.put_device(device())
        await gateway.want_in_cloud("21.5")
        await settled(gateway, "21.5")
    gateway.start_over()
    await gateway.meet_restored_cloud()
    async with gateway.alive():
        await gateway.until(lambda: "default/boiler/setpoint" in reported_again(gateway))
        await gateway.until(lambda: (up := told_up(gateway)) is not None and up.value == "21.5")
    gateway.memory.prune_outbox(through=gateway.memory.outbox_head())
    gateway.start_over()
    async with gateway.alive():
        await gateway.until(lambda: gateway.twin().reported is not None)
        await gateway.until(lambda: bool(states_told(gateway)))
    assert gateway.wanted_up() == [], "told once an epoch"


def test_what_a_full_disk_refused_is_still_told_to_the_restored_cloud() -> None:
    refused, since = Stage(epoch="e2"), Stage()
    since.put_back(refused)
    assert since
    assert since.batch({}.get).meta == (("twins_epoch", "e2"),)
