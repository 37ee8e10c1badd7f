"""What to do for one pod now: pure, from what is wanted, what is seen and what was done before.

Containers run in the pod's newest sandbox. One that has gone (with the power, or by a kill) takes its containers with
it: they start in another, init containers first, without delay, as they did not crash.

At the end, apps are stopped together, then sidecars one by one from the last to the first; what is left of the grace
is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from edgecore.pods.backoff import Backoff, Problem, at_peace, duration_text, next_backoff
from edgecore.pods.containers import Wanted, ephemeral_of, has_failed, newest_of, runs_of, wanted_of
from edgecore.pods.dead_runs import DEAD_RUNS, DeadRuns
from edgecore.pods.port import ContainerState, SandboxState
from edgecore.pods.probes import HEALTHY, Health
from skerry.frozen import Frozen, field, replace
from skerry.objects.json import JsonObject, dig, str_at
from skerry.objects.meta import name_of, namespace_of, uid_of
from skerry.objects.pods import own_grace_s

GRACE_S_MIN: Final = 2.0
"""What a sidecar gets when the others have used up the pod's grace."""


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
    """It is to end, whoever decided that."""
    grace_s: float
    ending_ms: int = 0
    """Since when it is to end."""
    held_back: Waiting | None = None
    """Somebody at the gateway keeps it from running, and why; None where nobody does."""
    held_ms: int = 0
    """Since when, where that is somebody's doing."""
    unlent_ms: int | None = None
    """Since when nobody lends it any more, whoever keeps it from running; None: it is lent, or need not be."""
    finished: bool
    """It had reached its last phase: nothing is started any more, whatever the runtime has forgotten."""
    now_ms: int
    health: Mapping[str, Health] = field(default_factory=dict[str, Health])
    """By container id, of runs that are probed or whose hooks failed; all others are well."""
    beginning: frozenset[str] = frozenset()
    """Ids of containers whose postStart hook is under way."""
    spent: frozenset[str] = frozenset()
    """Names of ephemeral containers that have run, whatever the runtime has forgotten."""
    dead: DeadRuns = DEAD_RUNS
    """How many runs that are over are kept."""

    @property
    def sandbox(self) -> SandboxState | None:
        """The one in which its containers are to run; None when there is none that lives."""
        newest = max(self.sandboxes, key=lambda each: each.attempt, default=None)
        return newest if newest is not None and newest.ready else None

    @property
    def running(self) -> list[ContainerState]:
        return [state for state in self.containers if state.phase != "exited"]

    def has_started(self, run: ContainerState | None) -> bool:
        """It runs, its hook is over and its startup probe satisfied: who waits for it may begin."""
        if run is None or run.phase != "running" or run.id in self.beginning:
            return False
        return self.health.get(run.id, HEALTHY).started


class Start(Frozen):
    name: str
    attempt: int


class Stop(Frozen):
    container_id: str
    name: str
    grace_s: float
    why: str = ""
    """For an event; "" for the usual."""


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
    if seen.terminating:
        return _end(seen, since_ms=seen.ending_ms)
    sandbox = seen.sandbox
    strays = [state for state in seen.running if sandbox is None or state.sandbox_id != sandbox.id]
    if strays:
        return Plan(actions=tuple(_stop(state, seen) for state in strays), backoff=seen.backoff)
    if seen.finished or (is_over(seen) and seen.running):
        ended_ms = max((state.finished_ms for state in seen.containers), default=seen.now_ms)
        ending = _end(seen, since_ms=ended_ms)
        return Plan(actions=(*_clearances(seen), *ending.actions), backoff=seen.backoff, wake_ms=ending.wake_ms)
    if seen.held_back is not None:
        return _held_back(seen, seen.held_back)
    if is_over(seen):  # its sandbox goes when that has been told
        return Plan(actions=_clearances(seen), backoff=seen.backoff)
    if sandbox is None:
        return _in_need_of_a_sandbox(seen)
    return _Steps(seen, sandbox).plan()


def is_over(seen: Seen) -> bool:
    """No app of the pod will run any more: all have ended for good, or what had to precede them failed for good."""
    wanted = wanted_of(seen.pod)
    for one in wanted:
        run = newest_of(seen.containers, one.name)
        failed = run if one.part == "init" and run is not None and has_failed(run) else None
        if failed is not None and not one.starts_after(failed.exit_code, failed=True):
            return True
    apps = [(one, newest_of(seen.containers, one.name)) for one in wanted if one.part == "app"]
    return bool(apps) and all(
        run is not None and run.phase == "exited" and not _starts(one, run, seen) for one, run in apps
    )


