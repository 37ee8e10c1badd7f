"""From objects and runtime states to what a test looks at. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecore.pods.port import ContainerSpec, ContainerState
from skerry.objects.conditions import condition_of, is_true
from skerry.objects.device_twins import twin_views
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.testkit.face import ContainerView, PodView, TwinView


def pod_view(
    pod: JsonObject, states: Sequence[ContainerState], specs: Mapping[str, ContainerSpec] | None = None
) -> PodView:
    """`states`: the pod's containers; of each the newest counts. `specs` by container id, where they are known."""
    newest: dict[str, ContainerState] = {}
    for state in states:
        if state.name not in newest or newest[state.name].attempt < state.attempt:
            newest[state.name] = state
    ready = is_true(pod, "Ready")
    return PodView(
        namespace=namespace_of(pod),
        name=name_of(pod),
        uid=uid_of(pod),
        phase=str_at(pod, "status", "phase", default="Pending"),
        ready=ready,
        message="" if ready else _why(pod),
        containers=tuple(_container(newest[name], specs or {}) for name in sorted(newest)),
    )


def _container(state: ContainerState, specs: Mapping[str, ContainerSpec]) -> ContainerView:
    spec = specs.get(state.id)
    return ContainerView(
        name=state.name,
        id=state.id,
        attempt=state.attempt,
        running=state.phase == "running",
        started_ms=state.started_ms,
        exit_code=state.exit_code,
        env=dict(spec.env) if spec is not None else {},
    )


def _why(pod: JsonObject) -> str:
    for status in maps_at(pod, "status", "containerStatuses"):
        for phase in ("waiting", "terminated"):
            reason = str_at(status, "state", phase, "reason")
            if reason:
                return f"{reason} {str_at(status, 'state', phase, 'message')}".strip()
    for name in ("Ready", "PodScheduled"):
        condition = condition_of(pod, name)
        if condition is not None and str_at(condition, "status") != "True":
            return f"{str_at(condition, 'reason')} {str_at(condition, 'message')}".strip()
    return ""


def twin_view(device: JsonObject, status: JsonObject | None, prop: str) -> TwinView | None:
    """One property of a Device and its DeviceStatus; None when neither knows it."""
    for view in twin_views(device, status):
        if view.prop == prop:
            return TwinView(
                device=name_of(device),
                prop=prop,
                desired=None if view.desired is None else view.desired.value,
                reported=view.reported,
                quality=view.quality if view.source_ms or view.reported is not None else "",
                state=view.ack_state,
                reason=view.ack_reason or view.reason,
                reported_ms=view.source_ms,
            )
    return None
