"""The shapes of metrics.k8s.io/v1beta1 (`kubectl top`), as OpenAPI definitions. Keeps no data.

Source: k8s.io/metrics `pkg/apis/metrics/v1beta1/types.go`.
"""

from __future__ import annotations

from typing import Final

from cloudcore.registry.definition_parts import GroupParts, obj, string
from skerry.objects.json import JsonObject

PREFIX: Final = "io.k8s.metrics.pkg.apis.metrics.v1beta1."
_PARTS: Final = GroupParts(prefix=PREFIX, group="metrics.k8s.io", version="v1beta1")


def metrics_definitions() -> dict[str, JsonObject]:
    """Definitions by name, `$ref`s in the carrier's own form (`#/$defs/NAME`)."""
    return {
        PREFIX + "NodeMetrics": _PARTS.kind(
            "NodeMetrics", "What a node uses.", usage=_usage(), timestamp=_timestamp(), window=_window()
        ),
        PREFIX + "NodeMetricsList": _PARTS.list_kind("NodeMetrics"),
        PREFIX + "PodMetrics": _PARTS.kind(
            "PodMetrics",
            "What a pod's containers use.",
            containers=_PARTS.list_of("ContainerMetrics", "Each of them."),
            timestamp=_timestamp(),
            window=_window(),
        ),
        PREFIX + "PodMetricsList": _PARTS.list_kind("PodMetrics"),
        PREFIX + "ContainerMetrics": obj("What a container uses.", name=string("Of the container."), usage=_usage()),
    }


def _usage() -> JsonObject:
    return {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/io.k8s.apimachinery.pkg.api.resource.Quantity"},
        "description": "cpu: processors at work; memory: the working set.",
    }


def _timestamp() -> JsonObject:
    return {
        "$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        "description": "The end of the time that the rates are of.",
    }


def _window() -> JsonObject:
    return string("How long that time is, as a Go duration: 1s.")
