"""The running agent: the only place where its real parts meet.

In one task group: the pods, the node's status, the devices, the local API, and last the link. What was known before
is brought up before anything is dialled; a part that crashes ends the process with a line that says why, and whoever
supervises it starts it again: pods do not notice. All data are in the parts' own places below the data directory.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgecore.composition import AFTER_PODS_S_MAX, AGENT_VERSION, LOCAL_API, Agent, Ground, agent_clock, compose
from edgecore.config import (
    HOMEASSISTANT,
    MIB,
    MQTT,
    USERS,
    CleanupSettings,
    EdgeSettings,
    ImageSettings,
    agent_password_file,
    broker_of,
    cgroup_root_of,
    cluster_dns_of,
    dmi_socket_of,
    embedded_of,
    homeassistant_prefix_of,
    ingress_of,
    labels_of,
    local_api_of,
    node_ip_of,
    pod_network_of,
    reserved_of,
    service_bus_port_of,
    static_pods_of,
)
from edgecore.history.file import HistoryFile
from edgecore.link.bandwidth import own_plan
from edgecore.link.cloud_time import AgentClock
from edgecore.link.dial import HUB_PORT, Dialer, quic_dialer, ways_of, websocket_dialer
from edgecore.link.membership import Membership, load_membership
from edgecore.link.names import CloudNames
from edgecore.link.renewal import CertificateKeeper
from edgecore.link.session import META_CUT, EdgeLink
from edgecore.local_api.access import Access
from edgecore.local_api.guard import Guard
from edgecore.local_api.issuing import Issuing, IssuingParts
from edgecore.local_api.keeping import KeptWrites
from edgecore.local_api.places import Door, Place, doors_at
from edgecore.local_api.secure import SecureApi
from edgecore.local_api.served import ServedCertificates
from edgecore.local_api.server import LocalApi
from edgecore.network.settings import DnsSettings, NetworkSettings, PodNetworkSettings
from edgecore.pods.cgroup_plan import Driver
from edgecore.pods.cgroup_tree import CgroupTree
from edgecore.pods.cgroups import CgroupSettings, PodCgroups
from edgecore.pods.events import event_body, node_event
from edgecore.pods.local_acts import META_HOLD
from edgecore.pods.memory_volumes import keep_off_disk, stays_on_disk
from edgecore.pods.node import Machine, allocatable_of, read_machine
from edgecore.pods.own_address import or_known
from edgecore.pods.port import Runtime
from edgecore.pods.pull_rights import PullRights
from edgecore.pods.records import is_decision
from edgecore.pods.runtimes.choice import (
    PROCESS,
    Choice,
    Choosing,
    before,
    choose,
    clear_or_say,
    keep,
    keep_keeper,
    keeper_of,
)
from edgecore.store.damage import META_DAMAGE, DamageNote
from edgecore.store.guard import StoreGuard
from edgecore.store.held_copy import FILE as COPY_FILE
from edgecore.store.held_copy import Beside, HeldCopy, restore
from edgecore.store.port import META_ADDRESS, EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from edgecore.store.sqlite import OpenedStore, StoreSettings, open_store
from edgecore.twins.configuring import DriverFactory
from edgecore.twins.drivers import driver_factories
from edgecore.twins.notes import StoredNotes
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.enrolment import split_address
from skerry.objects.quantity import parse_quantity
from skerry.ports import Clock, Ids
from skerry.sdnotify import notify
from skerry.sync.dial import Way
from skerry.transport.identity import Identity
from skerry.transport.proxy import Proxy, proxy_of

if TYPE_CHECKING:
    from devices.mqtt.config import Broker
    from devices.mqtt.port import Connection, Hooks
    from edgecore.bus.discovery import BrokerDiscovery
    from edgecore.bus.port import Open
    from edgecore.dmi.mappers import Sockets
    from edgecore.pods.runtimes.cri.runtime import CriRuntime
    from edgecore.pods.runtimes.process import ProcessRuntime
    from edgecore.push.places import Places
    from edgecore.rules.service_bus import BusSettings

LOG: Final = logging.getLogger("edgecore")
COPIED: Final = Beside(names=(META_HOLD, META_CUT, META_ADDRESS), is_decision=is_decision)
"""What is copied beside objects: decisions, and by which address pods know the gateway."""
STORE_DAMAGED: Final = "EdgeStoreDamaged"
"""Reason of the Event that tells of it."""


class _Api(Frozen):
    """Where the local API is served over TCP, and by what it is known there."""

    doors: Sequence[Door]
    served: ServedCertificates


async def serve(settings: EdgeSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises what a part failed with."""
    membership = load_membership(settings.data)
    bandwidth = own_plan(settings.bandwidth)
    broker = _broker(settings, membership.node)
    clock, ids = SystemClock(), SystemIds()
    host, _ = split_address(membership.clouds[0], default_port=HUB_PORT)
    proxy = proxy_of(settings.proxy, os.environ, host=host)
    guard = StoreGuard()
    opened = _open(settings, guard, clock, ids)
    store = AsyncEdgeStore(opened.store)
    try:
        runtime = await _runtime(settings, clock)
        time = agent_clock(clock, store)
        await _refill(settings, store, membership.node)
        await _tell_of_damage(store, membership.node, time, ids)

        certificate = CertificateKeeper(settings.data, store, time.known_ms, proxy)
        dialers = _dialers(settings, store, time, proxy)
        doors = await _doors(settings, runtime)
        hosts = [each.place.host for each in doors]
        served = ServedCertificates(settings.data / LOCAL_API, store, clock, hosts=hosts)
        ground = Ground(
            node=membership.node,
            labels=labels_of(settings.label),
            clouds=membership.clouds,
            directory=settings.data.absolute(),
            machine=partial(_machine, settings, store),
            store=store,
            runtime=runtime,
            dialer=dialers["websocket"],
            dialers=dialers,
            ways=ways_of(settings.transport, proxied=proxy is not None),
            doubted=certificate.doubt,
            drivers=_drivers(settings, membership.node, store, time, ids),
            clock=clock,
            time=time,
            ids=ids,
            sync=settings.sync(),
            collection=settings.collection(),
            rotation=settings.rotation(),
            dead=settings.dead(),
            eviction=settings.eviction(),
            reserved=reserved_of(settings.system_reserved),
            cgroups=_cgroups(settings, runtime),
            off_disk=keep_off_disk if runtime.abilities.isolation else stays_on_disk,
            sysctls=settings.allowed_unsafe_sysctls,
            bandwidth=bandwidth,
            broker=broker,
            discovery=_discovery(settings, membership.node, store),
            own_broker=_own_broker(settings, membership.node, time, ids),
            local_api=tuple((each.place.host, each.place.port) for each in doors),
            authority=served.authority,
            static_pods=static_pods_of(settings),
            rules=_rules(settings, membership.node),
            service_bus=_service_bus(settings),
            mappers=_mappers(settings),
            network=_network(settings, runtime),
            home=_home(settings, membership.node),
            history=history_of(settings),
            places=partial(_places, settings, membership.node),
            credentials=settings.device_credentials,
        )
        agent = compose(ground)
        await _run(settings, membership, agent, certificate, store, guard, _Api(doors=doors, served=served))
        await runtime.close()
    finally:
        store.close()


