"""The messages of the Container Runtime Interface, package `runtime.v1`.

Only what is used: fields that are not here are skipped when they come. Names are CRI's own, so that its documents can
be read beside this; messages that are alike on the wire are one here. Enumerations are numbers, named below. The
numbers of fields are in `schema`. Pure data.

Source: Kubernetes' `cri-api/pkg/apis/runtime/v1/api.proto`, v1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from skerry.frozen import Frozen, field

SANDBOX_READY: Final = 0
CONTAINER_CREATED: Final = 0
CONTAINER_RUNNING: Final = 1
CONTAINER_EXITED: Final = 2
CONTAINER_UNKNOWN: Final = 3
NAMESPACE_POD: Final = 0
NAMESPACE_CONTAINER: Final = 1
NAMESPACE_NODE: Final = 2
NAMESPACE_TARGET: Final = 3
PROFILE_RUNTIME_DEFAULT: Final = 0
PROFILE_UNCONFINED: Final = 1
PROFILE_LOCALHOST: Final = 2
GROUPS_MERGE: Final = 0
GROUPS_STRICT: Final = 1
CGROUP_SYSTEMD: Final = 0


def _no_texts() -> Mapping[str, str]:
    return {}


class VersionRequest(Frozen):
    version: str = ""


class VersionResponse(Frozen):
    runtime_name: str = ""
    runtime_version: str = ""
    runtime_api_version: str = ""


class StatusRequest(Frozen):
    verbose: bool = False


class RuntimeCondition(Frozen):
    type: str = ""
    status: bool = False
    reason: str = ""
    message: str = ""


class RuntimeStatus(Frozen):
    conditions: tuple[RuntimeCondition, ...] = ()


class RuntimeFeatures(Frozen):
    supplemental_groups_policy: bool = False


class StatusResponse(Frozen):
    status: RuntimeStatus | None = None
    features: RuntimeFeatures | None = None
    info: Mapping[str, str] = field(default_factory=_no_texts)


class RuntimeConfigRequest(Frozen):
    pass


class LinuxRuntimeConfiguration(Frozen):
    cgroup_driver: int = 0


class RuntimeConfigResponse(Frozen):
    linux: LinuxRuntimeConfiguration | None = None


class DnsConfig(Frozen):
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class PortMapping(Frozen):
    protocol: int = 0
    container_port: int = 0
    host_port: int = 0
    host_ip: str = ""


class NamespaceOption(Frozen):
    network: int = 0
    pid: int = 0
    ipc: int = 0
    target_id: str = ""


class Int64Value(Frozen):
    value: int = 0


class UInt64Value(Frozen):
    value: int = 0


class SecurityProfile(Frozen):
    profile_type: int = 0
    localhost_ref: str = ""


class LinuxSandboxSecurityContext(Frozen):
    namespace_options: NamespaceOption | None = None
    run_as_user: Int64Value | None = None
    readonly_rootfs: bool = False
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    run_as_group: Int64Value | None = None
    seccomp: SecurityProfile | None = None
    supplemental_groups_policy: int = 0


class HugepageLimit(Frozen):
    page_size: str = ""
    limit: int = 0


class LinuxContainerResources(Frozen):
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit_in_bytes: int = 0
    oom_score_adj: int = 0
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    unified: Mapping[str, str] = field(default_factory=_no_texts)


class LinuxPodSandboxConfig(Frozen):
    cgroup_parent: str = ""
    security_context: LinuxSandboxSecurityContext | None = None
    sysctls: Mapping[str, str] = field(default_factory=_no_texts)


class PodSandboxMetadata(Frozen):
    name: str = ""
    uid: str = ""
    namespace: str = ""
    attempt: int = 0


class PodSandboxConfig(Frozen):
    metadata: PodSandboxMetadata | None = None
    hostname: str = ""
    log_directory: str = ""
    dns_config: DnsConfig | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=_no_texts)
    annotations: Mapping[str, str] = field(default_factory=_no_texts)
    linux: LinuxPodSandboxConfig | None = None


class RunPodSandboxRequest(Frozen):
    config: PodSandboxConfig | None = None
    runtime_handler: str = ""


class PodSandboxStatusRequest(Frozen):
    pod_sandbox_id: str = ""
    verbose: bool = False


class PodIp(Frozen):
    ip: str = ""


class PodSandboxNetworkStatus(Frozen):
    ip: str = ""
    additional_ips: tuple[PodIp, ...] = ()


class PodSandboxStatus(Frozen):
    id: str = ""
    metadata: PodSandboxMetadata | None = None
    state: int = 0
    created_at: int = 0
    network: PodSandboxNetworkStatus | None = None
    labels: Mapping[str, str] = field(default_factory=_no_texts)


class PodSandboxStatusResponse(Frozen):
    status: PodSandboxStatus | None = None
    info: Mapping[str, str] = field(default_factory=_no_texts)


class PodSandboxFilter(Frozen):
    id: str = ""
    label_selector: Mapping[str, str] = field(default_factory=_no_texts)


class ListPodSandboxRequest(Frozen):
    filter: PodSandboxFilter | None = None


class PodSandbox(Frozen):
    id: str = ""
    metadata: PodSandboxMetadata | None = None
    state: int = 0
    created_at: int = 0
    labels: Mapping[str, str] = field(default_factory=_no_texts)


class ListPodSandboxResponse(Frozen):
    items: tuple[PodSandbox, ...] = ()


class ImageSpec(Frozen):
    image: str = ""
    annotations: Mapping[str, str] = field(default_factory=_no_texts)
    user_specified_image: str = ""


class KeyValue(Frozen):
    key: str = ""
    value: bytes = b""


class Mount(Frozen):
    container_path: str = ""
    host_path: str = ""
    readonly: bool = False
    propagation: int = 0
    image: ImageSpec | None = None
    image_sub_path: str = ""


class Device(Frozen):
    container_path: str = ""
    host_path: str = ""
    permissions: str = ""


class Capability(Frozen):
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()


class LinuxContainerSecurityContext(Frozen):
    capabilities: Capability | None = None
    privileged: bool = False
    namespace_options: NamespaceOption | None = None
    run_as_user: Int64Value | None = None
    run_as_username: str = ""
    readonly_rootfs: bool = False
    supplemental_groups: tuple[int, ...] = ()
    apparmor_profile: str = ""
    no_new_privs: bool = False
    run_as_group: Int64Value | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    seccomp: SecurityProfile | None = None
    apparmor: SecurityProfile | None = None
    supplemental_groups_policy: int = 0


class LinuxContainerConfig(Frozen):
    resources: LinuxContainerResources | None = None
    security_context: LinuxContainerSecurityContext | None = None


class ContainerMetadata(Frozen):
    name: str = ""
    attempt: int = 0


class ContainerConfig(Frozen):
    metadata: ContainerMetadata | None = None
    image: ImageSpec | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    envs: tuple[KeyValue, ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    labels: Mapping[str, str] = field(default_factory=_no_texts)
    annotations: Mapping[str, str] = field(default_factory=_no_texts)
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    linux: LinuxContainerConfig | None = None


class CreateContainerRequest(Frozen):
    pod_sandbox_id: str = ""
    config: ContainerConfig | None = None
    sandbox_config: PodSandboxConfig | None = None


class StopContainerRequest(Frozen):
    container_id: str = ""
    timeout: int = 0


class ContainerFilter(Frozen):
    id: str = ""
    pod_sandbox_id: str = ""
    label_selector: Mapping[str, str] = field(default_factory=_no_texts)


class ListContainersRequest(Frozen):
    filter: ContainerFilter | None = None


class Container(Frozen):
    id: str = ""
    pod_sandbox_id: str = ""
    metadata: ContainerMetadata | None = None
    image: ImageSpec | None = None
    image_ref: str = ""
    state: int = 0
    created_at: int = 0
    labels: Mapping[str, str] = field(default_factory=_no_texts)
    annotations: Mapping[str, str] = field(default_factory=_no_texts)


class ListContainersResponse(Frozen):
    containers: tuple[Container, ...] = ()


class ContainerStatusRequest(Frozen):
    container_id: str = ""
    verbose: bool = False


class ContainerStatus(Frozen):
    id: str = ""
    metadata: ContainerMetadata | None = None
    state: int = 0
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    image: ImageSpec | None = None
    image_ref: str = ""
    reason: str = ""
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=_no_texts)
    annotations: Mapping[str, str] = field(default_factory=_no_texts)
    log_path: str = ""


class ContainerStatusResponse(Frozen):
    status: ContainerStatus | None = None
    info: Mapping[str, str] = field(default_factory=_no_texts)


class UpdateContainerResourcesRequest(Frozen):
    container_id: str = ""
    linux: LinuxContainerResources | None = None


class ExecSyncRequest(Frozen):
    container_id: str = ""
    cmd: tuple[str, ...] = ()
    timeout: int = 0


class ExecSyncResponse(Frozen):
    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0


class ExecRequest(Frozen):
    container_id: str = ""
    cmd: tuple[str, ...] = ()
    tty: bool = False
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False


class AttachRequest(Frozen):
    container_id: str = ""
    stdin: bool = False
    tty: bool = False
    stdout: bool = False
    stderr: bool = False


class ImageFilter(Frozen):
    image: ImageSpec | None = None


class ListImagesRequest(Frozen):
    filter: ImageFilter | None = None


class Image(Frozen):
    id: str = ""
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    size: int = 0
    uid: Int64Value | None = None
    username: str = ""
    pinned: bool = False


class ListImagesResponse(Frozen):
    images: tuple[Image, ...] = ()


class ImageStatusRequest(Frozen):
    image: ImageSpec | None = None


class ImageStatusResponse(Frozen):
    image: Image | None = None


class AuthConfig(Frozen):
    username: str = ""
    password: str = ""
    auth: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""


class PullImageRequest(Frozen):
    image: ImageSpec | None = None
    auth: AuthConfig | None = None
    sandbox_config: PodSandboxConfig | None = None


class RemoveImageRequest(Frozen):
    image: ImageSpec | None = None


class ImageFsInfoRequest(Frozen):
    pass


class FilesystemIdentifier(Frozen):
    mountpoint: str = ""


class FilesystemUsage(Frozen):
    timestamp: int = 0
    fs_id: FilesystemIdentifier | None = None
    used_bytes: UInt64Value | None = None
    inodes_used: UInt64Value | None = None


class ImageFsInfoResponse(Frozen):
    image_filesystems: tuple[FilesystemUsage, ...] = ()


class ContainerStatsFilter(Frozen):
    id: str = ""
    pod_sandbox_id: str = ""
    label_selector: Mapping[str, str] = field(default_factory=_no_texts)


class ListContainerStatsRequest(Frozen):
    filter: ContainerStatsFilter | None = None


class ContainerAttributes(Frozen):
    id: str = ""
    metadata: ContainerMetadata | None = None
    labels: Mapping[str, str] = field(default_factory=_no_texts)


class CpuUsage(Frozen):
    timestamp: int = 0
    usage_core_nano_seconds: UInt64Value | None = None


class MemoryUsage(Frozen):
    timestamp: int = 0
    working_set_bytes: UInt64Value | None = None
    usage_bytes: UInt64Value | None = None
    rss_bytes: UInt64Value | None = None


class ContainerStats(Frozen):
    attributes: ContainerAttributes | None = None
    cpu: CpuUsage | None = None
    memory: MemoryUsage | None = None
    writable_layer: FilesystemUsage | None = None


class ListContainerStatsResponse(Frozen):
    stats: tuple[ContainerStats, ...] = ()


class GetEventsRequest(Frozen):
    pass


class ContainerEventResponse(Frozen):
    container_id: str = ""
    container_event_type: int = 0
    created_at: int = 0
    pod_sandbox_status: PodSandboxStatus | None = None


class SandboxId(Frozen):
    """Stop and remove a sandbox by it; an answer of one made."""

    pod_sandbox_id: str = ""


class ContainerId(Frozen):
    """Start, remove and reopen a container by it; an answer of one made."""

    container_id: str = ""


class ImageRef(Frozen):
    """What a pull gave."""

    image_ref: str = ""


class Url(Frozen):
    """Where a stream is to be had."""

    url: str = ""


class Nothing(Frozen):
    """Every answer that says no more than that it was done."""
