"""Annotations that applications wrote at a gateway without a link, as the cloud takes them: pure, keeps nothing.

What was changed in the cloud meanwhile is left, and said by an Event about the pod.
"""

from __future__ import annotations

from functools import partial

from skerry.objects.json import JsonObject, str_at
from skerry.objects.kept_writes import WRITTEN_BY, PodAnnotations
from skerry.objects.meta import annotations_of, uid_of
from skerry.objects.times import time_text


def annotated(pod: JsonObject, *, node: str, told: PodAnnotations) -> JsonObject:
    """The pod with them, where it is still this node's, and as it was otherwise."""
    if not is_here(pod, node, told):
        return pod
    return told.applied(pod)


def is_here(pod: JsonObject | None, node: str, told: PodAnnotations) -> bool:
    return pod is not None and uid_of(pod) == told.uid and str_at(pod, "spec", "nodeName") == node


def transform_of(node: str, told: PodAnnotations) -> partial[JsonObject]:
    return partial(annotated, node=node, told=told)


def writer_of(event: JsonObject) -> str:
    """Which application wrote an Event at its gateway; "" for the agent itself. None changes another's."""
    return annotations_of(event).get(WRITTEN_BY, "")


def conflict_event(
    pod: JsonObject | None, told: PodAnnotations, *, node: str, seq: int, at_ms: int
) -> JsonObject | None:
    """What is told people of a conflict; None where there is none."""
    left = told.conflicts(pod) if pod is not None and is_here(pod, node, told) else []
    if not left:
        return None
    when = time_text(at_ms)
    about: JsonObject = {
        "kind": "Pod",
        "apiVersion": "v1",
        "namespace": told.namespace,
        "name": told.pod,
        "uid": told.uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{told.pod[:200].rstrip('-.')}.annotations-{seq}", "namespace": told.namespace},
        "involvedObject": about,
        "type": "Warning",
        "reason": "AnnotationsConflict",
        "message": told.sentence(left)[:1024],
        "source": {"component": "edgecore", "host": node},
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }
