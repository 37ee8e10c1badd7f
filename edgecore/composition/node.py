"""The gateway itself: what it tells of itself as a Node, what it keeps room by, and what it does for its site."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence, Set
from functools import partial
from typing import Any

from edgecore.composition.ground import AGENT_VERSION, Ground
from edgecore.network.ingress.settings import INGRESS
from edgecore.network.settings import NetworkSettings
from edgecore.pods.events import event_body, node_event
from edgecore.pods.evictor import Evictor, EvictorParts
from edgecore.pods.image_collector import ImageCollector
from edgecore.pods.image_volumes import mounted_images
from edgecore.pods.local_acts import Hold
from edgecore.pods.manager import PodManager
from edgecore.pods.measuring import Measuring, MeasuringParts
from edgecore.pods.node import NodeIdentity, NodeReporter, runtime_version
from edgecore.pods.room import RoomParts
from edgecore.store.port import EdgeBatch, NewReport
from skerry.frozen import Frozen, replace
from skerry.objects.functions import NodeFunction


def node_of(
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


def _identity(ground: Ground) -> NodeIdentity:
    return NodeIdentity(
        name=ground.node,
        labels=ground.labels,
        agent_version=AGENT_VERSION,
        runtime_version=runtime_version(ground.runtime),
        reserved=ground.reserved,
        eviction=ground.eviction,
    )


def evictor_of(ground: Ground, pods: PodManager, images: ImageCollector, node: NodeReporter) -> Evictor:
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


def images_of(ground: Ground, pods: PodManager) -> ImageCollector:
    return ImageCollector(
        ground.runtime,
        ground.clock,
        ground.collection,
        mounted=lambda: mounted_images(pod for pod, _ in pods.active()),
    )


def measuring_of(ground: Ground) -> Measuring:
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


class Serving(Frozen):
    """What the gateway does for its site."""

    run: Callable[[], Coroutine[Any, Any, None]] | None
    """None for nothing."""
    functions: Callable[[], Sequence[NodeFunction]] = tuple


def network_of(ground: Ground) -> Serving:
    served = ground.directory / INGRESS
    serving = Serving(run=None) if ground.network == NetworkSettings() else _served(ground)
    if ground.network.ingress is not None or not served.is_dir():
        return serving
    from edgecore.network.ingress.leaving import leave  # the agent before this one served Ingresses

    then = () if serving.run is None else (serving.run,)
    return replace(serving, run=partial(leave, served, ground.store, *then))


def _served(ground: Ground) -> Serving:
    from edgecore.network.keeper import Network, NetworkParts  # only who has it pays
    from edgecore.network.upstream import HostResolver

    parts = NetworkParts(
        node=ground.node,
        store=ground.store,
        clock=ground.time,
        host_resolver=HostResolver(),
        directory=ground.directory,
        addresses=lambda: ground.machine().addresses,
        footing=ground.footing,
    )
    network = Network(parts, ground.network)
    return Serving(run=network.run, functions=network.functions)
