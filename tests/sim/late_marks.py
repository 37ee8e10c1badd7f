"""A workload that runs, and of which somebody says only then that it may run once alone: simulated from a seed.

The real rules of the gateway (`Lending`) and of what the global cloud counts on (`longest_lease_s`); the region is a
model of `RegionController` and `LeaseMarks`. The policy gets a lease, another one, none, and one again, while links
are cut (most of all between a first question and its answer, and after a change), questions and answers are lost or
late, agents start anew, gateways are booted and regions lose what they knew.

Promises: no two copies run at once; what runs is not stopped by its mark, but by a lease that its gateway asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from cloudcore.federation.policies import MARGIN_S
from edgecore.pods.lending import Lending
from edgecore.pods.plan import GRACE_S_MIN
from skerry.objects.federation import longest_lease_s
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at
from skerry.objects.pod_leases import untold_lease_s, untold_mark

LEASES_S = (0, 30, 60, 120)
GRACE_S = 90
"""Longer than the margin, so that one that is given anew is seen."""
POD = "pod"


class BrokenError(AssertionError):
    """A promise."""


@dataclass
class Pod:
    """The object, as the region has it or as its gateway does."""

    uid: str
    lent: bool = False
    untold: str = ""
    leaves: bool = False

    def copy(self) -> Pod:
        return Pod(self.uid, self.lent, self.untold, self.leaves)


@dataclass
class Question:
    asked_s: float
    """By the gateway's own clock."""
    uid: str
    untold: str
    arrives_s: float
    answer_s: float
    left_s: float = 0.0
    has_arrived: bool = False


@dataclass
class Gateway:
    lending_form: type[Lending]
    born_s: float = 0.0
    boot: int = 0
    disk: JsonObject = field(default_factory=dict[str, Json])
    asked_disk: JsonObject = field(default_factory=dict[str, Json])
    linked: bool = True
    pod: Pod | None = None
    running: str = ""
    """Uid of what runs."""
    ending_until_s: float | None = None
    """What runs was told to end, and takes all of its grace."""
    question: Question | None = None
    ask_at_s: float = 0.0
    sent: set[str] = field(default_factory=set[str])
    """Marks by which it has asked, ever."""
    starts: int = 0

    def __post_init__(self) -> None:
        self.lending = self.lending_form("0", {})

    def begin_agent(self) -> None:
        self.lending = self.lending_form(str(self.boot), self.disk, self.asked_disk)
        self.question, self.ask_at_s = None, 0.0


@dataclass
class Region:
    name: str
    gateway: Gateway
    linked: bool = True
    alive: bool = True
    confirmed_s: float | None = None
    row: JsonObject = field(default_factory=dict[str, Json])
    """As it came last: `spec` alone."""
    status: JsonObject = field(default_factory=dict[str, Json])
    pod: Pod | None = None
    longer_until_s: float | None = None


