"""Events that a node tells, cut to what Kubernetes allows: pure, keeps nothing.

Only the fields of core/v1 Event that have a meaning here are kept, each with a bound; a text that is too long is cut,
as client-go cuts it, because the beginning of a message is worth more than a refusal that nobody sees.
"""

from __future__ import annotations

from typing import Final

from skerry.errors import BadRequestError, ProtocolError
from skerry.objects.json import JsonObject, int_at, map_at, str_at
from skerry.objects.kept_writes import WRITER_LENGTH_MAX, WRITTEN_BY
from skerry.objects.names import label_1123_faults, subdomain_faults
from skerry.objects.times import micro_time_text, parse_time, time_text

REASON_LENGTH_MAX: Final = 128
MESSAGE_LENGTH_MAX: Final = 1024
_COMPONENT_LENGTH_MAX: Final = 128
_FIELD_PATH_LENGTH_MAX: Final = 256
_UID_LENGTH_MAX: Final = 128
_COUNT_MAX: Final = 2**31 - 1
_CLOCK_OFF_MS: Final = 5000
"""Times of an event are moved when the gateway's clock is off by more than this."""
_TIMES: Final = (("firstTimestamp", time_text), ("lastTimestamp", time_text), ("eventTime", micro_time_text))


def bounded_event(told: JsonObject, *, node: str, wall_ms: int, at_ms: int) -> JsonObject:
    """The Event to store; when it was told the gateway's wall clock read `wall_ms`, and the cloud's `at_ms`.

    No owners and no finalizers: what a node says must not outlive its time, nor hold up anybody's deletion. Raises
    `ProtocolError` for a name that can't be one, or a time that is none."""
    namespace, name = str_at(told, "metadata", "namespace"), str_at(told, "metadata", "name")
    about = map_at(told, "involvedObject")
    _named(namespace, name)
    event: JsonObject = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": name},
        "involvedObject": {
            "kind": str_at(about, "kind")[:_COMPONENT_LENGTH_MAX],
            "namespace": str_at(about, "namespace"),
            "name": str_at(about, "name"),
            "uid": str_at(about, "uid")[:_UID_LENGTH_MAX],
            "fieldPath": str_at(about, "fieldPath")[:_FIELD_PATH_LENGTH_MAX],
        },
        "reason": str_at(told, "reason")[:REASON_LENGTH_MAX],
        "message": str_at(told, "message")[:MESSAGE_LENGTH_MAX],
        "type": "Warning" if str_at(told, "type") == "Warning" else "Normal",
        "count": min(max(1, int_at(told, "count", default=1)), _COUNT_MAX),
        "source": {"component": str_at(told, "source", "component")[:_COMPONENT_LENGTH_MAX], "host": node},
    }
    if writer := str_at(told, "metadata", "annotations", WRITTEN_BY):
        event["metadata"] = {**map_at(event, "metadata"), "annotations": {WRITTEN_BY: writer[:WRITER_LENGTH_MAX]}}
    for field in ("action", "reportingComponent", "reportingInstance"):
        if text := str_at(told, field):
            event[field] = text[:_COMPONENT_LENGTH_MAX]
    for field, text_of in _TIMES:
        if value := str_at(told, field):
            event[field] = text_of(_moved(_time(field, value), wall_ms=wall_ms, at_ms=at_ms))
    return event


def _moved(told_ms: int, *, wall_ms: int, at_ms: int) -> int:
    """A time by the cloud's clock. Some of a gateway's rooms date by its wall clock, which may say 1970, and some by
    what they have learnt of the cloud's: such a time is right already."""
    if abs(at_ms - wall_ms) <= _CLOCK_OFF_MS or abs(told_ms - at_ms) < abs(told_ms - wall_ms):
        return told_ms
    return told_ms + at_ms - wall_ms


def _named(namespace: str, name: str) -> None:
    for field, faults in (("namespace", label_1123_faults(namespace)), ("name", subdomain_faults(name))):
        if faults:
            raise ProtocolError(f"event: metadata.{field} is not a name: {faults[0]}")


def _time(field: str, value: str) -> int:
    try:
        return parse_time(value)
    except BadRequestError as error:
        raise ProtocolError(f"event: {field} is not a time") from error
