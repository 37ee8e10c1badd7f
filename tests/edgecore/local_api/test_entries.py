"""Exec, attach and port-forward at the gateway: what is taken, what is written down, and what is said."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from edgecore.local_api.acts import who
from edgecore.local_api.bounds import Room
from edgecore.local_api.connection import Connection
from edgecore.local_api.objects import LocalObjects
from edgecore.local_api.requests import Upgrade
from edgecore.local_api.routes import Routes
from skerry.errors import BadRequestError, SkerryError, UnavailableError
from skerry.frozen import replace
from skerry.objects.json import JsonObject, strs_at
from skerry.objects.pod_streams import Begun, Exited, Input, InputEnded, Messages, Output, encode
from skerry.ports import Pipe
from tests.edgecore.local_api.stage import Api, pod
from tests.edgecore.local_api.test_acts import RecordingActs
from tests.skerry.wire.test_spdy_server import Client, data_frame

PODS = "/api/v1/namespaces/default/pods"
V5 = "v5.channel.k8s.io"
BY = who(1000)


@dataclass
class Echoing:
    """A command says what it is given, and ends with 7; a port answers what it hears; port 81 is closed."""

    asked: list[JsonObject] = field(default_factory=list)
    refusal: SkerryError | None = None

    async def command(self, params: JsonObject, pipe: Pipe, /) -> None:
        self.asked.append(params)
        if self.refusal is not None:
            raise self.refusal
        await pipe.write(encode(Begun()))
        messages, over = Messages(), False
        while not over and (data := await pipe.read()):
            for message in messages.receive(data):
                if isinstance(message, Input):
                    await pipe.write(encode(Output(channel=1, data=message.data)))
                over = over or isinstance(message, InputEnded)
        await pipe.write(encode(Exited(exit_code=7)))

    async def forward(self, params: JsonObject, pipe: Pipe, /) -> None:
        if params["port"] == 81:
            raise UnavailableError("connection refused")
        heard = b""
        while data := await pipe.read():
            heard += data
        await pipe.write(b"heard " + heard)
        await pipe.end()


class Gateway(Api):
    def __init__(self) -> None:
        super().__init__()
        self.acts, self.echoing = RecordingActs(), Echoing()
        parts = replace(self.routes._parts, acts=self.acts, into_pods=self.echoing)
        self.routes = Routes(parts, LocalObjects(parts))

    @asynccontextmanager
    async def dialled(self, path: Path, target: str, *protocols: str) -> AsyncGenerator[ClientConnection]:
        async with self.served(path):
            offered = [Subprotocol(name) for name in protocols or (V5,)]
            async with unix_connect(str(path), f"ws://localhost{target}", subprotocols=offered) as connection:
                yield connection

    @asynccontextmanager
    async def raw(self, path: Path) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with self.served(path), asyncio.timeout(20):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                yield reader, writer
            finally:
                writer.close()

    @asynccontextmanager
    async def served(self, path: Path) -> AsyncGenerator[None]:
        room = Room(body_bytes_max=1000, bytes_max=1000)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await Connection(reader, writer, self.routes, uid=1000, room=room).serve()
            writer.close()

        async with await asyncio.start_unix_server(connected, path):
            yield


@pytest.fixture
async def gateway() -> Gateway:
    made = Gateway()
    await made.put("pods", pod("web"))
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


async def test_a_command_is_talked_with_and_written_down_first(gateway: Gateway, path: Path) -> None:
    target = f"{PODS}/web/exec?command=cat&command=-u&stdin=true"
    async with gateway.dialled(path, target) as connection:
        assert connection.subprotocol == V5
        assert await connection.recv() == b"\1"  # as kubectl is greeted
        assert gateway.acts.done == [("exec", BY, "default", "web", "app")]
        await connection.send(b"\0" + b"hello")
        assert await connection.recv() == b"\1hello"
        await connection.send(b"\xff\0")
        status: Any = json.loads((await connection.recv())[1:])
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
        with pytest.raises(Exception, match="1000"):
            await connection.recv()
    (asked,) = gateway.echoing.asked
    assert strs_at(asked, "command") == ["cat", "-u"] and asked["by"] == BY


async def test_why_it_does_not_begin_is_said_where_the_client_listens(gateway: Gateway, path: Path) -> None:
    gateway.echoing.refusal = BadRequestError("container is in CONTAINER_EXITED state")
    target = f"{PODS}/web/exec?command=cat"
    async with gateway.dialled(path, target) as connection:
        await connection.recv()
        assert b"CONTAINER_EXITED" in (await connection.recv())[1:]  # type: ignore[operator]
    with pytest.raises(InvalidStatus) as refused:
        async with gateway.dialled(path, target, "v4.channel.k8s.io"):
            pass
    assert refused.value.response.status_code == 500
    assert b"CONTAINER_EXITED" in (refused.value.response.body or b"")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (f"{PODS}/nosuch/exec?command=a", 404),
        (f"{PODS}/web/exec", 400),
        (f"{PODS}/web/exec?command=a&stdout=false&stderr=false", 400),
        (f"{PODS}/web/exec?command=a&container=nosuch", 400),
        (f"{PODS}/web/exec?command=" + "a" * 13_000, 400),
        (f"{PODS}/web/portforward", 400),
        (f"{PODS}/web/portforward?ports=0", 400),
        (f"{PODS}/web/portforward?ports=http", 400),
    ],
)
async def test_what_makes_no_sense_is_an_answer_to_the_handshake(
    gateway: Gateway, path: Path, target: str, code: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with gateway.dialled(path, target):
            pass
    assert refused.value.response.status_code == code and gateway.acts.done == []


async def test_who_does_not_ask_for_messages_is_told_what_is_spoken(gateway: Gateway) -> None:
    code, said = await gateway.ask("GET", f"{PODS}/web/exec", command="a")
    assert code == 400 and "SPDY/3.1" in said["message"]
    asked = replace(
        gateway.request("GET", f"{PODS}/web/exec"),
        target=f"{PODS}/web/exec?command=a",
        upgrade=Upgrade(key="k", protocols=("v9",)),
    )
    with pytest.raises(BadRequestError, match="none of the subprotocols"):
        await gateway.routes.answer(asked)


async def test_a_port_has_both_its_ends_and_is_told_of_once(gateway: Gateway, path: Path) -> None:
    for _ in range(2):
        async with gateway.dialled(path, f"{PODS}/web/portforward?ports=80") as connection:
            assert {await connection.recv(), await connection.recv()} == {b"\0\x50\0", b"\1\x50\0"}
            await connection.send(b"\0ping")
            await connection.send(b"\xff\0")
            assert await connection.recv() == b"\0heard ping"
            assert await connection.recv() == b"\xff\0"
    assert gateway.acts.done == [("port-forward", BY, "default", "web", "80")]


async def test_a_closed_port_is_said_in_a_kubelets_words(gateway: Gateway, path: Path) -> None:
    async with gateway.dialled(path, f"{PODS}/web/portforward?ports=81") as connection:
        for _ in range(2):
            await connection.recv()
        assert await connection.recv() == b"\1error forwarding port 81 to pod web, uid : connection refused"


async def test_a_port_that_takes_nothing_stops_its_own_client(gateway: Gateway, path: Path) -> None:
    taking = asyncio.Event()

    async def stuck(params: JsonObject, pipe: Pipe, /) -> None:
        await taking.wait()
        await Echoing().forward(params, pipe)

    gateway.echoing.forward = stuck
    parts = replace(gateway.routes._parts, into_pods=gateway.echoing)
    gateway.routes = Routes(parts, LocalObjects(parts))
    async with gateway.dialled(path, f"{PODS}/web/portforward?ports=80&ports=81") as connection:
        for _ in range(4):
            await connection.recv()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(80):
                await connection.send(b"\0" + bytes(32 * 1024))
                sent += 32 * 1024

        flooding = asyncio.create_task(flood())
        before = -1
        while sent != before:  # until nothing more is taken
            before = sent
            for _ in range(300):
                await asyncio.sleep(0)
        assert sent < 2 << 20, "what kernel and windows hold, and no more"
        taking.set()
        async with asyncio.timeout(60):
            await flooding
            await connection.send(b"\xff\0")
            heard = 0
            while heard < 80 * 32 * 1024:
                message = await connection.recv()
                heard += len(message) - 1 if message[:1] == b"\0" else 0


async def test_spdy_is_spoken_as_in_the_cloud_and_what_it_does_not_know_is_said(gateway: Gateway, path: Path) -> None:
    client = Client()
    async with gateway.raw(path) as (reader, writer):
        target = f"{PODS}/web/exec?command=cat&stdin=true"
        writer.write(spdy_request(target, "v9.channel.k8s.io"))
        assert b"400 Bad Request" in await reader.readuntil(b"\r\n\r\n")
    async with gateway.raw(path) as (reader, writer):
        writer.write(spdy_request(target, "v4.channel.k8s.io"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101") and b"X-Stream-Protocol-Version: v4.channel.k8s.io" in head
        for number, kind in ((1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")):
            writer.write(client.open(number, {"streamtype": kind}))
        writer.write(data_frame(3, b"hello", fin=True))
        heard = b""
        while data := await reader.read(65536):
            heard += data
    said = b"".join(body for _, _, body in client.frames(heard))
    assert b"hello" in said and b'"reason":"ExitCode","message":"7"' in said
    assert gateway.acts.done == [("exec", BY, "default", "web", "app")]


def spdy_request(target: str, *protocols: str) -> bytes:
    offered = "".join(f"X-Stream-Protocol-Version: {name}\r\n" for name in protocols)
    return (
        f"POST {target} HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"{offered}Content-Length: 0\r\n\r\n"
    ).encode()
