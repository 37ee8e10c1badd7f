"""Which hubs live, as one of several sees it: pure.

Each hub renews a Lease of its own. Another one never compares that Lease's times with its own clock, which may be
off by anything: it notes when, by its own clock, it saw the Lease change last, and takes for dead a hub whose Lease
did not change for as long as it says. So a hub that is seen for the first time has all of that time before it.
Keeps what it saw; lost in a crash.
"""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, ensure_map, int_at, map_at, str_at
from skerry.objects.meta import annotations_of, name_of, namespace_of

NAMESPACE: Final = "kube-system"
ALONE: Final = "skerry-hub"
"""Name of the Lease of a hub that shares its store with none."""
_PREFIX: Final = f"{ALONE}-"
ADDRESS: Final = "skerry.dev/replica-address"
"""Annotation of a hub's Lease: HOST:PORT where the other replicas reach this one's API."""
_DURATION_S_MAX: Final = 3600
"""Whatever a Lease says: a hub that is believed in for a day would hold up what must be said of its nodes."""


class HubLease(Frozen):
    """What the Lease of one of several hubs says."""

    hub: str
    duration_s: int
    renewed: str
    """By the hub's own clock; here only ever compared for being another."""
    address: str


def lease_name(hub: str) -> str:
    """Of the Lease of a hub; "" for the one that is alone."""
    return _PREFIX + hub if hub else ALONE


def hub_lease(lease: JsonObject) -> HubLease | None:
    """What a Lease object says; None for one that is no hub's, or of the hub that is alone."""
    name = name_of(lease)
    if namespace_of(lease) != NAMESPACE or not name.startswith(_PREFIX):
        return None
    return HubLease(
        hub=name.removeprefix(_PREFIX),
        duration_s=min(max(1, int_at(lease, "spec", "leaseDurationSeconds")), _DURATION_S_MAX),
        renewed=str_at(lease, "spec", "renewTime"),
        address=annotations_of(lease).get(ADDRESS, ""),
    )


def renewed_lease(lease: JsonObject, *, now: str, duration_s: int, address: str) -> JsonObject:
    """The Lease as its hub renews it."""
    new: JsonObject = {**lease, "spec": {**map_at(lease, "spec")}}
    spec = ensure_map(new, "spec")
    spec["holderIdentity"] = name_of(lease)
    spec["leaseDurationSeconds"] = duration_s
    spec["renewTime"] = now
    spec.setdefault("acquireTime", now)
    if address:
        annotations = {**map_at(lease, "metadata", "annotations"), ADDRESS: address}
        new["metadata"] = {**map_at(lease, "metadata"), "annotations": annotations}
    return new


class Peers:
    """The other hubs, as seen so far."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[HubLease, float]] = {}
        """By hub: its Lease, and since when it has been so."""

    def see(self, lease: HubLease, now_s: float) -> None:
        """Take note of a Lease as it is now."""
        held = self._seen.get(lease.hub)
        if held is None or held[0] != lease:
            self._seen[lease.hub] = (lease, now_s)

    def forget(self, hub: str) -> None:
        """Its Lease is not there any more."""
        self._seen.pop(hub, None)

    def lives(self, hub: str, now_s: float) -> bool:
        held = self._seen.get(hub)
        return held is not None and now_s < held[1] + held[0].duration_s

    def address(self, hub: str) -> str:
        """HOST:PORT, as the hub says; "" where it says nothing, or is not known."""
        held = self._seen.get(hub)
        return held[0].address if held is not None else ""

    def living(self, now_s: float) -> list[str]:
        """Those whose Lease has not ended, by name."""
        return sorted(hub for hub in self._seen if self.lives(hub, now_s))

    def dead(self, now_s: float) -> list[str]:
        """Those whose Lease has ended."""
        return [hub for hub in self._seen if not self.lives(hub, now_s)]

    def next_end_s(self, now_s: float) -> float | None:
        """When the next Lease ends that has not ended yet, if nothing is seen of it; None: there is none."""
        ends = [since_s + lease.duration_s for lease, since_s in self._seen.values()]
        return min((end_s for end_s in ends if end_s > now_s), default=None)
