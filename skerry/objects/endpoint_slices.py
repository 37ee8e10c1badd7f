"""EndpointSlices, as far as others than who makes them look into them. Pure; keeps nothing."""

from __future__ import annotations

from typing import Final

from skerry.objects.json import JsonObject, bool_at, maps_at

SLICES: Final = "endpointslices.discovery.k8s.io"
SERVICE_LABEL: Final = "kubernetes.io/service-name"


def has_ready(slice_: JsonObject) -> bool:
    """Whether anybody in it is ready; who does not say counts as ready (discovery/v1)."""
    return any(bool_at(each, "conditions", "ready", default=True) for each in maps_at(slice_, "endpoints"))
