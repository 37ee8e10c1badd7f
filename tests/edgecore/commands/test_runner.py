"""Commands on a gateway: written down, then done, at most once, whatever dies when."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

import pytest
from msgspec.structs import force_setattr

from edgecore.commands.runner import shown_commands
from edgecore.store.port import META_EPOCH, EdgeBatch
from skerry.objects.commands import Outcome, Refusal
from skerry.objects.json import str_at
from skerry.objects.spans import Span
from skerry.wire.frames import PROMPT
from tests.edgecore.commands.gateway import T0_MS, Gateway, command, ended


async def live_until_death(gateway: Gateway) -> None:
    """Run the agent until it dies, or has nothing more to do."""
    async with gateway.alive() as running:
        for _ in range(400):
            if running.done() or gateway.memory.dead:
                break
            await asyncio.sleep(0.0005)
            if ended(gateway, ["ignite"]):
                break


async def test_a_command_is_delivered_begun_and_its_end_told() -> None:
    gateway = Gateway()
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Succeeded")
        told = gateway.told()
        assert told is not None and told.result == {"power": "3"} and told.incarnation == "one"
        assert told.delivered_ago_ms is not None and told.started_ago_ms is not None
        await gateway.quiet()
        assert gateway.executor.done == ["ignite"]


AFTERWARDS = ("nothing", "comes again", "the cloud was restored", "cancelled", "expired", "the store is lost")


@pytest.mark.parametrize(
    ("write", "side", "afterwards"),
    [
        *itertools.product((1, 2, 3), ("before", "after"), AFTERWARDS),
        *((0, "executing", then) for then in AFTERWARDS),
    ],
)
async def test_whenever_the_agent_dies_a_command_takes_effect_at_most_once(
    write: int, side: str, afterwards: str
) -> None:
    """Every point at which a process can end, and what may have happened until the next one starts."""
    gateway = Gateway()
    await gateway.put(command())
    if side == "before":
        gateway.memory.dies_before = write
    elif side == "after":
        gateway.memory.dies_after = write
    else:
        gateway.executor.dies = lambda: True
    await live_until_death(gateway)
    gateway.executor.dies = lambda: False
    gateway.start_over()
    if afterwards == "the store is lost":
        gateway.lose_store()
        await gateway.put(command())
    elif afterwards == "the cloud was restored":
        await gateway.meet_restored_cloud()
        await gateway.put(command())
    elif afterwards == "cancelled":
        await gateway.put(command(cancel=True))
    elif afterwards == "expired":
        gateway.cloud_ms = T0_MS + 61_000
    elif afterwards == "comes again":
        await gateway.put(command())
    async with gateway.alive():
        await gateway.until(lambda: ended(gateway, ["ignite"]))
        await gateway.quiet()
        phase, times = gateway.phase(), len(gateway.executor.done)
        assert times <= 1
        assert times == 1 or phase != "Succeeded"
        assert times == 0 or phase not in ("Expired", "Rejected", "Cancelled")
        if afterwards == "the store is lost":
            assert phase == "Unknown"


async def test_a_command_of_which_the_end_was_written_is_never_begun_again_however_often_it_comes() -> None:
    gateway = Gateway()
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Succeeded")
        for epoch in ("e2", "e3", "e4"):
            await gateway.take_away(command())
            await gateway.meet_restored_cloud(epoch)
            await gateway.put(command())
            await gateway.quiet()
        assert gateway.executor.done == ["ignite"]
        assert gateway.phase() == "Succeeded", "a restored cloud is told again"


async def test_who_does_not_know_the_cloud_s_time_begins_nothing() -> None:
    gateway = Gateway(cloud_ms=None)
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Delivered")
        await gateway.quiet()
        assert gateway.executor.done == []
        gateway.cloud_ms = T0_MS + 59_999
        gateway.runner.poke()
        await gateway.until(lambda: gateway.phase() == "Succeeded")


async def test_a_command_is_not_begun_at_its_deadline() -> None:
    gateway = Gateway(cloud_ms=T0_MS + 60_000)
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Expired")
        assert gateway.executor.done == []


async def test_a_deadline_that_passes_while_the_beginning_is_written_ends_it() -> None:
    gateway = Gateway()
    times = iter([T0_MS + 59_000, T0_MS + 60_000])
    gateway.cloud_ms = None
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Delivered")
        force_setattr(cast("Any", gateway.runner._parts), "cloud_ms", lambda: next(times, T0_MS + 60_000))
        gateway.runner.poke()
        await gateway.until(lambda: gateway.phase() == "Expired")
        assert gateway.executor.done == []


async def test_nothing_is_done_before_the_cloud_knows_that_it_is_begun() -> None:
    """Or a copy of the store from before could not be told from the store that has done it."""
    gateway = Gateway(connected=False)
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Running")
        await gateway.quiet()
        assert gateway.executor.done == []
        await gateway.connect()
        await gateway.until(lambda: gateway.phase() == "Succeeded")
        assert gateway.executor.done == ["ignite"]


@pytest.mark.parametrize("how", ["cancelled", "deleted", "expired", "a new life", "a restored cloud"])
async def test_what_waits_for_the_cloud_to_know_it_can_still_end(how: str) -> None:
    gateway = Gateway(connected=False)
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Running")
        match how:
            case "cancelled":
                await gateway.put(command(cancel=True))
            case "deleted":
                await gateway.take_away(command())
            case "expired":
                gateway.cloud_ms = T0_MS + 60_000
                gateway.runner.poke()
            case "a new life":
                # What the cloud has of the former leaves the outbox without having been told by this store.
                await gateway.store.begin_life("two", [(PROMPT, Span(1, gateway.memory.outbox_head()))])
            case _:
                begun = gateway.memory.outbox_head()
                await gateway.store.apply(EdgeBatch(meta=((META_EPOCH, "e2"),)))
                await gateway.until(lambda: gateway.memory.outbox_head() > begun)
                await gateway.quiet()
                assert gateway.executor.done == [], "the cloud that knew is no more"
                await gateway.connect()
        ends = {"cancelled": "Cancelled", "deleted": "Cancelled", "expired": "Expired", "a new life": "Unknown"}
        await gateway.until(lambda: gateway.phase() == ends.get(how, "Succeeded"))
        await gateway.connect()
        await gateway.quiet()
        assert gateway.executor.done == ([] if how in ends else ["ignite"])


async def test_nothing_is_done_between_two_lives_of_the_store() -> None:
    """What leaves the outbox then may leave it without a receipt."""
    gateway = Gateway(connected=False)
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Running")
        gateway.memory.prune_outbox(through=gateway.memory.outbox_head())
        object.__setattr__(gateway.store, "_lives_being_begun", 1)
        gateway.runner.poke()
        await gateway.quiet()
        assert gateway.executor.done == []


async def test_deletion_before_it_began_leaves_nothing() -> None:
    gateway = Gateway(cloud_ms=None)
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Delivered")
        await gateway.take_away(command())
        await gateway.until(lambda: not gateway.memory.commands())
        gateway.cloud_ms = T0_MS
        gateway.runner.poke()
        await gateway.quiet()
        assert gateway.executor.done == []


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
async def test_a_running_command_is_asked_to_stop(how: str) -> None:
    gateway = Gateway()
    gateway.executor.hold = asyncio.Event()
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Running" and bool(gateway.executor.done))
        if how == "deleted":
            await gateway.take_away(command())
        else:
            await gateway.put(command(cancel=True))
        await gateway.until(lambda: gateway.phase() == "Cancelled")


async def test_what_the_gateway_cannot_do_is_rejected_with_what_it_can() -> None:
    gateway = Gateway()
    async with gateway.alive():
        await gateway.put(command(action={"imagePull": {"image": "x"}}))
        await gateway.until(lambda: gateway.phase() == "Rejected")
        told = gateway.told()
        assert told is not None
        assert told.reason == "NotSupported" and "ImagePull" in told.message and "DeviceMethod" in told.message


async def test_what_may_still_arrive_is_waited_for() -> None:
    gateway = Gateway()
    gateway.executor.refused = Refusal(reason="NotFound", message="no boiler", patience_s=20)
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Delivered")
        gateway.clock.advance(19)
        gateway.runner.poke()
        await gateway.quiet()
        assert gateway.phase() == "Delivered"
        gateway.clock.advance(2)
        gateway.runner.poke()
        await gateway.until(lambda: gateway.phase() == "Rejected")
        assert gateway.executor.done == []


async def test_commands_for_one_device_keep_their_order_and_wait_for_each_other() -> None:
    gateway = Gateway()
    gateway.executor.hold = asyncio.Event()
    first, second = command("b", issued_ms=T0_MS), command("a", issued_ms=T0_MS + 1)
    other = command("c", device="pump", issued_ms=T0_MS + 2)
    async with gateway.alive():
        await gateway.put(second, other, first)
        await gateway.until(lambda: sorted(gateway.executor.done) == ["b", "c"])
        await gateway.quiet()
        assert gateway.phase("a") == "Delivered"
        gateway.executor.hold.set()
        await gateway.until(lambda: ended(gateway, ["a", "b", "c"]))
        assert gateway.executor.done.index("b") < gateway.executor.done.index("a")


async def test_no_more_than_a_few_run_at_a_time() -> None:
    gateway = Gateway()
    gateway.executor.hold = asyncio.Event()
    names = [f"n{number}" for number in range(6)]
    async with gateway.alive():
        await gateway.put(*(command(name, device=name) for name in names))
        await gateway.until(lambda: len(gateway.executor.done) == 4)
        await gateway.quiet()
        assert len(gateway.executor.done) == 4
        gateway.executor.hold.set()
        await gateway.until(lambda: ended(gateway, names))
        assert sorted(gateway.executor.done) == names


async def test_a_result_that_is_too_large_is_left_out_and_said_to_be() -> None:
    gateway = Gateway()
    gateway.executor.outcome = Outcome(phase="Succeeded", reason="", message="", result={"x": "y" * 20_000})
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Succeeded")
        told = gateway.told()
        assert told is not None and told.result == {} and "left out" in told.message


async def test_a_gateway_shows_what_it_knows_after_the_object_has_gone() -> None:
    gateway = Gateway()
    async with gateway.alive():
        await gateway.put(command())
        await gateway.until(lambda: gateway.phase() == "Succeeded")
        await gateway.take_away(command())
        await gateway.quiet()
        (shown,) = shown_commands(gateway.store)
        assert (str_at(shown, "metadata", "name"), str_at(shown, "status", "phase")) == ("ignite", "Succeeded")
