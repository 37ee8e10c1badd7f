"""The cloud of a simulated fleet: every part of `cloudcore` but its sockets and its database, in virtual time.

The store is the memory form; what it holds outlives a killed cloud as a synced database does, because a commit is
acknowledged only once it is in it. A restored backup begins a new epoch, as a copied database file does.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import ec

from cloudcore.api.authz.defaults import keep_defaults
from cloudcore.api.bootstrap import Address, bootstrap
from cloudcore.api.call import Whole
from cloudcore.api.carried import CarriedCalls
from cloudcore.api.dispatch import Incoming, dispatch
from cloudcore.api.metrics import Metrics
from cloudcore.api.paths import Asked, Paths
from cloudcore.api.ports import Parts
from cloudcore.api.routing import clean_path, parse_query, target_of, verb_of
from cloudcore.composition import Core, api_parts, compose, hub_of, workers_of
from cloudcore.hub.hub import Hub, HubSettings
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.pki.token_keys import TokenKeys
from cloudcore.rules.plan import Answer as TargetAnswer
from cloudcore.rules.plan import Answered, Unreached
from cloudcore.rules.posting import Post, Target
from cloudcore.store.housekeeping import HousekeepingSettings
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import later_epoch
from skerry.authz.attributes import Actor
from skerry.cli.client import Answer, error_of
from skerry.errors import InvalidError, SkerryError, UnavailableError
from skerry.forms.status import answer_for
from skerry.frozen import Frozen
from skerry.objects.json import JsonObject, decode_object, encode_object
from skerry.testkit.api import Api
from skerry.testkit.face import Backup
from skerry.testkit.fleet import AskedCloud
from skerry.testkit.simulated.chance import CloudClock, ids_of
from skerry.testkit.simulated.loop import VirtualLoop
from skerry.testkit.simulated.process import Process
from skerry.testkit.simulated.transcript import Transcript
from skerry.testkit.simulated.wire import Route, WireEnd

ADMIN: Final = Actor(name="skerry:admin", groups=("system:masters", "system:authenticated"))
"""Who a fleet's own kubeconfig is for."""
ADDRESS: Final = Address(host="192.0.2.10", port=6443)
"""Of the API, as pods would reach it (RFC 5737: documentation)."""
CA_PEM: Final = (
    "-----BEGIN CERTIFICATE-----\n"
    "VGhlcmUgYXJlIG5vIGNlcnRpZmljYXRlcyBpbiBhIHNpbXVsYXRlZCBmbGVldC4=\n"
    "-----END CERTIFICATE-----\n"
)
"""Goes to kube-root-ca.crt, where nothing reads it. The text says that there are no certificates here."""


POST_S: Final = 0.01
"""What a target takes to answer."""


class SimulatedBackup(Frozen, kw_only=False):
    """A copy of the store."""

    taken_s: float
    state: MemoryState


class _Life(Frozen):
    """The parts of one life of the cloud."""

    process: Process
    store: MemoryStore
    core: Core
    hub: Hub
    parts: Parts
    paths: Paths


