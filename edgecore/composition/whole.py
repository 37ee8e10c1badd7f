"""The whole agent, once its pods are on their way: devices, the node, the local API and the link beside them.

`edgecore.agent` gives the real machine, `skerry.testkit` one that lives in virtual time; what runs on it is the same.
Keeps nothing; each part says what it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from devices.external import ExternalDriver
from edgecore.commands.runner import CommandRunner, shown_commands
from edgecore.composition import cloud, devices, node
from edgecore.composition.ground import AGENT_VERSION, LOCAL_API, Ground
from edgecore.composition.pods import Begun, Whole
from edgecore.device_rules.keeper import DeviceRules
from edgecore.history.keeper import HistoryKeeper
from edgecore.link.calls import CloudCalls
from edgecore.link.session import EdgeLink
from edgecore.local_api.kinds import SERVED
from edgecore.local_api.openapi import OpenApi
from edgecore.local_api.paths import Paths
from edgecore.local_api.ports import LocalParts
from edgecore.pods.evictor import Evictor
from edgecore.pods.image_collector import ImageCollector
from edgecore.pods.local_acts import ActParts, LocalActs
from edgecore.pods.local_volumes import LocalVolumes
from edgecore.pods.log_rotation import LogRotation
from edgecore.pods.node import NodeReporter
from edgecore.pods.parts import POD_LOGS
from edgecore.pods.static.mirrors import Mirrors
from edgecore.push.keeper import Pushes
from edgecore.rules.calls import RuleCalls
from edgecore.rules.services import Services
from edgecore.twins.keeper import Keeper
from skerry.frozen import Frozen
from skerry.waits import until_set

if TYPE_CHECKING:
    from edgecore.bus.announcer import Announcer
    from edgecore.bus.shell import EventBus
    from edgecore.dmi.mappers import Mappers
    from edgecore.rules.service_bus import ServiceBus
    from edgecore.rules.shell import GatewayRules

AFTER_PODS_S_MAX: Final = 5.0
"""The longest that anything waits for pods to begin."""


class Agent(Frozen):
    """The parts that run beside the pods: twins, commands and node first, the link last."""

    begun: Begun
    """The pods, which run already."""
    mirrors: Mirrors
    images: ImageCollector
    logs: LogRotation
    evictor: Evictor
    node: NodeReporter
    volumes: LocalVolumes
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
        """What else was known is brought up by these, by name: begun before the link is."""
        return {
            "mirror pods": self.mirrors.run(),
            "tokens": self.begun.tokens.run(),
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
        await self.pods_have_begun()
        await run()

    async def pods_have_begun(self) -> None:
        """Or have been waited for long enough."""
        await until_set(self.begun.pods.begun, within_s=AFTER_PODS_S_MAX)


def compose(ground: Ground, begun: Begun) -> Agent:
    """Nothing of it runs yet; the pods ask it from now on."""
    store, time, later, pods = ground.store, ground.time, begun.later, begun.pods
    external, pusher = ExternalDriver(clock=time), devices.pushes_of(ground)
    twins = devices.twins_of(ground, external, later.in_step, pusher)
    questions = devices.questions_of(ground, twins, pusher)
    rules, services = devices.rules_of(ground), Services()
    device_rules = devices.device_rules_of(ground, twins, services, rules)

    talking, boot_id = cloud.talking_of(ground, begun.files), begun.machine.boot_id
    streams = cloud.streams_of(ground, talking, questions, RuleCalls(ground.node, rules, services))
    link = cloud.link_of(ground, boot_id, streams)
    link.on_welcome(begun.tokens.poke)
    link.on_welcome(begun.lent.welcomed)
    calls = CloudCalls(link)
    mirrors = cloud.mirrors_of(ground, begun, calls, link)
    commands = cloud.commands_of(ground, boot_id, twins, pods, link)

    images, network = node.images_of(ground, pods), node.network_of(ground)
    reporter = node.node_of(ground, pods, lambda: evictor.conditions, begun.hold, network.functions)
    evictor = node.evictor_of(ground, pods, images, reporter)
    later.settle(_answers(link, calls, evictor))
    history = devices.history_of(ground)
    local = LocalParts(
        history=history,
        store=store,
        twins=twins,
        link=link,
        logs=talking.logs,
        clock=time,
        node=ground.node,
        paths=Paths(OpenApi(ground.directory / LOCAL_API / "openapi", calls, SERVED), version=AGENT_VERSION),
        pods=pods,
        questions=questions,
        commands=lambda: shown_commands(store),
        pushes=pusher.sights if pusher is not None else tuple,
        rule_status=device_rules.status,
        static=begun.files,
        figures=node.measuring_of(ground),
        unmirrored=mirrors.refusals,
        acts=_acts(ground, begun),
        into_pods=talking.into_pods,
        node_proxy=talking.node_proxy,
    )
    return Agent(
        begun=begun,
        mirrors=mirrors,
        logs=LogRotation(ground.runtime, ground.directory / POD_LOGS, ground.clock, ground.rotation),
        images=images,
        evictor=evictor,
        node=reporter,
        volumes=LocalVolumes(store, node=ground.node, directory=ground.directory),
        twins=twins,
        commands=commands,
        link=link,
        own_broker=ground.own_broker,
        bus=devices.bus_of(ground, twins, external),
        rules=rules,
        device_rules=device_rules,
        service_bus=devices.service_bus_of(ground, later.in_step),
        mappers=devices.mappers_of(ground, external),
        history=history,
        pusher=pusher,
        network=network.run,
        announcer=devices.announcer_of(ground, twins),
        local=local,
        cloud=calls,
    )


def _answers(link: EdgeLink, calls: CloudCalls, evictor: Evictor) -> Whole:
    return Whole(
        connected=lambda: link.connected,
        in_step=lambda: cloud.is_in_step(link),
        refusal=evictor.refusal,
        ask=calls.ask,
        pipe=link.pipe,
    )


def _acts(ground: Ground, begun: Begun) -> LocalActs:
    return LocalActs(
        ActParts(
            store=ground.store,
            runtime=ground.runtime,
            pods=begun.pods,
            hold=begun.hold,
            clock=ground.time,
            ids=ground.ids,
            node=ground.node,
        )
    )
