"""From what a pod's worker asks to CRI's messages, and from CRI's messages to what a worker is told. Pure.

Labels are a kubelet's, so that `crictl` and others that look at a node show what they are used to; one more says that
a container is ours. Where a kubelet has a rule for what a message is made of, it is followed: masked and read-only
paths of /proc, namespaces, what an exit is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from edgecore.pods.port import (
    ContainerSpec,
    ContainerState,
    ContainerUsage,
    Credentials,
    ImageMissingError,
    ImageState,
    Mount,
    Namespaces,
    Resources,
    SandboxSpec,
    SandboxState,
    SeccompProfile,
)
from edgecore.pods.runtimes.cri import messages as cri
from edgecore.pods.runtimes.cri.references import full_name

KEEPER: Final = "skerry.dev/keeper"
"""Label of what is ours; its value says whose, where several agents share a runtime."""
POD_NAME: Final = "io.kubernetes.pod.name"
POD_NAMESPACE: Final = "io.kubernetes.pod.namespace"
POD_UID: Final = "io.kubernetes.pod.uid"
CONTAINER_NAME: Final = "io.kubernetes.container.name"
RESTARTS: Final = "io.kubernetes.container.restartCount"
"""Annotation, as a kubelet's."""
STDIN: Final = "skerry.dev/stdin"
"""Annotation: `true` of one that reads an input; CRI does not say it of a container that is there."""
STOP_SIGNAL: Final = "skerry.dev/stop-signal"
"""Annotation: what ends it in the place of the image's."""
IMAGE: Final = "skerry.dev/image"
"""Annotation: as the pod writes it."""
_OURS: Final = frozenset({KEEPER, POD_NAME, POD_NAMESPACE, POD_UID, CONTAINER_NAME})
NS_PER_MS: Final = 1_000_000
EXITED_UNKNOWN: Final = 137
"""The exit code that a kubelet gives a container of which nothing is known any more."""

MASKED_PATHS: Final = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_PROTOCOLS: Final = {"TCP": 0, "UDP": 1, "SCTP": 2}
_PROPAGATIONS: Final = {"private": 0, "host_to_container": 1, "bidirectional": 2}
_PROFILES: Final = {
    "runtime_default": cri.PROFILE_RUNTIME_DEFAULT,
    "unconfined": cri.PROFILE_UNCONFINED,
    "localhost": cri.PROFILE_LOCALHOST,
}


def sandbox_config(spec: SandboxSpec, keeper: str) -> cri.PodSandboxConfig:
    """What RunPodSandbox asks for; CreateContainer wants the same again."""
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=spec.pod_name, uid=spec.pod_uid, namespace=spec.pod_namespace, attempt=spec.attempt
        ),
        # With the host's network it has the host's name (a kubelet leaves it out as well).
        hostname="" if spec.namespaces.host_network else spec.hostname,
        log_directory=str(spec.log_dir.absolute()),
        dns_config=None
        if spec.dns is None
        else cri.DnsConfig(servers=spec.dns.servers, searches=spec.dns.searches, options=spec.dns.options),
        port_mappings=tuple(
            cri.PortMapping(
                protocol=_PROTOCOLS[each.protocol],
                container_port=each.container_port,
                host_port=each.host_port,
                host_ip=each.host_ip,
            )
            for each in spec.ports
        ),
        labels={**dict(spec.labels), **_pod_labels(spec, keeper)},
        annotations=dict(spec.annotations),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=spec.cgroup_parent,
            sysctls=dict(spec.sysctls),
            security_context=cri.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(spec.namespaces),
                run_as_user=_signed(spec.run_as_user),
                run_as_group=_signed(spec.run_as_group),
                supplemental_groups=spec.supplemental_groups,
                supplemental_groups_policy=_groups_policy(strict=spec.strict_groups),
                privileged=spec.privileged,
                seccomp=_seccomp(spec.seccomp, privileged=spec.privileged),
            ),
        ),
    )


