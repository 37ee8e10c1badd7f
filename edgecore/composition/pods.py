"""What has to be there for pods to run again: begun before the rest of the agent is even read from the disk.

After a power cycle the containers of ten pods take a runtime a second; a link, devices and an API take the agent a
quarter of one. So pods are put together first, and what they ask of parts that come later is answered as an agent
without a link answers it, until those are there (`Later`). Keeps nothing; each part says what it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from edgecore.composition.ground import PodGround
from edgecore.link.cloud_time import AgentClock
from edgecore.network.settings import DnsSettings
from edgecore.pods.env import ApiPlace, NodeFacts
from edgecore.pods.leases import PodLeases
from edgecore.pods.local_acts import Hold
from edgecore.pods.manager import PodManager
from edgecore.pods.node import Machine, allocatable_of
from edgecore.pods.parts import PodParts
from edgecore.pods.static.directory import StaticPods
from edgecore.pods.volumes import private_pods
from edgecore.store.port import META_KNOWN_MS, floor_of
from edgecore.store.shell import AsyncEdgeStore
from edgecore.tokens.keeper import TokenKeeper, TokenParts
from skerry.errors import UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject
from skerry.ports import Clock, Pipe

if TYPE_CHECKING:
    from skerry.objects.cloud_calls import CallHead, CloudAnswer

STATIC_PODS: Final = "static-pods.json"
"""Below the data: what the files of static pods said last."""


class Whole(Frozen):
    """What the rest of the agent answers."""

    connected: Callable[[], bool]
    """There is a session with the cloud."""
    in_step: Callable[[], bool]
    """The store is known to equal the cloud's view."""
    refusal: Callable[[JsonObject], str]
    """Why a pod that is new may not begin now, in the gateway's own interest; "" where it may."""
    ask: Callable[[CallHead, bytes], Coroutine[Any, Any, CloudAnswer]]
    """A request to the cloud's API."""
    pipe: Callable[[str, bytes], AbstractAsyncContextManager[Pipe]]
    """A stream to the cloud."""


class Later:
    """Answers for the rest of the agent: until it is there, as one that has no link and is short of nothing."""

    def __init__(self) -> None:
        self._whole: Whole | None = None

    def settle(self, whole: Whole) -> None:
        """It is there."""
        self._whole = whole

    def connected(self) -> bool:
        return self._whole is not None and self._whole.connected()

    def in_step(self) -> bool:
        return self._whole is not None and self._whole.in_step()

    def refusal(self, pod: JsonObject) -> str:
        return "" if self._whole is None else self._whole.refusal(pod)

    async def ask(self, head: CallHead, body: bytes = b"") -> CloudAnswer:
        """See `edgecore.link.calls.CloudCalls`."""
        if self._whole is None:
            raise UnavailableError("the agent is starting: the cloud can't be asked yet")
        return await self._whole.ask(head, body)

    def pipe(self, kind: str, params: bytes) -> AbstractAsyncContextManager[Pipe]:
        """See `edgecore.link.session.EdgeLink`."""
        if self._whole is None:
            raise UnavailableError("the agent is starting: the cloud can't be reached yet")
        return self._whole.pipe(kind, params)


class Begun(Frozen):
    """Pods, and what they are made of."""

    machine: Machine
    """The gateway as it was when the agent began."""
    files: StaticPods
    hold: Hold
    tokens: TokenKeeper
    lent: PodLeases
    """For how much longer those may run that must never run twice in a federation."""
    pods: PodManager
    later: Later

    def workers(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """What brings the pods up that were known, by name."""
        return {"pods": self.pods.run(), "static pods": self.files.run()}


def agent_clock(clock: Clock, store: AsyncEdgeStore) -> AgentClock:
    """The machine's clock with what its store kept of the cloud's."""
    boots = store.boots()
    return AgentClock(clock, boots, floor_of(boots, store.meta(META_KNOWN_MS)))


def compose_pods(ground: PodGround) -> Begun:
    """Nothing runs yet. Raises `UnavailableError` where the directory can't be written."""
    private_pods(ground.directory)
    time, machine, later = ground.time, ground.machine(), Later()
    files = StaticPods(ground.static_pods, ground.directory / STATIC_PODS, node=ground.node, clock=time)
    tokens = TokenKeeper(
        TokenParts(
            store=ground.store,
            calls=later,
            clock=time,
            ids=ground.ids,
            directory=ground.directory,
            connected=later.connected,
            in_step=later.in_step,
            changed=lambda uid: pods.refresh(uid),  # noqa: PLW0108 - made below
        )
    )
    hold, lent = Hold(ground.store, time), PodLeases(ground.store, ground.clock, machine.boot_id, later)
    parts = PodParts(
        store=ground.store,
        runtime=ground.runtime,
        clock=ground.clock,
        ids=ground.ids,
        node=_facts(ground, machine),
        directory=ground.directory,
        root=ground.root,
        tokens=tokens.token,
        files=files,
        hold=hold,
        lent=lent,
        asking=ground.asking,
        cgroups=ground.cgroups,
        apis=tuple(ApiPlace(host=host, port=port) for host, port in ground.local_api),
        authority=ground.authority,
        off_disk=ground.off_disk,
        sysctls=ground.sysctls,
        refusal=later.refusal,
        dead=ground.dead,
    )
    pods = PodManager(parts, later.in_step)
    return Begun(machine=machine, files=files, hold=hold, tokens=tokens, lent=lent, pods=pods, later=later)


def _facts(ground: PodGround, machine: Machine) -> NodeFacts:
    dns = ground.network.dns or DnsSettings(host="127.0.0.1")
    return NodeFacts(
        name=ground.node,
        address=machine.addresses[0],
        allocatable=allocatable_of(machine, ground.reserved, ground.eviction),
        capacity_bytes=machine.memory_bytes,
        cluster_dns=dns.for_pods,
        cluster_domain=dns.domain,
    )
