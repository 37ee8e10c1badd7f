"""The embedded broker's other doors, with mosquitto's clients and paho: certificates over TLS, and a unix socket."""

from __future__ import annotations

import asyncio
import grp
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloudcore.pki.certificates import Authority, issue_client, issue_server, new_authority
from edgecore.broker.embedded import Embedding, open_embedded
from edgecore.broker.handshakes import HANDSHAKES_MAX
from edgecore.broker.users import add_user
from skerry.clocks import SystemClock, SystemIds
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import replace
from tests.system.certificates import NOW

PUB: Final = shutil.which("mosquitto_pub")

pytestmark = [pytest.mark.system, pytest.mark.skipif(PUB is None, reason="mosquitto's clients are not installed")]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Ground:
    """Certificates, users, and where the broker listens."""

    def __init__(self, path: Path) -> None:
        self.path, self.plain, self.secure = path, free_port(), free_port()
        self.socket = path / "run" / "mqtt.sock"
        self.authority = new_authority(name="plant", now=NOW)
        server = issue_server(self.authority, names=["127.0.0.1"], now=NOW)
        (path / "ca.pem").write_text(self.authority.pem)
        (path / "server.pem").write_text(server.certificate_pem)
        (path / "server.key").write_text(server.key_pem)
        add_user(path / "mqtt" / "users.json", "ann", b"right", publish=["ann/#"])

    def embedding(self, *, client_ca: str = "ca.pem", group: str = "") -> Embedding:
        return Embedding(
            directory=self.path / "mqtt",
            users_file=self.path / "mqtt" / "users.json",
            agent_password_file=self.path / "mqtt" / "edgecore.password",
            plain=[("127.0.0.1", self.plain)],
            secure=[("127.0.0.1", self.secure)],
            tls_files=(str(self.path / "server.pem"), str(self.path / "server.key")),
            client_ca_file=str(self.path / client_ca),
            socket=self.socket,
            socket_group=group,
            version="test",
            own_clients="skerry-eu-1-",
        )

    @asynccontextmanager
    async def serving(self, group: str = "") -> AsyncGenerator[None]:
        server = open_embedded(self.embedding(group=group), SystemClock(), SystemIds())
        task = asyncio.create_task(server.run())
        try:
            async with asyncio.timeout(30):
                while not self.socket.exists() and not task.done():
                    await asyncio.sleep(0.02)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def files(self, user: str, authority: Authority | None = None) -> list[str]:
        made = issue_client(authority or self.authority, user=user, groups=[], now=NOW, valid=timedelta(days=1))
        (self.path / f"{user}.pem").write_text(made.certificate_pem)
        (self.path / f"{user}.key").write_text(made.key_pem)
        return ["--cert", str(self.path / f"{user}.pem"), "--key", str(self.path / f"{user}.key")]

    async def publish(self, *place: str) -> int:
        command = [PUB or "", *place, "-q", "1", "-t", "ann/x", "-m", "x", "-V", "5"]
        return (await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60)).returncode

    def tls(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.secure), "--cafile", str(self.path / "ca.pem")]


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


async def test_who_has_a_certificate_of_the_plants_is_its_user_and_nobody_else_gets_in(ground: Ground) -> None:
    async with ground.serving():
        ann = ground.files("ann")
        assert await ground.publish(*ground.tls(), *ann) == 0
        assert await ground.publish(*ground.tls(), *ann, "-u", "ann") == 0
        assert await ground.publish(*ground.tls(), *ann, "-u", "edgecore") != 0  # her certificate, and another name
        assert await ground.publish(*ground.tls(), *ground.files("bob")) != 0  # no user
        assert (
            await ground.publish(*ground.tls(), *ground.files("edgecore")) != 0
        )  # the agent is nobody's certificate
        other = new_authority(name="other", now=NOW)
        assert await ground.publish(*ground.tls(), *ground.files("ann", other)) != 0
        assert await ground.publish(*ground.tls(), "-u", "ann", "-P", "right") != 0  # a password is none
        assert await ground.publish("-p", str(ground.plain), "-u", "ann", "-P", "right") == 0


