"""How much longer this gateway may run pods that are lent to it: pure.

An answer lends from when it was asked for, so that what was long on its way lends less. Time is the machine's own,
which nobody sets, and which begins anew with each boot: what was written down in another boot is worth nothing. So
after a power cut nothing that is lent runs until the cloud has answered; after a restart of the agent it goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from skerry.objects.json import Json, JsonObject, int_at, map_at, str_at

ASKS: Final = 5
"""Questions in the time that is left, so that one that is lost ends nothing."""
ASK_S_MIN: Final = 1.0
ASK_S_MAX: Final = 60.0
REFUSED_S_MAX: Final = 15.0
"""Between questions for what is not lent now, at most."""


class Lending:
    """Until when each pod may run, by uid, monotonic."""

    def __init__(self, boot_id: str, kept: JsonObject) -> None:
        """`kept`: as `shown` gave it."""
        self._boot_id = boot_id
        ends = map_at(kept, "endsMs") if boot_id and str_at(kept, "boot") == boot_id else {}
        self._ends_s = {uid: int_at(ends, uid) / 1000 for uid in ends}
        self._refused = 0

    def left_s(self, uid: str, now_s: float) -> float:
        """Seconds; 0: it may not run."""
        return max(0.0, self._ends_s.get(uid, now_s) - now_s)

    def answered(self, left_s: Mapping[str, float], *, asked: Collection[str], asked_s: float, now_s: float) -> None:
        """Take in an answer to a question of `asked_s`. What an earlier one lent stays lent: nobody begins before it
        is over."""
        for uid, length_s in left_s.items():
            if uid in asked:
                self._ends_s[uid] = max(self._ends_s.get(uid, 0.0), asked_s + length_s)
        refused = any(self.left_s(uid, now_s) <= 0 for uid in asked)
        self._refused = min(self._refused + 1, 10) if refused else 0

    def keep(self, uids: Collection[str]) -> None:
        """Forget all others."""
        self._ends_s = {uid: end_s for uid, end_s in self._ends_s.items() if uid in uids}

    def ask_again_s(self, uids: Collection[str], now_s: float) -> float:
        """After an answer, or none."""
        left = [left_s for uid in uids if (left_s := self.left_s(uid, now_s)) > 0]
        waits = [min(left) / ASKS] if left else []
        if len(left) < len(uids):
            waits.append(min(2.0**self._refused, REFUSED_S_MAX))
        return min(max(min(waits, default=ASK_S_MAX), ASK_S_MIN), ASK_S_MAX)

    def hasten(self) -> None:
        """Ask soon: something is otherwise than it was when nothing was lent."""
        self._refused = 0

    def shown(self) -> JsonObject:
        """To be written down. Downwards: less is lent than was."""
        ends: dict[str, Json] = {uid: int(end_s * 1000) for uid, end_s in sorted(self._ends_s.items())}
        return {"boot": self._boot_id, "endsMs": ends}
