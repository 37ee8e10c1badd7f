"""The link to the cloud, what the cloud may ask over it, and what is done at its wish."""

from __future__ import annotations

from edgecore.commands.runner import CommandParts, CommandRunner
from edgecore.composition.ground import AGENT_VERSION, Ground
from edgecore.composition.pods import Begun
from edgecore.link.calls import CloudCalls
from edgecore.link.session import EdgeLink, LinkParts, LinkSettings
from edgecore.link.streams import StreamKinds
from edgecore.local_api.node_proxy import NodeProxy
from edgecore.network.trials import trials
from edgecore.pods.logs import LogParts, PodLogs
from edgecore.pods.manager import PodManager
from edgecore.pods.restarts import PodRestarts
from edgecore.pods.static.directory import StaticPods
from edgecore.pods.static.mirrors import MirrorParts, Mirrors
from edgecore.pods.streams import PodStreams, StreamParts
from edgecore.pods.usage import UsageParts, UsageSource, read_load
from edgecore.rules.calls import RuleCalls
from edgecore.twins.calls import DeviceCalls
from edgecore.twins.keeper import Keeper
from edgecore.twins.questions import DeviceQuestions
from skerry.frozen import Frozen
from skerry.objects.commands import CAPABILITY, DeviceMethod, DeviceRefresh, PodRestart
from skerry.objects.device_questions import DEVICES
from skerry.objects.logs import LOGS
from skerry.objects.pod_streams import ATTACH, EXEC, FORWARD, NODE_PROXY
from skerry.objects.rule_calls import CALLS
from skerry.objects.rules import LOCAL_RULES, NO_BROKER
from skerry.objects.usage import USAGE
from skerry.probing.asking import PROBES
from skerry.sync.edge import EdgeState


class Talking(Frozen):
    """What is said on streams, to the cloud and to whoever asks here."""

    logs: PodLogs
    into_pods: PodStreams
    node_proxy: NodeProxy


def talking_of(ground: Ground, files: StaticPods) -> Talking:
    logs = _logs(ground, files)
    into_pods = PodStreams(StreamParts(store=ground.store, runtime=ground.runtime, files=files))
    return Talking(logs=logs, into_pods=into_pods, node_proxy=NodeProxy(logs))


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


def streams_of(ground: Ground, talking: Talking, questions: DeviceQuestions, calls: RuleCalls) -> StreamKinds:
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


def link_of(ground: Ground, boot_id: str, streams: StreamKinds) -> EdgeLink:
    lacks = () if ground.rules else (NO_BROKER,)
    serves = _serves() if ground.network.ingress else ()
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


def _serves() -> tuple[str, ...]:
    from skerry.objects.ingresses import CAN_SERVE  # only who serves Ingresses pays

    return (CAN_SERVE,)


def is_in_step(link: EdgeLink) -> bool:
    return link.status.state == EdgeState.IN_STEP.value


def commands_of(ground: Ground, boot_id: str, twins: Keeper, pods: PodManager, link: EdgeLink) -> CommandRunner:
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


def mirrors_of(ground: Ground, begun: Begun, cloud: CloudCalls, link: EdgeLink) -> Mirrors:
    made = Mirrors(
        MirrorParts(
            files=begun.files,
            store=ground.store,
            calls=cloud,
            node=ground.node,
            clock=ground.time,
            ids=ground.ids,
            in_step=begun.later.in_step,
            connected=lambda: link.connected,
        )
    )
    link.on_welcome(made.poke)
    return made
