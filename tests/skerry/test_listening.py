from __future__ import annotations

import socket

import pytest

from skerry.listening import listening_socket


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
