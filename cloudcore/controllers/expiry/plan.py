"""When a Job that has ended is to go. Pure; keeps nothing."""

from __future__ import annotations

from skerry.objects.conditions import condition_of
from skerry.objects.json import JsonObject, dig, str_at
from skerry.objects.meta import being_deleted
from skerry.objects.times import ms_at


def expires_ms(job: JsonObject) -> int | None:
    """None: never, or it is not finished, or it goes already."""
    ttl_s = dig(job, "spec", "ttlSecondsAfterFinished")
    if not isinstance(ttl_s, int) or being_deleted(job):
        return None
    for type_ in ("Complete", "Failed"):
        condition = condition_of(job, type_)
        if condition is not None and str_at(condition, "status") == "True":
            return ms_at(str_at(condition, "lastTransitionTime")) + 1000 * ttl_s
    return None
