"""A health check over gRPC (grpc.health.v1): one call on a connection of its own. Keeps nothing.

Imported with the first gRPC probe.
"""

from __future__ import annotations

from typing import Final

from grpclib.const import Status

from skerry.errors import InvalidError
from skerry.frozen import Frozen
from skerry.transport.grpc import Peer, RefusedError
from skerry.wire.tables import Form, Table, row

ANSWER_BYTES_MAX: Final = 64 * 1024
SERVICE: Final = "grpc.health.v1.Health"
STATUSES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class CheckRequest(Frozen):
    service: str = ""


class CheckResponse(Frozen):
    status: int = 0


TABLE: Final = Table(
    {
        CheckRequest: row((1, "service", Form.STRING)),
        CheckResponse: row((1, "status", Form.INT32)),
    },
    fields_max=64,
)


async def check(host: str, port: int, service: str, *, timeout_s: float) -> str:
    """What the server says of a service. Raises `UnavailableError` (nobody answers), `InvalidError` (it can't)."""
    peer = Peer((host, port), SERVICE, {"Check": (CheckRequest, CheckResponse)}, TABLE, bytes_max=ANSWER_BYTES_MAX)
    try:
        answer: CheckResponse = await peer.call("Check", CheckRequest(service=service), timeout_s=timeout_s)
    except RefusedError as error:
        if error.status is Status.UNIMPLEMENTED:
            raise InvalidError(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
            ) from error
        if error.status is Status.NOT_FOUND:
            raise InvalidError(f'rpc error: code = NotFound desc = unknown service "{service}"') from error
        raise InvalidError(f"health rpc failed: {error}") from error
    finally:
        peer.close()
    return STATUSES[answer.status] if 0 <= answer.status < len(STATUSES) else str(answer.status)
