"""Members, federated types, preferences, and the rows of a member's ledger. Pure."""

from __future__ import annotations

from typing import Final

from skerry.forms.tables.table import NONE, Printer, age, columns
from skerry.objects.conditions import condition_of
from skerry.objects.federation import CORE_GROUP, PULL, PUSH, SCHEDULING_GROUP
from skerry.objects.json import Json, JsonObject, bool_at, int_at, maps_at, str_at, strs_at
from skerry.objects.strays import is_stray
from skerry.objects.times import human_duration, ms_at


def _member(obj: JsonObject, now_ms: int) -> list[Json]:
    ready = condition_of(obj, "Ready") or {}
    objects = ("status", "objects")
    return [
        str_at(obj, "metadata", "name"),
        age(obj, now_ms),
        str_at(ready, "status") or "Unknown",
        str_at(obj, "spec", "syncMode") or PUSH,
        int_at(obj, *objects, "wanted"),
        int_at(obj, *objects, "pending"),
        int_at(obj, *objects, "failing"),
        int_at(obj, *objects, "cleanup"),
        _since(str_at(obj, "status", "observedAt"), now_ms),
        str_at(obj, "spec", "apiEndpoint") or (NONE if str_at(obj, "spec", "syncMode") == PULL else ""),
        str_at(obj, "status", "region") or NONE,
        ",".join(strs_at(obj, "status", "zones")) or NONE,
    ]


def _type(obj: JsonObject, now_ms: int) -> list[Json]:
    spec, status = ("spec",), ("status",)
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, *spec, "federatedType", "kind"),
        str_at(obj, *spec, "propagation"),
        str_at(obj, *status, "propagationController") or NONE,
        age(obj, now_ms),
        str_at(obj, *status, "message") or NONE,
    ]


def _preference(obj: JsonObject, now_ms: int) -> list[Json]:
    placed = sum(int_at(each, "replicas") for each in maps_at(obj, "status", "clusters"))
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "targetKind"),
        int_at(obj, "spec", "totalReplicas"),
        placed,
        int_at(obj, "status", "unplaced"),
        age(obj, now_ms),
        str_at(obj, "status", "message") or NONE,
    ]


def _placement_policy(obj: JsonObject, now_ms: int) -> list[Json]:
    frozen = condition_of(obj, "Frozen") or {}
    return [
        str_at(obj, "metadata", "name"),
        _targets(obj),
        str_at(obj, "status", "choice") or NONE,
        len(maps_at(obj, "status", "placed")),
        str_at(condition_of(obj, "Placed") or {}, "status") or "Unknown",
        str_at(frozen, "status") or "Unknown",
        "yes" if bool_at(obj, "spec", "dryRun") else "no",
        age(obj, now_ms),
        str_at(obj, "status", "message") or NONE,
    ]


def _rollout_policy(obj: JsonObject, now_ms: int) -> list[Json]:
    waves = [str_at(each, "name") for each in maps_at(obj, "spec", "waves")]
    phases = [str_at(each, "phase") for each in maps_at(obj, "status", "targets")]
    return [
        str_at(obj, "metadata", "name"),
        _targets(obj),
        ",".join(waves) or NONE,
        len(phases),
        sum(phase == "Complete" for phase in phases),
        "yes" if bool_at(obj, "spec", "paused") else "no",
        "yes" if bool_at(obj, "spec", "dryRun") else "no",
        age(obj, now_ms),
        str_at(obj, "status", "message") or NONE,
    ]


def _targets(obj: JsonObject) -> str:
    said = [(str_at(each, "kind"), str_at(each, "name")) for each in maps_at(obj, "spec", "targets")]
    return ",".join(f"{kind}/{name}" if name else kind for kind, name in said)