def _dialers(
    settings: EdgeSettings, store: AsyncEdgeStore, time: AgentClock, proxy: Proxy | None
) -> dict[Way, Dialer]:
    def identity() -> Identity:
        return load_membership(settings.data).identity

    clock, names = SystemClock(), CloudNames(store)
    sounds = settings.transport == "auto"
    quic = quic_dialer(identity, clock, time.known_ms, port=settings.quic_port, sounds=sounds)
    return {
        "quic": names.remembering(quic),
        "websocket": names.remembering(websocket_dialer(identity, clock, time.known_ms)),
        "proxy": websocket_dialer(identity, clock, time.known_ms, proxy=proxy),
    }


def _places(settings: EdgeSettings, node: str) -> Places:
    from edgecore.push.places import NetworkPlaces  # only who pushes pays

    return NetworkPlaces(node, credentials=settings.device_credentials)


def _drivers(
    settings: EdgeSettings, node: str, store: AsyncEdgeStore, time: Clock, ids: Ids
) -> Mapping[str, DriverFactory]:
    return driver_factories(
        clock=time,
        ids=ids,
        node=node,
        broker=broker_of(settings),
        notes=StoredNotes(store),
        credentials=settings.device_credentials,
    )


def history_of(settings: EdgeSettings) -> HistoryFile | None:
    """What the gateway itself remembers of its devices: the first to give way on a full disk, and no reason not to
    start. It is opened when something is kept."""
    if not settings.history_mib:
        return None
    return HistoryFile(
        settings.data / "store" / "history.db",
        bytes_max=settings.history_mib * MIB,
        free_floor=2 * settings.free_floor_mib * MIB,
    )


