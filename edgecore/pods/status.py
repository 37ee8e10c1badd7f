"""A pod's `status` as a kubelet writes it: pure, from the pod, its containers and what they wait for.

(Kubernetes API: PodStatus, ContainerStatus; phases as in "Pod Lifecycle".) The condition PodScheduled is the
scheduler's; it is only given where nobody wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edgecore.pods.containers import Wanted, ephemeral_of, runs_of, wanted_of
from edgecore.pods.plan import Waiting
from edgecore.pods.port import ContainerState, SandboxState
from edgecore.pods.probes import HEALTHY, Health
from edgecore.pods.qos import qos_class
from edgecore.pods.resizing import Pending
from skerry.frozen import Frozen, field
from skerry.objects.conditions import find_condition
from skerry.objects.json import Json, JsonObject, bool_at, map_at, maps_at, str_at
from skerry.objects.meta import generation_of
from skerry.objects.times import time_text

CREATING: Final = Waiting(reason="ContainerCreating", message="")
INITIALIZING: Final = Waiting(reason="PodInitializing", message="")
HOOK_FAILED: Final = "PostStartHookError"
UNSUPPORTED: Final = "Unsupported"
EXITED_UNKNOWN: Final = 137
"""The exit code that a kubelet gives a container of which nothing is known any more."""
FINAL: Final = frozenset({"Succeeded", "Failed"})
"""Phases that nothing follows."""
EVICTED: Final = "Evicted"
"""The reason of an `Ending` for the gateway's sake: what such a pod left on it goes at once."""


class Ending(Frozen):
    """Why the gateway ends a pod for good, as its status says it."""

    reason: str
    """DeadlineExceeded, Evicted ..."""
    message: str
    disrupted: bool = False
    """It is the gateway's doing, not the pod's: the condition DisruptionTarget tells controllers so."""
    refused: bool = False
    """It never began: there is nothing to tell of its containers."""


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
    ending: Ending | None = None
    health: Mapping[str, Health] = field(default_factory=dict[str, Health])
    """By container id; all others are well."""
    beginning: frozenset[str] = frozenset()
    """Ids of containers whose postStart hook is under way: they do not count as running yet."""
    stillborn: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why the postStart hooks failed of containers that are ended for it, by id: they never counted as running."""
    held_back: Waiting | None = None
    """Somebody at the gateway keeps it from running, and why."""
    messages: Mapping[str, str] = field(default_factory=dict[str, str])
    """What ended containers left to be told, by id."""
    given: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """`resources` that running containers were given, by id; the pod's are those allocated to it."""
    resize_pending: Pending | None = None
    resize_fault: str = ""
    """Why what was allocated could not be given yet."""


def pod_status(picture: Picture) -> JsonObject:
    """The whole status. Equal facts give an equal status, whatever the time."""
    if picture.ending is not None and picture.ending.refused:
        return _refused(picture, picture.ending)
    wanted = wanted_of(picture.pod)
    is_initialized = any(one.part == "app" and runs_of(picture.containers, one.name) for one in wanted)
    statuses = {one.name: _container_status(one, picture, is_initialized=is_initialized) for one in wanted}
    phase = _phase(picture, wanted, statuses)
    status: JsonObject = {
        "phase": phase,
        "conditions": [*_conditions(picture, phase, wanted, statuses)],
        "hostIP": picture.address,
        "hostIPs": [{"ip": picture.address}],
        "startTime": time_text(picture.start_ms),
        "containerStatuses": [statuses[one.name] for one in wanted if one.part == "app"],
        "qosClass": qos_class(picture.pod),
    }
    inits: list[Json] = [statuses[one.name] for one in wanted if one.part != "app"]
    if inits:
        status["initContainerStatuses"] = inits
    ephemeral: list[Json] = [_ephemeral_status(one, picture) for one in ephemeral_of(picture.pod)]
    if ephemeral:
        status["ephemeralContainerStatuses"] = ephemeral
    addresses = _addresses(picture)
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": each} for each in addresses]}
    if generation_of(picture.pod):
        status["observedGeneration"] = generation_of(picture.pod)
    if picture.unsupported:
        status |= {"reason": UNSUPPORTED, "message": picture.unsupported}
    elif picture.ending is not None and phase in FINAL:  # with the phase, as a kubelet tells it
        status |= {"reason": picture.ending.reason, "message": picture.ending.message}
    elif picture.held_back is not None:
        status |= {"reason": picture.held_back.reason, "message": picture.held_back.message}
    return status


