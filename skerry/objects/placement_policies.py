"""What a PlacementPolicy says, taken apart: choices, spread, failover, leases. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, int_at, map_at, maps_at, str_at
from skerry.objects.select import LabelSelector, label_selector

Failback = Literal["Never", "AfterStable"]
FAILBACKS: Final = ("Never", "AfterStable")
BY: Final = ("region", "zone", "label")
HANDOVER_S: Final = 600
"""How long who had it keeps it at most, where a policy does not say: Karmada's time for a graceful eviction."""
_HANDOVER_S_MAX: Final = 86_400


class Affinity(Frozen):
    """One choice."""

    name: str
    clusters: tuple[str, ...] | None = None
    selector: LabelSelector | None = None

    def matches(self, candidate: Candidate) -> bool:
        if self.clusters is not None and candidate.name not in self.clusters:
            return False
        return self.selector is None or self.selector.matches(candidate.labels)


class Spread(Frozen):
    by: str
    """`region`, `zone` or `label`."""
    label: str = ""
    most: int | None = None
    """In one of them; None: any number."""
    least_groups: int = 1

    def group_of(self, candidate: Candidate) -> str:
        if self.by == "label":
            return candidate.labels.get(self.label, "")
        return candidate.region if self.by == "region" else candidate.zone


class Failover(Frozen):
    after_s: int
    per_minute: int = 1
    freeze_above_percent: int = 50
    failback: Failback = "Never"
    stable_s: int = 600


class Policy(Frozen):
    affinities: tuple[Affinity, ...]
    count: int | None = None
    """None: all of the choice."""
    spreads: tuple[Spread, ...] = ()
    failover: Failover | None = None
    lease_s: int = 0
    """0: it may run more than once."""


class Candidate(Frozen):
    """A member."""

    name: str
    labels: Mapping[str, str]
    region: str
    zone: str
    ready: bool
    since_ms: int
    """When it became ready, or silent."""


class Target(Frozen, kw_only=False):
    kind: str
    name: str = ""
    """"" for all of the kind."""

    def means(self, kind: str, name: str) -> bool:
        return self.kind == kind and self.name in ("", name)


def targets_of(obj: JsonObject) -> tuple[Target, ...]:
    return tuple(Target(str_at(each, "kind"), str_at(each, "name")) for each in maps_at(obj, "spec", "targets"))


def read_policy(obj: JsonObject) -> Policy:
    """Raises `InvalidError` that names the field."""
    spec = map_at(obj, "spec")
    affinities = tuple(_affinity(each, at) for at, each in enumerate(maps_at(spec, "affinities")))
    lease_s = int_at(spec, "atMostOnce", "leaseSeconds") if "atMostOnce" in spec else 0
    count = spec.get("members")
    if "atMostOnce" in spec:
        if not 10 <= lease_s <= 3600:
            raise InvalidError("spec.atMostOnce.leaseSeconds: a number from 10 to 3600")
        if count not in (None, 1):
            raise InvalidError("spec.members: is 1, or not given, where atMostOnce is")
        count = 1
    if not 0 <= int_at(spec, "handoverSeconds") <= _HANDOVER_S_MAX:
        raise InvalidError(f"spec.handoverSeconds: a number from 0 to {_HANDOVER_S_MAX}")
    if count is not None and (not isinstance(count, int) or count < 0):
        raise InvalidError("spec.members: must not be negative")
    return Policy(
        affinities=affinities or (Affinity(name="everywhere"),),
        count=count,
        spreads=tuple(_spread(each, at) for at, each in enumerate(maps_at(spec, "spread"))),
        failover=_failover(spec) if "failover" in spec else None,
        lease_s=lease_s,
    )


def _affinity(said: JsonObject, at: int) -> Affinity:
    try:
        selector = label_selector(said["clusterSelector"]) if said.get("clusterSelector") is not None else None
    except BadRequestError as error:
        raise InvalidError(f"spec.affinities[{at}].clusterSelector.{error}") from error
    names = None
    if said.get("clusters") is not None:
        names = tuple(str_at(each, "name") for each in maps_at(said, "clusters"))
    return Affinity(name=str_at(said, "name") or f"choice {at + 1}", clusters=names, selector=selector)


def _spread(said: JsonObject, at: int) -> Spread:
    by, label = str_at(said, "by"), str_at(said, "label")
    if by not in BY:
        raise InvalidError(f"spec.spread[{at}].by: is one of {', '.join(BY)}")
    if (by == "label") != bool(label):
        raise InvalidError(f"spec.spread[{at}].label: is given where by is label, and only there")
    most = said.get("max")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise InvalidError(f"spec.spread[{at}].max: must be at least 1")
    groups = int_at(said, "min", default=1)
    return Spread(by=by, label=label, most=most if isinstance(most, int) else None, least_groups=groups)


def _failover(spec: JsonObject) -> Failover:
    said = map_at(spec, "failover")
    failback = str_at(said, "failback") or "Never"
    if failback not in FAILBACKS:
        raise InvalidError(f"spec.failover.failback: is one of {', '.join(FAILBACKS)}")
    found = Failover(
        after_s=int_at(said, "afterSeconds", default=300),
        per_minute=int_at(said, "perMinute", default=1),
        freeze_above_percent=int_at(said, "freezeAbovePercent", default=50),
        failback="AfterStable" if failback == "AfterStable" else "Never",
        stable_s=int_at(said, "stableSeconds", default=600),
    )
    for field, value, least, most in (
        ("afterSeconds", found.after_s, 0, 10**8),
        ("perMinute", found.per_minute, 1, 10**6),
        ("freezeAbovePercent", found.freeze_above_percent, 0, 100),
        ("stableSeconds", found.stable_s, 0, 10**8),
    ):
        if not least <= value <= most:
            raise InvalidError(f"spec.failover.{field}: a number from {least} to {most}")
    return found
