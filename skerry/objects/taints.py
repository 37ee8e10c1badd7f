"""Taints of nodes, and which pods bear them (core/v1 Taint, Toleration). Pure; keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, dig, maps_at, str_at

NO_EXECUTE: Final = "NoExecute"
"""Who does not bear it does not come, and who is there goes."""


class Taint(Frozen, kw_only=False):
    key: str
    value: str
    effect: str


class Toleration(Frozen, kw_only=False):
    """core/v1 Toleration. "" for key or effect means any."""

    key: str
    operator: str
    value: str
    effect: str
    seconds: int | None = None
    """How long a taint of the effect NoExecute is borne; None: for good."""

    def tolerates(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        # An empty key needs Exists; anything else compares values.
        return bool(self.key) and self.value == taint.value


def taints_of(node: JsonObject) -> tuple[Taint, ...]:
    return tuple(
        Taint(str_at(taint, "key"), str_at(taint, "value"), str_at(taint, "effect"))
        for taint in maps_at(node, "spec", "taints")
    )


def tolerations_of(pod: JsonObject) -> tuple[Toleration, ...]:
    return tuple(_toleration(found) for found in maps_at(pod, "spec", "tolerations"))


def _toleration(found: JsonObject) -> Toleration:
    seconds = dig(found, "tolerationSeconds")
    return Toleration(
        key=str_at(found, "key"),
        operator=str_at(found, "operator") or "Equal",
        value=str_at(found, "value"),
        effect=str_at(found, "effect"),
        seconds=seconds if isinstance(seconds, int) else None,
    )


def are_borne(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> bool:
    """Each of them, for a while at least."""
    return all(any(toleration.tolerates(taint) for toleration in tolerations) for taint in taints)


def borne_s(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> int | None:
    """How long a pod stays with these taints: the least that is said by the tolerations that count; 0 where it lacks
    one; None for good. Of each taint the first toleration that bears it counts, whatever later ones say
    (`GetMatchingTolerations`, component-helpers/scheduling/corev1)."""
    used = [next((each for each in tolerations if each.tolerates(taint)), None) for taint in taints]
    if None in used:
        return 0
    return min((max(each.seconds, 0) for each in used if each and each.seconds is not None), default=None)
