"""The cloud's parts, put together from what they stand on. Whoever runs a cloud says what that is.

`cloudcore.cloud` gives a database, keys and ports, `skerry.testkit` a store in memory and a clock of its own; what
runs on it is the same. Keeps nothing; each part says what it keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from aiohttp import web

from cloudcore.api.app import presented
from cloudcore.api.authn import ANONYMOUS, Authenticator
from cloudcore.api.authz.aggregation import AggregationController
from cloudcore.api.authz.authorizer import Authorizer
from cloudcore.api.authz.escalation import escalation_step
from cloudcore.api.authz.manifests import manifests_step
from cloudcore.api.authz.signers import signers_step
from cloudcore.api.endpoints import ApiEndpoints
from cloudcore.api.expire import EventExpiry
from cloudcore.api.openapi import PublishedOpenApi
from cloudcore.api.ports import Endpoint, Gate, Parts
from cloudcore.api.protobuf import protobuf_decoder
from cloudcore.api.reviews import ReviewDesk
from cloudcore.api.shapes import KindShapes
from cloudcore.controllers.crd.serving import ServedDefinitions
from cloudcore.controllers.gslb.observing import GatewayObservers
from cloudcore.controllers.noderange.controller import NodeRangeController
from cloudcore.controllers.noderange.plan import ClusterRange
from cloudcore.controllers.standard import standard_controllers
from cloudcore.federation.admission import federated_step
from cloudcore.federation.assembly import federation_controllers
from cloudcore.federation.lease import RegionLease
from cloudcore.federation.link import RegionMember
from cloudcore.federation.region_controller import RegionController
from cloudcore.hub.bounds import REFUSALS
from cloudcore.hub.hub import Hub, HubParts, HubSettings
from cloudcore.hub.lending import PodLending
from cloudcore.hub.outcomes import kinds_in
from cloudcore.hub.peers import hub_lease
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.registry.addresses import ServiceAddresses
from cloudcore.registry.admission import STEPS
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.commands import IssuedCommands
from cloudcore.registry.custom import CustomKinds
from cloudcore.registry.devices import wanted_values
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.local_rules import fitting_device_rules
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.references import references_of
from cloudcore.registry.routes import fitting_rules
from cloudcore.rules.answering import CallAnswering
from cloudcore.rules.counts import RuleCounts
from cloudcore.rules.delivery import RuleDelivery
from cloudcore.rules.posting import Post, posting
from cloudcore.rules.router import Admit, Router, RouterParts
from cloudcore.runtime.election import Alone, Election, Leadership
from cloudcore.runtime.informer import COMMANDS_BY_NODE, DEVICES_BY_NODE, INDEXES, PODS_BY_NODE
from cloudcore.runtime.manager import Controller, Tools, run_controllers
from cloudcore.runtime.parts import lead
from cloudcore.runtime.replicas import ReplicaClient
from cloudcore.scheduler.ask import requests_of
from cloudcore.scheduler.scheduler import Scheduler
from cloudcore.sinks.runner import SINKS, SinkParts, Sinks
from cloudcore.store.cache import WatchCache
from cloudcore.store.housekeeping import Housekeeping, HousekeepingSettings
from cloudcore.store.port import Store
from skerry.authz.attributes import Attributes
from skerry.clocks import boot_id
from skerry.errors import InvalidError, UnauthenticatedError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject, str_at
from skerry.objects.rules import GROUP as RULE_GROUP
from skerry.objects.rules import RULES
from skerry.objects.scheme import Kind, Scheme
from skerry.objects.volumes import CLAIMS
from skerry.ports import Clock, Ids

CREDENTIALS: Final = frozenset(
    {"authorization", "impersonate-user", "impersonate-group", "impersonate-uid", "sec-websocket-protocol"}
)
"""Headers in which clients show to this cloud who they are."""


class _Bound(Frozen):
    """What is bound to a node, from the watch cache's indexes."""

    cache: WatchCache

    def pods(self, node: str) -> Iterable[JsonObject]:
        return [self.cache.obj(stored) for stored in self.cache.indexed(PODS_BY_NODE, node)]

    def devices(self, node: str) -> Iterable[JsonObject]:
        return [self.cache.obj(stored) for stored in self.cache.indexed(DEVICES_BY_NODE, node)]

    def commands(self, node: str) -> Iterable[JsonObject]:
        return [self.cache.obj(stored) for stored in self.cache.indexed(COMMANDS_BY_NODE, node)]

    def volumes(self, node: str) -> Iterable[str]:
        claims = [
            self.cache.read(key) for pod in self.pods(node) for key in references_of(pod) if key.resource == CLAIMS
        ]
        names = [str_at(self.cache.obj(claim), "spec", "volumeName") for claim in claims if claim is not None]
        return [name for name in names if name]


