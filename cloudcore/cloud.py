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
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cloudcore.api.app import Api, ApiSettings, serving
from cloudcore.api.authn import Authenticator
from cloudcore.api.authz.aggregation import AggregationController
from cloudcore.api.authz.authorizer import Authorizer
from cloudcore.api.authz.defaults import keep_defaults
from cloudcore.api.authz.escalation import escalation_step
from cloudcore.api.bootstrap import Address, bootstrap, first_address
from cloudcore.api.enrolment import enrolment_endpoints
from cloudcore.api.expire import EventExpiry
from cloudcore.api.openapi import PublishedOpenApi
from cloudcore.api.ports import Parts
from cloudcore.api.protobuf import protobuf_decoder
from cloudcore.api.reviews import ReviewDesk
from cloudcore.api.shapes import KindShapes
from cloudcore.config import CloudSettings, reachable_at
from cloudcore.controllers.crd.controller import serve_stored
from cloudcore.controllers.standard import standard_controllers
from cloudcore.hub.effects import kinds_in
from cloudcore.hub.hub import Hub, HubParts, HubSettings
from cloudcore.hub.liveness import LivenessSettings
from cloudcore.pki.directory import Pki, admin_identity, open_pki
from cloudcore.pki.enrolment import Enroller, EnrollerParts
from cloudcore.pki.kubeconfig import kubeconfig
from cloudcore.pki.links import enrolling, recovering, renewing
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.pki.serving import Serving, local_names, now_of
from cloudcore.registry.addresses import ServiceAddresses
from cloudcore.registry.admission import STEPS
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.runtime.informer import INDEXES, PODS_BY_NODE
from cloudcore.runtime.manager import Tools, run_controllers
from cloudcore.scheduler.scheduler import Scheduler
from cloudcore.store.cache import Index, WatchCache
from cloudcore.store.housekeeping import Housekeeping, HousekeepingSettings
from cloudcore.store.port import Store
from cloudcore.store.sql import open_sql_store
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import SkerryError, UnavailableError
from skerry.files import write_private
from skerry.objects.enrolment import (
    DISCOVERY_PATH,
    HUB_ENROL_PATH,
    HUB_RECOVER_PATH,
    HUB_RENEW_PATH,
    discovery_body,
)
from skerry.objects.json import JsonObject, str_at
from skerry.objects.scheme import Kind, Scheme
from skerry.sdnotify import notify
from skerry.sync.ports import SyncSettings
from skerry.transport.websocket import SESSION_PATH, Route, limit_tls_read_buffers, listen

LOG: Final = logging.getLogger("cloudcore")
STOP_S_MAX: Final = 8.0
"""After this a stop is no longer waited for: the store is safe at any moment, and a supervisor's patience is not."""

API_STOP_S: Final = 1.0
"""For requests in flight, which take milliseconds; what is left then are watches, whose clients expect to be cut."""

LEAVE_S_MAX: Final = 1.0
"""A round trip on a bad link; a gateway that is slower finds its link cut, and comes back with backoff."""

DEVICES_BY_NODE: Final = "devices_by_node"
_DEVICES: Final = "devices.devices.kubeedge.io"


class PartFailedError(SkerryError):
    """A part of the process ended that has to run; the process stops."""