def _mappers(settings: EdgeSettings) -> Sockets | None:
    """How mappers are spoken to. Raises `InvalidError`."""
    path = dmi_socket_of(settings)
    if path is None:
        return None
    from edgecore.dmi.mappers import Sockets
    from edgecore.dmi.server import DmiServer, dial  # gRPC costs memory: only who has a socket for mappers pays

    return Sockets(dial=dial, serve=lambda mappers: DmiServer(mappers, path, settings.dmi_group).run())


def _broker(settings: EdgeSettings, node: str) -> Open | None:
    """How the gateway's MQTT broker is reached. Raises `InvalidError`."""
    broker = broker_of(settings)
    return None if broker is None else _opener(broker, f"skerry-{node}-bus")


def _own_broker(
    settings: EdgeSettings, node: str, clock: Clock, ids: Ids
) -> Callable[[], Coroutine[Any, Any, None]] | None:
    """What runs the embedded broker; None where there is none. Raises `InvalidError`, `UnavailableError`."""
    addresses = embedded_of(settings)
    if not addresses:
        return None
    from edgecore.broker.embedded import Embedding, open_embedded  # only who has it pays

    files = (settings.mqtt_listen_cert_file, settings.mqtt_listen_key_file)
    return open_embedded(
        Embedding(
            directory=settings.data / MQTT,
            users_file=settings.data / MQTT / USERS,
            agent_password_file=agent_password_file(settings),
            plain=[(each.host, each.port) for each in addresses if each.is_loopback],
            secure=[(each.host, each.port) for each in addresses if not each.is_loopback],
            tls_files=files if all(files) else None,
            client_ca_file=settings.mqtt_listen_client_ca_file,
            socket=Path(settings.mqtt_socket) if settings.mqtt_socket else None,
            socket_group=settings.mqtt_socket_group,
            version=AGENT_VERSION,
            own_clients=f"skerry-{node}-",
        ),
        clock,
        ids,
    ).run


def _discovery(settings: EdgeSettings, node: str, store: AsyncEdgeStore) -> BrokerDiscovery | None:
    """What listens on the broker when somebody asks. Raises `InvalidError`."""
    broker = broker_of(settings)
    if broker is None:
        return None
    from edgecore.bus.discovery import BrokerDiscovery

    def collect(topics: set[str], seconds: float) -> tuple[dict[str, bytes], tuple[str, ...]]:
        from devices.mqtt import client  # paho costs memory: only who asks pays

        return client.collect(broker, topics, client_id=f"skerry-{node}-discover", seconds=seconds)

    prefix = homeassistant_prefix_of(settings) or HOMEASSISTANT
    return BrokerDiscovery(node=node, broker=broker, prefix=prefix, store=store, collect=collect)