def container_config(spec: ContainerSpec, image: ImageState, keeper: str) -> cri.ContainerConfig:
    """What CreateContainer asks for."""
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=spec.name, attempt=spec.attempt),
        image=cri.ImageSpec(image=image.id, user_specified_image=spec.image),
        command=spec.command,
        args=spec.args,
        working_dir=spec.working_dir,
        envs=tuple(cri.KeyValue(key=name, value=value.encode(errors="surrogateescape")) for name, value in spec.env),
        mounts=tuple(_mount(mount) for mount in spec.mounts),
        devices=tuple(
            cri.Device(host_path=str(host), container_path=inside, permissions=permissions)
            for host, inside, permissions in spec.devices
        ),
        labels={**dict(spec.labels), **_pod_labels(spec.sandbox, keeper), CONTAINER_NAME: spec.name},
        annotations={
            RESTARTS: str(spec.attempt),
            IMAGE: spec.image,
            **({STDIN: "true"} if spec.stdin else {}),
            **({STOP_SIGNAL: spec.stop_signal} if spec.stop_signal else {}),
        },
        log_path=f"{spec.name}/{spec.attempt}.log",
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
        linux=cri.LinuxContainerConfig(
            resources=linux_resources(spec.resources), security_context=_security(spec, image)
        ),
    )


def linux_resources(wanted: Resources) -> cri.LinuxContainerResources:
    return cri.LinuxContainerResources(
        cpu_period=wanted.cpu_period_us,
        cpu_quota=wanted.cpu_quota_us,
        cpu_shares=wanted.cpu_shares,
        memory_limit_in_bytes=wanted.memory_bytes,
        oom_score_adj=wanted.oom_score_adj,
        hugepage_limits=tuple(cri.HugepageLimit(page_size=size, limit=limit) for size, limit in wanted.hugepages),
        unified=dict(wanted.unified),
    )


def _pod_labels(spec: SandboxSpec, keeper: str) -> Mapping[str, str]:
    return {
        POD_NAME: spec.pod_name,
        POD_NAMESPACE: spec.pod_namespace,
        POD_UID: spec.pod_uid,
        KEEPER: keeper,
    }


def mounts_images(name: str, version: str) -> bool:
    """Whether a runtime heeds Mount.image; an older one would not know the field, and fail in words about paths. Of
    one that we do not know it is believed: it says itself what it can't."""
    least = _MOUNT_IMAGES.get(name)
    found = _NUMBERS.match(version.removeprefix("v"))
    return bool(version) and (least is None or (found is not None and (int(found[1]), int(found[2])) >= least))


_MOUNT_IMAGES: Final = {"containerd": (2, 1), "cri-o": (1, 31)}
_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)")


def _mount(mount: Mount) -> cri.Mount:
    if mount.image is not None:
        return cri.Mount(
            container_path=mount.container_path,
            readonly=True,
            image=cri.ImageSpec(image=mount.image.id, user_specified_image=mount.image.name),
            image_sub_path=mount.sub_path,
        )
    return cri.Mount(
        host_path=str(mount.host_path.absolute()),
        container_path=mount.container_path,
        readonly=mount.read_only,
        propagation=_PROPAGATIONS[mount.propagation],
    )


def _namespaces(wanted: Namespaces) -> cri.NamespaceOption:
    if wanted.target:
        pid = cri.NAMESPACE_TARGET
    elif wanted.host_pid:
        pid = cri.NAMESPACE_NODE
    else:
        pid = cri.NAMESPACE_POD if wanted.share_process else cri.NAMESPACE_CONTAINER
    return cri.NamespaceOption(
        network=cri.NAMESPACE_NODE if wanted.host_network else cri.NAMESPACE_POD,
        pid=pid,
        ipc=cri.NAMESPACE_NODE if wanted.host_ipc else cri.NAMESPACE_POD,
        target_id=wanted.target,
    )


def _seccomp(profile: SeccompProfile | None, *, privileged: bool) -> cri.SecurityProfile:
    """Where nobody chose, the runtime's own profile (a kubelet's `seccompDefault: true`)."""
    if privileged:
        return cri.SecurityProfile(profile_type=cri.PROFILE_UNCONFINED)
    if profile is None:
        return cri.SecurityProfile(profile_type=cri.PROFILE_RUNTIME_DEFAULT)
    return cri.SecurityProfile(profile_type=_PROFILES[profile.kind], localhost_ref=profile.localhost_ref)


