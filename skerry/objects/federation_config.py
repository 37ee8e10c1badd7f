"""What a KubeFedConfig says: defaults, as KubeFed's webhook fills them in, and what of it counts here. Pure.

The one that counts is `kubefed` in `kube-federation-system`. Adoption and the health check of members that are
dialled are done as it says; the rest tunes what only KubeFed has (its caches, its leader election, its workers), and
is kept as it was written.
"""

from __future__ import annotations

import re
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, ensure_map, int_at, map_at, maps_at, str_at

NAME: Final = "kubefed"
PERIOD_S_MIN: Final = 1.0
"""No member is looked at more often, whatever period is said: each look is a handshake and several requests."""

ENABLED: Final = "Enabled"
DISABLED: Final = "Disabled"
GATES: Final = {"PushReconciler": ENABLED, "RawResourceStatusCollection": DISABLED, "SchedulerPreferences": ENABLED}
"""Those of KubeFed v0.10, and what they are without a word."""
OLD_GATES: Final = ("CrossClusterServiceDiscovery", "FederatedIngress")
"""Of KubeFed before v0.7: its DNS, which is always on here."""

_DURATIONS: Final = {
    ("controllerDuration", "availableDelay"): "20s",
    ("controllerDuration", "unavailableDelay"): "1m0s",
    ("controllerDuration", "cacheSyncTimeout"): "5m0s",
    ("leaderElect", "leaseDuration"): "15s",
    ("leaderElect", "renewDeadline"): "10s",
    ("leaderElect", "retryPeriod"): "5s",
    ("clusterHealthCheck", "period"): "10s",
    ("clusterHealthCheck", "timeout"): "3s",
}
_COUNTS: Final = {
    ("clusterHealthCheck", "failureThreshold"): 3,
    ("clusterHealthCheck", "successThreshold"): 1,
    ("syncController", "maxConcurrentReconciles"): 1,
    ("statusController", "maxConcurrentReconciles"): 1,
}
_WORDS: Final = {("leaderElect", "resourceLock"): "configmaps", ("syncController", "adoptResources"): ENABLED}

_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


class HealthCheck(Frozen):
    """When a member that is dialled counts as gone, and as back."""

    period_s: float = 10.0
    failures: int = 3
    """Looks in a row without an answer."""
    successes: int = 1
    """Looks in a row with one."""


def default_config(obj: JsonObject) -> None:
    """Fill in what was left out; what was written stays."""
    spec = ensure_map(obj, "spec")
    for (part, field), value in (*_DURATIONS.items(), *_COUNTS.items(), *_WORDS.items()):
        ensure_map(spec, part).setdefault(field, value)
    gates = maps_at(spec, "featureGates")
    named = {str_at(each, "name") for each in gates}
    more: list[JsonObject] = [
        {"name": name, "configuration": said} for name, said in GATES.items() if name not in named
    ]
    in_order: list[Json] = [*sorted([*gates, *more], key=lambda each: str_at(each, "name"))]
    spec["featureGates"] = in_order


def durations_of(obj: JsonObject) -> dict[str, Json]:
    """All that are given, by field."""
    return _given(obj, _DURATIONS)


def counts_of(obj: JsonObject) -> dict[str, Json]:
    """All that are given, by field."""
    return _given(obj, _COUNTS)


def _given(obj: JsonObject, of: dict[tuple[str, str], str] | dict[tuple[str, str], int]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for part, field in of:
        section = map_at(obj, "spec", part)
        if field in section:
            found[f"spec.{part}.{field}"] = section[field]
    return found


def seconds_of(text: str) -> float | None:
    """As Go writes durations: `1m30s`, `500ms`, `0`; None for anything else."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        return None
    return sign * sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def health_check(obj: JsonObject) -> HealthCheck:
    """Of a KubeFedConfig; {} for none. What can't be read is as without a word."""
    said, usual = map_at(obj, "spec", "clusterHealthCheck"), HealthCheck()
    period_s = seconds_of(str_at(said, "period")) or 0.0
    return HealthCheck(
        period_s=max(period_s, PERIOD_S_MIN) if period_s > 0 else usual.period_s,
        failures=int_at(said, "failureThreshold") or usual.failures,
        successes=int_at(said, "successThreshold") or usual.successes,
    )
