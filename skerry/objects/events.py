"""Events (core/v1) as a gateway's rooms tell them. Pure: time and chance are given."""

from __future__ import annotations

from typing import Final

from skerry.objects.json import JsonObject
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.objects.times import time_text

COMPONENT: Final = "edgecore"
_NAME_LENGTH_MAX: Final = 200
"""Of the object's name in that of its Event, which has room for 253 characters."""


def event_object(
    about: JsonObject, reason: str, message: str, *, node: str, suffix: str, now_ms: int, warning: bool
) -> JsonObject:
    """An Event about an object that has its kind, `apiVersion` and metadata; `suffix` makes its name unique."""
    name = name_of(about)[:_NAME_LENGTH_MAX].rstrip("-.")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{name}.{suffix}",
            "namespace": namespace_of(about),
        },
        "involvedObject": {
            "kind": about.get("kind"),
            "apiVersion": about.get("apiVersion"),
            "namespace": namespace_of(about),
            "name": name_of(about),
            "uid": uid_of(about),
        },
        "reason": reason,
        "message": message,
        "type": "Warning" if warning else "Normal",
        "count": 1,
        "firstTimestamp": time_text(now_ms),
        "lastTimestamp": time_text(now_ms),
        "eventTime": None,
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
    }
