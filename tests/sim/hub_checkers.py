"""What several hubs of one cloud promise about the nodes that come to them, as checkers.

They know what no hub knows: when a node was truly heard, at whichever hub, and when each hub was last disturbed
(dead, hung, cut off from its store or kept waiting by it). What that excuses ends a while after it, see `CALM_S`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cloudcore.hub.leases import RENEWALS
from cloudcore.hub.liveness import LivenessSettings, is_silent
from cloudcore.runtime.election import SESSIONS
from cloudcore.store.port import Batch, Put
from skerry.objects.conditions import is_true
from skerry.objects.json import JsonObject, decode_object
from skerry.objects.meta import Key
from skerry.sync.ports import SyncSettings

if TYPE_CHECKING:
    from tests.sim.hubs import HubWorld

PROMISES: Final = {
    13: "who is heard is not called silent",
    14: "who is heard nowhere is called silent",
    15: "the newest session has the say",
    16: "one leader at a time",
}

GRACE_S: Final = LivenessSettings().grace_s
LEASE_S: Final = RENEWALS * LivenessSettings().lease_s
MUTE_S: Final = 2 * SyncSettings().heartbeat_s
"""Until a session ends in which nothing is heard."""
ELECTION_S: Final = 20.0
"""Until somebody leads again: the leader's Lease, and a look at it."""
SLACK_S: Final = 8.0
"""A write that failed and is tried again, a sweep of the session's timer, a report that is on its way."""
CALM_S: Final = ELECTION_S + LEASE_S + GRACE_S + SLACK_S
"""After the last disturbance: who was called silent rightly, or taken for dead, by then is spoken for again."""
CONTRADICTED_S: Final = 3.0
"""How long a hub may leave it at that when one of its nodes is called silent."""
SPOKE_S: Final = 45.0
"""An idle gateway asks every forty seconds."""
LOOKS_S: Final = 1.0


class BrokenHubPromiseError(AssertionError):
    """A promise does not hold in this run."""

    def __init__(self, promise: int, text: str, at_s: float) -> None:
        super().__init__(f"{promise} {PROMISES[promise]}: {text} (at {at_s:.3f} s)")
        self.promise = promise


@dataclass(slots=True)
class _Known:
    """What is true of a node."""

    heard_s: float = 0.0
    """Anything, at a hub that runs."""
    settled_s: float | None = None
    """In its newest session, once that had lasted long enough to show something of the gateway."""
    ended_s: float = 0.0
    """A link of it ended, as a hub noticed."""
    denied_s: float | None = None
    """Since when it is called silent although it is connected and speaks; None: it is not."""


