"""When this gateway runs short of memory, disk or process ids, and whether pods may begin then: pure.

The way of a kubelet's eviction manager: thresholds are met, hard ones at once and soft ones when their grace is over;
a condition of the node is held until it was not seen for the transition period; one threshold at a time is answered.
(Kubernetes documentation, "Node-pressure Eviction".) Keeps nothing: a restarted agent begins to count anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final, Literal, TypeAlias

from edgecore.pods.qos import qos_class
from skerry.frozen import Frozen, field
from skerry.objects.json import JsonObject, dig, maps_at, str_at

Signal: TypeAlias = Literal[
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
]
Condition: TypeAlias = Literal["MemoryPressure", "DiskPressure", "PIDPressure"]
CONDITIONS: Final[Mapping[Signal, Condition]] = {
    "memory.available": "MemoryPressure",
    "nodefs.available": "DiskPressure",
    "nodefs.inodesFree": "DiskPressure",
    "imagefs.available": "DiskPressure",
    "imagefs.inodesFree": "DiskPressure",
    "pid.available": "PIDPressure",
}
RESOURCES: Final[Mapping[Signal, str]] = {
    "memory.available": "memory",
    "nodefs.available": "ephemeral-storage",
    "nodefs.inodesFree": "inodes",
    "imagefs.available": "ephemeral-storage",
    "imagefs.inodesFree": "inodes",
    "pid.available": "pids",
}
"""What there is too little of, as messages say it."""
CRITICAL: Final = 2_000_000_000
"""The least priority of what the system needs (`system-cluster-critical`)."""
MEMORY_TAINT: Final = "node.kubernetes.io/memory-pressure"
NEAR: Final = 2
"""At so many times a threshold it is looked at more often."""
_CONFIG_SOURCE: Final = "kubernetes.io/config.source"
_CONFIG_MIRROR: Final = "kubernetes.io/config.mirror"


class Amount(Frozen):
    """Of a resource: a number (bytes, inodes, ids), or a share of all that there is."""

    units: int = 0
    share: float = 0.0

    def of(self, capacity: int) -> int:
        return int(capacity * self.share) if self.share else self.units


class Threshold(Frozen):
    """Met where less than `amount` is available."""

    signal: Signal
    amount: Amount
    grace_s: float = 0.0
    """How long it has to be met before a pod goes for it; 0 makes it a hard one."""
    reclaim: Amount = Amount()
    """What has to be available beyond `amount`, once it was answered."""

    @property
    def is_hard(self) -> bool:
        return self.grace_s == 0.0


class EvictionSettings(Frozen):
    """A kubelet's evictionHard and evictionSoft, and what belongs to them."""

    thresholds: tuple[Threshold, ...] = ()
    transition_s: float = 300.0
    """So long a condition is held after it was seen last: a gateway at the edge of a threshold does not take pods and
    end them in turn."""
    grace_s_max: int = 0
    """What a pod gets to end, at most, when it has to go for a soft threshold."""


NO_EVICTION: Final = EvictionSettings()


class Observation(Frozen):
    """Of one signal."""

    available: int
    capacity: int


Observations: TypeAlias = Mapping[Signal, Observation]
"""What could not be seen is not in it."""


class Watch(Frozen):
    """What one look leaves for the next. Times are monotonic seconds."""

    met_s: Mapping[Threshold, float] = field(default_factory=dict[Threshold, float])
    """Since when each is met."""
    answered: tuple[Threshold, ...] = ()
    """Their grace was over: they stay met until their minimum is reclaimed."""
    seen_s: Mapping[Condition, float] = field(default_factory=dict[Condition, float])
    """When each condition was seen last."""


class Judged(Frozen):
    """What a look says."""

    watch: Watch
    conditions: frozenset[Condition]
    met: tuple[Threshold, ...]
    """Those that are to be answered, the first of them now: memory before all else."""
    near: bool
    """It may be soon: look again before long."""


def judge(settings: EvictionSettings, watch: Watch, seen: Observations, *, now_s: float) -> Judged:
    """The next `Watch`, and what is to be done."""
    unresolved = [each for each in watch.answered if is_met(each, seen, reclaimed=True)]
    met = list(dict.fromkeys([*(each for each in settings.thresholds if is_met(each, seen)), *unresolved]))
    met_s = {each: watch.met_s.get(each, now_s) for each in met}
    seen_s: dict[Condition, float] = dict(watch.seen_s)
    seen_s |= {CONDITIONS[each.signal]: now_s for each in met}
    held: dict[Condition, float] = {
        kind: at_s for kind, at_s in seen_s.items() if at_s == now_s or now_s - at_s < settings.transition_s
    }
    answered = [each for each, since_s in met_s.items() if now_s - since_s >= each.grace_s]
    # A hard one of the same signal first: it says how much haste there is.
    answered.sort(key=lambda each: (each.signal != "memory.available", not each.is_hard))
    return Judged(
        watch=Watch(met_s=met_s, answered=tuple(answered), seen_s=held),
        conditions=frozenset(held),
        met=tuple(answered),
        near=bool(met) or any(_is_near(each, seen) for each in settings.thresholds),
    )


def is_met(threshold: Threshold, seen: Observations, *, reclaimed: bool = False) -> bool:
    """`reclaimed`: as it counts after it was answered, with its minimum on top."""
    now = seen.get(threshold.signal)
    if now is None:
        return False
    extra = threshold.reclaim.of(now.capacity) if reclaimed else 0
    return now.available < threshold.amount.of(now.capacity) + extra


def _is_near(threshold: Threshold, seen: Observations) -> bool:
    now = seen.get(threshold.signal)
    return now is not None and now.available < NEAR * threshold.amount.of(now.capacity)


def is_relieved(settings: EvictionSettings, seen: Observations) -> bool:
    """Nothing is met any more, minimums included: no pod has to go."""
    return not any(is_met(each, seen, reclaimed=True) for each in settings.thresholds)


def is_critical(pod: JsonObject) -> bool:
    """It stays and may begin, whatever there is too little of: what the system needs, and static pods, that nobody
    would start again."""
    return is_static(pod) or priority_of(pod) >= CRITICAL


def is_static(pod: JsonObject) -> bool:
    """It is a file's of the gateway."""
    notes = dig(pod, "metadata", "annotations")
    return isinstance(notes, dict) and (notes.get(_CONFIG_SOURCE, "api") != "api" or _CONFIG_MIRROR in notes)


def priority_of(pod: JsonObject) -> int:
    found = dig(pod, "spec", "priority")
    return found if isinstance(found, int) else 0


def refusal_of(pod: JsonObject, conditions: Set[Condition]) -> str:
    """Why the pod may not begin on a gateway with these conditions, as a kubelet says it; "" where it may."""
    if not conditions or is_critical(pod):
        return ""
    if conditions == {"MemoryPressure"} and (qos_class(pod) != "BestEffort" or _bears_memory_pressure(pod)):
        return ""
    return f"The node had condition: [{' '.join(sorted(conditions))}]. "


def _bears_memory_pressure(pod: JsonObject) -> bool:
    tolerations: Sequence[JsonObject] = maps_at(pod, "spec", "tolerations")
    return any(
        str_at(each, "effect") in ("", "NoSchedule")
        and (
            (str_at(each, "key") in ("", MEMORY_TAINT) and str_at(each, "operator") == "Exists")
            or (str_at(each, "key") == MEMORY_TAINT and not str_at(each, "value"))
        )
        for each in tolerations
    )
