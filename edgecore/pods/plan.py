"""What to do for one pod now: pure, from what is wanted, what is seen and what was done before.

Containers run in the pod's newest sandbox. One that has gone (with the power, or by a kill) takes its containers with
it: they start in another, without delay, as they did not crash.

Restarts as a kubelet does them: the first at once, then after 10 s doubled to 5 min, from the start again after ten
minutes of peace. Times are the gateway's wall clock, which may step; so a wait is never longer than its delay, and
a step back ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from edgecore.pods.port import ContainerState, SandboxState
from skerry.frozen import Frozen, field
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import name_of, namespace_of, uid_of

BACKOFF_S_MIN: Final = 10
BACKOFF_S_MAX: Final = 300
PEACE_S: Final = 2 * BACKOFF_S_MAX
"""As client-go's Backoff: twice the longest delay without a restart, and the count begins again."""
KEPT_RUNS: Final = 2
"""The current container and the one before it: for `lastState` and `logs --previous`."""


class Backoff(Frozen):
    """How long a container waits after its next end, and when that was decided."""

    delay_s: int
    at_ms: int


class Problem(Frozen):
    """Why a container could not be started at the last try, and when to try again."""

    reason: str
    """ErrImagePull, ImagePullBackOff, CreateContainerConfigError, CreateContainerError, ContainerCreating ..."""
    message: str
    retry_ms: int
    tries: int = 1


class Seen(Frozen):
    """Everything that decides."""

    pod: JsonObject
    containers: Sequence[ContainerState]
    """All runs that the runtime keeps of this pod, ordered by name and attempt."""
    sandboxes: Sequence[SandboxState]
    """All that the runtime keeps of this pod, ordered by attempt."""
    backoff: Mapping[str, Backoff]
    problems: Mapping[str, Problem]
    terminating: bool
    grace_s: float
    finished: bool
    """It had reached its last phase: nothing is started any more, whatever the runtime has forgotten."""
    now_ms: int

    @property
    def sandbox(self) -> SandboxState | None:
        """The one in which its containers are to run; None when there is none that lives."""
        newest = max(self.sandboxes, key=lambda each: each.attempt, default=None)
        return newest if newest is not None and newest.ready else None


class Start(Frozen):
    name: str
    attempt: int


class Stop(Frozen):
    container_id: str
    name: str
    grace_s: float


class Remove(Frozen):
    container_id: str


class StopSandbox(Frozen):
    sandbox_id: str


class RemoveSandbox(Frozen):
    sandbox_id: str


Action: TypeAlias = Start | Stop | Remove | StopSandbox | RemoveSandbox


class Waiting(Frozen):
    """What a container waits for, as `state.waiting` says it."""

    reason: str
    message: str


class Plan(Frozen):
    run_sandbox: int | None = None
    """A sandbox of this attempt is needed first; then it is planned again."""
    actions: tuple[Action, ...] = ()
    waiting: Mapping[str, Waiting] = field(default_factory=dict[str, Waiting])
    backoff: Mapping[str, Backoff] = field(default_factory=dict[str, Backoff])
    """To be kept: what `Seen.backoff` is next time."""
    wake_ms: int | None = None
    """When to plan again if nothing happens."""


def plan(seen: Seen) -> Plan:
    """The next steps. Planning again after them, or after none of them, is always right."""
    running = [state for state in seen.containers if state.phase != "exited"]
    alive = [each for each in seen.sandboxes if each.ready]
    if seen.terminating:
        ends: tuple[Action, ...] = tuple(_stop(state, seen) for state in running)
        if not running:
            ends = tuple(StopSandbox(sandbox_id=each.id) for each in alive)
        return Plan(actions=ends, backoff=seen.backoff)
    sandbox = seen.sandbox
    strays = [state for state in running if sandbox is None or state.sandbox_id != sandbox.id]
    if strays:
        return Plan(actions=tuple(_stop(state, seen) for state in strays), backoff=seen.backoff)
    if seen.finished:
        stops = tuple(StopSandbox(sandbox_id=each.id) for each in alive)
        return Plan(actions=(*_clearances(seen), *stops), backoff=seen.backoff)
    if sandbox is None:
        return _in_need_of_a_sandbox(seen)
    return _starts_of(seen, sandbox)


def _stop(state: ContainerState, seen: Seen) -> Stop:
    return Stop(container_id=state.id, name=state.name, grace_s=seen.grace_s)