def _rules(settings: EdgeSettings, node: str) -> Open | None:
    """The same for the rules, with a session of their own: their messages are kept while the agent is away."""
    broker = broker_of(settings)
    return None if broker is None else _opener(broker, f"skerry-{node}-rules")


def _service_bus(settings: EdgeSettings) -> BusSettings | None:
    port = service_bus_port_of(settings)
    if port is None:
        return None
    from edgecore.rules.service_bus import BusSettings

    return BusSettings(port=port)


def _network(settings: EdgeSettings, runtime: Runtime) -> NetworkSettings:
    """How names and addresses of services are served. Raises `InvalidError`."""
    found = cluster_dns_of(settings)
    dns = None if found is None else DnsSettings(host=found[0], port=found[1], domain=found[2])
    if dns is not None and not dns.for_pods:
        LOG.info("cluster DNS is for programs of this gateway: pods can't ask host=%s port=%d", dns.host, dns.port)
    services = "" if settings.service_addresses == "none" else settings.service_addresses
    ranges = pod_network_of(settings)
    pods = None
    if ranges is not None and runtime.abilities.pod_network:
        pods = PodNetworkSettings(directory=settings.cni_directory, ranges=ranges)
    return NetworkSettings(dns=dns, pods=pods, services=services, ingress=ingress_of(settings))


def _home(settings: EdgeSettings, node: str) -> tuple[str, Open] | None:
    """The same for Home Assistant, where it is to be told. Raises `InvalidError`."""
    prefix, broker = homeassistant_prefix_of(settings), broker_of(settings)
    if broker is None or not prefix:
        return None
    from devices.mqtt.config import Presence
    from edgecore.bus.homeassistant import OFFLINE, ONLINE, presence_topic

    presence = Presence(topic=presence_topic(node), online=ONLINE, offline=OFFLINE)
    return prefix, _opener(replace(broker, presence=presence), f"skerry-{node}-home")


def _opener(broker: Broker, client_id: str) -> Open:
    def connect(hooks: Hooks) -> Connection:
        from devices.mqtt.client import PahoConnection  # paho costs memory: only who has a broker pays

        return PahoConnection(broker, client_id, hooks)

    return connect


def _open(settings: EdgeSettings, guard: StoreGuard, clock: Clock, ids: Ids) -> OpenedStore:
    opened = open_store(
        StoreSettings(
            directory=settings.data / "store",
            boot_id=_machine(settings).boot_id,
            budgets=settings.budgets(),
            damaged=guard.damaged,
        ),
        clock,
        ids,
    )
    if opened.damage and opened.set_aside is None:
        LOG.error(
            "the edge store is empty, and had been filled: what the cloud had not received is lost incarnation=%s",
            opened.store.incarnation,
        )
    if opened.set_aside is not None:
        LOG.error(
            "the edge store was damaged: moved to %s, a new one begins; what can be read of what the cloud had not "
            "received is saved beside the running agent damage=%r taken_over=%s incarnation=%s",
            opened.set_aside,
            opened.damage,
            ",".join(opened.taken_over) or "nothing",
            opened.store.incarnation,
        )
    return opened


async def _refill(settings: EdgeSettings, store: AsyncEdgeStore, node: str) -> None:
    """Fill a store that has lost objects from the copy beside it."""
    try:
        copy = await restore(settings.data / COPY_FILE, node, store)
    except UnavailableError as error:
        LOG.error("the edge store has lost objects, and the copy of what it held can't be used reason=%s", error)
        return
    if copy is not None:
        LOG.warning("the edge store had lost objects: %s", copy.sentence)


