"""A pod's `status` as a kubelet writes it: pure, from the pod, its containers and what they wait for.

(Kubernetes API: PodStatus, ContainerStatus; phases as in "Pod Lifecycle".) The condition PodScheduled is the
scheduler's; it is only given where nobody wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecore.pods.plan import Waiting, runs_of
from edgecore.pods.port import ContainerState, SandboxState
from skerry.frozen import Frozen
from skerry.objects.conditions import find_condition
from skerry.objects.json import JsonObject, maps_at, str_at, str_map_at
from skerry.objects.meta import generation_of
from skerry.objects.times import time_text

CREATING = Waiting(reason="ContainerCreating", message="")


class Picture(Frozen):
    """What the status is made of."""

    pod: JsonObject
    containers: Sequence[ContainerState]
    sandbox: SandboxState | None
    """The one that lives; None when none does."""
    waiting: Mapping[str, Waiting]
    before: JsonObject
    """The status told last: conditions keep their time of change."""
    runtime: str
    address: str
    start_ms: int
    now_ms: int
    terminating: bool
    unsupported: str
    """What keeps the pod from ever starting here; "" for nothing."""


def pod_status(picture: Picture) -> JsonObject:
    """The whole status. Equal facts give an equal status, whatever the time."""
    statuses = [_container_status(container, picture) for container in maps_at(picture.pod, "spec", "containers")]
    phase = _phase(picture, statuses)
    status: JsonObject = {
        "phase": phase,
        "conditions": [*_conditions(picture, phase, statuses)],
        "hostIP": picture.address,
        "hostIPs": [{"ip": picture.address}],
        "startTime": time_text(picture.start_ms),
        "containerStatuses": [*statuses],
        "qosClass": qos_class(picture.pod),
    }
    addresses = _addresses(picture)
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": each} for each in addresses]}
    if generation_of(picture.pod):
        status["observedGeneration"] = generation_of(picture.pod)
    if picture.unsupported:
        status |= {"reason": "Unsupported", "message": picture.unsupported}
    return status


def _addresses(picture: Picture) -> list[str]:
    """Of the pod: its own, or the gateway's where it has none. What has ended keeps those that it had."""
    if picture.sandbox is not None:
        return [*picture.sandbox.addresses] or [picture.address]
    if not picture.containers:
        return []
    held = [str_at(each, "ip") for each in maps_at(picture.before, "podIPs")]
    return [each for each in held if each] or [picture.address]


def _container_status(container: JsonObject, picture: Picture) -> JsonObject:
    name = str_at(container, "name")
    runs = runs_of(picture.containers, name)
    newest = runs[-1] if runs else None
    previous = runs[-2] if len(runs) > 1 else None
    waits = picture.waiting.get(name)
    status: JsonObject = {
        "name": name,
        "image": newest.image if newest else str_at(container, "image"),
        "imageID": newest.image_id if newest else "",
        "restartCount": newest.attempt if newest else 0,
        "ready": False,
        "started": False,
        "state": {},
        "lastState": {},
    }
    if newest is not None:
        status["containerID"] = f"{picture.runtime}://{newest.id}"
    if newest is not None and newest.phase == "running":
        status |= {"state": {"running": {"startedAt": time_text(newest.started_ms)}}, "ready": True, "started": True}
    elif newest is not None and newest.phase == "exited" and waits is None:
        status["state"] = {"terminated": _terminated(newest, picture.runtime)}
    else:
        status["state"] = {"waiting": _waiting(waits or CREATING)}
        previous = newest if newest is not None and newest.phase == "exited" else previous
    if previous is not None and previous.phase == "exited":
        status["lastState"] = {"terminated": _terminated(previous, picture.runtime)}
    return status


def _waiting(waits: Waiting) -> JsonObject:
    return {"reason": waits.reason, "message": waits.message} if waits.message else {"reason": waits.reason}


