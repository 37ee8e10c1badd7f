"""What pods and containers may say of who they are and what they may do (`pkg/apis/core/validation`). Pure.

What one field alone cannot say wrong is looked at where it meets another: a privileged container that may not gain
privileges, a process namespace that is shared with two, Linux' words in a pod of Windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skerry.errors import Cause
from skerry.objects.json import Json, JsonObject, bool_at, map_at, maps_at, str_at, strs_at
from skerry.validation.faults import forbidden, invalid, one_of, required, unsupported

_ID_MAX: Final = 2**31 - 1
_ID_TEXT: Final = f"must be between 0 and {_ID_MAX}, inclusive"
_SECCOMP: Final = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSTEMS: Final = ("linux", "windows")
_OF_LINUX_PODS: Final = (
    *("appArmorProfile", "fsGroup", "fsGroupChangePolicy", "runAsGroup", "runAsUser", "seLinuxOptions"),
    *("seccompProfile", "supplementalGroups", "supplementalGroupsPolicy", "sysctls"),
)
_OF_LINUX_CONTAINERS: Final = (
    *("allowPrivilegeEscalation", "appArmorProfile", "capabilities", "privileged", "procMount"),
    *("readOnlyRootFilesystem", "runAsGroup", "runAsUser", "seLinuxOptions", "seccompProfile"),
)
_NAMESPACED: Final = {"hostNetwork": ("net.",), "hostIPC": ("kernel.shm", "kernel.msg", "fs.mqueue.")}
"""By what a pod may share with its node: how the sysctls begin that it would set for all of it."""
_SEMAPHORES: Final = "kernel.sem"
"""With `hostIPC`, this one alone."""


def validate_pod_security(field: str, spec: JsonObject) -> Iterator[Cause]:
    """The faults of a pod's security context, and of what it shares with its node; `field` is its spec's."""
    context = map_at(spec, "securityContext")
    here = f"{field}.securityContext"
    yield from _validate_ids(here, context, ("runAsUser", "runAsGroup", "fsGroup"))
    groups = context.get("supplementalGroups")
    for index, group in enumerate(groups if isinstance(groups, list) else []):
        yield from _validate_id(f"{here}.supplementalGroups[{index}]", group)
    words = ("Always", "OnRootMismatch")
    yield from one_of(f"{here}.fsGroupChangePolicy", str_at(context, "fsGroupChangePolicy"), words, needed=False)
    words = ("Merge", "Strict")
    policy = str_at(context, "supplementalGroupsPolicy")
    yield from one_of(f"{here}.supplementalGroupsPolicy", policy, words, needed=False)
    yield from _validate_profiles(here, context)
    if bool_at(spec, "shareProcessNamespace") and bool_at(spec, "hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid(f"{here}.shareProcessNamespace", True, text)
    if spec.get("hostUsers") is False:
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if bool_at(spec, name):
                yield forbidden(f"{field}.{name}", "when `hostUsers` is false")
    for index, sysctl in enumerate(maps_at(context, "sysctls")):
        name = str_at(sysctl, "name").replace("/", ".")
        for shared, begins in _NAMESPACED.items():
            is_shared = name.startswith(begins) or (shared == "hostIPC" and name == _SEMAPHORES)
            if bool_at(spec, shared) and is_shared:
                text = f"may not be specified when '{shared}' is set to true"
                yield invalid(f"{here}.sysctls[{index}].name", name, text)
    yield from _validate_system(field, spec)


def validate_container_security(field: str, context: JsonObject) -> Iterator[Cause]:
    """The faults of a container's security context. `procMount: Unmasked` is taken without `hostUsers: false`, unlike
    by Kubernetes: no gateway has user namespaces, and who may say it may say `privileged` as well."""
    yield from _validate_ids(field, context, ("runAsUser", "runAsGroup"))
    yield from _validate_profiles(field, context)
    mount = str_at(context, "procMount")
    yield from one_of(f"{field}.procMount", mount, ("Default", "Unmasked"), needed=False)
    if context.get("allowPrivilegeEscalation") is False:
        if bool_at(context, "privileged"):
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield invalid(field, context, text)
        if "CAP_SYS_ADMIN" in strs_at(context, "capabilities", "add"):
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid(field, context, text)


def _validate_ids(field: str, context: JsonObject, names: tuple[str, ...]) -> Iterator[Cause]:
    for name in names:
        yield from _validate_id(f"{field}.{name}", context.get(name))


def _validate_id(field: str, value: Json) -> Iterator[Cause]:
    if isinstance(value, int) and not 0 <= value <= _ID_MAX:
        yield invalid(field, value, _ID_TEXT)


def _validate_profiles(field: str, context: JsonObject) -> Iterator[Cause]:
    for name, kind in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile = context.get(name)
        if not isinstance(profile, dict):
            continue
        here, chosen, path = f"{field}.{name}", str_at(profile, "type"), str_at(profile, "localhostProfile")
        if not chosen:
            yield required(f"{here}.type", f"type is required when {name} is set")
        else:
            yield from one_of(f"{here}.type", chosen, _SECCOMP)
        if chosen == "Localhost" and not path:
            yield required(f"{here}.localhostProfile", f"must be set when {kind} type is Localhost")
        elif chosen == "Localhost" and name == "seccompProfile" and (path.startswith("/") or ".." in path.split("/")):
            yield invalid(f"{here}.localhostProfile", path, "must be a relative path that does not contain '..'")
        elif chosen != "Localhost" and path:
            text = f"can only be set when {kind} type is Localhost"
            yield invalid(f"{here}.localhostProfile", path, text)


def _validate_system(field: str, spec: JsonObject) -> Iterator[Cause]:
    system = spec.get("os")
    if not isinstance(system, dict):
        return
    name = str_at(system, "name")
    if not name:
        yield required(f"{field}.os.name")
    elif name not in _SYSTEMS:
        yield unsupported(f"{field}.os.name", name, _SYSTEMS)
    contexts = [
        (f"{field}.{kind}[{index}].securityContext", map_at(container, "securityContext"))
        for kind in ("containers", "initContainers", "ephemeralContainers")
        for index, container in enumerate(maps_at(spec, kind))
    ]
    own = f"{field}.securityContext"
    if name == "linux":
        for where, context in ((own, map_at(spec, "securityContext")), *contexts):
            if "windowsOptions" in context:
                yield forbidden(f"{where}.windowsOptions", "windows options cannot be set for a linux pod")
    elif name == "windows":
        said = [(f"{own}.{each}", map_at(spec, "securityContext").get(each)) for each in _OF_LINUX_PODS]
        said += [(f"{where}.{each}", has.get(each)) for where, has in contexts for each in _OF_LINUX_CONTAINERS]
        shared = [
            f"{field}.{each}" for each in ("hostPID", "hostIPC", "shareProcessNamespace") if bool_at(spec, each)
        ]
        for where in (*shared, *(where for where, value in said if value not in (None, [], {}))):
            yield forbidden(where, "cannot be set for a windows pod")