async def _tell_of_damage(store: AsyncEdgeStore, node: str, clock: Clock, ids: Ids) -> None:
    """Who looks at the Node from afar does not read the gateway's log. Waits in the outbox while there is no link."""
    note = DamageNote.read(store.meta(META_DAMAGE) or "")
    if note is None:
        return
    kept = f", and is kept as {note.file}" if note.file else ""
    message = (
        f"The edge store was damaged ({note.damage}){kept}; a new one is filled from the cloud and from what runs. "
        f"Taken over: {', '.join(note.taken_over) or 'nothing'}" + (f"; {note.copied}" if note.copied else "")
    )
    event = node_event(node, STORE_DAMAGED, message, suffix=ids.token_hex(8), now_ms=clock.wall_ms())
    kind, body = event_body(event)
    report = NewReport(report_class="event", kind=kind, key="", body=body)
    try:
        await store.apply(EdgeBatch(reports=(report,), meta=((META_DAMAGE, ""),)))
    except UnavailableError as error:
        LOG.warning("the cloud is not told yet that the edge store was damaged reason=%s", error)


async def _runtime(settings: EdgeSettings, clock: Clock) -> Runtime:
    """What runs pods. Raises `InvalidError`, and `UnavailableError` where one that never ran them here does not
    answer: a name that is wrong costs no pod."""
    chosen, found = choose(
        Choosing(wanted=settings.runtime, endpoint=settings.runtime_endpoint, directory=settings.data)
    )
    earlier = before(settings.data)
    keep_keeper(settings.data)
    moves = earlier is not None and not earlier.is_same(chosen)
    if moves or earlier is None:
        runtime = await _open_new_runtime(chosen, settings, clock, found=found, stays=earlier)
    else:
        runtime = await _open_runtime(chosen, settings, clock)
    if runtime is None:
        chosen = Choice(name=PROCESS)
        runtime = _processes(settings, clock)
    if earlier is not None and not earlier.is_same(chosen):
        LOG.warning("pods move to another runtime before=%s now=%s", earlier.name, chosen.name)
        old = await _open_runtime(earlier, settings, clock)
        ended = old is None or await clear_or_say(old)
        if old is not None:
            await old.close()
        if not ended:
            return runtime
    keep(settings.data, chosen)
    LOG.info(
        "pods are run by runtime=%s version=%s socket=%s", runtime.name, runtime.version, chosen.socket or "none"
    )
    return runtime


async def images_of(settings: ImageSettings) -> str:
    """What `edgecore image` tells. Raises `InvalidError`, `UnavailableError`."""
    from edgecore.pods.image_commands import change_images, check_request

    request = settings.request()
    check_request(request)
    wanted = "cri" if settings.runtime_endpoint or before(settings.data) is None else "auto"
    chosen, _ = choose(Choosing(wanted=wanted, endpoint=settings.runtime_endpoint, directory=settings.data))
    if chosen.is_process:
        raise InvalidError("the pods of this gateway are processes: their images are directories below DATA/images")
    runtime = _cri(chosen, settings.data, SystemClock())
    try:
        await runtime.greet()
        return await change_images(request, runtime, chosen)
    finally:
        await runtime.close()


async def cleaned_up(settings: CleanupSettings, say: Callable[[str], object]) -> bool:
    """What `edgecore cleanup` does; whether all of it worked. Raises `InvalidError`, `UnavailableError`."""
    from edgecore.cleanup import clean_up

    runtime = await _runtime_to_clean(settings) if settings.pods else None
    try:
        return await clean_up(settings, runtime, say)
    finally:
        if runtime is not None:
            await runtime.close()


async def _runtime_to_clean(settings: CleanupSettings) -> Runtime:
    """The one that ran pods here the last time. Raises `InvalidError`, `UnavailableError`."""
    known = before(settings.data)
    if settings.runtime_endpoint:
        known, _ = choose(Choosing(wanted="cri", endpoint=settings.runtime_endpoint, directory=settings.data))
    if known is None:
        raise InvalidError(f"--pods: no agent has run pods with --data {settings.data}")
    if known.is_process:
        from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings

        directory = settings.data / "containers"
        return ProcessRuntime(ProcessSettings(directory=directory, images=settings.data / "images"), SystemClock())
    runtime = _cri(known, settings.data, SystemClock())
    try:
        await runtime.greet()
    except BaseException:
        await runtime.close()
        raise
    return runtime


