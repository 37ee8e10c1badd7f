"""The parts of the cloud, put together and run in one task group. What each keeps is said by itself.

The order of starting is the order of need: keys, store, watch cache, access control, registry, default objects,
then whoever serves or reconciles. Stopping goes the other way: listeners first, the store last.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cloudcore.api.app import Api, ApiSettings, serving
from cloudcore.api.authz.defaults import keep_defaults
from cloudcore.api.bootstrap import Address, bootstrap, first_address
from cloudcore.api.carried import CarriedCalls
from cloudcore.api.enrolment import enrolment_endpoints
from cloudcore.api.replicas import replica_endpoints
from cloudcore.composition import (
    Core,
    api_parts,
    authenticator_of,
    compose,
    hub_of,
    router_of,
    workers_of,
)
from cloudcore.config import CloudSettings, cluster_ranges_of, quic_port_of, reachable_at, router_port_of
from cloudcore.hub.hub import Hub, HubSettings
from cloudcore.hub.liveness import LivenessSettings, lease_s_of
from cloudcore.hub.regions import RegionHub, RegionKinds, RegionParts
from cloudcore.pki.directory import Pki, admin_identity, open_pki, replica_file, reset_key
from cloudcore.pki.enrolment import Enroller, EnrollerParts
from cloudcore.pki.kubeconfig import kubeconfig
from cloudcore.pki.links import enrolling, recovering, renewing
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.pki.serving import Serving, asking_context, host_name, local_names, now_of
from cloudcore.pki.shared import read_cluster_key, shared_pki
from cloudcore.rules.counts import RuleCounts
from cloudcore.rules.router import routing
from cloudcore.runtime.parts import part
from cloudcore.runtime.replicas import GROUP, USER, ReplicaClient
from cloudcore.store.housekeeping import HousekeepingSettings
from cloudcore.store.port import Store
from cloudcore.store.sql import SqlStore, open_sql_store
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen, replace
from skerry.objects.enrolment import (
    DISCOVERY_PATH,
    HUB_ENROL_PATH,
    HUB_RECOVER_PATH,
    HUB_RENEW_PATH,
    discovery_body,
    hub_server_name,
    region_of_user,
)
from skerry.objects.federation import MEMBER_OBJECTS, MEMBERS
from skerry.ports import Clock, Ids, Link
from skerry.sdnotify import notify
from skerry.sync.ports import SyncSettings
from skerry.transport.door import Shutters
from skerry.transport.identity import SESSION_PATH
from skerry.transport.websocket import Route, limit_tls_read_buffers, listen

LOG: Final = logging.getLogger("cloudcore")
GARBAGE: Final = (10_000, 20, 50)
"""Python's collector looks for circles after so many new objects that stay. A request makes hundreds that don't, and
circles are rare here; by default it looks after 700, which was a tenth of a write's processor time."""
STOP_S_MAX: Final = 8.0
"""After this a stop is no longer waited for: the store is safe at any moment, and a supervisor's patience is not."""

API_STOP_S: Final = 1.0
"""For requests in flight, which take milliseconds; what is left then are watches, whose clients expect to be cut."""

QUIC_IDLE_HEARTBEATS: Final = 3
QUIC_IDLE_S: Final = 30.0
"""On top of that many heartbeats a QUIC connection may be idle: a session that is opening has no heartbeat yet."""

LEAVE_S_MAX: Final = 1.0
"""A round trip on a bad link; a gateway that is slower finds its link cut, and comes back with backoff."""

LAST_WRITES_S_MAX: Final = 3.0
"""For what is written at a stop; without it others find out by waiting."""


class Endpoints(Frozen):
    """Where this process is reached, from this machine."""

    host: str
    https_port: int
    hub_port: int
    quic_port: int | None = None
    """UDP; None where gateways can't dial over QUIC."""
    router_port: int | None = None
    """Where requests are carried to gateways by rules; None: nowhere."""
    kubeconfig: Path

    @property
    def https(self) -> str:
        return f"{_bracketed(self.host)}:{self.https_port}"

    @property
    def hub(self) -> str:
        return f"{_bracketed(self.host)}:{self.hub_port}"

    def body(self) -> bytes:
        """What endpoints.json says."""
        obj = {
            "https": self.https,
            "hub": self.hub,
            "https_port": self.https_port,
            "hub_port": self.hub_port,
            "quic_port": self.quic_port,
            "router_port": self.router_port,
            "kubeconfig": str(self.kubeconfig),
            "pid": os.getpid(),
        }
        return json.dumps(obj, indent=2).encode() + b"\n"


