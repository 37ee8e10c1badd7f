"""A Job, and its pods as it counts them. Pure; keeps nothing.

Names and meaning are those of batch/v1 and of Kubernetes' job controller (`pkg/controller/job`).
"""

from __future__ import annotations

from typing import Final

from cloudcore.controllers.job.indexes import Indexes, parse_indexes
from cloudcore.controllers.pod_state import is_active
from skerry.frozen import Frozen
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.json import JsonObject, bool_at, dig, int_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import annotations_of, being_deleted, name_of, uid_of
from skerry.objects.pods import is_over, is_ready
from skerry.objects.times import ms_at

JOBS: Final = "jobs.batch"
TRACKING: Final = "batch.kubernetes.io/job-tracking"
"""Finalizer of a pod whose end is not counted yet."""
INDEX: Final = "batch.kubernetes.io/job-completion-index"
"""Annotation and label of a pod of an Indexed Job."""
INDEX_FAILURES: Final = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED_FAILURES: Final = "batch.kubernetes.io/job-index-ignored-failure-count"
CONTROLLER_UID: Final = "batch.kubernetes.io/controller-uid"
OURS: Final = "kubernetes.io/job-controller"
"""`managedBy` of a Job that is not somebody else's."""
FINISHED: Final = ("Complete", "Failed")
_INT32_MAX: Final = 2**31 - 1
_BACKOFF_LIMIT: Final = 6


class Job(Frozen):
    """What a Job asks for, and what its status says so far."""

    obj: JsonObject
    parallelism: int
    completions: int | None
    """None: one pod that ends well tells the others not to be replaced."""
    indexed: bool
    backoff_limit: int
    index_backoff_limit: int | None
    failed_indexes_max: int | None
    active_s_max: int | None
    suspended: bool
    failure_rules: tuple[JsonObject, ...] | None
    """None without a podFailurePolicy."""
    success_rules: tuple[JsonObject, ...]
    only_failed: bool
    """A pod is replaced once it has ended, not when it is going."""
    restarts_on_failure: bool
    start_ms: int | None
    succeeded: int
    failed: int
    uncounted_succeeded: frozenset[str]
    uncounted_failed: frozenset[str]
    done: Indexes
    failed_indexes: Indexes

    @property
    def deleting(self) -> bool:
        return being_deleted(self.obj)

    def has_index(self, pod: JobPod) -> bool:
        """It counts: of an Indexed Job, only with an index that is wanted."""
        return not self.indexed or (pod.index is not None and pod.index < (self.completions or 0))


class JobPod(Frozen):
    """A pod that the Job controls."""

    obj: JsonObject
    uid: str
    phase: str
    tracked: bool
    """Its end is not counted yet."""
    index: int | None
    active: bool
    terminating: bool
    failed: bool
    """It counts as failed, or will: it is over, or it is going and is not waited for."""
    ready: bool

    @property
    def failures(self) -> int:
        """Of pods of its index before it, which count."""
        return _count(self.obj, INDEX_FAILURES)

    @property
    def ignored_failures(self) -> int:
        return _count(self.obj, INDEX_IGNORED_FAILURES)


def is_finished(job: JsonObject) -> bool:
    return any(is_true(job, type_) for type_ in FINISHED)


def is_ours(job: JsonObject) -> bool:
    """Nobody else manages it."""
    return str_at(job, "spec", "managedBy") in ("", OURS)


def is_tracked(pod: JsonObject) -> bool:
    return TRACKING in strs_at(pod, "metadata", "finalizers")


def read_job(obj: JsonObject) -> Job:
    spec, status = map_at(obj, "spec"), map_at(obj, "status")
    completions = _number(spec, "completions")
    per_index = _number(spec, "backoffLimitPerIndex")
    started = str_at(status, "startTime")
    has_failure_policy = isinstance(spec.get("podFailurePolicy"), dict)
    return Job(
        obj=obj,
        parallelism=int_at(spec, "parallelism", default=1),
        completions=completions,
        indexed=str_at(spec, "completionMode") == "Indexed",
        backoff_limit=int_at(spec, "backoffLimit", default=_BACKOFF_LIMIT if per_index is None else _INT32_MAX),
        index_backoff_limit=per_index,
        failed_indexes_max=_number(spec, "maxFailedIndexes"),
        active_s_max=_number(spec, "activeDeadlineSeconds"),
        suspended=bool_at(spec, "suspend"),
        failure_rules=tuple(maps_at(spec, "podFailurePolicy", "rules")) if has_failure_policy else None,
        success_rules=tuple(maps_at(spec, "successPolicy", "rules")),
        only_failed=has_failure_policy or str_at(spec, "podReplacementPolicy") == "Failed",
        restarts_on_failure=str_at(spec, "template", "spec", "restartPolicy") == "OnFailure",
        start_ms=ms_at(started) if started else None,
        succeeded=int_at(status, "succeeded"),
        failed=int_at(status, "failed"),
        uncounted_succeeded=frozenset(strs_at(status, "uncountedTerminatedPods", "succeeded")),
        uncounted_failed=frozenset(strs_at(status, "uncountedTerminatedPods", "failed")),
        done=parse_indexes(str_at(status, "completedIndexes"), completions or 0),
        failed_indexes=parse_indexes(str_at(status, "failedIndexes"), completions or 0),
    )


def read_pod(job: Job, obj: JsonObject, *, nowhere: bool = False) -> JobPod:
    """`nowhere`: it has no node, or one that is no more, so that nobody will ever tell how it ended. (A node that is
    silent is one: its pod goes on, and its end counts when it is told.) What was deleted by force is not waited for
    either."""
    phase = str_at(obj, "status", "phase")
    going = being_deleted(obj) and not is_over(obj)
    nowhere = nowhere or int_at(obj, "metadata", "deletionGracePeriodSeconds", default=1) == 0
    index = annotations_of(obj).get(INDEX, "")
    return JobPod(
        obj=obj,
        uid=uid_of(obj),
        phase=phase,
        tracked=is_tracked(obj),
        index=int(index) if index.isdecimal() and len(index) < 11 else None,
        active=is_active(obj),
        terminating=going and not nowhere,
        failed=phase == "Failed" or (going and (nowhere or not job.only_failed)),
        ready=is_ready(obj),
    )


def finished_ms(pod: JsonObject) -> int:
    """When it ended, by the clock of its gateway: its containers, else its readiness, else its deletion tells."""
    ends = [str_at(each, "state", "terminated", "finishedAt") for each in maps_at(pod, "status", "containerStatuses")]
    if ends and all(ends):
        return max(ms_at(end) for end in ends)
    ready = condition_of(pod, "Ready") or {}
    if str_at(ready, "status") == "False" and str_at(ready, "lastTransitionTime"):
        return ms_at(str_at(ready, "lastTransitionTime"))
    if being_deleted(pod):
        grace_ms = 1000 * int_at(pod, "metadata", "deletionGracePeriodSeconds")
        return ms_at(str_at(pod, "metadata", "deletionTimestamp")) - grace_ms
    return ms_at(str_at(pod, "metadata", "creationTimestamp"))


def described(pod: JsonObject) -> str:
    return f"{str_at(pod, 'metadata', 'namespace')}/{name_of(pod)}"


def _number(obj: JsonObject, name: str) -> int | None:
    value = dig(obj, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _count(pod: JsonObject, name: str) -> int:
    """Anybody may write an annotation: what is no count counts as none."""
    text = annotations_of(pod).get(name, "")
    return int(text) if text.isdecimal() and len(text) < 11 and int(text) <= _INT32_MAX else 0
