"""One node's session over one link: admits it, pushes what changes, commits what it reports.

Decides nothing that `skerry.sync.cloud` decides. What a session keeps is in memory and bounded by its window;
the store has what of the node's outbox took effect, committed together with those effects and only for the node's
newest session, so that a crash at any point, or another replica, loses nothing and doubles nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol
from weakref import WeakMethod

from cloudcore.hub.bounds import Bounds
from cloudcore.hub.outcomes import Outcome
from cloudcore.registry.port import Objects
from cloudcore.store.port import Advance, Store
from skerry.daemon import leaves
from skerry.errors import CallerError, FencedError, SkerryError
from skerry.frozen import Frozen, field, replace
from skerry.objects.cloud_calls import API_CALLS
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key
from skerry.objects.pod_leases import LEASES
from skerry.objects.traffic import Usage
from skerry.ports import Clock, Link, Pipe
from skerry.sync.cloud import Admission, CloudSession, CloudState
from skerry.sync.effects import (
    Admit,
    CloseLink,
    CloudEffect,
    Commit,
    DatedReport,
    Heard,
    Send,
    Settled,
    StreamArrived,
    StreamEnded,
    StreamInputEnded,
    StreamOpened,
    StreamWritable,
)
from skerry.sync.ports import SyncSettings, View
from skerry.transport.driver import Driver, now_of
from skerry.transport.gate import Gate
from skerry.transport.hosting import StreamHost, Talker
from skerry.wire.frames import CloseCode, Hello
from skerry.wire.shared import SharedEncoder

log = logging.getLogger(__name__)

NODE_USER_PREFIX = "system:node:"
"""Common name of a node's certificate, before the node's name (Kubernetes' node authorizer)."""


REST_S_MAX: Final = 2.0
"""After a batch of reports."""


def node_user(node: str) -> str:
    return NODE_USER_PREFIX + node


def told_of(error: Exception) -> tuple[str, Exception | None]:
    """What is logged of a session that an error ended: words, and what is worth a traceback, which is what nobody
    foresaw alone."""
    known = leaves(error)
    words = "; ".join(str(each) or type(each).__name__ for each in known)
    return words, None if all(isinstance(each, SkerryError) for each in known) else error


class Reports(Protocol):
    """Reads what one peer reports (`cloudcore.hub.effects.Reporter`)."""

    def outcome(self, dated: DatedReport) -> Outcome:
        """Raises `CallerError` for a report that makes no sense."""
        ...


class Registry(Protocol):
    """What a session asks of its hub."""

    async def refusal(self, node: str, key: str) -> str:
        """Why a gateway with this key is not the node's any more; "" when it is."""
        ...

    async def refused(self, node: str, reason: str) -> None:
        """One was, after it was told."""
        ...

    async def enter(self, session: NodeSession) -> bool:
        """Take over from the node's older session, once that has ended; False when there is no room now."""
        ...

    def behind(self, session: NodeSession) -> None:
        """The views are older than what the node has seen: tell the session when they move."""
        ...

    def view(self, node: str) -> View: ...

    def reporter(self, session: NodeSession, incarnation: str) -> Reports: ...

    def gate(self, node: str) -> Gate | None:
        """What is sent to the node goes through this; None for no cap."""
        ...

    async def met(self, session: Advance, *, issuer: str) -> None:
        """The node's gateway is here with this session, this life of its store (commands are given to it from now on)
        and a certificate by this issuer (`Link.peer_issuer`). Raises `FencedError` when it has entered elsewhere
        meanwhile."""
        ...

    def heard(self, session: NodeSession) -> None:
        """It said something after Welcome: only then is it alive."""
        ...

    def retry_after_s(self) -> float:
        """When a node that finds no room should come back: one after the other."""
        ...

    def settled(self, session: NodeSession) -> None:
        """It is in step, for the first time or again."""
        ...


class Carried(Protocol):
    """Answers one request to the API that the gateway of a node carries here (`skerry.objects.cloud_calls`)."""

    async def __call__(self, node: str, params: JsonObject, pipe: Pipe, /) -> None: ...


class SessionParts(Frozen):
    """What every session of a hub is made of."""

    objects: Objects
    store: Store
    clock: Clock
    bounds: Bounds
    sync: SyncSettings = field(default_factory=SyncSettings)
    hub: str = ""
    """Name of the hub among several; "" where it is alone."""
    encoder: SharedEncoder = field(default_factory=SharedEncoder)
    """Makes the frames of all of them."""
    user_of: Callable[[str], str] = node_user
    """Whom a certificate has to be of for the name in a hello."""
    carried: Callable[[], Carried | None] = lambda: None
    """What answers requests that gateways carry to the API; None: nothing does."""
    share: float = 1.0
    """Of the time, that the reports of one session may take: it rests after each batch. One that always has something
    to tell leaves the rest to the others."""
    lending: Carried | None = None
    """What answers for how much longer gateways may run pods that are lent; None: nothing does."""


class NodeSession:
    """See the module. `run` lasts as long as the link."""

    def __init__(self, link: Link, parts: SessionParts, registry: Registry) -> None:
        self._link = link
        self._parts = parts
        self._registry = registry
        self._machine = CloudSession(now_of(parts.clock), parts.sync)
        self._driver: Driver[CloudEffect] = Driver(link, self._machine, parts.clock, parts.encoder.encode)
        # Weakly: a session that is over is gone at once, and does not wait for the collector.
        talker_of = WeakMethod(self._talker)
        self.streams = StreamHost(
            self._machine.streams,
            lambda kind: None if (talker := talker_of()) is None else talker(kind),
            self._driver.spawn,
            self._driver.kick,
            stopping="the session with the cloud ends",
        )
        self.node = ""
        """Known once its certificate and its Hello agree."""
        self.capabilities: tuple[str, ...] = ()
        """What the agent says that it can, from then on."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when everything of it is over, commits included."""
        self._fence: Advance | None = None
        """With the number that the store gave; a newer one fences this session."""
        self.may_have_entered = False
        """The store was asked for that number, whether or not its answer came."""
        self._reporter: Reports | None = None
        self.spoke_s: float | None = None
        """When the node first said something after Welcome, monotonic; None: it has not."""
        self._asked = False

    @property
    def state(self) -> CloudState:
        return self._machine.state

    @property
    def is_over(self) -> bool:
        """Nothing more is said in it."""
        return self._machine.state is CloudState.CLOSED

    @property
    def peer_key(self) -> str:
        """See `Link.peer_key`."""
        return self._link.peer_key

    def _talker(self, kind: str) -> Talker | None:
        """What is done on streams that the gateway opens, once it is known whose it is."""
        answers = {API_CALLS: self._parts.carried(), LEASES: self._parts.lending}
        carried = answers.get(kind) if self.node and self._fence is not None else None
        if carried is None:
            return None

        async def talk(params: JsonObject, pipe: Pipe, /) -> None:
            await carried(self.node, params, pipe)

        return talk

    @property
    def fence(self) -> Advance | None:
        """What fences a write that is made in the name of this session; None before it has entered."""
        return self._fence

    @property
    def heard_s(self) -> float:
        """When the node was heard last, monotonic."""
        return self._machine.heard_s

    async def run(self) -> CloseLink:
        """Until the session ends; how it did."""
        try:
            return await self._driver.run(self._perform)
        finally:
            self.ended.set_result(None)

    @property
    def counted(self) -> int:
        """See `cloudcore.hub.traffic.Metered`."""
        return self._driver.counted

    def take_usage(self) -> Usage:
        """See `cloudcore.hub.traffic.Metered`."""
        return self._driver.usage(sent_is_up=False)

    def changed(self, keys: Iterable[Key]) -> None:
        """The node's view changed. What that makes to say is said by `push`."""
        self._machine.changed(keys, self._driver.now())
        self._ask()

    def push(self) -> None:
        """See `cloudcore.hub.pushing`."""
        if self._machine.state is not CloudState.CLOSED:
            self._driver.kick()

    def limit(self, gate: Gate | None) -> None:
        """What is sent goes through this from now on."""
        self._driver.limit(gate)

    def close(self, code: int, reason: str, *, retry_after_s: float = 0.0) -> None:
        self._machine.close(code, reason, retry_after_s=retry_after_s)
        self._driver.kick()

    def _perform(self, effect: CloudEffect) -> None:
        match effect:
            case Admit():
                self._driver.spawn(self._admit(effect.hello))
            case Commit():
                self._driver.spawn(self._commit(effect))
            case Settled():
                self._registry.settled(self)
            case Heard():
                self.spoke_s = self._parts.clock.monotonic_s()
                self._registry.heard(self)
            case StreamOpened() | StreamArrived() | StreamWritable() | StreamInputEnded() | StreamEnded():
                self.streams.perform(effect)
            case Send() | CloseLink():
                raise AssertionError("the driver's own")

    # --- who is it ---

    async def _admit(self, hello: Hello) -> None:
        proved = self._link.peer_name
        if proved != self._parts.user_of(hello.node) or not hello.node:
            self.close(CloseCode.REFUSED, f"the certificate is of {proved or 'nobody'}, the hello of {hello.node}")
            return
        try:
            if await self._is_refused(hello.node):  # before the node's own session has to go for this one
                return
            self.node, self.capabilities = hello.node, hello.capabilities
            if not await self._registry.enter(self):
                self.close(CloseCode.BUSY, "too many at once", retry_after_s=self._registry.retry_after_s())
                return
            self.may_have_entered = True
            position = await self._parts.store.enter(
                hello.node, hello.incarnation, hub=self._parts.hub, starts=hello.starts
            )
            self._fence = Advance(
                node=hello.node, incarnation=hello.incarnation, session=position.session, covered=()
            )
            await self._registry.met(self._fence, issuer=self._link.peer_issuer)
            if await self._is_refused(hello.node):  # the node may have joined again meanwhile
                return
        except FencedError as error:
            self.close(CloseCode.FENCED, str(error))
            return
        except SkerryError as error:
            self.close(CloseCode.FAILED, f"the cloud's store: {error}", retry_after_s=self._registry.retry_after_s())
            return
        self._driver.limit(self._registry.gate(hello.node))
        self._reporter = self._registry.reporter(self, hello.incarnation)
        admission = Admission(
            view=self._registry.view(hello.node),
            epoch=self._parts.store.epoch,
            session=position.session,
            received=position.received,
            common=position.common,
        )
        self._machine.admitted(admission, self._driver.now())
        if self._machine.state is CloudState.BEHIND:
            self._registry.behind(self)
        self._ask()
        self._driver.kick()

    def _ask(self) -> None:
        """Once, with Welcome: a node counts as heard by what it says then, and one that is in step says nothing."""
        if not self._asked and self._machine.open:
            self._asked = True
            self._machine.ask(self._driver.now())

    async def _is_refused(self, node: str) -> bool:
        reason = await self._registry.refusal(node, self.peer_key)
        if reason:
            self.close(CloseCode.REFUSED, reason)
            await self._registry.refused(node, reason)
        return bool(reason)

    # --- what it reports ---

    async def _commit(self, commit: Commit) -> None:
        turn, began_s = self._driver.turns.begin(), self._parts.clock.monotonic_s()
        outcomes: list[Outcome] = []
        for dated in commit.reports:
            outcomes.append(self._outcome(dated))
            await turn.step()
        assert self._fence is not None, "reports come after Welcome"
        advance = replace(self._fence, incarnation=commit.incarnation, covered=commit.covered)
        try:
            await self._parts.objects.report(
                advance,
                [effect for outcome in outcomes for effect in outcome.effects],
                [record for outcome in outcomes for record in outcome.records],
                pause=turn.step,
            )
            await self._rest(began_s)
            self._machine.committed()
        except FencedError as error:
            self.close(CloseCode.FENCED, str(error))
        except SkerryError as error:
            self._give_up(error)
        self._driver.kick()

    async def _rest(self, began_s: float) -> None:
        """What was told is in the store; what it tells next waits."""
        took_s = self._parts.clock.monotonic_s() - began_s
        rest_s = min(took_s * (1 / self._parts.share - 1), REST_S_MAX)
        if rest_s > 0:
            await asyncio.sleep(rest_s)

    def _give_up(self, error: SkerryError) -> None:
        """The edge still has what was not receipted, and sends it again."""
        self.close(
            CloseCode.FAILED,
            f"the cloud could not commit the node's reports: {error}",
            retry_after_s=self._registry.retry_after_s(),
        )

    def _outcome(self, dated: DatedReport) -> Outcome:
        assert self._reporter is not None, "reports come after Welcome"
        try:
            outcome = self._reporter.outcome(dated)
        except CallerError as error:
            # Handled by passing over it: the same report would be as wrong tomorrow, and block all behind it.
            if self._parts.bounds.refuse(self.node, "malformed"):
                log.warning(
                    "report passed over node=%s seq=%d kind=%s error=%s",
                    self.node,
                    dated.report.seq,
                    dated.report.kind,
                    error,
                )
            return Outcome()
        return self._bounded(outcome)

    def _bounded(self, outcome: Outcome) -> Outcome:
        """Without what is not the node's own, and what there is no room for."""
        bounds = self._parts.bounds
        if outcome.refused is not None:
            bounds.refuse(self.node, outcome.refused)
            return Outcome(records=outcome.records)
        if outcome.event is not None:
            new = self._parts.objects.read(outcome.event) is None
            if not bounds.allows_event(self.node, new=new):
                return Outcome(effects=outcome.without_room)
        if outcome.message_bytes is not None and not bounds.allows_message(self.node, outcome.message_bytes):
            return Outcome(effects=outcome.without_room)
        for effect in outcome.effects:
            if effect.gone:
                bounds.left(self.node, effect.uid, effect.key)
        return outcome
