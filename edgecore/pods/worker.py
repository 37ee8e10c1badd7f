"""The worker of one pod: looks, plans, acts, tells; again whenever something may have changed.

What it keeps is in the edge store (`PodRecord`) and with the runtime. A crash at any point is followed by another
look: starting is idempotent by (pod, container, attempt), and what was told is compared, not assumed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgecore.pods.about import grace_of, remembered
from edgecore.pods.admitting import REJECTED, Gateway, needs_of, not_admitted, refused
from edgecore.pods.asking import RealAsking
from edgecore.pods.clearing import Clearing
from edgecore.pods.containers import all_of, newest_of, spent_of
from edgecore.pods.dead_runs import Dead
from edgecore.pods.env import NodeFacts
from edgecore.pods.events import Happening
from edgecore.pods.first_look import FirstLook, Found
from edgecore.pods.heeding import heeded
from edgecore.pods.holding import Stopped, as_kept, held_back
from edgecore.pods.host_ports import REFUSED
from edgecore.pods.last_words import LastWords
from edgecore.pods.leases import ENDED
from edgecore.pods.limits import Limits, keep_given
from edgecore.pods.log_files import remove_log
from edgecore.pods.part_mounts import end_parts
from edgecore.pods.parts import PodParts
from edgecore.pods.plan import Plan, Remove, RemoveSandbox, Seen, Start, Stop, StopSandbox, Waiting, plan, restarts_of
from edgecore.pods.port import ContainerState, SandboxState
from edgecore.pods.probes import Health
from edgecore.pods.probing import Known, Probing
from edgecore.pods.records import Instant, PodRecord
from edgecore.pods.refusals import unsupported
from edgecore.pods.resizing import Room, amounts_of, with_allocation
from edgecore.pods.sources import GatewayPods
from edgecore.pods.starting import Starting
from edgecore.pods.status import EVICTED, FINAL, Ending, Picture, pod_status
from edgecore.pods.stopping import Stopping
from edgecore.pods.sysctls import sysctl_refusal
from edgecore.pods.telling import Telling
from edgecore.store.port import EdgeBatch
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, bool_at, decode_object, dig, map_at, maps_at, str_at
from skerry.objects.meta import Key, being_deleted, labels_of
from skerry.objects.pods import host_ports_of, own_grace_s
from skerry.objects.taints import NO_EXECUTE, taints_of
from skerry.waits import until_set

if TYPE_CHECKING:
    from edgecore.pods.fencing import Fencing

log = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 30.0
"""A runtime may be silent about a change."""
FAILED_AGAIN_S: Final = 5.0
"""After the store or the runtime did not answer."""
SOON_S: Final = 0.05
DEADLINE: Final = Ending(
    reason="DeadlineExceeded", message="Pod was active on the node longer than the specified deadline"
)


class PodWorker:
    """See the module. `run` returns when nothing of the pod is left and the cloud has forgotten it."""

    def __init__(
        self, parts: PodParts, pod: Key, uid: str, record: PodRecord | None, first: FirstLook | None = None
    ) -> None:
        """`first`: what its first look finds; None: it asks the runtime."""
        self._parts = parts
        self._first = first
        self.begun = asyncio.Event()
        """It has looked, and done what it could."""
        self.under_way = asyncio.Event()
        """The same, or it waits for its sandbox."""
        self._key = pod
        self._uid = uid
        self._pods = GatewayPods(parts.store, parts.files)
        self._telling = Telling(parts, pod, uid, record)
        self._wake = asyncio.Event()
        asking = parts.asking or RealAsking(parts.runtime)
        self._starting = Starting(parts, pod, uid, asking, self._happens, self._wake.set)
        self._stopping = Stopping(parts.runtime, asking, self._happens, self._wake.set)
        self._at_rest = asyncio.Event()
        """It is between two steps, and the last one could be taken."""
        self._fencing: Fencing | None = None
        self._probing = Probing(asking, parts.clock, self._wake.set, self._happens)
        self._clearing = Clearing(parts, uid, directory=self._starting.directory, logs=self._starting.logs)
        self._words = LastWords(self._starting.directory, self._starting.logs)
        self._limits = Limits(parts.runtime, parts.cgroups, uid)
        self._tasks: asyncio.TaskGroup | None = None
        """While it runs."""
        self._told_backoff: set[str] = set()
        self._last: JsonObject | None = None
        self._needs: tuple[JsonObject, Mapping[str, JsonObject], Mapping[str, int]] | None = None
        """What `holds` was reckoned from, and the sum: all others ask for it at each of their looks."""
        self._failure = self._trouble = ""
        """What the last look came to; what it had to leave for another one."""
        self._is_looking = False
        """A look is under way, and what happens in it was not told yet."""
        self._is_new = False
        """It begins here, and may be refused."""
        self._unlent_ms: int | None = None
        """Since when it may not run, as nobody lends it any more, by the wall clock as it was at the last look; None:
        it may."""
        self._early_end: tuple[Ending, float] | None = None
        """It is to end, and was not looked at yet."""
        boots = parts.store.boots()
        self._boot = boots[-1].boot_id if boots else ""
        self._over: Sequence[ContainerState] = ()
        """Its runs that are over, as last seen."""
        self._restarts: dict[str, int] = dict(record.restarts) if record is not None else {}
        """Runs that somebody asked to be ended, by container: what follows them starts without delay."""
        if record is not None and record.ending is None and str_at(record.status, "phase") not in FINAL:
            parts.ports.hold(uid, host_ports_of(self._pod() or {}))  # before any that is new

    @property
    def _record(self) -> PodRecord | None:
        return self._telling.record

    @_record.setter
    def _record(self, record: PodRecord) -> None:
        self._telling.record = record

    @property
    def holds(self) -> Mapping[str, int]:
        """What it has of the gateway (`admitting.COUNTED`)."""
        record = self._record
        if self._last is None or record is None or record.gone or str_at(record.status, "phase") in FINAL:
            return {}
        if record.ending is not None and record.ending.refused:
            return {}
        of = self._last, record.allocated
        if self._needs is None or self._needs[0] is not of[0] or self._needs[1] is not of[1]:
            self._needs = *of, needs_of(with_allocation(*of))
        return self._needs[2]

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
        await self._telling.write(change, batch)
        self._wake.set()

    def move(self, node: NodeFacts) -> None:
        """The node is another now, in its address."""
        self._parts = self._starting.parts = replace(self._parts, node=node)
        self._wake.set()

    def end(self, ending: Ending, grace_s: float) -> None:
        """End the pod for good, as it may not stay on this gateway; its status and an event say why. It gets
        `grace_s`, or its own grace where that is less. Of one that has finished, or is ended, it is nothing."""
        if self._record is None:
            self._early_end = self._early_end or (ending, grace_s)
        elif self._record.ending is None and not self.is_finished:
            grace_s = min(grace_s, self._record.grace_s)
            self._record = replace(self._record, ending=ending, grace_s=grace_s)
            self._telling.happens(Happening(reason=ending.reason, message=ending.message, warning=True))
        self._wake.set()

    @property
    def is_finished(self) -> bool:
        """It was told to have reached its last phase."""
        return self._record is not None and str_at(self._record.status, "phase") in FINAL

    @property
    def may_be_cleared(self) -> bool:
        """It has finished, and the runtime has something of it yet."""
        return self.is_finished and not self._clearing.emptied

    @property
    def dead(self) -> Dead:
        """What it has of runs that are over, as last seen."""
        return Dead(
            uid=self._uid,
            runs=0 if self._clearing.is_going else len(self._over),
            finished_ms=max((state.finished_ms for state in self._over), default=0),
            may_go=self.may_be_cleared,
        )

    def active(self) -> tuple[JsonObject, Path] | None:
        """The pod and where its logs are; None where it has finished, or is to end."""
        pod = self._pod()
        if pod is None or being_deleted(pod) or self._record is None or self._record.ending is not None:
            return None
        return None if self.is_finished else (pod, self._starting.logs)

    def clear(self) -> asyncio.Event:
        """Take away what the finished pod left with the runtime; the event says that it is gone."""
        self._wake.set()
        return self._clearing.ask()

    async def until_cleared(self) -> None:
        """Until nothing is left of what the pod, that was evicted, had of the gateway."""
        await self._clearing.until_done()

    def poke(self, *, retry: bool = False) -> None:
        """Something may have changed; `retry`: a ConfigMap or Secret that was missing may be there now."""
        if retry:
            self._starting.retry_inputs()
        self._wake.set()

    def fence(self) -> None:
        """Its lease is over: what runs is told to end now, whatever this worker is at."""
        if not self._at_rest.is_set() and self._tasks is not None:
            from edgecore.pods.fencing import Fencing  # few gateways have what is lent

            if self._fencing is None:
                self._fencing = Fencing(self._parts, self._uid, self._stopping, self._at_rest)
            pod = self._pod()
            grace_s = grace_of(pod) if self._record is None else self._record.grace_s
            self._fencing.begin(self._pod, min(grace_s, own_grace_s(pod or {})), self._tasks)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                self._wake.clear()
                wait_s = await self._attempt(tasks)
                self.under_way.set()
                self.begun.set()
                if wait_s is None:
                    self._probing.close()
                    self._starting.pulls.keep(())
                    self._clearing.is_done()
                    return
                await until_set(self._wake, within_s=wait_s)

    def _happens(self, what: Happening) -> None:
        """To be told with this look, or with the next, which is soon."""
        self._telling.happens(what)
        if not self._is_looking:
            self._wake.set()

    async def _attempt(self, tasks: asyncio.TaskGroup) -> float | None:
        """One round; seconds until the next, None for never."""
        try:
            self._is_looking = True
            self._at_rest.clear()
            self._trouble = ""
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
        finally:
            self._is_looking = False
        self._at_rest.set()
        self._note(self._trouble)
        return min(wait_s, FAILED_AGAIN_S) if self._trouble and wait_s is not None else wait_s

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
        is_changed = False
        if steps.run_sandbox is not None and not refusal:
            given = self._kept.given

            def hold() -> None:
                self._limits.begin(seen.pod, seen.containers, given)
                self.under_way.set()

            made = await self._starting.run_sandbox(seen, steps.run_sandbox, hold)
            if made is not None:
                is_changed = True
                seen = self._without_delays(self._with_sandbox(seen, made))
                steps = plan(seen)
            else:
                steps = replace(steps, waiting=self._starting.waits_for_sandbox(seen))
        if not seen.terminating and not seen.finished:
            given, restarts = await self._limits.given(seen, self._kept.given, self._parts.node.memory_bytes)
            self._record = replace(self._kept, given=given)
            self._restarts = {**restarts, **self._restarts}
        if self._restarts and not seen.terminating:
            steps = replace(steps, actions=(*steps.actions, *restarts_of(seen, self._restarts)))
        if refusal:
            steps = replace(steps, actions=tuple(step for step in steps.actions if not isinstance(step, Start)))
        is_changed = await self._act(seen, steps, tasks) or is_changed
        now = await self._look_again(seen) if is_changed else seen
        if now.held_back is not None and seen.held_back is None:  # its lease ended while something was begun
            steps = replace(steps, waiting=plan(now).waiting)
            self._wake.set()
        self._over = [state for state in now.containers if state.phase == "exited"]
        now = self._asked_from_now_on(now, tasks)
        over = await self._tell(now, steps, refusal)
        if pod is None and over:
            await self._forget()
            return None
        return self._patience_s(now, steps)

    def _with_sandbox(self, seen: Seen, made: SandboxState) -> Seen:
        others = [each for each in seen.sandboxes if each.id != made.id]
        now_ms = self._parts.clock.wall_ms()
        unlent = self._unlent(seen.pod, seen.containers, now_ms)  # making it took its time
        return replace(
            seen,
            sandboxes=sorted([*others, made], key=lambda each: each.attempt),
            problems=self._starting.problems,
            held_back=seen.held_back or unlent,
            unlent_ms=self._unlent_ms,
            now_ms=now_ms,
        )

    async def _found(self) -> Found:
        """What the runtime has of the pod."""
        first, self._first = self._first, None
        found = None if first is None else await first.of(self._uid)
        if found is None:
            runtime = self._parts.runtime
            containers = await runtime.list(self._uid)
            found = Found(containers=containers, sandboxes=await runtime.sandboxes(self._uid))
        return found

    async def _look_again(self, seen: Seen) -> Seen:
        """What is there after steps that changed something."""
        runtime = self._parts.runtime
        containers, sandboxes = await runtime.list(self._uid), await runtime.sandboxes(self._uid)
        is_ending = seen.terminating or seen.finished
        now_ms = self._parts.clock.wall_ms()  # the steps may have taken minutes
        return replace(
            seen,
            containers=containers,
            sandboxes=sandboxes,
            # What was ended as its lease is over has not failed.
            held_back=seen.held_back or (None if is_ending else self._unlent(seen.pod, containers, now_ms)),
            unlent_ms=seen.unlent_ms if is_ending else self._unlent_ms,
        )

    def _asked_from_now_on(self, now: Seen, tasks: asyncio.TaskGroup) -> Seen:
        """What runs is probed."""
        self._record = keep_given(now, self._kept)
        beginning = self._starting.beginning
        self._probing.sync(
            now.pod,
            [state for state in now.running if state.id not in beginning],
            self._known,
            tasks,
            address=self._starting.address(now),
            ending=now.terminating or now.held_back is not None,
        )
        return replace(now, health=self._health(), beginning=frozenset(beginning))

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
        return self._probing.health() | dict.fromkeys(self._starting.stillborn, dead)

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
        self._starting.forgive(free)
        backoff = {name: wait for name, wait in seen.backoff.items() if name not in free}
        return replace(seen, backoff=backoff, problems=self._starting.problems)

    def _patience_s(self, seen: Seen, steps: Plan) -> float:
        # What is due already was tried just now: its pull, or who was asked, tells when there is more to do.
        problems = self._starting.problems.values()
        wakes = [problem.retry_ms for problem in problems if problem.retry_ms > seen.now_ms]
        if steps.wake_ms is not None:
            wakes.append(steps.wake_ms)
        deadline_ms = self._deadline_ms(seen.pod)
        if deadline_ms is not None and not seen.terminating and not seen.finished:
            wakes.append(deadline_ms)
        left_s = self._parts.lent.left_s(seen.pod)
        if left_s or self._is_over(seen):
            wakes.append(self._parts.clock.wall_ms() + round((left_s or 0) * 1000))
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
        found = await self._found()
        containers = found.containers
        self._recall(pod, containers, now_ms)
        self._record = self._kept.dated(self._now())
        leaving = pod is None or being_deleted(pod)
        if pod is not None and (leaving or self._kept.ending is None):
            self._record = replace(self._kept, grace_s=grace_of(pod))
        shown = pod or self._last or remembered(self._key, self._uid)
        finished = (str_at(self._kept.status, "phase") or str_at(shown, "status", "phase")) in FINAL
        deadline_ms = self._deadline_ms(shown)
        if deadline_ms is not None and now_ms >= deadline_ms and not finished and self._kept.ending is None:
            self._record = replace(self._kept, ending=DEADLINE)
            self._telling.happens(Happening(reason=DEADLINE.reason, message=DEADLINE.message))
        if finished or (self._kept.ending is not None and self._kept.ending.refused):
            self._parts.ports.release(self._uid)
        else:
            self._parts.ports.hold(self._uid, host_ports_of(shown))
        terminating = leaving or self._kept.ending is not None
        if terminating and not self._kept.ending_ms:
            self._record = replace(self._kept, ending_ms=now_ms)
        pod_here = shown if terminating or finished else self._allocated(shown)
        record, hold = self._kept, self._parts.hold()
        by_hand = held_back(record.stopped, record.kept, hold)
        unlent = None if finished else self._unlent(pod, containers, now_ms, is_told=by_hand is None)
        held_by = by_hand or unlent
        return Seen(
            pod=pod_here,
            containers=containers,
            sandboxes=found.sandboxes,
            backoff=record.backoff,
            problems=self._starting.problems,
            terminating=terminating,
            grace_s=record.grace_s,
            ending_ms=record.ending_ms,
            held_back=held_by,
            held_ms=record.stopped.at_ms if record.stopped is not None else 0,
            unlent_ms=None if finished else self._unlent_ms,
            finished=finished,
            now_ms=now_ms,
            health=self._health(),
            beginning=frozenset(self._starting.beginning),
            spent=spent_of(record.status),
            dead=self._parts.dead,
        )

    def _unlent(
        self, pod: JsonObject | None, containers: Sequence[ContainerState], now_ms: int, *, is_told: bool = True
    ) -> Waiting | None:
        """Why it may not run now, where it must never run twice in a federation."""
        if pod is None or self._parts.lent.left_s(pod) != 0:
            self._unlent_ms = None
            return None
        # It ran here: of one that waits for its first answer there is nothing to tell.
        is_new = is_told and self._unlent_ms is None
        if is_new and (containers or str_at(self._kept.status, "phase") == "Running"):
            self._telling.happens(Happening(reason=ENDED.reason, message=ENDED.message, warning=True))
        self._unlent_ms = now_ms - round(self._parts.lent.over_s(pod) * 1000)
        return ENDED

    def _is_over(self, seen: Seen) -> bool:
        """Its lease, since it was looked at. Of one that is to end the watch of leases tells: it may be gone here."""
        return not seen.terminating and seen.held_back is None and self._parts.lent.left_s(seen.pod) == 0

    def _now(self) -> Instant:
        clock = self._parts.clock
        return Instant(wall_ms=clock.wall_ms(), boot=self._boot, up_ms=round(clock.monotonic_s() * 1000))

    def _recall(self, pod: JsonObject | None, containers: Sequence[ContainerState], now_ms: int) -> None:
        """Its record, as it is with what the gateway holds back now."""
        record = self._record
        came = record is None and not containers
        if record is None or (record.gone and pod is not None and not being_deleted(pod)):
            # (Told gone and yet wanted: the cloud was restored to before the pod's deletion. It begins anew, as it
            # would if this gateway had forgotten it already.)
            self._record = PodRecord.new(self._key, now_ms=now_ms, grace_s=grace_of(pod)).begun(self._now())
            self._is_new = True
        if self._is_new:
            self._admit(pod, containers)
            self._is_new = False
        static = self._pods.is_static(self._key, self._uid)
        self._record, news = heeded(self._kept, pod, self._parts.hold(), came=came, static=static)
        self._telling.happens(*news)

    def _admit(self, pod: JsonObject | None, containers: Sequence[ContainerState]) -> None:
        """A pod that is new here, and of which nothing runs, may be refused."""
        if pod is not None and not being_deleted(pod) and not containers:
            ending = None if str_at(pod, "status", "phase") in FINAL else self._refused(pod)
            if ending is not None:
                self._record = replace(self._kept, ending=ending)
                text = ending.message.removeprefix(REJECTED)
                self._telling.happens(Happening(reason=ending.reason, message=text, warning=True))
        early, self._early_end = self._early_end, None
        if early is not None:
            self.end(*early)

    def _refused(self, pod: JsonObject) -> Ending | None:
        if why := self._parts.refusal(pod):
            return refused(EVICTED, why)
        parts, node = self._parts, self._parts.node
        stored = parts.store.get(Key("nodes", "", node.name))
        known = None if stored is None else decode_object(stored.body)
        gateway = Gateway(
            name=node.name,
            labels=None if known is None else labels_of(known),
            taints=tuple(each for each in taints_of(known or {}) if each.effect == NO_EXECUTE),
            allocatable=node.allocatable,
            used=parts.others(self._uid),
        )
        ending = not_admitted(pod, gateway) or sysctl_refusal(pod, parts.sysctls)
        if ending is None and not parts.ports.are_free(self._uid, host_ports_of(pod)):
            return REFUSED
        return ending

    def _allocated(self, pod: JsonObject) -> JsonObject:
        """The pod with what this gateway agreed to give it."""
        room = Room(allocatable=amounts_of(self._parts.node.allocatable), used=self._parts.others(self._uid))
        record = self._record = self._limits.agreed(pod, self._kept, room)
        return with_allocation(pod, record.allocated)

    def _deadline_ms(self, pod: JsonObject) -> int | None:
        """When it has been active for too long."""
        active_s = dig(pod, "spec", "activeDeadlineSeconds")
        if self._record is None or not isinstance(active_s, int):
            return None
        return self._record.start_ms + active_s * 1000

    async def _act(self, seen: Seen, steps: Plan, tasks: asyncio.TaskGroup) -> bool:
        """Take the steps; whether something is another now than was seen."""
        self._tell_of_waits(steps)
        starts = [step for step in steps.actions if isinstance(step, Start)]
        self._starting.pulls.keep({step.name for step in starts})
        is_changed, backoff = False, dict(steps.backoff)
        if starts or (not seen.terminating and not seen.finished and seen.containers):
            places = self._starting.volumes(seen)
            for step in starts if places is not None else ():
                if self._is_over(seen):  # while others began
                    break
                if await self._starting.start(seen, step, places or {}, tasks):
                    is_changed = True
                elif step.name in seen.backoff:
                    backoff[step.name] = seen.backoff[step.name]
                else:
                    backoff.pop(step.name, None)
        # Only now: a delay counts from a start that was tried.
        self._record = replace(self._kept, backoff=backoff)
        for step in steps.actions:
            match step:
                case Start():
                    continue
                case Stop():  # whose end is heard of
                    specs = {one.name: one.spec for one in all_of(seen.pod)}
                    address = self._starting.address(seen)
                    self._stopping.stop(step, specs.get(step.name, {}), address, tasks)
                    continue
                case Remove() | StopSandbox() | RemoveSandbox():
                    await self._clear(seen, step)
            is_changed = True
        return is_changed

    async def _clear(self, seen: Seen, step: Remove | StopSandbox | RemoveSandbox) -> None:
        """What a runtime can't take away now (a network that was never there) keeps nothing from being told."""
        try:
            match step:
                case Remove():
                    await self._remove(seen, step.container_id)
                case StopSandbox():
                    await self._parts.runtime.stop_sandbox(step.sandbox_id)
                case RemoveSandbox():
                    await self._parts.runtime.remove_sandbox(step.sandbox_id)
        except UnavailableError as error:
            self._trouble = str(error)

    async def _remove(self, seen: Seen, container_id: str) -> None:
        """A run that nobody asks about any more, and what it said: else one that crashes for weeks fills the disk."""
        await self._parts.runtime.remove(container_id)
        for state in seen.containers:
            if state.id == container_id:
                remove_log(self._starting.logs / state.name / f"{state.attempt}.log")
                end_parts(self._starting.directory, state.name, state.attempt)

    def _tell_of_waits(self, steps: Plan) -> None:
        crashed = {name for name, wait in steps.waiting.items() if wait.reason == "CrashLoopBackOff"}
        for name in sorted(crashed - self._told_backoff):
            pod = f"{self._key.name}_{self._key.namespace}({self._uid})"
            message = f"Back-off restarting failed container {name} in pod {pod}"
            self._telling.happens(Happening(reason="BackOff", message=message, container=name, warning=True))
        self._told_backoff = crashed

    async def _tell(self, seen: Seen, steps: Plan, refusal: str) -> bool:
        """Write down what is new and what the cloud is to hear, in one transaction; then clear away what is over.
        True when nothing of the pod is left."""
        record = self._kept
        pod = self._pod()
        leaving = pod is None or being_deleted(pod)
        is_still = not seen.running and not any(each.ready for each in seen.sandboxes)
        over = leaving and is_still
        status = pod_status(self._picture(seen, steps, refusal))
        self._starting.bury({state.id for state in seen.containers})
        if (over and record.gone) or (seen.finished and not seen.containers and record.status):
            status = record.status  # its containers have been cleared away since
        self._record = replace(record, status=status, gone=over)
        self._is_looking = False
        await self._telling.save(seen.pod)
        if str_at(status, "phase") in FINAL and not seen.finished:
            self._wake.set()  # its sandbox may go now
        if over:
            await self._clearing.everything(seen)
        elif seen.finished and is_still:
            evicted = record.ending is not None and record.ending.reason == EVICTED
            await self._clearing.of_finished(seen, evicted=evicted)
        return over

    def _picture(self, seen: Seen, steps: Plan, refusal: str) -> Picture:
        record, address = self._kept, self._parts.node.address
        if seen.finished:  # where it was
            address = str_at(record.status, "hostIP", default=address)
        return Picture(
            pod=seen.pod,
            containers=seen.containers,
            sandbox=seen.sandbox,
            waiting=self._starting.waits(seen, steps, refusal),
            before=record.status or map_at(seen.pod, "status"),
            runtime=self._parts.runtime.name,
            address=address,
            start_ms=record.start_ms,
            now_ms=self._parts.clock.wall_ms(),
            terminating=seen.terminating,
            unsupported=refusal,
            ending=record.ending,
            held_back=seen.held_back,
            health=seen.health,
            beginning=seen.beginning,
            stillborn=self._starting.stillborn,
            messages=self._words.of(seen.pod, seen.containers),
            given=record.given,
            resize_pending=self._limits.pending,
            resize_fault=self._limits.fault,
        )

    async def _forget(self) -> None:
        await self._clearing.forgotten()
        await self._parts.store.apply(EdgeBatch(pods=((self._uid, None),)))
