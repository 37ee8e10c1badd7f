"""What a pod's worker asks of a container runtime.

Forms: `runtimes/process` (supervised process groups; nothing to install), `runtimes/cri` (containerd, CRI-O),
`runtimes/fake` (tests and simulation). All pass `tests/contracts/runtime_contract.py`. A runtime keeps what it
started across a restart of the agent: `sandboxes` and `list` find it again by the labels it was given.

Words are those of the Container Runtime Interface (cri-api v1).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from skerry.errors import InvalidError
from skerry.frozen import Frozen, field


class ImageMount(Frozen):
    """An image whose files are mounted."""

    id: str
    name: str
    """As whoever wanted it calls it."""


class Mount(Frozen):
    host_path: Path
    container_path: str
    read_only: bool
    propagation: Literal["private", "host_to_container", "bidirectional"] = "private"
    sub_path: str = ""
    """What of `host_path` is mounted, made where it is missing; "" for all. Containers may write there, so no link on
    the way is followed out of it: at the moment of the mount, not before. Only for runtimes with
    `Abilities.sub_paths`."""
    image: ImageMount | None = None
    """Mounted in place of `host_path`, or `sub_path` of it; only for runtimes with `Abilities.image_volumes`."""


class PortMapping(Frozen):
    container_port: int
    host_port: int
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    host_ip: str = ""


class DnsConfig(Frozen):
    """What resolv.conf of the sandbox says."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class SeccompProfile(Frozen):
    kind: Literal["runtime_default", "unconfined", "localhost"]
    localhost_ref: str = ""
    """Absolute path of the profile, for `localhost`."""


class Namespaces(Frozen):
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_process: bool = False
    """`shareProcessNamespace`."""
    target: str = ""
    """Container id whose pid namespace an ephemeral container enters; "" for none."""


class SandboxSpec(Frozen):
    """The ground of a pod: its network and IPC namespaces, its cgroup, its name."""

    pod_uid: str
    pod_name: str
    pod_namespace: str
    attempt: int
    """0 for the first sandbox of the pod; one more for each that was needed since."""
    hostname: str
    dns: DnsConfig | None = None
    """None: the gateway's own (dnsPolicy Default)."""
    ports: tuple[PortMapping, ...] = ()
    namespaces: Namespaces = field(default_factory=Namespaces)
    log_dir: Path
    """The runtime writes `{name}/{attempt}.log` of each container here in CRI format (`time stream P/F text`)."""
    cgroup_parent: str = ""
    sysctls: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    supplemental_groups: tuple[int, ...] = ()
    """With fsGroup."""
    strict_groups: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    seccomp: SeccompProfile | None = None
    privileged: bool = False
    """Some container of the pod is."""
    handler: str = ""
    """`runtimeClassName`'s handler; "" for the default."""


class SandboxState(Frozen):
    """Times are wall clock milliseconds."""

    id: str
    pod_uid: str
    pod_name: str
    pod_namespace: str
    attempt: int
    ready: bool
    """Its namespaces live. One that is not never becomes so again: the pod needs another."""
    addresses: tuple[str, ...]
    """Of the pod; empty with host networking, and in runtimes without pod networks: the gateway's own count then."""
    created_ms: int


class Resources(Frozen):
    """As CRI's LinuxContainerResources; 0 and "" are "not set"."""

    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 0
    memory_bytes: int = 0
    oom_score_adj: int = 0
    hugepages: tuple[tuple[str, int], ...] = ()
    unified: tuple[tuple[str, str], ...] = ()
    """Files of cgroup v2 and what is written to them, beyond the others; nothing on v1."""


class Security(Frozen):
    """A container's `securityContext`, with what it has from the pod's."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool = False
    """Refused (CreateContainerConfigError) when the image would run it as root."""
    supplemental_groups: tuple[int, ...] = ()
    strict_groups: bool = False
    """`supplementalGroupsPolicy: Strict`."""
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    """`allowPrivilegeEscalation: false`."""
    seccomp: SeccompProfile | None = None
    apparmor: str = ""
    unmasked_proc: bool = False
    """`procMount: Unmasked`."""


class ContainerSpec(Frozen):
    """One container to run, everything resolved: no ConfigMap, Secret or field reference is left."""

    sandbox: SandboxSpec
    sandbox_id: str
    name: str
    attempt: int
    """Restart count: 0 for the first run."""
    image: str
    """As the pod writes it."""
    image_id: str = ""
    """What `ensure_image` gave for it."""
    stop_signal: str = ""
    """What ends it in the place of SIGTERM or the image's own, as `SIGUSR1`."""
    command: tuple[str, ...]
    """Empty: the image's entry point."""
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    working_dir: str
    mounts: tuple[Mount, ...]
    devices: tuple[tuple[Path, str, str], ...] = ()
    """On the host, in the container, permissions (rwm)."""
    security: Security = field(default_factory=Security)
    resources: Resources = field(default_factory=Resources)
    namespaces: Namespaces = field(default_factory=Namespaces)
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    """Kept by the runtime and given back by `list`; beside the ones by which the runtime finds its own."""