async def test_a_certificate_that_is_renewed_is_shown_from_the_next_handshake_on(ground: Ground) -> None:
    async with ground.serving():
        ann = ground.files("ann")
        assert await ground.publish(*ground.tls(), *ann) == 0
        renewed = new_authority(name="renewed", now=NOW)
        server = issue_server(renewed, names=["127.0.0.1"], now=NOW)
        (ground.path / "server.pem").write_text(server.certificate_pem)
        assert await ground.publish(*ground.tls(), *ann) == 0, "it has no key yet: the old one is shown"
        (ground.path / "server.key").write_text(server.key_pem)
        assert await ground.publish(*ground.tls(), *ann) != 0
        (ground.path / "new-ca.pem").write_text(renewed.pem)
        trusting = ["-h", "127.0.0.1", "-p", str(ground.secure), "--cafile", str(ground.path / "new-ca.pem")]
        assert await ground.publish(*trusting, *ann) == 0
        (ground.path / "ca.pem").write_text(renewed.pem)
        assert await ground.publish(*trusting, *ann) != 0, "her authority is not trusted any more"


async def test_who_begins_no_handshake_keeps_nobody_out(ground: Ground) -> None:
    """As many as the broker has room for, and more: they used to wait for a minute each, uncounted."""
    async with ground.serving():
        with ExitStack() as opened:
            for _ in range(3 * HANDSHAKES_MAX):
                opened.enter_context(socket.create_connection(("127.0.0.1", ground.secure), timeout=10))
                await asyncio.sleep(0)
            garbled = opened.enter_context(socket.create_connection(("127.0.0.1", ground.secure), timeout=10))
            garbled.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert await ground.publish(*ground.tls(), *ground.files("ann")) == 0
            first = opened.enter_context(socket.create_connection(("127.0.0.1", ground.secure), timeout=10))
            for _ in range(HANDSHAKES_MAX + 10):
                opened.enter_context(socket.create_connection(("127.0.0.1", ground.secure), timeout=10))
                await asyncio.sleep(0)
            first.settimeout(30)

            def ended() -> bool:
                try:
                    return first.recv(1) == b""
                except ConnectionResetError:
                    return True

            assert await asyncio.to_thread(ended)  # the oldest gave way


async def test_programs_on_the_gateway_come_in_by_a_socket_as_well(ground: Ground) -> None:
    async with ground.serving():
        assert ground.socket.stat().st_mode & 0o777 == 0o600
        assert await ground.publish("--unix", str(ground.socket), "-u", "ann", "-P", "right") == 0
        assert await ground.publish("--unix", str(ground.socket), "-u", "ann", "-P", "wrong") != 0
        heard = asyncio.Event()
        loop = asyncio.get_running_loop()
        client = paho.Client(CallbackAPIVersion.VERSION2, transport="unix")
        client.username_pw_set("ann", "right")

        def connected(*_: Any) -> None:
            loop.call_soon_threadsafe(heard.set)

        client.on_connect = connected
        client.connect(str(ground.socket), 1)
        client.loop_start()
        async with asyncio.timeout(30):
            await heard.wait()
        client.disconnect()
        client.loop_stop()
        with pytest.raises(UnavailableError, match="another program listens there"):
            alone = replace(ground.embedding(), plain=[], secure=[])
            await open_embedded(alone, SystemClock(), SystemIds()).run()
        assert ground.socket.exists()
    assert not ground.socket.exists()


async def test_a_group_may_use_the_socket(ground: Ground) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    async with ground.serving(group):
        assert ground.socket.stat().st_mode & 0o777 == 0o660 and ground.socket.group() == group


def test_an_authority_that_cannot_be_read_is_named_and_lets_nobody_in(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    for wrong in ("absent.pem", "server.key"):
        caplog.clear()
        server = open_embedded(ground.embedding(client_ca=wrong), SystemClock(), SystemIds())
        assert "--mqtt-listen-client-ca-file" in caplog.text
        secure = [each for each in server.parts.listeners if each.tls is not None]
        for listener in secure:
            assert listener.tls is not None
            with pytest.raises(InvalidError, match="--mqtt-listen-cert-file"):
                listener.tls()
        assert secure