async def serve(settings: CloudSettings) -> None:
    """Run the cloud until SIGTERM or SIGINT. Raises what stopped it otherwise (in an exception group)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    clock, ids = SystemClock(), SystemIds()
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"{settings.data}: {error.strerror}") from error
    async with AsyncExitStack() as stack:
        store = await _open_store(settings, ids)
        stack.push_async_callback(store.close)
        pki = await _open_pki(settings, store, clock, ids)
        certificates = Serving(pki, names=[first_address(settings.service_cidr[0]), *settings.names], clock=clock)
        core = await _core(settings, store, clock, ids)
        async with asyncio.TaskGroup() as tasks:
            running = {"watch cache": tasks.create_task(part("watch cache", core.cache.run()))}
            await asyncio.sleep(0)  # it has begun, then, and is ended in order when a port can't be had
            async with AsyncExitStack() as listeners:
                hub = hub_of(
                    core,
                    _hub_settings(settings),
                    _replicas(pki, clock) if store.shared else None,
                    {authority.key_id: authority.id for authority in pki.authorities},
                )
                await keep_defaults(core.objects, core.scheme)
                shutters = Shutters()
                doors = _doors(settings, core, pki, certificates, hub, shutters)
                endpoints = await _listen(listeners, doors)
                hub.leases.address = _advertised(settings, endpoints)
                address = _address(settings, endpoints)
                await bootstrap(core.objects, core.scheme, address, alone=not store.shared)
                workers = workers_of(
                    core,
                    hub,
                    tokens=ServiceTokens(pki.token_keys, clock, ids),
                    ca_pem=pki.bundle_pem,
                    housekeeping=_housekeeping_settings(settings),
                )
                endpoints, counts = await _listen_router(listeners, doors, endpoints)
                own = {
                    "regions": doors.regions.run(),
                    "certificates": certificates.run(),
                    "counts of rules": counts.run(),
                }
                for name, work in {**workers, **own}.items():
                    running[name] = tasks.create_task(part(name, work))
                _announce(settings, pki, clock, endpoints)
                await stop.wait()
                notify(os.environ, STOPPING="1")
                LOG.info("cloudcore stopping")
                loop.call_later(STOP_S_MAX, _give_up)
                (settings.data / "endpoints.json").unlink(missing_ok=True)
                # Gateways are told before their links are cut: who was told comes back without waiting, to another
                # replica or the next life of this one. And another replica need not wait to lead.
                shutters.close()
                running["leadership"].cancel()
                running["hub"].cancel()
                await _left(hub)
                # What they still write: whose leases are free, and what was counted.
                await asyncio.wait({running["leadership"], running["hub"]}, timeout=LAST_WRITES_S_MAX)
            for task in running.values():
                task.cancel()
    LOG.info("cloudcore stopped")


async def _core(settings: CloudSettings, store: SqlStore, clock: Clock, ids: Ids) -> Core:
    return await compose(
        store,
        clock,
        ids,
        service_cidr=settings.service_cidr[0],
        second_service_cidrs=settings.service_cidr[1:],
        cluster_ranges=cluster_ranges_of(settings),
        host=host_name(),
    )


async def _open_store(settings: CloudSettings, ids: Ids) -> SqlStore:
    if not settings.database:
        return await open_sql_store(settings.data / "cloud.db", ids=ids)
    from cloudcore.store.postgres import open_postgres_store  # with its driver, only for those who use it

    return await open_postgres_store(settings.database, ids=ids)


async def _open_pki(settings: CloudSettings, store: Store, clock: Clock, ids: Ids) -> Pki:
    if not store.shared:
        return open_pki(settings.data, now=now_of(clock))
    key = read_cluster_key(Path(settings.cluster_key)) if settings.cluster_key else None
    return await shared_pki(store, settings.data, key, clock=clock, ids=ids)


def _housekeeping_settings(settings: CloudSettings) -> HousekeepingSettings:
    return HousekeepingSettings(
        interval_s=min(HousekeepingSettings().interval_s, settings.history_s / 5),
        history_s=settings.history_s,
        record_age_days=settings.record_days,
        records_per_series=settings.records_per_series,
    )


class _Doors(Frozen):
    """What the ports are opened with."""

    settings: CloudSettings
    core: Core
    pki: Pki
    certificates: Serving
    hub: Hub
    regions: RegionHub
    shutters: Shutters


def _doors(
    settings: CloudSettings, core: Core, pki: Pki, certificates: Serving, hub: Hub, shutters: Shutters
) -> _Doors:
    regions = RegionHub(
        RegionParts(
            store=core.store,
            cache=core.cache,
            objects=core.objects,
            clock=core.clock,
            bounds=hub.bounds,
            sync=SyncSettings(heartbeat_s=settings.heartbeat_s),
            kinds=RegionKinds(member=core.kind(MEMBERS), row=core.kind(MEMBER_OBJECTS)),
            hub=hub.leases.hub,
            lives=hub.leases.lives,
            holds=hub.leases.holds,
            authorities={authority.key_id: authority.id for authority in pki.authorities},
        )
    )
    return _Doors(
        settings=settings,
        core=core,
        pki=pki,
        certificates=certificates,
        hub=hub,
        regions=regions,
        shutters=shutters,
    )


async def _listen(stack: AsyncExitStack, doors: _Doors) -> Endpoints:
    """Open both ports; they close when the stack does."""
    settings, core, hub = doors.settings, doors.core, doors.hub
    enroller = Enroller(
        EnrollerParts(
            authorities=doors.pki.authorities,
            objects=core.objects,
            secrets=core.kind("secrets"),
            nodes=core.kind("nodes"),
            members=core.kind(MEMBERS),
            namespaces=core.kind("namespaces"),
            clock=core.clock,
            hub_port=lambda: hub_port,
        )
    )
    limit_tls_read_buffers()
    _import_quic(settings)
    routes = {
        SESSION_PATH: Route(handle=_sessions(hub, doors.regions), named=True),
        HUB_ENROL_PATH: Route(handle=enrolling(enroller), named=False, anew=True, brief=True),
        HUB_RENEW_PATH: Route(handle=renewing(enroller), named=True, anew=True, brief=True),
        HUB_RECOVER_PATH: Route(handle=recovering(enroller), named=False, anew=True, brief=True),
    }
    pages = {DISCOVERY_PATH: lambda: discovery_body(enroller.discovery("websocket")).decode()}
    try:
        _, hub_port = await stack.enter_async_context(
            listen(
                settings.bind,
                settings.hub_port,
                doors.certificates.hub,
                routes,
                pages=pages,
                shutters=doors.shutters,
            )
        )
    except OSError as error:
        raise UnavailableError(
            f"can't listen for gateways on {settings.bind}:{settings.hub_port}: {error.strerror}"
        ) from error
    quic_port = await _listen_quic(stack, doors, hub_port)
    api_settings = ApiSettings(stop_s_max=API_STOP_S)
    tokens = ServiceTokens(doors.pki.token_keys, core.clock, core.ids)
    authenticator = authenticator_of(core, tokens)
    endpoints = {
        **enrolment_endpoints(enroller, authenticator),
        **(replica_endpoints(authenticator, core.authorizer, hub.here) if core.store.shared else {}),
    }
    parts = api_parts(core, hub, tokens, endpoints)
    api = Api(parts, api_settings)
    hub.carried = CarriedCalls(parts, api.paths, enroller.serving)
    listening = await stack.enter_async_context(
        serving(api, host=settings.bind, port=settings.https_port, tls=doors.certificates.api, settings=api_settings)
    )
    return Endpoints(
        host=reachable_at(settings.bind),
        https_port=listening.port,
        hub_port=hub_port,
        quic_port=quic_port,
        kubeconfig=settings.data / "admin.kubeconfig",
    )


def _sessions(hub: Hub, regions: RegionHub) -> Callable[[Link], Awaitable[None]]:
    """Whose session a link carries is said by its certificate."""

    async def handle(link: Link) -> None:
        await (regions.handle if region_of_user(link.peer_name) else hub.handle)(link)

    return handle


async def _listen_router(stack: AsyncExitStack, doors: _Doors, endpoints: Endpoints) -> tuple[Endpoints, RuleCounts]:
    """Open the port of the rules where it is wanted; the endpoints with it, and what counts its requests."""
    settings, core = doors.settings, doors.core
    tokens = ServiceTokens(doors.pki.token_keys, core.clock, core.ids)
    is_open = settings.router_access == "open"
    router, counts = router_of(core, doors.hub, None if is_open else authenticator_of(core, tokens))
    port = router_port_of(settings.router_port)
    if port is None:
        return endpoints, counts
    if is_open:
        LOG.warning("--router-access open: whoever reaches %s:%s may send messages to gateways", settings.bind, port)
    tls = None if is_open else doors.certificates.api
    bound = await stack.enter_async_context(routing(router, host=settings.bind, port=port, tls=tls))
    return replace(endpoints, router_port=bound), counts


def _import_quic(settings: CloudSettings) -> None:
    """Before the first port opens: it takes half a second, in which gateways would find one way without the other."""
    if quic_port_of(settings.quic_port, hub_port=settings.hub_port) is not None:
        with suppress(ImportError):  # said by who needs it
            import_module("skerry.transport.quic_server")


async def _listen_quic(stack: AsyncExitStack, doors: _Doors, hub_port: int) -> int | None:
    """Open the UDP port where gateways dial over QUIC; which one it is, None where there is none."""
    settings = doors.settings
    port = quic_port_of(settings.quic_port, hub_port=hub_port)
    if port is None:
        return None
    try:
        from skerry.transport import quic_server
    except ImportError as error:
        if settings.quic_port != "same":
            raise UnavailableError(f"--quic-port {settings.quic_port}: QUIC needs the package aioquic") from error
        LOG.warning("gateways can't dial over QUIC: the package aioquic is not installed")
        return None
    credentials = quic_server.HubCredentials(
        server_files=doors.certificates.server_files,
        roots_pem=doors.pki.bundle_pem,
        reset_key=reset_key(doors.pki),
        clock=doors.core.clock,
    )
    handlers = {SESSION_PATH: doors.hub.handle}
    # Only what is dead for good: the session's own silence ends it after two heartbeats.
    idle_s = QUIC_IDLE_HEARTBEATS * settings.heartbeat_s + QUIC_IDLE_S
    try:
        _, bound = await stack.enter_async_context(
            quic_server.listen(settings.bind, port, credentials, handlers, idle_s=idle_s, shutters=doors.shutters)
        )
    except OSError as error:
        raise UnavailableError(
            f"can't listen for gateways over QUIC on {settings.bind}:{port} (UDP): {error.strerror}; see --quic-port"
        ) from error
    return bound


def _hub_settings(settings: CloudSettings) -> HubSettings:
    return HubSettings(
        sync=SyncSettings(heartbeat_s=settings.heartbeat_s),
        liveness=LivenessSettings(grace_s=settings.node_grace_s, lease_s=lease_s_of(settings.node_grace_s)),
        record_days=settings.record_days,
    )


def _replicas(pki: Pki, clock: Clock) -> ReplicaClient:
    """How this replica asks the others: under the name of the oldest authority, whose certificate they all show."""

    def tls() -> ssl.SSLContext:
        return asking_context(pki, replica_file(pki, user=USER, group=GROUP, now=now_of(clock)))

    return ReplicaClient(tls=tls, server_name=hub_server_name(pki.authorities[-1].id))


def _advertised(settings: CloudSettings, endpoints: Endpoints) -> str:
    """HOST:PORT where other replicas reach this one's API."""
    if settings.advertise:
        return settings.advertise
    host = endpoints.host
    if ip_address(settings.bind).is_unspecified:
        host = next((each for each in sorted(local_names()) if _leads_here(each)), host)
    return f"{_bracketed(host)}:{endpoints.https_port}"