COULD_NOT_START: Final = frozenset({"ContainerCannotRun", "StartError"})
"""Reasons of a container that never ran: Docker's word, which the process runtime has, and containerd's."""


class User(Frozen):
    """Who a container's first process began as."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class ContainerState(Frozen):
    """One container as the runtime sees it. Times are wall clock milliseconds, 0 for not yet."""

    id: str
    sandbox_id: str
    pod_uid: str
    name: str
    attempt: int
    image: str
    """As the pod wrote it."""
    image_id: str
    phase: Literal["created", "running", "exited"]
    """created: it begins to run by itself. What an agent made and did not come to start is no container."""
    created_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    """As a kubelet says it: Completed, Error, OOMKilled, ContainerCannotRun, StartError ..."""
    message: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """Those of the spec."""
    full_image: str = ""
    """The image's name with its registry and tag, as the runtime has it; "" where that is what the pod wrote."""
    user: User | None = None
    """None where the runtime does not say."""


class ImageMissingError(InvalidError):
    """The image is not on this gateway and was not to be, or can't be, fetched; the text says why."""

    def __init__(self, message: str, reason: str = "ErrImagePull") -> None:
        """`reason` is a kubelet's: ErrImagePull, ErrImageNeverPull, InvalidImageName, RegistryUnavailable ..."""
        super().__init__(message)
        self.reason = reason


PullPolicy: TypeAlias = Literal["Always", "IfNotPresent", "Never"]


class Credentials(Frozen):
    """Of a registry, from one pull secret."""

    registry: str
    """Host with port, perhaps with a path, as `.dockerconfigjson` writes it."""
    username: str = ""
    password: str = ""
    identity_token: str = ""
    secret: str = ""
    """The Secret that it is of: namespace, name and uid with slashes; "" for none."""


class ImageState(Frozen):
    id: str
    names: tuple[str, ...]
    """Tags and digests."""
    size_bytes: int
    user: str = ""
    """uid or name that the image says; "" for root."""
    pinned: bool = False


class ExecResult(Frozen):
    exit_code: int
    output: bytes
    """stdout and stderr together, at most the first 10 KiB of it (as a kubelet cuts)."""


class Size(Frozen):
    """Of a terminal, in characters."""

    width: int
    height: int


class ExecStream(Protocol):
    """One exec, attach or port-forward under way. Bounded: neither side is read ahead by more than a window."""

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, stdout) and (2, stderr) until it ends; with a terminal everything is 1; of a forwarded port
        everything is 1."""
        ...

    async def write(self, data: bytes) -> None:
        """To stdin, or to the port; waits while nobody reads there. After its end it is nothing."""
        ...

    async def end_input(self) -> None: ...

    async def resize(self, size: Size) -> None: ...

    async def result(self) -> int:
        """After the output is over: the exit code of an exec; 0 of an attach and of a port."""
        ...

    async def close(self) -> None:
        """Hang up. An exec'ed process is not waited for."""
        ...


class Streamed(Frozen):
    """How an exec or attach is wanted."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False


class ContainerUsage(Frozen):
    """One container's (or the sandbox's own) use at `at_ms`; counters since its start."""

    pod_uid: str
    name: str
    """"" for the sandbox: then network counters are told."""
    at_ms: int
    cpu_ns: int
    memory_working_set_bytes: int
    memory_usage_bytes: int = 0
    memory_rss_bytes: int = 0
    disk_bytes: int = 0
    """Of its writable layer."""
    inodes: int = 0
    """Of the same."""
    pids: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0


class ImagesPlace(Frozen):
    """Where a runtime keeps its images."""

    directory: Path
    """On the disk whose room counts."""
    used_bytes: int
    """What images take there."""


class RuntimeStatus(Frozen):
    """May pods be started? With the reason and message where not, as the runtime says them."""

    ready: bool
    network_ready: bool
    message: str = ""


class Abilities(Frozen):
    """What differs between runtimes in what a pod may ask; the plan says Unsupported for what is not there."""

    pod_network: bool
    """Pods have addresses of their own; hostPorts can be mapped."""
    isolation: bool
    """Root file systems, capabilities, seccomp, namespaces, resource limits are enforced."""
    images: bool
    """Images are pulled from registries."""
    rotates_logs: bool = False
    """By itself, as they grow; else whoever asks for containers has to."""
    limits: bool = False
    """`Resources` are enforced, and can be changed while a container runs."""
    sub_paths: bool = False
    """It mounts parts of volumes in which containers write without being led elsewhere; else the agent has to."""
    strict_groups: bool = False
    """`Security.strict_groups` is heeded: groups of the image's /etc/group are left out."""
    image_volumes: bool = False
    """`Mount.image` is heeded."""
    stop_signals: bool = False
    """`ContainerSpec.stop_signal` is heeded."""


