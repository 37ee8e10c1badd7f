"""When a container is asked how it is, and what follows from its answers: pure.

(Kubernetes documentation, "Configure Liveness, Readiness and Startup Probes"; thresholds and holds as a kubelet has
them.) A startup probe holds back the other two until it has succeeded once. Who failed its liveness or startup probe
is not asked again: it will be ended.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject, dig, int_at, map_at

Kind: TypeAlias = Literal["startup", "liveness", "readiness"]
KINDS: Final[tuple[Kind, ...]] = ("startup", "liveness", "readiness")
Failure: TypeAlias = Literal["startup", "liveness", "postStart"]
"""What a container does not survive: two of its probes, and its first hook."""
_DEADLY: Final[tuple[Literal["startup", "liveness"], ...]] = ("startup", "liveness")


class Probe(Frozen):
    """One probe of a container, with the API's defaults."""

    kind: Kind
    source: JsonObject
    """As the manifest says it: its handler is in it."""
    initial_delay_s: int
    period_s: int
    timeout_s: int
    success_threshold: int
    failure_threshold: int
    grace_s: int | None
    """Between SIGTERM and SIGKILL of who failed it; None: the pod's."""


def probes_of(container: JsonObject) -> tuple[Probe, ...]:
    """Those that the container has."""
    return tuple(
        _probe(kind, map_at(container, f"{kind}Probe"))
        for kind in KINDS
        if isinstance(container.get(f"{kind}Probe"), dict)
    )


def _probe(kind: Kind, source: JsonObject) -> Probe:
    grace = dig(source, "terminationGracePeriodSeconds")
    return Probe(
        kind=kind,
        source=source,
        initial_delay_s=int_at(source, "initialDelaySeconds"),
        period_s=max(int_at(source, "periodSeconds", default=10), 1),
        timeout_s=max(int_at(source, "timeoutSeconds", default=1), 1),
        success_threshold=max(int_at(source, "successThreshold", default=1), 1),
        failure_threshold=max(int_at(source, "failureThreshold", default=3), 1),
        grace_s=grace if isinstance(grace, int) and kind != "readiness" else None,
    )


class Progress(Frozen):
    """What is known from one probe of one run of a container."""

    good: bool | None
    """The state that its answers have led to; None as long as they led to none."""
    last: bool | None = None
    """The newest answer."""
    row: int = 0
    """How often it came in a row."""
    message: str = ""
    """Of the newest failure."""

    def after(self, probe: Probe, *, good: bool, message: str) -> Progress:
        """One more answer; `message` says why it is no success."""
        row = self.row + 1 if good == self.last else 1
        needed = probe.success_threshold if good else probe.failure_threshold
        return replace(
            self,
            good=good if row >= needed else self.good,
            last=good,
            row=row,
            message="" if good else message,
        )


def first_progress(probe: Probe) -> Progress:
    """Of a run that has just begun: it lives, it is not ready, and nothing is known of its start."""
    return Progress(good={"liveness": True, "readiness": False, "startup": None}[probe.kind])


class Health(Frozen):
    """What probes say of one run of a container, all together."""

    started: bool
    ready: bool
    failed: Failure | None = None
    """For which it is to be ended."""
    grace_s: int | None = None
    """What the probe that failed says about its end; None: nothing."""


HEALTHY: Final = Health(started=True, ready=True)
"""Without probes a container that runs has started and is ready."""


def health_of(probes: tuple[tuple[Probe, Progress], ...], *, started: bool) -> Health:
    """`started`: it was known before, as by an agent that has been restarted since."""
    by_kind = {probe.kind: (probe, progress) for probe, progress in probes}
    for kind in _DEADLY:
        if kind in by_kind and by_kind[kind][1].good is False:
            has_started = kind != "startup"
            return Health(started=has_started, ready=False, failed=kind, grace_s=by_kind[kind][0].grace_s)
    begun = started or "startup" not in by_kind or by_kind["startup"][1].good is True
    ready = begun and ("readiness" not in by_kind or by_kind["readiness"][1].good is True)
    return Health(started=begun, ready=ready)


def is_asked(probe: Probe, progress: Progress, *, started: bool, running_s: float, ending: bool) -> bool:
    """Whether the probe is to be made when its time comes."""
    if running_s < probe.initial_delay_s:
        return False
    match probe.kind:
        case "startup":
            return not started and progress.good is None and not ending
        case "liveness":
            return started and progress.good is not False and not ending
        case "readiness":
            return started