def _refused(picture: Picture, ending: Ending) -> JsonObject:
    """As little as a kubelet says: with words about containers, users would be shown that one is being created."""
    status: JsonObject = {
        "phase": "Failed",
        "reason": ending.reason,
        "message": ending.message,
        "startTime": time_text(picture.start_ms),
        "qosClass": qos_class(picture.pod),
    }
    if generation_of(picture.pod):
        status["observedGeneration"] = generation_of(picture.pod)
    return status


def _addresses(picture: Picture) -> list[str]:
    """Of the pod: its own, or the gateway's where it has none. What has ended keeps those that it had."""
    if picture.sandbox is not None:
        return [*picture.sandbox.addresses] or [picture.address]
    if not picture.containers:
        return []
    held = [str_at(each, "ip") for each in maps_at(picture.before, "podIPs")]
    return [each for each in held if each] or [picture.address]


def _container_status(one: Wanted, picture: Picture, *, is_initialized: bool) -> JsonObject:
    runs = runs_of(picture.containers, one.name)
    newest = runs[-1] if runs else None
    previous = runs[-2] if len(runs) > 1 else None
    waits = picture.waiting.get(one.name)
    if newest is not None and newest.phase == "running" and newest.id in picture.stillborn:
        waits = Waiting(reason=HOOK_FAILED, message=picture.stillborn[newest.id])
    status: JsonObject = {
        "name": one.name,
        "image": newest.full_image or newest.image if newest else str_at(one.spec, "image"),
        "imageID": newest.image_id if newest else "",
        "restartCount": newest.attempt if newest else 0,
        "ready": False,
        "started": False,
        "state": {},
        "lastState": {},
    }
    mounts: list[Json] = [_mount_status(each) for each in maps_at(one.spec, "volumeMounts")]
    if mounts:
        status["volumeMounts"] = mounts
    if newest is not None:
        status["containerID"] = f"{picture.runtime}://{newest.id}"
    if newest is not None and (user := _user(newest, picture)):
        status["user"] = user
    if newest is not None and newest.phase == "running" and newest.id in picture.given:
        status["resources"] = picture.given[newest.id]
        status["allocatedResources"] = map_at(one.spec, "resources", "requests")
    begins = newest is not None and newest.id in (*picture.beginning, *picture.stillborn)
    if newest is not None and newest.phase == "running" and not begins:
        status["state"] = {"running": {"startedAt": time_text(newest.started_ms)}}
        status |= _health(one, newest, picture)
    elif newest is not None and newest.phase == "exited" and waits is None:
        status["state"] = {"terminated": _terminated(newest, picture)}
        status["ready"] = one.part == "init" and newest.exit_code == 0
    else:
        has_to_wait = (
            one.part == "app" and not is_initialized and bool(maps_at(picture.pod, "spec", "initContainers"))
        )
        default = INITIALIZING if has_to_wait or (one.part in ("init", "sidecar") and newest is None) else CREATING
        status["state"] = {"waiting": _waiting(waits or default)}
        previous = newest if newest is not None and newest.phase == "exited" else previous
    if previous is not None and previous.phase == "exited":
        status["lastState"] = {"terminated": _terminated(previous, picture)}
    return status


def _user(run: ContainerState, picture: Picture) -> JsonObject:
    """Who it began as. Of one that has ended the runtime does not tell it again."""
    if run.user is None:
        told = (*maps_at(picture.before, "containerStatuses"), *maps_at(picture.before, "initContainerStatuses"))
        own = f"{picture.runtime}://{run.id}"
        found = next((each for each in told if str_at(each, "containerID") == own), None)
        return map_at(found, "user")
    linux: JsonObject = {"uid": run.user.uid, "gid": run.user.gid}
    if run.user.groups:
        linux["supplementalGroups"] = list[Json](run.user.groups)
    return {"linux": linux}


