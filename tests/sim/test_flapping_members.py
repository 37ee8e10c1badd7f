"""Fifty members of two hundred that come and go, each at its own pace from a second to five minutes, from a seed: who
is chosen moves for a cause alone, and those who stay are left alone.

The real rules of the hub (`Flapping`) and of policies (`decide`); time, links and what is written are simulated.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from cloudcore.federation.policies import MINUTE_MS, Seat, decide
from cloudcore.hub.flapping import Flapping
from skerry.objects.placement_policies import Candidate, read_policy

SEEDS = 4
MEMBERS, FLAPPING = 200, 50
LASTS_S = 3600
AFTER_S = 120
STABLE_S = 600
POLICIES: dict[str, Any] = {
    "one": {"members": 1},
    "spread": {"members": 6, "spread": [{"by": "region", "max": 2, "min": 3}]},
    "home": {
        "members": 2,
        "affinities": [{"clusterSelector": {"matchLabels": {"side": "a"}}}, {"clusterSelector": {}}],
    },
    "many": {"members": 40},
}


class Member:
    def __init__(self, name: str, chance: Random, *, flaps: bool) -> None:
        self.name, self.flaps, self.chance = name, flaps, chance
        self.pace_s = chance.choice([1, 5, 20, 60, 300])
        self.linked, self.turns_s = True, chance.uniform(0, self.pace_s) if flaps else float("inf")
        self.ready, self.since_s, self.cut_s = True, -STABLE_S * 2.0, 0.0
        self.region, self.side = f"r{chance.randrange(5)}", chance.choice("ab")

    def step(self, now_s: float) -> None:
        while now_s >= self.turns_s:
            self.linked = not self.linked
            self.cut_s = self.turns_s
            self.turns_s += self.chance.uniform(0.5, 1.0) * self.pace_s

    def candidate(self) -> Candidate:
        labels = {"side": self.side}
        since_ms = round(self.since_s * 1000)
        return Candidate(
            name=self.name, labels=labels, region=self.region, zone="", ready=self.ready, since_ms=since_ms
        )


class World:
    def __init__(self, seed: int, *, stable_s: int = STABLE_S) -> None:
        """`stable_s`: as the policies have it."""
        self.chance = Random(seed)
        self.flapping = Flapping()
        flaps = set(self.chance.sample(range(MEMBERS), FLAPPING))
        self.members = [Member(f"m{number}", self.chance, flaps=number in flaps) for number in range(MEMBERS)]
        failover: Any = {
            "afterSeconds": AFTER_S,
            "perMinute": 2,
            "failback": "AfterStable",
            "stableSeconds": stable_s,
        }
        self.policies = {
            name: read_policy({"spec": {**spec, "failover": failover}}) for name, spec in POLICIES.items()
        }
        self.seats: dict[str, tuple[Seat, ...]] = dict.fromkeys(POLICIES, ())
        self.moves: dict[str, list[int]] = {name: [] for name in POLICIES}
        self.writes = self.moved = 0

    def run(self) -> None:
        self._decide(0.0)
        self.moved = 0
        for second in range(LASTS_S):
            if self._note(float(second)) or second % 60 == 0:
                self._decide(float(second))

    def _note(self, now_s: float) -> bool:
        before = self.writes
        for member in self.members:
            member.step(now_s)
            if member.ready == member.linked:
                continue
            if not member.linked:
                if now_s - member.cut_s < self.flapping.grace_s(member.name, now_s):
                    continue
                self.flapping.silent(member.name, now_s)
            member.ready, member.since_s = member.linked, now_s
            self.writes += 1
        return self.writes > before

    def _decide(self, now_s: float) -> None:
        now_ms, candidates = round(now_s * 1000), [member.candidate() for member in self.members]
        by_name = {member.name: member for member in self.members}
        for name, policy in self.policies.items():
            seats = self.seats[name]
            found = decide(policy, candidates, seats, self.moves[name], now_ms=now_ms, key=f"d/{name}")
            held = {seat.member for seat in seats}
            for gone in held - found.placed:
                member = by_name[gone]
                assert member.flaps, f"{gone} never was silent: {found.reasons[gone]}"
                silent_s = now_s - member.since_s if not member.ready else 0.0
                assert silent_s >= AFTER_S or "gave way" in found.reasons[gone], found.reasons[gone]
            for came in (found.placed - held) if held else ():
                steady = now_s - by_name[came].since_s >= STABLE_S
                assert steady, f"{came} takes a seat over, and has been heard for moments"
            self.moved += len(held - found.placed)
            self.seats[name] = found.seats
            self.moves[name] = [
                at for at in (*self.moves[name], *([now_ms] * len(found.moved))) if now_ms - at < MINUTE_MS
            ]
            assert len(self.moves[name]) <= 2
            if held and policy.count is not None:
                assert len(found.placed) == policy.count


@pytest.mark.parametrize("seed", range(SEEDS))
def test_members_that_come_and_go_move_nothing_that_need_not_move(seed: int) -> None:
    world = World(seed)
    world.run()
    assert world.writes <= FLAPPING * LASTS_S / 60 * 2, "each is said to be silent once a minute at the most"
    for name, seats in world.seats.items():
        steady = sum(not each.flaps for each in world.members if each.name in {seat.member for seat in seats})
        assert steady >= len(seats) - FLAPPING // 2, name
    assert world.moved <= FLAPPING * 2, "who was left is not gone back to while it comes and goes"


def test_the_simulation_sees_a_planner_that_takes_anybody() -> None:
    with pytest.raises(AssertionError, match="heard for moments"):
        for seed in range(20):
            World(seed, stable_s=0).run()
