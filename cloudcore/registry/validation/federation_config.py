"""What a KubeFedConfig may say, as KubeFed's webhook refuses it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.federation_config import (
    DISABLED,
    ENABLED,
    GATES,
    OLD_GATES,
    counts_of,
    durations_of,
    seconds_of,
)
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.validation.faults import duplicate, immutable, invalid, one_of

_JITTER: Final = 1.2
"""Of retries (client-go's `leaderelection.JitterFactor`)."""
_POSITIVE: Final = "should be greater than 0"


def validate_config(obj: JsonObject, old: JsonObject | None) -> Iterator[Cause]:
    """`obj` with its defaults."""
    spec = map_at(obj, "spec")
    yield from one_of("spec.scope", str_at(spec, "scope"), ("Cluster", "Namespaced"))
    if old is not None:
        yield from immutable("spec.scope", str_at(spec, "scope"), str_at(old, "spec", "scope"))
    yield from _amounts(obj)
    yield from _election(spec)
    yield from _gates(spec)
    adopt = str_at(spec, "syncController", "adoptResources")
    yield from one_of("spec.syncController.adoptResources", adopt, (ENABLED, DISABLED))


def _amounts(obj: JsonObject) -> Iterator[Cause]:
    for field, value in durations_of(obj).items():
        seconds = seconds_of(value) if isinstance(value, str) else None
        if seconds is None:
            yield invalid(field, value, "must be a duration, such as 500ms, 10s or 1m30s")
        elif seconds <= 0:
            yield invalid(field, value, _POSITIVE)
    for field, value in counts_of(obj).items():
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            yield invalid(field, value, _POSITIVE)


def _election(spec: JsonObject) -> Iterator[Cause]:
    said = map_at(spec, "leaderElect")
    lease_s, renew_s, retry_s = (
        seconds_of(str_at(said, field)) for field in ("leaseDuration", "renewDeadline", "retryPeriod")
    )
    if lease_s and renew_s and lease_s <= renew_s:
        field = "spec.leaderElect.leaseDuration"
        yield invalid(field, str_at(said, "leaseDuration"), "leaseDuration must be greater than renewDeadline")
    if renew_s and retry_s and renew_s <= retry_s * _JITTER:
        detail = f"renewDeadline must be greater than retryPeriod*JitterFactor({_JITTER})"
        yield invalid("spec.leaderElect.renewDeadline", str_at(said, "renewDeadline"), detail)
    locks = ("configmaps", "endpoints")
    yield from one_of("spec.leaderElect.resourceLock", str_at(said, "resourceLock"), locks)


def _gates(spec: JsonObject) -> Iterator[Cause]:
    seen: set[str] = set()
    for at, gate in enumerate(maps_at(spec, "featureGates")):
        field, name = f"spec.featureGates[{at}]", str_at(gate, "name")
        if name in seen:
            yield duplicate(f"{field}.name", name)
            continue
        seen.add(name)
        yield from one_of(f"{field}.name", name, (*GATES, *OLD_GATES))
        yield from one_of(f"{field}.configuration", str_at(gate, "configuration"), (ENABLED, DISABLED))
