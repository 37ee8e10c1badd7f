"""Defaults of workloads (`pkg/apis/{apps,batch,autoscaling}/v*/defaults.go`, core's ReplicationController). Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from skerry.objects.json import JsonObject, ensure_map, map_at, maps_at, str_at, str_map_at, to_json
from skerry.objects.pod_defaults import default_pod_template

_BACKOFF_UNLIMITED: Final = 2**31 - 1


def default_deployment(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    spec.setdefault("replicas", 1)
    strategy = ensure_map(spec, "strategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = ensure_map(strategy, "rollingUpdate")
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    default_pod_template(ensure_map(spec, "template"))


def default_replicaset(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    spec.setdefault("replicas", 1)
    default_pod_template(ensure_map(spec, "template"))


def default_statefulset(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    spec.setdefault("podManagementPolicy", "OrderedReady")
    strategy = ensure_map(spec, "updateStrategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        ensure_map(strategy, "rollingUpdate").setdefault("partition", 0)
    kept = ensure_map(spec, "persistentVolumeClaimRetentionPolicy")
    kept.setdefault("whenDeleted", "Retain")
    kept.setdefault("whenScaled", "Retain")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in maps_at(spec, "volumeClaimTemplates"):
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        ensure_map(claim, "spec").setdefault("volumeMode", "Filesystem")
        ensure_map(claim, "status").setdefault("phase", "Pending")
    default_pod_template(ensure_map(spec, "template"))


def default_daemonset(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    strategy = ensure_map(spec, "updateStrategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = ensure_map(strategy, "rollingUpdate")
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    default_pod_template(ensure_map(spec, "template"))


def default_replication_controller(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    spec.setdefault("replicas", 1)
    template = map_at(spec, "template")
    labels = str_map_at(template, "metadata", "labels")
    if labels:
        spec.setdefault("selector", to_json(labels))
        ensure_map(obj, "metadata").setdefault("labels", to_json(labels))
    if template:
        default_pod_template(template)


def default_job(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _BACKOFF_UNLIMITED if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    failure = map_at(spec, "podFailurePolicy")
    spec.setdefault("podReplacementPolicy", "Failed" if failure else "TerminatingOrFailed")
    _default_failure_policy(failure)
    template = ensure_map(spec, "template")
    labels = str_map_at(template, "metadata", "labels")
    if labels:
        ensure_map(obj, "metadata").setdefault("labels", to_json(labels))
    default_pod_template(template)


def default_cron_job(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    job = ensure_map(spec, "jobTemplate", "spec")
    _default_failure_policy(map_at(job, "podFailurePolicy"))
    default_pod_template(ensure_map(job, "template"))


def _default_failure_policy(policy: JsonObject) -> None:
    for rule in maps_at(policy, "rules"):
        for condition in maps_at(rule, "onPodConditions"):
            condition.setdefault("status", "True")


def default_autoscaler(obj: JsonObject) -> None:
    spec = ensure_map(obj, "spec")
    spec.setdefault("minReplicas", 1)
    if str_at(obj, "apiVersion") == "autoscaling/v1":
        spec.setdefault("targetCPUUtilizationPercentage", 80)
    elif not spec.get("metrics"):
        target: JsonObject = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


DEFAULTS: Final[dict[tuple[str, str], Callable[[JsonObject], None]]] = {
    ("", "ReplicationController"): default_replication_controller,
    ("apps", "Deployment"): default_deployment,
    ("apps", "ReplicaSet"): default_replicaset,
    ("apps", "StatefulSet"): default_statefulset,
    ("apps", "DaemonSet"): default_daemonset,
    ("batch", "Job"): default_job,
    ("batch", "CronJob"): default_cron_job,
    ("autoscaling", "HorizontalPodAutoscaler"): default_autoscaler,
}