def _mount_status(mount: JsonObject) -> JsonObject:
    """What is mounted below a read-only volume may be written: no runtime here mounts it otherwise."""
    said: JsonObject = {"name": str_at(mount, "name"), "mountPath": str_at(mount, "mountPath")}
    if bool_at(mount, "readOnly"):
        said |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return said


def _ephemeral_status(one: Wanted, picture: Picture) -> JsonObject:
    """Nobody waits for it to be ready; and it ran once, also where the runtime knows it no more."""
    if not runs_of(picture.containers, one.name):
        for told in maps_at(picture.before, "ephemeralContainerStatuses"):
            if str_at(told, "name") == one.name and "running" in status_state(told):
                return {**told, "state": {"terminated": _lost(told)}}
            if str_at(told, "name") == one.name and "terminated" in status_state(told):
                return told
    status = _container_status(one, picture, is_initialized=True)
    status.pop("started")
    return status | {"ready": False}


def _lost(told: JsonObject) -> JsonObject:
    return {
        "exitCode": EXITED_UNKNOWN,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was looked at",
        "startedAt": str_at(status_state(told), "running", "startedAt") or None,
        "finishedAt": None,
        "containerID": str_at(told, "containerID"),
    }


def _health(one: Wanted, run: ContainerState, picture: Picture) -> JsonObject:
    health = picture.health.get(run.id, HEALTHY)
    return {"started": health.started, "ready": health.ready and one.part != "init"}


def _waiting(waits: Waiting) -> JsonObject:
    return {"reason": waits.reason, "message": waits.message} if waits.message else {"reason": waits.reason}


def _terminated(state: ContainerState, picture: Picture) -> JsonObject:
    said: JsonObject = {
        "exitCode": state.exit_code,
        "reason": state.reason,
        "startedAt": time_text(state.started_ms),  # the epoch where it did not start, as runtimes have it
        "finishedAt": time_text(state.finished_ms),
        "containerID": f"{picture.runtime}://{state.id}",
    }
    if state.signal:
        said["signal"] = state.signal
    message = picture.messages.get(state.id) or state.message
    if message:
        said["message"] = message
    return said


def _phase(picture: Picture, wanted: Sequence[Wanted], statuses: Mapping[str, JsonObject]) -> str:
    """As a kubelet counts: sidecars hold a pod in Running as long as they run, and say nothing about its success."""
    running = any("running" in status_state(statuses[one.name]) for one in wanted)
    if picture.ending is not None or picture.terminating:  # then everything has to have ended
        running = running or any(state.phase == "running" for state in picture.containers)
    if picture.ending is not None and not running:
        return "Failed"
    apps = [(statuses[one.name], _ended(statuses[one.name])) for one in wanted if one.part == "app"]
    codes = [code for _, code in apps]
    ended = [(one, code) for one in wanted if one.part == "app" and (code := _ended(statuses[one.name])) is not None]
    if not running and picture.terminating and picture.containers:
        return "Succeeded" if apps and all(code in (0, None) for code in codes) else "Failed"
    inits = [(one, statuses[one.name]) for one in wanted if one.part != "app"]
    if any(one.part == "init" and _has_failed_for_good(one, status) for one, status in inits):
        return "Running" if running else "Failed"
    if any(code is None and "waiting" in status_state(status) for status, code in apps):
        return "Pending"
    if running or not apps:
        return "Running"
    if any(one.starts_after(code, failed=code != 0) for one, code in ended):
        return "Running"
    return "Succeeded" if all(code == 0 for code in codes) else "Failed"


def _has_failed_for_good(one: Wanted, status: JsonObject) -> bool:
    code = _ended(status)
    return code not in (0, None) and not one.starts_after(code, failed=True)


def status_state(status: JsonObject) -> JsonObject:
    """A container status's `state`."""
    state = status.get("state")
    return state if isinstance(state, dict) else {}


def _ended(status: JsonObject) -> int | None:
    """The exit code of the run that ended last, unless one runs now; None where none ended."""
    if "running" in status_state(status):
        return None
    for name in ("state", "lastState"):
        state = status.get(name)
        said = state.get("terminated") if isinstance(state, dict) else None
        if isinstance(said, dict):
            code = said.get("exitCode")
            return code if isinstance(code, int) else 0
    return None


