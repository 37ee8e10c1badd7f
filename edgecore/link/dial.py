"""How a gateway opens a link: over QUIC, WebSocket or WebSocket through a proxy, with mutual TLS, and with a clock
that may be wrong. Which way is tried when is decided by `skerry.sync.dial`.

Keeps nothing but the tickets of short handshakes, in memory; the files it reads were written by `edgecore join`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

from edgecore.link.membership import HUB_PORT
from skerry.errors import CallerError, UnavailableError
from skerry.objects.enrolment import split_address
from skerry.ports import Clock, Link
from skerry.sync.ages import clock_is_wrong
from skerry.sync.dial import WAYS, Way
from skerry.transport.dialled import dial
from skerry.transport.identity import Identity, client_context
from skerry.transport.proxy import Proxy
from skerry.transport.resumption import Resumption, meaning_of

if TYPE_CHECKING:
    from skerry.transport.quic_tls import Tickets

QUIC_OPEN_S_MAX: Final = 8.0
"""Where nothing lets UDP pass there is no answer at all, and other ways wait; four round trips on a bad link."""


class WayMissingError(UnavailableError):
    """This machine can't dial that way at all, now or later."""


def ways_of(transport: str, *, proxied: bool) -> tuple[Way, ...]:
    """What the setting `--transport` allows, in order of preference."""
    if transport == "quic":
        return ("quic",)
    ways: list[Way] = [way for way in WAYS if way != "proxy" or proxied]
    return tuple(way for way in ways if transport == "auto" or way != "quic")


class Dialer(Protocol):
    """Opens a link to one address, or raises `UnavailableError` with the reason."""

    async def __call__(self, address: str, /) -> Link: ...


def websocket_dialer(
    identity: Callable[[], Identity], clock: Clock, floor_ms: Callable[[], int], *, proxy: Proxy | None = None
) -> Dialer:
    """Dials over WebSocket and TLS 1.3. `identity` is asked at each dial, as a renewal changes it; `floor_ms`: the
    newest time that this gateway has known, 0 for none. Handshakes after the first are short where the cloud agrees;
    see `skerry.transport.resumption`."""
    resumption = Resumption()

    async def open_link(address: str) -> Link:
        floor, wall_ms = floor_ms(), clock.wall_ms()
        wrong = clock_is_wrong(wall_ms=wall_ms, floor_ms=floor)
        try:
            own = identity()
            context = resumption.context(
                address,
                meaning_of(
                    server_name=own.server_name,
                    ca_file=own.ca_file,
                    certificate_file=own.certificate_file,
                    trust_clock=not wrong,
                ),
                lambda: client_context(own, trust_clock=not wrong),
                now_ms=max(floor, wall_ms),
            )
        except (OSError, ValueError, CallerError) as error:
            raise UnavailableError(f"this gateway's certificate can't be used: {error}") from error
        link = await dial(address, context, server_name=own.server_name, proxy=proxy)
        if wrong and link.not_after_ms < floor:
            await link.close(code=1008, reason="certificate expired")
            raise UnavailableError(f"{address}: the cloud's certificate expired before the last time known here")
        resumption.keep(address, context, link.session, until_ms=link.not_after_ms)
        return link

    return open_link


def quic_dialer(
    identity: Callable[[], Identity],
    clock: Clock,
    floor_ms: Callable[[], int],
    *,
    port: int = 0,
    open_s_max: float = QUIC_OPEN_S_MAX,
    sounds: bool = False,
) -> Dialer:
    """Dials over QUIC; `port` is the cloud's UDP port where that is not the number of its TCP port. The library is
    loaded with the first dial: it is a third of an agent's memory. `sounds`: before that, it is asked without it
    whether anybody speaks QUIC there; for who has other ways, as some networks let only the usual versions pass."""
    kept: list[Tickets] = []

    async def open_link(address: str) -> Link:
        if sounds and not kept and find_spec("aioquic") is not None:
            from skerry.transport.sounding import sound

            await sound(_with_port(address, port), default_port=HUB_PORT, within_s=open_s_max)
        try:
            from skerry.transport import quic
        except ImportError as error:
            raise WayMissingError(f"QUIC needs a library that this gateway does not have ({error})") from error
        if not kept:
            kept.append(quic.client_tickets())
        try:
            keys = quic.gateway_keys(identity())
        except (OSError, ValueError, CallerError) as error:
            raise UnavailableError(f"this gateway's certificate can't be used: {error}") from error
        judgement = quic.Judgement(wall_ms=clock.wall_ms(), floor_ms=floor_ms())
        return await quic.dial(_with_port(address, port), keys, kept[0], judgement, open_s_max=open_s_max)

    return open_link


def _with_port(address: str, port: int) -> str:
    if not port:
        return address
    host, _ = split_address(address, default_port=HUB_PORT)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
