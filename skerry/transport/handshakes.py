"""TLS for libraries that block: a socket whose handshake fails is closed there.

paho-mqtt shakes hands itself and leaves the socket of one that failed to the garbage collector, so a gateway that
dials a broker with a wrong certificate every few seconds gathers open files until one passes. Keeps no data.

Source: `SSLContext.sslsocket_class` of Python's documentation.
"""

from __future__ import annotations

import ssl


class HandshakeSocket(ssl.SSLSocket):
    """One that nobody has to close who got an error for it."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def closing_on_refusal(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, whose sockets are that."""
    context.sslsocket_class = HandshakeSocket
    return context