@dataclass(slots=True)
class HubCheckers:
    """See the module. What is broken first is kept in `broken`; who runs the world looks at it."""

    world: HubWorld
    broken: BrokenHubPromiseError | None = None
    disturbed_s: dict[str, float] = field(default_factory=dict[str, float])
    """By hub."""
    _nodes: dict[str, _Known] = field(default_factory=dict[str, _Known])

    @property
    def _now_s(self) -> float:
        return self.world.loop.time()

    def break_(self, promise: int, text: str) -> None:
        if self.broken is None:
            self.broken = BrokenHubPromiseError(promise, text, self._now_s)
            self.world.transcript.note("**", str(self.broken))

    # --- what happens ---

    def heard(self, node: str, *, session: int, welcomed_s: float) -> None:
        known = self._of(node)
        known.heard_s = self._now_s
        # What a hub that hung reads of an older session was said long ago.
        if session and session == self._newest(node) and self._now_s - welcomed_s > LivenessSettings().trial_s:
            known.settled_s = self._now_s

    def ended(self, node: str) -> None:
        known = self._of(node)
        if self._now_s - known.heard_s < MUTE_S - 1.0:  # else it was the silence that ended it: the grace has begun
            known.ended_s = self._now_s

    def disturbed(self, hub: str) -> None:
        self.disturbed_s[hub] = self._now_s

    def committed(self, replica: str, batch: Batch) -> None:
        """By this one, just now."""
        advance, state = batch.advance, self.world.database.state
        hub = replica.rpartition("-")[0]
        if advance is not None and advance.session != self._newest(advance.node):
            who = f"{hub} wrote for session {advance.session} of {advance.node}"
            promise = 16 if advance.node == SESSIONS else 15
            self.break_(promise, f"{who}, whose newest is {self._newest(advance.node)}")
        for write in batch.writes:
            if isinstance(write, Put) and write.key.resource == "configmaps" and write.key.namespace == "ns":
                if self._leader() != replica:
                    self.break_(16, f"{replica} wrote as the leader, which is {self._leader()}")
            elif isinstance(write, Put) and write.key.resource == "nodes":
                before = state.log[-len(batch.writes)].before
                if is_silent(decode_object(write.body)) and (
                    before is None or not is_silent(decode_object(before.body))
                ):
                    self._called_silent(hub, write.key.name)

    def _called_silent(self, hub: str, node: str) -> None:
        self.world.transcript.note(node, f"is called silent by {hub}")
        known = self._of(node)
        at = self.world.hub_of(node)
        if not self._is_calm(hub, CALM_S) or (at is not None and not self._is_calm(at.name, CALM_S)):
            return
        since_s = None if known.settled_s is None else self._now_s - known.settled_s
        if since_s is not None and since_s < GRACE_S - 1.0:
            self.break_(13, f"{hub} called {node} silent, which was heard {since_s:.1f} s ago")
        elif self._speaks(node):
            self.break_(13, f"{hub} called {node} silent, which is connected and speaks")

    # --- now and then ---

    def look(self) -> None:
        """Every `LOOKS_S`."""
        for name, hub in self.world.hubs.items():
            # One that is down disturbs nobody, once the others have noticed, if there are any; its going does.
            if (hub.hangs or hub.cut_off or hub.slow_s) if hub.up else self._lives_nobody():
                self.disturbed(name)
        for node in self.world.gateways:
            self._look_at(node)

    def _look_at(self, node: str) -> None:
        found = self._node(node)
        if found is None:
            return
        known, silent = self._of(node), is_silent(found)
        if not silent or not self._speaks(node):
            known.denied_s = None
        elif known.denied_s is None:
            known.denied_s = self._now_s
        elif self._now_s - known.denied_s > CONTRADICTED_S:
            self.break_(13, f"{node} is called silent for {CONTRADICTED_S} s, and is connected and speaks")
        due_s = self._due_s(node)
        if not silent and self._now_s > due_s:
            self.break_(14, f"{node} was heard {self._now_s - known.heard_s:.1f} s ago, and is not called silent")

    def _due_s(self, node: str) -> float:
        """When it must be called silent at the latest, unless it is heard before."""
        known = self._of(node)
        at = self.world.hub_of(node)
        disturbed_s = max(self.disturbed_s.values(), default=0.0)
        quick_s = max(known.heard_s + MUTE_S, known.ended_s + GRACE_S)
        if at is not None and self.disturbed_s.get(at.name, 0.0) + CALM_S < known.heard_s:
            return quick_s + SLACK_S
        return max(quick_s, max(known.heard_s, disturbed_s) + CALM_S) + SLACK_S

    # --- at the end ---

    def final(self) -> None:
        """Nothing was wrong for a long time."""
        for node, gateway in self.world.gateways.items():
            found = self._node(node)
            if gateway.up and (found is None or not is_true(found, "Ready")):
                self.break_(13, f"{node} is connected, and not ready at the end")
            elif not gateway.up and (found is None or not is_silent(found)):
                self.break_(14, f"{node} is down, and not called silent at the end")
        leaders = [name for name, hub in self.world.hubs.items() if hub.election and hub.election.leading]
        if len(leaders) != 1:
            self.break_(16, f"at the end {leaders} lead")
        for name, hub in self.world.hubs.items():
            if hub.fleet is not None and hub.fleet.hub.liveness.waiting:
                self.break_(14, f"{name} has something to say at the end, and does not")

    # --- what is true ---

    def _of(self, node: str) -> _Known:
        return self._nodes.setdefault(node, _Known())

    def _node(self, node: str) -> JsonObject | None:
        stored = self.world.database.state.objects.get(Key("nodes", "", node))
        return None if stored is None else decode_object(stored.body)

    def _newest(self, node: str) -> int:
        lives = self.world.database.state.lives.get(node, {})
        return max((life.session for life in lives.values()), default=0)

    def _leader(self) -> str:
        """Who entered last to lead."""
        lives = self.world.database.state.lives.get(SESSIONS, {})
        return max(lives, key=lambda replica: lives[replica].session, default="")

    def _lives_nobody(self) -> bool:
        return not any(hub.up for hub in self.world.hubs.values())

    def _is_calm(self, hub: str, seconds: float) -> bool:
        return self._now_s - self.disturbed_s.get(hub, 0.0) > seconds

    def _speaks(self, node: str) -> bool:
        """In its newest session, at a hub with which nothing is wrong, over a link with which nothing is."""
        entry, at = self.world.database.state.entries.get(node), self.world.hub_of(node)
        link = self.world.gateways[node].link
        if entry is None or at is None or link is None or not link.connected or link.status.session != entry.session:
            return False
        known, faults = self._of(node), self.world.routes[node, at.name].faults
        settled = known.settled_s is not None and self._now_s - known.settled_s < SPOKE_S
        return settled and self._is_calm(at.name, SLACK_S) and faults.told() == "healthy"
