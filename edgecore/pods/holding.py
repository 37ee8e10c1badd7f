"""What somebody at the gateway holds back: pods that were stopped there, and what the cloud changes meanwhile. Pure.

A stop is of one life of a pod, as it was specified then: it ends when somebody starts the pod, or when the cloud
changes what it is. While upgrades are held, what runs stays as it was: pods that come wait, and what is changed or
deleted goes on as it was before (docs/decisions/0356).
"""

from __future__ import annotations

from edgecore.pods.plan import Waiting
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, bool_at, int_at, map_at, str_at
from skerry.objects.local_changes import HELD, STOPPED, UpgradeHold
from skerry.objects.meta import generation_of
from skerry.objects.times import time_text

_OF_A_DELETION = ("deletionTimestamp", "deletionGracePeriodSeconds")


class Stopped(Frozen):
    """Who stopped a pod here, and as what it was specified then."""

    by: str
    at_ms: int
    generation: int

    def encode(self) -> JsonObject:
        return {"by": self.by, "atMs": self.at_ms, "generation": self.generation}

    @classmethod
    def decode(cls, row: JsonObject) -> Stopped | None:
        if not row:
            return None
        return cls(by=str_at(row, "by"), at_ms=int_at(row, "atMs"), generation=int_at(row, "generation"))

    def waiting(self) -> Waiting:
        text = f"stopped on the gateway by {self.by} at {time_text(self.at_ms)}"
        return Waiting(reason=STOPPED, message=f"{text}, until it is started there or changed")


class Kept(Frozen):
    """How a pod was when upgrades were first held while it was here; `came`: it came only then, and waits."""

    spec: JsonObject
    generation: int
    came: bool = False

    def encode(self) -> JsonObject:
        return {"spec": self.spec, "generation": self.generation, "came": self.came}

    @classmethod
    def decode(cls, row: JsonObject) -> Kept | None:
        if not row:
            return None
        return cls(spec=map_at(row, "spec"), generation=int_at(row, "generation"), came=bool_at(row, "came"))


def kept_of(pod: JsonObject, *, came: bool) -> Kept:
    return Kept(spec=map_at(pod, "spec"), generation=generation_of(pod), came=came)


def as_kept(pod: JsonObject, kept: Kept) -> JsonObject:
    """The pod as it was: one that came meanwhile is as it is, and one of these may be deleted."""
    if kept.came:
        return pod
    metadata = {name: value for name, value in map_at(pod, "metadata").items() if name not in _OF_A_DELETION}
    if kept.generation:
        metadata["generation"] = kept.generation
    return {**pod, "metadata": metadata, "spec": kept.spec}


def held_back(stopped: Stopped | None, kept: Kept | None, hold: UpgradeHold | None) -> Waiting | None:
    """What keeps a pod's containers from running; None for nothing."""
    if stopped is not None:
        return stopped.waiting()
    if kept is not None and kept.came and hold is not None:
        return Waiting(reason=HELD, message=hold.sentence())
    return None