class Pulled(Frozen):
    """An image came from a registry."""

    took_s: float
    all_s: float
    """With the wait for its turn."""


TellsPull: TypeAlias = "Callable[[Pulled | None], None]"
"""None: a pull has to be waited for."""


def untold(_: Pulled | None) -> None:
    """Nobody wants to know."""


class Runtime(Protocol):
    """Errors: `ImageMissingError`, `InvalidError` for another spec that can never run here, `UnavailableError` when
    the runtime does not answer."""

    @property
    def name(self) -> str:
        """`process`, `containerd`, `cri-o` ...; goes into nodeInfo.containerRuntimeVersion."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def abilities(self) -> Abilities: ...

    @property
    def cgroup_driver(self) -> Literal["", "cgroupfs", "systemd"]:
        """Who makes the cgroups of its containers; "" where it does not say (yet)."""
        ...

    async def sandboxes(self, pod_uid: str = "") -> Sequence[SandboxState]:
        """Every sandbox kept for Skerry (of one pod, when named), by pod and attempt."""
        ...

    async def run_sandbox(self, spec: SandboxSpec) -> SandboxState:
        """Returns when it is ready. One of this pod and attempt that is there already is given as it is."""
        ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Ends all that runs in it by force, and gives its network back. Of a stopped or unknown one it is
        nothing."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Forget it, and every container of it."""
        ...

    async def list(self, pod_uid: str = "") -> Sequence[ContainerState]:
        """Every container this runtime keeps for Skerry (of one pod, when named), exited ones included until
        removed; by pod, name and attempt."""
        ...

    async def start(self, spec: ContainerSpec) -> ContainerState:
        """Create and start; returns when it runs (or could not: `exited` with one of `COULD_NOT_START`).

        A container of this pod, name and attempt that is there already is not started again: its state is given
        (one that was created and never started is removed and made anew).
        """
        ...

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        """SIGTERM (or the image's stop signal), SIGKILL after `grace_s`; returns when nothing of it is left.

        A second call with less grace shortens the first. Of an exited or unknown container it is nothing.
        """
        ...

    async def remove(self, container_id: str) -> None:
        """Forget an exited container (or an unknown one); its log stays until the pod goes."""
        ...

    async def update(self, container_id: str, resources: Resources) -> None:
        """What a running container may use from now on; the same again is nothing. A field that is not set stays as
        it is. Raises `NotFoundError` (the container does not run) and `InvalidError` (the kernel refuses, as it uses
        more memory already; or limits are not enforced here)."""
        ...

    async def reopen_log(self, container_id: str) -> None:
        """Its log has been renamed: what it says from now on goes to a new file of the old name. Raises
        `NotFoundError` (the container does not run), and `InvalidError` where the runtime rotates logs itself
        (`Abilities.rotates_logs`)."""
        ...

    async def run_in(self, container_id: str, argv: Sequence[str], *, timeout_s: float) -> ExecResult:
        """For probes and hooks. Raises `TimeoutError` after `timeout_s`, having ended the process, and as `exec`."""
        ...

    async def exec(self, container_id: str, argv: Sequence[str], how: Streamed) -> ExecStream:
        """A command in a running container. Raises `InvalidError` (there is no such command, or it may not be
        executed), `NotFoundError` (the container does not run)."""
        ...

    async def attach(self, container_id: str, how: Streamed) -> ExecStream:
        """To the container's first process: what it says from now on. Raises `InvalidError` for an input that it
        does not have, `NotFoundError` (the container does not run)."""
        ...

    async def forward(self, sandbox_id: str, port: int) -> ExecStream:
        """A TCP connection to this port of the pod's loopback. Raises `UnavailableError` (nothing listens)."""
        ...

    async def usage(self) -> Sequence[ContainerUsage]:
        """Of all that run."""
        ...

    async def ensure_image(
        self, image: str, policy: PullPolicy, credentials: Sequence[Credentials], tell: TellsPull = untold
    ) -> ImageState:
        """The image, pulled where the policy wants it and it can be. Raises `ImageMissingError`.

        `tell` hears that a pull has to be waited for, and when it came to a good end. Cancelling the call ends it."""
        ...

    async def images(self) -> Sequence[ImageState]:
        """All that can be taken away again, those of containers that are not ours pinned; none where
        `abilities.images` is false."""
        ...

    async def remove_image(self, image_id: str) -> None:
        """With all its names. Of an unknown one it is nothing."""
        ...

    async def images_place(self) -> ImagesPlace | None:
        """Where they are; None where `abilities.images` is false."""
        ...

    async def status(self) -> RuntimeStatus: ...

    def changes(self) -> AsyncIterator[str]:
        """Pod uids whose containers changed; coalesced. May be silent about a change: callers also poll."""
        ...

    async def close(self) -> None:
        """Let go without stopping anything."""
        ...
