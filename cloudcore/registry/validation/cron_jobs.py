"""What CronJobs may say (`pkg/apis/batch/validation`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloudcore.registry.validation.jobs import validate_job_spec
from skerry.errors import Cause, InvalidError
from skerry.objects.cron_jobs import parse_schedule, time_zone
from skerry.objects.json import JsonObject, bool_at, map_at, str_at
from skerry.objects.meta import name_of
from skerry.validation.faults import at_least, invalid, one_of, required, unsupported

_NAME_LENGTH_MAX: Final = 52
"""`-` and the minute of its run follow, in a Job's name of 63 at most."""
_TEMPLATE: Final = "spec.jobTemplate.spec"


def validate_cron_job(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    spec = map_at(obj, "spec")
    yield from _validate_schedule(spec, old)
    yield from at_least("spec", spec, "startingDeadlineSeconds", 0)
    if old is None or spec.get("timeZone") != map_at(old, "spec").get("timeZone"):
        yield from _validate_zone(spec)
    yield from one_of("spec.concurrencyPolicy", str_at(spec, "concurrencyPolicy"), ("Allow", "Forbid", "Replace"))
    template = map_at(spec, "jobTemplate", "spec")
    if old is None or template != map_at(old, "spec", "jobTemplate", "spec"):
        # One that an older release took would not let its CronJob be suspended.
        yield from _validate_template(template)
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from at_least("spec", spec, name, 0)
    if old is None and len(name_of(obj)) > _NAME_LENGTH_MAX:
        yield invalid("metadata.name", name_of(obj), f"must be no more than {_NAME_LENGTH_MAX} characters")


def _validate_template(template: JsonObject) -> Iterator[Cause]:
    yield from validate_job_spec(_TEMPLATE, template)
    if "selector" in template:
        yield invalid(f"{_TEMPLATE}.selector", map_at(template, "selector"), "`selector` will be auto-generated")
    if bool_at(template, "manualSelector"):
        yield unsupported(f"{_TEMPLATE}.manualSelector", True, ("nil", "false"))


def _validate_schedule(spec: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    schedule = str_at(spec, "schedule")
    if not schedule:
        yield required("spec.schedule")
        return
    if old is not None and schedule == str_at(old, "spec", "schedule"):
        return  # one that an older release took would hold up every other change
    if "TZ" in schedule:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield invalid("spec.schedule", schedule, text)
        return
    try:
        parse_schedule(schedule)
    except InvalidError as error:
        yield invalid("spec.schedule", schedule, str(error))


def _validate_zone(spec: JsonObject) -> Iterator[Cause]:
    zone = spec.get("timeZone")
    if not isinstance(zone, str):
        return
    if not zone:
        yield invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
        return
    if zone.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        yield invalid("spec.timeZone", zone, text)
        return
    try:
        time_zone(zone)
    except InvalidError as error:
        yield invalid("spec.timeZone", zone, str(error))
