"""Pods as a Job makes them of its template. Pure; keeps nothing."""

from __future__ import annotations

from typing import Final

from cloudcore.controllers.job.model import (
    INDEX,
    INDEX_FAILURES,
    INDEX_IGNORED_FAILURES,
    TRACKING,
    Job,
)
from cloudcore.controllers.job.plan import NewPod
from cloudcore.controllers.ownership import with_finalizer, with_metadata
from cloudcore.controllers.pod_templates import templated_pod
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import name_of

_INDEX_ENV: Final = "JOB_COMPLETION_INDEX"
_BASE_LENGTH_MAX: Final = 58
"""Of a generateName: five characters follow (`names.MaxGeneratedNameLength`)."""


def new_pod(job: Job, new: NewPod) -> JsonObject:
    """As sent to the API."""
    pod = templated_pod(job.obj, map_at(job.obj, "spec", "template"))
    pod = with_finalizer(pod, TRACKING)
    return pod if new.index is None else _indexed(job, pod, new, new.index)


def _indexed(job: Job, pod: JsonObject, new: NewPod, index: int) -> JsonObject:
    annotations: JsonObject = {**map_at(pod, "metadata", "annotations"), INDEX: str(index)}
    if job.index_backoff_limit is not None:
        annotations[INDEX_FAILURES] = str(new.failures)
        if new.ignored_failures:
            annotations[INDEX_IGNORED_FAILURES] = str(new.ignored_failures)
    labels: JsonObject = {**map_at(pod, "metadata", "labels"), INDEX: str(index)}
    name, end = name_of(job.obj), f"-{index}-"
    pod = with_metadata(
        pod, annotations=annotations, labels=labels, generateName=name[: _BASE_LENGTH_MAX - len(end)] + end
    )
    spec: JsonObject = {**map_at(pod, "spec"), "hostname": f"{name}-{index}"}
    for kind in ("initContainers", "containers"):
        if kind in spec:
            spec[kind] = [_told_index(container) for container in maps_at(spec, kind)]
    return {**pod, "spec": spec}


def _told_index(container: JsonObject) -> JsonObject:
    """Its environment tells the index, unless it says something of that name itself."""
    variables = maps_at(container, "env")
    if any(str_at(each, "name") == _INDEX_ENV for each in variables):
        return container
    source: JsonObject = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*variables, {"name": _INDEX_ENV, "valueFrom": source}]}
