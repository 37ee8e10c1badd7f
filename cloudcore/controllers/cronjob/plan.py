"""What a CronJob's controller does next: which Job it begins, which it ends, which it forgets, and its status. Pure.

Rules and sentences are those of Kubernetes' cronjob controller (`pkg/controller/cronjob`). In two things it is
stricter: a Job that it made and could not note any more (a crash) counts as running, so that `Forbid` holds; and of
missed times the last is found whatever the schedule, where Kubernetes estimates it. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime
from typing import Final

from cloudcore.controllers.ownership import controller_reference
from skerry.errors import InvalidError
from skerry.frozen import Frozen, replace
from skerry.objects.conditions import is_true
from skerry.objects.cron_jobs import CronSchedule, parse_schedule, time_zone
from skerry.objects.json import Json, JsonObject, bool_at, dig, map_at, maps_at, str_at
from skerry.objects.meta import annotations_of, being_deleted, name_of, namespace_of, uid_of
from skerry.objects.times import ms_at, time_text

SCHEDULED_AT: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MISSED_MAX: Final = 100
"""More than so many missed times are told of: a clock may be wrong."""
_MARGIN_MS: Final = 100
"""Later than the minute begins: clocks of processes differ a little."""
_MINUTE_MS: Final = 60_000
_AHEAD_MS_MAX: Final = 5 * _MINUTE_MS
"""Farther ahead nothing was begun that has a time: the cloud's clock was wrong then, or is now."""


class Said(Frozen, kw_only=False):
    reason: str
    message: str
    warning: bool = False


class Plan(Frozen):
    """`status` is what it is without the Job that begins: that is noted once it is there."""

    status: JsonObject
    said: tuple[Said, ...] = ()
    replaced: tuple[JsonObject, ...] = ()
    """Jobs that run and are to end first: references to them, from the status."""
    begins_ms: int | None = None
    """The time at which a Job was to begin, and has not."""
    forget: tuple[JsonObject, ...] = ()
    """Jobs that have ended and of which enough are kept."""
    again_ms: int | None = None


def plan(cron: JsonObject, jobs: Sequence[JsonObject], *, now_ms: int) -> Plan:
    """`jobs` are those it controls."""
    status, said = _noted(cron, jobs, now_ms)
    step = Plan(status=status, said=said, forget=tuple(_forgotten(cron, jobs)))
    if being_deleted(cron):
        return replace(step, forget=())
    if bool_at(cron, "spec", "suspend"):
        return step
    schedule, fault = _schedule(cron)
    if schedule is None:
        return replace(step, said=(*said, fault)) if fault is not None else step
    return _begun(cron, step, schedule, now_ms)


# --- what there is ---


def _noted(cron: JsonObject, jobs: Sequence[JsonObject], now_ms: int) -> tuple[JsonObject, tuple[Said, ...]]:
    """The status after a look at the Jobs, and at the clock."""
    status = dict(map_at(cron, "status"))
    active = {str_at(each, "uid"): each for each in maps_at(status, "active")}
    said: list[Said] = []
    for job in jobs:
        uid, name = uid_of(job), name_of(job)
        ended = _ended(job)
        if ended and uid in active:
            del active[uid]
            said.append(Said("SawCompletedJob", f"Saw completed job: {name}, condition: {ended}"))
        elif not ended and uid not in active:
            if _scheduled_ms(cron, job) is None:
                text = f"Saw a job that the controller did not create or forgot: {name}"
                said.append(Said("UnexpectedJob", text, warning=True))
            else:
                active[uid] = reference(job)
        _note_times(cron, status, job, ended, now_ms)
    known = {uid_of(job) for job in jobs}
    missing = [active.pop(uid) for uid in [*active] if uid not in known]
    said += [Said("MissingJob", f"Active job went missing: {str_at(each, 'name')}") for each in missing]
    _put(status, "active", [*active.values()])
    last_ms = _earliest_ms(cron, status)
    if last_ms > now_ms + _AHEAD_MS_MAX:
        # It is written down: counted from each now anew, nothing would ever come.
        status["lastScheduleTime"] = time_text(now_ms)
        text = f"it counts from {time_text(last_ms)}, which is yet to come: check clock skew. It counts from now on"
        said.append(Said("ClockSkew", text, warning=True))
    return status, tuple(said)


