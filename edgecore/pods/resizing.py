"""Other requests and limits for a pod that runs: what the gateway agrees to, and what it takes to get there. Pure.

(KEP-1287, "In-place Update of Pod Resources"; words as a kubelet of 1.33 has them.) What a pod may use is what the
gateway allocated, kept in the pod's record: its spec is a wish. A wish that the gateway can never grant is
`Infeasible`, one that it can't grant beside its other pods is `Deferred`; the pod runs on with what it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from edgecore.pods.containers import Wanted, wanted_of
from edgecore.pods.port import ContainerState
from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, map_at, maps_at, str_at, str_map_at
from skerry.objects.quantity import parse_quantity

Allocation: TypeAlias = Mapping[str, JsonObject]
"""`resources` by the container's name."""
RESIZED: Final[tuple[str, ...]] = ("cpu", "memory")


class Pending(Frozen):
    """Why a wish is not granted."""

    reason: str
    """Deferred or Infeasible."""
    message: str


class Room(Frozen):
    """What this gateway has for pods, and what others hold: thousandths of CPUs, bytes of memory."""

    allocatable: Mapping[str, int]
    used: Mapping[str, int]


class Verdict(Frozen):
    allocated: Allocation
    pending: Pending | None = None


class Change(Frozen):
    """A running container is to have what was allocated to it."""

    container_id: str
    name: str
    attempt: int
    restart: bool
    """It has to be started anew for that."""


def asked_by(pod: JsonObject) -> dict[str, JsonObject]:
    """What the pod's spec wishes."""
    return {one.name: map_at(one.spec, "resources") for one in wanted_of(pod)}


def with_allocation(pod: JsonObject, allocated: Allocation) -> JsonObject:
    """The pod with what was allocated in the place of its wishes."""
    if not allocated:
        return pod
    spec = dict(map_at(pod, "spec"))
    for name in ("containers", "initContainers"):
        held: list[Json] = [_with_resources(each, allocated) for each in maps_at(spec, name)]
        if held:
            spec[name] = held
    return {**pod, "spec": spec}


def _with_resources(container: JsonObject, allocated: Allocation) -> JsonObject:
    resources = allocated.get(str_at(container, "name"))
    if resources is None or resources == map_at(container, "resources"):
        return container
    return {**container, "resources": resources}


def allocate(pod: JsonObject, held: Allocation, room: Room) -> Verdict:
    """What the pod has from now on. Its first allocation is what it came with: who placed it here counted that."""
    asked = asked_by(pod)
    allocated = {name: held.get(name, wish) for name, wish in asked.items()}
    if allocated == asked:
        return Verdict(allocated=asked)
    wanted, has = requests_of(pod), requests_of(with_allocation(pod, allocated))
    for name in RESIZED:
        if wanted[name] > room.allocatable.get(name, 0) and wanted[name] > has[name]:
            text = f"{name}, requested: {wanted[name]}, capacity: {room.allocatable.get(name, 0)}"
            message = f"Node didn't have enough capacity: {text}"
            return Verdict(allocated=allocated, pending=Pending(reason="Infeasible", message=message))
    for name in RESIZED:
        used, capacity = room.used.get(name, 0), room.allocatable.get(name, 0)
        if wanted[name] > has[name] and used + wanted[name] > capacity:
            text = f"{name}, requested: {wanted[name]}, used: {used}, capacity: {capacity}"
            message = f"Node didn't have enough resource: {text}"
            return Verdict(allocated=allocated, pending=Pending(reason="Deferred", message=message))
    return Verdict(allocated=asked)


def changes(pod: JsonObject, running: Sequence[ContainerState], has: Mapping[str, JsonObject]) -> tuple[Change, ...]:
    """`pod`: with its allocation. `has`: what running containers were given last, by id."""
    wanted = {one.name: one for one in wanted_of(pod) if one.part != "init"}
    return tuple(
        Change(container_id=run.id, name=run.name, attempt=run.attempt, restart=_restarts(wanted[run.name], given))
        for run in running
        if run.phase == "running" and run.name in wanted
        if (given := has.get(run.id)) is not None and given != map_at(wanted[run.name].spec, "resources")
    )


def _restarts(one: Wanted, given: JsonObject) -> bool:
    resources = map_at(one.spec, "resources")
    changed = {
        name
        for name in RESIZED
        for which in ("requests", "limits")
        if str_at(resources, which, name) != str_at(given, which, name)
    }
    return any(
        str_at(policy, "restartPolicy") == "RestartContainer" and str_at(policy, "resourceName") in changed
        for policy in maps_at(one.spec, "resizePolicy")
    )


def requests_of(pod: JsonObject) -> dict[str, int]:
    """Containers and sidecars together, or an init container with the sidecars before it where that needs more."""
    return {str(name): request_of(pod, name) for name in RESIZED}


def request_of(pod: JsonObject, resource: str) -> int:
    """Of one resource: thousandths of CPUs, or units."""
    most = sidecars = apps = 0
    for one in wanted_of(pod):
        own = amount(str_map_at(one.spec, "resources", "requests"), resource)
        if one.part == "app":
            apps += own
        elif one.part == "sidecar":
            sidecars += own
            most = max(most, sidecars)
        else:
            most = max(most, sidecars + own)
    return max(apps + sidecars, most) + amount(str_map_at(pod, "spec", "overhead"), resource)


def amounts_of(quantities: Mapping[str, str]) -> dict[str, int]:
    return {str(name): amount(quantities, name) for name in RESIZED}


def amount(quantities: Mapping[str, str], resource: str) -> int:
    """Thousandths of CPUs, or units; 0 for what is not named, or no quantity."""
    try:
        found = parse_quantity(quantities.get(resource, "0"))
    except InvalidError:
        return 0
    return found.millis if resource == "cpu" else found.units


def sum_of(requests: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in requests:
        for name, held in each.items():
            total[name] = total.get(name, 0) + held
    return total