def _device_node(obj: JsonObject) -> Iterable[str]:
    node = str_at(obj, "spec", "nodeName")
    return [node] if node else []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """What is bound to a node, from the watch cache's indexes."""

    cache: WatchCache

    def pods(self, node: str) -> Iterable[JsonObject]:
        return [self.cache.obj(stored) for stored in self.cache.indexed(PODS_BY_NODE, node)]

    def devices(self, node: str) -> Iterable[JsonObject]:
        return [self.cache.obj(stored) for stored in self.cache.indexed(DEVICES_BY_NODE, node)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Core:
    """What everything else is built on."""

    settings: CloudSettings
    clock: SystemClock
    ids: SystemIds
    pki: Pki
    store: Store
    cache: WatchCache
    scheme: Scheme
    custom: CustomKinds
    rules: KindRules
    authorizer: Authorizer
    objects: LocalObjects

    def kind(self, resource: str) -> Kind:
        found = self.scheme.of_resource(resource)
        assert found is not None, f"{resource} is a built-in kind"
        return found

    @property
    def tools(self) -> Tools:
        return Tools(objects=self.objects, cache=self.cache, scheme=self.scheme, clock=self.clock, ids=self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where this process is reached, from this machine."""

    host: str
    https_port: int
    hub_port: int
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
        store = await open_sql_store(settings.data / "cloud.db", ids=ids)
        stack.push_async_callback(store.close)
        pki = open_pki(settings.data, now=now_of(clock))
        certificates = Serving(pki, names=[first_address(settings.service_cidr), *settings.names], clock=clock)
        core = await _core(settings, store, pki, clock, ids)
        async with asyncio.TaskGroup() as tasks:
            running = {"watch cache": tasks.create_task(_part("watch cache", core.cache.run()))}
            async with AsyncExitStack() as listeners:
                hub = Hub(_hub_parts(core), _hub_settings(settings))
                await keep_defaults(core.objects, core.scheme)
                endpoints = await _listen(listeners, core, certificates, hub)
                await bootstrap(core.objects, core.scheme, _address(settings, endpoints))
                for name, work in _parts(core, hub, certificates).items():
                    running[name] = tasks.create_task(_part(name, work))
                _announce(core, endpoints)
                await stop.wait()
                notify(os.environ, STOPPING="1")
                LOG.info("cloudcore stopping")
                loop.call_later(STOP_S_MAX, _give_up)
                (settings.data / "endpoints.json").unlink(missing_ok=True)
                # Gateways are told before their links are cut: who was told comes back without waiting.
                running["hub"].cancel()
                await _left(hub)
            for task in running.values():
                task.cancel()
    LOG.info("cloudcore stopped")


async def _core(settings: CloudSettings, store: Store, pki: Pki, clock: SystemClock, ids: SystemIds) -> _Core:
    indexes: Mapping[str, Index] = {**INDEXES, DEVICES_BY_NODE: Index(resource=_DEVICES, values=_device_node)}
    cache = WatchCache(store, indexes=indexes)
    await cache.load()
    scheme = builtin_scheme()
    custom = CustomKinds(scheme)
    serve_stored(custom, cache)
    rules = KindRules(custom)
    authorizer = Authorizer(cache, _Bound(cache=cache))
    objects = LocalObjects(
        store=store,
        cache=cache,
        rules=rules,
        clock=clock,
        ids=ids,
        steps=(*STEPS, ServiceAddresses(settings.service_cidr), escalation_step(authorizer)),
    )
    return _Core(
        settings=settings,
        clock=clock,
        ids=ids,
        pki=pki,
        store=store,
        cache=cache,
        scheme=scheme,
        custom=custom,
        rules=rules,
        authorizer=authorizer,
        objects=objects,
    )


def _hub_parts(core: _Core) -> HubParts:
    return HubParts(
        objects=core.objects,
        store=core.store,
        cache=core.cache,
        kinds=kinds_in(core.scheme),
        clock=core.clock,
        ids=core.ids,
    )


def _parts(core: _Core, hub: Hub, certificates: Serving) -> dict[str, Awaitable[None]]:
    """What runs until the process stops, by the name that is said when it fails."""
    scheduler = Scheduler(core.tools)
    standard = standard_controllers(core.tools, core.custom, ca_pem=core.pki.authority.pem)
    controllers = [*standard, AggregationController(core.tools)]
    return {
        "hub": hub.run(),
        "controllers": run_controllers(core.cache, core.clock, controllers, [scheduler]),
        "scheduler": scheduler.run(),
        "certificates": certificates.run(),
        "housekeeping": _housekeeping(core).run(),
        "expiry of events": EventExpiry(core.objects, core.scheme, core.clock).run(),
    }


def _housekeeping(core: _Core) -> Housekeeping:
    settings = HousekeepingSettings(
        interval_s=min(HousekeepingSettings().interval_s, core.settings.history_s / 5),
        history_s=core.settings.history_s,
        record_age_days=core.settings.record_days,
        records_per_series=core.settings.records_per_series,
    )
    return Housekeeping(core.store, core.clock, settings)


async def _listen(stack: AsyncExitStack, core: _Core, certificates: Serving, hub: Hub) -> Endpoints:
    """Open both ports; they close when the stack does."""
    settings = core.settings
    enroller = Enroller(
        EnrollerParts(
            authority=core.pki.authority,
            objects=core.objects,
            secrets=core.kind("secrets"),
            nodes=core.kind("nodes"),
            clock=core.clock,
            hub_port=lambda: hub_port,
        )
    )
    limit_tls_read_buffers()
    routes = {
        SESSION_PATH: Route(handle=hub.handle, named=True),
        HUB_ENROL_PATH: Route(handle=enrolling(enroller), named=False),
        HUB_RENEW_PATH: Route(handle=renewing(enroller), named=True),
        HUB_RECOVER_PATH: Route(handle=recovering(enroller), named=False),
    }
    pages = {DISCOVERY_PATH: lambda: discovery_body(enroller.discovery("websocket")).decode()}
    try:
        _, hub_port = await stack.enter_async_context(
            listen(settings.bind, settings.hub_port, certificates.hub, routes, pages=pages)
        )
    except OSError as error:
        raise UnavailableError(
            f"can't listen for gateways on {settings.bind}:{settings.hub_port}: {error.strerror}"
        ) from error
    api_settings = ApiSettings(stop_s_max=API_STOP_S)
    api = Api(_api_parts(core, hub, enroller), api_settings)
    listening = await stack.enter_async_context(
        serving(api, host=settings.bind, port=settings.https_port, tls=certificates.api, settings=api_settings)
    )
    return Endpoints(
        host=reachable_at(settings.bind),
        https_port=listening.port,
        hub_port=hub_port,
        kubeconfig=settings.data / "admin.kubeconfig",
    )


def _api_parts(core: _Core, hub: Hub, enroller: Enroller) -> Parts:
    tokens = ServiceTokens(core.pki.token_key, core.clock, core.ids)
    authenticator = Authenticator(tokens=tokens, objects=core.objects, gate=core.authorizer, clock=core.clock)
    return Parts(
        objects=core.objects,
        cache=core.cache,
        scheme=core.scheme,
        shapes=KindShapes(core.rules),
        protobuf=protobuf_decoder(),
        openapi=PublishedOpenApi(core.scheme, core.custom),
        authenticator=authenticator,
        gate=core.authorizer,
        reviews=ReviewDesk(
            authorizer=core.authorizer, authenticator=authenticator, tokens=tokens, objects=core.objects
        ),
        logs=hub.logs,
        clock=core.clock,
        ids=core.ids,
        endpoints=enrolment_endpoints(enroller, authenticator),
    )


def _hub_settings(settings: CloudSettings) -> HubSettings:
    return HubSettings(
        sync=SyncSettings(heartbeat_s=settings.heartbeat_s),
        liveness=LivenessSettings(grace_s=settings.node_grace_s),
    )


def _address(settings: CloudSettings, endpoints: Endpoints) -> Address:
    """Where pods reach the API. Kubernetes allows no loopback address there; a machine that has no other gets the
    Service's own, which leads nowhere, as everything would."""
    candidates = [settings.bind, *sorted(local_names())]
    found = next((each for each in candidates if _leads_here(each)), first_address(settings.service_cidr))
    return Address(host=found, port=endpoints.https_port, service_cidr=settings.service_cidr)


def _leads_here(name: str) -> bool:
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)


def _announce(core: _Core, endpoints: Endpoints) -> None:
    """Write what others need to find this process, then say that it is there."""
    admin = admin_identity(core.pki, now=now_of(core.clock))
    server = f"https://{endpoints.https}"
    write_private(endpoints.kubeconfig, kubeconfig(server=server, ca_pem=core.pki.authority.pem, admin=admin))
    write_private(core.settings.data / "endpoints.json", endpoints.body())
    # What is there now stays for good: the collector need not walk over it again (a stop of a second at scale).
    gc.collect()
    gc.freeze()
    LOG.info("cloudcore ready https=%s hub=%s kubeconfig=%s", endpoints.https, endpoints.hub, endpoints.kubeconfig)
    notify(os.environ, READY="1", STATUS=f"https={endpoints.https} hub={endpoints.hub}")


async def _part(name: str, work: Awaitable[None]) -> None:
    """Run a part; however it ends, it is named."""
    try:
        await work
    except SkerryError as error:
        raise PartFailedError(f"the {name} failed: {error}") from error
    raise PartFailedError(f"the {name} ended, which it never should")


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