class Core(Frozen):
    """What everything else is built on."""

    clock: Clock
    ids: Ids
    store: Store
    cache: WatchCache
    """Loaded; whoever runs the cloud runs it."""
    scheme: Scheme
    custom: CustomKinds
    definitions: ServedDefinitions
    rules: KindRules
    authorizer: Authorizer
    objects: LocalObjects
    leadership: Leadership
    """Whether this process does what one alone must do."""
    service_cidr: str
    cluster_ranges: tuple[ClusterRange, ...] = ()
    """What nodes get parts of for their pods."""

    def kind(self, resource: str) -> Kind:
        found = self.scheme.of_resource(resource)
        assert found is not None, f"{resource} is a built-in kind"
        return found

    @property
    def leader_objects(self) -> LocalObjects:
        """For the work of the leader: the store refuses what is written after another one took over."""
        return replace(self.objects, fence=self.leadership.fence)

    @property
    def leader_tools(self) -> Tools:
        return Tools(
            objects=self.leader_objects, cache=self.cache, scheme=self.scheme, clock=self.clock, ids=self.ids
        )


async def compose(
    store: Store,
    clock: Clock,
    ids: Ids,
    *,
    service_cidr: str,
    second_service_cidrs: tuple[str, ...] = (),
    cluster_ranges: tuple[ClusterRange, ...] = (),
    host: str = "cloudcore",
) -> Core:
    """Read the store; nothing runs yet. `host` is the name of this machine, by which people know its replica."""
    cache = WatchCache(store, indexes=INDEXES)
    await cache.load()
    scheme = builtin_scheme()
    custom = CustomKinds(scheme)
    definitions = ServedDefinitions(custom, cache)
    definitions.refresh()
    rules = KindRules(custom)
    authorizer = Authorizer(cache, _Bound(cache=cache))
    objects = LocalObjects(
        store=store,
        cache=cache,
        rules=rules,
        clock=clock,
        ids=ids,
        steps=(
            *STEPS,
            ServiceAddresses(service_cidr, *second_service_cidrs),
            escalation_step(authorizer),
            signers_step(authorizer),
            manifests_step(authorizer, scheme.named),
            federated_step(authorizer.decide),
            wanted_values,
            IssuedCommands(store.epoch),
            fitting_rules,
            fitting_device_rules,
        ),
    )
    leadership: Leadership = Alone()
    if store.shared:
        leadership = Election(store, cache, clock, ids, identity=f"{host}-{ids.token_hex(4)}")
    return Core(
        clock=clock,
        ids=ids,
        store=store,
        cache=cache,
        scheme=scheme,
        custom=custom,
        definitions=definitions,
        rules=rules,
        authorizer=authorizer,
        objects=objects,
        leadership=leadership,
        service_cidr=service_cidr,
        cluster_ranges=cluster_ranges,
    )


def router_of(core: Core, hub: Hub, authenticator: Authenticator | None) -> tuple[Router, RuleCounts]:
    """What carries requests to gateways by rules, and its counts, which are to be run. `authenticator` None: anybody
    may ask."""
    counts = RuleCounts(core.objects, core.kind(RULES), core.clock)
    admit = _admit_anybody if authenticator is None else _admitted_by(authenticator, core.authorizer)
    hidden = frozenset[str]() if authenticator is None else CREDENTIALS
    parts = RouterParts(cache=core.cache, calls=hub.calls, admit=admit, counts=counts, hidden=hidden)
    return Router(parts), counts


def _admitted_by(authenticator: Authenticator, gate: Gate) -> Admit:
    """Whoever may `create` the subresource `call` of the Rule."""

    async def admit(request: web.BaseRequest, namespace: str, rule: str) -> None:
        actor = await authenticator.authenticate(presented(request))
        if actor == ANONYMOUS:
            raise UnauthenticatedError("show a bearer token of a ServiceAccount, or a client certificate")
        gate.require(
            Attributes(
                actor=actor,
                verb="create",
                group=RULE_GROUP,
                version="v1",
                resource="rules",
                subresource="call",
                namespace=namespace,
                name=rule,
            )
        )

    return admit


async def _admit_anybody(_request: web.BaseRequest, _namespace: str, _rule: str) -> None:
    """Where the operator says that the network is trusted."""


def hub_of(
    core: Core,
    settings: HubSettings,
    replicas: ReplicaClient | None = None,
    authorities: Mapping[str, str] | None = None,
) -> Hub:
    """`replicas`: how others on the same store are asked; `authorities` as `HubParts` has them."""
    parts = HubParts(
        objects=core.objects,
        store=core.store,
        cache=core.cache,
        kinds=kinds_in(core.scheme),
        clock=core.clock,
        ids=core.ids,
        leadership=core.leadership,
        replicas=replicas,
        authorities=authorities or {},
    )
    return Hub(parts, settings)


