"""Events about pods as the kubelet writes them, for the outbox. Pure: time and chance are given."""

from __future__ import annotations

from skerry.frozen import Frozen
from skerry.objects.events import event_object as told_event
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.reports import EVENT, EventReport


class Happening(Frozen):
    """One thing worth telling people. `container` is "" for the pod as a whole."""

    reason: str
    message: str
    container: str = ""
    warning: bool = False


def event_object(pod: JsonObject, what: Happening, *, node: str, suffix: str, now_ms: int) -> JsonObject:
    """A core/v1 Event; `suffix` makes its name unique."""
    about: JsonObject = {"kind": "Pod", "apiVersion": "v1", "metadata": pod.get("metadata")}
    event = told_event(
        about, what.reason, what.message, node=node, suffix=suffix, now_ms=now_ms, warning=what.warning
    )
    if what.container:
        inits = {str_at(each, "name") for each in maps_at(pod, "spec", "initContainers")}
        where = "initContainers" if what.container in inits else "containers"
        map_at(event, "involvedObject")["fieldPath"] = f"spec.{where}{{{what.container}}}"
    return event


def node_event(node: str, reason: str, message: str, *, suffix: str, now_ms: int) -> JsonObject:
    """A warning about the gateway itself, where Kubernetes has those of nodes."""
    return told_event(about_node(node), reason, message, node=node, suffix=suffix, now_ms=now_ms, warning=True)


def about_node(node: str) -> JsonObject:
    """What an Event of the gateway is about. As a kubelet names its Node in events: the name stands for the uid."""
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": node, "namespace": "default", "uid": node}}


def event_body(event: JsonObject) -> tuple[str, bytes]:
    """Kind and body of the report."""
    return EVENT, EventReport(event=event).encode()