def _address(settings: CloudSettings, endpoints: Endpoints) -> Address:
    """Where pods reach the API. Kubernetes allows no loopback address there; a machine that has no other gets the
    Service's own, which leads nowhere, as everything would."""
    candidates = [settings.bind, *sorted(local_names())]
    found = next((each for each in candidates if _leads_here(each)), first_address(settings.service_cidr[0]))
    return Address(
        host=found,
        port=endpoints.https_port,
        service_cidr=settings.service_cidr[0],
        second_service_cidrs=settings.service_cidr[1:],
    )


def _leads_here(name: str) -> bool:
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)


def _announce(settings: CloudSettings, pki: Pki, clock: Clock, endpoints: Endpoints) -> None:
    """Write what others need to find this process, then say that it is there."""
    admin = admin_identity(pki, now=now_of(clock))
    server = f"https://{endpoints.https}"
    write_private(endpoints.kubeconfig, kubeconfig(server=server, ca_pem=pki.bundle_pem, admin=admin))
    write_private(settings.data / "endpoints.json", endpoints.body())
    # What is there now stays for good: the collector need not walk over it again (a stop of a second at scale).
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    LOG.info("cloudcore ready https=%s hub=%s kubeconfig=%s", endpoints.https, endpoints.hub, endpoints.kubeconfig)
    notify(os.environ, READY="1", STATUS=f"https={endpoints.https} hub={endpoints.hub}")


async def _left(hub: Hub) -> None:
    """Wait until every gateway has taken its leave, or for as long as a link may take to carry one frame."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + LEAVE_S_MAX
    while hub.connected and loop.time() < deadline_s:  # noqa: ASYNC110 - the hub tells who is there; a stop is rare
        await asyncio.sleep(0.01)


def _give_up() -> None:
    LOG.error("cloudcore did not stop in %d s and is ended", STOP_S_MAX)
    logging.shutdown()
    os._exit(1)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
