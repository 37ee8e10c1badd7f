"""Where the local API is served: for pods with a network of their own only where it can be had."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from edgecore.config.agent import EdgeSettings
from edgecore.config.places import local_api_of
from edgecore.local_api.places import Door, Place, doors_at, listening_at, listening_on
from edgecore.local_api.server import LocalApi
from skerry.errors import InvalidError, UnavailableError
from tests.edgecore.local_api.stage import Api


class Machine:
    """On which addresses are held, or refused."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.held: list[str] = []

    async def hold(self, address: str) -> None:
        if self.refusal:
            raise UnavailableError(self.refusal)
        self.held.append(address)


def a_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def told(text: str, *, pods_apart: bool) -> list[str]:
    return [f"{each.host}:{each.port}" for each in local_api_of(EdgeSettings(local_api=text), pods_apart=pods_apart)]


def test_what_is_said_is_where_it_is_and_nothing_more() -> None:
    assert told("auto", pods_apart=False) == ["127.0.0.1:10550"]
    assert told("auto", pods_apart=True) == ["127.0.0.1:10550", "169.254.20.11:10550"]
    assert told("10.88.0.1:6443", pods_apart=True) == ["10.88.0.1:6443"]
    assert told("off", pods_apart=True) == []
    with pytest.raises(
        InvalidError, match=r"--local-api 'here': write ADDRESS:PORT, e\.g\. 127\.0\.0\.1:10550, auto or off"
    ):
        told("here", pods_apart=False)


async def test_an_address_for_pods_is_made_and_listened_at_before_anybody_is_told() -> None:
    machine, port = Machine(), a_port()
    for_pods = Place(host="169.254.77.7", port=port)
    own = Place(host="127.0.0.1", port=port)
    loopback, door = await doors_at([own, for_pods], machine.hold, asked_for=False)
    assert loopback.listening is not None and door.listening is not None
    assert loopback.listening.getsockname() == ("127.0.0.1", port)
    assert machine.held == ["169.254.77.7"] and door.listening.getsockname() == ("169.254.77.7", port)
    taken = await doors_at([own, for_pods], machine.hold, asked_for=False)
    assert taken == [Door(place=own)], "that is tried for as long as it takes"
    loopback.listening.close()
    door.listening.close()


async def test_where_none_can_be_had_pods_are_not_sent_there_unless_somebody_asked_for_it() -> None:
    machine, for_pods = Machine("no rights"), Place(host="169.254.77.7", port=a_port())
    assert await doors_at([for_pods], machine.hold, asked_for=False) == []
    assert await doors_at([for_pods], machine.hold, asked_for=True) == [Door(place=for_pods)]


def test_a_port_that_is_taken_is_a_fault() -> None:
    with listening_at(Place(host="127.0.0.1", port=a_port())) as first, pytest.raises(OSError, match="in use"):
        listening_at(Place(host="127.0.0.1", port=first.getsockname()[1]))


async def test_who_asks_before_there_is_anybody_to_answer_is_answered_later(tmp_path: Path, api: Api) -> None:
    path = tmp_path / "edge.sock"
    with listening_on(path) as listening:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        await writer.drain()

        local = LocalApi(path, api.parts)
        await local.listen(listening)
        serving = asyncio.create_task(local.run())
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert not path.exists()


def test_a_socket_that_a_killed_agent_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"
    listening_on(path).close()
    assert path.exists()
    with listening_on(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_where_no_socket_can_be_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"listening on .*nowhere/edge.sock: "):
        listening_on(tmp_path / "nowhere" / "edge.sock")