class SimulatedCloud(AskedCloud):
    """Implements `skerry.testkit.Cloud`, and `skerry.cli.client.Server` for whoever asks its API."""

    def __init__(
        self, loop: VirtualLoop, transcript: Transcript, seed: int, routes: Callable[[], Sequence[Route]]
    ) -> None:
        self._loop = loop
        self._transcript = transcript
        self._seed = seed
        self._routes = routes
        self._lives = 0
        self._life: _Life | None = None
        self._state = MemoryState(epoch=ids_of(seed, "epoch", 0).uid())
        self.clock = CloudClock(loop)
        self.api = Api(self)
        self.targets: dict[str, int] = {}
        """By URL, with what status an application answers messages of rules there; nothing answers elsewhere."""
        self.posted: list[tuple[str, bytes, Mapping[str, str]]] = []
        """What came to those."""

    # --- its life ---

    @property
    def running(self) -> bool:
        return self._life is not None and self._life.process.runs

    @property
    def fault(self) -> BaseException | None:
        return self._life.process.fault if self._life is not None else None

    def start(self) -> None:
        if self.running:
            return
        self._lives += 1
        told = self._transcript.note if self._lives == 1 else self._transcript.fault
        told("cloud", f"starts life={self._lives} epoch={self._state.epoch[:8]}")
        self._life = self._begin()

    def _begin(self) -> _Life:
        ids = ids_of(self._seed, "cloud", self._lives)
        process = Process(self._loop, "cloud")
        store = self.new_store(self._state)
        made: list[_Life] = []

        async def main(tasks: asyncio.TaskGroup) -> None:
            core = await compose(store, self.clock, ids, service_cidr=ADDRESS.service_cidr)
            tasks.create_task(core.cache.run())
            hub = hub_of(core, HubSettings())
            await keep_defaults(core.objects, core.scheme)
            await bootstrap(core.objects, core.scheme, ADDRESS)
            settings = HousekeepingSettings()
            key = ec.derive_private_key(self._seed % (1 << 64) + 1, ec.SECP256R1())
            tokens = ServiceTokens(TokenKeys(key=key), self.clock, ids)
            workers = workers_of(core, hub, tokens=tokens, ca_pem=CA_PEM, housekeeping=settings, poster=self._posting)
            for work in workers.values():
                tasks.create_task(_part(work))
            parts = api_parts(core, hub, tokens)
            paths = Paths(parts, Metrics())
            hub.carried = CarriedCalls(parts, paths)
            made.append(_Life(process=process, store=store, core=core, hub=hub, parts=parts, paths=paths))

        process.start(main)
        return made[0]

    @asynccontextmanager
    async def _posting(self) -> AsyncGenerator[Post]:
        """What messages of rules are sent with: nobody outside is asked."""
        yield self._post

    async def _post(self, target: Target, body: bytes, headers: Mapping[str, str], /) -> TargetAnswer:
        await asyncio.sleep(POST_S)
        answer = self.targets.get(target.url)
        if answer is None:
            return Unreached(why="nothing answers there in this simulated fleet")
        self.posted.append((target.url, body, headers))
        return Answered(status=answer)

    def new_store(self, state: MemoryState) -> MemoryStore:
        return MemoryStore(state)

    def new_epoch(self) -> str:
        """Of a store that was restored."""
        return later_epoch(ids_of(self._seed, "epoch", self._lives).uid())

    def kill(self) -> None:
        life, self._life = self._life, None
        if life is None:
            return
        self._transcript.fault("cloud", "is killed")
        for route in self._routes():
            route.hang_up("down")
        process = life.process
        process.silence()
        self._loop.do(life.store.close())
        process.kill()

    def backup(self) -> SimulatedBackup:
        self._transcript.fault("cloud", f"is backed up at revision {self._state.revision}")
        return SimulatedBackup(self._loop.time(), copy.deepcopy(self._state))

    def restore_backup(self, backup: Backup) -> None:
        if not isinstance(backup, SimulatedBackup):
            raise InvalidError("this backup is not one that this fleet's cloud.backup() made")
        self.kill()
        self._state = copy.deepcopy(backup.state)
        self._state.epoch = self.new_epoch()
        self._transcript.fault("cloud", f"is restored to revision {self._state.revision}")
        self.start()

    def accept(self, end: WireEnd) -> None:
        """A gateway has connected."""
        assert self._life is not None
        self._life.process.spawn(self._life.hub.handle(end))

    # --- what tests look at ---

    @property
    def connected(self) -> Sequence[str]:
        return self._life.hub.connected if self._life is not None else ()

    # --- its API ---

    @property
    def namespace(self) -> str:
        return "default"

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """What the API answers, through its verbs, without HTTP. Raises what a client of it would."""
        life = self._life
        if life is None or not life.process.runs:
            raise UnavailableError("the cloud does not run")
        data = encode_object(body) if body is not None else b""
        warnings: list[str] = []

        async def read() -> bytes:
            return data

        cleaned, asked = clean_path(path), parse_query(urlencode(query or {}))
        target = target_of(cleaned)
        try:
            if target is None:
                seen = Asked(path=cleaned, actor=ADMIN, accept=accept, if_none_match="", verbose=False)
                reply = life.paths.answer(method, seen)
            else:
                incoming = Incoming(
                    target=target,
                    verb=verb_of(method, target, asked),
                    query=asked,
                    accept=accept,
                    content_type=content_type,
                    user_agent="skerry-testkit",
                )
                reply = self._loop.do(dispatch(life.parts, incoming, ADMIN, read, warnings))
        except SkerryError as error:
            refused = answer_for(error)
            raise error_of(refused.code, refused.status) from error
        assert isinstance(reply, Whole), "streams are not asked for here"
        answered = decode_object(reply.body) if reply.body else None
        if reply.code >= 400:
            raise error_of(reply.code, answered)
        return Answer(status=reply.code, body=answered, warnings=tuple(warnings))


async def _part(work: Awaitable[None]) -> None:
    await work
