"""The agent's parts, put together from what they stand on. Whoever runs an agent says what that is.

`edgecore.agent` gives the real machine, `skerry.testkit` one that lives in virtual time; what runs on it is the same.
Keeps nothing; each part says what it keeps.
"""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Any, Final, cast

from devices.external import ExternalDriver
from devices.protocols import EXTERNAL
from edgecore.commands.runner import CommandParts, CommandRunner, shown_commands
from edgecore.device_rules.keeper import DeviceRules
from edgecore.device_rules.port import RuleParts
from edgecore.history.file import HistoryFile
from edgecore.history.keeper import HistoryKeeper
from edgecore.link.calls import CloudCalls
from edgecore.link.cloud_time import AgentClock
from edgecore.link.dial import Dialer
from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.link.streams import StreamKinds
from edgecore.local_api.kinds import SERVED
from edgecore.local_api.node_proxy import NodeProxy
from edgecore.local_api.openapi import OpenApi
from edgecore.local_api.paths import Paths
from edgecore.local_api.ports import LocalParts
from edgecore.network.ingress.settings import INGRESS
from edgecore.network.settings import DnsSettings, NetworkSettings
from edgecore.network.trials import trials
from edgecore.pods.asking import Asking
from edgecore.pods.cgroups import PodCgroups
from edgecore.pods.dead_runs import DEAD_RUNS, DeadRuns
from edgecore.pods.env import ApiPlace, NodeFacts
from edgecore.pods.events import event_body, node_event
from edgecore.pods.eviction import EvictionSettings
from edgecore.pods.evictor import Evictor, EvictorParts
from edgecore.pods.image_collection import CollectionSettings
from edgecore.pods.image_collector import ImageCollector
from edgecore.pods.image_volumes import mounted_images
from edgecore.pods.local_acts import ActParts, Hold, LocalActs
from edgecore.pods.local_volumes import LocalVolumes
from edgecore.pods.log_rotation import LogRotation, RotationSettings
from edgecore.pods.logs import LogParts, PodLogs
from edgecore.pods.manager import PodManager
from edgecore.pods.measuring import Measuring, MeasuringParts
from edgecore.pods.memory_volumes import stays_on_disk
from edgecore.pods.node import Machine, NodeIdentity, NodeReporter, allocatable_of, runtime_version
from edgecore.pods.parts import POD_LOGS, PodParts
from edgecore.pods.port import Runtime
from edgecore.pods.restarts import PodRestarts
from edgecore.pods.room import RoomParts
from edgecore.pods.static.directory import StaticPods
from edgecore.pods.static.mirrors import MirrorParts, Mirrors
from edgecore.pods.streams import PodStreams, StreamParts
from edgecore.pods.usage import UsageParts, UsageSource, read_load
from edgecore.pods.volumes import private_pods
from edgecore.push.keeper import Pushes, PushGround
from edgecore.rules.calls import RuleCalls
from edgecore.rules.services import Services
from edgecore.store.memory import floor_of
from edgecore.store.port import META_KNOWN_MS, EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from edgecore.tokens.keeper import TokenKeeper, TokenParts
from edgecore.twins.calls import DeviceCalls
from edgecore.twins.checkup import Beside
from edgecore.twins.configuring import DriverFactory
from edgecore.twins.keeper import Keeper
from edgecore.twins.questions import DeviceQuestions, Discovery
from skerry.frozen import Frozen, field, replace
from skerry.objects.bandwidth import BandwidthPlan
from skerry.objects.commands import CAPABILITY, DeviceMethod, DeviceRefresh, PodRestart
from skerry.objects.device_questions import DEVICES
from skerry.objects.functions import NodeFunction
from skerry.objects.ingresses import CAN_SERVE
from skerry.objects.json import JsonObject
from skerry.objects.logs import LOGS
from skerry.objects.pod_streams import ATTACH, EXEC, FORWARD, NODE_PROXY
from skerry.objects.rule_calls import CALLS
from skerry.objects.rules import LOCAL_RULES, NO_BROKER
from skerry.objects.usage import USAGE
from skerry.ports import Clock, Ids
from skerry.probing.asking import PROBES
from skerry.sync.dial import Way
from skerry.sync.edge import EdgeState
from skerry.sync.ports import SyncSettings

if TYPE_CHECKING:
    from edgecore.bus.announcer import Announcer
    from edgecore.bus.port import Open
    from edgecore.bus.shell import EventBus
    from edgecore.dmi.mappers import Mappers, Sockets
    from edgecore.push.places import Places
    from edgecore.rules.service_bus import BusSettings, ServiceBus
    from edgecore.rules.shell import GatewayRules

