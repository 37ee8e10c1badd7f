"""The API over the memory store and the real rules of kinds, asked without sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from cloudcore.api.bootstrap import Address, bootstrap
from cloudcore.api.call import Reply, Stream, Whole
from cloudcore.api.dispatch import Incoming, dispatch
from cloudcore.api.ports import Document, Parts, Presented
from cloudcore.api.protobuf import ProtobufDecoder
from cloudcore.api.routing import clean_path, parse_query, target_of, verb_of
from cloudcore.api.shapes import KindShapes
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.pki.token_keys import new_token_keys
from cloudcore.registry.bodies import body_of
from cloudcore.registry.builtin import KindRules
from cloudcore.registry.custom import RESOURCE, CustomKinds
from cloudcore.registry.definitions import definitions
from cloudcore.registry.go_fields import go_fields
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import SYSTEM
from cloudcore.store.cache import CacheSettings, WatchCache, following
from cloudcore.store.memory import MemoryState, MemoryStore
from cloudcore.store.port import ABSENT, Batch, Put
from skerry.authz.attributes import Actor, Attributes, refusal
from skerry.clocks import ManualClock, SeededIds
from skerry.errors import SkerryError, UnavailableError
from skerry.forms.status import answer_for
from skerry.objects.device_questions import Question
from skerry.objects.json import JsonObject
from skerry.objects.logs import LogRequest
from skerry.objects.meta import Key, name_of
from skerry.objects.scheme import Kind
from skerry.objects.traffic import TrafficBook, Usage
from skerry.objects.usage import NodeUsed
from skerry.ports import Pipe


class OpenDoor:
    """A gate that lets everybody through but for what it was told to refuse, and remembers who asked for what."""

    def __init__(self) -> None:
        self.closed: set[tuple[str, str]] = set()
        self.asked: list[Attributes] = []

    def require(self, attributes: Attributes) -> None:
        self.asked.append(attributes)
        if (attributes.verb, attributes.full_resource) in self.closed:
            raise refusal(attributes, "")


class Everyone:
    async def authenticate(self, presented: Presented) -> Actor:
        return SYSTEM


class NoDocuments:
    def index(self) -> Document:
        return Document(body=b"{}", gzipped=b"", media_type="application/json", etag='"0"')

    def group_version(self, path: str) -> Document | None:
        return None

    def v2(self, *, protobuf: bool) -> Document:
        return self.index()


class Yes:
    """Reviews that agree to everything."""

    async def answer(self, kind: Kind, namespace: str, obj: JsonObject, actor: Actor) -> JsonObject:
        return {**obj, "status": {"allowed": True}}

    async def issue_token(self, namespace: str, name: str, obj: JsonObject, actor: Actor) -> JsonObject:
        return {**obj, "status": {"token": f"token of {namespace}/{name}"}}


class Quiet:
    """Nodes with one hour of traffic; those of other regions have none."""

    days_kept = 30

    async def known(self, node: str) -> bool:
        return node.startswith("eu-")

    async def book(self, node: str, since_ms: int) -> TrafficBook:
        if not await self.known(node):
            return TrafficBook()
        return TrafficBook.of([(since_ms + 60_000, Usage(up={"session": 5}, wire_up=100, wire_down=50))])

    def bandwidth(self, node: str) -> JsonObject:
        return {"plan": "64kbit", "up": "64kbit", "down": "64kbit"} if node == "eu-1" else {}


@dataclass
class Shelf:
    """Logs of gateways by name; a name that is not there is a gateway out of reach."""

    logs: dict[str, list[bytes]] = field(default_factory=dict)
    requests: list[LogRequest] = field(default_factory=list)

    async def read(self, node: str, request: LogRequest) -> AsyncGenerator[bytes, None]:
        self.requests.append(request)
        if node not in self.logs:
            raise UnavailableError(f"node {node} is not connected")
        for piece in self.logs[node]:
            yield piece


@dataclass
class Gateways:
    """Answers of gateways by name, and what they were asked; a name that is not there is a gateway out of reach."""

    answers: dict[str, JsonObject] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)
    uses: dict[str, NodeUsed] = field(default_factory=dict)

    async def ask(self, node: str, question: Question) -> JsonObject:
        self.asked.append(question)
        if node not in self.answers:
            raise UnavailableError(f"node {node} is not connected: its devices are on the gateway")
        return self.answers[node]

    async def used(self, node: str) -> NodeUsed:
        if node not in self.uses:
            raise UnavailableError(f"node {node} is not connected: its usage are on the gateway")
        return self.uses[node]

    @asynccontextmanager
    async def open(self, node: str, kind: str, params: bytes) -> AsyncGenerator[Pipe]:
        raise UnavailableError(f"node {node} is not connected: its {kind} are on the gateway")
        yield  # one that opens nothing


@dataclass
class Replied:
    """What came back, read."""

    code: int
    body: bytes
    media_type: str
    warnings: list[str]

    @property
    def obj(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return self.obj["message"]


class ApiWorld:
    def __init__(self, store: MemoryStore, cache: WatchCache) -> None:
        self.store, self.cache = store, cache
        self.clock, self.ids = ManualClock(), SeededIds(7)
        self.scheme = builtin_scheme()
        self.custom = CustomKinds(self.scheme)
        rules = KindRules(self.custom)
        self.gate, self.shelf, self.gateways = OpenDoor(), Shelf(), Gateways()
        self.objects = LocalObjects(store=store, cache=cache, rules=rules, clock=self.clock, ids=self.ids)
        self.parts = Parts(
            objects=self.objects,
            cache=cache,
            scheme=self.scheme,
            shapes=KindShapes(rules),
            protobuf=ProtobufDecoder(definitions(), go_fields()),
            openapi=NoDocuments(),
            authenticator=Everyone(),
            gate=self.gate,
            reviews=Yes(),
            keys=ServiceTokens(new_token_keys(), self.clock, self.ids),
            logs=self.shelf,
            pipes=self.gateways,
            usages=self.gateways,
            devices=self.gateways,
            traffic=Quiet(),
            clock=self.clock,
            ids=self.ids,
        )

    async def define(self, crd: JsonObject) -> None:
        """Serve a custom kind whose definition is stored; no controller runs here."""
        key = Key(RESOURCE, "", name_of(crd))
        (revision,) = await self.store.commit(
            Batch(writes=(Put(key=key, uid="u", body=body_of(crd), expected=ABSENT),))
        )
        await self.cache.wait_for(revision, timeout_s=5)
        self.custom.serve(crd)

    async def reply(
        self, method: str, url: str, body: Any = None, warnings: list[str] | None = None, **headers: str
    ) -> Reply:
        """The verb's own reply. Headers by name: accept, content_type, user_agent."""
        path, _, raw = url.partition("?")
        target, query = target_of(clean_path(path)), parse_query(raw)
        assert target is not None, f"{path} is no resource"
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()

        async def read() -> bytes:
            return data

        incoming = Incoming(target=target, verb=verb_of(method, target, query), query=query, **headers)
        return await dispatch(self.parts, incoming, SYSTEM, read, [] if warnings is None else warnings)

    async def ask(self, method: str, url: str, body: Any = None, **headers: str) -> Replied:
        """A request that is answered in one piece; refusals as Status objects, as over HTTP."""
        warnings: list[str] = []
        try:
            reply = await self.reply(method, url, body, warnings, **headers)
        except SkerryError as error:
            answer = answer_for(error)
            return Replied(answer.code, json.dumps(answer.status).encode(), "application/json", warnings)
        assert isinstance(reply, Whole)
        return Replied(reply.code, reply.body, reply.media_type, warnings)

    async def get(self, url: str, **headers: str) -> Any:
        replied = await self.ask("GET", url, **headers)
        assert replied.code == 200, replied.body
        return replied.obj

    async def post(self, url: str, body: Any, **headers: str) -> Any:
        replied = await self.ask("POST", url, body, **headers)
        assert replied.code == 201, replied.body
        return replied.obj

    async def config(self, name: str, labels: Mapping[str, str] | None = None, **data: str) -> Any:
        meta = {"name": name, **({"labels": dict(labels)} if labels else {})}
        return await self.post("/api/v1/namespaces/default/configmaps", {"metadata": meta, "data": data})

    def watch(self, url: str, **headers: str) -> Watch:
        return Watch(self, url, headers)


class Watch:
    """An open watch: `await watch.next()` is the next event."""

    def __init__(self, world: ApiWorld, url: str, headers: dict[str, str]) -> None:
        self._world, self._url, self._headers = world, url, headers
        self._pieces: AsyncGenerator[bytes, None] | None = None

    async def __aenter__(self) -> Watch:
        reply = await self._world.reply("GET", self._url, None, None, **self._headers)
        assert isinstance(reply, Stream)
        self._pieces = reply.pieces
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._pieces is not None
        await self._pieces.aclose()

    async def next(self) -> Any:
        assert self._pieces is not None
        return json.loads(await anext(self._pieces))

    async def take(self, count: int) -> list[tuple[str, str]]:
        """Types and names of the next events."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


@pytest.fixture
async def world() -> AsyncIterator[ApiWorld]:
    store = MemoryStore(MemoryState(epoch="e1"))
    async with following(store, settings=CacheSettings(ring=64)) as cache:
        made = ApiWorld(store, cache)
        await bootstrap(made.objects, made.scheme, Address(host="192.0.2.7", port=6443))
        await made.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        made.gate.asked.clear()
        yield made