def _end(seen: Seen, *, since_ms: int) -> Plan:
    """Apps first, all at once; each sidecar when nothing is left that may need it, or the grace is over: that of what
    ends, or of what is not lent any more, whichever is over sooner."""
    if not seen.running:
        alive = tuple(StopSandbox(sandbox_id=each.id) for each in seen.sandboxes if each.ready)
        return Plan(actions=alive, backoff=seen.backoff)
    since_ms = since_ms or seen.now_ms
    own_s = own_grace_s(seen.pod)
    if seen.unlent_ms is not None and seen.unlent_ms + own_s * 1000 < since_ms + seen.grace_s * 1000:
        seen, since_ms = replace(seen, grace_s=own_s), seen.unlent_ms
    passed_s = max((seen.now_ms - since_ms) / 1000, 0.0)
    sidecars = [one.name for one in wanted_of(seen.pod) if one.part == "sidecar"]
    actions: list[Action] = [_stop(state, seen) for state in seen.running if state.name not in sidecars]
    is_free = not actions or passed_s >= seen.grace_s
    wait_ms = None if is_free else since_ms + round(seen.grace_s * 1000)
    for name in reversed(sidecars):
        running = [state for state in seen.running if state.name == name]
        if running and not is_free:
            break
        grace_s = max(seen.grace_s - passed_s, min(GRACE_S_MIN, seen.grace_s))
        actions += [Stop(container_id=state.id, name=name, grace_s=grace_s) for state in running]
        is_free = is_free and (not running or passed_s >= seen.grace_s)
    return Plan(actions=tuple(actions), backoff=seen.backoff, wake_ms=wait_ms)


def _held_back(seen: Seen, why: Waiting) -> Plan:
    """What runs ends as at the end of the pod; its sandbox stays, and with it the pod's address."""
    waiting = {one.name: why for one in wanted_of(seen.pod)}
    if not seen.running:
        return Plan(actions=_clearances(seen), waiting=waiting, backoff=seen.backoff)
    return replace(_end(seen, since_ms=seen.held_ms), waiting=waiting)


def _stop(state: ContainerState, seen: Seen) -> Stop:
    return Stop(container_id=state.id, name=state.name, grace_s=min(seen.grace_s, _unlent_left_s(seen)))


def _unlent_left_s(seen: Seen) -> float:
    """Who waits for the end of what is not lent any more gives it its own grace from the end of the lease on, and
    knows nothing of deletions and of restarts of the agent (docs/decisions/0540)."""
    if seen.unlent_ms is None:
        return math.inf
    own_s = own_grace_s(seen.pod)
    return max(own_s - max(seen.now_ms - seen.unlent_ms, 0) / 1000, min(GRACE_S_MIN, own_s))


def _in_need_of_a_sandbox(seen: Seen) -> Plan:
    """Unless nothing is to be started in it."""
    wanted = wanted_of(seen.pod)
    apps = [one for one in wanted if one.part == "app" and _starts(one, newest_of(seen.containers, one.name), seen)]
    if not apps:
        return Plan(actions=_clearances(seen), backoff=seen.backoff)
    first = [wanted[0]] if wanted[0].part != "app" else apps
    waits = [wait for one in first if (wait := _held_up(seen, one.name)) is not None]
    if len(waits) == len(first):
        told = {one.name: wait for one, (wait, _) in zip(first, waits, strict=True)}
        return Plan(waiting=told, backoff=seen.backoff, wake_ms=min(until_ms for _, until_ms in waits))
    attempt = max((each.attempt for each in seen.sandboxes), default=-1) + 1
    return Plan(run_sandbox=attempt, actions=_clearances(seen), backoff=seen.backoff)


