"""Events about pods as the kubelet writes them, for the outbox. Pure: time and chance are given."""

from __future__ import annotations

from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.objects.reports import EVENT, EventReport
from skerry.objects.times import time_text

COMPONENT = "edgecore"


class Happening(Frozen):
    """One thing worth telling people. `container` is "" for the pod as a whole."""

    reason: str
    message: str
    container: str = ""
    warning: bool = False


def event_object(pod: JsonObject, what: Happening, *, node: str, suffix: str, now_ms: int) -> JsonObject:
    """A core/v1 Event; `suffix` makes its name unique."""
    about: JsonObject = {
        "kind": "Pod",
        "apiVersion": "v1",
        "namespace": namespace_of(pod),
        "name": name_of(pod),
        "uid": uid_of(pod),
    }
    if what.container:
        about["fieldPath"] = f"spec.containers{{{what.container}}}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name_of(pod)}.{suffix}", "namespace": namespace_of(pod)},
        "involvedObject": about,
        "reason": what.reason,
        "message": what.message,
        "type": "Warning" if what.warning else "Normal",
        "count": 1,
        "firstTimestamp": time_text(now_ms),
        "lastTimestamp": time_text(now_ms),
        "eventTime": None,
        "source": {"component": COMPONENT, "host": node},
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
    }


def event_body(event: JsonObject) -> tuple[str, bytes]:
    """Kind and body of the report."""
    return EVENT, EventReport(event=event).encode()
