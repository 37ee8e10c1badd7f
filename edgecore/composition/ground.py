"""What an agent stands on: its machine's store, runtime and clocks, and what of the world it may use.

In two steps, as it begins: what pods need to run again, and then everything else. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgecore.network.settings import NetworkSettings
from edgecore.pods.dead_runs import DEAD_RUNS, DeadRuns
from edgecore.pods.eviction import EvictionSettings
from edgecore.pods.image_collection import CollectionSettings
from edgecore.pods.log_rotation import RotationSettings
from edgecore.pods.memory_volumes import stays_on_disk
from skerry.frozen import Frozen, field
from skerry.sync.ports import SyncSettings

if TYPE_CHECKING:  # who makes one has them
    from edgecore.bus.port import Open
    from edgecore.dmi.mappers import Sockets
    from edgecore.history.file import HistoryFile
    from edgecore.link.cloud_time import AgentClock
    from edgecore.link.dial import Dialer
    from edgecore.network.footing import Footing
    from edgecore.pods.asking import Asking
    from edgecore.pods.cgroups import PodCgroups
    from edgecore.pods.node import Machine
    from edgecore.pods.port import Runtime
    from edgecore.push.places import Places
    from edgecore.rules.service_bus import BusSettings
    from edgecore.store.shell import AsyncEdgeStore
    from edgecore.twins.configuring import DriverFactory
    from edgecore.twins.questions import Discovery
    from skerry.objects.bandwidth import BandwidthPlan
    from skerry.ports import Clock, Ids
    from skerry.sync.dial import Way

AGENT_VERSION: Final = "v1.36.0+skerry-0.1.0"
"""The Kubernetes version whose kubelet's API behaviour is followed, and ours."""
LOCAL_API: Final = "local-api"
"""Below the data: the certificate of the local API."""


def _nothing() -> None:
    """Nobody wants to know."""


class PodGround(Frozen):
    """What pods stand on."""

    node: str
    directory: Path
    """Volumes and logs are below it."""
    root: Path = Path("/")
    """Where the paths of hostPath volumes begin."""
    machine: Callable[[], Machine]
    """The gateway as it is when asked."""
    store: AsyncEdgeStore
    runtime: Runtime
    asking: Asking | None = None
    """For probes and hooks of pods; None: in their containers and over the network."""
    clock: Clock
    """The machine's own, right or wrong: what containers and their logs are dated by."""
    time: AgentClock
    """The same, corrected by what is known of the cloud's."""
    ids: Ids
    reserved: Mapping[str, str] = field(default_factory=dict[str, str])
    """What of the gateway pods may not use, by resource."""
    cgroups: PodCgroups | None = None
    """Makes the cgroups of pods; None: nobody does."""
    off_disk: Callable[[Path], bool] = stays_on_disk
    """Puts what is secret of pods into memory."""
    sysctls: tuple[str, ...] = ()
    """Which pods may set beside the safe ones."""
    dead: DeadRuns = DEAD_RUNS
    """How many runs that are over are kept."""
    eviction: EvictionSettings = field(default_factory=EvictionSettings)
    """When pods go because the gateway runs short of something; by default never."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """How names and addresses of services are served."""
    footing: Footing | None = None
    """What of the network is there before pods begin; None where they need nothing."""
    local_api: tuple[tuple[str, int], ...] = ()
    """Where the local API is served over TCP."""
    authority: Callable[[str], str] = lambda _host: ""
    """What its clients at a host are to trust beside the cloud's authorities."""
    static_pods: Path | None = None
    """The directory of files that say what runs here whatever the cloud says; None: there is none."""


class Ground(PodGround):
    """What the whole agent does."""

    labels: Mapping[str, str]
    """Given at the join: region, zone, and whatever else."""
    clouds: tuple[str, ...]
    """Addresses of the cloud's hubs, tried in turn."""
    dialer: Dialer
    dialers: Mapping[Way, Dialer] = field(default_factory=dict["Way", "Dialer"])
    """For ways to the cloud other than what `dialer` does."""
    ways: tuple[Way, ...] = ("websocket",)
    """Which of them may be used, in order of preference."""
    doubted: Callable[[], None] = _nothing
    """Told when the cloud may not take this gateway's certificate any more."""
    drivers: Mapping[str, DriverFactory]
    sync: SyncSettings = field(default_factory=SyncSettings)
    collection: CollectionSettings = field(default_factory=CollectionSettings)
    """When images go that no container uses."""
    rotation: RotationSettings = field(default_factory=RotationSettings)
    """When logs of containers are rotated, and how many are kept."""
    bandwidth: BandwidthPlan | None = None
    """What the gateway itself lets its link carry."""
    mappers: Sockets | None = None
    """How KubeEdge's mappers are spoken to; None: none are."""
    broker: Open | None = None
    """Opens the connection to the MQTT broker over which KubeEdge's apps and mappers talk; None: there is none."""
    rules: Open | None = None
    """The same for the rules; None: there is no broker whose messages they could carry."""
    service_bus: BusSettings | None = None
    """Where applications ask those in the cloud; None: nowhere."""
    history: HistoryFile | None = None
    """What the gateway itself remembers of its devices; None: nothing."""
    discovery: Discovery | None = None
    """Listens on the broker for what is no Device yet; None: there is no broker."""
    places: Callable[[], Places] | None = None
    """Makes that where readings are pushed, as Devices' `pushMethod`s ask; None: nowhere."""
    credentials: Path | None = None
    """Where the files are that Devices may name; None: anywhere."""
    own_broker: Callable[[], Coroutine[Any, Any, None]] | None = None
    """Runs an MQTT broker in the agent; None: there is another, or none."""
    home: tuple[str, Open] | None = None
    """Home Assistant's prefix of topics, and what opens the connection to its broker; None: it is told nothing."""
