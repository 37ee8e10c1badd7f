"""Commands about pods: end containers as a deletion would, and see them start again.

Keeps nothing: whether a container was restarted is read from the runtime, by the number of its run. A crash in the
middle leaves containers that start by the pod's own rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from edgecore.pods.containers import policy_of, runs_of
from edgecore.pods.manager import PODS, PodManager
from edgecore.pods.port import ContainerState, Runtime
from skerry.objects.commands import Order, Outcome, PodRestart, Refusal
from skerry.objects.json import JsonObject, maps_at, str_at
from skerry.objects.meta import Key, being_deleted

ARRIVES_S: Final = 20.0
"""A command may overtake the pod it is about."""
LOOK_S: Final = 0.2
"""Between two looks at whether the containers run again."""


class PodRestarts:
    """An `Executor` for `PodRestart`."""

    def __init__(self, runtime: Runtime, pods: PodManager) -> None:
        self._runtime = runtime
        self._pods = pods

    def refusal(self, order: Order) -> Refusal | None:
        action = order.action
        assert isinstance(action, PodRestart), "it was made for these"
        found = self._pods.find(Key(PODS, order.namespace, action.pod))
        if found is None:
            return Refusal(
                reason="NotFound", message=f'pod "{action.pod}" is not on this gateway', patience_s=ARRIVES_S
            )
        if order.target_uid and not self._is_meant(order, action):
            why = f'pod "{action.pod}" was deleted and made again since the command was given'
            return Refusal(reason="TargetReplaced", message=why, patience_s=ARRIVES_S)
        pod = found.pod
        if being_deleted(pod):
            return Refusal(reason="PodEnds", message=f'pod "{action.pod}" is being deleted')
        policy = policy_of(pod, action.container)
        if policy != "Always":
            why = f'pod "{action.pod}" has restartPolicy {policy}: a container that is ended would not start again'
            return Refusal(reason="NotRestartable", message=why)
        names = _containers(pod)
        if action.container and action.container not in names:
            why = f'pod "{action.pod}" has no container "{action.container}" (it has: {", ".join(names)})'
            return Refusal(reason="NotFound", message=why)
        if not self._pods.has(found.uid):
            return Refusal(
                reason="NotFound", message=f'pod "{action.pod}" is not looked after yet', patience_s=ARRIVES_S
            )
        return None

    def _is_meant(self, order: Order, action: PodRestart) -> bool:
        """The uid is the one that the cloud knows it by."""
        return self._pods.find(Key(PODS, order.namespace, action.pod), order.target_uid) is not None

    async def execute(self, order: Order, halt: asyncio.Event) -> Outcome:
        action = order.action
        assert isinstance(action, PodRestart), "it was made for these"
        found = self._pods.find(Key(PODS, order.namespace, action.pod))
        if found is None or not self._pods.has(found.uid):
            return Outcome(phase="Failed", reason="PodEnds", message="the pod went away meanwhile", result={})
        if halt.is_set():
            return Outcome(phase="Cancelled", reason="Cancelled", message="stopped before its first step", result={})
        uid = found.uid
        names = [action.container] if action.container else _containers(found.pod)
        before = {name: _newest(await self._runtime.list(uid), name) for name in names}
        attempts = {name: state.attempt for name, state in before.items() if state is not None}
        self._pods.restart(uid, attempts)
        return await self._await_runs(uid, names, attempts)

    async def _await_runs(self, uid: str, names: list[str], attempts: dict[str, int]) -> Outcome:
        """Until each runs anew. The caller's time limit ends it; a pod that goes away does, too."""
        while True:
            states = await self._runtime.list(uid)
            newest = {name: _newest(states, name) for name in names}
            if all(
                state is not None and state.attempt > attempts.get(name, -1) and state.phase == "running"
                for name, state in newest.items()
            ):
                return Outcome(phase="Succeeded", reason="", message="", result={"containers": _shown(newest)})
            if not self._pods.has(uid):
                return Outcome(
                    phase="Failed",
                    reason="PodEnds",
                    message="the pod went away before its containers ran again",
                    result={"containers": _shown(newest)},
                )
            await asyncio.sleep(LOOK_S)


def _containers(pod: JsonObject) -> list[str]:
    return [str_at(one, "name") for one in maps_at(pod, "spec", "containers")]


def _newest(states: Sequence[ContainerState], name: str) -> ContainerState | None:
    runs = runs_of(states, name)
    return runs[-1] if runs else None


def _shown(newest: dict[str, ContainerState | None]) -> JsonObject:
    return {
        name: {"id": state.id, "restartCount": state.attempt, "state": state.phase}
        for name, state in newest.items()
        if state is not None
    }
