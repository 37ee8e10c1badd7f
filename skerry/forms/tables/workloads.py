"""Controllers of pods: Deployments, ReplicaSets and their kin. Columns of kubectl. Pure."""

from __future__ import annotations

from skerry.forms.tables.selectors import selector_text
from skerry.forms.tables.table import NONE, Column, Printer, age, columns, joined, labels_text, since
from skerry.objects.conditions import is_true
from skerry.objects.json import Json, JsonObject, bool_at, dig, int_at, map_at, maps_at, str_at, str_map_at
from skerry.objects.times import human_duration, ms_at

_TEMPLATE = ("Containers", "Images", "Selector")


def _name(obj: JsonObject) -> str:
    return str_at(obj, "metadata", "name")


def _template(obj: JsonObject) -> list[Json]:
    containers = maps_at(obj, "spec", "template", "spec", "containers")
    return [
        joined(str_at(container, "name") for container in containers),
        joined(str_at(container, "image") for container in containers),
    ]


def _deployment(obj: JsonObject, now_ms: int) -> list[Json]:
    ready = f"{int_at(obj, 'status', 'readyReplicas')}/{int_at(obj, 'spec', 'replicas')}"
    return [
        _name(obj),
        ready,
        int_at(obj, "status", "updatedReplicas"),
        int_at(obj, "status", "availableReplicas"),
        age(obj, now_ms),
        *_template(obj),
        selector_text(dig(obj, "spec", "selector")),
    ]


def _counted(obj: JsonObject, now_ms: int) -> list[Json]:
    return [
        _name(obj),
        int_at(obj, "spec", "replicas"),
        int_at(obj, "status", "replicas"),
        int_at(obj, "status", "readyReplicas"),
        age(obj, now_ms),
        *_template(obj),
    ]


def _replica_set(obj: JsonObject, now_ms: int) -> list[Json]:
    return [*_counted(obj, now_ms), selector_text(dig(obj, "spec", "selector"))]


def _replication_controller(obj: JsonObject, now_ms: int) -> list[Json]:
    return [*_counted(obj, now_ms), labels_text(str_map_at(obj, "spec", "selector"))]


def _stateful_set(obj: JsonObject, now_ms: int) -> list[Json]:
    ready = f"{int_at(obj, 'status', 'readyReplicas')}/{int_at(obj, 'spec', 'replicas')}"
    return [_name(obj), ready, age(obj, now_ms), *_template(obj)]


def _daemon_set(obj: JsonObject, now_ms: int) -> list[Json]:
    counts: list[Json] = [
        int_at(obj, "status", name)
        for name in (
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
        )
    ]
    return [
        _name(obj),
        *counts,
        labels_text(str_map_at(obj, "spec", "template", "spec", "nodeSelector")),
        age(obj, now_ms),
        *_template(obj),
        selector_text(dig(obj, "spec", "selector")),
    ]


def _job_status(job: JsonObject) -> str:
    """As kubectl shows it (`printJob`): an end before a deletion, and that before what is under way."""
    ends = next((type_ for type_ in ("Complete", "Failed") if is_true(job, type_)), "")
    if ends or str_at(job, "metadata", "deletionTimestamp"):
        return ends or "Terminating"
    under_way = ("Suspended", "FailureTarget", "SuccessCriteriaMet")
    return next((type_ for type_ in under_way if is_true(job, type_)), "Running")


def _job(obj: JsonObject, now_ms: int) -> list[Json]:
    completions, parallelism = dig(obj, "spec", "completions"), int_at(obj, "spec", "parallelism")
    succeeded = int_at(obj, "status", "succeeded")
    if isinstance(completions, int):
        progress = f"{succeeded}/{completions}"
    else:
        progress = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    started, ended = str_at(obj, "status", "startTime"), str_at(obj, "status", "completionTime")
    duration = ""
    if started:
        duration = human_duration(((ms_at(ended) if ended else now_ms) - ms_at(started)) / 1000)
    return [
        _name(obj),
        _job_status(obj),
        progress,
        duration,
        age(obj, now_ms),
        *_template(obj),
        selector_text(dig(obj, "spec", "selector")),
    ]


def _cron_job(obj: JsonObject, now_ms: int) -> list[Json]:
    last = str_at(obj, "status", "lastScheduleTime")
    template = map_at(obj, "spec", "jobTemplate")
    return [
        _name(obj),
        str_at(obj, "spec", "schedule"),
        str_at(obj, "spec", "timeZone") or NONE,
        "True" if bool_at(obj, "spec", "suspend") else "False",
        len(maps_at(obj, "status", "active")),
        since(last, now_ms) if last else NONE,
        age(obj, now_ms),
        *_template(template),
        selector_text(dig(template, "spec", "selector")),
    ]


def _controller_revision(obj: JsonObject, now_ms: int) -> list[Json]:
    owner = next((ref for ref in maps_at(obj, "metadata", "ownerReferences") if bool_at(ref, "controller")), None)
    shown = NONE
    if owner is not None:
        group = str_at(owner, "apiVersion").rpartition("/")[0]
        kind = str_at(owner, "kind").lower()
        shown = f"{f'{kind}.{group}' if group else kind}/{str_at(owner, 'name')}"
    return [_name(obj), shown, int_at(obj, "revision"), age(obj, now_ms)]