def _cri(chosen: Choice, data: Path, clock: Clock, rights: PullRights | None = None) -> CriRuntime:
    from edgecore.pods.runtimes.cri.runtime import CriRuntime, CriSettings  # gRPC costs memory: only who has one pays

    settings = CriSettings(socket=chosen.socket, keeper=keeper_of(data), name=chosen.name, rights=rights)
    return CriRuntime(settings, clock)


async def _open_new_runtime(
    chosen: Choice, settings: EdgeSettings, clock: Clock, *, found: bool, stays: Choice | None
) -> Runtime | None:
    """One that ran no pods here yet. None for one that was `found` and does not speak CRI, as Docker's containerd is
    set up. Raises `UnavailableError` where it does not answer."""
    try:
        return await _open_runtime(chosen, settings, clock, found=found, must_answer=True)
    except UnavailableError as error:
        where = f"; the pods of this gateway go on in {stays.name}" if stays is not None else ""
        raise UnavailableError(
            f"the container runtime at {chosen.socket} does not answer ({error}): start it, name the socket of "
            f"another with --runtime-endpoint, or run with --runtime process{where}"
        ) from error


async def _open_runtime(
    chosen: Choice, settings: EdgeSettings, clock: Clock, *, found: bool = False, must_answer: bool = False
) -> Runtime | None:
    """None for one that was `found` and does not speak CRI. A runtime that ran pods here may be late, and they wait
    for it, unless it `must_answer`."""
    if chosen.is_process:
        return _processes(settings, clock)
    rights = PullRights(settings.data) if settings.image_verification == "pulled" else None
    runtime = _cri(chosen, settings.data, clock, rights)
    try:
        await runtime.greet()
    except UnavailableError as error:
        if must_answer:
            await runtime.close()
            raise
        LOG.warning("the container runtime does not answer yet socket=%s reason=%s", chosen.socket, error)
    except InvalidError as error:
        await runtime.close()
        if not found:
            raise InvalidError(f"the runtime at {chosen.socket} does not speak CRI v1: {error}") from error
        LOG.warning("a container runtime is not used: it does not speak CRI v1 socket=%s", chosen.socket)
        return None
    return runtime


def _cgroups(settings: EdgeSettings, runtime: Runtime) -> PodCgroups | None:
    """Raises `InvalidError`."""
    top, tree = cgroup_root_of(settings.cgroup_root), CgroupTree()
    if tree.fault:
        LOG.warning("what pods may use is not limited by cgroups of their own reason=%s", tree.fault)
        return None
    machine = _machine(settings)
    reserved = reserved_of(settings.system_reserved)
    allocatable = allocatable_of(machine, reserved)

    def driver() -> Driver:
        wanted = "cgroupfs" if not runtime.abilities.isolation else settings.cgroup_driver
        said = runtime.cgroup_driver if wanted == "auto" else wanted
        return "systemd" if said == "systemd" else "cgroupfs"

    return PodCgroups(
        CgroupSettings(
            top=top,
            pids_max=settings.pod_pids_max,
            memory_qos=settings.memory_qos,
            cpu_millis=parse_quantity(allocatable["cpu"]).millis,
            memory_bytes=max(machine.memory_bytes - parse_quantity(reserved.get("memory", "0")).units, 0),
            node_bytes=parse_quantity(allocatable["memory"]).units,
        ),
        tree,
        driver,
    )


def _processes(settings: EdgeSettings, clock: Clock) -> ProcessRuntime:
    from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings  # who has containers does without

    tree = CgroupTree()
    if settings.images and not settings.images_directory.is_dir():
        LOG.warning("--images %s: there is no such directory yet, so no container starts", settings.images_directory)
    own = ProcessSettings(
        directory=settings.data / "containers",
        images=settings.images_directory.absolute(),
        log_bytes=settings.log_size_mib * MIB,
        log_files=settings.log_files,
        cgroups=None if tree.fault else tree,
    )
    return ProcessRuntime(own, clock)


