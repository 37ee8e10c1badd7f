"""One property of one device under a random schedule: writes on both sides, cut links, wrong clocks, restarts and
restored clouds, in virtual time. From a seed; what decides is the product's own pure code.

Beside the two sides stands what really happened: for each write, which writes its author could have seen. Of that the
sides know nothing; `verdict` compares it with what they came to agree on.

That a schedule would see a bug is shown by planting one (`Plants`): each is a line of the product left out.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from edgecore.twins.plan import observe, want
from skerry.frozen import replace
from skerry.objects.desired import POLICIES, UNSEEN, Desired, Policy, Side, merge, write_desired
from skerry.objects.device_desired import (
    merged_desired,
    record_of,
    stamp_desired,
    with_tombstone_seen,
)
from skerry.objects.json import JsonObject, clone, map_at
from skerry.objects.twins import DeviceName, TwinDesired, TwinState, decode_state, encode_state

PROP: Final = "setpoint"
NAME: Final = DeviceName(namespace="default", name="boiler", uid="u")
START_MS: Final = 1_790_000_000_000

Seen = frozenset[int]
"""Numbers of writes."""

Diet = Literal["mixed", "models", "restores"]
"""A bug that needs six things in a row is never met where fifteen are equally likely."""
STEPS: Final[dict[Diet, int]] = {"mixed": 40, "models": 40, "restores": 80}
DIETS: Final[dict[Diet, dict[str, int]]] = {
    "mixed": {
        "write_cloud": 5, "write_edge": 5, "remove_cloud": 2, "remove_edge": 1, "fall_back": 2, "down": 6, "up": 6,
        "look": 6, "connect": 4, "cut": 2, "crash": 1, "step_clock": 1, "back_up": 2, "restore": 2,
    },
    # Somebody edits the model: what is settled by one policy meets another.
    "models": {
        "write_cloud": 5, "write_edge": 5, "change_policy": 6, "down": 6, "up": 6, "look": 6, "connect": 4, "cut": 2,
        "crash": 1, "step_clock": 1,
    },
    # Little is wanted, that is taken back, and clouds that had forgotten it are set back to before.
    "restores": {
        "write_cloud": 10, "write_edge": 3, "remove_cloud": 20, "remove_edge": 10, "down": 80, "up": 80, "look": 80,
        "connect": 80, "cut": 5, "crash": 5, "back_up": 20, "restore": 10,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteMade:
    """A write, and what its author had before their eyes."""

    side: Side
    desired: Desired
    past: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Plants:
    """Bugs, for the test of the tests."""

    forget_tombstones: bool = False
    """The gateway forgets that nothing is wanted as soon as the cloud has."""
    tell_nothing_merged: bool = False
    """The gateway keeps to itself what it made of the cloud's value and its own."""
    fallback_is_a_wish: bool = False
    """What the gateway does by itself ranks as what somebody wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the gateway's outbox holds for the cloud."""

    desired: Desired | None
    """None: only that a tombstone was seen."""
    tombstone: Desired | None
    seen: Seen
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudState:
    """The Device, and which writes are in it."""

    device: JsonObject
    seen: Seen