def _metric(metric: JsonObject, current: JsonObject | None) -> str:
    source = str_at(metric, "resource", "name")
    target = map_at(metric, "resource", "target")
    if str_at(target, "type") == "Utilization":
        now = "<unknown>" if current is None else f"{int_at(current, 'resource', 'current', 'averageUtilization')}%"
        return f"{source}: {now}/{int_at(target, 'averageUtilization')}%"
    wanted = str_at(target, "averageValue") or str_at(target, "value") or "<auto>"
    now = "<unknown>" if current is None else str_at(current, "resource", "current", "averageValue")
    return f"{source or str_at(metric, 'type')}: {now}/{wanted}"


def _autoscaler(obj: JsonObject, now_ms: int) -> list[Json]:
    metrics = maps_at(obj, "spec", "metrics")
    current = maps_at(obj, "status", "currentMetrics")
    targets = [_metric(metric, current[at] if at < len(current) else None) for at, metric in enumerate(metrics)]
    if "targetCPUUtilizationPercentage" in map_at(obj, "spec"):
        now = dig(obj, "status", "currentCPUUtilizationPercentage")
        shown = f"{now}%" if isinstance(now, int) else "<unknown>"
        targets = [f"cpu: {shown}/{int_at(obj, 'spec', 'targetCPUUtilizationPercentage')}%"]
    reference = map_at(obj, "spec", "scaleTargetRef")
    minimum = dig(obj, "spec", "minReplicas")
    return [
        _name(obj),
        f"{str_at(reference, 'kind')}/{str_at(reference, 'name')}",
        ", ".join(targets) or NONE,
        str(minimum) if isinstance(minimum, int) else "<unset>",
        int_at(obj, "spec", "maxReplicas"),
        int_at(obj, "status", "currentReplicas"),
        age(obj, now_ms),
    ]


def _budget(obj: JsonObject, now_ms: int) -> list[Json]:
    def limit(name: str) -> str:
        value = dig(obj, "spec", name)
        return "N/A" if value is None else str(value)

    return [
        _name(obj),
        limit("minAvailable"),
        limit("maxUnavailable"),
        int_at(obj, "status", "disruptionsAllowed"),
        age(obj, now_ms),
    ]


def _template_cells(obj: JsonObject, now_ms: int) -> list[Json]:
    containers = maps_at(obj, "template", "spec", "containers")
    return [
        _name(obj),
        joined(str_at(container, "name") for container in containers),
        joined(str_at(container, "image") for container in containers),
        labels_text(str_map_at(obj, "template", "metadata", "labels")),
    ]


_REPLICAS: tuple[Column, ...] = columns(
    "Name", "Desired:integer", "Current:integer", "Ready:integer", "Age", wide=_TEMPLATE
)

PRINTERS = {
    ("apps", "Deployment"): Printer(
        columns=columns("Name", "Ready", "Up-to-date:integer", "Available:integer", "Age", wide=_TEMPLATE),
        cells=_deployment,
    ),
    ("apps", "ReplicaSet"): Printer(columns=_REPLICAS, cells=_replica_set),
    ("", "ReplicationController"): Printer(columns=_REPLICAS, cells=_replication_controller),
    ("apps", "StatefulSet"): Printer(
        columns=columns("Name", "Ready", "Age", wide=("Containers", "Images")), cells=_stateful_set
    ),
    ("apps", "DaemonSet"): Printer(
        columns=columns(
            "Name",
            "Desired:integer",
            "Current:integer",
            "Ready:integer",
            "Up-to-date:integer",
            "Available:integer",
            "Node Selector",
            "Age",
            wide=_TEMPLATE,
        ),
        cells=_daemon_set,
    ),
    ("batch", "Job"): Printer(
        columns=columns("Name", "Status", "Completions", "Duration", "Age", wide=_TEMPLATE), cells=_job
    ),
    ("batch", "CronJob"): Printer(
        columns=columns(
            "Name", "Schedule", "Timezone", "Suspend", "Active:integer", "Last Schedule", "Age", wide=_TEMPLATE
        ),
        cells=_cron_job,
    ),
    ("apps", "ControllerRevision"): Printer(
        columns=columns("Name", "Controller", "Revision:integer", "Age"), cells=_controller_revision
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): Printer(
        columns=columns("Name", "Reference", "Targets", "MinPods", "MaxPods:integer", "Replicas:integer", "Age"),
        cells=_autoscaler,
    ),
    ("policy", "PodDisruptionBudget"): Printer(
        columns=columns("Name", "Min Available", "Max Unavailable", "Allowed Disruptions:integer", "Age"),
        cells=_budget,
    ),
    ("", "PodTemplate"): Printer(
        columns=columns("Name", "Containers", "Images", "Pod Labels"), cells=_template_cells
    ),
}
