"""Commands about devices: all is checked before anything is written, and each parameter is written once."""

from __future__ import annotations

import asyncio

from edgecore.twins.calls import DeviceCalls
from skerry.objects.commands import Action, DeviceMethod, DeviceRefresh, Order, Outcome
from skerry.objects.json import JsonObject, clone, dig, maps_at
from tests.edgecore.twins.gateway import DEVICE, Gateway, device


def with_methods(setpoint: JsonObject | None = None, level: JsonObject | None = None) -> JsonObject:
    obj = clone(device(setpoint, level))
    spec = obj["spec"]
    assert isinstance(spec, dict)
    spec["methods"] = [
        {"name": "heat", "propertyNames": ["setpoint", "level"]},
        {"name": "drain", "propertyNames": ["level"]},
    ]
    return obj


def order(action: Action, target_uid: str = "u") -> Order:
    return Order(namespace="default", name="c", uid="c1", action=action, target_uid=target_uid)


def call(method: str = "heat", **parameters: str) -> Order:
    return order(DeviceMethod(device="boiler", method=method, parameters=tuple(parameters.items())))


async def ready(gateway: Gateway, obj: JsonObject) -> DeviceCalls:
    await gateway.put_device(obj)
    await gateway.until(lambda: gateway.keeper.config_of(DEVICE, "setpoint") is not None)
    await gateway.until(lambda: bool(gateway.driver.health()))
    return DeviceCalls(gateway.store, gateway.keeper)


async def run(calls: DeviceCalls, what: Order) -> Outcome:
    assert calls.refusal(what) is None
    return await calls.execute(what, asyncio.Event())


async def test_a_method_writes_its_parameters_and_reads_the_rest() -> None:
    gateway = Gateway()
    async with gateway.alive():
        calls = await ready(gateway, with_methods(level={"initial": 7}))
        outcome = await run(calls, call(setpoint="55.5"))
        assert outcome.phase == "Succeeded"
        assert dig(outcome.result, "properties", "setpoint") == {
            "state": "verified",
            "written": "55.5",
            "value": "55.5",
        }
        assert dig(outcome.result, "properties", "level", "value") == "7"
        assert [write for write in gateway.driver.writes if write[1] == "setpoint"] == [(DEVICE, "setpoint", 55.5)]
        await gateway.until(lambda: (reported := gateway.twin().reported) is not None and reported.value == "55.5")
        assert gateway.twin().desired is None, "what is wanted of it stays as it is"


async def test_what_is_wrong_is_said_before_anything_is_written() -> None:
    gateway = Gateway()
    async with gateway.alive():
        calls = await ready(gateway, with_methods(level={"initial": 7}))
        wrong = {
            "NotFound": [call("fly"), order(DeviceMethod(device="gone", method="heat", parameters=()))],
            "InvalidParameter": [
                call(setpoint="91"),
                call(setpoint="warm"),
                call(pressure="1"),
                call("drain", level="1"),
            ],
            "TargetReplaced": [order(DeviceRefresh(device="boiler", properties=()), "other")],
        }
        for reason, orders in wrong.items():
            for each in orders:
                refusal = calls.refusal(each)
                assert refusal is not None and refusal.reason == reason, each
        assert gateway.driver.writes == []


async def test_a_write_that_fails_ends_the_call_and_is_not_tried_again() -> None:
    gateway = Gateway()
    async with gateway.alive():
        calls = await ready(gateway, with_methods(setpoint={"initial": 20, "refuse": ["60.0"]}, level={"initial": 7}))
        refused = await run(calls, call(setpoint="60"))
        assert (refused.phase, refused.reason) == ("Failed", "Refused")
        gateway.driver.silence(DEVICE, silent=True)
        silent = await run(calls, call(setpoint="61"))
        assert (silent.phase, silent.reason) == (
            "Failed",
            "WriteFailed",
        ) and "may have taken effect" in silent.message
        assert "level" not in maps_at(silent.result, "properties")
        gateway.driver.silence(DEVICE, silent=False)
        await asyncio.sleep(0.1)
        assert gateway.driver.writes == []


async def test_a_call_that_was_asked_to_stop_writes_nothing_more() -> None:
    gateway = Gateway()
    async with gateway.alive():
        calls = await ready(gateway, with_methods(level={"initial": 7}))
        halt = asyncio.Event()
        halt.set()
        outcome = await calls.execute(call(setpoint="50"), halt)
        assert outcome.phase == "Cancelled" and gateway.driver.writes == []


async def test_a_refresh_reads_all_or_what_is_named_and_says_what_has_no_value() -> None:
    gateway = Gateway()
    async with gateway.alive():
        calls = await ready(gateway, with_methods(level={"initial": 7}))
        everything = await run(calls, order(DeviceRefresh(device="boiler", properties=())))
        assert dig(everything.result, "properties", "level", "value") == "7"
        assert dig(everything.result, "properties", "setpoint", "value") == "20.0"
        gateway.driver.silence(DEVICE, silent=True)
        none = await run(calls, order(DeviceRefresh(device="boiler", properties=("level",))))
        assert (none.phase, none.reason) == ("Failed", "NoValue") and "silent" in none.message


async def test_calls_of_one_device_do_not_mix() -> None:
    gateway = Gateway()
    async with gateway.alive():
        calls = await ready(gateway, with_methods(level={"initial": 7}))
        async with gateway.keeper.turn(DEVICE):
            waiting = asyncio.create_task(run(calls, call(setpoint="30")))
            await asyncio.sleep(0.02)
            assert gateway.driver.writes == []
        assert (await waiting).phase == "Succeeded"
