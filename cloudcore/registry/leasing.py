"""By which row of its region a pod is lent, because it must never run twice in a federation. Keeps nothing.

A region's row says of what it made that it is lent; a pod of that is found by who controls it. A pod is marked when
it is made (docs/decisions/0470), so that it never comes to a gateway without its mark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from skerry.objects.federation import REGION_OBJECTS, ROW
from skerry.objects.json import JsonObject, int_at, map_at, str_at
from skerry.objects.meta import Key, annotations_of, controller_of, name_of, namespace_of, uid_of
from skerry.objects.strays import is_stray

_PODS: Final = "pods"
_OWNERS: Final = {
    "ReplicaSet": "replicasets.apps",
    "Deployment": "deployments.apps",
    "StatefulSet": "statefulsets.apps",
    "DaemonSet": "daemonsets.apps",
    "ReplicationController": "replicationcontrollers",
    "Job": "jobs.batch",
    "CronJob": "cronjobs.batch",
}
_DEPTH_MAX: Final = 4

Read: TypeAlias = "Callable[[Key], JsonObject | None]"


def lent_s(read: Read, row: str) -> int:
    """For how long what the row says may run after an answer; 0: it is not lent, or not wanted any more."""
    obj = read(Key(REGION_OBJECTS, "", row)) if row else None
    spec = map_at(obj or {}, "spec")
    return 0 if spec.get("remove") else max(0, int_at(spec, "leaseSeconds"))


def lends_s(read: Read, row: str) -> int:
    """The same of what is lent now: of what strays nobody knows in the global cloud, so it may run elsewhere."""
    obj = read(Key(REGION_OBJECTS, "", row)) if row else None
    return 0 if obj is None or is_stray(obj) else lent_s(read, row)


def lending_row(read: Read, pod: JsonObject) -> str:
    """The row by which the pod is lent; "" where it may run anyhow. What an object says of its row counts where the
    row says the same: anybody may write an annotation."""
    obj: JsonObject | None = pod
    resource = _PODS
    for _ in range(_DEPTH_MAX):
        if obj is None:
            return ""
        row = annotations_of(obj).get(ROW, "")
        if row and lent_s(read, row) and _is_of(read, row, resource, obj):
            return row
        owner = controller_of(obj)
        resource = "" if owner is None else _OWNERS.get(owner.kind, "")
        if owner is None or not resource:
            return ""
        obj = read(Key(resource, namespace_of(pod), owner.name))
        if obj is not None and uid_of(obj) != owner.uid:
            return ""
    return ""


def _is_of(read: Read, row: str, resource: str, obj: JsonObject) -> bool:
    """The row made the object, as far as their names say."""
    target = map_at(read(Key(REGION_OBJECTS, "", row)) or {}, "spec", "object")
    kind, group = str_at(target, "kind"), str_at(target, "apiVersion").rpartition("/")[0]
    named = _PODS if kind == "Pod" and not group else _OWNERS.get(kind, "")
    return (
        named == resource
        and group == resource.partition(".")[2]
        and str_at(target, "namespace") == namespace_of(obj)
        and str_at(target, "name") == name_of(obj)
    )
