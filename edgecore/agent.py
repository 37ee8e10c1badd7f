"""The running agent: the only place where its real parts meet.

It begins in two steps. First what pods need to run again: store, runtime, pod manager. While the runtime makes their
sandboxes, the rest is read from the disk and put together: the node's status, the devices, the local API, and last
the link. Whoever asks the local API meanwhile is not refused, and waits. What was known before is brought up before
anything is dialled; a part that crashes ends the process with a line that says why, and whoever supervises it starts
it again: pods do not notice. All data are in the parts' own places below the data directory.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import closing, nullcontext
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from edgecore.composition.ground import LOCAL_API, PodGround
from edgecore.composition.pods import Begun, agent_clock, compose_pods
from edgecore.composition.runtimes import cgroups_of, machine_of, open_runtime
from edgecore.config.agent import EdgeSettings
from edgecore.config.node import labels_of, reserved_of, static_pods_of
from edgecore.config.places import cluster_dns_of, ingress_of, local_api_of, pod_network_of
from edgecore.link.membership import HUB_PORT, Membership, load_membership
from edgecore.local_api.places import Door, Place, doors_at, listening_on
from edgecore.local_api.served import ServedCertificates
from edgecore.network.settings import DnsSettings, NetworkSettings, PodNetworkSettings
from edgecore.pods.events import event_body, node_event
from edgecore.pods.leases import META_ASKED, META_LEASES
from edgecore.pods.local_acts import META_HOLD
from edgecore.pods.memory_volumes import keep_off_disk, stays_on_disk
from edgecore.pods.port import Runtime
from edgecore.pods.records import is_decision
from edgecore.store.damage import META_DAMAGE, DamageNote
from edgecore.store.guard import StoreGuard
from edgecore.store.held_copy import FILE as COPY_FILE
from edgecore.store.held_copy import Beside, HeldCopy, restore
from edgecore.store.opening import OpenedStore, open_store
from edgecore.store.port import META_ADDRESS, META_CUT, EdgeBatch, NewReport
from edgecore.store.shell import AsyncEdgeStore
from edgecore.store.sqlite import StoreSettings
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.enrolment import split_address
from skerry.objects.json import decode_object, strs_at
from skerry.objects.meta import Key
from skerry.ports import Clock, Ids
from skerry.sdnotify import notify
from skerry.transport.proxy import Proxy, proxy_of
from skerry.waits import until_set

if TYPE_CHECKING:
    from edgecore.composition.whole import Agent
    from edgecore.link.session import EdgeLink
    from edgecore.local_api.server import LocalApi
    from edgecore.network.footing import Footing

LOG: Final = logging.getLogger("edgecore")
COPIED: Final = Beside(
    names=(META_HOLD, META_CUT, META_ADDRESS, META_ASKED), is_decision=is_decision, quiet=(META_LEASES,)
)
"""What is copied beside objects: decisions, by which address pods know the gateway, and what is lent to it."""
STORE_DAMAGED: Final = "EdgeStoreDamaged"
"""Reason of the Event that tells of it."""
UNDER_WAY_S_MAX: Final = 0.5
"""For pods to have asked for what they need, before the rest is read; a runtime that is late keeps nothing else."""
REST: Final = (
    "skerry.sync.edge",
    "edgecore.link.session",
    "edgecore.twins.keeper",
    "edgecore.composition.devices",
    "edgecore.composition.node",
    "edgecore.composition.cloud",
    "edgecore.composition.real",
    "edgecore.local_api.guard",
    "edgecore.local_api.server",
    "edgecore.local_api.secure",
    "edgecore.composition.whole",
)
"""Modules of the second step: a hundredth of a second or two each, and between them the loop hears the runtime."""


class _First(Frozen):
    """What an agent has after its first step."""

    settings: EdgeSettings
    membership: Membership
    proxy: Proxy | None
    guard: StoreGuard
    ground: PodGround
    begun: Begun
    socket: socket.socket
    """Where the local API is asked, and waited for."""
    doors: Sequence[Door]
    """The same over TCP."""
    served: ServedCertificates
    """By what it is known there."""


async def serve(settings: EdgeSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises what a part failed with."""
    membership = load_membership(settings.data)
    proxy = _checked(settings, membership)
    clock, ids = SystemClock(), SystemIds()
    guard = StoreGuard()
    opened = _open(settings, guard, clock, ids)
    store = AsyncEdgeStore(opened.store)
    try:
        runtime = await open_runtime(settings, clock)
        time = agent_clock(clock, store)
        await _refill(settings, store, membership.node)
        await _tell_of_damage(store, membership.node, time, ids)
        doors = await _doors(settings, runtime)
        hosts = [each.place.host for each in doors]
        network = _network(settings, runtime)
        footing = await _footing(network, settings, store, membership.node)
        served = ServedCertificates(settings.data / LOCAL_API, store, clock, hosts=hosts)
        ground = PodGround(
            node=membership.node,
            directory=settings.data.absolute(),
            machine=partial(machine_of, settings, store),
            store=store,
            runtime=runtime,
            clock=clock,
            time=time,
            ids=ids,
            dead=settings.dead(),
            eviction=settings.eviction(),
            reserved=reserved_of(settings.system_reserved),
            cgroups=cgroups_of(settings, runtime),
            off_disk=keep_off_disk if runtime.abilities.isolation else stays_on_disk,
            sysctls=settings.allowed_unsafe_sysctls,
            local_api=tuple((each.place.host, each.place.port) for each in doors),
            authority=served.authority,
            static_pods=static_pods_of(settings),
            network=network,
            footing=footing,
        )
        with closing(footing) if footing else nullcontext(), listening_on(settings.socket) as listening:
            first = _First(
                settings=settings,
                membership=membership,
                proxy=proxy,
                guard=guard,
                ground=ground,
                begun=compose_pods(ground),
                socket=listening,
                doors=doors,
                served=served,
            )
            await _run(first)
        await runtime.close()
    finally:
        store.close()


