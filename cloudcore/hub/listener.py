"""Where nodes connect: one TLS port, WebSocket, client certificates required for sessions.

Keeps nothing. Whoever composes the process may serve further paths on the same port (enrolment, for gateways
that have no certificate yet); their TLS context must then ask for certificates without requiring them.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from cloudcore.hub.hub import Hub
from skerry.transport.websocket import SESSION_PATH, Route, limit_tls_read_buffers, listen


def listen_for_nodes(
    hub: Hub, host: str, port: int, context: ssl.SSLContext, others: Mapping[str, Route] | None = None
) -> AbstractAsyncContextManager[tuple[str, int]]:
    """Serve nodes while the context lasts; gives the address bound (port 0 means any)."""
    limit_tls_read_buffers()
    return listen(host, port, context, {SESSION_PATH: Route(handle=hub.handle, named=True), **(others or {})})