AGENT_VERSION: Final = "v1.36.0+skerry-0.1.0"
"""The Kubernetes version whose kubelet's API behaviour is followed, and ours."""


AFTER_PODS_S_MAX: Final = 5.0
"""The longest that anything waits for pods to begin."""
STATIC_PODS: Final = "static-pods.json"
"""Below the data: what the files of static pods said last."""
LOCAL_API: Final = "local-api"
"""Below the data: the certificate of the local API."""


class _Limits(Frozen):
    """What keeps pods of the cloud from running, though it wants them."""

    hold: Hold
    """Of somebody at the gateway."""
    refusal: Callable[[JsonObject], str]
    """Of the gateway itself, that is short of something."""


class _Talking(Frozen):
    """What is said on streams, to the cloud and to whoever asks here."""

    logs: PodLogs
    into_pods: PodStreams
    node_proxy: NodeProxy


def _nothing() -> None:
    """Nobody wants to know."""


class Ground(Frozen):
    """What an agent stands on."""

    node: str
    labels: Mapping[str, str]
    """Given at the join: region, zone, and whatever else."""
    clouds: tuple[str, ...]
    """Addresses of the cloud's hubs, tried in turn."""
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
    dialer: Dialer
    dialers: Mapping[Way, Dialer] = field(default_factory=dict[Way, Dialer])
    """For ways to the cloud other than what `dialer` does."""
    ways: tuple[Way, ...] = ("websocket",)
    """Which of them may be used, in order of preference."""
    doubted: Callable[[], None] = _nothing
    """Told when the cloud may not take this gateway's certificate any more."""
    drivers: Mapping[str, DriverFactory]
    clock: Clock
    """The machine's own, right or wrong: what containers and their logs are dated by."""
    time: AgentClock
    """The same, corrected by what is known of the cloud's."""
    ids: Ids
    sync: SyncSettings = field(default_factory=SyncSettings)
    collection: CollectionSettings = field(default_factory=CollectionSettings)
    """When images go that no container uses."""
    reserved: Mapping[str, str] = field(default_factory=dict[str, str])
    """What of the gateway pods may not use, by resource."""
    cgroups: PodCgroups | None = None
    """Makes the cgroups of pods; None: nobody does."""
    off_disk: Callable[[Path], bool] = stays_on_disk
    """Puts what is secret of pods into memory."""
    sysctls: tuple[str, ...] = ()
    """Which pods may set beside the safe ones."""
    rotation: RotationSettings = field(default_factory=RotationSettings)
    dead: DeadRuns = DEAD_RUNS
    """When logs of containers are rotated, and how many are kept."""
    eviction: EvictionSettings = field(default_factory=EvictionSettings)
    """When pods go because the gateway runs short of something; by default never."""
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
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """How names and addresses of services are served."""
    local_api: tuple[tuple[str, int], ...] = ()
    """Where the local API is served over TCP."""
    authority: Callable[[str], str] = lambda _host: ""
    """What its clients at a host are to trust beside the cloud's authorities."""
    static_pods: Path | None = None
    """The directory of files that say what runs here whatever the cloud says; None: there is none."""
    home: tuple[str, Open] | None = None
    """Home Assistant's prefix of topics, and what opens the connection to its broker; None: it is told nothing."""