def _in_need_of_a_sandbox(seen: Seen) -> Plan:
    """Unless nothing is to be started in it."""
    wanted = [name for name in _names(seen) if _starts(seen.pod, _newest(seen, name))]
    if not wanted:
        return Plan(actions=_clearances(seen), backoff=seen.backoff)
    waits = [wait for name in wanted if (wait := _held_up(seen, name)) is not None]
    if len(waits) == len(wanted):
        told = {name: wait for name, (wait, _) in zip(wanted, waits, strict=True)}
        return Plan(waiting=told, backoff=seen.backoff, wake_ms=min(until_ms for _, until_ms in waits))
    attempt = max((each.attempt for each in seen.sandboxes), default=-1) + 1
    return Plan(run_sandbox=attempt, actions=_clearances(seen), backoff=seen.backoff)


def _starts_of(seen: Seen, sandbox: SandboxState) -> Plan:
    actions: list[Action] = [*_clearances(seen)]
    waiting: dict[str, Waiting] = {}
    backoff = dict(seen.backoff)
    wakes: list[int] = []
    for name in _names(seen):
        newest = _newest(seen, name)
        if not _starts(seen.pod, newest):
            continue
        crashed = newest if newest is not None and newest.sandbox_id == sandbox.id else None
        wait = _must_wait(seen, name, crashed)
        if wait is not None:
            waiting[name], until_ms = wait
            wakes.append(until_ms)
            continue
        if crashed is not None:
            backoff[name] = _next_backoff(backoff.get(name), crashed.finished_ms, seen.now_ms)
        actions.append(Start(name=name, attempt=newest.attempt + 1 if newest else 0))
    return Plan(actions=tuple(actions), waiting=waiting, backoff=backoff, wake_ms=min(wakes, default=None))


def _names(seen: Seen) -> list[str]:
    return [str_at(container, "name") for container in maps_at(seen.pod, "spec", "containers")]


def _newest(seen: Seen, name: str) -> ContainerState | None:
    runs = runs_of(seen.containers, name)
    return runs[-1] if runs else None


def _clearances(seen: Seen) -> tuple[Action, ...]:
    """Runs that nobody asks about any more, and sandboxes of which none is left."""
    kept: list[ContainerState] = []
    gone: list[Action] = []
    for name in sorted({state.name for state in seen.containers}):
        runs = runs_of(seen.containers, name)
        old = [run for run in runs[:-KEPT_RUNS] if run.phase == "exited"]
        gone += [Remove(container_id=run.id) for run in old]
        kept += [run for run in runs if run not in old]
    used = {run.sandbox_id for run in kept}
    newest = max((each.attempt for each in seen.sandboxes), default=0)
    gone += [
        RemoveSandbox(sandbox_id=each.id)
        for each in seen.sandboxes
        if each.attempt < newest and not each.ready and each.id not in used
    ]
    return tuple(gone)


def runs_of(containers: Sequence[ContainerState], name: str) -> list[ContainerState]:
    """All kept runs of one container, the newest last."""
    return sorted((state for state in containers if state.name == name), key=lambda state: state.attempt)


def restarts_of(seen: Seen, attempts: Mapping[str, int]) -> tuple[Stop, ...]:
    """The stops that end the runs named by container and number, where they run still."""
    running = [state for state in seen.containers if state.phase != "exited"]
    return tuple(_stop(state, seen) for state in running if attempts.get(state.name) == state.attempt)


def _starts(pod: JsonObject, newest: ContainerState | None) -> bool:
    """May this container be started (again), leaving aside when?"""
    if newest is None:
        return True
    if newest.phase != "exited":
        return False
    match str_at(pod, "spec", "restartPolicy", default="Always"):
        case "Never":
            return False
        case "OnFailure":
            return newest.exit_code != 0
        case _:
            return True


def _held_up(seen: Seen, name: str) -> tuple[Waiting, int] | None:
    """By something that went wrong at the last try."""
    problem = seen.problems.get(name)
    if problem is not None and seen.now_ms < problem.retry_ms:
        return Waiting(reason=problem.reason, message=problem.message), problem.retry_ms
    return None


def _must_wait(seen: Seen, name: str, newest: ContainerState | None) -> tuple[Waiting, int] | None:
    """`newest`: its last run, if that ended by itself."""
    held_up = _held_up(seen, name)
    if held_up is not None:
        return held_up
    delay = seen.backoff.get(name)
    if newest is None or delay is None or _at_peace(delay, newest.finished_ms):
        return None
    since_ms = seen.now_ms - newest.finished_ms
    if not 0 <= since_ms < delay.delay_s * 1000:
        return None
    pod = f"{name_of(seen.pod)}_{namespace_of(seen.pod)}({uid_of(seen.pod)})"
    message = f"back-off {duration_text(delay.delay_s)} restarting failed container={name} pod={pod}"
    return Waiting(reason="CrashLoopBackOff", message=message), newest.finished_ms + delay.delay_s * 1000