class _Steps:
    """Builds the plan of a pod that lives in its sandbox."""

    def __init__(self, seen: Seen, sandbox: SandboxState) -> None:
        self._seen = seen
        self._sandbox = sandbox
        self._actions: list[Action] = [*_clearances(seen)]
        self._waiting: dict[str, Waiting] = {}
        self._backoff = dict(seen.backoff)
        self._wakes: list[int] = []

    def plan(self) -> Plan:
        wanted = wanted_of(self._seen.pod)
        for one in wanted:
            self._end_the_unwell(one)
        apps = [one for one in wanted if one.part == "app"]
        inits = [one for one in wanted if one.part != "app"]
        if self._initialize(inits, is_initialized=any(self._here(one) is not None for one in apps)):
            for one in apps:
                if not self._want(one):
                    break
        for one in ephemeral_of(self._seen.pod):  # whatever the others are at
            if one.name not in self._seen.spent and newest_of(self._seen.containers, one.name) is None:
                self._want(one)
        return Plan(
            actions=tuple(self._actions),
            waiting=self._waiting,
            backoff=self._backoff,
            wake_ms=min(self._wakes, default=None),
        )

    def _here(self, one: Wanted) -> ContainerState | None:
        """Its newest run, if that is in this sandbox."""
        run = newest_of(self._seen.containers, one.name)
        return run if run is not None and run.sandbox_id == self._sandbox.id else None

    def _end_the_unwell(self, one: Wanted) -> None:
        run = self._here(one)
        if run is None or run.phase != "running":
            return
        if _is_of_old(one, run):
            why = f"{_noun(one)} {one.name} definition changed, will be restarted"
            self._actions.append(replace(_stop(run, self._seen), why=why))
            return
        health = self._seen.health.get(run.id)
        if health is None or health.failed is None:
            return
        grace_s = self._seen.grace_s if health.grace_s is None else float(health.grace_s)
        self._actions.append(
            Stop(container_id=run.id, name=one.name, grace_s=grace_s, why=ending_text(one, health.failed))
        )

    def _initialize(self, inits: Sequence[Wanted], *, is_initialized: bool) -> bool:
        """Bring the pod one step nearer to its apps; True when they may run.

        Where an app has run in this sandbox, and where a later init container has, only sidecars are looked after.
        """
        reached = max((index for index, one in enumerate(inits) if self._here(one) is not None), default=-1)
        for index, one in enumerate(inits):
            run = self._here(one)
            is_next = not is_initialized and index >= reached
            is_done = run is not None and run.phase == "exited" and not has_failed(run)
            if one.part == "sidecar" or (is_next and not is_done):
                self._want(one)
            if is_next and not (self._seen.has_started(run) if one.part == "sidecar" else is_done):
                return False
        return True

    def _want(self, one: Wanted) -> bool:
        """Start it, or say what it waits for. False when those after it have to wait for its hook."""
        newest = newest_of(self._seen.containers, one.name)
        here = self._here(one)
        if here is not None and here.phase != "exited":
            return here.id not in self._seen.beginning
        if not (_starts(one, newest, self._seen) or (one.part != "app" and here is None)):
            return True
        # What follows another definition did not crash, nor does what is new here.
        crashed = here if here is not None and not _is_of_old(one, here) else None
        wait = _must_wait(self._seen, one.name, crashed)
        if wait is not None:
            self._waiting[one.name], until_ms = wait
            self._wakes.append(until_ms)
            return True
        if crashed is not None:
            delay = self._backoff.get(one.name)
            self._backoff[one.name] = next_backoff(delay, crashed.finished_ms, self._seen.now_ms)
        self._actions.append(Start(name=one.name, attempt=newest.attempt + 1 if newest else 0))
        return not dig(one.spec, "lifecycle", "postStart")


def ending_text(one: Wanted, failed: str) -> str:
    """Why a container is ended, as a kubelet's event says it."""
    if failed == "postStart":
        return "FailedPostStartHook"
    return f"{_noun(one)} {one.name} failed {failed} probe" + ("" if one.policy == "Never" else ", will be restarted")


def _noun(one: Wanted) -> str:
    return "Container" if one.part == "app" else "Init container"


def _is_of_old(one: Wanted, run: ContainerState) -> bool:
    """The pod wants another image than it has: the one part of a container that the API lets be changed."""
    return run.image != str_at(one.spec, "image")


def _clearances(seen: Seen) -> tuple[Action, ...]:
    """Runs that nobody asks about any more, and sandboxes of which none is left."""
    gone: list[Action] = []
    kept: list[ContainerState] = []
    for name in sorted({state.name for state in seen.containers}):
        runs = runs_of(seen.containers, name)
        earlier = runs[:-1]
        surplus = earlier[: max(len(earlier) - seen.dead.per_container, 0)]
        old = [run for run in surplus if run.phase == "exited" and seen.dead.may_go(run.finished_ms, seen.now_ms)]
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


def restarts_of(seen: Seen, attempts: Mapping[str, int]) -> Iterator[Stop]:
    """The stops that end the runs named by container and number, where they run still."""
    return (_stop(state, seen) for state in seen.running if attempts.get(state.name) == state.attempt)


def _starts(one: Wanted, newest: ContainerState | None, seen: Seen) -> bool:
    """May this container be started (again), leaving aside when?"""
    if newest is None:
        return True
    if newest.phase != "exited":
        return False
    if _is_of_old(one, newest) and one.part != "init":
        return True
    was_unwell = seen.health.get(newest.id, HEALTHY).failed is not None
    return one.starts_after(newest.exit_code, failed=has_failed(newest) or was_unwell)


def _held_up(seen: Seen, name: str) -> tuple[Waiting, int] | None:
    """By something that went wrong at the last try."""
    problem = seen.problems.get(name)
    if problem is not None and not problem.is_over(seen.now_ms):
        return Waiting(reason=problem.reason, message=problem.message), problem.retry_ms
    return None


def _must_wait(seen: Seen, name: str, newest: ContainerState | None) -> tuple[Waiting, int] | None:
    """`newest`: its last run, if that ended by itself."""
    held_up = _held_up(seen, name)
    if held_up is not None:
        return held_up
    delay = seen.backoff.get(name)
    if newest is None or delay is None or at_peace(delay, newest.finished_ms):
        return None
    since_ms = seen.now_ms - newest.finished_ms
    if not 0 <= since_ms < delay.delay_s * 1000:
        return None
    pod = f"{name_of(seen.pod)}_{namespace_of(seen.pod)}({uid_of(seen.pod)})"
    message = f"back-off {duration_text(delay.delay_s)} restarting failed container={name} pod={pod}"
    return Waiting(reason="CrashLoopBackOff", message=message), newest.finished_ms + delay.delay_s * 1000