class Agent(Frozen):
    """The parts that run: pods, twins, commands and node first, the link last."""

    clock: Clock
    pods: PodManager
    static_pods: StaticPods
    mirrors: Mirrors
    images: ImageCollector
    logs: LogRotation
    evictor: Evictor
    node: NodeReporter
    volumes: LocalVolumes
    tokens: TokenKeeper
    twins: Keeper
    commands: CommandRunner
    link: EdgeLink
    own_broker: Callable[[], Coroutine[Any, Any, None]] | None
    """See `Ground`."""
    bus: EventBus | None
    """None without a broker."""
    rules: GatewayRules | None
    """None without a broker."""
    device_rules: DeviceRules
    service_bus: ServiceBus | None
    """None where it may not listen."""
    network: Callable[[], Coroutine[Any, Any, None]] | None
    """Serves names and addresses of services; None where nobody asks."""
    announcer: Announcer | None
    """None where Home Assistant is told nothing."""
    mappers: Mappers | None
    """None without a socket for KubeEdge's mappers."""
    history: HistoryKeeper | None
    """None where the gateway keeps none of its own."""
    pusher: Pushes | None
    """None where nothing is pushed."""
    local: LocalParts
    """What the local API answers from."""
    cloud: CloudCalls
    """What asks the cloud's API."""

    def workers(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What brings up what was known, by name: begun before the link is."""
        return {
            "pods": self.pods.run(),
            "static pods": self.static_pods.run(),
            "mirror pods": self.mirrors.run(),
            "tokens": self.tokens.run(),
            "images": self._then(self.images.run),
            "logs": self._then(self.logs.run),
            "eviction": self._then(self.evictor.run),
            "twins": self.twins.run(),
            "commands": self.commands.run(),
            "device rules": self.device_rules.run(),
            "node": self.node.run(),
            "volumes": self._then(self.volumes.run),
            **({"network": self.network()} if self.network else {}),
            **({"broker": self.own_broker()} if self.own_broker else {}),
            **({"bus": self.bus.run()} if self.bus else {}),
            **({"rules": self.rules.run()} if self.rules else {}),
            **({"service bus": self.service_bus.run()} if self.service_bus else {}),
            **({"mappers": self.mappers.run()} if self.mappers else {}),
            **({"history": self._then(self.history.run)} if self.history else {}),
            **({"pushes": self.pusher.run()} if self.pusher else {}),
            **({"homeassistant": self.announcer.run()} if self.announcer else {}),
        }

    async def _then(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What looks after the gateway itself, when the pods that were known are on their way: after a power cycle
        the runtime and the processor have enough to do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(AFTER_PODS_S_MAX):
                await self.pods.begun.wait()
        await run()


def agent_clock(clock: Clock, store: AsyncEdgeStore) -> AgentClock:
    """The machine's clock with what its store kept of the cloud's."""
    boots = store.boots()
    return AgentClock(clock, boots, floor_of(boots, store.meta(META_KNOWN_MS)))


def compose(ground: Ground) -> Agent:
    """Nothing runs yet. Raises `UnavailableError` where the directory can't be written."""
    private_pods(ground.directory)
    store, clock, time, machine = ground.store, ground.clock, ground.time, ground.machine()
    files = StaticPods(ground.static_pods, ground.directory / STATIC_PODS, node=ground.node, clock=time)
    talking, in_step = _talking(ground, files), partial(_is_in_step, lambda: link)  # it is made below, and runs last
    external, pusher = ExternalDriver(clock=time), _pusher(ground)
    twins = _keeper(ground, external, in_step, pusher)
    questions = _questions(ground, twins, pusher)
    rules, services = _rules(ground), Services()
    device_rules = _device_rules(ground, twins, services, rules)
    streams = _streams(ground, talking, questions, RuleCalls(ground.node, rules, services))
    link = _link(ground, machine.boot_id, streams)
    cloud, hold = CloudCalls(link), Hold(store, time)
    tokens = _tokens(ground, cloud, link, in_step, lambda uid: pods.refresh(uid))  # noqa: PLW0108 - made below
    limits = _Limits(hold=hold, refusal=lambda pod: evictor.refusal(pod))  # noqa: PLW0108 - made below
    pods = _pods(ground, _facts(ground, machine), in_step, tokens, files, limits)
    mirrors = _mirrors(ground, files, cloud, link, in_step)
    commands, history = _commands(ground, machine.boot_id, twins, pods, link), _history(ground)
    local = LocalParts(
        history=history,
        store=store,
        twins=twins,
        link=link,
        logs=talking.logs,
        clock=time,
        node=ground.node,
        paths=_paths(ground, cloud),
        pods=pods,
        questions=questions,
        commands=lambda: shown_commands(store),
        pushes=pusher.sights if pusher is not None else tuple,
        rule_status=device_rules.status,
        static=files,
        figures=_measuring(ground),
        unmirrored=mirrors.refusals,
        acts=_acts(ground, pods, hold),
        into_pods=talking.into_pods,
        node_proxy=talking.node_proxy,
    )
    images, network = _images(ground, pods), _network(ground)
    node = _node(ground, pods, lambda: evictor.conditions, hold, network.functions)
    evictor = _evictor(ground, pods, images, node)
    return Agent(
        clock=clock,
        pods=pods,
        static_pods=files,
        mirrors=mirrors,
        logs=LogRotation(ground.runtime, ground.directory / POD_LOGS, clock, ground.rotation),
        images=images,
        evictor=evictor,
        node=node,
        volumes=LocalVolumes(store, node=ground.node, directory=ground.directory),
        tokens=tokens,
        twins=twins,
        commands=commands,
        link=link,
        own_broker=ground.own_broker,
        bus=_bus(ground, twins, external),
        rules=rules,
        device_rules=device_rules,
        service_bus=_service_bus(ground, in_step),
        mappers=_mappers(ground, external),
        history=history,
        pusher=pusher,
        network=network.run,
        announcer=_announcer(ground, twins),
        local=local,
        cloud=cloud,
    )


def _images(ground: Ground, pods: PodManager) -> ImageCollector:
    return ImageCollector(
        ground.runtime,
        ground.clock,
        ground.collection,
        mounted=lambda: mounted_images(pod for pod, _ in pods.active()),
    )


def _paths(ground: Ground, cloud: CloudCalls) -> Paths:
    return Paths(OpenApi(ground.directory / LOCAL_API / "openapi", cloud, SERVED), version=AGENT_VERSION)


def _measuring(ground: Ground) -> Measuring:
    return Measuring(
        MeasuringParts(
            store=ground.store,
            runtime=ground.runtime,
            clock=ground.time,
            machine=ground.machine,
            node=ground.node,
            directory=ground.directory,
        )
    )


def _is_in_step(link: Callable[[], EdgeLink]) -> bool:
    return link().status.state == EdgeState.IN_STEP.value


def _logs(ground: Ground, files: StaticPods) -> PodLogs:
    return PodLogs(
        LogParts(
            store=ground.store,
            runtime=ground.runtime,
            clock=ground.clock,
            directory=ground.directory,
            files=files,
        )
    )


def _talking(ground: Ground, files: StaticPods) -> _Talking:
    logs = _logs(ground, files)
    into_pods = PodStreams(StreamParts(store=ground.store, runtime=ground.runtime, files=files))
    return _Talking(logs=logs, into_pods=into_pods, node_proxy=NodeProxy(logs))


def _facts(ground: Ground, machine: Machine) -> NodeFacts:
    dns = ground.network.dns or DnsSettings(host="127.0.0.1")
    return NodeFacts(
        name=ground.node,
        address=machine.addresses[0],
        allocatable=allocatable_of(machine, ground.reserved, ground.eviction),
        capacity_bytes=machine.memory_bytes,
        cluster_dns=dns.for_pods,
        cluster_domain=dns.domain,
    )


def _identity(ground: Ground) -> NodeIdentity:
    return NodeIdentity(
        name=ground.node,
        labels=ground.labels,
        agent_version=AGENT_VERSION,
        runtime_version=runtime_version(ground.runtime),
        reserved=ground.reserved,
        eviction=ground.eviction,
    )


def _questions(ground: Ground, twins: Keeper, pusher: Pushes | None) -> DeviceQuestions:
    time = ground.time
    beside = Beside(
        pushes=pusher.sights if pusher is not None else tuple,
        trusted=lambda: time.trusted,
        room=partial(_room, ground.directory),
        credentials=ground.credentials,
    )
    return DeviceQuestions(
        ground.store, twins, node=ground.node, clock=time, discovery=ground.discovery, beside=beside
    )


def _room(directory: Path) -> tuple[int, int]:
    usage = disk_usage(directory)
    return usage.free, usage.total


def _node(
    ground: Ground,
    pods: PodManager,
    pressures: Callable[[], Set[str]],
    hold: Hold,
    functions: Callable[[], Sequence[NodeFunction]],
) -> NodeReporter:
    return NodeReporter(
        ground.store,
        ground.time,
        partial(_identity, ground),
        ground.machine,
        pods.moved,
        ground.runtime,
        pressures,
        hold,
        functions,
    )


def _evictor(ground: Ground, pods: PodManager, images: ImageCollector, node: NodeReporter) -> Evictor:
    async def tell(reason: str, message: str) -> None:
        event = node_event(ground.node, reason, message, suffix=ground.ids.token_hex(8), now_ms=ground.time.wall_ms())
        kind, body = event_body(event)
        await ground.store.apply(EdgeBatch(reports=(NewReport(report_class="event", kind=kind, key="", body=body),)))

    return Evictor(
        EvictorParts(
            settings=ground.eviction,
            clock=ground.clock,
            room=RoomParts(runtime=ground.runtime, machine=ground.machine, directory=ground.directory),
            pods=pods,
            make_room=images.make_room,
            changed=node.poke,
            tell=tell,
        )
    )


def _pods(
    ground: Ground,
    facts: NodeFacts,
    in_step: Callable[[], bool],
    tokens: TokenKeeper,
    files: StaticPods,
    limits: _Limits,
) -> PodManager:
    return PodManager(
        PodParts(
            store=ground.store,
            runtime=ground.runtime,
            clock=ground.clock,
            ids=ground.ids,
            node=facts,
            directory=ground.directory,
            root=ground.root,
            tokens=tokens.token,
            files=files,
            hold=limits.hold,
            asking=ground.asking,
            cgroups=ground.cgroups,
            apis=tuple(ApiPlace(host=host, port=port) for host, port in ground.local_api),
            authority=ground.authority,
            off_disk=ground.off_disk,
            sysctls=ground.sysctls,
            refusal=limits.refusal,
            dead=ground.dead,
        ),
        in_step,
    )


def _tokens(
    ground: Ground, cloud: CloudCalls, link: EdgeLink, in_step: Callable[[], bool], changed: Callable[[str], None]
) -> TokenKeeper:
    made = TokenKeeper(
        TokenParts(
            store=ground.store,
            calls=cloud,
            clock=ground.time,
            ids=ground.ids,
            directory=ground.directory,
            connected=lambda: link.connected,
            in_step=in_step,
            changed=changed,
        )
    )
    link.on_welcome(made.poke)
    return made


def _acts(ground: Ground, pods: PodManager, hold: Hold) -> LocalActs:
    return LocalActs(
        ActParts(
            store=ground.store,
            runtime=ground.runtime,
            pods=pods,
            hold=hold,
            clock=ground.time,
            ids=ground.ids,
            node=ground.node,
        )
    )


def _mirrors(
    ground: Ground, files: StaticPods, cloud: CloudCalls, link: EdgeLink, in_step: Callable[[], bool]
) -> Mirrors:
    made = Mirrors(
        MirrorParts(
            files=files,
            store=ground.store,
            calls=cloud,
            node=ground.node,
            clock=ground.time,
            ids=ground.ids,
            in_step=in_step,
            connected=lambda: link.connected,
        )
    )
    link.on_welcome(made.poke)
    return made


def _history(ground: Ground) -> HistoryKeeper | None:
    if ground.history is None:
        return None
    time = ground.time
    return HistoryKeeper(ground.store, ground.history, node=ground.node, clock=time, trusted=lambda: time.trusted)


def _pusher(ground: Ground) -> Pushes | None:
    if ground.places is None:
        return None
    return Pushes(
        PushGround(
            node=ground.node,
            store=ground.store,
            places=ground.places,
            clock=ground.time,
            ids=ground.ids,
            drivers=ground.drivers,
        )
    )


def _mappers(ground: Ground, external: ExternalDriver) -> Mappers | None:
    if ground.mappers is None:
        return None
    from edgecore.dmi.mappers import Mappers, MappersParts  # here and below: only who has it pays

    return Mappers(
        MappersParts(
            store=ground.store,
            external=external,
            clock=ground.time,
            sockets=ground.mappers,
            drivers=ground.drivers,
        )
    )


def _bus(ground: Ground, twins: Keeper, external: ExternalDriver) -> EventBus | None:
    if ground.broker is None:
        return None
    from edgecore.bus.shell import BusParts, EventBus

    return EventBus(
        BusParts(
            node=ground.node,
            store=ground.store,
            twins=twins,
            external=external,
            open=ground.broker,
            clock=ground.time,
            ids=ground.ids,
        )
    )


def _rules(ground: Ground) -> GatewayRules | None:
    if ground.rules is None:
        return None
    from edgecore.bus.port import begin
    from edgecore.rules.shell import GatewayRules, RulesParts

    return GatewayRules(RulesParts(node=ground.node, store=ground.store, open=ground.rules, begin=begin))


def _device_rules(ground: Ground, twins: Keeper, services: Services, rules: GatewayRules | None) -> DeviceRules:
    parts = RuleParts(
        node=ground.node,
        store=ground.store,
        twins=twins,
        clock=ground.time,
        ask=services.ask,
        publish=None if rules is None else rules.publish,
    )
    return DeviceRules(parts)


def _service_bus(ground: Ground, in_step: Callable[[], bool]) -> ServiceBus | None:
    if ground.service_bus is None:
        return None
    from edgecore.rules.service_bus import ServiceBus, ServiceBusParts

    parts = ServiceBusParts(store=ground.store, ids=ground.ids, connected=in_step, node=ground.node)
    return ServiceBus(parts, ground.service_bus)


class _Serving(Frozen):
    """What the gateway does for its site."""

    run: Callable[[], Coroutine[Any, Any, None]] | None
    """None for nothing."""
    functions: Callable[[], Sequence[NodeFunction]] = tuple


def _network(ground: Ground) -> _Serving:
    served = ground.directory / INGRESS
    serving = _Serving(run=None) if ground.network == NetworkSettings() else _served(ground)
    if ground.network.ingress is not None or not served.is_dir():
        return serving
    from edgecore.network.ingress.leaving import leave  # the agent before this one served Ingresses

    then = () if serving.run is None else (serving.run,)
    return replace(serving, run=partial(leave, served, ground.store, *then))


def _served(ground: Ground) -> _Serving:
    from edgecore.network.keeper import Network, NetworkParts  # only who has it pays
    from edgecore.network.upstream import HostResolver

    parts = NetworkParts(
        node=ground.node,
        store=ground.store,
        clock=ground.time,
        host_resolver=HostResolver(),
        directory=ground.directory,
        addresses=lambda: ground.machine().addresses,
    )
    network = Network(parts, ground.network)
    return _Serving(run=network.run, functions=network.functions)


def _announcer(ground: Ground, twins: Keeper) -> Announcer | None:
    if ground.home is None:
        return None
    from edgecore.bus.announcer import Announcer, AnnouncerParts

    prefix, connect = ground.home
    return Announcer(
        AnnouncerParts(
            prefix=prefix,
            node=ground.node,
            version=AGENT_VERSION,
            store=ground.store,
            twins=twins,
            open=connect,
        )
    )


def _keeper(ground: Ground, external: ExternalDriver, in_step: Callable[[], bool], pusher: Pushes | None) -> Keeper:
    # Not one dictionary of both: to list the drivers that packages add costs memory, and often none is asked for.
    own = cast("dict[str, DriverFactory]", ground.drivers)
    drivers = ChainMap[str, DriverFactory]({EXTERNAL: lambda: external}, own)
    return Keeper(
        ground.store,
        drivers,
        clock=ground.time,
        ids=ground.ids,
        clock_is_synced=lambda: ground.time.trusted,
        in_step=in_step,
        pushes=pusher.note_of if pusher is not None else None,
    )


def _commands(ground: Ground, boot_id: str, twins: Keeper, pods: PodManager, link: EdgeLink) -> CommandRunner:
    calls = DeviceCalls(ground.store, twins)
    made = CommandRunner(
        CommandParts(
            store=ground.store,
            executors={
                DeviceMethod: calls,
                DeviceRefresh: calls,
                PodRestart: PodRestarts(ground.runtime, pods),
            },
            clock=ground.time,
            boot_id=boot_id,
            cloud_ms=link.cloud_ms,
        )
    )
    link.on_welcome(made.poke)
    return made


def _streams(ground: Ground, talking: _Talking, questions: DeviceQuestions, calls: RuleCalls) -> StreamKinds:
    """What the cloud may open streams for."""
    usage = UsageParts(runtime=ground.runtime, clock=ground.time, machine=read_load)
    return StreamKinds(
        sources={LOGS: talking.logs, DEVICES: questions, USAGE: UsageSource(usage), PROBES: trials},
        body_sources={CALLS: calls},
        talkers={
            EXEC: talking.into_pods.command,
            ATTACH: talking.into_pods.command,
            FORWARD: talking.into_pods.forward,
            NODE_PROXY: talking.node_proxy,
        },
    )


def _link(ground: Ground, boot_id: str, streams: StreamKinds) -> EdgeLink:
    lacks = () if ground.rules else (NO_BROKER,)
    serves = (CAN_SERVE,) if ground.network.ingress else ()
    return EdgeLink(
        LinkSettings(
            node=ground.node,
            agent_version=AGENT_VERSION,
            boot_id=boot_id,
            addresses=ground.clouds,
            ways=ground.ways,
            sync=ground.sync,
            bandwidth=ground.bandwidth,
        ),
        LinkParts(
            store=ground.store,
            dialer=ground.dialer,
            dialers=ground.dialers,
            clock=ground.time,
            ids=ground.ids,
            streams=streams,
            capabilities=(CAPABILITY, LOCAL_RULES, *lacks, *serves),
            doubted=ground.doubted,
            heard=ground.time.hear,
            knows_time=lambda: ground.time.trusted,
        ),
    )
