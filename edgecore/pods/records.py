"""What the agent remembers of a pod across its own restarts: one row of the edge store's `pods` table.

Pure. Without it containers would still be adopted (the runtime keeps those), but restart delays would begin anew and
conditions would lose the time of their last change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgecore.pods.backoff import Backoff
from edgecore.pods.holding import Kept, Stopped
from edgecore.pods.status import Ending
from skerry.frozen import Frozen, field, replace
from skerry.objects.json import (
    Json,
    JsonObject,
    bool_at,
    decode_object,
    encode_object,
    float_at,
    int_at,
    map_at,
    str_at,
)
from skerry.objects.meta import Key

CLOCKLESS_MS: Final = 1_577_836_800_000
"""The beginning of 2020: a clock that says less knows nothing."""
SET_MS: Final = 10_000
"""A clock that is off by more was set; less is how clocks run."""


class Instant(Frozen):
    """Now, by both clocks."""

    wall_ms: int
    boot: str
    """Which boot it is; "" where nobody knows."""
    up_ms: int


class PodRecord(Frozen):
    """See the module. `status` is what was told the cloud last; `gone`, that it was told that nothing is left."""

    namespace: str
    name: str
    start_ms: int
    grace_s: float
    """Of the pod as last seen: what a pod gets that the cloud has already forgotten."""
    backoff: Mapping[str, Backoff]
    status: JsonObject
    gone: bool
    epoch: str = ""
    """The cloud's epoch in which that was told: a restored cloud does not know it, and is told again."""

    told_uid: str = ""
    """By which the cloud knew it then: a mirror's, of a static pod; "": it was told nothing."""

    stopped: Stopped | None = None
    """Somebody stopped it here; None where nobody did."""
    kept: Kept | None = None
    """How it was when upgrades were held here; None while they are not."""
    restarts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Runs that somebody wants to end, by container: what follows them starts without delay."""

    start_boot: str = ""
    """Of the boot in which it started; "" for not known."""
    start_up_ms: int = 0
    """When, by that boot's own clock, which nobody sets."""

    ending_ms: int = 0
    """Since when it is to end; 0: it is not."""
    ending: Ending | None = None
    """Why this gateway ended it for good; None where it did not, or where it is deleted."""

    allocated: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """`resources` by container: what the gateway agreed to, whatever the pod wishes since."""
    given: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """By the id of running containers: what they were given last."""

    @classmethod
    def new(cls, key: Key, *, now_ms: int, grace_s: float) -> PodRecord:
        """Of a pod of which nothing is known yet."""
        return cls(
            namespace=key.namespace,
            name=key.name,
            start_ms=now_ms,
            grace_s=grace_s,
            backoff={},
            status={},
            gone=False,
        )

    def begun(self, now: Instant) -> PodRecord:
        """A new one, of a pod that starts now."""
        return replace(self, start_boot=now.boot, start_up_ms=now.up_ms)

    def dated(self, now: Instant) -> PodRecord:
        """With its start as the wall clock has it now: a pod that started in 1970, by a clock that was set since, has
        not been active for decades, and one that started in 2040 does not live for ever."""
        if not now.boot:
            return self
        if self.start_boot == now.boot:
            start_ms = now.wall_ms - (now.up_ms - self.start_up_ms)
            return replace(self, start_ms=start_ms) if abs(start_ms - self.start_ms) > SET_MS else self
        is_sound = CLOCKLESS_MS <= self.start_ms <= now.wall_ms + SET_MS
        if is_sound or now.wall_ms < CLOCKLESS_MS:
            return self
        return replace(self, start_ms=now.wall_ms, start_boot=now.boot, start_up_ms=now.up_ms)

    def encode(self) -> bytes:
        backoff: JsonObject = {
            name: {"delayS": wait.delay_s, "atMs": wait.at_ms} for name, wait in sorted(self.backoff.items())
        }
        ending: JsonObject | None = None
        if self.ending is not None:
            ending = {
                "reason": self.ending.reason,
                "message": self.ending.message,
                "disrupted": self.ending.disrupted,
                "refused": self.ending.refused,
            }
        return encode_object(
            {
                "namespace": self.namespace,
                "name": self.name,
                "startMs": self.start_ms,
                "startBoot": self.start_boot,
                "startUpMs": self.start_up_ms,
                "graceS": self.grace_s,
                "backoff": backoff,
                "status": self.status,
                "gone": self.gone,
                "epoch": self.epoch,
                "toldUid": self.told_uid,
                "stopped": None if self.stopped is None else self.stopped.encode(),
                "kept": None if self.kept is None else self.kept.encode(),
                "restarts": {**self.restarts},
                "endingMs": self.ending_ms,
                "ending": ending,
                "allocated": dict[str, Json](self.allocated),
                "given": dict[str, Json](self.given),
            }
        )

    @classmethod
    def decode(cls, body: bytes) -> PodRecord:
        row = decode_object(body)
        waits, ending = map_at(row, "backoff"), map_at(row, "ending")
        return cls(
            namespace=str_at(row, "namespace"),
            name=str_at(row, "name"),
            start_ms=int_at(row, "startMs"),
            start_boot=str_at(row, "startBoot"),
            start_up_ms=int_at(row, "startUpMs"),
            grace_s=float_at(row, "graceS"),
            backoff={
                name: Backoff(delay_s=int_at(waits, name, "delayS"), at_ms=int_at(waits, name, "atMs"))
                for name in waits
            },
            status=map_at(row, "status"),
            gone=bool_at(row, "gone"),
            epoch=str_at(row, "epoch"),
            told_uid=str_at(row, "toldUid"),
            stopped=Stopped.decode(map_at(row, "stopped")),
            kept=Kept.decode(map_at(row, "kept")),
            restarts={name: int_at(row, "restarts", name) for name in map_at(row, "restarts")},
            ending_ms=int_at(row, "endingMs"),
            ending=Ending(
                reason=str_at(ending, "reason"),
                message=str_at(ending, "message"),
                disrupted=bool_at(ending, "disrupted"),
                refused=bool_at(ending, "refused"),
            )
            if ending
            else None,
            allocated={name: map_at(row, "allocated", name) for name in map_at(row, "allocated")},
            given={name: map_at(row, "given", name) for name in map_at(row, "given")},
        )


def is_decision(body: bytes) -> bool:
    """A record without which the pod would run otherwise: somebody stopped or holds it, or it has ended for good."""
    record = PodRecord.decode(body)
    ended = str_at(record.status, "phase") in ("Succeeded", "Failed")
    return ended or record.stopped is not None or record.kept is not None or record.ending is not None
