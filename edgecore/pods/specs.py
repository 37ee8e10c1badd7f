"""What the runtime is asked for, from what a pod says: pure, everything resolved.

(Kubernetes API: PodSpec, Container, SecurityContext.)
"""

from __future__ import annotations

from pathlib import Path

from edgecore.pods.env import Surroundings, command_of, environment
from edgecore.pods.port import (
    ContainerSpec,
    Mount,
    Namespaces,
    PullPolicy,
    SandboxSpec,
    SeccompProfile,
    Security,
)
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, dig, list_at, map_at, str_at, strs_at
from skerry.objects.meta import name_of, namespace_of, uid_of


def sandbox_spec(pod: JsonObject, *, attempt: int, log_dir: Path) -> SandboxSpec:
    spec = map_at(pod, "spec")
    return SandboxSpec(
        pod_uid=uid_of(pod),
        pod_name=name_of(pod),
        pod_namespace=namespace_of(pod),
        attempt=attempt,
        hostname=str_at(spec, "hostname") or name_of(pod),
        namespaces=Namespaces(
            host_network=bool_at(spec, "hostNetwork"),
            host_pid=bool_at(spec, "hostPID"),
            host_ipc=bool_at(spec, "hostIPC"),
            share_process=bool_at(spec, "shareProcessNamespace"),
        ),
        log_dir=log_dir,
    )


class Place(Frozen):
    """Where a container is started."""

    sandbox: SandboxSpec
    sandbox_id: str
    image_id: str
    attempt: int


def container_spec(
    container: JsonObject, around: Surroundings, place: Place, mounts: tuple[Mount, ...]
) -> ContainerSpec:
    """Raises `ConfigError` for what is named and not there."""
    env = environment(container, around)
    command, args = command_of(container, env)
    return ContainerSpec(
        sandbox=place.sandbox,
        sandbox_id=place.sandbox_id,
        name=str_at(container, "name"),
        attempt=place.attempt,
        image=str_at(container, "image"),
        image_id=place.image_id,
        namespaces=place.sandbox.namespaces,
        command=command,
        args=args,
        env=env,
        working_dir=str_at(container, "workingDir"),
        mounts=mounts,
        security=security_of(around.pod, container),
        stdin=bool_at(container, "stdin"),
        stdin_once=bool_at(container, "stdinOnce"),
        tty=bool_at(container, "tty"),
    )


def security_of(pod: JsonObject, container: JsonObject) -> Security:
    """A container's own wishes, and where it has none, its pod's."""
    own, pods = map_at(container, "securityContext"), map_at(pod, "spec", "securityContext")

    def wish(name: str) -> Json:
        return own[name] if own.get(name) is not None else pods.get(name)

    user, group = wish("runAsUser"), wish("runAsGroup")
    shared = dig(pods, "fsGroup")
    groups = [each for each in list_at(pods, "supplementalGroups") if isinstance(each, int)]
    groups += [shared] if isinstance(shared, int) and shared not in groups else []
    privileged = bool_at(own, "privileged")
    return Security(
        run_as_user=user if isinstance(user, int) else None,
        run_as_group=group if isinstance(group, int) else None,
        run_as_non_root=wish("runAsNonRoot") is True,
        supplemental_groups=tuple(groups),
        add_capabilities=tuple(strs_at(own, "capabilities", "add")),
        drop_capabilities=tuple(strs_at(own, "capabilities", "drop")),
        privileged=privileged,
        read_only_root=bool_at(own, "readOnlyRootFilesystem"),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        seccomp=None if privileged else seccomp_of(wish("seccompProfile")),
        apparmor=_apparmor(wish("appArmorProfile")),
        unmasked_proc=str_at(own, "procMount") == "Unmasked",
    )


def seccomp_of(profile: Json) -> SeccompProfile:
    """Without a wish that of the runtime: what it forbids, hardly a program needs."""
    match str_at(profile, "type"):
        case "Unconfined":
            return SeccompProfile(kind="unconfined")
        case "Localhost":
            return SeccompProfile(kind="localhost", localhost_ref=str_at(profile, "localhostProfile"))
        case _:
            return SeccompProfile(kind="runtime_default")


def _apparmor(profile: Json) -> str:
    """As CRI names profiles."""
    match str_at(profile, "type"):
        case "Unconfined":
            return "unconfined"
        case "Localhost":
            return f"localhost/{str_at(profile, 'localhostProfile')}"
        case "RuntimeDefault":
            return "runtime/default"
        case _:
            return ""


def pull_policy(container: JsonObject) -> PullPolicy:
    match str_at(container, "imagePullPolicy"):
        case "Always":
            return "Always"
        case "Never":
            return "Never"
        case _:
            return "IfNotPresent"
