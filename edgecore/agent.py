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
from dataclasses import dataclass
from typing import Final

from edgecore.config import MIB, EdgeSettings, labels_of
from edgecore.link.dial import websocket_dialer
from edgecore.link.membership import Membership, load_membership
from edgecore.link.renewal import CertificateKeeper
from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.local_api.server import LocalApi, LocalParts
from edgecore.pods.env import NodeFacts
from edgecore.pods.logs import LogParts, PodLogs
from edgecore.pods.manager import PodManager
from edgecore.pods.node import Machine, NodeIdentity, NodeReporter, node_report, read_machine, runtime_version
from edgecore.pods.runtimes.process import ProcessRuntime, ProcessSettings
from edgecore.pods.worker import PodParts
from edgecore.store.port import OutboxBudgets
from edgecore.store.shell import AsyncEdgeStore
from edgecore.store.sqlite import StoreSettings, open_store
from edgecore.twins.drivers import driver_factories
from edgecore.twins.keeper import Keeper
from skerry.clocks import SystemClock, SystemIds
from skerry.objects.json import str_map_at
from skerry.objects.logs import LOGS
from skerry.ports import Clock, Ids
from skerry.sdnotify import notify
from skerry.sync.edge import EdgeState

LOG: Final = logging.getLogger("edgecore")
AGENT_VERSION: Final = "v1.36.0+skerry-0.1.0"
"""The Kubernetes version whose kubelet's API behaviour is followed, and ours."""


async def serve(settings: EdgeSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises what a part failed with."""
    membership = load_membership(settings.data)
    clock, ids = SystemClock(), SystemIds()
    machine = read_machine(settings.data)
    store = _open(settings, machine.boot_id, clock, ids)
    try:
        runtime = ProcessRuntime(_process_settings(settings), clock)
        agent = _compose(_Base(settings, membership, machine, store, runtime, clock, ids))
        await _run(settings, membership, agent)
        await runtime.close()
    finally:
        store.close()


def _open(settings: EdgeSettings, boot_id: str, clock: Clock, ids: Ids) -> AsyncEdgeStore:
    budgets = OutboxBudgets(telemetry=settings.telemetry_mib * MIB)
    opened = open_store(
        StoreSettings(directory=settings.data / "store", boot_id=boot_id, budgets=budgets), clock, ids
    )
    if opened.set_aside is not None:
        LOG.error(
            "the edge store was damaged: moved to %s, a new one begins; what the cloud had not received is lost "
            "damage=%r incarnation=%s",
            opened.set_aside,
            opened.damage,
            opened.store.incarnation,
        )
    return AsyncEdgeStore(opened.store)


def _process_settings(settings: EdgeSettings) -> ProcessSettings:
    return ProcessSettings(
        directory=settings.data / "containers",
        images=settings.images_directory.absolute(),
        log_bytes=settings.log_size_mib * MIB,
        log_files=settings.log_files,
    )


@dataclass(frozen=True, slots=True)
class _Base:
    """What everything else stands on."""

    settings: EdgeSettings
    membership: Membership
    machine: Machine
    store: AsyncEdgeStore
    runtime: ProcessRuntime
    clock: Clock
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class _Agent:
    """The parts that run."""

    clock: Clock
    pods: PodManager
    node: NodeReporter
    twins: Keeper
    link: EdgeLink
    certificate: CertificateKeeper
    local: LocalApi


def _compose(base: _Base) -> _Agent:
    settings, store, clock = base.settings, base.store, base.clock
    identity = NodeIdentity(
        name=base.membership.node,
        labels=labels_of(settings.label),
        agent_version=AGENT_VERSION,
        runtime_version=runtime_version(base.runtime),
    )
    allocatable = node_report(identity, base.machine, {}, now_ms=0).status
    facts = NodeFacts(
        name=identity.name,
        address=settings.node_ip or base.machine.addresses[0],
        allocatable=str_map_at(allocatable, "allocatable"),
    )

    def known_ms() -> int:
        return link.known_ms()

    certificate = CertificateKeeper(settings.data, lambda: max(clock.wall_ms(), known_ms()))
    logs = PodLogs(LogParts(store=store, runtime=base.runtime, clock=clock, directory=settings.data))
    link = EdgeLink(
        LinkSettings(
            node=identity.name,
            agent_version=AGENT_VERSION,
            boot_id=base.machine.boot_id,
            addresses=base.membership.clouds,
        ),
        LinkParts(
            store=store,
            dialer=websocket_dialer(base.membership.identity, clock, known_ms),
            clock=clock,
            ids=base.ids,
            streams={LOGS: logs},
            doubted=certificate.doubt,
        ),
    )
    pods = PodManager(
        PodParts(
            store=store,
            runtime=base.runtime,
            clock=clock,
            ids=base.ids,
            node=facts,
            directory=settings.data.absolute(),
        ),
        lambda: link.status.state == EdgeState.IN_STEP.value,
    )
    drivers = driver_factories(clock=clock, ids=base.ids, node=identity.name)
    twins = Keeper(store, drivers, clock=clock, ids=base.ids)
    local = LocalApi(
        settings.socket,
        LocalParts(store=store, twins=twins, link=link, logs=logs, clock=clock, node=identity.name, pods=pods),
    )
    node = NodeReporter(store, clock, identity, settings.data, node_ip=settings.node_ip)
    return _Agent(clock=clock, pods=pods, node=node, twins=twins, link=link, certificate=certificate, local=local)


async def _run(settings: EdgeSettings, membership: Membership, agent: _Agent) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        parts = [
            tasks.create_task(agent.pods.run(), name="pods"),
            tasks.create_task(agent.twins.run(), name="twins"),
            tasks.create_task(agent.node.run(), name="node"),
        ]
        await agent.local.listen()
        parts.append(tasks.create_task(agent.local.run(), name="local-api"))
        # What was known is being brought up; only now is anything dialled.
        parts.append(tasks.create_task(agent.link.run(), name="link"))
        parts.append(tasks.create_task(agent.certificate.run(), name="certificate"))
        gc.collect()
        gc.freeze()
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
