"""What the API counts about itself, in Prometheus' text format 0.0.4. Numbers begin again with the process."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

BOUNDS_S: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
SERIES_MAX: Final = 5000
"""Label sets kept; the paths of a scanner must not become our memory."""

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0


@dataclass(slots=True)
class Metrics:
    """Requests by verb and resource, their duration, and what is running now."""

    requests: Counter[Labels] = field(default_factory=Counter[Labels])
    durations: dict[Labels, _Histogram] = field(default_factory=dict[Labels, _Histogram])
    running: Counter[Labels] = field(default_factory=Counter[Labels])

    def answered(self, *, verb: str, resource: str, code: int, seconds: float) -> None:
        key = (("code", str(code)), ("resource", resource), ("verb", verb))
        if key in self.requests or len(self.requests) < SERIES_MAX:
            self.requests[key] += 1
        which = key[1:]
        histogram = self.durations.get(which)
        if histogram is None:
            if len(self.durations) >= SERIES_MAX:
                return
            histogram = self.durations[which] = _Histogram()
        histogram.counts[bisect_left(BOUNDS_S, seconds)] += 1
        histogram.total_s += seconds

    def began(self, verb: str) -> None:
        self.running[(("verb", verb),)] += 1

    def ended(self, verb: str) -> None:
        self.running[(("verb", verb),)] -= 1


def exposition(metrics: Metrics, gauges: Iterable[tuple[str, str, float]]) -> bytes:
    """The page. `gauges`: name, help, value of whatever else there is to tell."""
    lines = [
        "# HELP apiserver_request_total Requests answered.",
        "# TYPE apiserver_request_total counter",
    ]
    lines += [f"apiserver_request_total{_labels(key)} {count}" for key, count in sorted(metrics.requests.items())]
    lines += [
        "# HELP apiserver_request_duration_seconds Time until a request was answered; watches and logs apart.",
        "# TYPE apiserver_request_duration_seconds histogram",
    ]
    for key, histogram in sorted(metrics.durations.items(), key=lambda item: item[0]):
        lines += _histogram(key, histogram)
    lines += [
        "# HELP apiserver_current_inflight_requests Requests being answered now.",
        "# TYPE apiserver_current_inflight_requests gauge",
    ]
    lines += [
        f"apiserver_current_inflight_requests{_labels(key)} {count}" for key, count in sorted(metrics.running.items())
    ]
    for name, text, value in gauges:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {value:g}"]
    return ("\n".join(lines) + "\n").encode()


def _histogram(key: Labels, histogram: _Histogram) -> list[str]:
    name = "apiserver_request_duration_seconds"
    lines: list[str] = []
    below = 0
    for bound, count in zip((*BOUNDS_S, None), histogram.counts, strict=True):
        below += count
        limit = "+Inf" if bound is None else f"{bound:g}"
        lines.append(f"{name}_bucket{_labels((*key, ('le', limit)))} {below}")
    return [*lines, f"{name}_sum{_labels(key)} {histogram.total_s:.6f}", f"{name}_count{_labels(key)} {below}"]


def _labels(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
