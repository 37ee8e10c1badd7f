"""Commands from the cloud's store to a gateway's and back, through the real hub, link, runner and registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from cloudcore.controllers.command.controller import CommandController
from cloudcore.hub.effects import Reporter
from cloudcore.hub.outcomes import kinds_in
from cloudcore.registry.commands import IssuedCommands
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.runtime.manager import Tools, run_controllers
from edgecore.commands.runner import CommandParts, CommandRunner
from edgecore.store.memory import MemoryEdgeStore
from skerry.clocks import SeededIds, SystemClock
from skerry.frozen import replace
from skerry.objects.commands import CAPABILITIES, CAPABILITY, CommandReport, DeviceRefresh
from skerry.objects.json import JsonObject, str_at
from skerry.objects.meta import Key, annotations_of
from skerry.sync.effects import DatedReport
from skerry.wire.frames import Report
from tests.cloudcore.hub.fleet import Fleet, Gateway, a_fleet, eventually
from tests.edgecore.commands.gateway import Counting

COMMANDS = "commands.skerry.dev"
REFRESH: JsonObject = {"deviceRefresh": {"device": "boiler"}}


@asynccontextmanager
async def commanding() -> AsyncGenerator[Fleet]:
    """A fleet whose cloud gives commands."""
    async with a_fleet() as fleet:
        objects = replace(fleet.objects, steps=(*fleet.objects.steps, IssuedCommands("e1")))
        fleet.objects = objects
        tools = Tools(
            objects=objects, cache=fleet.cache, scheme=builtin_scheme(), clock=SystemClock(), ids=SeededIds(5)
        )
        controller = CommandController(tools, epoch="e1")
        running = fleet.tasks.create_task(run_controllers(fleet.cache, SystemClock(), [controller]))
        try:
            yield fleet
        finally:
            running.cancel()


@asynccontextmanager
async def carrying_out(gateway: Gateway, executor: Counting) -> AsyncGenerator[CommandRunner]:
    runner = CommandRunner(
        CommandParts(
            store=gateway.store,
            executors={DeviceRefresh: executor},
            clock=SystemClock(),
            boot_id="boot",
            cloud_ms=gateway.link.cloud_ms,
        )
    )
    gateway.link.on_welcome(runner.poke)
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def known(fleet: Fleet, gateway: Gateway) -> None:
    """The node is in the cloud, with a device."""
    await gateway.tell_node()
    await eventually(lambda: fleet.now("nodes", gateway.node))
    await fleet.create(
        "devices.devices.kubeedge.io", "boiler", spec={"nodeName": gateway.node, "deviceModelRef": {"name": "m"}}
    )


def phase(fleet: Fleet, name: str = "c") -> str:
    return str_at(fleet.now(COMMANDS, name), "status", "phase")


async def test_a_command_reaches_its_gateway_and_its_end_comes_back() -> None:
    executor = Counting()
    async with commanding() as fleet, fleet.gateway() as gateway, carrying_out(gateway, executor):
        await known(fleet, gateway)
        await fleet.create(COMMANDS, "c", spec={"action": REFRESH})
        await eventually(lambda: phase(fleet) == "Succeeded")
        assert executor.done == ["c"]
        await eventually(lambda: not gateway.holds(COMMANDS, "c"), "a settled command leaves the gateway")
        assert str_at(fleet.now(COMMANDS, "c"), "status", "gateway", "incarnation") == "eu-1-1"


async def test_a_gateway_that_was_away_gets_it_on_its_return_once() -> None:
    executor = Counting()
    store = MemoryEdgeStore(incarnation="eu-1-1", clock=SystemClock())
    async with commanding() as fleet:
        async with fleet.gateway(store=store) as gateway:
            await known(fleet, gateway)
        await eventually(lambda: str_at(_ready(fleet), "status") == "Unknown")
        await fleet.create(COMMANDS, "c", spec={"action": REFRESH})
        async with fleet.gateway(store=store) as gateway, carrying_out(gateway, executor):
            await eventually(lambda: phase(fleet) == "Succeeded")
        async with fleet.gateway(store=store) as gateway, carrying_out(gateway, executor):
            await eventually(lambda: gateway.link.connected)
            assert executor.done == ["c"]


async def test_a_gateway_whose_store_was_lost_begins_nothing_that_was_given_before() -> None:
    executor = Counting()
    async with commanding() as fleet:
        async with fleet.gateway() as gateway:
            await known(fleet, gateway)
        await eventually(lambda: str_at(_ready(fleet), "status") == "Unknown")
        await fleet.create(COMMANDS, "c", spec={"action": REFRESH})
        lost = MemoryEdgeStore(incarnation="eu-1-2", clock=SystemClock())
        async with fleet.gateway(store=lost) as gateway, carrying_out(gateway, executor):
            await eventually(lambda: phase(fleet) == "Unknown")
            assert str_at(fleet.now(COMMANDS, "c"), "status", "reason") == "GatewayReset"
            await fleet.create(COMMANDS, "again", spec={"action": REFRESH})
            await eventually(lambda: phase(fleet, "again") == "Succeeded")
        assert executor.done == ["again"]


async def test_a_command_for_an_agent_that_knows_none_is_rejected_until_the_agent_is_upgraded() -> None:
    executor = Counting()
    store = MemoryEdgeStore(incarnation="eu-1-1", clock=SystemClock())
    async with commanding() as fleet:
        fleet.capabilities = ()
        async with fleet.gateway(store=store) as gateway:
            await known(fleet, gateway)
            await fleet.create(COMMANDS, "c", spec={"action": REFRESH})
            await eventually(lambda: phase(fleet) == "Rejected")
            assert str_at(fleet.now(COMMANDS, "c"), "status", "reason") == "NotSupported"
            assert not gateway.holds(COMMANDS, "c")
        fleet.capabilities = (CAPABILITY, "later")
        async with fleet.gateway(store=store) as gateway, carrying_out(gateway, executor):
            await eventually(lambda: annotations_of(fleet.now("nodes", "eu-1") or {}).get(CAPABILITIES) == CAPABILITY)
            await fleet.create(COMMANDS, "again", spec={"action": REFRESH})
            await eventually(lambda: phase(fleet, "again") == "Succeeded")


def _ready(fleet: Fleet) -> JsonObject:
    conditions = (fleet.now("nodes", "eu-1") or {}).get("status", {})
    found = conditions.get("conditions", []) if isinstance(conditions, dict) else []
    assert isinstance(found, list)
    return next((each for each in found if isinstance(each, dict) and each.get("type") == "Ready"), {})


def test_a_node_tells_of_its_own_commands_alone() -> None:
    stored: JsonObject = {
        "metadata": {"namespace": "ns", "name": "c", "uid": "u"},
        "spec": {"nodeName": "eu-1"},
        "status": {"phase": "Pending"},
    }
    told = CommandReport(
        namespace="ns",
        name="c",
        uid="u",
        incarnation="x",
        phase="Succeeded",
        reason="",
        message="",
        result={},
        delivered_ago_ms=0,
        started_ago_ms=0,
        finished_ago_ms=0,
    )
    report = Report(seq=1, kind="command", key="u", body=told.encode(), wall_ms=0, age_ms=0)
    for node, allowed in (("eu-1", True), ("us-1", False)):
        reporter = Reporter(node=node, kinds=kinds_in(builtin_scheme()), lookup=lambda _key: stored)
        (effect,) = reporter.outcome(DatedReport(report=report, at_ms=1)).effects
        assert (effect.key, effect.uid) == (Key(COMMANDS, "ns", "c"), "u")
        assert (effect.transform(stored) is not stored) is allowed
