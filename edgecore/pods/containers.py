"""The containers that a pod wants, by the part that each plays: pure views on its spec.

Init containers run one after the other before all others, and end. Sidecars are init containers with restartPolicy
Always: who follows waits only for their start, and they end last. (Kubernetes documentation, "Sidecar Containers".)
Ephemeral containers are added while the pod runs, run once and count for nothing ("Ephemeral Containers").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from edgecore.pods.port import ContainerState
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, list_at, map_at, maps_at, str_at

Part: TypeAlias = Literal["init", "sidecar", "app", "ephemeral"]


class Wanted(Frozen):
    """One container of the spec."""

    name: str
    part: Part
    policy: str
    """Always, OnFailure or Never, whatever says it: the container, or else its pod."""
    spec: JsonObject

    def starts_after(self, exit_code: int, *, failed: bool) -> bool:
        """Is an end like this one followed by another start? The first of its rules that knows the code decides, and
        else its policy (Kubernetes documentation, "Container restart rules")."""
        for rule in maps_at(self.spec, "restartPolicyRules"):
            among = exit_code in list_at(rule, "exitCodes", "values")
            if among == (str_at(rule, "exitCodes", "operator") == "In"):
                return True  # whoever knows another action than Restart is refused by the API
        return self.policy == "Always" or (self.policy == "OnFailure" and failed)


def wanted_of(pod: JsonObject) -> tuple[Wanted, ...]:
    """All that the pod is made of, in the order of their starts."""
    policy = str_at(pod, "spec", "restartPolicy", default="Always")
    inits = tuple(_init(each, policy) for each in maps_at(pod, "spec", "initContainers"))
    apps = tuple(
        Wanted(
            name=str_at(each, "name"),
            part="app",
            policy=str_at(each, "restartPolicy", default=policy),
            spec=each,
        )
        for each in maps_at(pod, "spec", "containers")
    )
    return inits + apps


def policy_of(pod: JsonObject, name: str = "") -> str:
    """By which what is ended of the app of that name, or of any of them, would stay so; Always where it would not."""
    policies = [one.policy for one in wanted_of(pod) if one.part == "app" and name in ("", one.name)]
    return next((each for each in policies if each != "Always"), "Always")


def ephemeral_of(pod: JsonObject) -> tuple[Wanted, ...]:
    """Those for somebody who looks into the pod."""
    return tuple(
        Wanted(name=str_at(each, "name"), part="ephemeral", policy="Never", spec=each)
        for each in maps_at(pod, "spec", "ephemeralContainers")
    )


def all_of(pod: JsonObject) -> tuple[Wanted, ...]:
    return wanted_of(pod) + ephemeral_of(pod)


def spent_of(status: JsonObject) -> frozenset[str]:
    """The ephemeral containers that have run, by what was told of the pod: they do not again."""
    return frozenset(
        str_at(told, "name")
        for told in maps_at(status, "ephemeralContainerStatuses")
        if map_at(told, "state").keys() & {"running", "terminated"}
    )


def _init(spec: JsonObject, policy: str) -> Wanted:
    name = str_at(spec, "name")
    if str_at(spec, "restartPolicy") == "Always":
        return Wanted(name=name, part="sidecar", policy="Always", spec=spec)
    policy = str_at(spec, "restartPolicy", default=policy)
    # One that has succeeded is done with, whatever the pod's policy says of its apps.
    return Wanted(name=name, part="init", policy="Never" if policy == "Never" else "OnFailure", spec=spec)


def container_of(pod: JsonObject, name: str) -> JsonObject:
    """The spec of the container of that name; there is one."""
    return next(each.spec for each in all_of(pod) if each.name == name)


def runs_of(containers: Sequence[ContainerState], name: str) -> list[ContainerState]:
    """All kept runs of one container, the newest last."""
    return sorted((state for state in containers if state.name == name), key=lambda state: state.attempt)


def newest_of(containers: Sequence[ContainerState], name: str) -> ContainerState | None:
    return max((state for state in containers if state.name == name), key=lambda state: state.attempt, default=None)


def has_failed(run: ContainerState) -> bool:
    """It has ended, and not as one that did its work."""
    return run.phase == "exited" and (run.exit_code != 0 or run.reason == "OOMKilled")