def _at_peace(delay: Backoff, finished_ms: int) -> bool:
    return finished_ms - delay.at_ms > PEACE_S * 1000


def _next_backoff(delay: Backoff | None, finished_ms: int, now_ms: int) -> Backoff:
    if delay is None or _at_peace(delay, finished_ms):
        return Backoff(delay_s=BACKOFF_S_MIN, at_ms=now_ms)
    return Backoff(delay_s=min(delay.delay_s * 2, BACKOFF_S_MAX), at_ms=now_ms)


def duration_text(seconds: int) -> str:
    """As Go writes a duration: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def next_problem(before: Problem | None, *, reason: str, message: str, now_ms: int) -> Problem:
    """The same failure again waits longer; a new one begins anew."""
    again = before is not None and before.reason in (reason, _AGAIN.get(reason))
    tries = before.tries + 1 if before is not None and again else 1
    delay_s = min(BACKOFF_S_MIN * 2 ** min(tries - 1, 6), BACKOFF_S_MAX)
    return Problem(
        reason=_AGAIN.get(reason, reason) if tries > 1 else reason,
        message=message if tries == 1 or reason not in _AGAIN else f"Back-off pulling image: {message}",
        retry_ms=now_ms + delay_s * 1000,
        tries=tries,
    )


_AGAIN: Final = {"ErrImagePull": "ImagePullBackOff"}


_VOLUME_TYPES: Final = frozenset(
    ("configMap", "secret", "emptyDir", "ephemeral", "hostPath", "persistentVolumeClaim", "projected", "downwardAPI")
)
_PROJECTED: Final = ("configMap", "secret", "downwardAPI", "serviceAccountToken")


def unsupported(pod: JsonObject) -> str:
    """The first thing that a pod asks for and this gateway does not do, "" for none.

    Only what would change the meaning of the pod if it were left out; the rest is in `unheeded`.
    """
    if maps_at(pod, "spec", "initContainers"):
        return "spec.initContainers: this gateway does not run init containers"
    for index, container in enumerate(maps_at(pod, "spec", "containers")):
        at = f"spec.containers[{index}]"
        if container.get("lifecycle"):
            return f"{at}.lifecycle: this gateway does not run lifecycle hooks"
        for number, mount in enumerate(maps_at(container, "volumeMounts")):
            for field_name in ("subPath", "subPathExpr"):
                if str_at(mount, field_name):
                    return f"{at}.volumeMounts[{number}].{field_name}: this gateway mounts whole volumes only"
        if container.get("volumeDevices"):
            return f"{at}.volumeDevices: this gateway has no block volumes"
    for index, volume in enumerate(maps_at(pod, "spec", "volumes")):
        fault = _unsupported_volume(volume)
        if fault:
            return f"spec.volumes[{index}].{fault}"
    return ""


def _unsupported_volume(volume: JsonObject) -> str:
    kinds = [name for name in volume if name != "name" and volume[name] is not None]
    for kind in kinds:
        if kind not in _VOLUME_TYPES:
            return f"{kind}: this gateway has {', '.join(sorted(_VOLUME_TYPES))} volumes"
    if str_at(volume, "emptyDir", "medium") not in ("", "Memory"):
        return "emptyDir.medium: only the default is known here"
    if str_at(volume, "emptyDir", "medium") == "Memory":
        return "emptyDir.medium: this gateway keeps emptyDir volumes on its disk"
    for number, source in enumerate(maps_at(volume, "projected", "sources")):
        for kind in source:
            if kind not in _PROJECTED:
                return f"projected.sources[{number}].{kind}: this gateway projects {', '.join(_PROJECTED)}"
    return ""


def unheeded(pod: JsonObject) -> str:
    """What a pod asks for and the process runtime runs it without, for an event; "" for nothing."""
    found: dict[str, None] = {}
    for container in maps_at(pod, "spec", "containers"):
        for name in ("livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(name):
                found[f"{name} (a running container counts as ready)"] = None
        if str_at(container, "resources", "limits", "cpu") or str_at(container, "resources", "limits", "memory"):
            found["resources.limits"] = None
    for volume in maps_at(pod, "spec", "volumes"):
        if str_at(volume, "emptyDir", "sizeLimit"):
            found["emptyDir.sizeLimit"] = None
    return "not enforced by this gateway: " + ", ".join(found) if found else ""
