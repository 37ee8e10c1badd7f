"""Pushes over the wire, to servers of Python's own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from devices.mqtt.config import Broker
from devices.mqtt.port import Connection, Hooks, Outgoing
from devices.pushes import PushTarget, pushes_in
from edgecore.push.places import LINKS_MAX, NetworkPlaces, RefusedError, TurnedAwayError
from skerry.errors import UnavailableError
from skerry.objects.json import JsonObject


class Server(BaseHTTPRequestHandler):
    status: ClassVar[int] = 204
    seen: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Server.seen.append((self.path, dict(self.headers), body))
        self.send_response(Server.status)
        said = b"" if Server.status == 204 else b"no such\n bucket\x1b[2J\x07"
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Silence."""


@contextmanager
def serving() -> Generator[int]:
    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    Server.seen.clear()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def target(asked: JsonObject, ours: JsonObject) -> PushTarget:
    method = next(iter(asked))
    named: JsonObject = {"influxdb2" if method == "dbMethod" else method: ours}
    (found,), untold = pushes_in({"pushMethod": asked}, {"push": named}, "p")
    assert untold == ()
    return found


def http(port: int, **ours: str) -> PushTarget:
    given: JsonObject = {"hostName": "http://127.0.0.1", "port": port, "requestPath": "/x?y=1"}
    return target({"http": given}, {**ours})


def secured(*names: str, path: Path) -> PushTarget:
    """Over TLS with these files."""
    return target({"http": {"hostName": "https://127.0.0.1", "port": 1}}, {"tls": dict.fromkeys(names, str(path))})


@pytest.mark.system
async def test_credentials_come_from_files_and_answers_are_told_apart(tmp_path: Path) -> None:
    places, secret = NetworkPlaces("eu-1"), tmp_path / "secret"
    secret.write_text("hush\n")
    influx: JsonObject = {"influxdb2DataConfig": {"measurement": "m"}}
    with serving() as port:
        await places.push(http(port), b"a=1")
        await places.push(http(port, username="ann", passwordFile=str(secret)), b"a=1")
        await places.push(http(port, tokenFile=str(secret)), b"a=1")
        influx["influxdb2ClientConfig"] = {"url": f"http://127.0.0.1:{port}", "org": "o", "bucket": "b"}
        await places.push(target({"dbMethod": {"influxdb2": influx}}, {"tokenFile": str(secret)}), b"m v=1 2")
        assert [(path, headers.get("Authorization")) for path, headers, _ in Server.seen] == [
            ("/x?y=1", None),
            ("/x?y=1", "Basic YW5uOmh1c2g="),
            ("/x?y=1", "Bearer hush"),
            ("/api/v2/write?org=o&bucket=b&precision=ns", "Token hush"),
        ]
        for status, error in ((422, RefusedError), (404, TurnedAwayError), (503, UnavailableError)):
            Server.status = status
            with pytest.raises(
                error,
                match=f"it answers {status}: no such bucket\N{REPLACEMENT CHARACTER}\\[2J\N{REPLACEMENT CHARACTER}$",
            ):
                await places.push(http(port), b"a=1")
        Server.status = 204
        secret.write_text("")
        with pytest.raises(TurnedAwayError, match="is empty"):
            await places.push(http(port, tokenFile=str(secret)), b"a=1")
        with pytest.raises(TurnedAwayError, match="can't be read: No such file"):
            await places.push(http(port, tokenFile=str(tmp_path / "none")), b"a=1")
    with pytest.raises(UnavailableError, match="can't be reached"):
        await places.push(http(port), b"a=1")


async def test_no_file_but_those_for_devices_is_sent_to_anybody(tmp_path: Path) -> None:
    given, link = tmp_path / "devices", tmp_path / "devices" / "link"
    given.mkdir()
    (tmp_path / "token").write_text("hush")
    link.symlink_to(tmp_path / "token")
    places = NetworkPlaces("eu-1", credentials=given)
    for path in (tmp_path / "token", link, given / ".." / "token"):
        for pushed in (
            http(1, tokenFile=str(path)),
            http(1, username="ann", passwordFile=str(path)),
            target({"mqtt": {"address": "ssl://b:1", "topic": "t"}}, {"username": "ann", "passwordFile": str(path)}),
            secured("caFile", path=path),
            secured("certFile", "keyFile", path=path),
        ):
            with pytest.raises(TurnedAwayError, match=f"is not in {given}"):
                await places.push(pushed, b"a=1")


