"""What a Job's status says, so that no pod is counted twice or lost, whenever the controller crashes. Pure.

A pod carries a finalizer until its end is written down. First the uids of pods that have ended are written to
`status.uncountedTerminatedPods`; then their finalizers go; then they move to the counters. After a crash in between,
a uid whose pod has its finalizer is still to be counted, one whose pod has none moves. Of an Indexed Job the indexes
that are done are written instead of uids of pods that succeeded: nothing counts an index twice. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudcore.controllers.job.model import Job, JobPod
from cloudcore.controllers.job.plan import Ending, Step
from cloudcore.controllers.job.policies import match_failure
from skerry.frozen import Frozen
from skerry.objects.conditions import Truth, find_condition
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at, strs_at
from skerry.objects.times import ms_at, time_text

UNCOUNTED_MAX: Final = 500
"""Pods that wait to be counted, at a time: their uids are in the status."""


class Counted(Frozen):
    """A status that is to be written before anything is done, and the pods whose finalizers may go after that."""

    status: JsonObject
    release: tuple[JobPod, ...]


class Said(Frozen, kw_only=False):
    """An Event that a change of the status makes."""

    reason: str
    message: str
    warning: bool = False


def counted(job: Job, pods: Sequence[JobPod], step: Step, *, now_ms: int) -> Counted:
    """With what has ended written down. `pods` as the step saw them."""
    status = dict(map_at(job.obj, "status"))
    status.setdefault("uncountedTerminatedPods", {})
    if not job.suspended and job.start_ms is None:
        status["startTime"] = time_text(now_ms)
    _move(status, pods)
    succeeded = strs_at(status, "uncountedTerminatedPods", "succeeded")
    failed = strs_at(status, "uncountedTerminatedPods", "failed")
    done = step.tally.done if job.indexed else None
    goes_on = not job.deleting and step.ending is None
    delayed = {pod.uid for pod in step.tally.delayed.values()} if goes_on else set[str]()
    release: list[JobPod] = []
    for pod in sorted(pods, key=lambda pod: -1 if pod.index is None else pod.index):
        if not pod.tracked or pod.uid in delayed or not _may_go(job, pod, step):
            continue
        release.append(pod)
        if pod.phase == "Succeeded" and pod.uid not in failed:
            if done is None and pod.uid not in succeeded:
                succeeded.append(pod.uid)
        elif _has_failed(job, pod, step.ending) and pod.uid not in failed:
            failed.append(pod.uid)
        if len(release) >= UNCOUNTED_MAX:
            break
    status["uncountedTerminatedPods"] = _uncounted(succeeded, failed)
    if done is not None:
        _put(status, "succeeded", done.total)
        _put(status, "completedIndexes", str(done))
        if job.index_backoff_limit is not None:
            status["failedIndexes"] = str(step.tally.failed_indexes)
    if step.ending is not None:
        conditions = maps_at(status, "conditions")
        status["conditions"] = _with(conditions, _condition(step.ending.type, "True", step.ending, now_ms))
    return Counted(status=status, release=tuple(release))


def _may_go(job: Job, pod: JobPod, step: Step) -> bool:
    return job.deleting or step.ending is not None or pod.phase == "Succeeded" or pod.failed


def _has_failed(job: Job, pod: JobPod, ending: Ending | None) -> bool:
    """With a Job that fails everything fails that has not ended well. One that has succeeded counts what has failed,
    and not what it ends itself."""
    if ending is not None and not ending.succeeds:
        fails = True
    else:
        fails = pod.failed if ending is None else pod.phase == "Failed"
    return fails and job.has_index(pod) and match_failure(job.failure_rules, pod.obj).counts


def settled(job: Job, pods: Sequence[JobPod], step: Step, *, now_ms: int) -> tuple[JsonObject, tuple[Said, ...]]:
    """The status after the step was carried out, and what there is to tell of it. `job` and `pods` are as now."""
    status = dict(map_at(job.obj, "status"))
    status.setdefault("uncountedTerminatedPods", {})
    if not job.suspended and job.start_ms is None:
        status["startTime"] = time_text(now_ms)
    _move(status, pods)
    _put(status, "active", sum(pod.active for pod in pods))
    status["ready"] = sum(pod.active and pod.ready for pod in pods)
    status["terminating"] = sum(pod.terminating for pod in pods)
    if job.indexed and job.index_backoff_limit is not None:
        status.setdefault("failedIndexes", "")
    said: list[Said] = []
    if step.ending is not None:
        said += _finished(job, status, step.ending, pods, now_ms)
    elif step.manages:
        said += _suspended(job, status, now_ms)
    return status, tuple(said)


def _finished(job: Job, status: JsonObject, ending: Ending, pods: Sequence[JobPod], now_ms: int) -> tuple[Said, ...]:
    """Complete or Failed, once all is counted and every pod has ended."""
    waits = map_at(status, "uncountedTerminatedPods") or status["terminating"] or status.get("active")
    if waits or any(pod.tracked for pod in pods):
        return ()
    # Not before it began, though the cloud's clock was put back since: that would be refused, again and again.
    now_ms = max(now_ms, ms_at(str_at(status, "startTime")))
    terminal = _condition("Complete" if ending.succeeds else "Failed", "True", ending, now_ms)
    status["conditions"] = _with(maps_at(status, "conditions"), terminal)
    status.setdefault("startTime", time_text(now_ms))
    if not ending.succeeds:
        return (Said(ending.reason, ending.message, warning=True),)
    status["completionTime"] = time_text(now_ms)
    done = Said("Completed", "Job completed")
    succeeded = status.get("succeeded", 0)
    if job.completions is not None and isinstance(succeeded, int) and succeeded > job.completions:
        text = "Too many succeeded pods running after completion count reached"
        return (Said("TooManySucceededPods", text, warning=True), done)
    return (done,)


def _suspended(job: Job, status: JsonObject, now_ms: int) -> tuple[Said, ...]:
    known = maps_at(status, "conditions")
    told = str_at(find_condition(known, "Suspended") or {}, "status")
    if job.suspended:
        # It begins anew when it goes on: its deadline does not count what it was suspended for.
        status.pop("startTime", None)
        if told == "True":
            return ()
        because = Said("JobSuspended", "Job suspended")
        status["conditions"] = _with(known, _condition("Suspended", "True", because, now_ms))
        return (Said("Suspended", "Job suspended"),)
    if told != "True":
        return ()
    because = Said("JobResumed", "Job resumed")
    status["conditions"] = _with(known, _condition("Suspended", "False", because, now_ms))
    return (Said("Resumed", "Job resumed"),)


def _move(status: JsonObject, pods: Sequence[JobPod]) -> None:
    """From the uids that wait to the counters, what has lost its finalizer."""
    tracked = {pod.uid for pod in pods if pod.tracked}
    kept: dict[str, list[str]] = {}
    for name in ("succeeded", "failed"):
        waiting = strs_at(status, "uncountedTerminatedPods", name)
        kept[name] = [uid for uid in waiting if uid in tracked]
        before = status.get(name)
        _put(status, name, (before if isinstance(before, int) else 0) + len(waiting) - len(kept[name]))
    status["uncountedTerminatedPods"] = _uncounted(kept["succeeded"], kept["failed"])


def _uncounted(succeeded: Sequence[str], failed: Sequence[str]) -> JsonObject:
    waiting: JsonObject = {}
    if succeeded:
        waiting["succeeded"] = [*succeeded]
    if failed:
        waiting["failed"] = [*failed]
    return waiting


def _put(status: JsonObject, name: str, value: int | str) -> None:
    """Nothing is not written, as Go omits it."""
    if value:
        status[name] = value
    else:
        status.pop(name, None)


def _condition(type_: str, truth: Truth, because: Ending | Said, now_ms: int) -> JsonObject:
    """batch/v1 JobCondition."""
    now = time_text(now_ms)
    condition: JsonObject = {"type": type_, "status": truth, "lastProbeTime": now, "lastTransitionTime": now}
    return condition | {"reason": because.reason, "message": because.message}


def _with(conditions: Sequence[JsonObject], new: JsonObject) -> list[Json]:
    """With the condition; one that says the same stays as it is."""
    old = find_condition(conditions, str_at(new, "type"))
    if old is None:
        return [*conditions, new]
    if all(str_at(old, name) == str_at(new, name) for name in ("status", "reason", "message")):
        return [*conditions]
    return [new if each is old else each for each in conditions]