def _security(spec: ContainerSpec, image: ImageState) -> cri.LinuxContainerSecurityContext:
    wanted = spec.security
    named = image.user if wanted.run_as_user is None else ""
    user = int(named) if named.isdecimal() else wanted.run_as_user
    return cri.LinuxContainerSecurityContext(
        capabilities=cri.Capability(
            add_capabilities=wanted.add_capabilities, drop_capabilities=wanted.drop_capabilities
        ),
        privileged=wanted.privileged,
        namespace_options=_namespaces(spec.namespaces),
        run_as_user=_signed(user),
        run_as_group=_signed(wanted.run_as_group),
        run_as_username="" if named.isdecimal() else named,
        readonly_rootfs=wanted.read_only_root,
        supplemental_groups=wanted.supplemental_groups,
        supplemental_groups_policy=_groups_policy(strict=wanted.strict_groups),
        no_new_privs=wanted.no_new_privileges,
        masked_paths=() if wanted.unmasked_proc else MASKED_PATHS,
        readonly_paths=() if wanted.unmasked_proc else READ_ONLY_PATHS,
        seccomp=_seccomp(wanted.seccomp, privileged=wanted.privileged),
        apparmor=_apparmor(wanted.apparmor),
        apparmor_profile=wanted.apparmor,  # the field of runtimes before 2024
    )


def _groups_policy(*, strict: bool) -> int:
    return cri.GROUPS_STRICT if strict else cri.GROUPS_MERGE


def _apparmor(profile: str) -> cri.SecurityProfile | None:
    """`runtime/default`, `unconfined` or `localhost/NAME`, as annotations wrote it; "" leaves it to the runtime."""
    match profile:
        case "":
            return None
        case "runtime/default":
            return cri.SecurityProfile(profile_type=cri.PROFILE_RUNTIME_DEFAULT)
        case "unconfined":
            return cri.SecurityProfile(profile_type=cri.PROFILE_UNCONFINED)
        case _:
            return cri.SecurityProfile(
                profile_type=cri.PROFILE_LOCALHOST, localhost_ref=profile.removeprefix("localhost/")
            )


def _signed(number: int | None) -> cri.Int64Value | None:
    return None if number is None else cri.Int64Value(value=number)


def non_root_fault(spec: ContainerSpec, image: ImageState) -> str:
    """Why `runAsNonRoot` forbids to run it, in a kubelet's words; "" when nothing does."""
    wanted = spec.security
    if not wanted.run_as_non_root:
        return ""
    sandbox = spec.sandbox
    who = f'(pod: "{sandbox.pod_name}_{sandbox.pod_namespace}({sandbox.pod_uid})", container: {spec.name})'
    if wanted.run_as_user is not None:
        return f"container's runAsUser breaks non-root policy {who}" if wanted.run_as_user == 0 else ""
    if image.user.isdecimal() and int(image.user):
        return ""
    if image.user and not image.user.isdecimal():
        told = f"container has runAsNonRoot and image has non-numeric user ({image.user})"
        return f"{told}, cannot verify user is non-root {who}"
    return f"container has runAsNonRoot and image will run as root {who}"


def sandbox_state(sandbox: cri.PodSandbox, addresses: tuple[str, ...]) -> SandboxState:
    about = sandbox.metadata or cri.PodSandboxMetadata()
    return SandboxState(
        id=sandbox.id,
        pod_uid=about.uid,
        pod_name=about.name,
        pod_namespace=about.namespace,
        attempt=about.attempt,
        ready=sandbox.state == cri.SANDBOX_READY,
        addresses=addresses,
        created_ms=sandbox.created_at // NS_PER_MS,
    )


def addresses_of(status: cri.PodSandboxStatus) -> tuple[str, ...]:
    """Empty with the host's network."""
    network = status.network
    if network is None or not network.ip:
        return ()
    return (network.ip, *(each.ip for each in network.additional_ips))


