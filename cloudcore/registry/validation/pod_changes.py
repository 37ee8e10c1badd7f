"""What may change of a pod that is there (`pkg/apis/core/validation`: ValidatePodUpdate, ValidatePodResize and
ValidatePodEphemeralContainersUpdate). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloudcore.registry.port import Subresource
from skerry.errors import Cause
from skerry.objects.json import JsonObject, clone, int_at, map_at, maps_at, str_at
from skerry.objects.meta import annotations_of
from skerry.objects.mirror_pods import CONFIG_MIRROR, mirrored_uid
from skerry.objects.pod_defaults import qos_class
from skerry.validation.faults import forbidden, invalid

MIRROR: Final = "kubernetes.io/config.mirror"
_UNCHANGED: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod_change(obj: JsonObject, old: JsonObject, subresource: Subresource) -> Iterator[Cause]:
    """Almost nothing of a pod's spec may change, some of it through a subresource alone; a mirror stays one."""
    mirror, mirrored = mirrored_uid(obj), mirrored_uid(old)
    if mirror != mirrored:
        text = "may not remove or update mirror pod annotation" if mirrored else "may not add mirror pod annotation"
        yield forbidden(f"metadata.annotations[{CONFIG_MIRROR}]", text)
    wanted, given = map_at(obj, "spec"), map_at(old, "spec")
    if wanted == given:
        return
    match subresource:
        case "ephemeralcontainers":
            yield from _validate_ephemeral_change(wanted, given)
        case "resize":
            yield from _validate_resize(obj, old)
        case _:
            yield from _validate_spec_change(wanted, given, binding=subresource == "binding")


def _validate_ephemeral_change(wanted: JsonObject, given: JsonObject) -> Iterator[Cause]:
    """They are added, and stay as they are: their names are the pod's for good."""
    field = "spec.ephemeralContainers"
    found = {str_at(each, "name"): each for each in maps_at(wanted, "ephemeralContainers")}
    for held in maps_at(given, "ephemeralContainers"):
        name = str_at(held, "name")
        if name not in found:
            yield forbidden(field, f'existing ephemeral containers "{name}" may not be removed\n')
        elif found[name] != held:
            differing = sorted(n for n in {*held, *found[name]} if held.get(n) != found[name].get(n))
            text = f'existing ephemeral containers "{name}" may not be changed\ndiffering: {", ".join(differing)}'
            yield forbidden(field, text)


def _validate_resize(obj: JsonObject, old: JsonObject) -> Iterator[Cause]:
    """Requests and limits of CPU and memory may be others, of containers that run on; the pod's class stays."""
    wanted, given = map_at(obj, "spec"), map_at(old, "spec")
    if MIRROR in annotations_of(old):
        yield forbidden("", "static pods cannot be resized")
        return
    if qos_class(wanted) != qos_class(given):
        text = "Pod QOS Class may not change as a result of resizing"
        yield invalid("spec", qos_class(wanted), text)
    for name in ("containers", "initContainers"):
        if _names(wanted, name) != _names(given, name):
            yield forbidden("spec", f"{_PEOPLES[name]} may not be renamed or reordered on resize")
            return
    for name in ("containers", "initContainers"):
        for index, (new, before) in enumerate(zip(maps_at(wanted, name), maps_at(given, name), strict=True)):
            yield from _validate_resized(f"spec.{name}[{index}]", new, before, init=name == "initContainers")


def _names(spec: JsonObject, name: str) -> list[str]:
    return [str_at(each, "name") for each in maps_at(spec, name)]


def _validate_resized(field: str, new: JsonObject, old: JsonObject, *, init: bool) -> Iterator[Cause]:
    if new == old:
        return
    if init and str_at(old, "restartPolicy") != "Always":
        yield forbidden(field, "only cpu and memory resources for sidecar containers are mutable")
        return
    for which in ("requests", "limits"):
        before, after = map_at(old, "resources", which), map_at(new, "resources", which)
        if before.keys() - after.keys():
            yield forbidden(f"{field}.resources.{which}", f"resource {which} cannot be removed")
    if _apart_from_cpu_and_memory(new) != _apart_from_cpu_and_memory(old):
        what = "resources for sidecar containers" if init else "resources"
        yield forbidden("spec", f"only cpu and memory {what} are mutable")


def _apart_from_cpu_and_memory(container: JsonObject) -> JsonObject:
    apart: JsonObject = {name: value for name, value in container.items() if name != "resources"}
    for which, amounts in map_at(container, "resources").items():
        rest = amounts
        if which in ("requests", "limits") and isinstance(amounts, dict):
            rest = {name: amount for name, amount in amounts.items() if name not in ("cpu", "memory")}
        if rest:
            apart[f"resources.{which}"] = rest
    return apart


def _validate_spec_change(wanted: JsonObject, given: JsonObject, *, binding: bool) -> Iterator[Cause]:
    for name in ("containers", "initContainers"):
        if len(maps_at(wanted, name)) != len(maps_at(given, name)):
            yield forbidden(f"spec.{name}", f"pod updates may not add or remove {_PEOPLES[name]}")
            return
    yield from _validate_deadline_change(wanted, given)
    frozen = _frozen_spec(wanted, given, binding=binding)
    if frozen != given:
        differing = sorted(n for n in {*frozen, *given} if frozen.get(n) != given.get(n))
        yield forbidden("spec", f"{_UNCHANGED}\ndiffering: {', '.join('spec.' + name for name in differing)}")


_PEOPLES: Final = {"containers": "containers", "initContainers": "init containers"}


def _validate_deadline_change(wanted: JsonObject, given: JsonObject) -> Iterator[Cause]:
    new, old = wanted.get("activeDeadlineSeconds"), given.get("activeDeadlineSeconds")
    if isinstance(old, int) and new != old:
        if not isinstance(new, int):
            yield invalid("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")
        elif new > old:
            text = "must be less than or equal to previous value"
            yield invalid("spec.activeDeadlineSeconds", new, text)


def _frozen_spec(wanted: JsonObject, given: JsonObject, *, binding: bool) -> JsonObject:
    """The wanted spec with everything that may change put back to what it was."""
    frozen = clone(wanted)
    for name in ("containers", "initContainers"):
        for new, old in zip(maps_at(frozen, name), maps_at(given, name), strict=True):
            if "image" in old:
                new["image"] = old["image"]
    _put_back(frozen, given, "activeDeadlineSeconds")
    if int_at(given, "terminationGracePeriodSeconds") < 0 and wanted.get("terminationGracePeriodSeconds") == 1:
        _put_back(frozen, given, "terminationGracePeriodSeconds")
    if all(old in maps_at(frozen, "tolerations") for old in maps_at(given, "tolerations")):
        _put_back(frozen, given, "tolerations")
    if all(gate in maps_at(given, "schedulingGates") for gate in maps_at(frozen, "schedulingGates")):
        _put_back(frozen, given, "schedulingGates")
    if binding:
        _put_back(frozen, given, "nodeName")
    return frozen


def _put_back(frozen: JsonObject, given: JsonObject, name: str) -> None:
    if name in given:
        frozen[name] = given[name]
    else:
        frozen.pop(name, None)