async def test_a_pipe_and_a_file_without_an_end_stop_nobody(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    for path in (pipe, Path("/dev/zero")):
        broker = target({"mqtt": {"address": "ssl://b", "topic": "t"}}, {"tls": {"caFile": str(path)}})
        for pushed in (http(1, tokenFile=str(path)), secured("caFile", path=path), broker):
            with pytest.raises(
                (TurnedAwayError, UnavailableError), match=f"{path} can't be read: it is no file with content"
            ):
                await NetworkPlaces("eu-1").push(pushed, b"a=1")


class Pretended:
    """A connection that does as it is told."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.published: list[Outgoing] = []
        self.stopped = False
        self.version = 5
        self.answers = False

    def start(self) -> None:
        if self.answers:
            self.hooks.connected(False)

    async def stop(self) -> None:
        await asyncio.sleep(0.001)  # a thread ends
        self.stopped = True

    async def publish(self, message: Outgoing, *, timeout_s: float) -> bool:
        self.published.append(message)
        return False  # nobody has subscribed, which is no matter of ours


async def test_a_broker_is_connected_to_once_and_let_go_when_nothing_goes_there() -> None:
    made: list[tuple[str, Pretended]] = []

    def connect(broker: Broker, client_id: str, hooks: Hooks) -> Connection:
        made.append((client_id, Pretended(hooks)))
        return made[-1][1]  # pyright: ignore[reportReturnType]

    places = NetworkPlaces("eu-1", connect)
    one = target({"mqtt": {"address": "tcp://b:1883", "topic": "t", "qos": 1, "retained": True}}, {})
    first = asyncio.create_task(places.push(one, b"1"))
    while not made:
        await asyncio.sleep(0)
    ((client_id, connection),) = made
    assert client_id.startswith("skerry-eu-1-push-")
    connection.hooks.disconnected("refused")
    with pytest.raises(UnavailableError, match="no connection: refused"):
        await first
    connection.hooks.connected(False)
    await places.push(one, b"2")
    assert [(each.topic, each.payload, each.qos, each.retain) for each in connection.published] == [
        ("t", b"2", 1, True)
    ]
    await places.keep(frozenset({Broker(host="b", port=1883, session_expiry_s=1)}))
    assert len(made) == 1 and not connection.stopped
    await places.keep(frozenset())
    assert connection.stopped
    await places.close()


async def test_a_password_that_is_no_text_is_told_and_no_fault(tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_bytes(b"h\xfcsh")
    pushed = target(
        {"mqtt": {"address": "127.0.0.1:1", "topic": "t"}}, {"username": "ann", "passwordFile": str(secret)}
    )
    with pytest.raises(TurnedAwayError, match=f"broker 127.0.0.1:1: {secret} is not UTF-8 text"):
        await NetworkPlaces("eu-1").push(pushed, b"1")


async def test_brokers_are_few_at_once_and_let_go_when_idle() -> None:
    made: dict[str, Pretended] = {}

    def connect(broker: Broker, client_id: str, hooks: Hooks) -> Connection:
        made[broker.host] = Pretended(hooks)
        made[broker.host].answers = broker.host != "slow"
        return made[broker.host]  # pyright: ignore[reportReturnType]

    def to(host: str) -> PushTarget:
        return target({"mqtt": {"address": f"tcp://{host}", "topic": "t"}}, {})

    places = NetworkPlaces("eu-1", connect, idle_s=0.02)
    slow = asyncio.create_task(places.push(to("slow"), b"1"))
    while not made:
        await asyncio.sleep(0)
    for number in range(LINKS_MAX + 9):
        await places.push(to(f"b{number}"), b"1")
        assert sum(not each.stopped for each in made.values()) <= LINKS_MAX
    assert made["b0"].stopped and not made["slow"].stopped
    made["slow"].hooks.connected(False)
    await slow
    async with asyncio.timeout(60):
        while not all(each.stopped for each in made.values()):
            await asyncio.sleep(0.005)
    await places.push(to("b0"), b"1")
    assert not made["b0"].stopped
    await places.close()
    assert made["b0"].stopped


async def test_many_brokers_that_are_wanted_together_are_no_more_at_once() -> None:
    made: list[Pretended] = []
    most = 0

    def connect(broker: Broker, client_id: str, hooks: Hooks) -> Connection:
        nonlocal most
        made.append(Pretended(hooks))
        made[-1].answers = True
        most = max(most, sum(not each.stopped for each in made))
        return made[-1]  # pyright: ignore[reportReturnType]

    places = NetworkPlaces("eu-1", connect)
    pushed = [target({"mqtt": {"address": f"tcp://b{number}", "topic": "t"}}, {}) for number in range(100)]
    said = await asyncio.gather(*(places.push(each, b"1") for each in pushed), return_exceptions=True)
    assert most == LINKS_MAX and {str(each) for each in said if each} <= {
        "waits for one of 16 connections to brokers"
    }
    await places.close()
    assert all(each.stopped for each in made)