def _checked(settings: EdgeSettings, membership: Membership) -> Proxy | None:
    """The proxy, if there is one. What is wrong in a setting that is needed later stops an agent before it begins:
    raises `InvalidError`."""
    labels_of(settings.label)
    if settings.bandwidth:
        from edgecore.link.bandwidth import own_plan  # only who has a cap pays

        own_plan(settings.bandwidth)
    host, _ = split_address(membership.clouds[0], default_port=HUB_PORT)
    return proxy_of(settings.proxy, os.environ, host=host)


async def _run(first: _First) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        parts = [tasks.create_task(work, name=name) for name, work in first.begun.workers().items()]
        await _read_the_rest(first.begun)
        parts += await _complete(first, tasks)
        await stop.wait()
        notify(os.environ, STOPPING="1")
        LOG.info("edgecore stops; its pods go on")
        for part in parts:
            part.cancel()


async def _read_the_rest(begun: Begun) -> None:
    """From the disk, while the runtime makes the pods' sandboxes."""
    await until_set(begun.pods.under_way, within_s=UNDER_WAY_S_MAX)
    for name in REST:
        import_module(name)
        await asyncio.sleep(0)


async def _complete(first: _First, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
    """The second step. Raises `InvalidError`."""
    from edgecore.composition.real import ground_of
    from edgecore.composition.whole import compose
    from edgecore.link.renewal import CertificateKeeper
    from edgecore.local_api.server import LocalApi

    settings, membership, store = first.settings, first.membership, first.ground.store
    certificate = CertificateKeeper(settings.data, store, first.ground.time.known_ms, first.proxy)
    agent = compose(ground_of(settings, membership, first.ground, certificate, first.proxy), first.begun)
    parts = [tasks.create_task(work, name=name) for name, work in agent.workers().items()]
    local = LocalApi(settings.socket, agent.local)
    await local.listen(first.socket)
    parts.append(tasks.create_task(local.run(), name="local-api"))
    parts += [tasks.create_task(work, name=name) for name, work in _api_workers(first, agent, local).items()]
    # What was known is being brought up; only now is anything dialled.
    parts.append(tasks.create_task(_link(store, agent.link), name="link"))
    parts.append(tasks.create_task(certificate.run(), name="certificate"))
    parts.append(tasks.create_task(first.guard.run(store.damage), name="store"))
    copying = HeldCopy(settings.data / COPY_FILE, membership.node, store, SystemClock(), COPIED)
    parts.append(tasks.create_task(copying.run(), name="copy of the store"))
    parts.append(tasks.create_task(_settled(agent), name="memory"))
    notify(os.environ, READY="1")
    LOG.info(
        "edgecore ready node=%s socket=%s cloud=%s pods=%d",
        membership.node,
        settings.socket,
        ",".join(membership.clouds),
        first.begun.pods.count,
    )
    return parts


async def _settled(agent: Agent) -> None:
    """What is there when the pods have begun stays: the collector, off since the start, need not pass by it."""
    await agent.pods_have_begun()
    gc.collect()
    gc.freeze()
    gc.enable()


def _api_workers(first: _First, agent: Agent, local: LocalApi) -> Mapping[str, Coroutine[Any, Any, None]]:
    """What serves the local API over TCP."""
    if not first.doors:
        return {}
    from edgecore.local_api.access import Access
    from edgecore.local_api.guard import Guard
    from edgecore.local_api.issuing import Issuing, IssuingParts
    from edgecore.local_api.keeping import KeptWrites
    from edgecore.local_api.secure import SecureApi

    parts = agent.local
    access = Access(parts.store, parts.clock, node=parts.node, connected=lambda: agent.link.connected)
    issuing = Issuing(
        IssuingParts(
            served=first.served,
            calls=agent.cloud,
            store=parts.store,
            hosts=[each.place.host for each in first.doors],
            connected=lambda: agent.link.connected,
            changed=first.begun.pods.refresh_all,
        )
    )
    agent.link.on_welcome(issuing.poke)
    secure = SecureApi(
        first.doors,
        first.served,
        Guard(local.routes, access, agent.cloud, KeptWrites(parts.store, parts.clock, SystemIds())),
        access,
        names=machine_of(first.settings, parts.store).addresses,
        made=issuing.poke,
    )
    return {"local-api over TCP": secure.run(), "local-api certificate": issuing.run()}


def _open(settings: EdgeSettings, guard: StoreGuard, clock: Clock, ids: Ids) -> OpenedStore:
    opened = open_store(
        StoreSettings(
            directory=settings.data / "store",
            boot_id=machine_of(settings).boot_id,
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


async def _doors(settings: EdgeSettings, runtime: Runtime) -> list[Door]:
    """Where the local API is served over TCP. Raises `InvalidError`."""
    is_auto = settings.local_api == "auto"
    apart = runtime.abilities.pod_network and os.geteuid() == 0
    places = [Place(host=each.host, port=each.port) for each in local_api_of(settings, pods_apart=apart)]
    return await doors_at(places, _hold, asked_for=not is_auto)


async def _footing(
    network: NetworkSettings, settings: EdgeSettings, store: AsyncEdgeStore, node: str
) -> Footing | None:
    if network == NetworkSettings():
        return None
    from edgecore.network.footing import footing_of  # only who has it pays

    return await footing_of(network, settings.data.absolute(), partial(_pod_ranges, store, node))


def _pod_ranges(store: AsyncEdgeStore, node: str) -> tuple[str, ...]:
    """Of this gateway's pods, as its Node said when there was a cloud."""
    held = store.get(Key("nodes", "", node))
    return () if held is None else tuple(strs_at(decode_object(held.body), "spec", "podCIDRs"))


async def _hold(address: str) -> None:
    from edgecore.network.interface import hold_address  # only who has an address for pods pays

    await hold_address(address)


async def _link(store: AsyncEdgeStore, link: EdgeLink) -> None:
    """The link, when all that a damaged store had for the cloud is in the outbox. Pods and devices don't wait."""
    await store.salvage()
    await link.run()
