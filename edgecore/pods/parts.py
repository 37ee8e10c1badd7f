"""What the workers of pods are made of, and where the logs of their pods are. Keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edgecore.pods.asking import Asking
from edgecore.pods.cgroups import PodCgroups
from edgecore.pods.dead_runs import DEAD_RUNS, DeadRuns
from edgecore.pods.env import ApiPlace, NodeFacts, Tokens, no_tokens
from edgecore.pods.host_ports import HostPorts
from edgecore.pods.leases import AlwaysLent, Lent
from edgecore.pods.memory_volumes import stays_on_disk
from edgecore.pods.port import Runtime
from edgecore.pods.sources import Files
from edgecore.store.shell import AsyncEdgeStore
from skerry.frozen import Frozen, field
from skerry.objects.json import JsonObject
from skerry.objects.local_changes import UpgradeHold
from skerry.ports import Clock, Ids

POD_LOGS: Final = "logs"
"""Directory of all pods' logs, in that of the agent."""
_FILE_NAME_MAX: Final = 255
"""Of Linux' file systems. A pod's name may have 253 letters."""


def _welcome(_: JsonObject) -> str:
    """Whoever comes may begin."""
    return ""


def _nobody(_: str) -> Mapping[str, int]:
    """Of a pod that is alone."""
    return {}


class PodParts(Frozen):
    """What workers are made of."""

    store: AsyncEdgeStore
    runtime: Runtime
    clock: Clock
    ids: Ids
    node: NodeFacts
    directory: Path
    """Volumes are below `pods/UID`, logs below `logs`."""
    root: Path = Path("/")
    """Where the paths of hostPath volumes begin."""
    tokens: Tokens = no_tokens
    """Of ServiceAccounts, for projected volumes."""
    asking: Asking | None = None
    """For probes and hooks; None: in the containers and over the network."""
    cgroups: PodCgroups | None = None
    """Makes the pods' cgroups; None: nobody does, and the runtime's own default is where containers are."""
    apis: tuple[ApiPlace, ...] = ()
    """Where this gateway's own API is; (): nowhere that pods reach."""
    authority: Callable[[str], str] = lambda _host: ""
    """What clients of it at a host are to trust beside the cloud's authorities, in PEM; "" for nothing."""
    others: Callable[[str], Mapping[str, int]] = _nobody
    """What all pods but the one of this uid hold of CPU and memory (`resizing.Room.used`)."""
    ports: HostPorts = field(default_factory=HostPorts)
    """The gateway's, and who has them."""
    files: Files | None = None
    """Pods that files on the gateway want; None: there are none."""
    hold: Callable[[], UpgradeHold | None] = lambda: None
    """What somebody at the gateway holds back of the cloud's wishes."""
    off_disk: Callable[[Path], bool] = stays_on_disk
    """Puts what is secret into memory (`memory_volumes.keep_off_disk`)."""
    sysctls: tuple[str, ...] = ()
    """Which pods may set beside the safe ones (`sysctls.sysctl_refusal`)."""
    dead: DeadRuns = DEAD_RUNS
    """How many runs that are over are kept."""
    lent: Lent = field(default_factory=AlwaysLent)
    """For how much longer those may run that must never run twice in a federation."""
    refusal: Callable[[JsonObject], str] = _welcome
    """Why a pod that is new here may not begin now; "" where it may."""


def log_directory(directory: Path, *, namespace: str, name: str, uid: str) -> Path:
    """Where a pod's logs are, as a kubelet names it; but of a name that is too long for a file's, as much as there
    is room for. The uid alone tells pods apart."""
    room = _FILE_NAME_MAX - len(f"{namespace}__{uid}")
    return directory / POD_LOGS / f"{namespace}_{name[:room]}_{uid}"
