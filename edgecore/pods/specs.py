"""What the runtime is asked for, from what a pod says: pure, everything resolved.

(Kubernetes API: PodSpec, Container, SecurityContext.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgecore.pods.containers import all_of, newest_of, wanted_of
from edgecore.pods.env import ConfigError, NodeFacts, Surroundings, command_of, environment
from edgecore.pods.names import hostname_of, resolver_of
from edgecore.pods.port import (
    ContainerSpec,
    ContainerState,
    DnsConfig,
    Mount,
    Namespaces,
    PortMapping,
    PullPolicy,
    SandboxSpec,
    SeccompProfile,
    Security,
)
from edgecore.pods.qos import resources_of
from skerry.frozen import Frozen, replace
from skerry.objects.json import Json, JsonObject, bool_at, int_at, list_at, map_at, maps_at, str_at, strs_at
from skerry.objects.meta import annotations_of, labels_of, name_of, namespace_of, uid_of


def sandbox_spec(pod: JsonObject, node: NodeFacts, gateway: DnsConfig, *, attempt: int, log_dir: Path) -> SandboxSpec:
    """`gateway`: what the gateway's own resolv.conf says."""
    spec, context = map_at(pod, "spec"), map_at(pod, "spec", "securityContext")
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    privileged = any(bool_at(one.spec, "securityContext", "privileged") for one in all_of(pod))
    return SandboxSpec(
        pod_uid=uid_of(pod),
        pod_name=name_of(pod),
        pod_namespace=namespace_of(pod),
        attempt=attempt,
        hostname=hostname_of(pod, node=node.name, domain=node.cluster_domain),
        dns=resolver_of(pod, gateway, servers=node.cluster_dns, domain=node.cluster_domain).config,
        ports=() if bool_at(spec, "hostNetwork") else ports_of(pod),
        namespaces=Namespaces(
            host_network=bool_at(spec, "hostNetwork"),
            host_pid=bool_at(spec, "hostPID"),
            host_ipc=bool_at(spec, "hostIPC"),
            share_process=bool_at(spec, "shareProcessNamespace"),
        ),
        log_dir=log_dir,
        sysctls=tuple((str_at(each, "name"), str_at(each, "value")) for each in maps_at(context, "sysctls")),
        labels=tuple(sorted(labels_of(pod).items())),
        annotations=tuple(sorted(annotations_of(pod).items())),
        supplemental_groups=_groups(context),
        strict_groups=str_at(context, "supplementalGroupsPolicy") == "Strict",
        run_as_user=user if isinstance(user, int) else None,
        run_as_group=group if isinstance(group, int) else None,
        seccomp=None if privileged else seccomp_of(context.get("seccompProfile")),
        privileged=privileged,
    )


def ports_of(pod: JsonObject) -> tuple[PortMapping, ...]:
    """Those of the gateway that lead to the pod."""
    return tuple(
        PortMapping(
            container_port=int_at(port, "containerPort"),
            host_port=int_at(port, "hostPort"),
            protocol=_protocol(str_at(port, "protocol")),
            host_ip=str_at(port, "hostIP"),
        )
        for one in wanted_of(pod)
        for port in maps_at(one.spec, "ports")
        if int_at(port, "hostPort")
    )


def _protocol(said: str) -> Literal["TCP", "UDP", "SCTP"]:
    match said:
        case "UDP":
            return "UDP"
        case "SCTP":
            return "SCTP"
        case _:
            return "TCP"


def _groups(context: JsonObject) -> tuple[int, ...]:
    """`supplementalGroups`, and the one that owns the volumes."""
    shared = context.get("fsGroup")
    groups = [each for each in list_at(context, "supplementalGroups") if isinstance(each, int)]
    groups += [shared] if isinstance(shared, int) and shared not in groups else []
    return tuple(groups)


class Place(Frozen):
    """Where a container is started."""

    sandbox: SandboxSpec
    sandbox_id: str
    image_id: str
    attempt: int
    target: str = ""
    """Id of the container whose processes an ephemeral one sees; "" for its own alone."""


def target_of(pod: JsonObject, container: JsonObject, containers: Sequence[ContainerState]) -> str:
    """`Place.target`. Raises `ConfigError` where that container has not run."""
    name = str_at(container, "targetContainerName")
    if not name or bool_at(pod, "spec", "hostPID") or bool_at(pod, "spec", "shareProcessNamespace"):
        return ""  # it sees them as it is
    run = newest_of(containers, name)
    if run is None:
        raise ConfigError(f"unable to find target container {name}")
    return run.id


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
        namespaces=replace(place.sandbox.namespaces, target=place.target),
        command=command,
        args=args,
        env=env,
        working_dir=str_at(container, "workingDir"),
        mounts=mounts,
        security=security_of(around.pod, container),
        resources=resources_of(around.pod, container, memory_bytes=around.node.memory_bytes),
        stop_signal=str_at(container, "lifecycle", "stopSignal"),
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
    privileged = bool_at(own, "privileged")
    return Security(
        run_as_user=user if isinstance(user, int) else None,
        run_as_group=group if isinstance(group, int) else None,
        run_as_non_root=wish("runAsNonRoot") is True,
        supplemental_groups=_groups(pods),
        strict_groups=str_at(pods, "supplementalGroupsPolicy") == "Strict",
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
