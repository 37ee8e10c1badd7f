"""The worker of one pod: looks, plans, acts, tells; again whenever something may have changed.

What it keeps is in the edge store (`PodRecord`) and with the runtime. A crash at any point is followed by another
look: starting is idempotent by (pod, container, attempt), and what was told is compared, not assumed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecore.pods.about import GRACE_S, grace_of, own_hosts, remembered, surroundings, words_mount
from edgecore.pods.asking import RealAsking, Whom
from edgecore.pods.backoff import Problem, next_problem
from edgecore.pods.claims import KEPT
from edgecore.pods.containers import all_of, container_of, newest_of, spent_of, wanted_of
from edgecore.pods.env import ConfigError, NodeFacts, Surroundings
from edgecore.pods.events import Happening, event_body, event_object
from edgecore.pods.handlers import handler_of
from edgecore.pods.heeding import heeded
from edgecore.pods.holding import Stopped, as_kept, held_back
from edgecore.pods.host_ports import REFUSED, host_ports_of
from edgecore.pods.last_words import last_words, words_file
from edgecore.pods.limits import Limits, keep_given
from edgecore.pods.log_files import remove_log
from edgecore.pods.memory_volumes import unmount_below
from edgecore.pods.name_files import gateway_resolver
from edgecore.pods.names import resolver_of
from edgecore.pods.parts import PodParts, log_directory
from edgecore.pods.plan import (
    Plan,
    Remove,
    RemoveSandbox,
    Seen,
    Start,
    Stop,
    StopSandbox,
    Waiting,
    plan,
    restarts_of,
)
from edgecore.pods.port import COULD_NOT_START, ContainerState, ImageMissingError, Mount, SandboxSpec
from edgecore.pods.probes import Health
from edgecore.pods.probing import Known, Probing
from edgecore.pods.pull_secrets import credentials_of
from edgecore.pods.records import PodRecord
from edgecore.pods.refusals import unheeded, unsupported
from edgecore.pods.resizing import Room, amounts_of, requests_of, with_allocation
from edgecore.pods.sources import GatewayPods
from edgecore.pods.specs import Place, container_spec, pull_policy, sandbox_spec, target_of
from edgecore.pods.status import EVICTED, Ending, Picture, pod_status
from edgecore.pods.stopping import Stopping
from edgecore.pods.volumes import mounts_of, private_pods, sync_volumes
from edgecore.store.port import META_EPOCH, EdgeBatch, NewReport
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, bool_at, dig, map_at, maps_at, str_at
from skerry.objects.meta import Key, being_deleted
from skerry.objects.reports import POD_STATUS, PodStatusReport

log = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 30.0
"""A runtime may be silent about a change."""
FAILED_AGAIN_S: Final = 5.0
"""After the store or the runtime did not answer."""
SOON_S: Final = 0.05
NO_VOLUMES: Final = "ContainerCreating"
"""What a kubelet says of containers whose volumes are not there yet."""
FINAL: Final = frozenset({"Succeeded", "Failed"})
HOOK_S_MAX: Final = 3600.0
"""A postStart hook may wait for what its container begins with; a kubelet waits for ever."""
DEADLINE: Final = Ending(
    reason="DeadlineExceeded", message="Pod was active on the node longer than the specified deadline"
)


class PodWorker:
    """See the module. `run` returns when nothing of the pod is left and the cloud has forgotten it."""

    def __init__(self, parts: PodParts, pod: Key, uid: str, record: PodRecord | None) -> None:
        self._parts = parts
        self._key = pod
        self._uid = uid
        self._pods = GatewayPods(parts.store, parts.files)
        self._record = record
        self._saved = record
        self._wake = asyncio.Event()
        self._problems: dict[str, Problem] = {}
        """By container; of the sandbox, by ""."""
        self._happened: list[Happening] = []
        self._asking = parts.asking or RealAsking(parts.runtime)
        self._stopping = Stopping(parts.runtime, self._asking, self._happens, self._wake.set)
        self._probing = Probing(self._asking, parts.clock, self._wake.set, self._happens)
        self._beginning: set[str] = set()
        """Ids of containers whose postStart hook is under way."""
        self._stillborn: set[str] = set()
        """Ids of those whose postStart hook failed."""
        self._words: dict[str, str] = {}
        """What ended containers left to be told, by id."""
        self._told_backoff: set[str] = set()
        self._last: JsonObject | None = None
        self._failure = ""
        self._is_new = False
        """It begins here, and may be refused."""
        self._early_end: tuple[Ending, float] | None = None
        """It is to end, and was not looked at yet."""
        self._clearing: asyncio.Event | None = None
        """Somebody waits for what the finished pod left to be gone."""
        self._emptied = False
        """The runtime has nothing of the finished pod any more."""
        self._cleared = asyncio.Event()
        """Nothing is left of what the pod, that has finished, had of the gateway."""
        self._limits = Limits(parts.runtime, uid)
        self._writing = asyncio.Lock()
        """Of the record: one transaction after the other."""
        self._restarts: dict[str, int] = dict(record.restarts) if record is not None else {}
        self._holds_cgroup = False
        if record is not None and record.ending is None and str_at(record.status, "phase") not in FINAL:
            parts.ports.hold(uid, host_ports_of(self._pod() or {}))  # before any that is new
        """Runs that somebody asked to be ended, by container: what follows them starts without delay."""

    @property
    def holds(self) -> Mapping[str, int]:
        """What it has been allocated of CPU and memory."""
        if self._last is None or self._record is None or str_at(self._record.status, "phase") in FINAL:
            return {}
        return requests_of(with_allocation(self._last, self._record.allocated))

    @property
    def is_deferred(self) -> bool:
        """It waits for others to hold less."""
        return self._limits.pending is not None and self._limits.pending.reason == "Deferred"

    @property
    def _kept(self) -> PodRecord:
        assert self._record is not None, "it was looked at"
        return self._record

    def restart(self, attempts: Mapping[str, int]) -> None:
        """End these runs, and start the containers again."""
        self._restarts |= attempts
        self._wake.set()

    @property
    def stopped(self) -> Stopped | None:
        """Who stopped it here, if somebody did."""
        return None if self._record is None else self._record.stopped

    async def write(self, change: Callable[[PodRecord], PodRecord], batch: EdgeBatch) -> None:
        """Commit a change of its record with what else belongs to it; only then it is heeded."""
        async with self._writing:
            record = change(
                self._record or PodRecord.new(self._key, now_ms=self._parts.clock.wall_ms(), grace_s=GRACE_S)
            )
            await self._parts.store.apply(replace(batch, pods=(*batch.pods, (self._uid, record.encode()))))
            self._record = change(self._record or record)
        self._wake.set()

    def move(self, node: NodeFacts) -> None:
        """The node is another now, in its address."""
        self._parts = replace(self._parts, node=node)
        self._wake.set()

    def end(self, ending: Ending, grace_s: float) -> None:
        """End the pod for good, as it may not stay on this gateway; its status and an event say why. It gets
        `grace_s`, or its own grace where that is less. Of one that has finished, or is ended, it is nothing."""
        if self._record is None:
            self._early_end = self._early_end or (ending, grace_s)
        elif self._record.ending is None and not self.is_finished:
            grace_s = min(grace_s, self._record.grace_s)
            self._record = replace(self._record, ending=ending, grace_s=grace_s)
            self._happened.append(Happening(reason=ending.reason, message=ending.message, warning=True))
        self._wake.set()

    @property
    def is_finished(self) -> bool:
        """It was told to have reached its last phase."""
        return self._record is not None and str_at(self._record.status, "phase") in FINAL

    @property
    def may_be_cleared(self) -> bool:
        """It has finished, and the runtime has something of it yet."""
        return self.is_finished and not self._emptied

    def active(self) -> tuple[JsonObject, Path] | None:
        """The pod and where its logs are; None where it has finished, or is to end."""
        pod = self._pod()
        if pod is None or being_deleted(pod) or self._record is None or self._record.ending is not None:
            return None
        return None if self.is_finished else (pod, self._logs())

    def clear(self) -> asyncio.Event:
        """Take away what the finished pod left with the runtime; the event says that it is gone."""
        self._clearing = self._clearing or asyncio.Event()
        self._wake.set()
        return self._clearing

    async def until_cleared(self) -> None:
        """Until nothing is left of what the pod, that was evicted, had of the gateway."""
        await self._cleared.wait()

    def poke(self, *, retry: bool = False) -> None:
        """Something may have changed; `retry`: a ConfigMap or Secret that was missing may be there now."""
        if retry:
            self._problems = {
                name: replace(problem, retry_ms=0) if problem.reason in _MISSING_INPUT else problem
                for name, problem in self._problems.items()
            }
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                wait_s = await self._attempt(tasks)
                if wait_s is None:
                    self._probing.close()
                    self._all_is_cleared()
                    return
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _happens(self, what: Happening) -> None:
        """To be told with the next look, which is soon."""
        self._happened.append(what)
        self._wake.set()

    async def _attempt(self, tasks: asyncio.TaskGroup) -> float | None:
        """One round; seconds until the next, None for never."""
        try:
            wait_s = await self._step(tasks)
        except (UnavailableError, OSError) as error:
            self._note(str(error))
            return FAILED_AGAIN_S
        except Exception as error:
            # The root of this worker: a fault in one pod must not end the others, nor this one for good.
            if str(error) != self._failure:
                log.exception("pod worker failed pod=%s/%s", self._key.namespace, self._key.name)
            self._failure = str(error)
            return LOOK_AGAIN_S
        self._note("")
        return wait_s

    def _note(self, failure: str) -> None:
        """Said once, not at every retry."""
        if failure and failure != self._failure:
            log.warning("pod waits pod=%s/%s reason=%s", self._key.namespace, self._key.name, failure)
        self._failure = failure

    async def _step(self, tasks: asyncio.TaskGroup) -> float | None:
        pod = self._pod()
        seen = await self._see(pod)
        if pod is None and not seen.containers and not seen.sandboxes:
            await self._forget()
            return None
        refusal = unsupported(seen.pod, self._parts.runtime.abilities)
        seen = self._without_delays(seen)
        steps = plan(seen)
        if steps.run_sandbox is not None and not refusal:
            if await self._run_sandbox(seen, steps.run_sandbox):
                seen = self._without_delays(await self._see(pod))
                steps = plan(seen)
            else:
                steps = replace(steps, waiting=self._waiting_for_a_sandbox(seen))
        if not seen.terminating and not seen.finished:
            self._record, restarts = await self._limits.given(seen, self._kept, self._parts.node.memory_bytes)
            self._restarts = {**restarts, **self._restarts}
        if self._restarts and not seen.terminating:
            steps = replace(steps, actions=(*steps.actions, *restarts_of(seen, self._restarts)))
        if refusal:
            steps = replace(steps, actions=tuple(step for step in steps.actions if not isinstance(step, Start)))
        await self._act(seen, steps, tasks)
        now = await self._look_again(seen, tasks)
        over = await self._tell(now, steps, refusal)
        if pod is None and over:
            await self._forget()
            return None
        return self._patience_s(now, steps)

    async def _look_again(self, seen: Seen, tasks: asyncio.TaskGroup) -> Seen:
        """What is there after the steps; it is probed from now on."""
        runtime = self._parts.runtime
        now = replace(seen, containers=await runtime.list(self._uid), sandboxes=await runtime.sandboxes(self._uid))
        self._record = keep_given(now, self._kept)
        ready_to_be_asked = [state for state in now.running if state.id not in self._beginning]
        self._probing.sync(
            seen.pod,
            ready_to_be_asked,
            self._known,
            tasks,
            address=self._address(now),
            ending=seen.terminating or seen.held_back is not None,
        )
        return replace(now, health=self._health(), beginning=frozenset(self._beginning))

    def _known(self, state: ContainerState) -> Known | None:
        """What the cloud was told of this run."""
        status = self._record.status if self._record is not None else {}
        for name in ("containerStatuses", "initContainerStatuses"):
            for told in maps_at(status, name):
                if str_at(told, "containerID") == f"{self._parts.runtime.name}://{state.id}":
                    return Known(started=bool_at(told, "started"), ready=bool_at(told, "ready"))
        return None

    def _health(self) -> dict[str, Health]:
        dead = Health(started=False, ready=False, failed="postStart")
        return self._probing.health() | dict.fromkeys(self._stillborn, dead)

    def _address(self, seen: Seen) -> str:
        """At which the pod's containers are reached."""
        addresses = seen.sandbox.addresses if seen.sandbox is not None else ()
        return addresses[0] if addresses else self._parts.node.address

    def _without_delays(self, seen: Seen) -> Seen:
        """A restart that was asked for is no crash: the run after it waits for nothing."""
        for name, attempt in list(self._restarts.items()):
            newest = newest_of(seen.containers, name)
            if newest is not None and newest.attempt > attempt:
                del self._restarts[name]
        if self._record is not None and self._record.restarts.keys() - self._restarts.keys():
            left = {name: each for name, each in self._record.restarts.items() if name in self._restarts}
            self._record = replace(self._record, restarts=left)
        free = self._restarts.keys()
        if not free:
            return seen
        self._problems = {name: problem for name, problem in self._problems.items() if name not in free}
        backoff = {name: wait for name, wait in seen.backoff.items() if name not in free}
        return replace(seen, backoff=backoff, problems=self._problems)

    def _patience_s(self, seen: Seen, steps: Plan) -> float:
        wakes = [problem.retry_ms for problem in self._problems.values()]
        if steps.wake_ms is not None:
            wakes.append(steps.wake_ms)
        deadline_ms = self._deadline_ms(seen.pod)
        if deadline_ms is not None and not seen.terminating and not seen.finished:
            wakes.append(deadline_ms)
        if not wakes:
            return LOOK_AGAIN_S
        return min(max((min(wakes) - self._parts.clock.wall_ms()) / 1000, SOON_S), LOOK_AGAIN_S)

    def _pod(self) -> JsonObject | None:
        """The pod as this gateway has it; None when it is gone, or its name now belongs to another life."""
        pod = self._pods.pod(self._key, self._uid)
        kept = self._record.kept if self._record is not None else None
        if pod is not None and kept is not None and self._parts.hold() is not None:
            pod = as_kept(pod, kept)
        if pod is not None:
            self._last = pod
        return pod

    async def _see(self, pod: JsonObject | None) -> Seen:
        now_ms = self._parts.clock.wall_ms()
        containers = await self._parts.runtime.list(self._uid)
        came = self._record is None and not containers
        if self._record is None or (self._record.gone and pod is not None and not being_deleted(pod)):
            # (Told gone and yet wanted: the cloud was restored to before the pod's deletion. It begins anew, as it
            # would if this gateway had forgotten it already.)
            self._record = PodRecord.new(self._key, now_ms=now_ms, grace_s=grace_of(pod))
            self._is_new = True
        if self._is_new:
            self._admit(pod, containers)
            self._is_new = False
        static = self._pods.is_static(self._key, self._uid)
        self._record, news = heeded(self._record, pod, self._parts.hold(), came=came, static=static)
        self._happened += news
        leaving = pod is None or being_deleted(pod)
        if pod is not None and (leaving or self._record.ending is None):
            self._record = replace(self._record, grace_s=grace_of(pod))
        shown = pod or self._last or remembered(self._key, self._uid)
        finished = (str_at(self._record.status, "phase") or str_at(shown, "status", "phase")) in FINAL
        deadline_ms = self._deadline_ms(shown)
        if deadline_ms is not None and now_ms >= deadline_ms and not finished and self._record.ending is None:
            self._record = replace(self._record, ending=DEADLINE)
            self._happened.append(Happening(reason=DEADLINE.reason, message=DEADLINE.message, warning=True))
        if finished or self._record.ending == REFUSED:
            self._parts.ports.release(self._uid)
        else:
            self._parts.ports.hold(self._uid, host_ports_of(shown))
        terminating = leaving or self._record.ending is not None
        if terminating and not self._record.ending_ms:
            self._record = replace(self._record, ending_ms=now_ms)
        return Seen(
            pod=shown if terminating or finished else self._allocated(shown),
            containers=containers,
            sandboxes=await self._parts.runtime.sandboxes(self._uid),
            backoff=self._record.backoff,
            problems=self._problems,
            terminating=terminating,
            grace_s=self._record.grace_s,
            ending_ms=self._record.ending_ms,
            held_back=held_back(self._record.stopped, self._record.kept, self._parts.hold()),
            held_ms=self._record.stopped.at_ms if self._record.stopped is not None else 0,
            finished=finished,
            now_ms=now_ms,
            health=self._health(),
            beginning=frozenset(self._beginning),
            spent=spent_of(self._record.status),
        )

    def _admit(self, pod: JsonObject | None, containers: Sequence[ContainerState]) -> None:
        """A pod that is new here, and of which nothing runs, may be refused."""
        if pod is not None and not being_deleted(pod) and not containers:
            refusal, ending = self._parts.refusal(pod), None
            if refusal:
                ending = Ending(reason=EVICTED, message=f"Pod was rejected: {refusal}")
            elif not self._parts.ports.are_free(self._uid, host_ports_of(pod)):
                ending, refusal = REFUSED, REFUSED.message
            if ending is not None and str_at(pod, "status", "phase") not in FINAL:
                self._record = replace(self._kept, ending=ending)
                self._happened.append(Happening(reason=ending.reason, message=refusal, warning=True))
        early, self._early_end = self._early_end, None
        if early is not None:
            self.end(*early)

    def _allocated(self, pod: JsonObject) -> JsonObject:
        """The pod with what this gateway agreed to give it."""
        assert self._record is not None
        room = Room(allocatable=amounts_of(self._parts.node.allocatable), used=self._parts.others(self._uid))
        self._record = self._limits.agreed(pod, self._record, room)
        return with_allocation(pod, self._record.allocated)

    def _deadline_ms(self, pod: JsonObject) -> int | None:
        """When it has been active for too long."""
        active_s = dig(pod, "spec", "activeDeadlineSeconds")
        if self._record is None or not isinstance(active_s, int):
            return None
        return self._record.start_ms + active_s * 1000

    async def _act(self, seen: Seen, steps: Plan, tasks: asyncio.TaskGroup) -> None:
        assert self._record is not None
        self._tell_of_waits(steps)
        if seen.containers and not seen.terminating and not self._holds_cgroup:
            self._hold_cgroup(seen.pod)  # of a pod that an agent before us started
        starts = [step for step in steps.actions if isinstance(step, Start)]
        if starts or (not seen.terminating and not seen.finished and seen.containers):
            places = self._volumes(seen)
            for step in starts if places is not None else ():
                await self._start(seen, step, places or {}, tasks)
        # Only now: a delay counts from a start that was tried.
        self._record = replace(self._record, backoff=steps.backoff)
        for step in steps.actions:
            match step:
                case Start():
                    continue
                case Stop():
                    specs = {one.name: one.spec for one in all_of(seen.pod)}
                    self._stopping.stop(step, specs.get(step.name, {}), self._address(seen), tasks)
                case Remove():
                    await self._remove(seen, step.container_id)
                case StopSandbox():
                    await self._parts.runtime.stop_sandbox(step.sandbox_id)
                case RemoveSandbox():
                    await self._parts.runtime.remove_sandbox(step.sandbox_id)

    async def _remove(self, seen: Seen, container_id: str) -> None:
        """A run that nobody asks about any more, and what it said: else one that crashes for weeks fills the disk."""
        await self._parts.runtime.remove(container_id)
        for state in seen.containers:
            if state.id == container_id:
                remove_log(self._logs() / state.name / f"{state.attempt}.log")

    async def _run_sandbox(self, seen: Seen, attempt: int) -> bool:
        """False where it can't be had: it is tried again later."""
        problem = self._problems.get(_SANDBOX)
        if problem is not None and seen.now_ms < problem.retry_ms:
            return False
        if self._volumes(seen) is None:
            return False
        try:
            self._hold_cgroup(seen.pod)
            await self._parts.runtime.run_sandbox(self._sandbox_spec(seen, attempt))
        except (InvalidError, UnavailableError, OSError) as error:
            message = f"Failed to create pod sandbox: {error}"
            self._fail(seen, _SANDBOX, NO_VOLUMES, message, event="FailedCreatePodSandBox")
            return False
        self._problems.pop(_SANDBOX, None)
        if attempt == 0:
            self._tell_of_names(seen.pod)
        return True

    def _hold_cgroup(self, pod: JsonObject) -> None:
        """Raises `OSError`."""
        if self._parts.cgroups is not None:
            self._parts.cgroups.ensure(pod)
            self._holds_cgroup = True

    def _tell_of_names(self, pod: JsonObject) -> None:
        """Once a pod: what its resolv.conf has no room for."""
        if not self._parts.runtime.abilities.pod_network:
            return
        node, gateway = self._parts.node, gateway_resolver(self._parts.root)
        omitted = resolver_of(pod, gateway, servers=node.cluster_dns, domain=node.cluster_domain).omitted()
        if omitted:
            self._happened.append(Happening(reason="DNSConfigForming", message=omitted, warning=True))

    def _waiting_for_a_sandbox(self, seen: Seen) -> dict[str, Waiting]:
        problem = self._problems.get(_SANDBOX)
        if problem is None:
            return {}
        waits = Waiting(reason=problem.reason, message=problem.message)
        return {one.name: waits for one in all_of(seen.pod)}

    def _tell_of_waits(self, steps: Plan) -> None:
        crashed = {name for name, wait in steps.waiting.items() if wait.reason == "CrashLoopBackOff"}
        for name in sorted(crashed - self._told_backoff):
            wait = steps.waiting[name]
            self._happened.append(Happening(reason="BackOff", message=wait.message, container=name, warning=True))
        self._told_backoff = crashed

    def _around(self, seen: Seen) -> Surroundings:
        return surroundings(seen.pod, seen.sandbox, self._parts, self._key.namespace)

    def _volumes(self, seen: Seen) -> dict[str, Path] | None:
        """The pod's volumes, up to date; None when some can't be made: then no container starts."""
        try:
            everybodys = self._parts.directory / "pods"
            if not everybodys.is_dir():  # somebody took it away
                private_pods(self._parts.directory)
            places = sync_volumes(
                everybodys / self._uid,
                self._around(seen),
                kept=self._parts.directory / KEPT,
                root=self._parts.root,
            )
        except (ConfigError, OSError, UnavailableError) as error:
            for one in all_of(seen.pod):
                self._fail(seen, one.name, NO_VOLUMES, str(error), event="FailedMount")
            return None
        self._problems = {name: was for name, was in self._problems.items() if was.reason != NO_VOLUMES}
        return places

    async def _start(self, seen: Seen, step: Start, places: dict[str, Path], tasks: asyncio.TaskGroup) -> None:
        runtime, container, sandbox = self._parts.runtime, container_of(seen.pod, step.name), seen.sandbox
        assert sandbox is not None, "the plan starts nothing without one"
        try:
            credentials = credentials_of(seen.pod, self._around(seen).find)
            image = await runtime.ensure_image(str_at(container, "image"), pull_policy(container), credentials)
            place = Place(
                sandbox=self._sandbox_spec(seen, sandbox.attempt),
                sandbox_id=sandbox.id,
                image_id=image.id,
                attempt=step.attempt,
                target=target_of(seen.pod, container, seen.containers),
            )
            mounts = (
                *mounts_of(container, self._around(seen), places),
                *self._hosts_mount(seen, container),
                *self._words_mount(container, step),
            )
            spec = container_spec(container, self._around(seen), place, mounts)
            if self._parts.cgroups is not None:
                unified = self._parts.cgroups.unified_of(container)
                spec = replace(spec, resources=replace(spec.resources, unified=unified))
            state = await runtime.start(spec)
        except ConfigError as error:
            self._fail(seen, step.name, "CreateContainerConfigError", str(error))
        except ImageMissingError as error:
            self._fail(seen, step.name, error.reason, str(error))
        except InvalidError as error:
            self._fail(seen, step.name, "CreateContainerError", str(error))
        except UnavailableError as error:
            self._fail(seen, step.name, "RunContainerError", str(error))
        else:
            self._problems.pop(step.name, None)
            self._tell_of_unheeded(seen.pod, step)
            self._started(seen, container, state, tasks)

    def _started(self, seen: Seen, container: JsonObject, state: ContainerState, tasks: asyncio.TaskGroup) -> None:
        if state.reason in COULD_NOT_START:
            message = f"Error: {state.message}"
            self._happened.append(Happening(reason="Failed", message=message, container=state.name, warning=True))
            return
        message = f"Started container {state.name}"
        self._happened.append(Happening(reason="Started", message=message, container=state.name))
        hook = map_at(container, "lifecycle", "postStart")
        if hook and state.phase == "running":
            self._beginning.add(state.id)
            tasks.create_task(self._run_first_hook(state, hook, container, self._address(seen)))

    async def _run_first_hook(
        self, state: ContainerState, hook: JsonObject, container: JsonObject, address: str
    ) -> None:
        try:
            whom = Whom(container_id=state.id, address=address)
            failure = await self._asking.hook(handler_of(hook, container), whom, timeout_s=HOOK_S_MAX)
        except InvalidError as error:
            failure = str(error)
        self._beginning.discard(state.id)
        if failure:
            log.info("poststart hook failed container=%s reason=%s", state.id, failure)
            self._stillborn.add(state.id)
            self._happens(
                Happening(
                    reason="FailedPostStartHook", message="PostStartHook failed", container=state.name, warning=True
                )
            )
        self._wake.set()

    def _sandbox_spec(self, seen: Seen, attempt: int) -> SandboxSpec:
        gateway = gateway_resolver(self._parts.root)
        spec = sandbox_spec(seen.pod, self._parts.node, gateway, attempt=attempt, log_dir=self._logs())
        cgroups = self._parts.cgroups
        return spec if cgroups is None else replace(spec, cgroup_parent=cgroups.parent_of(seen.pod))

    def _hosts_mount(self, seen: Seen, container: JsonObject) -> tuple[Mount, ...]:
        return own_hosts(seen.pod, seen.sandbox, container, self._parts, self._directory())

    def _words_mount(self, container: JsonObject, step: Start) -> tuple[Mount, ...]:
        return words_mount(container, step, self._parts, self._directory())

    def _directory(self) -> Path:
        return self._parts.directory / "pods" / self._uid

    def _tell_of_unheeded(self, pod: JsonObject, step: Start) -> None:
        """Once a pod: with the first run of its first container."""
        left_out = unheeded(pod, self._parts.runtime.abilities)
        if left_out and step == Start(name=wanted_of(pod)[0].name, attempt=0):
            self._happened.append(Happening(reason="NotEnforced", message=left_out, warning=True))

    def _fail(self, seen: Seen, name: str, reason: str, message: str, *, event: str = "Failed") -> None:
        before = self._problems.get(name)
        self._problems[name] = next_problem(before, reason=reason, message=message, now_ms=seen.now_ms)
        if before is None or message not in before.message:
            what = Happening(reason=event, message=message, container="" if event != "Failed" else name, warning=True)
            if what not in self._happened:
                self._happened.append(what)

    def _logs(self) -> Path:
        return log_directory(self._parts.directory, namespace=self._key.namespace, name=self._key.name, uid=self._uid)

    async def _tell(self, seen: Seen, steps: Plan, refusal: str) -> bool:
        """Write down what is new and what the cloud is to hear, in one transaction; then clear away what is over.
        True when nothing of the pod is left."""
        assert self._record is not None
        pod = self._pod()
        leaving = pod is None or being_deleted(pod)
        over = leaving and not seen.running and not any(each.ready for each in seen.sandboxes)
        self._hear_last_words(seen)
        address = self._parts.node.address
        if seen.finished:  # where it was
            address = str_at(self._record.status, "hostIP", default=address)
        status = pod_status(
            Picture(
                pod=seen.pod,
                containers=seen.containers,
                sandbox=seen.sandbox,
                waiting=self._waits(seen, steps, refusal),
                before=self._record.status or _map(seen.pod, "status"),
                runtime=self._parts.runtime.name,
                address=address,
                start_ms=self._record.start_ms,
                now_ms=self._parts.clock.wall_ms(),
                terminating=seen.terminating,
                unsupported=refusal,
                ending=self._record.ending,
                held_back=seen.held_back,
                health=seen.health,
                beginning=seen.beginning,
                messages=self._words,
                given=self._record.given,
                resize_pending=self._limits.pending,
                resize_fault=self._limits.fault,
            )
        )
        if (over and self._record.gone) or (seen.finished and not seen.containers and self._record.status):
            status = self._record.status  # its containers have been cleared away since
        self._record = replace(self._record, status=status, gone=over)
        await self._save(seen.pod)
        if str_at(status, "phase") in FINAL and not seen.finished:
            self._wake.set()  # its sandbox may go now
        if over:
            for state in seen.containers:
                await self._parts.runtime.remove(state.id)
            for sandbox in seen.sandboxes:
                await self._parts.runtime.remove_sandbox(sandbox.id)
            await self._clear()
            self._all_is_cleared()
        elif seen.finished and not seen.running and not any(each.ready for each in seen.sandboxes):
            await self._let_go(seen)
        return over

    async def _let_go(self, seen: Seen) -> None:
        """What a finished pod wrote into volumes of its own is nobody's now; of an evicted one nothing stays but its
        status, as the gateway needs the room."""
        assert self._record is not None
        unmount_below(self._directory())
        shutil.rmtree(self._directory() / "volumes", ignore_errors=True)
        is_evicted = self._record.ending is not None and self._record.ending.reason == EVICTED
        if is_evicted or self._clearing is not None:
            for state in seen.containers:
                await self._parts.runtime.remove(state.id)
            for sandbox in seen.sandboxes:
                await self._parts.runtime.remove_sandbox(sandbox.id)
            self._emptied = True
        if is_evicted:
            await self._clear()
        self._all_is_cleared()

    def _all_is_cleared(self) -> None:
        self._cleared.set()
        if self._clearing is not None:
            self._clearing.set()
            self._clearing = None

    def _hear_last_words(self, seen: Seen) -> None:
        """Once for each run that has ended."""
        ended = {state.id: state for state in seen.containers if state.phase == "exited"}
        specs = {one.name: one.spec for one in all_of(seen.pod)}
        for state in ended.values():
            if state.id not in self._words and state.name in specs:
                file = words_file(self._directory(), state.name, state.attempt)
                log_file = self._logs() / state.name / f"{state.attempt}.log"
                self._words[state.id] = last_words(specs[state.name], state, file, log_file)
        self._words = {each: words for each, words in self._words.items() if each in ended}
        self._stillborn &= {state.id for state in seen.containers}

    def _waits(self, seen: Seen, steps: Plan, refusal: str) -> dict[str, Waiting]:
        if refusal:
            return {one.name: Waiting(reason="Unsupported", message=refusal) for one in all_of(seen.pod)}
        running = {state.name for state in seen.containers if state.phase == "running"}
        waits = {
            name: Waiting(reason=problem.reason, message=problem.message)
            for name, problem in self._problems.items()
            if name != _SANDBOX
        }
        return {name: wait for name, wait in (dict(steps.waiting) | waits).items() if name not in running}

    async def _save(self, pod: JsonObject) -> None:
        async with self._writing:
            await self._commit(pod)

    async def _commit(self, pod: JsonObject) -> None:
        assert self._record is not None
        before = self._saved
        to = self._pods.told_uid(self._key, self._uid)
        now = self._record = replace(self._record, epoch=self._parts.store.meta(META_EPOCH) or "", told_uid=to)
        reports: list[NewReport] = []
        if to and (before is None or _told(before) != _told(now)):
            told = PodStatusReport(
                namespace=self._key.namespace, name=self._key.name, uid=to, status=now.status, gone=now.gone
            )
            reports.append(NewReport(report_class="state", kind=POD_STATUS, key=self._uid, body=told.encode()))
        happened, self._happened = self._happened, []
        reports += [self._event(pod, what) for what in happened]
        if not reports and now == before:
            return
        try:
            await self._parts.store.apply(EdgeBatch(reports=tuple(reports), pods=((self._uid, now.encode()),)))
        except BaseException:
            self._happened = happened + self._happened
            raise
        self._saved = now

    def _event(self, pod: JsonObject, what: Happening) -> NewReport:
        event = event_object(
            pod,
            what,
            node=self._parts.node.name,
            suffix=self._parts.ids.token_hex(8),
            now_ms=self._parts.clock.wall_ms(),
        )
        kind, body = event_body(event)
        return NewReport(report_class="event", kind=kind, key="", body=body)

    async def _clear(self) -> None:
        """Volumes, logs and cgroups: nothing of the pod stays on the gateway."""
        if self._parts.cgroups is not None:
            await self._parts.cgroups.remove(self._uid)
        unmount_below(self._directory())
        shutil.rmtree(self._directory(), ignore_errors=True)
        shutil.rmtree(self._logs(), ignore_errors=True)

    async def _forget(self) -> None:
        self._parts.ports.release(self._uid)
        await self._clear()
        await self._parts.store.apply(EdgeBatch(pods=((self._uid, None),)))


def _told(record: PodRecord) -> tuple[JsonObject, bool, str, str]:
    """What the cloud is to know, of what, and which cloud."""
    return record.status, record.gone, record.told_uid, record.epoch


_SANDBOX: Final = ""
"""Among the problems: the sandbox's own."""
_MISSING_INPUT: Final = frozenset({NO_VOLUMES, "CreateContainerConfigError"})


def _map(obj: JsonObject, name: str) -> JsonObject:
    value = obj.get(name)
    return value if isinstance(value, dict) else {}
