"""By what a Job knows its pods: labels that name it and its life, unless it says `manualSelector`. Pure.

(Kubernetes' `pkg/registry/batch/job/strategy.go`, generateSelector: a label that the writer gave stays, and is judged
afterwards.) Keeps nothing.
"""

from __future__ import annotations

from typing import Final

from skerry.objects.json import JsonObject, bool_at, clone, ensure_map, map_at
from skerry.objects.meta import labels_of, name_of, uid_of

JOB_NAME: Final = "batch.kubernetes.io/job-name"
CONTROLLER_UID: Final = "batch.kubernetes.io/controller-uid"
LEGACY_JOB_NAME: Final = "job-name"
LEGACY_CONTROLLER_UID: Final = "controller-uid"


def with_selector(job: JsonObject) -> JsonObject:
    """The Job with its selector, and with the labels in its template that it selects."""
    if bool_at(job, "spec", "manualSelector"):
        return job
    done = clone(job)
    spec = ensure_map(done, "spec")
    labels = ensure_map(spec, "template", "metadata", "labels")
    for name in (LEGACY_JOB_NAME, JOB_NAME):
        labels.setdefault(name, name_of(job))
    for name in (LEGACY_CONTROLLER_UID, CONTROLLER_UID):
        labels.setdefault(name, uid_of(job))
    ensure_map(spec, "selector", "matchLabels").setdefault(CONTROLLER_UID, uid_of(job))
    if not labels_of(done):
        # A Job without labels has those of its pods (its default), which are known only now.
        ensure_map(done, "metadata")["labels"] = dict(labels)
    return done


def lacks_selector(job: JsonObject) -> bool:
    """It was written when nothing acted on Jobs yet."""
    return not map_at(job, "spec", "selector") and not bool_at(job, "spec", "manualSelector")
