"""What the agent remembers of a pod across its own restarts: one row of the edge store's `pods` table.

Pure. Without it containers would still be adopted (the runtime keeps those), but restart delays would begin anew and
conditions would lose the time of their last change.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgecore.pods.backoff import Backoff
from edgecore.pods.holding import Kept, Stopped
from edgecore.pods.status import Ending
from skerry.frozen import Frozen, field
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
