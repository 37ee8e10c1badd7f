"""Pods: STATUS says what is happening, in the words of `kubectl get pods` (Kubernetes `pkg/printers`). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.forms.tables.table import NONE, Printer, age, columns, since
from skerry.objects.conditions import condition_of
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, map_at, maps_at, str_at
from skerry.objects.times import ms_at

_COLUMNS = columns(
    "Name",
    "Ready",
    "Status",
    "Restarts",
    "Age",
    wide=("IP", "Node", "Nominated Node", "Readiness Gates"),
)


@dataclass(slots=True, kw_only=True)
class _Summary:
    reason: str
    restarts: int = 0
    restarted: str = ""
    """When a container last ended, RFC 3339; "" for never."""
    ready: int = 0
    total: int = 0

    def count(self, status: JsonObject) -> None:
        self.restarts += int_at(status, "restartCount")
        ended = str_at(status, "lastState", "terminated", "finishedAt")
        if ms_at(ended) > ms_at(self.restarted):
            self.restarted = ended


def _summary(pod: JsonObject) -> _Summary:
    summary = _Summary(reason=str_at(pod, "status", "reason") or str_at(pod, "status", "phase") or "Unknown")
    if _gated(pod) and not str_at(pod, "status", "reason"):
        summary.reason = "SchedulingGated"
    summary.total = len(maps_at(pod, "spec", "containers"))
    if not _read_init(pod, summary):
        _read_containers(pod, summary)
    if str_at(pod, "metadata", "deletionTimestamp"):
        if str_at(pod, "status", "reason") == "NodeLost":
            summary.reason = "Unknown"
        elif str_at(pod, "status", "phase") not in ("Failed", "Succeeded"):
            summary.reason = "Terminating"
    return summary


def _gated(pod: JsonObject) -> bool:
    condition = condition_of(pod, "PodScheduled")
    return condition is not None and str_at(condition, "reason") == "SchedulingGated"


def _read_init(pod: JsonObject, summary: _Summary) -> bool:
    """Init containers; True while one of them holds the pod up."""
    specs = maps_at(pod, "spec", "initContainers")
    restartable = {str_at(spec, "name") for spec in specs if str_at(spec, "restartPolicy") == "Always"}
    summary.total += len(restartable)
    sidecars = _Summary(reason="")
    initializing = False
    for at, status in enumerate(maps_at(pod, "status", "initContainerStatuses")):
        summary.count(status)
        if str_at(status, "name") in restartable:
            sidecars.count(status)
            if bool_at(status, "started"):
                summary.ready += bool_at(status, "ready")
                continue
        terminated = dig(status, "state", "terminated")
        if isinstance(terminated, dict) and int_at(terminated, "exitCode") == 0:
            continue
        summary.reason = f"Init:{_init_reason(status, at, len(specs))}"
        initializing = True
        break
    initialized = condition_of(pod, "Initialized")
    if initializing and not (initialized is not None and str_at(initialized, "status") == "True"):
        return True
    # Once initialized, only containers that still run count as restarting.
    summary.restarts, summary.restarted = sidecars.restarts, sidecars.restarted
    return False


def _init_reason(status: JsonObject, at: int, total: int) -> str:
    terminated = dig(status, "state", "terminated")
    if isinstance(terminated, dict):
        return _ended(terminated)
    waiting = str_at(status, "state", "waiting", "reason")
    if waiting and waiting != "PodInitializing":
        return waiting
    return f"{at}/{total}"


def _ended(terminated: JsonObject) -> str:
    if reason := str_at(terminated, "reason"):
        return reason
    if signal := int_at(terminated, "signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{int_at(terminated, 'exitCode')}"


def _read_containers(pod: JsonObject, summary: _Summary) -> None:
    running = False
    # The first container's trouble is the one shown.
    for status in reversed(maps_at(pod, "status", "containerStatuses")):
        summary.count(status)
        waiting = str_at(status, "state", "waiting", "reason")
        terminated = dig(status, "state", "terminated")
        if waiting:
            summary.reason = waiting
        elif isinstance(terminated, dict):
            summary.reason = _ended(terminated)
        elif bool_at(status, "ready") and map_at(status, "state").get("running") is not None:
            running = True
            summary.ready += 1
    if summary.reason == "Completed" and running:
        ready = condition_of(pod, "Ready")
        summary.reason = "Running" if ready is not None and str_at(ready, "status") == "True" else "NotReady"


def _gates(pod: JsonObject) -> str:
    gates = [str_at(gate, "conditionType") for gate in maps_at(pod, "spec", "readinessGates")]
    if not gates:
        return NONE
    met = [condition for name in gates if (condition := condition_of(pod, name)) is not None]
    return f"{sum(str_at(condition, 'status') == 'True' for condition in met)}/{len(gates)}"


def _cells(pod: JsonObject, now_ms: int) -> list[Json]:
    summary = _summary(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.restarted:
        restarts = f"{restarts} ({since(summary.restarted, now_ms)} ago)"
    return [
        str_at(pod, "metadata", "name"),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age(pod, now_ms),
        str_at(pod, "status", "podIP") or NONE,
        str_at(pod, "spec", "nodeName") or NONE,
        str_at(pod, "status", "nominatedNodeName") or NONE,
        _gates(pod),
    ]


POD = Printer(columns=_COLUMNS, cells=_cells)
