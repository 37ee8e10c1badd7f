"""A local API on memory parts, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgecore.local_api.answers import Answer, error_answer
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.paths import Paths
from edgecore.local_api.ports import DeviceSummary, LocalParts, PropertyTwin
from edgecore.local_api.requests import Request, Stream
from edgecore.local_api.routes import Routes
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.clocks import ManualClock
from skerry.errors import SkerryError
from skerry.forms.exposition import Family, gauge
from skerry.objects.desired import Vector, Wish
from skerry.objects.device_questions import Question
from skerry.objects.history import HistoryQuestion
from skerry.objects.holds import Holding
from skerry.objects.json import JsonObject, encode_object
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.times import ms_at
from skerry.objects.twins import TwinState

DEVICE = Key("devices.devices.kubeedge.io", "default", "plc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    device: Key
    prop: str
    state: TwinState


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    device: Key
    state: str = "online"
    reason: str = ""
    last_online_ms: int = 1000
    holding: Holding | None = None


@dataclass
class RecordingTwins:
    held: list[PropertyTwin] = field(default_factory=list)
    wanted: list[tuple[str, str, str, int | None]] = field(default_factory=list)
    wishes: list[tuple[list[Wish], str]] = field(default_factory=list)
    said: list[tuple[str, str, str, int | None]] = field(default_factory=list)
    holding: Holding | None = None
    log: list[tuple[int, str, JsonObject]] = field(default_factory=list)

    def devices(self) -> Sequence[DeviceSummary]:
        return [Summary(device=DEVICE, holding=self.holding)]

    def twins(self, device: Key | None = None) -> Sequence[PropertyTwin]:
        return [twin for twin in self.held if device in (None, twin.device)]

    async def write(
        self, device: Key, wishes: Sequence[Wish], *, origin: str, if_match: str = ""
    ) -> Sequence[Vector]:
        self.wishes.append((list(wishes), if_match))
        self.wanted += [(wish.prop, wish.value or "", origin, wish.expires_ms) for wish in wishes]
        return [Vector() for _ in wishes]

    async def hold(self, device: Key, *, reason: str, by: str, until_ms: int | None) -> Holding:
        self.said.append((device.name, reason, by, until_ms))
        return Holding(reason=reason, by=by, since_ms=0, until_ms=until_ms)

    def desired_log(self, device: Key, *, since_ms: int = 0) -> Sequence[tuple[int, str, JsonObject]]:
        return [entry for entry in self.log if ms_at(entry[1]) >= since_ms]

    async def release(self, device: Key) -> None:
        self.said.append((device.name, "", "", None))


@dataclass
class FakeLink:
    connected: bool = False
    is_cut: bool = False
    state: str = "waiting"
    address: str = "cloud:1"
    transport: str = "quic"
    session: int = 0
    since_ms: int = 0
    last_error: str = "refused"
    welcomes: list[Callable[[], None]] = field(default_factory=list)

    @property
    def status(self) -> FakeLink:
        return self

    def bandwidth(self) -> JsonObject:
        return {"plan": "up 64kbit", "up": "64kbit", "down": "unlimited", "until": "2026-11-28T22:00:00Z"}

    def traffic(self) -> JsonObject:
        return {"hours": [], "days": []}

    def on_welcome(self, act: Callable[[], None], /) -> None:
        self.welcomes.append(act)

    async def cut(self) -> None:
        self.is_cut = True

    async def heal(self) -> None:
        self.is_cut = False


@dataclass
class Answers:
    """Says what it was asked."""

    asked: list[Question] = field(default_factory=list)

    async def answer(self, question: Question) -> JsonObject:
        self.asked.append(question)
        return {"kind": "Answer"}


class Known:
    """Says what it was asked."""

    async def index(self) -> Answer:
        return Answer(body=b'"index"')

    async def group_version(self, path: str) -> Answer:
        return Answer(body=json.dumps(path).encode())

    async def v2(self, *, protobuf: bool) -> Answer:
        return Answer(body=json.dumps(protobuf).encode())


class Counted:
    """Says which it was asked for."""

    async def summary(self) -> JsonObject:
        return {"node": {"nodeName": "gate-1"}, "pods": []}

    async def resource(self) -> list[Family]:
        return [gauge("of_resources", "x", 1)]

    async def containers(self) -> list[Family]:
        return [gauge("of_containers", "x", 1)]

    def agent(self) -> list[Family]:
        return [gauge("of_agent", "x", 1)]


@dataclass
class NoPods:
    count: int = 0


@dataclass
class Remembers:
    """Says what it was asked."""

    asked: list[tuple[str, str, HistoryQuestion]] = field(default_factory=list)

    async def answer(self, namespace: str, name: str, question: HistoryQuestion, /) -> JsonObject:
        self.asked.append((namespace, name, question))
        return {"kind": "DeviceHistory"}


class Api:
    def __init__(self, *, remembers: bool = True) -> None:
        self.history = Remembers() if remembers else None
        self.clock = ManualClock()
        self.store = AsyncEdgeStore(MemoryEdgeStore(incarnation="i", clock=self.clock))
        self.twins = RecordingTwins()
        self.link = FakeLink()
        self.asked: list[JsonObject] = []
        self.answers = Answers()
        parts = self.parts = LocalParts(
            store=self.store,
            twins=self.twins,
            link=self.link,
            logs=self.logs,
            pods=NoPods(),
            questions=self.answers,
            figures=Counted(),
            clock=self.clock,
            node="gate-1",
            paths=Paths(Known(), version="v1.36.0+x"),
            history=self.history,
        )
        self.objects = LocalObjects(parts)
        self.objects.listen()
        self.routes = Routes(parts, self.objects)

    async def logs(self, params: JsonObject, /) -> AsyncGenerator[bytes]:
        self.asked.append(params)
        yield b"line\n"

    async def put(self, resource: str, obj: JsonObject, revision: int = 1) -> None:
        metadata: Any = obj["metadata"]
        key = Key(resource, metadata["namespace"], metadata["name"])
        stamp = Stamp(metadata.get("uid", "u"), Revision(revision))
        await self.store.apply(EdgeBatch(puts=(Held(key=key, stamp=stamp, body=encode_object(obj)),)))
        await asyncio.sleep(0)

    def request(self, method: str, target: str, body: object = None, **query: str) -> Request:
        parts = tuple(part for part in target.split("/") if part)
        content = b"" if body is None else json.dumps(body).encode()
        return Request(method=method, parts=parts, query=query, body=content, uid=1000)

    async def ask(self, method: str, target: str, body: object = None, **query: str) -> tuple[int, Any]:
        try:
            answer = await self.routes.answer(self.request(method, target, body, **query))
        except SkerryError as error:
            answer = error_answer(error)
        assert isinstance(answer, Answer)
        return answer.code, json.loads(answer.body)

    async def events(self, target: str, **query: str) -> Stream:
        answer = await self.routes.answer(self.request("GET", target, watch="true", **query))
        assert isinstance(answer, Stream)
        return answer


def pod(name: str, **labels: str) -> JsonObject:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": dict(labels)},
        "spec": {"nodeName": "gate-1", "containers": [{"name": "app"}]},
        "status": {"phase": "Pending"},
    }


async def next_event(stream: Stream) -> Any:
    while True:
        line = await asyncio.wait_for(anext(stream.chunks), 5)
        if line:
            return json.loads(line)
