"""One property of one device under a random schedule: writes on both sides, cut links, wrong clocks, restarts and
restored clouds, in virtual time. From a seed; what decides is the product's own pure code.

Beside the two sides stands what really happened: for each write, which writes its author could have seen. Of that the
sides know nothing; `verdict` compares it with what they came to agree on.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from edgecore.twins.plan import observe, want
from skerry.objects.desired import UNSEEN, Desired, Policy, Side, merge, write_desired
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteMade:
    """A write, and what its author had before their eyes."""

    side: Side
    desired: Desired
    past: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the gateway's outbox holds for the cloud."""

    desired: Desired | None
    """None: only that a tombstone was seen."""
    tombstone: Desired | None
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudState:
    """The Device, and which writes are in it."""

    device: JsonObject
    seen: Seen


class Schedule:
    """`Schedule(seed, policy).run()`, then `verdict()`: "" when all is well."""

    def __init__(self, seed: int, policy: Policy) -> None:
        self.chance = random.Random(seed)
        self.policy: Policy = policy
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

    def run(self, steps: int = 40) -> None:
        acts = [
            (5, self.write_cloud),
            (5, self.write_edge),
            (2, self.remove_cloud),
            (1, self.remove_edge),
            (6, self.down),
            (6, self.up),
            (6, self.look),
            (4, self.connect),
            (2, self.cut),
            (1, self.crash),
            (1, self.step_clock),
            (2, self.back_up),
            (2, self.restore),
        ]
        weights = [weight for weight, _ in acts]
        for _ in range(steps):
            self.now_ms += self.chance.choice([0, 1, 50, 5_000, 3_600_000])
            self.chance.choices(acts, weights)[0][1]()
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

    def _change_edge(self, value: str, *, removed: bool) -> None:
        made = write_desired(
            self.edge.desired,
            value=value,
            side="edge",
            origin="op",
            now_ms=max(0, self.now_ms + self.edge_clock_ms),
            synced=self.edge_clock_ms == 0,
            expires_ms=None,
            removed=removed,
        )
        self.edge = want(self.edge, made, self.now_ms)
        self.edge_seen = self._made("edge", made, self.edge_seen)
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
        observed = observe(self.edge, record_of(self.held.device, PROP), self.policy, self.now_ms)
        self.edge = observed.state
        self.edge_seen |= self.held.seen
        if observed.tell_desired or self.edge.desired is not None:
            self._tell(desired=observed.tell_desired)

    def _tell(self, *, desired: bool) -> None:
        now = self.edge.desired
        wanted = now if desired or (self.outbox is not None and self.outbox.desired is not None) else None
        tombstone = now if now is not None and now.removed else None
        self.outbox = Told(desired=wanted, tombstone=tombstone, seen=self.edge_seen)

    def up(self) -> None:
        """A report arrives; its receipt may be lost, and then it comes again."""
        if not self.linked or self.outbox is None or self.life != self.held_life:
            return
        told, before = self.outbox, self.cloud.device
        device, seen = self.cloud.device, self.cloud.seen
        if told.desired is not None:
            report = TwinDesired(device=NAME, prop=PROP, desired=told.desired, policy=self.policy)
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
        ranked = last[0].desired
        for made in last[1:]:
            merged = merge(ranked, replace(made.desired, ver=made.desired.ver), self.policy)
            assert merged is not None
            ranked = merged
        agreed = edge
        if _meaning(agreed) != _meaning(ranked):
            return f"agreed on {agreed}, wanted was {[made.desired for made in last]}"
        return self._verdict_on_losers(agreed, last)

    def _verdict_on_losers(self, agreed: Desired | None, last: list[WriteMade]) -> str:
        values = {(made.desired.value, made.desired.removed) for made in last}
        if agreed is None or len(values) == 1:
            return ""
        if agreed.conflict is None:
            return f"the loser was not kept: {values}"
        if (agreed.conflict.value, agreed.conflict.removed) not in values:
            return f"a loser that lost nothing: {agreed.conflict}"
        if (self.policy == "manual") != agreed.waiting:
            return f"with policy {self.policy} waiting is {agreed.waiting}"
        return ""


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
