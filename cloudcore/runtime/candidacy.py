"""Who leads among several replicas: the rules that one candidate follows. Pure: the lease and `now` go in, a lease
comes out.

They are those of client-go (k8s.io/client-go/tools/leaderelection), on the same kind of Lease. A candidate never
compares another clock with its own: it notes when, by its own clock, it saw the lease change last, and takes over one
that did not change for the whole of its duration. A leader that could not renew for `renew_s_max` leads no longer,
before the lease ends by anybody's clock. Keeps no data.
"""

from __future__ import annotations

from skerry.frozen import Frozen, replace
from skerry.objects.json import Json, JsonObject, ensure_map, int_at, map_at, str_at


class ElectionSettings(Frozen):
    """The defaults are those of Kubernetes' own controllers (`--leader-elect-lease-duration` and its neighbours)."""

    lease_s: int = 15
    """How long a lease holds that is not renewed: what the death of a leader costs."""
    renew_s_max: float = 10.0
    """How long a leader goes on that can't renew: less than the lease, by more than any clock drifts in that time."""
    retry_s: float = 2.0
    """Between two attempts to take or renew."""


class LeaseRecord(Frozen):
    """What the Lease says."""

    holder: str
    """Empty: nobody."""
    duration_s: int
    transitions: int
    """How often it went to another holder."""
    acquired: str
    """The holder's own time of taking it; for people."""
    renewed: str
    """The holder's own time of its last renewal; here only ever compared for being another."""


class Observed(Frozen):
    """A lease as a candidate sees it, and since when it has been so, by the candidate's monotonic clock."""

    record: LeaseRecord | None
    """None: there is no lease."""
    since_s: float


def record_of(lease: JsonObject) -> LeaseRecord:
    """What a Lease object says; what it does not say is empty or 0."""
    spec = map_at(lease, "spec")
    return LeaseRecord(
        holder=str_at(spec, "holderIdentity"),
        duration_s=int_at(spec, "leaseDurationSeconds"),
        transitions=int_at(spec, "leaseTransitions"),
        acquired=str_at(spec, "acquireTime"),
        renewed=str_at(spec, "renewTime"),
    )


def with_record(lease: JsonObject, record: LeaseRecord) -> JsonObject:
    """The Lease object as it says that; everything else in it stays."""
    new: JsonObject = {**lease, "spec": {**map_at(lease, "spec")}}
    told: dict[str, Json] = {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.duration_s,
        "leaseTransitions": record.transitions,
        "acquireTime": record.acquired,
        "renewTime": record.renewed,
    }
    ensure_map(new, "spec").update(told)
    return new


def observe(seen: Observed | None, record: LeaseRecord | None, now_s: float) -> Observed:
    """Take note of the lease as it is now."""
    return seen if seen is not None and seen.record == record else Observed(record=record, since_s=now_s)


def free_at_s(seen: Observed, me: str) -> float:
    """From when on this candidate may take the lease."""
    record = seen.record
    if record is None or record.holder in ("", me):
        return seen.since_s
    return seen.since_s + record.duration_s


def claim(seen: Observed, me: str, *, now: str, settings: ElectionSettings) -> LeaseRecord:
    """The lease as this candidate takes it, or renews it; `now` as the Lease says times."""
    mine = LeaseRecord(holder=me, duration_s=settings.lease_s, transitions=0, acquired=now, renewed=now)
    old = seen.record
    if old is None:
        return mine
    if old.holder == me:
        return replace(mine, transitions=old.transitions, acquired=old.acquired)
    return replace(mine, transitions=old.transitions + 1)


def released(record: LeaseRecord, *, now: str) -> LeaseRecord:
    """The lease as its holder leaves it: free at once (as client-go has it: no holder, and one second)."""
    return replace(record, holder="", duration_s=1, renewed=now)


def leads_until_s(renewed_s: float, settings: ElectionSettings) -> float:
    """How long a leader may go on whose last renewal was begun at `renewed_s`."""
    return renewed_s + settings.renew_s_max
