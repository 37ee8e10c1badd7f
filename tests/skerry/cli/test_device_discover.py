from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from skerry.cli.client import Client
from skerry.cli.device_discover import devices_listed, told_by
from skerry.errors import BadRequestError
from skerry.objects.json import JsonObject


@dataclass
class Reply:
    obj: JsonObject


@dataclass
class Server:
    """What the command uses of a client."""

    local: bool
    nodes: tuple[str, ...] = ()
    asked: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])

    def request(self, method: str, path: str, query: Any = None) -> Reply:
        assert method == "GET"
        if path == "/api/v1/nodes":
            return Reply({"items": [{"metadata": {"name": name}} for name in self.nodes]})
        self.asked.append((path, query))
        return Reply({"kind": "NodeDiscovery", "metadata": {"name": "eu-1"}})


def ask(server: Server, node: str) -> JsonObject:
    return told_by(cast(Client, server), node, "plant", 7)


def test_a_gateway_is_asked_itself_and_is_no_other() -> None:
    server = Server(local=True)
    assert ask(server, "") == ask(server, "eu-1")
    assert server.asked[0] == ("/skerry/discovery", {"namespace": "plant", "seconds": "7"})
    with pytest.raises(BadRequestError, match="this gateway is eu-1; ask the cloud about eu-2"):
        ask(server, "eu-2")


def test_the_cloud_asks_the_one_that_is_meant() -> None:
    server = Server(local=False, nodes=("eu-1", "eu-2"))
    ask(server, "eu-2")
    ask(Server(local=False, nodes=("eu-1",)), "")
    assert server.asked == [("/api/v1/nodes/eu-2/discovery", {"namespace": "plant", "seconds": "7"})]
    with pytest.raises(BadRequestError, match="Name one: eu-1, eu-2"):
        ask(server, "")


def test_each_device_is_a_row() -> None:
    device: JsonObject = {
        "name": "fan", "source": "Home Assistant", "properties": ["on", "rpm"], "writable": 1, "says": "0x01",
    }  # fmt: skip
    (row,) = devices_listed([device]).rows
    assert row.cells == ("fan", "Home Assistant", "2", "1", "0x01", "on, rpm") and row.name == "device/fan"
