"""Kinds that are one storage under several group versions: what is kept, and how each version shows it.

Events are kept as core/v1 and also spoken as events.k8s.io/v1; HorizontalPodAutoscalers are kept as autoscaling/v2
and also spoken as v1; versions of a custom kind (conversion strategy None), and of ClusterTrustBundle, differ in
nothing but their apiVersion.
Field mappings are Kubernetes' own (`pkg/apis/{events,autoscaling}/v1/conversion.go`). Pure; keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from skerry.errors import BadRequestError
from skerry.frozen import Frozen, replace
from skerry.objects.json import Json, JsonObject, decode_object, dig, encode_object, int_at, map_at, maps_at, str_at
from skerry.objects.meta import annotations_of
from skerry.objects.scheme import Kind, Scheme
from skerry.objects.times import micro_time_text, parse_time

Convert = Callable[[JsonObject], JsonObject]


class Version(Frozen):
    """How one spoken kind relates to the kept one."""

    spoken: Kind
    kept: Kind
    to_kept: Convert | None
    """None: both are the same."""
    to_spoken: Convert | None

    @property
    def same(self) -> bool:
        return self.to_spoken is None

    def keep(self, obj: JsonObject) -> JsonObject:
        return obj if self.to_kept is None else self.to_kept(obj)

    def speak(self, obj: JsonObject) -> JsonObject:
        return obj if self.to_spoken is None else self.to_spoken(obj)

    def speak_bytes(self, body: bytes) -> bytes:
        return body if self.to_spoken is None else encode_object(self.to_spoken(decode_object(body)))


def version_of(scheme: Scheme, kind: Kind) -> Version:
    """How objects of `kind` are kept."""
    kept = _kept(scheme, kind)
    if kind.group == "events.k8s.io" and kept.group == "":
        return Version(spoken=kind, kept=kept, to_kept=_to_core_event, to_spoken=_to_new_event)
    if kind.group == "autoscaling" and kept.version != kind.version:
        return Version(spoken=kind, kept=kept, to_kept=_to_hpa_v2, to_spoken=_to_hpa_v1)
    if kept is not kind or (kind.custom and _has_siblings(scheme, kind)):
        return Version(
            spoken=kind,
            kept=kept,
            to_kept=lambda obj: {**obj, "apiVersion": kept.api_version},
            to_spoken=lambda obj: {**obj, "apiVersion": kind.api_version},
        )
    return Version(spoken=kind, kept=kind, to_kept=None, to_spoken=None)


def _kept(scheme: Scheme, kind: Kind) -> Kind:
    if kind.storage and kind.storage != kind.resource:
        found = scheme.of_resource(kind.storage)
        assert found is not None, "a storage named in the table is a kind of the table"
        return found
    if kind.stored_version and kind.stored_version != kind.version:
        found = scheme.at(kind.group, kind.stored_version, kind.plural)
        return found or replace(kind, version=kind.stored_version)
    return kind


def _has_siblings(scheme: Scheme, kind: Kind) -> bool:
    """Objects written before the storage version moved on still carry an older apiVersion."""
    return any(
        other.plural == kind.plural and other.group == kind.group and other.version != kind.version
        for other in scheme
    )


def _renamed(obj: JsonObject, names: dict[str, str]) -> JsonObject:
    return {names.get(name, name): value for name, value in obj.items() if value is not None}


# --- events ------------------------------------------------------------------------------------------------

_CORE_TO_NEW: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_NEW_TO_CORE: Final = {new: core for core, new in _CORE_TO_NEW.items()}


def _to_new_event(obj: JsonObject) -> JsonObject:
    """`eventTime` is required in this version, and clients that check so (the Python client) refuse a null: an event
    that was counted the older way shows when it was seen last."""
    shown = _renamed(obj, _CORE_TO_NEW)
    shown.setdefault("eventTime", _seen(obj))
    return {**shown, "apiVersion": "events.k8s.io/v1"}


def _to_core_event(obj: JsonObject) -> JsonObject:
    """An `eventTime` that was only shown is not kept: core/v1 goes on without one."""
    kept = _renamed(obj, _NEW_TO_CORE)
    if "eventTime" in kept and kept["eventTime"] == _seen(kept):
        del kept["eventTime"]
    return {**kept, "apiVersion": "v1"}


def _seen(event: JsonObject) -> str | None:
    """When a core/v1 event was seen last, as MicroTime; None where it does not say."""
    text = str_at(event, "lastTimestamp") or str_at(event, "firstTimestamp")
    return micro_time_text(parse_time(text)) if text else None


# --- autoscaling ---------------------------------------------------------------------------------------------

_METRICS: Final = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR: Final = "autoscaling.alpha.kubernetes.io/behavior"


def _is_cpu_utilization(metric: JsonObject) -> bool:
    return (
        str_at(metric, "type") == "Resource"
        and str_at(metric, "resource", "name") == "cpu"
        and str_at(metric, "resource", "target", "type") == "Utilization"
    )


def _to_hpa_v1(obj: JsonObject) -> JsonObject:
    """What v1 has no field for travels in annotations, so that an update through v1 loses nothing."""
    spec = dict(map_at(obj, "spec"))
    annotations: JsonObject = dict(annotations_of(obj))
    rest: list[Json] = []
    for metric in maps_at(spec, "metrics"):
        if _is_cpu_utilization(metric) and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = int_at(metric, "resource", "target", "averageUtilization")
        else:
            rest.append(metric)
    spec.pop("metrics", None)
    behavior = spec.pop("behavior", None)
    if rest:
        annotations[_METRICS] = encode_object({"metrics": rest}).decode()
    if behavior is not None:
        annotations[_BEHAVIOR] = encode_object({"behavior": behavior}).decode()
    status = dict(map_at(obj, "status"))
    for metric in maps_at(status, "currentMetrics"):
        if str_at(metric, "resource", "name") == "cpu":
            status["currentCPUUtilizationPercentage"] = int_at(metric, "resource", "current", "averageUtilization")
    for name in ("currentReplicas", "desiredReplicas"):
        status.setdefault(name, 0)  # required in v1, left out at zero in v2
    for name in ("currentMetrics", "conditions"):
        status.pop(name, None)
    return {
        **obj,
        "apiVersion": "autoscaling/v1",
        "metadata": _annotated(obj, annotations),
        "spec": spec,
        "status": status,
    }


def _to_hpa_v2(obj: JsonObject) -> JsonObject:
    spec = dict(map_at(obj, "spec"))
    annotations: JsonObject = dict(annotations_of(obj))
    metrics: list[Json] = []
    percentage = spec.pop("targetCPUUtilizationPercentage", None)
    if isinstance(percentage, int):
        target: JsonObject = {"type": "Utilization", "averageUtilization": percentage}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    metrics += maps_at(_unpacked(annotations, _METRICS), "metrics")
    behavior = dig(_unpacked(annotations, _BEHAVIOR), "behavior")
    if metrics:
        spec["metrics"] = metrics
    if behavior is not None:
        spec["behavior"] = behavior
    status = dict(map_at(obj, "status"))
    status.pop("currentCPUUtilizationPercentage", None)
    return {
        **obj,
        "apiVersion": "autoscaling/v2",
        "metadata": _annotated(obj, annotations),
        "spec": spec,
        "status": status,
    }


def _annotated(obj: JsonObject, annotations: JsonObject) -> JsonObject:
    metadata: JsonObject = {**map_at(obj, "metadata"), "annotations": annotations}
    if not annotations:
        del metadata["annotations"]
    return metadata


def _unpacked(annotations: JsonObject, name: str) -> JsonObject:
    """Takes an annotation that `_to_hpa_v1` made out of the annotations."""
    text = annotations.pop(name, "")
    try:
        return decode_object(str(text).encode()) if text else {}
    except (ValueError, AssertionError) as error:
        raise BadRequestError(f"annotation {name} is not what this server wrote there: {error}") from error
