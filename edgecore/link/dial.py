"""How a gateway opens a link: addresses in turn, mutual TLS, and a clock that may be wrong.

Keeps nothing; the files it reads were written by `edgecore join`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from skerry.errors import CallerError, UnavailableError
from skerry.ports import Clock, Link
from skerry.transport.websocket import Identity, client_context, dial


class Dialer(Protocol):
    """Opens a link to one address, or raises `UnavailableError` with the reason."""

    async def __call__(self, address: str, /) -> Link: ...


def clock_is_wrong(*, wall_ms: int, floor_ms: int) -> bool:
    """A clock behind the last time that this gateway knew can't judge certificates (a Pi boots in 1970)."""
    return wall_ms < floor_ms


def websocket_dialer(identity: Callable[[], Identity], clock: Clock, floor_ms: Callable[[], int]) -> Dialer:
    """Dials over WebSocket and TLS 1.3. `identity` is asked at each dial, as a renewal changes it; `floor_ms`: the
    newest time that this gateway has known, 0 for none."""

    async def open_link(address: str) -> Link:
        floor = floor_ms()
        wrong = clock_is_wrong(wall_ms=clock.wall_ms(), floor_ms=floor)
        try:
            own = identity()
            context = client_context(own, trust_clock=not wrong)
        except (OSError, ValueError, CallerError) as error:
            raise UnavailableError(f"this gateway's certificate can't be used: {error}") from error
        link = await dial(address, context, server_name=own.server_name)
        if wrong and link.not_after_ms < floor:
            await link.close(code=1008, reason="certificate expired")
            raise UnavailableError(f"{address}: the cloud's certificate expired before the last time known here")
        return link

    return open_link
