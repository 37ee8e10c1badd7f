"""How much longer this gateway may run pods that are lent to it: pure.

An answer lends from when it was asked for, so that what was long on its way lends less. Time is the machine's own,
which nobody sets, and which begins anew with each boot: what was written down in another boot is worth nothing. So
after a power cut nothing that is lent runs until the cloud has answered; after a restart of the agent it goes on.

What ran before it was lent runs on until it is asked for the first time: nobody counts on its end before. From then
on it has the time that its mark names, answer or none, since the question may have arrived (docs/decisions/0500).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, int_at, map_at, str_at
from skerry.objects.pod_leases import untold_lease_s

ASKS: Final = 5
"""Questions in the time that is left, so that one that is lost ends nothing."""
ASK_S_MIN: Final = 1.0
ASK_S_MAX: Final = 60.0
REFUSED_S_MAX: Final = 15.0
"""Between questions for what is not lent now, at most."""


class Asked(Frozen):
    """It was asked for by this mark."""

    untold: str
    end_s: float
    """Until when it may run without an answer; 0: that is not known, as it was in another boot."""


class Lending:
    """Until when each pod may run, by uid, monotonic. `untold`: what a pod's mark says while nobody counts on its end
    (`skerry.objects.pod_leases.UNTOLD`); "" where somebody may."""

    def __init__(self, boot_id: str, kept: JsonObject, kept_asked: JsonObject | None = None) -> None:
        """`kept`: as `shown` gave it; `kept_asked`: as `shown_asked` did."""
        self._boot_id = boot_id
        ends = map_at(kept, "endsMs") if self._is_now(kept) else {}
        self._ends_s = {uid: int_at(ends, uid) / 1000 for uid in ends}
        asked, is_now = map_at(kept_asked or {}, "asked"), self._is_now(kept_asked or {})
        self.asked: Mapping[str, Asked] = {
            uid: Asked(
                untold=str_at(asked, uid, "untold"), end_s=int_at(asked, uid, "endMs") / 1000 if is_now else 0.0
            )
            for uid in asked
        }
        """The last mark by which each was asked for."""
        self._refused = 0

    def _is_now(self, kept: JsonObject) -> bool:
        return bool(self._boot_id) and str_at(kept, "boot") == self._boot_id

    def left_s(self, uid: str, untold: str, now_s: float) -> float | None:
        """Seconds; 0: it may not run. None: nobody counts on its end."""
        asked = self.asked.get(uid)
        if untold and (asked is None or asked.untold != untold):
            return None
        end_s = max(self._ends_s.get(uid, 0.0), 0.0 if asked is None else asked.end_s)
        return max(0.0, end_s - now_s)

    def over_s(self, uid: str, untold: str, now_s: float) -> float:
        """How long ago its lease came to its end; 0 where it has not. Of one that was not lent in this boot, as far
        as that was written down, it ended before the boot."""
        if self.left_s(uid, untold, now_s) != 0:
            return 0.0
        asked = self.asked.get(uid)
        return now_s - max(self._ends_s.get(uid, 0.0), 0.0 if asked is None else asked.end_s)

    def asks(self, pods: Mapping[str, str], asked_s: float) -> bool:
        """They are to be asked for, as their marks say; whether that is new of any."""
        new = {
            uid: Asked(untold=untold, end_s=asked_s + untold_lease_s(untold))
            for uid, untold in pods.items()
            if self.left_s(uid, untold, asked_s) is None
        }
        self.asked = {**self.asked, **new}
        return bool(new)

    def doubt(self, pods: Mapping[str, str]) -> None:
        """They may have been asked for, and it is forgotten."""
        self.asked = {**self.asked, **{uid: Asked(untold=untold, end_s=0.0) for uid, untold in pods.items()}}

    def answered(
        self, left_s: Mapping[str, float], *, asked: Mapping[str, str], asked_s: float, now_s: float
    ) -> None:
        """Take in an answer to a question of `asked_s`. What an earlier one lent stays lent: nobody begins before it
        is over."""
        for uid, length_s in left_s.items():
            if uid in asked:
                self._ends_s[uid] = max(self._ends_s.get(uid, 0.0), asked_s + length_s)
        refused = any(not self.left_s(uid, untold, now_s) for uid, untold in asked.items())
        self._refused = min(self._refused + 1, 10) if refused else 0

    def keep(self, uids: Collection[str]) -> None:
        """Forget all others."""
        self._ends_s = {uid: end_s for uid, end_s in self._ends_s.items() if uid in uids}
        self.asked = {uid: each for uid, each in self.asked.items() if uid in uids}

    def ask_again_s(self, pods: Mapping[str, str], now_s: float) -> float:
        """After an answer, or none."""
        left = [left_s for uid, untold in pods.items() if (left_s := self.left_s(uid, untold, now_s))]
        waits = [min(left) / ASKS] if left else []
        if len(left) < len(pods):
            waits.append(min(2.0**self._refused, REFUSED_S_MAX))
        return min(max(min(waits, default=ASK_S_MAX), ASK_S_MIN), ASK_S_MAX)

    def hasten(self) -> None:
        """Ask soon: something is otherwise than it was when nothing was lent."""
        self._refused = 0

    def shown(self) -> JsonObject:
        """To be written down. Downwards: less is lent than was."""
        ends: dict[str, Json] = {uid: int(end_s * 1000) for uid, end_s in sorted(self._ends_s.items())}
        return {"boot": self._boot_id, "endsMs": ends}

    def shown_asked(self) -> JsonObject:
        """The same of what was asked for."""
        asked: dict[str, Json] = {
            uid: {"untold": each.untold, "endMs": int(each.end_s * 1000)} for uid, each in sorted(self.asked.items())
        }
        return {"boot": self._boot_id, "asked": asked}
