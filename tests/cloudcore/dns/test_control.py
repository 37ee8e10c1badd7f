"""What the running server tells of a zone's records."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from cloudcore.dns.control import Control, answer_line
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of

HEAD = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n"


def asked(origin: str, text: str, **question: str) -> Any:
    name = name_of(origin)
    zones = {name: parse_zone(HEAD + text, name)}
    control = Control(
        zones=lambda: zones,
        problems=tuple,
        counts=dict,
        reload=tuple,
        processes=1,
        up_s=0.0,
        table=HealthTable.of_zones(zones),
        drains=(),
        set_drains=lambda _: None,
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(json.dumps({"do": "records", "zone": origin, "type": "A", **question}).encode() + b"\n")
        answer_line(ours, control)
        return json.loads(theirs.makefile().readline())


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("example.com", "ns1.example.com."),
        ("example.com", "ns1.example.com"),
        ("example.com", "ns1"),
        ("example.com", "NS1"),
        (".", "ns1."),
        (".", "ns1"),
    ],
)
def test_a_name_is_taken_whole_and_as_a_zone_file_has_it(origin: str, name: str) -> None:
    (row,) = asked(origin, "ns1 60 A 192.0.2.1\n", name=name)["ok"]["records"]
    assert row["data"] == "192.0.2.1"


def test_a_client_is_an_address_or_a_network_as_resolvers_tell_it() -> None:
    for client in ("192.0.2.7", "192.0.2.7/24", "2001:db8::/56"):
        said = {"do": "explain", "name": "ns1.example.com", "from": client}
        assert asked("example.com", "ns1 60 A 192.0.2.1\n", **said)["ok"]["rcode"] == "NOERROR"
    wrong = {"do": "explain", "name": "ns1.example.com", "from": "nowhere"}
    assert "--from: 'nowhere' is no IP address" in asked("example.com", "", **wrong)["error"]


def test_who_asks_for_a_zone_that_is_not_here_is_told_which_are() -> None:
    assert "zones are example.com." in asked("example.com", "", do="dump", zone="example.net")["error"]


def test_a_name_with_its_last_dot_is_whole_and_nothing_else() -> None:
    assert "there is no ns1. in example.com." in asked("example.com", "ns1 60 A 192.0.2.1\n", name="ns1.")["error"]
