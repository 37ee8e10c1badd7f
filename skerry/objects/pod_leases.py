"""What may run only while it is lent, for both ends: which pods that is, and what gateway and cloud say of it. Pure.

A pod that must never run twice in a federation is marked with the row of its region that lends it. A gateway asks its
region's cloud now and then, over a stream, for how much longer it may run the pods that it names. The answer is a
length, counted from when the gateway asked: no clock is compared with another (docs/decisions/0470).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen, field
from skerry.objects.json import (
    Json,
    JsonObject,
    encode_object,
    int_at,
    map_at,
    read_json,
    str_map_at,
    strs_at,
    to_json,
)
from skerry.objects.meta import annotations_of

LEASE: Final = "skerry.dev/lease"
"""Annotation of a pod: the row (RegionObject) by which it is lent."""
UNTOLD: Final = "skerry.dev/lease-untold"
"""Annotation of a pod that ran before it was lent: its gateway has not said yet that it goes by the lease. Names the
seconds of the lease, and chance, by which this mark is told from one before: `60/2f9c`."""
MARKS: Final = (LEASE, UNTOLD)
"""What the system alone writes."""
LEASES: Final = "leases"
"""Kind of the stream, which a gateway opens."""
LEASE_ENDED: Final = "LeaseEnded"
"""Reason of what is stopped, as nobody lends it."""
QUESTION_BYTES_MAX: Final = 64 * 1024
ANSWER_BYTES_MAX: Final = 64 * 1024
PODS_MAX: Final = 1000
"""Of one question; a gateway has a tenth of that."""
_LEFT_MS_MAX: Final = 3_600_000
"""No lease is longer."""


def lease_of(obj: JsonObject) -> str:
    """The row by which a pod is lent; "" where it may run anyhow."""
    return annotations_of(obj).get(LEASE, "")


def untold_of(obj: JsonObject) -> str:
    """What the mark of a pod says while nobody counts on its end; "" where somebody may."""
    return annotations_of(obj).get(UNTOLD, "") if lease_of(obj) else ""


def untold_lease_s(untold: str) -> int:
    """The lease that such a mark names; 0 where it makes no sense."""
    digits = untold.partition("/")[0]
    # (At most as long as any lease, and never more digits than a number has.)
    return min(int(digits), _LEFT_MS_MAX // 1000) if re.fullmatch("[0-9]{1,9}", digits) else 0


def untold_mark(lease_s: int, chance: str) -> str:
    return f"{lease_s}/{chance}"


def without_marks(obj: JsonObject) -> JsonObject:
    """The annotations of a pod that may run anyhow."""
    return {name: value for name, value in annotations_of(obj).items() if name not in MARKS}


class Question(Frozen):
    """For how much longer may these run here?"""

    pods: tuple[str, ...]
    """Uids."""
    untold: Mapping[str, str] = field(default_factory=dict[str, str])
    """By uid, the mark (`UNTOLD`) by which the gateway goes from now on, answer or none."""

    def encode(self) -> bytes:
        asked: list[Json] = [*sorted(self.pods)[:PODS_MAX]]
        return encode_object({"pods": asked, **({"untold": to_json(self.untold)} if self.untold else {})})

    @classmethod
    def decode(cls, body: bytes) -> Question:
        """Raises `BadRequestError`."""
        try:
            asked = read_json(body)
        except InvalidError as error:
            raise BadRequestError("a question for leases is a JSON object with the uids of pods") from error
        uids = strs_at(asked, "pods")
        if len(uids) > PODS_MAX:
            raise BadRequestError(f"a question for {len(uids)} pods: at most {PODS_MAX}")
        return cls(pods=tuple(uids), untold=str_map_at(asked, "untold"))


def answer(left_ms: Mapping[str, int]) -> bytes:
    """By uid. Who is not named is not lent."""
    return encode_object({"leftMs": dict[str, Json](left_ms)})


def left_of(body: bytes) -> dict[str, float]:
    """Seconds by uid, as an answer says. Raises `InvalidError` for one that makes no sense."""
    told = map_at(read_json(body, "the answer"), "leftMs")
    found = {uid: int_at(told, uid) for uid in told}
    return {uid: min(ms, _LEFT_MS_MAX) / 1000 for uid, ms in found.items() if ms > 0}
