"""What a pod's worker asks of a container runtime.

Forms: `runtimes/process` (supervised process groups; nothing to install), `runtimes/fake` (tests and
simulation); `cri` will be another. All pass `tests/contracts/runtime_contract.py`. A runtime keeps what it
started across a restart of the agent: `list` finds it again by the labels it was given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

from skerry.errors import InvalidError
from skerry.frozen import Frozen


class Mount(Frozen):
    host_path: Path
    container_path: str
    read_only: bool


class ContainerSpec(Frozen):
    """One container to run, everything resolved: no ConfigMap, Secret or field reference is left."""

    pod_uid: str
    pod_name: str
    pod_namespace: str
    name: str
    attempt: int
    """Restart count: 0 for the first run."""
    image: str
    command: tuple[str, ...]
    """Empty: the image's entry point."""
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    working_dir: str
    mounts: tuple[Mount, ...]
    log_dir: Path
    """The runtime writes `{name}/{attempt}.log` here in CRI format (`time stream P/F text`)."""
    run_as_user: int | None = None
    run_as_group: int | None = None


class ContainerState(Frozen):
    """One container as the runtime sees it. Times are wall clock milliseconds, 0 for not yet."""

    id: str
    pod_uid: str
    name: str
    attempt: int
    image: str
    image_id: str
    phase: Literal["created", "running", "exited"]
    started_ms: int = 0
    finished_ms: int = 0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    """As a kubelet says it: Completed, Error, OOMKilled, ContainerCannotRun ..."""
    message: str = ""


class ImageMissingError(InvalidError):
    """The image is not on this gateway and nothing can fetch it; the text says where it would have to be."""


class Runtime(Protocol):
    """Errors: `ImageMissingError`, `InvalidError` for another spec that can never run here, `UnavailableError` when
    the runtime does not answer."""

    @property
    def name(self) -> str:
        """`process`, `containerd` ...; goes into nodeInfo.containerRuntimeVersion."""
        ...

    @property
    def version(self) -> str: ...

    async def list(self, pod_uid: str = "") -> Sequence[ContainerState]:
        """Every container this runtime keeps for Skerry (of one pod, when named), exited ones included until
        removed; by pod, name and attempt."""
        ...

    async def start(self, spec: ContainerSpec) -> ContainerState:
        """Create and start; returns when it runs (or could not: `exited` with reason ContainerCannotRun).

        A container of this pod, name and attempt that is there already is not started again: its state is given.
        """
        ...

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        """SIGTERM to the whole group, SIGKILL after `grace_s`; returns when nothing of it is left.

        A second call with less grace shortens the first. Of an exited or unknown container it is nothing.
        """
        ...

    async def remove(self, container_id: str) -> None:
        """Forget an exited container (or an unknown one); its log stays until the pod goes."""
        ...

    def changes(self) -> AsyncIterator[str]:
        """Pod uids whose containers changed; coalesced. May be silent about a change: callers also poll."""
        ...

    async def close(self) -> None:
        """Let go without stopping anything."""
        ...
