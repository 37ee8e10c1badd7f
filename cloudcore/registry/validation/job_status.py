"""What a Job's status may say, and become (`validateJobStatus` of `pkg/apis/batch/validation`). Pure.

Others than the control plane may manage a Job (`managedBy`), and who waits for it must be able to rely on what it
says: what has ended stays ended, counters never fall. A rule is applied where what it is about has changed, so that a
status that breaks one can still be written otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudcore.registry.validation.job_indexes import indexes_fault, overlap_fault
from skerry.errors import Cause
from skerry.objects.conditions import is_true
from skerry.objects.json import JsonObject, bool_at, int_at, list_at, map_at, str_at, strs_at
from skerry.objects.times import ms_at
from skerry.validation.faults import at_least, duplicate, invalid, required

_CONDITIONS = "status.conditions"


def validate_job_status(obj: JsonObject, old: JsonObject) -> Iterator[Cause]:
    for name in ("active", "succeeded", "failed", "ready", "terminating"):
        yield from at_least("status", map_at(obj, "status"), name, 0)
    yield from _validate_uncounted(obj)
    yield from _validate_ends(obj, old)
    yield from _validate_times(obj, old)
    yield from _validate_counts(obj, old)
    yield from _validate_indexes(obj, old)


def _changed(obj: JsonObject, old: JsonObject, *names: str) -> bool:
    new, before = map_at(obj, "status"), map_at(old, "status")
    return any((new.get(name) or None) != (before.get(name) or None) for name in names)


def _turned(obj: JsonObject, old: JsonObject, *types: str) -> bool:
    return any(is_true(obj, type_) != is_true(old, type_) for type_ in types)


def _is_finished(obj: JsonObject) -> bool:
    return is_true(obj, "Complete") or is_true(obj, "Failed")


def _validate_uncounted(obj: JsonObject) -> Iterator[Cause]:
    seen: set[str] = set()
    for name in ("succeeded", "failed"):
        for number, uid in enumerate(strs_at(obj, "status", "uncountedTerminatedPods", name)):
            field = f"status.uncountedTerminatedPods.{name}[{number}]"
            if not uid:
                yield invalid(field, uid, "must not be empty")
            elif uid in seen:
                yield duplicate(field, uid)
            seen.add(uid)


def _validate_ends(obj: JsonObject, old: JsonObject) -> Iterator[Cause]:
    complete, failed = is_true(obj, "Complete"), is_true(obj, "Failed")
    target, met = is_true(obj, "FailureTarget"), is_true(obj, "SuccessCriteriaMet")
    if complete and failed and _turned(obj, old, "Complete", "Failed"):
        yield _of_conditions("cannot set Complete=True and Failed=true conditions")
    if complete and target and _turned(obj, old, "Complete", "FailureTarget"):
        yield _of_conditions("cannot set Complete=True and FailureTarget=true conditions")
    if failed and not target and _turned(obj, old, "Failed", "FailureTarget"):
        yield _of_conditions("cannot set Failed=True condition without the FailureTarget=true condition")
    if complete and not met and _turned(obj, old, "Complete", "SuccessCriteriaMet"):
        yield _of_conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if met and failed:
        yield _of_conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if met and target:
        yield _of_conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    for type_ in ("Failed", "Complete", "FailureTarget"):
        if is_true(old, type_) and not is_true(obj, type_):
            yield _of_conditions(f"cannot disable the terminal {type_}=True condition")
    if is_true(old, "SuccessCriteriaMet") and not met:
        yield _of_conditions("cannot disable the SuccessCriteriaMet=True condition")
    if is_true(old, "Complete") and not is_true(old, "SuccessCriteriaMet") and met:
        text = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        yield _of_conditions(text)


def _validate_times(obj: JsonObject, old: JsonObject) -> Iterator[Cause]:
    started, ended = str_at(obj, "status", "startTime"), str_at(obj, "status", "completionTime")
    before, ended_before = str_at(old, "status", "startTime"), str_at(old, "status", "completionTime")
    complete = is_true(obj, "Complete")
    if _turned(obj, old, "Complete") or ended != ended_before:
        if ended and not complete:
            text = "cannot set completionTime when there is no Complete=True condition"
            yield invalid("status.completionTime", ended, text)
        elif complete and not ended:
            yield required("status.completionTime", "completionTime is required for Complete jobs")
    if started and ended and ms_at(ended) < ms_at(started) and (started != before or ended != ended_before):
        yield invalid("status.completionTime", ended, "completionTime cannot be set before startTime")
    if ended and ended_before and ended != ended_before:
        yield invalid("status.completionTime", ended, "completionTime cannot be mutated")
    ends = _is_finished(obj) and (_is_finished(obj) != _is_finished(old) or started != before)
    if ends and not started:
        yield required("status.startTime", "startTime is required for finished job")
    if before and started != before and not bool_at(obj, "spec", "suspend"):
        yield required("status.startTime", "startTime cannot be removed for unsuspended job")


def _validate_counts(obj: JsonObject, old: JsonObject) -> Iterator[Cause]:
    status = map_at(obj, "status")
    ends = _is_finished(obj) != _is_finished(old)
    finished = _is_finished(obj)
    for name in ("active", "terminating"):
        count = int_at(status, name)
        if finished and count > 0 and (ends or _changed(obj, old, name)):
            yield invalid(f"status.{name}", count, f"{name}>0 is invalid for finished job")
    uncounted = map_at(status, "uncountedTerminatedPods")
    waiting = any(list_at(uncounted, name) for name in ("succeeded", "failed"))
    if finished and waiting and (ends or _changed(obj, old, "uncountedTerminatedPods")):
        text = "uncountedTerminatedPods needs to be empty for finished job"
        yield invalid("status.uncountedTerminatedPods", uncounted, text)
    ready = int_at(status, "ready")
    if ready > int_at(status, "active") and _changed(obj, old, "ready", "active"):
        yield invalid("status.ready", ready, "cannot set more ready pods than active")
    if int_at(status, "failed") < int_at(old, "status", "failed"):
        yield invalid("status.failed", int_at(status, "failed"), "cannot decrease the failed counter")
    spec = map_at(obj, "spec")
    is_elastic = str_at(spec, "completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if int_at(status, "succeeded") < int_at(old, "status", "succeeded") and not is_elastic:
        yield invalid("status.succeeded", int_at(status, "succeeded"), "cannot decrease the succeeded counter")


def _validate_indexes(obj: JsonObject, old: JsonObject) -> Iterator[Cause]:
    spec, status = map_at(obj, "spec"), map_at(obj, "status")
    completions = int_at(spec, "completions")
    has_limit = isinstance(spec.get("backoffLimitPerIndex"), int)
    done, lost = str_at(status, "completedIndexes"), str_at(status, "failedIndexes")
    is_new = _changed(obj, old, "completedIndexes")
    if is_new and "completions" in spec and (fault := indexes_fault(done, completions)[1]):
        yield invalid("status.completedIndexes", done, f"error parsing completedIndexes: {fault}")
    if is_new and done and str_at(spec, "completionMode") != "Indexed":
        text = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield invalid("status.completedIndexes", done, text)
    if _changed(obj, old, "failedIndexes"):
        if not has_limit:
            text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            yield invalid("status.failedIndexes", lost, text)
        elif "completions" in spec and (fault := indexes_fault(lost, completions)[1]):
            yield invalid("status.failedIndexes", lost, f"error parsing failedIndexes: {fault}")
    fault = overlap_fault(done, lost, completions) if "completions" in spec else ""
    if fault and _changed(obj, old, "completedIndexes", "failedIndexes"):
        yield invalid("status.failedIndexes", lost, fault)


def _of_conditions(text: str) -> Cause:
    return Cause(field=_CONDITIONS, reason="FieldValueInvalid", message=f"Invalid value: {text}")