def _terminated(state: ContainerState, runtime: str) -> JsonObject:
    said: JsonObject = {
        "exitCode": state.exit_code,
        "reason": state.reason,
        "startedAt": time_text(state.started_ms) if state.started_ms else None,
        "finishedAt": time_text(state.finished_ms),
        "containerID": f"{runtime}://{state.id}",
    }
    if state.signal:
        said["signal"] = state.signal
    if state.message:
        said["message"] = state.message
    return said


def _phase(picture: Picture, statuses: Sequence[JsonObject]) -> str:
    ended = [_ended(status) for status in statuses]
    running = sum(1 for status in statuses if "running" in status_state(status))
    if running == 0 and picture.terminating and picture.containers:
        return "Succeeded" if all(code in (0, None) for code in ended) else "Failed"
    if any(code is None and "waiting" in status_state(status) for code, status in zip(ended, statuses, strict=True)):
        return "Pending"
    if running or not statuses:
        return "Running"
    policy = str_at(picture.pod, "spec", "restartPolicy", default="Always")
    if policy == "Always":
        return "Running"
    if all(code == 0 for code in ended):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def status_state(status: JsonObject) -> JsonObject:
    """A container status's `state`."""
    state = status.get("state")
    return state if isinstance(state, dict) else {}


def _ended(status: JsonObject) -> int | None:
    """The exit code of the run that ended last, unless one runs now; None where none ended."""
    if "running" in status_state(status):
        return None
    for field in ("state", "lastState"):
        state = status.get(field)
        said = state.get("terminated") if isinstance(state, dict) else None
        if isinstance(said, dict):
            code = said.get("exitCode")
            return code if isinstance(code, int) else 0
    return None


def _conditions(picture: Picture, phase: str, statuses: Sequence[JsonObject]) -> list[JsonObject]:
    unready = [str_at(status, "name") for status in statuses if status.get("ready") is not True]
    begun = picture.sandbox is not None
    if phase in ("Succeeded", "Failed"):
        done = "PodCompleted" if phase == "Succeeded" else "PodFailed"
        ready = _Fact(status="False", reason=done)
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        ready = _Fact(status="False", reason="ContainersNotReady", message=text)
    else:
        ready = _Fact(status="True")
    facts = {
        "PodReadyToStartContainers": _Fact(status="True" if begun and not _all_over(picture) else "False"),
        "Initialized": _Fact(status="False", reason="Unsupported", message=picture.unsupported)
        if picture.unsupported
        else _Fact(status="True"),
        "Ready": ready,
        "ContainersReady": ready,
    }
    held = maps_at(picture.pod, "status", "conditions")
    if find_condition(held, "PodScheduled") is None:
        facts["PodScheduled"] = _Fact(status="True")
    return [_condition(kind, fact, picture) for kind, fact in facts.items()]


def _all_over(picture: Picture) -> bool:
    return picture.terminating and all(state.phase == "exited" for state in picture.containers)


class _Fact(Frozen):
    status: str
    reason: str = ""
    message: str = ""


def _condition(kind: str, fact: _Fact, picture: Picture) -> JsonObject:
    old = find_condition(maps_at(picture.before, "conditions"), kind)
    since = str_at(old, "lastTransitionTime") if old and str_at(old, "status") == fact.status else ""
    said: JsonObject = {
        "type": kind,
        "status": fact.status,
        "lastProbeTime": None,
        "lastTransitionTime": since or time_text(picture.now_ms),
    }
    if generation_of(picture.pod):
        said["observedGeneration"] = generation_of(picture.pod)
    if fact.reason:
        said["reason"] = fact.reason
    if fact.message:
        said["message"] = fact.message
    return said


def qos_class(pod: JsonObject) -> str:
    """Guaranteed, Burstable or BestEffort (Kubernetes documentation, "Pod Quality of Service Classes")."""
    guaranteed, any_set = True, False
    for container in maps_at(pod, "spec", "containers"):
        limits = str_map_at(container, "resources", "limits")
        requests = str_map_at(container, "resources", "requests")
        any_set = any_set or bool(limits or requests)
        for resource in ("cpu", "memory"):
            limit = limits.get(resource)
            guaranteed = guaranteed and limit is not None and requests.get(resource, limit) == limit
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