def _revision(obj: JsonObject, now_ms: int) -> list[Json]:
    waves = maps_at(obj, "status", "waves")
    return [
        str_at(obj, "metadata", "name"),
        f"{str_at(obj, 'spec', 'source', 'kind')}/{str_at(obj, 'spec', 'source', 'name')}",
        int_at(obj, "spec", "revision"),
        str_at(obj, "status", "phase") or NONE,
        str_at(obj, "status", "wave") or NONE,
        sum(int_at(each, "members") for each in waves),
        sum(int_at(each, "updated") for each in waves),
        sum(int_at(each, "failed") for each in waves),
        sum(int_at(each, "pending") for each in waves),
        age(obj, now_ms),
        str_at(obj, "status", "message") or NONE,
    ]


def _row(obj: JsonObject, now_ms: int) -> list[Json]:
    target = ("spec", "object")
    place = str_at(obj, *target, "namespace")
    name = str_at(obj, *target, "name")
    return [
        str_at(obj, "metadata", "name"),
        str_at(obj, "spec", "member"),
        str_at(obj, *target, "kind"),
        f"{place}/{name}" if place else name,
        _state(obj),
        len(maps_at(obj, "status", "drift")),
        _since(str_at(obj, "status", "observedAt"), now_ms),
        age(obj, now_ms),
        str_at(obj, "status", "message") or NONE,
    ]


def _state(obj: JsonObject) -> str:
    """In a word."""
    remove = str_at(obj, "spec", "remove")
    if is_stray(obj):
        return "Stray"
    if int_at(obj, "status", "revision") != int_at(obj, "spec", "revision"):
        return "CleanupPending" if remove else "Pending"
    if bool_at(obj, "status", "removed"):
        return "Removed"
    return str_at(obj, "status", "code") or ("Removing" if remove else "Applied")


def _since(text: str, now_ms: int) -> str:
    if not text:
        return NONE
    return human_duration(max(0, now_ms - ms_at(text, default=now_ms)) / 1000)


_ROW: Final = Printer(
    columns=columns(
        "Name", "Member", "Kind", "Object", "State", "Drift:integer", "Observed", "Age", wide=("Message",)
    ),
    cells=_row,
)

PRINTERS: Final = {
    (CORE_GROUP, "KubeFedCluster"): Printer(
        columns=columns(
            "Name",
            "Age",
            "Ready",
            "Mode",
            "Wanted:integer",
            "Pending:integer",
            "Failing:integer",
            "Cleanup:integer",
            "Observed",
            wide=("Endpoint", "Region", "Zones"),
        ),
        cells=_member,
    ),
    (CORE_GROUP, "FederatedTypeConfig"): Printer(
        columns=columns("Name", "Federated", "Propagation", "Controller", "Age", wide=("Message",)), cells=_type
    ),
    (SCHEDULING_GROUP, "ReplicaSchedulingPreference"): Printer(
        columns=columns(
            "Name", "Target", "Total:integer", "Placed:integer", "Unplaced:integer", "Age", wide=("Message",)
        ),
        cells=_preference,
    ),
    ("skerry.dev", "PlacementPolicy"): Printer(
        columns=columns(
            "Name", "Targets", "Choice", "Has:integer", "Placed", "Frozen", "Dry-Run", "Age", wide=("Message",)
        ),
        cells=_placement_policy,
    ),
    ("skerry.dev", "RolloutPolicy"): Printer(
        columns=columns(
            *("Name", "Targets", "Waves", "Objects:integer", "Complete:integer", "Paused", "Dry-Run", "Age"),
            wide=("Message",),
        ),
        cells=_rollout_policy,
    ),
    ("skerry.dev", "FederatedRevision"): Printer(
        columns=columns(
            *("Name", "Object", "Revision:integer", "Phase", "Wave", "Members:integer", "Updated:integer"),
            *("Failed:integer", "Pending:integer", "Age"),
            wide=("Message",),
        ),
        cells=_revision,
    ),
    ("skerry.dev", "MemberObject"): _ROW,
    ("skerry.dev", "RegionObject"): _ROW,
}
"""By (group, kind)."""
