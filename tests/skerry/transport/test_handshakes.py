from __future__ import annotations

import socket
import ssl
import threading

import pytest

from skerry.transport.handshakes import closing_on_refusal


def test_a_socket_whose_handshake_fails_is_closed_by_whoever_tried() -> None:
    ours, theirs = socket.socketpair()
    context = closing_on_refusal(ssl.create_default_context())
    with theirs:
        shaking = context.wrap_socket(ours, server_hostname="broker", do_handshake_on_connect=False)
        answering = threading.Thread(target=theirs.sendall, args=(b"no TLS at all",))
        answering.start()
        with pytest.raises(ssl.SSLError):
            shaking.do_handshake()
        answering.join()
        assert shaking.fileno() == -1