def workers_of(
    core: Core,
    hub: Hub,
    *,
    tokens: ServiceTokens,
    ca_pem: str,
    housekeeping: HousekeepingSettings,
    poster: Callable[[], AbstractAsyncContextManager[Post]] = posting,
) -> dict[str, Awaitable[None]]:
    """What runs until the process stops, by the name that is said when it fails. `poster`: what sends messages of
    rules to their targets."""

    def leader_parts() -> dict[str, Awaitable[None]]:
        return {
            **_leader_parts(
                core, poster, tokens=tokens, ca_pem=ca_pem, housekeeping=housekeeping, lending=hub.lending
            ),
            "gateways as observers": GatewayObservers(core.leader_tools, hub.pipes.read).run(),
        }

    return {"hub": hub.run(), "leadership": lead(core.leadership, leader_parts)}


def _zone_fault(name: str, spec: JsonObject) -> str:
    """Why DNS servers would refuse a zone; "" where they take it."""
    from cloudcore.dns.snapshot import zone_of_snapshot  # a cloud without zones has no part of it in memory

    try:
        zone_of_snapshot(name, spec)
    except InvalidError as error:
        return str(error)
    return ""


def _leader_parts(
    core: Core,
    poster: Callable[[], AbstractAsyncContextManager[Post]],
    *,
    tokens: ServiceTokens,
    ca_pem: str,
    housekeeping: HousekeepingSettings,
    lending: PodLending,
) -> dict[str, Awaitable[None]]:
    """What one process alone does."""
    core.definitions.refresh()
    tools = core.leader_tools
    scheduler = Scheduler(tools)
    region = RegionMember(tools, requests_of)
    lease = RegionLease(tools, region, boot_id())
    controllers: list[Controller] = [
        *standard_controllers(
            tools, core.custom, signer=tokens, ca_pem=ca_pem, epoch=core.store.epoch, zone_judge=_zone_fault
        ),
        AggregationController(tools),
        *federation_controllers(tools, requests_of),
        RegionController(
            tools,
            in_touch=lambda: region.connected,
            tell=region.tell,
            noticed=region.notice,
            lease_left_s=lease.left_s,
            proven=lambda: lease.ago_s() is not None,
        ),
    ]
    if core.cluster_ranges:
        controllers.append(NodeRangeController(tools, core.cluster_ranges))
    if core.store.shared:
        controllers.append(ApiEndpoints(tools, service_cidr=core.service_cidr, address_of=_address_of))
    return {
        "controllers": run_controllers(core.cache, core.clock, controllers, [scheduler]),
        "region": region.run(),
        "region lease": lending.while_leading(lease.ago_s, lease.run()),
        "rules": _deliver(core, poster),
        "scheduler": scheduler.run(),
        "sinks": Sinks(_sink_parts(core)).run(),
        "housekeeping": Housekeeping(core.store, core.clock, housekeeping).run(),
        "expiry of events": EventExpiry(core.leader_objects, core.scheme, core.clock).run(),
    }


def _sink_parts(core: Core) -> SinkParts:
    return SinkParts(
        objects=core.leader_objects,
        store=core.store,
        cache=core.cache,
        kind=core.kind(SINKS),
        clock=core.clock,
    )


async def _deliver(core: Core, poster: Callable[[], AbstractAsyncContextManager[Post]]) -> None:
    """Messages of rules, to wherever they go: apart from the controllers, as it waits for strangers."""
    tools = core.leader_tools
    counts = RuleCounts(tools.objects, core.kind(RULES), core.clock)
    async with poster() as post, asyncio.TaskGroup() as tasks:
        tasks.create_task(counts.run())
        controllers: list[Controller] = [RuleDelivery(tools, post), CallAnswering(tools, post, counts)]
        tasks.create_task(run_controllers(core.cache, core.clock, controllers))


def _address_of(lease: JsonObject) -> str:
    found = hub_lease(lease)
    return found.address if found is not None else ""


def authenticator_of(core: Core, tokens: ServiceTokens) -> Authenticator:
    return Authenticator(tokens=tokens, objects=core.objects, gate=core.authorizer, clock=core.clock)


def api_parts(core: Core, hub: Hub, tokens: ServiceTokens, endpoints: Mapping[str, Endpoint] | None = None) -> Parts:
    """What the API's verbs work with; `endpoints` as `Parts` has them."""
    authenticator = authenticator_of(core, tokens)
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
        keys=tokens,
        logs=hub.logs,
        pipes=hub.pipes,
        usages=hub.usages,
        devices=hub.devices,
        traffic=hub.traffic,
        clock=core.clock,
        ids=core.ids,
        endpoints=endpoints or {},
        refresh=core.definitions.refresh,
        leading=lambda: core.leadership.leading,
        refusals=lambda: {why: hub.bounds.refusals[why] for why in REFUSALS},
    )
