"""Who keeps an object that its policy has given to others: until those have it in order, or for so long. Pure.

A move that took the old copy away first would be an outage that nobody asked for: the new members pull images, wait
for claims, or have no room after all. So of what may run in two members at once the old copy stays meanwhile, also
that of a member which is silent: is it heard again before the others are ready, it never stopped. What may run once
alone is never handed over so: there the old copy ends first (`policy_controller`).

(Karmada's graceful eviction does the same, with ten minutes at the most.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from cloudcore.federation.planner import Row
from cloudcore.federation.policy_lookup import Chosen
from cloudcore.federation.readiness import told_readiness
from skerry.frozen import Frozen

_REPLICAS: Final = "/spec/replicas"
_NAMED_MAX: Final = 5


class Handover(Frozen):
    keepers: Mapping[str, str]
    """Members that keep it meanwhile, and why."""
    again_s: float | None = None
    """When the time of one that is waited for is over; None where nobody keeps anything."""


NOBODY: Final = Handover(keepers={})


def handover(
    chosen: Chosen | None, where: Collection[str], rows: Mapping[str, Row], heard: Collection[str], *, now_ms: int
) -> Handover:
    """`where`: members where the object may be at all; `rows`: of the ledger, by member; `heard`: members that are.

    A member that was chosen is waited for during the first `handover_s` that it has its seat: what is out of order in
    others was so before, and keeps nobody.
    """
    if chosen is None or chosen.lease_s or not chosen.handover_s:
        return NOBODY
    keepers = [
        name for name in where if name in rows and name not in chosen.members and not rows[name].wanted.removal
    ]
    if not keepers:
        return NOBODY
    left_ms = {
        name: min(chosen.handover_s * 1000, seated_ms + chosen.handover_s * 1000 - now_ms)
        for name, seated_ms in chosen.since_ms.items()
    }
    awaited = {
        name: ms for name, ms in left_ms.items() if ms > 0 and not _in_order(rows.get(name), heard=name in heard)
    }
    if not awaited:
        return NOBODY
    named = ", ".join(sorted(awaited)[:_NAMED_MAX]) + (" and others" if len(awaited) > _NAMED_MAX else "")
    why = f"keeps it until {named} has it in order, for {chosen.handover_s} s at most"
    return Handover(keepers=dict.fromkeys(sorted(keepers), why), again_s=max(1.0, min(awaited.values()) / 1000))


def _in_order(row: Row | None, *, heard: bool) -> bool:
    if row is None or not heard or row.wanted.removal or not row.current:
        return False
    retains = _REPLICAS in row.wanted.retain
    return told_readiness(row.wanted.manifest, row.told, retains_replicas=retains).health == "ready"
