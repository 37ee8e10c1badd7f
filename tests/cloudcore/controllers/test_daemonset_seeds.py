"""A DaemonSet through what happens to a fleet, by seeds: gateways go and come, join and leave, while it is updated.

Whatever happened: when all is heard again and the version works, each gateway has one pod of it.
"""

from __future__ import annotations

import random

import pytest

from tests.cloudcore.controllers.test_daemonset import SETS, Fleet
from tests.cloudcore.worlds import make_world

SEEDS = 40
STEPS = 25


class Weather:
    """What happens, a step at a time."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self._fleet = fleet
        self._chance = random.Random(seed)
        self.nodes: dict[str, bool] = {}
        """By name: heard or not."""
        self._names = 0
        self.version = 1

    async def join(self) -> None:
        self._names += 1
        name = f"gw-{self._names}"
        await self._fleet.node(name)
        self.nodes[name] = True

    async def strike(self) -> None:
        world, chance = self._fleet.world, self._chance
        match chance.randrange(8):
            case 0 | 1:
                await self._turn(chance.choice(sorted(self.nodes)))
            case 2:
                await self.join()
            case 3 if len(self.nodes) > 1:
                name = chance.choice(sorted(self.nodes))
                del self.nodes[name]
                await world.delete("nodes", name)
                for pod in world.all("pods"):
                    if self._fleet.where(pod) == name:  # who looks after pods of deleted nodes
                        await world.delete("pods", pod["metadata"]["name"], grace_s=0)
            case 4 | 5:
                self.version += 1
                await self._fleet.image(chance.choice([f"v{self.version}", "broken"]))
            case 6 if world.all("pods"):
                await world.delete("pods", chance.choice(world.names("pods")))
            case _:
                pods = [pod["metadata"]["name"] for pod in world.all("pods") if self._is_heard(pod)]
                if pods:
                    await world.set_status("pods", chance.choice(pods), phase="Failed", conditions=[])

    def _is_heard(self, pod: object) -> bool:
        return self.nodes.get(self._fleet.where(pod), False)

    async def _turn(self, name: str) -> None:
        self.nodes[name] = not self.nodes[name]
        await self._fleet.ready(name, "True" if self.nodes[name] else self._chance.choice(["Unknown", "False"]))

    async def clear_up(self) -> None:
        for name, heard in self.nodes.items():
            if not heard:
                await self._turn(name)
        await self._fleet.image("good")


def at_away(fleet: Fleet, weather: Weather) -> dict[str, str]:
    """Uids of the pods on gateways that are away, and whether somebody deleted them."""
    return {
        pod["metadata"]["uid"]: pod["metadata"].get("deletionTimestamp", "")
        for pod in fleet.world.all("pods")
        if not weather.nodes.get(fleet.where(pod), False) and pod["status"]["phase"] == "Running"
    }


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_each_gateway_has_one_pod_of_the_last_version_in_the_end(seed: int):
    rolling = [{"maxUnavailable": 1}, {"maxUnavailable": "50%"}, {"maxUnavailable": 0, "maxSurge": 1}][seed % 3]
    surges = "maxSurge" in rolling
    async with make_world(real_rules=True) as world:
        fleet = Fleet(world)
        weather = Weather(fleet, seed)
        for _ in range(4):
            await weather.join()
        await fleet.make(updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
        for _ in range(STEPS):
            await weather.strike()
            before = at_away(fleet, weather)
            await fleet.roll()
            after = at_away(fleet, weather)
            if not surges:
                assert before == after, "an update touches nobody who is away"
            crowd: dict[str, int] = {}
            for pod in world.all("pods"):
                crowd[fleet.where(pod)] = crowd.get(fleet.where(pod), 0) + 1
            assert max(crowd.values(), default=0) <= (2 if surges else 1)
            world.clock.advance(2000)
        await weather.clear_up()
        for _ in range(20):
            await fleet.roll()
            world.clock.advance(1000)
            await fleet.controller.reconcile(world.key(SETS, "agent"))
        assert fleet.images() == dict.fromkeys(weather.nodes, "good")
        count = len(weather.nodes)
        status = fleet.status
        assert (
            status["desiredNumberScheduled"] == status["updatedNumberScheduled"] == status["numberAvailable"] == count
        )
        assert "conditions" not in status
