"""What the local API asks of the agent's other rooms; `edgecore.agent` hands them over."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from edgecore.local_api.paths import Paths
from edgecore.store.port import PushQueue
from edgecore.store.shell import AsyncEdgeStore
from skerry.forms.exposition import Family
from skerry.frozen import Frozen
from skerry.objects.desired import Vector, Wish
from skerry.objects.device_questions import Question
from skerry.objects.history import HistoryQuestion
from skerry.objects.holds import Holding
from skerry.objects.json import JsonObject
from skerry.objects.local_changes import Entry, UpgradeHold
from skerry.objects.meta import Key
from skerry.objects.twins import TwinState
from skerry.ports import Clock, Pipe

if TYPE_CHECKING:  # which stands on these
    from edgecore.local_api.node_proxy import NodeProxy


class PropertyTwin(Protocol):
    """One property of one device now."""

    @property
    def device(self) -> Key: ...
    @property
    def prop(self) -> str: ...
    @property
    def state(self) -> TwinState: ...


class DeviceSummary(Protocol):
    """One device now. `state`: online, offline, invalid, held; `last_online_ms` 0: never."""

    @property
    def device(self) -> Key: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def last_online_ms(self) -> int: ...
    @property
    def holding(self) -> Holding | None: ...


class Twins(Protocol):
    def devices(self) -> Sequence[DeviceSummary]: ...
    def twins(self, device: Key | None = None) -> Sequence[PropertyTwin]: ...
    async def write(
        self, device: Key, wishes: Sequence[Wish], *, origin: str, if_match: str = ""
    ) -> Sequence[Vector]:
        """See `edgecore.twins.port.Twins`."""
        ...

    def desired_log(self, device: Key, *, since_ms: int = 0) -> Sequence[tuple[int, str, JsonObject]]: ...
    async def hold(self, device: Key, *, reason: str, by: str, until_ms: int | None) -> Holding: ...
    async def release(self, device: Key) -> None: ...


class LinkStatus(Protocol):
    """See `edgecore.link.session.LinkStatus`."""

    @property
    def state(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def transport(self) -> str: ...
    @property
    def session(self) -> int: ...
    @property
    def since_ms(self) -> int: ...
    @property
    def last_error(self) -> str: ...


class Link(Protocol):
    @property
    def connected(self) -> bool: ...
    @property
    def is_cut(self) -> bool: ...
    @property
    def status(self) -> LinkStatus: ...
    def traffic(self) -> JsonObject: ...
    def bandwidth(self) -> JsonObject: ...
    def on_welcome(self, act: Callable[[], None], /) -> None:
        """Have it called whenever the cloud takes a session up."""
        ...

    async def cut(self) -> None: ...
    async def heal(self) -> None: ...


class Logs(Protocol):
    """Raises as the reader of logs does, at the first step."""

    def __call__(self, params: JsonObject, /) -> AsyncGenerator[bytes]: ...


class Questions(Protocol):
    """About devices. Raises the errors of `skerry.errors`."""

    async def answer(self, question: Question) -> JsonObject: ...


class DeviceHistory(Protocol):
    """What this gateway itself remembers. Raises the errors of `skerry.errors`."""

    async def answer(self, namespace: str, name: str, question: HistoryQuestion, /) -> JsonObject: ...


class Pushes(Protocol):
    """See `edgecore.push.shell.QueueSight`."""

    @property
    def device(self) -> Key: ...
    @property
    def prop(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def queue(self) -> PushQueue: ...
    @property
    def reason(self) -> str: ...


class Pods(Protocol):
    @property
    def count(self) -> int: ...


class StaticPod(Protocol):
    @property
    def file(self) -> str: ...
    @property
    def key(self) -> Key: ...
    @property
    def uid(self) -> str: ...
    @property
    def pod(self) -> JsonObject: ...


class FileFault(Protocol):
    @property
    def file(self) -> str: ...
    @property
    def why(self) -> str: ...


class StaticPods(Protocol):
    """See `edgecore.pods.static.directory.StaticPods`."""

    @property
    def pods(self) -> Mapping[Key, StaticPod]: ...
    @property
    def faults(self) -> Sequence[FileFault]: ...
    def listen(self, changed: Callable[[frozenset[Key]], None], /) -> Callable[[], None]: ...


class NoStaticPods:
    """There are none."""

    @property
    def pods(self) -> Mapping[Key, StaticPod]:
        return {}

    @property
    def faults(self) -> Sequence[FileFault]:
        return ()

    def listen(self, changed: Callable[[frozenset[Key]], None], /) -> Callable[[], None]:
        return lambda: None


class Figures(Protocol):
    """What is used; see `edgecore.pods.measuring.Measuring`. Raise `UnavailableError`."""

    async def summary(self) -> JsonObject: ...
    async def resource(self) -> list[Family]: ...
    async def containers(self) -> list[Family]: ...
    def agent(self) -> list[Family]: ...


class Acts(Protocol):
    """What a technician does here by hand: see `edgecore.pods.local_acts`. Raises the errors of `skerry.errors`."""

    async def restart(self, by: str, namespace: str, name: str, container: str) -> JsonObject: ...
    async def stop(self, by: str, namespace: str, name: str, reason: str) -> JsonObject: ...
    async def start(self, by: str, namespace: str, name: str) -> JsonObject: ...
    async def enter(self, by: str, entry: Entry, namespace: str, name: str, where: str) -> None: ...
    def hold(self) -> UpgradeHold | None: ...
    async def hold_upgrades(self, by: str, reason: str, until_ms: int | None) -> UpgradeHold: ...
    async def release_upgrades(self, by: str) -> None: ...
    def changes(self) -> list[JsonObject]: ...


class IntoPods(Protocol):
    """Conversations with what runs in pods: talkers, as they are for the cloud. See `edgecore.pods.streams`."""

    async def command(self, params: JsonObject, pipe: Pipe, /) -> None: ...
    async def forward(self, params: JsonObject, pipe: Pipe, /) -> None: ...


class LocalParts(Frozen):
    """What the local API is made of."""

    store: AsyncEdgeStore
    twins: Twins
    link: Link
    logs: Logs
    pods: Pods
    clock: Clock
    node: str
    paths: Paths
    """Answers what is no resource."""
    questions: Questions
    figures: Figures
    history: DeviceHistory | None = None
    """None where the gateway keeps none of its own."""
    commands: Callable[[], list[JsonObject]] = list
    """Every command that this gateway knows, as objects."""
    pushes: Callable[[], Sequence[Pushes]] = tuple
    """Queues of readings for others than the cloud."""
    rule_status: Callable[[Key], JsonObject | None] = lambda _key: None
    """Of a DeviceRule, as it is here now; None for one that is not carried out."""
    static: StaticPods = NoStaticPods()
    """Pods that files on the gateway want."""
    acts: Acts | None = None
    """None where there are no pods."""
    into_pods: IntoPods | None = None
    """None where there are no pods."""
    node_proxy: NodeProxy | None = None
    """Through which the cloud asks; None: it can't."""
    unmirrored: Callable[[], Mapping[Key, str]] = dict
    """Why the cloud does not show some of them, where it said so."""