def _note_times(cron: JsonObject, status: JsonObject, job: JsonObject, ended: str, now_ms: int) -> None:
    completed = str_at(job, "status", "completionTime")
    if ended == "Complete" and ms_at(completed) > ms_at(str_at(status, "lastSuccessfulTime")):
        status["lastSuccessfulTime"] = completed
    scheduled_ms = _scheduled_ms(cron, job)
    if scheduled_ms is None or scheduled_ms > now_ms + _AHEAD_MS_MAX:
        return
    if scheduled_ms > ms_at(str_at(status, "lastScheduleTime")):
        # It was made, and the controller crashed before it was noted.
        status["lastScheduleTime"] = time_text(scheduled_ms)


def _ended(job: JsonObject) -> str:
    return next((type_ for type_ in ("Complete", "Failed") if is_true(job, type_)), "")


def _scheduled_ms(cron: JsonObject, job: JsonObject) -> int | None:
    """The time for which the controller made the Job; None for one that it did not make."""
    said = annotations_of(job).get(SCHEDULED_AT, "")
    try:
        at_ms = round(datetime.fromisoformat(said).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return at_ms if name_of(job) == job_name(cron, at_ms) else None


def _forgotten(cron: JsonObject, jobs: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """The oldest of those that have ended, well and not, above the limits of each."""
    for type_, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        kept = dig(cron, "spec", limit)
        ended = [job for job in jobs if _ended(job) == type_ and not being_deleted(job)]
        if isinstance(kept, int):
            ended.sort(key=lambda job: (not str_at(job, "status", "startTime"), _started(job), name_of(job)))
            yield from ended[: max(0, len(ended) - kept)]


def _started(job: JsonObject) -> int:
    return ms_at(str_at(job, "status", "startTime"))


# --- when ---


def _schedule(cron: JsonObject) -> tuple[CronSchedule | None, Said | None]:
    zone, text = str_at(cron, "spec", "timeZone"), str_at(cron, "spec", "schedule")
    try:
        if zone:
            time_zone(zone)
    except InvalidError as error:
        return None, Said("UnknownTimeZone", f'invalid timeZone: "{zone}": {error}', warning=True)
    try:
        return parse_schedule(text, zone), None
    except InvalidError as error:
        return None, Said("UnparseableSchedule", f'unparseable schedule: "{text}" : {error}', warning=True)


def _begun(cron: JsonObject, step: Plan, schedule: CronSchedule, now_ms: int) -> Plan:
    earliest_ms = _earliest_ms(cron, step.status)
    deadline_s = dig(cron, "spec", "startingDeadlineSeconds")
    since_ms = earliest_ms
    if isinstance(deadline_s, int):
        since_ms = max(since_ms, now_ms - 1000 * deadline_s)
    due_ms = _last_ms(schedule, earliest_ms, since_ms, now_ms)
    next_ms = _next_ms(schedule, earliest_ms, now_ms)
    step = replace(step, again_ms=None if next_ms is None else next_ms + _MARGIN_MS)
    if next_ms is None and due_ms is None:
        text = f"invalid schedule: {str_at(cron, 'spec', 'schedule')} : it never comes"
        return replace(step, said=(*step.said, Said("InvalidSchedule", text, warning=True)))
    if due_ms is None:
        return step
    if _missed(schedule, since_ms, now_ms) > _MISSED_MAX:
        text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        step = replace(step, said=(*step.said, Said("TooManyMissedTimes", text, warning=True)))
    if isinstance(deadline_s, int) and due_ms + 1000 * deadline_s < now_ms:
        text = f"Missed scheduled time to start a job: {format_datetime(_utc(due_ms))}"
        return replace(step, said=(*step.said, Said("MissSchedule", text, warning=True)))
    return _allowed(cron, step, due_ms)


def _allowed(cron: JsonObject, step: Plan, due_ms: int) -> Plan:
    """Whether the Job of that time may begin now, and what is to end first."""
    active = maps_at(step.status, "active")
    name = job_name(cron, due_ms)
    if any(str_at(each, "name") == name for each in active):
        return step
    policy = str_at(cron, "spec", "concurrencyPolicy")
    if policy == "Forbid" and active:
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return replace(step, said=(*step.said, Said("JobAlreadyActive", text)))
    return replace(step, begins_ms=due_ms, replaced=tuple(active) if policy == "Replace" else ())


def _earliest_ms(cron: JsonObject, status: JsonObject) -> int:
    return ms_at(str_at(status, "lastScheduleTime") or str_at(cron, "metadata", "creationTimestamp"))


def _last_ms(schedule: CronSchedule, earliest_ms: int, since_ms: int, now_ms: int) -> int | None:
    """The last time that came after `since_ms` and not after now; None where none did. A schedule of a while counts
    from `earliest_ms`."""
    if schedule.every_s:
        count = (now_ms - earliest_ms) // (1000 * schedule.every_s)
        at_ms = earliest_ms + count * 1000 * schedule.every_s
        return at_ms if count > 0 and at_ms > since_ms else None
    first_ms = schedule.next_ms(since_ms)
    if first_ms is None or first_ms > now_ms:
        return None
    # The last of what may be half a million: the next after `low` has come, the next after `high` has not.
    low, high = first_ms // _MINUTE_MS, now_ms // _MINUTE_MS
    while high - low > 1:
        middle = (low + high) // 2
        coming_ms = schedule.next_ms(middle * _MINUTE_MS - 1)
        if coming_ms is not None and coming_ms <= now_ms:
            low = middle
        else:
            high = middle
    last_ms = schedule.next_ms(high * _MINUTE_MS - 1)
    if last_ms is None or last_ms > now_ms:
        last_ms = schedule.next_ms(low * _MINUTE_MS - 1)
    return last_ms


def _next_ms(schedule: CronSchedule, earliest_ms: int, now_ms: int) -> int | None:
    """The first time after now. A schedule of a while counts from `earliest_ms`, however often it is looked at."""
    if not schedule.every_s:
        return schedule.next_ms(max(now_ms, earliest_ms))
    while_ms = 1000 * schedule.every_s
    return earliest_ms + (max(0, now_ms - earliest_ms) // while_ms + 1) * while_ms


def _missed(schedule: CronSchedule, since_ms: int, now_ms: int) -> int:
    """About how many times came: as many as if all had the distance of the first two."""
    first_ms = schedule.next_ms(since_ms)
    second_ms = None if first_ms is None else schedule.next_ms(first_ms)
    if first_ms is None or second_ms is None or second_ms > now_ms:
        return 0
    return (now_ms - first_ms) // (second_ms - first_ms) + 1


# --- Jobs ---


def job_name(cron: JsonObject, at_ms: int) -> str:
    """By the minute: whoever makes the Job of that time again, after a crash, finds that it is there."""
    return f"{name_of(cron)}-{at_ms // _MINUTE_MS}"


def new_job(cron: JsonObject, at_ms: int) -> JsonObject:
    """The Job of that time, as sent to the API."""
    template = map_at(cron, "spec", "jobTemplate")
    zone = str_at(cron, "spec", "timeZone")
    annotations: JsonObject = {**map_at(template, "metadata", "annotations")}
    annotations[SCHEDULED_AT] = _rfc3339(at_ms, time_zone(zone) if zone else UTC)
    metadata: JsonObject = {
        "name": job_name(cron, at_ms),
        "namespace": namespace_of(cron),
        "labels": {**map_at(template, "metadata", "labels")},
        "annotations": annotations,
        "ownerReferences": [controller_reference(cron)],
    }
    kept: JsonObject = {name: value for name, value in metadata.items() if value}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": kept, "spec": map_at(template, "spec")}


def with_begun(status: JsonObject, job: JsonObject, at_ms: int) -> JsonObject:
    """The status, once the Job of that time is there."""
    active: list[Json] = [*maps_at(status, "active")]
    if not _ended(job) and all(str_at(each, "uid") != uid_of(job) for each in active):
        active.append(reference(job))
    noted = {**status, "lastScheduleTime": time_text(at_ms)}
    _put(noted, "active", active)
    return noted


def without(status: JsonObject, uid: str) -> JsonObject:
    """The status, once that Job was ended."""
    noted = dict(status)
    _put(noted, "active", [each for each in maps_at(status, "active") if str_at(each, "uid") != uid])
    return noted


def reference(job: JsonObject) -> JsonObject:
    """core/v1 ObjectReference."""
    return {
        "kind": "Job",
        "namespace": namespace_of(job),
        "name": name_of(job),
        "uid": uid_of(job),
        "apiVersion": "batch/v1",
        "resourceVersion": str_at(job, "metadata", "resourceVersion"),
    }


def _put(status: JsonObject, name: str, value: Sequence[Json]) -> None:
    if value:
        status[name] = [*value]
    else:
        status.pop(name, None)


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _rfc3339(at_ms: int, zone: tzinfo) -> str:
    return _utc(at_ms).astimezone(zone).isoformat(timespec="seconds").replace("+00:00", "Z")
