"""A StatefulSet through what happens to a fleet, by seeds: gateways go and come while it is scaled and updated.

Whatever happened: when all is heard again and the version works, there are the pods that are asked for, all of it.
"""

from __future__ import annotations

import random

import pytest

from tests.cloudcore.controllers.test_statefulset import SETS, Fleet, template
from tests.cloudcore.worlds import World, make_world

SEEDS = 40
STEPS = 25
NODES: tuple[str, ...] = ("gw-0", "gw-1", "gw-2")


class Gateways(Fleet):
    """The set's pods on three gateways; those that are silent do nothing that they are told."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world)
        self.chance = random.Random(seed)
        self.heard = dict.fromkeys(NODES, True)
        self.version = 1

    async def begin(self, policy: str) -> None:
        for name in NODES:
            await self.world.create("nodes", {"metadata": {"name": name}})
            await self.ready(name, "True")
        await self.make(podManagementPolicy=policy)

    async def ready(self, name: str, status: str) -> None:
        await self.world.set_status("nodes", name, conditions=[{"type": "Ready", "status": status}])

    async def kubelets(self) -> None:
        for pod in self.world.all("pods"):
            name = pod["metadata"]["name"]
            node = pod["spec"].get("nodeName") or NODES[int(name.rpartition("-")[2]) % len(NODES)]
            if not self.heard[node]:
                continue
            if pod["metadata"].get("deletionTimestamp"):
                await self.world.delete("pods", name, grace_s=0)
            elif not pod["spec"].get("nodeName"):

                def bound(obj: dict[str, dict[str, object]], node: str = node) -> object:
                    return {**obj, "spec": {**obj["spec"], "nodeName": node}}

                await self.world.update("pods", name, bound, subresource="binding")
            elif pod["status"]["phase"] == "Pending" and pod["spec"]["containers"][0]["image"] != "broken":
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
                await self.world.set_status("pods", name, phase="Running", conditions=[ready])

    async def strike(self, *, wishes: bool) -> None:
        """Somebody scales or deletes pods only where there are wishes."""
        world, chance = self.world, self.chance
        match chance.randrange(7 if wishes else 5):
            case 0 | 1:
                await self.turn(chance.choice(NODES))
            case 2 | 3:
                self.version += 1
                await self.image(chance.choice([f"v{self.version}", "broken"]))
            case 4:
                partition = {"rollingUpdate": {"partition": chance.randrange(4)}, "type": "RollingUpdate"}
                await world.set_spec(SETS, "db", updateStrategy=partition)
            case 5 if world.all("pods"):
                await world.delete("pods", chance.choice(world.names("pods")))
            case _:
                await world.set_spec(SETS, "db", replicas=chance.randrange(5))

    async def turn(self, name: str) -> None:
        self.heard[name] = not self.heard[name]
        await self.ready(name, "True" if self.heard[name] else "Unknown")

    def at_away(self) -> dict[str, str]:
        """Uids of the pods that run on gateways that are away, and whether somebody deleted them."""
        return {
            pod["metadata"]["uid"]: pod["metadata"].get("deletionTimestamp", "")
            for pod in self.world.all("pods")
            if not self.heard.get(pod["spec"].get("nodeName", ""), True) and pod["status"]["phase"] == "Running"
        }


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_there_are_the_pods_that_are_asked_for_in_the_end(seed: int):
    async with make_world(real_rules=True) as world:
        fleet = Gateways(world, seed)
        await fleet.begin("Parallel" if seed % 2 else "OrderedReady")
        wishes = seed % 4 > 1
        for _ in range(STEPS):
            await fleet.strike(wishes=wishes)
            before = fleet.at_away()
            await fleet.roll()
            assert wishes or fleet.at_away() == before, "an update touches nobody who is away"
        for name, heard in fleet.heard.items():
            if not heard:
                await fleet.turn(name)
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
        await world.set_spec(SETS, "db", updateStrategy=rolling, replicas=3, template=template("good"))
        await fleet.roll()
        assert fleet.images() == dict.fromkeys(("db-0", "db-1", "db-2"), "good")
        status = fleet.status
        assert status["currentRevision"] == status["updateRevision"]
        assert status["replicas"] == status["availableReplicas"] == status["updatedReplicas"] == 3
