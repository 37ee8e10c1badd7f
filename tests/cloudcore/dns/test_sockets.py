"""Which process reads which socket, of those that were opened and those that were handed over."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from cloudcore.dns.settings import DnsSettings
from cloudcore.dns.sockets import open_sockets
from skerry.activation import Passed
from skerry.errors import InvalidError, UnavailableError

LISTEN = ("127.0.0.1",)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


Hand = Callable[..., Passed]


@pytest.fixture
def hand(stack: ExitStack) -> Hand:
    """A socket as systemd hands it over; who is handed it closes it."""

    def made(
        kind: socket.SocketKind, port: int = 0, *, name: str = "", listens: bool = True, address: str = "127.0.0.1"
    ) -> Passed:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, kind) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.setblocking(False)
            opened.bind((address, port))
            if kind == socket.SOCK_STREAM and listens:
                opened.listen()
            return Passed(name=name, number=os.dup(opened.fileno()))

    return made


def port_of(passed: Passed) -> int:
    with socket.socket(fileno=os.dup(passed.number)) as known:
        return int(known.getsockname()[1])


def test_without_any_each_address_has_as_many_as_there_are_workers(stack: ExitStack) -> None:
    opened = open_sockets(DnsSettings(listen=("127.0.0.1", "127.0.0.2"), port=0, workers=2), (), stack)
    assert len(opened.udp) == len({each.fileno() for each in opened.udp}) == 4 and len(opened.tcp) == 2
    assert {each.getsockname()[1] for each in (*opened.udp, *opened.tcp)} == {opened.port}


def test_each_socket_of_a_group_is_read_also_by_fewer_workers(stack: ExitStack, hand: Hand) -> None:
    first = hand(socket.SOCK_DGRAM)
    port = port_of(first)
    passed = [first, hand(socket.SOCK_DGRAM, port), hand(socket.SOCK_DGRAM, port), hand(socket.SOCK_STREAM, port)]
    opened = open_sockets(DnsSettings(workers=1), passed, stack)
    assert [each.fileno() for each in opened.udp] == [each.number for each in passed[:3]]
    assert [each.fileno() for each in opened.tcp] == [passed[3].number] and opened.port == port


def test_more_workers_share_the_sockets_of_each_address(stack: ExitStack, hand: Hand) -> None:
    one, other = hand(socket.SOCK_DGRAM), hand(socket.SOCK_DGRAM, address="127.0.0.2")
    passed = [one, other, hand(socket.SOCK_STREAM, port_of(one))]
    opened = open_sockets(DnsSettings(workers=3), passed, stack)
    assert [each.fileno() for each in opened.udp] == [one.number] * 3 + [other.number] * 3


def test_a_socket_that_was_passed_is_as_one_that_we_opened(stack: ExitStack, hand: Hand) -> None:
    passed = [hand(socket.SOCK_DGRAM)]
    udp = open_sockets(DnsSettings(listen=LISTEN, workers=1), passed, stack).udp[0]
    assert udp.getblocking() and udp.getsockopt(socket.IPPROTO_IP, 8), "which address was asked is known (IP_PKTINFO)"
    assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) != bytes(16), "it can be stopped"


def test_a_kind_of_which_none_was_passed_is_opened_at_the_same_port(stack: ExitStack, hand: Hand) -> None:
    passed = [hand(socket.SOCK_DGRAM)]
    opened = open_sockets(DnsSettings(listen=LISTEN, port=53, workers=1), passed, stack)
    assert [each.getsockname()[1] for each in opened.tcp] == [port_of(passed[0])] == [opened.port]
    passed = [hand(socket.SOCK_STREAM)]
    opened = open_sockets(DnsSettings(listen=LISTEN, port=53, workers=2), passed, stack)
    assert [each.getsockname()[1] for each in opened.udp] == [port_of(passed[0])] * 2


def test_a_socket_for_tls_is_known_by_its_name_or_its_port(stack: ExitStack, hand: Hand) -> None:
    named, other = hand(socket.SOCK_STREAM, name="dot"), hand(socket.SOCK_STREAM)
    plain = hand(socket.SOCK_STREAM)
    settings = DnsSettings(
        listen=LISTEN, workers=1, tls_certificate="c.pem", tls_key="k.pem", tls_port=port_of(other)
    )
    opened = open_sockets(settings, [plain, named, other], stack)
    assert [each.fileno() for each in opened.tls] == [named.number, other.number]
    assert [each.fileno() for each in opened.tcp] == [plain.number]


def test_what_can_not_be_served_is_named(stack: ExitStack, hand: Hand) -> None:
    with pytest.raises(InvalidError, match="--tls-certificate is wanted"):
        open_sockets(DnsSettings(), [hand(socket.SOCK_STREAM, name="tls")], stack)
    with pytest.raises(InvalidError, match="Accept=no"):
        open_sockets(DnsSettings(), [hand(socket.SOCK_STREAM, listens=False)], stack)
    one, other = socket.socketpair()
    with one, other, pytest.raises(InvalidError, match="no IP address"):
        open_sockets(DnsSettings(), [Passed(name="bus", number=os.dup(one.fileno()))], stack)


def test_a_socket_that_the_kernel_does_not_let_be_made_ready_is_told_of(
    stack: ExitStack, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [hand(socket.SOCK_DGRAM)]

    def refused(*_: object) -> None:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(socket.socket, "setsockopt", refused)
    with pytest.raises(UnavailableError, match="was passed can't be served: Protocol not available"):
        open_sockets(DnsSettings(), passed, stack)