class World:
    """See the module. Bugs are planted by other forms of what it is made of."""

    lending: type[Lending] = Lending

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now_s = 0.0
        self.regions = [Region(name, Gateway(self.lending)) for name in ("north", "south", "west")]
        self.rows: dict[str, JsonObject] = {}
        self.placed = "north"
        self.lease_s = 0
        self.silent_since_s: dict[str, float] = {}
        self.moves = self.revision = self.made = 0
        self.changed_s = 0.0
        self._want("north")

    # --- time ---

    def step(self, *, calm: bool) -> None:
        self.now_s += 1.0
        # Seldom, so that leases come to count; and then another change soon, as people do.
        likely = 0.0 if calm or self.placed in self.silent_since_s else 0.07 if self._is_fresh else 0.003
        if self.chance.random() < likely:
            self.lend(self.chance.choice(LEASES_S))
        for region in self.regions:
            self._faults(region, calm=calm)
            if region.alive:
                self._region(region)
            self._gateway(region, calm=calm)
        self._global()
        up = [region.name for region in self.regions if region.gateway.running]
        if len(up) > 1:
            raise BrokenError(f"at {self.now_s:g} s {' and '.join(up)} both run")

    @property
    def _is_fresh(self) -> bool:
        """The policy was changed just now."""
        return self.changed_s > 0.0 and self.now_s < self.changed_s + 30

    def run(self, steps: int, *, calm: bool) -> None:
        for _ in range(steps):
            self.step(calm=calm)

    def _faults(self, region: Region, *, calm: bool) -> None:
        chance, gateway = self.chance, region.gateway
        if calm:
            return
        if chance.random() < (0.003 if region.linked else 0.004):
            region.linked = not region.linked
        if chance.random() < (0.003 if gateway.linked else 0.01):
            gateway.linked = not gateway.linked
        if self._is_fresh and chance.random() < 0.01:
            region.linked = gateway.linked = False
        question = gateway.question
        if question is not None and question.untold and question.has_arrived and chance.random() < 0.1:
            gateway.linked, region.linked = False, region.linked and chance.random() < 0.5
        if chance.random() < (0.002 if region.alive else 0.02):
            region.alive = not region.alive
            if region.alive:
                region.longer_until_s = None
                if chance.random() < 0.5:
                    region.confirmed_s = None
        if chance.random() < 0.002:
            gateway.boot += 1
            gateway.born_s, gateway.running, gateway.ending_until_s = self.now_s, "", None
            gateway.begin_agent()
        if chance.random() < (0.006 if gateway.ending_until_s is None else 0.02):
            self._restart(gateway)

    def _restart(self, gateway: Gateway) -> None:
        """The agent alone: what runs goes on, and what was to end is told so again."""
        gateway.begin_agent()
        if gateway.ending_until_s is not None and gateway.pod is not None:
            pod, now_s = gateway.pod, self.now_s - gateway.born_s
            left_s = max(GRACE_S - gateway.lending.over_s(pod.uid, pod.untold, now_s), GRACE_S_MIN)
            gateway.ending_until_s = self.now_s + left_s

    def heal(self) -> None:
        for region in self.regions:
            region.linked = region.alive = region.gateway.linked = True

    # --- the global cloud ---

    def lend(self, lease_s: int) -> None:
        """Somebody changes the policy."""
        if lease_s != self.lease_s:
            self.lease_s, self.changed_s = lease_s, self.now_s
            self._want(self.placed)

    def longest_s(self, row: JsonObject) -> int | None:
        return longest_lease_s(row)

    def _held_s(self, row: JsonObject) -> int:
        if bool_at(row, "status", "removed") and map_at(row, "spec").get("remove"):
            return 0
        longest_s = self.longest_s(row)
        return -1 if longest_s is None else longest_s

    def _want(self, name: str, *, remove: bool = False) -> None:
        self.revision += 1
        before = self.rows.get(name)
        lease_s = int_at(map_at(before or {}, "spec"), "leaseSeconds") if remove else self.lease_s
        spec: JsonObject = {"revision": self.revision, "leaseSeconds": lease_s}
        if before is not None and lease_s:
            spec["heldLeaseSeconds"] = self._held_s(before)
        if remove:
            spec["remove"] = "Delete"
        self.rows[name] = {"spec": spec, "status": map_at(before or {}, "status")}

    def _global(self) -> None:
        for region in self.regions:
            if region.alive and region.linked:
                self.silent_since_s.pop(region.name, None)
                self._heard(region)
            else:
                self.silent_since_s.setdefault(region.name, self.now_s)
        since_s = self.silent_since_s.get(self.placed)
        heard = [each.name for each in self.regions if each.name not in self.silent_since_s]
        if not self.lease_s or since_s is None or not heard or self.now_s - since_s < self.lease_s + MARGIN_S:
            return
        heir = min(heard)
        if all(self._is_over(name, row) for name, row in self.rows.items() if name != heir):
            self._want(self.placed, remove=True)
            self._want(heir)
            self.placed = heir
            self.moves += 1

    def _is_over(self, name: str, row: JsonObject) -> bool:
        since_s, longest_s = self.silent_since_s.get(name), self.longest_s(row)
        quiet_s = 0.0 if since_s is None else self.now_s - since_s
        return longest_s is not None and quiet_s >= longest_s + GRACE_S + MARGIN_S

    def _heard(self, region: Region) -> None:
        """Its reports, which may take their time, and its view."""
        row = self.rows.get(region.name)
        if row is None:
            if region.row and self.chance.random() < 0.5:
                region.row, region.status = {}, {}
            return
        if self.chance.random() < 0.3:
            region.row = map_at(row, "spec")
        if self.chance.random() < 0.3:
            self.rows[region.name] = {**row, "status": region.status}
            if bool_at(region.status, "removed") and region.status.get("revision") == map_at(row, "spec")["revision"]:
                del self.rows[region.name]
        in_step = region.row == map_at(row, "spec")
        if in_step and self.chance.random() < 0.3:
            region.confirmed_s = max(self.now_s - self.chance.choice([0, 0, 1, 8]), region.confirmed_s or 0.0)

    # --- a region ---

    def _left_s(self, region: Region) -> float:
        lease_s = int_at(region.row, "leaseSeconds")
        if region.confirmed_s is None or not region.row or region.row.get("remove"):
            return 0.0
        return region.confirmed_s + lease_s - self.now_s

    def _region(self, region: Region) -> None:
        gateway, row = region.gateway, region.row
        if gateway.linked and region.pod is not None and region.pod.leaves and gateway.pod is None:
            region.pod = None  # its gateway has told that nothing is left
        if not row:
            if region.pod is not None:
                region.pod.lent, region.pod.untold = False, ""
            return
        lease_s, before = int_at(row, "leaseSeconds"), region.status
        status: JsonObject = {"revision": row["revision"]}
        carried = self._is_carried(region)
        if row.get("remove"):
            if region.pod is not None:
                region.pod.leaves = True
            else:
                status["removed"] = carried = True
        elif lease_s and self._left_s(region) <= 0:
            if not _was_lent(before):
                return
            if region.pod is not None:
                region.pod.leaves = True
        else:
            if region.pod is None:
                self.made += 1
                region.pod = Pod(f"{POD}-{self.made}", lent=lease_s > 0)
            carried = self._carry(region, region.pod, lease_s, int_at(before, "leaseSeconds"))
        region.status = {**status, **_lease(before, lease_s, carried=carried)}

    def _is_carried(self, region: Region) -> bool:
        row, status = region.row, region.status
        known = 0 < int_at(status, "leaseSeconds") <= int_at(row, "leaseSeconds") and not status.get("leasePending")
        return known and (bool(row.get("remove")) or status.get("revision") == row["revision"])

    def _carry(self, region: Region, pod: Pod, lease_s: int, before_s: int) -> bool:
        if not lease_s:
            pod.lent, pod.untold = False, ""
            return True
        known = not pod.untold and pod.lent
        if not pod.lent or (pod.untold and untold_lease_s(pod.untold) != lease_s):
            pod.lent, pod.untold = True, untold_mark(lease_s, f"{self.chance.getrandbits(32):x}")
        if before_s <= lease_s:
            region.longer_until_s = None
        elif region.longer_until_s is None:
            region.longer_until_s = self.now_s + before_s
        return known and (region.longer_until_s is None or self.now_s >= region.longer_until_s)

    def told(self, pod: Pod, question: Question) -> None:
        """The gateway goes by the lease."""
        if pod.untold and question.untold == pod.untold:
            pod.untold = ""

    # --- a gateway ---

    def _gateway(self, region: Region, *, calm: bool) -> None:
        gateway, now_s = region.gateway, self.now_s - region.gateway.born_s
        in_touch = region.alive and gateway.linked
        if gateway.ending_until_s is not None and self.now_s >= gateway.ending_until_s:
            gateway.running, gateway.ending_until_s = "", None
        if in_touch and self.chance.random() < 0.3:
            self._hold(region)
        pod = gateway.pod
        if pod is None:
            return
        if pod.lent:
            self._ask(region, pod, now_s, in_touch=in_touch, calm=calm)
        left_s = gateway.lending.left_s(pod.uid, pod.untold, now_s) if pod.lent else None
        if pod.leaves or left_s == 0:
            if gateway.running and gateway.ending_until_s is None:
                if not pod.leaves and pod.untold and pod.untold not in gateway.sent:
                    raise BrokenError(f"at {self.now_s:g} s {region.name} stops by a mark what nobody asked for")
                gateway.ending_until_s = self.now_s + GRACE_S
        elif not gateway.running:
            gateway.running = pod.uid
            gateway.starts += 1

    def _hold(self, region: Region) -> None:
        """The view is here: a pod that is gone there, or leaves, is gone here when nothing of it runs."""
        gateway = region.gateway
        wanted = region.pod
        if wanted is not None and not wanted.leaves:
            gateway.pod = wanted.copy()
        elif gateway.pod is not None:
            gateway.pod.leaves = True
            if not gateway.running:
                gateway.pod = None

    def _ask(self, region: Region, pod: Pod, now_s: float, *, in_touch: bool, calm: bool) -> None:
        gateway = region.gateway
        question = gateway.question
        if question is not None and not question.has_arrived and self.now_s >= question.arrives_s:
            question.has_arrived = True
            if in_touch and region.pod is not None and region.pod.uid == question.uid:
                self.told(region.pod, question)
                question.left_s = self._left_s(region)
        if question is not None and self.now_s >= question.answer_s:
            gateway.question = None
            if in_touch:
                left = {question.uid: question.left_s} if question.left_s > 0 else {}
                asked = {question.uid: question.untold}
                gateway.lending.answered(left, asked=asked, asked_s=question.asked_s, now_s=now_s)
                gateway.disk = gateway.lending.shown()
                gateway.ask_at_s = now_s + gateway.lending.ask_again_s({pod.uid: pod.untold}, now_s)
        if gateway.question is None and now_s >= gateway.ask_at_s and gateway.linked:
            if gateway.lending.asks({pod.uid: pod.untold}, now_s):
                gateway.asked_disk = gateway.lending.shown_asked()
            gateway.sent.add(pod.untold)
            there_s = self.now_s + self.chance.choice([0, 1] if calm else [0, 1, 5, 40])
            back_s = there_s + self.chance.choice([0, 1] if calm else [0, 1, 5, 20])
            gateway.question = Question(now_s, pod.uid, pod.untold, there_s, back_s)
            gateway.ask_at_s = now_s + 10


def _was_lent(status: JsonObject) -> bool:
    return bool(int_at(status, "leaseSeconds")) and (not status.get("leasePending") or bool_at(status, "lent"))


def _lease(before: JsonObject, lease_s: int, *, carried: bool) -> JsonObject:
    if not lease_s:
        return {}
    if carried:
        return {"leaseSeconds": lease_s}
    found: JsonObject = {"leaseSeconds": max(int_at(before, "leaseSeconds"), lease_s), "leasePending": True}
    return {**found, "lent": True} if _was_lent(before) else found
