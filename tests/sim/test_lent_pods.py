"""At most one copy in a federation, simulated: partitions, reboots, restarts and clocks that are set, from a seed.

The real rules of all three: the global cloud's wait, the region's lease and the gateway's. What carries them is a
model: questions that may be lost or slow in either direction. Promise: no two copies run at once, whatever happens;
and a copy runs again within a bound once all is well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import pytest

from cloudcore.federation.policies import MARGIN_S
from edgecore.pods.lending import Lending
from skerry.objects.json import Json, JsonObject

SEEDS = 100
LEASE_S = 60
GRACE_S = 30
STEP_S = 1.0
STEPS = 1500
CALM_S = 900
POD = "pod"


@dataclass
class Gateway:
    """One gateway of a region, with its own monotonic clock."""

    boot: int = 0
    born_s: float = 0.0
    """Since when its clock counts."""
    made: type[Lending] = Lending
    disk: JsonObject = field(default_factory=dict[str, Json])
    has_pod: bool = False
    """As its store says."""
    running: bool = False
    ending_until_s: float | None = None
    """Its pod was told to end, and takes all of its grace."""
    linked: bool = True
    ask_at_s: float = 0.0
    question: tuple[float, float, dict[str, float]] | None = None
    """Asked at (its own clock); when the answer is here (the world's), and what it says."""

    def __post_init__(self) -> None:
        self.lending = self.made("0", {})

    def now_s(self, world_s: float) -> float:
        return world_s - self.born_s

    def reboot(self, world_s: float) -> None:
        self.boot += 1
        self.born_s = world_s
        self.lending = self.made(str(self.boot), self.disk)
        self.running, self.ending_until_s, self.question, self.ask_at_s = False, None, None, 0.0

    def restart(self) -> None:
        """The agent alone: containers go on."""
        self.lending = self.made(str(self.boot), self.disk)
        self.question = None

    @property
    def is_up(self) -> bool:
        return self.running or self.ending_until_s is not None


@dataclass
class Region:
    name: str
    gateway: Gateway
    linked: bool = True
    alive: bool = True
    confirmed_s: float | None = None
    """World time here: the region's own clock runs as the world's. None: not proven."""
    wanted: bool = False
    """Its row, as last carried."""


class World:
    def __init__(self, seed: int, lending: type[Lending] = Lending) -> None:
        self.chance = Random(seed)
        self.now_s = 0.0
        self.regions = [Region(name, Gateway(made=lending)) for name in ("north", "south")]
        self.placed = 0
        self.silent_since_s: dict[str, float] = {}
        self.moves = 0

    def step(self, *, calm: bool) -> None:
        self.now_s += STEP_S
        for region in self.regions:
            self._faults(region, calm=calm)
            self._region(region)
            self._gateway(region, calm=calm)
        self._global()
        self._check()

    def _faults(self, region: Region, *, calm: bool) -> None:
        chance, gateway = self.chance, region.gateway
        if calm:
            region.linked = region.alive = gateway.linked = True
            return
        if chance.random() < 0.006:
            region.linked = not region.linked
        if chance.random() < 0.006:
            gateway.linked = not gateway.linked
        if chance.random() < 0.004:
            region.alive = not region.alive
            if region.alive and chance.random() < 0.5:
                region.confirmed_s = None  # another machine leads, or it was booted: nothing is proven
        if chance.random() < 0.004:
            gateway.reboot(self.now_s)
        if chance.random() < 0.004:
            gateway.restart()

    def _region(self, region: Region) -> None:
        if region.alive and region.linked:
            asked_s = self.now_s - self.chance.choice([0, 0, 1, 8])  # an answer that was long on its way
            if self.chance.random() < 0.3:
                region.confirmed_s = max(asked_s, region.confirmed_s or 0.0)
            region.wanted = self.regions[self.placed] is region

    def _left_s(self, region: Region) -> float:
        if region.confirmed_s is None or not region.wanted:
            return 0.0
        return region.confirmed_s + LEASE_S - self.now_s

    def _gateway(self, region: Region, *, calm: bool) -> None:
        gateway, now_s = region.gateway, region.gateway.now_s(self.now_s)
        in_touch = region.alive and gateway.linked
        if gateway.ending_until_s is not None and self.now_s >= gateway.ending_until_s:
            gateway.ending_until_s = None
        if in_touch:
            if not region.wanted:
                self._end(gateway)
                gateway.has_pod = gateway.is_up
            elif not gateway.has_pod:
                gateway.has_pod = True
        if not gateway.has_pod:
            return
        if gateway.question is not None and self.now_s >= gateway.question[1]:
            asked_s, _, answer = gateway.question
            gateway.question = None
            if in_touch:
                gateway.lending.answered(answer, asked={POD: ""}, asked_s=asked_s, now_s=now_s)
                if self.chance.random() < 0.3:
                    gateway.disk = gateway.lending.shown()
                gateway.ask_at_s = now_s + gateway.lending.ask_again_s({POD: ""}, now_s)
        if gateway.question is None and now_s >= gateway.ask_at_s:
            left_s = self._left_s(region) if in_touch else 0.0
            arrives_s = self.now_s + self.chance.choice([0, 1] if calm else [0, 1, 1, 5, 45])
            gateway.question = (now_s, arrives_s, {POD: left_s} if left_s > 0 else {})
            gateway.ask_at_s = now_s + 10
        if gateway.lending.left_s(POD, "", now_s):
            if gateway.ending_until_s is None:
                gateway.running = True
        else:
            self._end(gateway)

    def _end(self, gateway: Gateway) -> None:
        if gateway.running:
            gateway.running, gateway.ending_until_s = False, self.now_s + GRACE_S

    def _global(self) -> None:
        for region in self.regions:
            if region.alive and region.linked:
                self.silent_since_s.pop(region.name, None)
            else:
                self.silent_since_s.setdefault(region.name, self.now_s)
        holder, other = self.regions[self.placed], self.regions[1 - self.placed]
        since_s = self.silent_since_s.get(holder.name)
        if since_s is None or other.name in self.silent_since_s:
            return
        if self.now_s - since_s >= LEASE_S + MARGIN_S + GRACE_S:
            self.placed = 1 - self.placed
            self.moves += 1

    def _check(self) -> None:
        up = [region.name for region in self.regions if region.gateway.is_up]
        assert len(up) <= 1, f"at {self.now_s:g} s both run"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_two_copies_run_at_once_and_one_runs_when_all_is_well(seed: int) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step(calm=False)
    for _ in range(CALM_S):
        world.step(calm=True)
    assert sum(region.gateway.running for region in world.regions) == 1


def test_the_seeds_move_copies_between_regions() -> None:
    moves = 0
    for seed in range(20):
        world = World(seed)
        for _ in range(STEPS):
            world.step(calm=False)
        moves += world.moves
    assert moves > 20, "a simulation in which nothing happens proves nothing"


class _FromArrival(Lending):
    """Answers count from when they come."""

    def answered(
        self, left_s: Mapping[str, float], *, asked: Mapping[str, str], asked_s: float, now_s: float
    ) -> None:
        super().answered(left_s, asked=asked, asked_s=now_s, now_s=now_s)


class _OverBoots(Lending):
    """What was written down in another boot counts."""

    def __init__(self, boot_id: str, kept: JsonObject, kept_asked: JsonObject | None = None) -> None:
        super().__init__(boot_id, {**kept, "boot": boot_id}, kept_asked)


@pytest.mark.parametrize("planted", [_FromArrival, _OverBoots])
def test_the_simulation_sees_a_gateway_that_has_it_wrong(planted: type[Lending]) -> None:
    with pytest.raises(AssertionError, match="both run"):
        for seed in range(1000):
            world = World(seed, planted)
            for _ in range(STEPS):
                world.step(calm=False)