def container_state(listed: cri.Container, status: cri.ContainerStatus) -> ContainerState:
    """Of the list comes which sandbox it is in, of the status the rest."""
    about = status.metadata or cri.ContainerMetadata()
    phase = _phase(status.state)
    lost = status.state == cri.CONTAINER_UNKNOWN
    told_image = status.image.image if status.image is not None else ""
    started_ms, finished_ms = _ms(status.started_at), _ms(status.finished_at)
    return ContainerState(
        id=status.id,
        sandbox_id=listed.pod_sandbox_id,
        pod_uid=status.labels.get(POD_UID, ""),
        name=about.name,
        attempt=about.attempt,
        image=status.annotations.get(IMAGE) or told_image,
        full_image=_full_image(status.annotations.get(IMAGE, ""), told_image),
        image_id=status.image_ref,
        phase=phase,
        created_ms=status.created_at // NS_PER_MS,
        started_ms=started_ms,
        # containerd dates the start when it has been told of it: a short run may be over by then.
        finished_ms=max(finished_ms, started_ms) if finished_ms else 0,
        exit_code=EXITED_UNKNOWN if lost else status.exit_code,
        reason="ContainerStatusUnknown" if lost else _reason(status) if phase == "exited" else status.reason,
        message="The container could not be located: its runtime does not know how it is" if lost else status.message,
        labels=tuple(sorted((name, value) for name, value in status.labels.items() if name not in _OURS)),
    )


def _full_image(asked: str, told: str) -> str:
    """A kubelet shows the runtime's word, which is one of the image's names, or its id where it has none left. Of
    several names we show the one that was asked for."""
    try:
        full = full_name(asked)
    except ImageMissingError:
        return told
    return told if "@" in full and "/" in told else full


def _ms(nanoseconds: int) -> int:
    """0 for not yet; containerd gives a time before 1970 for none."""
    return max(nanoseconds, 0) // NS_PER_MS


def _phase(state: int) -> Literal["created", "running", "exited"]:
    if state == cri.CONTAINER_CREATED:
        return "created"
    return "running" if state == cri.CONTAINER_RUNNING else "exited"


def _reason(status: cri.ContainerStatus) -> str:
    """A runtime that says none leaves it to the exit code."""
    return status.reason or ("Completed" if status.exit_code == 0 else "Error")


def image_state(image: cri.Image) -> ImageState:
    number = "" if image.uid is None or not image.uid.value else str(image.uid.value)
    return ImageState(
        id=image.id,
        names=(*image.repo_tags, *image.repo_digests),
        size_bytes=image.size,
        user=number or image.username,
        pinned=image.pinned,
    )


def auth_config(credentials: Credentials) -> cri.AuthConfig:
    """Without the registry's address, as a kubelet has it: containerd would keep them from a mirror that it asks."""
    return cri.AuthConfig(
        username=credentials.username,
        password=credentials.password,
        identity_token=credentials.identity_token,
    )


def container_usage(stats: cri.ContainerStats, *, at_ms: int, pids: int = 0) -> ContainerUsage:
    about = stats.attributes or cri.ContainerAttributes()
    cpu, memory, disk = stats.cpu or cri.CpuUsage(), stats.memory or cri.MemoryUsage(), stats.writable_layer
    return ContainerUsage(
        pod_uid=about.labels.get(POD_UID, ""),
        name=about.metadata.name if about.metadata is not None else "",
        at_ms=cpu.timestamp // NS_PER_MS or at_ms,
        cpu_ns=_value(cpu.usage_core_nano_seconds),
        memory_working_set_bytes=_value(memory.working_set_bytes),
        memory_usage_bytes=_value(memory.usage_bytes),
        memory_rss_bytes=_value(memory.rss_bytes),
        disk_bytes=_value(disk.used_bytes) if disk is not None else 0,
        inodes=_value(disk.inodes_used) if disk is not None else 0,
        pids=pids,
    )


def network_usage(pod_uid: str, counters: tuple[int, int], *, at_ms: int) -> ContainerUsage:
    """Of a pod's sandbox: what went in and out."""
    return ContainerUsage(
        pod_uid=pod_uid,
        name="",
        at_ms=at_ms,
        cpu_ns=0,
        memory_working_set_bytes=0,
        received_bytes=counters[0],
        sent_bytes=counters[1],
    )


def _value(number: cri.UInt64Value | None) -> int:
    return 0 if number is None else number.value