def _conditions(
    picture: Picture, phase: str, wanted: Sequence[Wanted], statuses: Mapping[str, JsonObject]
) -> list[JsonObject]:
    containers_ready = _containers_ready(phase, wanted, statuses)
    facts = {
        "PodReadyToStartContainers": _Fact(status="True" if picture.sandbox is not None else "False"),
        "Initialized": _initialized(picture, phase, wanted, statuses),
        "Ready": _ready(picture, containers_ready),
        "ContainersReady": containers_ready,
    }
    if picture.ending is not None and picture.ending.disrupted:
        facts["DisruptionTarget"] = _Fact(
            status="True", reason="TerminationByKubelet", message=picture.ending.message
        )
    facts |= _resize_facts(picture, wanted)
    held = maps_at(picture.pod, "status", "conditions")
    if find_condition(held, "PodScheduled") is None:
        facts["PodScheduled"] = _Fact(status="True")
    return [_condition(kind, fact, picture) for kind, fact in facts.items()]


def _resize_facts(picture: Picture, wanted: Sequence[Wanted]) -> dict[str, _Fact]:
    """Only while there is something to say."""
    facts: dict[str, _Fact] = {}
    if picture.resize_pending is not None:
        pending = picture.resize_pending
        facts["PodResizePending"] = _Fact(status="True", reason=pending.reason, message=pending.message)
    specs = {one.name: one.spec for one in wanted}
    if any(
        picture.given[run.id] != map_at(specs[run.name], "resources")
        for run in picture.containers
        if run.phase == "running" and run.id in picture.given and run.name in specs
    ):
        reason = "Error" if picture.resize_fault else ""
        facts["PodResizeInProgress"] = _Fact(status="True", reason=reason, message=picture.resize_fault)
    return facts


class _Fact(Frozen):
    status: str
    reason: str = ""
    message: str = ""


def _containers_ready(phase: str, wanted: Sequence[Wanted], statuses: Mapping[str, JsonObject]) -> _Fact:
    if phase in ("Succeeded", "Failed"):
        return _Fact(status="False", reason="PodCompleted" if phase == "Succeeded" else "PodFailed")
    unready = [one.name for one in wanted if one.part != "init" and statuses[one.name].get("ready") is not True]
    if unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        return _Fact(status="False", reason="ContainersNotReady", message=text)
    return _Fact(status="True")


def _ready(picture: Picture, containers_ready: _Fact) -> _Fact:
    """Its containers are, and whoever holds a readiness gate says so."""
    if containers_ready.status != "True":
        return containers_ready
    held = maps_at(picture.pod, "status", "conditions")
    unready: list[str] = []
    for gate in maps_at(picture.pod, "spec", "readinessGates"):
        kind = str_at(gate, "conditionType")
        found = find_condition(held, kind)
        if found is None:
            unready.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif str_at(found, "status") != "True":
            said = str_at(found, "status")
            unready.append(f'the status of pod readiness gate "{kind}" is not "True", but {said}')
    if unready:
        return _Fact(status="False", reason="ReadinessGatesNotReady", message=", ".join(unready))
    return containers_ready


def _initialized(picture: Picture, phase: str, wanted: Sequence[Wanted], statuses: Mapping[str, JsonObject]) -> _Fact:
    if picture.unsupported:
        return _Fact(status="False", reason=UNSUPPORTED, message=picture.unsupported)
    if phase == "Succeeded":
        return _Fact(status="True", reason="PodCompleted")
    if any(one.part == "app" and runs_of(picture.containers, one.name) for one in wanted):
        return _Fact(status="True")
    missing = [
        one.name
        for one in wanted
        if one.part != "app" and not statuses[one.name]["started" if one.part == "sidecar" else "ready"]
    ]
    if not missing:
        return _Fact(status="True")
    text = f"containers with incomplete status: [{' '.join(missing)}]"
    return _Fact(status="False", reason="ContainersNotInitialized", message=text)


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
