"""Binds pods to nodes: sees changes, decides, and writes the binding.

Decisions are made one after the other against sums kept in memory, in which a chosen pod counts at once; the writes
follow, many at a time. Keeps nothing durable: after a crash the sums are rebuilt from the objects, and a pod whose
binding was not written is simply still waiting.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from cloudcore.runtime.events import Saying
from cloudcore.runtime.informer import Seen
from cloudcore.runtime.manager import Tools
from cloudcore.scheduler.ask import Ask, ask_of
from cloudcore.scheduler.binder import RESOURCES as STORAGE
from cloudcore.scheduler.binder import UnboundError, VolumeBinder
from cloudcore.scheduler.cluster import Cluster
from cloudcore.scheduler.decide import Decision, decide
from cloudcore.scheduler.queue import PodQueue
from skerry.errors import CallerError, SkerryError
from skerry.objects.conditions import Condition, condition_of, with_condition
from skerry.objects.json import JsonObject, map_at, maps_at, str_at
from skerry.objects.meta import Key, being_deleted, labels_of, uid_of
from skerry.waits import until_set

log = logging.getLogger(__name__)

NAME: Final = "default-scheduler"
_WRITES_MAX: Final = 64
"""Bindings written at a time: as many as the store commits as one group."""
_GATED: Final = "Scheduling is blocked due to non-empty scheduling gates"


class Scheduler:
    """A subscriber of the informer, and a loop. `run_controllers` takes it as a subscriber; `run` goes beside it."""

    resources: frozenset[str] | None = frozenset({"pods", "nodes", "namespaces"}) | STORAGE

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._pods = tools.kind("pods")
        self._events = tools.recorder(NAME)
        self._cluster = Cluster()
        self._queue = PodQueue()
        self._binder = VolumeBinder(tools)
        self._news = asyncio.Event()
        self._start = 0
        self._told: dict[Key, str] = {}

    # What happens

    def restart(self) -> None:
        self._cluster = Cluster()
        self._queue = PodQueue()
        self._told.clear()

    def see(self, change: Seen) -> None:
        match change.key.resource:
            case "pods":
                self._see_pod(change)
            case "nodes":
                self._see_node(change)
            case "namespaces":
                self._see_namespace(change)
            case _:
                # Of storage, which is looked up when it is decided on.
                self._binder.poke()
                self._wake()

    def _see_node(self, change: Seen) -> None:
        if change.after is None:
            self._cluster.drop_node(change.key.name)
            return
        try:
            has_room = self._cluster.put_node(change.after)
        except CallerError as error:
            # It bypassed validation: nothing is bound to what can't be read.
            log.warning("node cannot be read node=%s error=%s", change.key.name, error)
            self._cluster.drop_node(change.key.name)
            return
        if has_room:
            self._wake()

    def _see_namespace(self, change: Seen) -> None:
        if change.after is None:
            self._cluster.namespaces.pop(change.key.name, None)
        else:
            self._cluster.namespaces[change.key.name] = labels_of(change.after)

    def _see_pod(self, change: Seen) -> None:
        pod, key = change.after, change.key
        if pod is None or str_at(pod, "status", "phase") in ("Succeeded", "Failed"):
            self._forget(key)
            return
        try:
            ask = ask_of(pod)
        except CallerError as error:
            # It bypassed validation: no node can be chosen for what can't be read, and it takes no room.
            log.warning("pod cannot be read pod=%s error=%s", key, error)
            self._forget(key)
            return
        node = str_at(pod, "spec", "nodeName")
        if node:
            self._queue.drop(key)
            self._told.pop(key, None)
            self._cluster.put_pod(ask, node)
        elif self._cluster.place_of(key) is None and self._is_mine(pod):
            self._queue.put(ask)
            self._news.set()
        elif being_deleted(pod):
            self._queue.drop(key)

    def _forget(self, key: Key) -> None:
        self._binder.poke(key)
        self._queue.drop(key)
        self._told.pop(key, None)
        if self._cluster.drop_pod(key):
            self._wake()

    def _is_mine(self, pod: JsonObject) -> bool:
        return str_at(pod, "spec", "schedulerName") in ("", NAME) and not being_deleted(pod)

    def _wake(self) -> None:
        self._queue.wake(self._tools.clock.monotonic_s())
        self._news.set()

    # What is done about it

    async def run(self) -> None:
        """Until cancelled."""
        slots = asyncio.Semaphore(_WRITES_MAX)
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = self._tools.clock.monotonic_s()
                ask = self._queue.take(now)
                if ask is None:
                    await self._wait(self._queue.next_due(now), now)
                    continue
                if self._cluster.place_of(ask.key) is not None:
                    # Its binding is being written: a change of the pod or of a node brought it back too early.
                    continue
                await slots.acquire()
                tasks.create_task(self._carry_out(ask, self.choose(ask), slots))
                # Let writes and changes have their turn between two decisions.
                await asyncio.sleep(0)

    def choose(self, ask: Ask) -> Decision:
        """Decide, and count the pod on its node at once."""
        if ask.gated:
            return Decision(node="", message=_GATED, looked_at=0)
        decision = decide(ask, self._cluster, start=self._start, needs=self._binder.needs(ask))
        self._start += decision.looked_at
        if decision.node:
            self._cluster.put_pod(ask, decision.node)
            self._binder.assume(ask, decision)
        return decision

    async def _wait(self, due: float | None, now: float) -> None:
        self._news.clear()
        await until_set(self._news, within_s=None if due is None else max(due - now, 0.001))

    async def _carry_out(self, ask: Ask, decision: Decision, slots: asyncio.Semaphore) -> None:
        try:
            if not decision.node:
                await self._explain(ask, decision.message)
                return
            if decision.volumes:
                await self._give_volumes(ask, decision, slots)
            await self._bind(ask, decision.node)
        except UnboundError as error:
            self._failed(ask, error)
            await self._tell_unbound(ask, error)
        except SkerryError as error:
            self._failed(ask, error)
        # The root of this work: a fault of ours with one pod must not stop the others.
        except Exception as error:
            log.exception("scheduling failed pod=%s", ask.key)
            self._failed(ask, error)
        finally:
            self._binder.forget(ask)
            slots.release()

    async def _give_volumes(self, ask: Ask, decision: Decision, slots: asyncio.Semaphore) -> None:
        """Volumes may take their time: who waits for them holds no slot."""
        await self._binder.write(decision)
        slots.release()
        try:
            await self._binder.wait(ask, decision)
        finally:
            await slots.acquire()

    async def _tell_unbound(self, ask: Ask, error: UnboundError) -> None:
        pod = self._tools.objects.read(ask.key)
        if pod is not None:
            message = f'running PreBind plugin "VolumeBinding": {error}'
            saying = Saying(type="Warning", reason="FailedScheduling", message=message)
            await self._events.say(self._tools.cache.obj(pod), saying)

    async def _bind(self, ask: Ask, node: str) -> None:
        def bound(pod: JsonObject) -> JsonObject:
            return {**pod, "spec": {**map_at(pod, "spec"), "nodeName": node}} if uid_of(pod) == ask.uid else pod

        written = await self._tools.objects.update(self._pods, ask.key, bound, subresource="binding")
        self._queue.drop(ask.key)
        message = f"Successfully assigned {ask.key.namespace}/{ask.key.name} to {node}"
        await self._events.say(written.obj, Saying(type="Normal", reason="Scheduled", message=message))

    async def _explain(self, ask: Ask, message: str) -> None:
        """Say on the pod and in an event why it waits, when that is new, and put it aside."""
        self._queue.put_aside(ask.key, self._tools.clock.monotonic_s())
        if self._told.get(ask.key) == message:
            return
        reason = "SchedulingGated" if ask.gated else "Unschedulable"
        condition = Condition(type="PodScheduled", status="False", reason=reason, message=message)
        now_ms = self._tools.clock.wall_ms()

        def told(pod: JsonObject) -> JsonObject:
            known = condition_of(pod, "PodScheduled") or {}
            same = (str_at(known, "status"), str_at(known, "reason"), str_at(known, "message"))
            if uid_of(pod) != ask.uid or same == ("False", reason, message):
                return pod
            conditions = with_condition(maps_at(pod, "status", "conditions"), condition, now_ms=now_ms)
            return {**pod, "status": {**map_at(pod, "status"), "conditions": conditions}}

        self._told[ask.key] = message
        written = await self._tools.objects.update(self._pods, ask.key, told, subresource="status")
        if not ask.gated:
            await self._events.say(written.obj, Saying(type="Warning", reason="FailedScheduling", message=message))

    def _failed(self, ask: Ask, error: Exception) -> None:
        """The write was refused or the store is away: the pod as it now is decides what follows."""
        log.info("binding was not written pod=%s error=%s", ask.key, error)
        self._told.pop(ask.key, None)
        stored = self._tools.objects.read(ask.key)
        pod = None if stored is None else self._tools.cache.obj(stored)
        if pod is not None and str_at(pod, "spec", "nodeName"):
            return
        self._cluster.drop_pod(ask.key)
        if pod is None:
            self._queue.drop(ask.key)
        else:
            self._queue.put_aside(ask.key, self._tools.clock.monotonic_s())
            self._wake()
