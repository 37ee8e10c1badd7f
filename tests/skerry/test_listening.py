from __future__ import annotations

import socket
from pathlib import Path

import pytest

from skerry.errors import UnavailableError
from skerry.listening import listening_socket, unix_socket


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("bind", "dialled"), [("::", "127.0.0.1"), ("::", "::1"), ("::1", "::1"), ("0.0.0.0", "127.0.0.1")]
)
def test_the_unspecified_ipv6_address_takes_both_families(bind: str, dialled: str):
    with listening_socket(bind, 0, backlog=1) as server:
        socket.create_connection((dialled, int(server.getsockname()[1])), timeout=5).close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_another_ipv6_address_takes_no_ipv4():
    with listening_socket("::1", 0, backlog=1) as server, pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(server.getsockname()[1])), timeout=5)


def test_what_is_accepted_sends_small_frames_at_once():
    with listening_socket("127.0.0.1", 0, backlog=1) as server:
        dialled = socket.create_connection(("127.0.0.1", int(server.getsockname()[1])), timeout=5)
        accepted, _ = server.accept()
        with dialled, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_unix_socket_is_its_owners_alone_and_replaces_what_a_killed_program_left(tmp_path: Path) -> None:
    path = tmp_path / "run" / "x.sock"
    with unix_socket(path, group="", backlog=1) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(UnavailableError, match="another program listens there"):
            unix_socket(path, group="", backlog=1)
        assert server.fileno() >= 0
    unix_socket(path, group="", backlog=1).close()


def test_a_server_with_a_full_queue_is_none_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "busy.sock"
    waiting: list[socket.socket] = []
    with unix_socket(path, group="", backlog=0):
        try:
            while len(waiting) < 64:
                waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        except BlockingIOError:
            with pytest.raises(UnavailableError, match="another program listens there"):
                unix_socket(path, group="", backlog=1)
            assert path.is_socket()
        else:
            pytest.fail("the queue never fills")
        finally:
            for each in waiting:
                each.close()


def test_a_socket_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "datagrams"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(UnavailableError, match="wrong type"):
            unix_socket(path, group="", backlog=1)
        assert path.is_socket()


def test_what_is_no_socket_is_not_replaced_and_an_unknown_group_is_named(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(UnavailableError, match="no socket"):
        unix_socket(path, group="", backlog=1)
    assert path.read_text() == "data"
    with pytest.raises(UnavailableError, match="nosuchgroup"):
        unix_socket(tmp_path / "y", group="nosuchgroup", backlog=1)
