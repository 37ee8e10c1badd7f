"""Restarts that somebody asked for: each container ends once and runs again without delay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgecore.pods.manager import PodManager
from edgecore.pods.restarts import PodRestarts
from skerry.objects.commands import Order, PodRestart
from skerry.objects.json import dig
from tests.edgecore.pods.pods_of import container, pod
from tests.edgecore.pods.stage import Gateway


def order(container: str = "", uid: str = "uid-1", name: str = "web") -> Order:
    return Order(
        namespace="default", name="c", uid="c1", action=PodRestart(pod=name, container=container), target_uid=uid
    )


async def running(gateway: Gateway, manager: PodManager, count: int) -> PodRestarts:
    async with asyncio.timeout(10):
        while len(gateway.runtime.starts) < count or not manager.has("uid-1"):
            await asyncio.sleep(0.002)
    return PodRestarts(gateway.runtime, manager)


async def test_all_containers_or_one_are_ended_with_the_pod_s_grace_and_started_again(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    await gateway.put(pod(container("a"), container("b"), terminationGracePeriodSeconds=7))
    async with gateway.running() as manager:
        restarts = await running(gateway, manager, 2)
        assert restarts.refusal(order()) is None
        whole = await asyncio.wait_for(restarts.execute(order(), asyncio.Event()), 10)
        assert whole.phase == "Succeeded"
        assert dig(whole.result, "containers", "a", "restartCount") == 1
        assert sorted(gateway.runtime.stops) == [("a", 7.0), ("b", 7.0)]
        one = await asyncio.wait_for(restarts.execute(order("b"), asyncio.Event()), 10)
        assert one.phase == "Succeeded" and sorted(gateway.runtime.starts[-1:]) == [("b", 2)]
        assert len(gateway.runtime.stops) == 3


async def test_a_container_that_waits_after_a_crash_starts_at_once(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    await gateway.put(pod(container("a")))
    async with gateway.running() as manager:
        restarts = await running(gateway, manager, 1)
        gateway.runtime.end("uid-1", "a", code=1)
        await running(gateway, manager, 2)
        gateway.runtime.end("uid-1", "a", code=1)  # now it would wait for ten seconds
        outcome = await asyncio.wait_for(restarts.execute(order(), asyncio.Event()), 10)
        assert outcome.phase == "Succeeded" and gateway.runtime.starts[-1] == ("a", 2)
        assert gateway.runtime.stops == []


@pytest.mark.parametrize(
    ("asked", "policy", "reason"),
    [
        (order("x"), "Always", "NotFound"),
        (order(name="gone"), "Always", "NotFound"),
        (order(uid="other"), "Always", "TargetReplaced"),
        (order(), "Never", "NotRestartable"),
        (order(), "OnFailure", "NotRestartable"),
    ],
)
async def test_what_can_not_be_restarted_is_said_before(
    tmp_path: Path, asked: Order, policy: str, reason: str
) -> None:
    gateway = Gateway(tmp_path)
    await gateway.put(pod(container("a"), restartPolicy=policy))
    async with gateway.running() as manager:
        restarts = await running(gateway, manager, 1)
        refusal = restarts.refusal(asked)
        assert refusal is not None and refusal.reason == reason
        assert gateway.runtime.stops == []


async def test_a_pod_that_goes_away_meanwhile_ends_the_command(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    await gateway.put(pod(container("a", command=["stubborn"])))
    async with gateway.running() as manager:
        restarts = await running(gateway, manager, 1)
        await gateway.delete(pod(container("a")))
        outcome = await asyncio.wait_for(restarts.execute(order(), asyncio.Event()), 10)
        assert (outcome.phase, outcome.reason) == ("Failed", "PodEnds")