class Schedule:
    """`Schedule(seed, policy).run()`, then `verdict()`: "" when all is well."""

    def __init__(self, seed: int, policy: Policy, *, plants: Plants | None = None, diet: Diet = "mixed") -> None:
        """`diet`: which things happen often."""
        self.chance = random.Random(seed)
        self.policy: Policy = policy
        self.plants = plants or Plants()
        self.diet: Diet = diet
        self.writes: dict[int, WriteMade] = {}
        self.story: list[str] = []
        self.now_ms = START_MS
        device: JsonObject = {
            "metadata": {"name": "boiler", "namespace": "default", "uid": "u", "generation": 1},
            "spec": {"properties": [{"name": PROP}]},
        }
        self.cloud = CloudState(device=device, seen=frozenset())
        self.cloud_clock_ms = 0
        self.backups = [self.cloud]
        self.life = ""
        self.lives = 0
        self.edge = TwinState(uid="u")
        self.edge_seen: Seen = frozenset()
        self.edge_clock_ms = self.chance.choice([0, 0, -10 * 365 * 86_400_000, 86_400_000, 7_200_000])
        self.held = self.cloud
        """What the gateway's store holds of the cloud; what it looked at may be older."""
        self.held_life = ""
        self.outbox: Told | None = None
        self.linked = False
        self.way_down: deque[tuple[CloudState, str]] = deque()

    def run(self) -> None:
        acts: dict[str, Callable[[], None]] = {
            "write_cloud": self.write_cloud,
            "write_edge": self.write_edge,
            "remove_cloud": self.remove_cloud,
            "remove_edge": self.remove_edge,
            "fall_back": self.fall_back,
            "change_policy": self.change_policy,
            "down": self.down,
            "up": self.up,
            "look": self.look,
            "connect": self.connect,
            "cut": self.cut,
            "crash": self.crash,
            "step_clock": self.step_clock,
            "back_up": self.back_up,
            "restore": self.restore,
        }
        often = DIETS[self.diet]
        for _ in range(STEPS[self.diet]):
            self.now_ms += self.chance.choice([0, 1, 50, 5_000, 3_600_000])
            (act,) = self.chance.choices([*often], [*often.values()])
            acts[act]()
        self.heal()

    def heal(self) -> None:
        """The link stays, and everything that waits arrives."""
        for _ in range(8):
            self.connect()
            self.send_down()
            while self.way_down:
                self.down()
            self.look()
            self.up()

    # --- people ---

    def _value(self) -> str:
        return str(self.chance.choice([-5, 0, 0, 3, 20, 20, 90]) + len(self.writes) / 1000)

    def write_cloud(self) -> None:
        self._change_cloud(with_value(self.cloud.device, self._value()))

    def remove_cloud(self) -> None:
        if (held := record_of(self.cloud.device, PROP)) is not None and not held.removed:
            self._change_cloud(with_value(self.cloud.device, None))

    def _change_cloud(self, device: JsonObject) -> None:
        stamped = self._stamped(device)
        made = record_of(stamped, PROP)
        assert made is not None and made != record_of(self.cloud.device, PROP), "it was written"
        self.cloud = CloudState(device=stamped, seen=self._made("cloud", made, self.cloud.seen))
        self.send_down()

    def _stamped(self, device: JsonObject, *, merging: bool = False) -> JsonObject:
        now_ms = self.now_ms + self.cloud_clock_ms
        return stamp_desired(self.cloud.device, device, now_ms=now_ms, origin="ann", life=self.life, merging=merging)

    def write_edge(self) -> None:
        self._change_edge(self._value(), removed=False)

    def remove_edge(self) -> None:
        if self.edge.desired is not None and not self.edge.desired.removed:
            self._change_edge("", removed=True)

    def fall_back(self) -> None:
        """Nobody was heard for long, and nobody here wants anything."""
        wanted_here = self.edge.desired is not None and self.edge.desired.side == "edge"
        if not self.linked and not wanted_here:
            self._change_edge(self._value(), removed=False, fallback=True)

    def change_policy(self) -> None:
        """In the model, which the gateway has at once: reports carry what it was then."""
        self.policy = self.chance.choice(POLICIES)
        self.story.append(f"the policy is {self.policy}")

    def _change_edge(self, value: str, *, removed: bool, fallback: bool = False) -> None:
        made = write_desired(
            self.edge.desired,
            value=value,
            side="edge",
            origin="fallback" if fallback else "op",
            now_ms=max(0, self.now_ms + self.edge_clock_ms),
            synced=self.edge_clock_ms == 0,
            expires_ms=None,
            removed=removed,
            fallback=fallback and not self.plants.fallback_is_a_wish,
        )
        self.edge = want(self.edge, made, self.now_ms)
        self.edge_seen = self._made("edge", replace(made, fallback=fallback), self.edge_seen)
        self._tell(desired=True)

    def _made(self, side: Side, desired: Desired, past: Seen) -> Seen:
        number = len(self.writes)
        self.writes[number] = WriteMade(side=side, desired=desired, past=past)
        self.story.append(f"{side} writes #{number} {desired.value or 'nothing'} {desired.ver}")
        return past | {number}

    # --- the link ---

    def connect(self) -> None:
        if not self.linked:
            self.linked = True
            self.way_down.clear()
            self.send_down()

    def send_down(self) -> None:
        if self.linked:
            self.way_down.append((self.cloud, self.life))

    def cut(self) -> None:
        self.linked = False
        self.way_down.clear()

    def down(self) -> None:
        """The gateway's store commits what the cloud sent."""
        if self.linked and self.way_down:
            self.held, life = self.way_down.popleft()
            if life != self.held_life:
                self.held_life = life
                self._tell_anew()

    def _tell_anew(self) -> None:
        self.edge = replace(self.edge, seen=UNSEEN)
        if self.edge.desired is not None:
            self._tell(desired=True)

    def look(self) -> None:
        """The keeper looks at what the store holds."""
        wanted = record_of(self.held.device, PROP)
        observed = observe(self.edge, wanted, self.policy, self.now_ms)
        self.edge = observed.state
        if self.plants.forget_tombstones and wanted is None:
            self.edge = _without_tombstone(self.edge)
        self.edge_seen |= self.held.seen
        told = observed.tell_desired and not self.plants.tell_nothing_merged
        if told or self.edge.desired is not None:
            self._tell(desired=told)

    def _tell(self, *, desired: bool) -> None:
        now = self.edge.desired
        wanted = now if desired or (self.outbox is not None and self.outbox.desired is not None) else None
        tombstone = now if now is not None and now.removed else None
        self.outbox = Told(desired=wanted, tombstone=tombstone, seen=self.edge_seen, policy=self.policy)

    def up(self) -> None:
        """A report arrives; its receipt may be lost, and then it comes again."""
        if not self.linked or self.outbox is None or self.life != self.held_life:
            return
        told, before = self.outbox, self.cloud.device
        device, seen = self.cloud.device, self.cloud.seen
        if told.desired is not None:
            report = TwinDesired(device=NAME, prop=PROP, desired=told.desired, policy=told.policy)
            device, seen = self._stamped(merged_desired(device, report), merging=True), seen | told.seen
        if told.tombstone is not None:
            self.cloud = CloudState(device=device, seen=seen)
            device = self._stamped(with_tombstone_seen(device, PROP, told.tombstone.ver), merging=True)
        changed = device != before
        self.cloud = CloudState(device=device, seen=seen)
        if changed:
            self.send_down()
        if self.chance.random() < 0.8:
            self.outbox = None

    # --- faults ---

    def crash(self) -> None:
        """The agent starts again from what its store holds."""
        self.edge = decode_state(encode_state(self.edge))
        self.cut()

    def step_clock(self) -> None:
        """The gateway's clock is set, right or wrong; or the cloud's."""
        if self.chance.random() < 0.7:
            self.edge_clock_ms = self.chance.choice([0, 0, -30 * 86_400_000, 86_400_000, 365 * 86_400_000])
        else:
            self.cloud_clock_ms = self.chance.choice([0, 0, -3_600_000, 3_600_000])

    def back_up(self) -> None:
        self.backups.append(self.cloud)

    def restore(self) -> None:
        """The cloud comes back from a backup; whatever it alone held is gone."""
        self.cut()
        self.cloud = self.chance.choice(self.backups)
        self.lives += 1
        self.life = f"l{self.lives}"
        self.story.append(f"the cloud is restored with {sorted(self.cloud.seen)}")

    # --- the verdict ---

    def verdict(self) -> str:
        """What is wrong with what they agreed on; "" for nothing."""
        cloud, edge = record_of(self.cloud.device, PROP), self.edge.desired
        if _meaning(cloud) != _meaning(edge):
            return f"they differ: {cloud} and {edge}"
        known = self.cloud.seen | self.edge_seen
        last = [
            made
            for number, made in self.writes.items()
            if number in known and not any(number in self.writes[other].past for other in known)
        ]
        if not last:
            return "" if _meaning(cloud) is None else f"nobody wanted {cloud}"
        # What nobody wanted never wins against what somebody did, whatever the policy.
        people = [made for made in last if not made.desired.fallback] or last
        if self.diet == "models":
            # Which policy it was settled by is anybody's guess; that both sides agree is not.
            if _meaning(edge) not in {_meaning(made.desired) for made in people}:
                return f"agreed on {edge}, wanted was {[made.desired for made in last]}"
            return ""
        ranked = people[0].desired
        for made in people[1:]:
            merged = merge(ranked, made.desired, self.policy)
            assert merged is not None
            ranked = merged
        if _meaning(edge) != _meaning(ranked):
            return f"agreed on {edge}, wanted was {[made.desired for made in last]}"
        return self._verdict_on_losers(edge, last)

    def _verdict_on_losers(self, agreed: Desired | None, last: list[WriteMade]) -> str:
        values = {(made.desired.value, made.desired.removed) for made in last}
        if agreed is None or len(values) == 1:
            return ""
        if agreed.conflict is None:
            return f"the loser was not kept: {values}"
        if (agreed.conflict.value, agreed.conflict.removed) not in values:
            return f"a loser that lost nothing: {agreed.conflict}"
        wished = {(made.desired.value, made.desired.removed) for made in last if not made.desired.fallback}
        if (self.policy == "manual" and len(wished) > 1) != agreed.waiting:
            return f"with policy {self.policy} and {len(wished)} wishes waiting is {agreed.waiting}"
        return ""


def _without_tombstone(state: TwinState) -> TwinState:
    held = state.desired
    return (
        replace(state, desired=None) if held is not None and held.removed and state.seen.covers(held.ver) else state
    )


def _meaning(desired: Desired | None) -> str | None:
    return None if desired is None or desired.removed else desired.value


def with_value(device: JsonObject, value: str | None) -> JsonObject:
    """As `kubectl patch` writes it: what else stands there stays."""
    device = clone(device)
    properties = map_at(device, "spec")["properties"]
    assert isinstance(properties, list)
    entry = properties[0]
    assert isinstance(entry, dict)
    if value is None:
        entry.pop("desired", None)
    else:
        entry["desired"] = {**map_at(entry, "desired"), "value": value}
    return device