def _machine(settings: EdgeSettings, store: AsyncEdgeStore | None = None) -> Machine:
    """This machine as it is now, shown under the address that the settings name; without one, and without a way out,
    under that which `store` knows."""
    machine = read_machine(settings.data)
    if settings.node_ip:
        return replace(machine, addresses=node_ip_of(settings.node_ip))
    known = None if store is None else store.meta(META_ADDRESS)
    return replace(machine, addresses=or_known(machine.addresses, known))


async def _run(
    settings: EdgeSettings,
    membership: Membership,
    agent: Agent,
    certificate: CertificateKeeper,
    store: AsyncEdgeStore,
    guard: StoreGuard,
    api: _Api,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(work, name=name) for name, work in agent.workers().items()]
        local = LocalApi(settings.socket, agent.local)
        await local.listen()
        parts.append(tasks.create_task(local.run(), name="local-api"))
        for name, work in _api_workers(settings, agent, local, api).items():
            parts.append(tasks.create_task(work, name=name))
        # What was known is being brought up; only now is anything dialled.
        parts.append(tasks.create_task(_link(store, agent.link), name="link"))
        parts.append(tasks.create_task(certificate.run(), name="certificate"))
        parts.append(tasks.create_task(guard.run(store.damage), name="store"))
        copying = HeldCopy(settings.data / COPY_FILE, membership.node, store, SystemClock(), COPIED)
        parts.append(tasks.create_task(copying.run(), name="copy of the store"))
        parts.append(tasks.create_task(_settled(agent), name="memory"))
        notify(os.environ, READY="1")
        LOG.info(
            "edgecore ready node=%s socket=%s cloud=%s pods=%d",
            membership.node,
            settings.socket,
            ",".join(membership.clouds),
            agent.pods.count,
        )
        await stop.wait()
        notify(os.environ, STOPPING="1")
        LOG.info("edgecore stops; its pods go on")
        for part in parts:
            part.cancel()


async def _settled(agent: Agent) -> None:
    """What is there when the pods have begun stays: the collector, off since the start, need not pass by it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(AFTER_PODS_S_MAX):
            await agent.pods.begun.wait()
    gc.collect()
    gc.freeze()
    gc.enable()


async def _doors(settings: EdgeSettings, runtime: Runtime) -> list[Door]:
    """Where the local API is served over TCP. Raises `InvalidError`."""
    from edgecore.network.interface import hold_address

    is_auto = settings.local_api == "auto"
    apart = runtime.abilities.pod_network and os.geteuid() == 0
    places = [Place(host=each.host, port=each.port) for each in local_api_of(settings, pods_apart=apart)]
    return await doors_at(places, hold_address, asked_for=not is_auto)


def _api_workers(
    settings: EdgeSettings, agent: Agent, local: LocalApi, api: _Api
) -> Mapping[str, Coroutine[Any, Any, None]]:
    """What serves the local API over TCP."""
    if not api.doors:
        return {}
    parts = agent.local
    access = Access(parts.store, parts.clock, node=parts.node, connected=lambda: agent.link.connected)
    issuing = Issuing(
        IssuingParts(
            served=api.served,
            calls=agent.cloud,
            store=parts.store,
            hosts=[each.place.host for each in api.doors],
            connected=lambda: agent.link.connected,
            changed=agent.pods.refresh_all,
        )
    )
    agent.link.on_welcome(issuing.poke)
    secure = SecureApi(
        api.doors,
        api.served,
        Guard(local.routes, access, agent.cloud, KeptWrites(parts.store, parts.clock, SystemIds())),
        access,
        names=_machine(settings, parts.store).addresses,
        made=issuing.poke,
    )
    return {"local-api over TCP": secure.run(), "local-api certificate": issuing.run()}


async def _link(store: AsyncEdgeStore, link: EdgeLink) -> None:
    """The link, when all that a damaged store had for the cloud is in the outbox. Pods and devices don't wait."""
    await store.salvage()
    await link.run()
