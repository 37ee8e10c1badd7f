"""What a Job's controller does next: which pods it makes and deletes, and whether the Job comes to its end. Pure.

Rules, their order and their sentences are those of Kubernetes' job controller (`syncJob`, `manageJob`). Keeps
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from cloudcore.controllers.job.backoff import Record
from cloudcore.controllers.job.indexes import Indexes, index_set
from cloudcore.controllers.job.model import Job, JobPod, finished_ms
from cloudcore.controllers.job.policies import match_failure, match_success
from cloudcore.controllers.pod_state import ready_since_ms, restarts
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import condition_of
from skerry.objects.json import int_at, maps_at, str_at
from skerry.objects.times import ms_at

BURST_MAX: Final = 500
"""Pods made or deleted in one pass; the next pass goes on."""
_PHASE_RANK: Final = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


class Ending(Frozen):
    """What the Job comes to: its pods are ended, and then it is Complete or Failed for that reason."""

    type: Literal["SuccessCriteriaMet", "FailureTarget"]
    reason: str
    message: str

    @property
    def succeeds(self) -> bool:
        return self.type == "SuccessCriteriaMet"


class NewPod(Frozen):
    index: int | None = None
    failures: int = 0
    """Of the pods of its index before it."""
    ignored_failures: int = 0


class Tally(Frozen):
    """What has been reached, with what is not in the status yet."""

    succeeded: int
    failed: int
    done: Indexes
    failed_indexes: Indexes
    delayed: Mapping[int, JobPod]
    """The failed pod of an index that the next pod of it is to be made from: it is not counted before that is there,
    or it would not be known how often the index has failed."""


class Step(Frozen):
    """One pass: at most one of deleting and making pods."""

    tally: Tally
    record: Record
    ending: Ending | None = None
    end: tuple[JobPod, ...] = ()
    """Deleted because the Job ends: they count as failed if it fails."""
    drop: tuple[JobPod, ...] = ()
    """Deleted because there are too many: they never count."""
    track: tuple[JobPod, ...] = ()
    """They run, and nothing keeps them until they are counted: a crash came between that and their deletion, or
    somebody took the finalizer."""
    make: tuple[NewPod, ...] = ()
    manages: bool = False
    """The number of pods was looked after: nothing ends, and nobody deletes the Job."""
    again_ms: int | None = None
    """When a clock makes something another."""


def plan(job: Job, pods: Sequence[JobPod], record: Record, *, now_ms: int) -> Step:
    """`pods` are those the Job controls; `record` what is known of its failures before them."""
    tally, record = _tally(job, pods, record, now_ms)
    step = Step(tally=tally, record=record)
    active = [pod for pod in pods if pod.active]
    ending = _told_ending(job) or _ending(job, pods, tally, now_ms)
    if ending is not None:
        return replace(step, ending=ending, end=tuple(active))
    if not job.deleting:
        step = replace(_managed(job, pods, active, step, now_ms=now_ms), manages=True)
        dropped = {pod.uid for pod in step.drop}
        step = replace(step, track=tuple(pod for pod in active if not pod.tracked and pod.uid not in dropped))
    if _is_complete(job, tally, len(active) - len(step.drop) + len(step.make)):
        text = "Reached expected number of succeeded pods"
        ending = Ending(type="SuccessCriteriaMet", reason="CompletionsReached", message=text)
        return replace(step, ending=ending, manages=False)
    deadline_ms = _deadline_ms(job)
    if deadline_ms is None:
        return step
    return replace(step, again_ms=min(step.again_ms or deadline_ms, deadline_ms))


# --- counting ---


def _tally(job: Job, pods: Sequence[JobPod], record: Record, now_ms: int) -> tuple[Tally, Record]:
    news = [pod for pod in pods if pod.tracked and job.has_index(pod)]
    # A pod that was going counted as failed, and may still tell that it ended well: nothing counts twice.
    well = [pod for pod in news if pod.phase == "Succeeded" and pod.uid not in job.uncounted_failed]
    succeeded = [pod for pod in well if pod.uid not in job.uncounted_succeeded]
    failed = [pod for pod in news if pod.failed and pod.uid not in job.uncounted_failed]
    counting = [pod for pod in failed if match_failure(job.failure_rules, pod.obj).counts]
    done = job.done
    successes = job.succeeded + len(succeeded) + len(job.uncounted_succeeded)
    failed_indexes, delayed = Indexes(), dict[int, JobPod]()
    if job.indexed:
        indexes = (pod.index for pod in well if pod.index is not None)
        done |= index_set(index for index in indexes if index not in job.failed_indexes)
        successes = done.total
    if job.index_backoff_limit is not None:
        limit = job.index_backoff_limit
        ended = (pod.index for pod in news if pod.index is not None and pod.failed and _fails_index(job, pod, limit))
        failed_indexes = job.failed_indexes | index_set(index for index in ended if index not in done)
        delayed = _delayed(pods, news, done | failed_indexes)
    tally = Tally(
        succeeded=successes,
        failed=job.failed + len(counting) + len(job.uncounted_failed),
        done=done,
        failed_indexes=failed_indexes,
        delayed=delayed,
    )
    if job.index_backoff_limit is None:
        return tally, record.with_ends(succeeded, failed, now_ms=now_ms)
    return tally, record.with_waiting(delayed.values(), now_ms=now_ms)


def _fails_index(job: Job, pod: JobPod, limit: int) -> bool:
    match = match_failure(job.failure_rules, pod.obj)
    return match.action == "FailIndex" or (match.counts and pod.failures >= limit)


def _delayed(pods: Sequence[JobPod], news: Sequence[JobPod], settled: Indexes) -> dict[int, JobPod]:
    running = {pod.index for pod in pods if pod.active}
    failed = [pod for pod in news if pod.failed and pod.index not in running]
    last = sorted(failed, key=lambda pod: (pod.failures + pod.ignored_failures, finished_ms(pod.obj)))
    return {pod.index: pod for pod in last if pod.index is not None and pod.index not in settled}


# --- ends ---


def _told_ending(job: Job) -> Ending | None:
    """What the status says already: it never changes its mind."""
    for type_ in ("SuccessCriteriaMet", "FailureTarget"):
        told = condition_of(job.obj, type_)
        if told is not None and str_at(told, "status") == "True":
            return Ending(type=type_, reason=str_at(told, "reason"), message=str_at(told, "message"))
    return None


def _ending(job: Job, pods: Sequence[JobPod], tally: Tally, now_ms: int) -> Ending | None:
    if message := _failed_by_policy(job, pods):
        return _failure("PodFailurePolicy", message)
    if tally.failed > job.backoff_limit or _restarts_too_often(job, pods):
        return _failure("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    deadline_ms = _deadline_ms(job)
    if deadline_ms is not None and now_ms >= deadline_ms:
        return _failure("DeadlineExceeded", "Job was active longer than specified deadline")
    if not job.indexed:
        return None
    completions, lost = job.completions or 0, tally.failed_indexes.total
    if job.failed_indexes_max is not None and lost > job.failed_indexes_max:
        text = "Job has exceeded the specified maximal number of failed indexes"
        return _failure("MaxFailedIndexesExceeded", text)
    if lost and lost + tally.done.total >= completions:
        return _failure("FailedIndexes", "Job has failed indexes")
    if message := match_success(job.success_rules, completions, tally.done):
        return Ending(type="SuccessCriteriaMet", reason="SuccessPolicy", message=message)
    return None


def _failure(reason: str, message: str) -> Ending:
    return Ending(type="FailureTarget", reason=reason, message=message)


def _failed_by_policy(job: Job, pods: Sequence[JobPod]) -> str:
    messages = (match_failure(job.failure_rules, pod.obj).message for pod in pods if pod.failed)
    return next((message for message in messages if message), "")


def _restarts_too_often(job: Job, pods: Sequence[JobPod]) -> bool:
    """Containers that are started again in their pod count as failures, too."""
    if not job.restarts_on_failure:
        return False
    count = 0
    for pod in pods:
        if pod.phase in ("Running", "Pending"):
            inits = maps_at(pod.obj, "status", "initContainerStatuses")
            count += restarts(pod.obj) + sum(int_at(status, "restartCount") for status in inits)
    return count >= max(job.backoff_limit, 1)


def _deadline_ms(job: Job) -> int | None:
    if job.active_s_max is None or job.start_ms is None or job.suspended:
        return None
    return job.start_ms + 1000 * job.active_s_max


def _is_complete(job: Job, tally: Tally, active: int) -> bool:
    if active:
        return False
    return tally.succeeded > 0 if job.completions is None else tally.succeeded >= job.completions


# --- the number of pods ---


def _managed(job: Job, pods: Sequence[JobPod], active: Sequence[JobPod], step: Step, *, now_ms: int) -> Step:
    if job.suspended:
        return replace(step, drop=tuple(active))
    wanted = _wanted(job, step.tally, len(active))
    drop = _superfluous(job, active, len(active) - wanted)
    if drop:
        return replace(step, drop=tuple(drop[:BURST_MAX]))
    terminating = sum(pod.terminating for pod in pods) if job.only_failed else 0
    lacking = min(wanted - terminating - len(active), BURST_MAX)
    if lacking <= 0:
        return step
    if job.index_backoff_limit is None:
        left_ms = step.record.left_ms(now_ms=now_ms)
        if left_ms:
            return replace(step, again_ms=now_ms + left_ms)
    if not job.indexed:
        return replace(step, make=(NewPod(),) * lacking)
    return _indexed(job, pods, step, lacking, now_ms=now_ms)


def _wanted(job: Job, tally: Tally, active: int) -> int:
    if job.completions is None:
        return active if tally.succeeded else job.parallelism
    return max(0, min(job.completions - tally.succeeded, job.parallelism))


def _indexed(job: Job, pods: Sequence[JobPod], step: Step, lacking: int, *, now_ms: int) -> Step:
    """The first indexes that nobody works at; each that has failed has a while of its own where it has a limit."""
    busy = index_set(
        pod.index for pod in pods if pod.index is not None and (pod.active or (job.only_failed and pod.terminating))
    )
    taken = step.tally.done | step.tally.failed_indexes | busy
    indexes = taken.lacking(job.completions or 0, lacking)
    if job.index_backoff_limit is None:
        return replace(step, make=tuple(NewPod(index=index) for index in indexes))
    replaced = {index: step.tally.delayed.get(index) for index in indexes}
    left = {index: step.record.index_left_ms(pod, now_ms=now_ms) for index, pod in replaced.items()}
    make = tuple(_next_of(job, index, pod) for index, pod in replaced.items() if not left[index])
    waits = [wait_ms for wait_ms in left.values() if wait_ms]
    return replace(step, make=make, again_ms=now_ms + min(waits) if waits else None)


def _next_of(job: Job, index: int, replaced: JobPod | None) -> NewPod:
    if replaced is None:
        return NewPod(index=index)
    counts = match_failure(job.failure_rules, replaced.obj).counts
    return NewPod(
        index=index,
        failures=replaced.failures + counts,
        ignored_failures=replaced.ignored_failures + (not counts),
    )


def _superfluous(job: Job, active: Sequence[JobPod], least: int) -> list[JobPod]:
    """At least so many, those first whose loss matters least; of an Indexed Job all that have no index that is
    wanted, or another's."""
    drop: list[JobPod] = []
    left = sorted(active, key=_loss)
    if job.indexed:
        kept: dict[int, JobPod] = {}
        for pod in left:
            if pod.index is None or not job.has_index(pod):
                drop.append(pod)
                continue
            if pod.index in kept:
                drop.append(kept[pod.index])
            kept[pod.index] = pod
        left = [pod for pod in left if kept.get(-1 if pod.index is None else pod.index) is pod]
    return drop + left[: max(0, least - len(drop))]


def _loss(pod: JobPod) -> tuple[int, ...]:
    """As Kubernetes ranks pods (ActivePods): without a node, not running, not ready, ready for less long, restarted
    more often, younger."""
    obj = pod.obj
    return (
        1 if str_at(obj, "spec", "nodeName") else 0,
        _PHASE_RANK.get(pod.phase, 1),
        1 if pod.ready else 0,
        -ready_since_ms(obj),
        -restarts(obj),
        -ms_at(str_at(obj, "metadata", "creationTimestamp")),
    )
