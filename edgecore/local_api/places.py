"""Where the local API is served over TCP: for whoever shares the gateway's network, and for pods with their own.

A link-local address (169.254.0.0/16) is made this machine's (`edgecore.network.interface`): each pod reaches it over
its gateway, and nobody else asks for it. It is bound before anything is told of it, so that of two agents on a
machine one has it, and the pods of the other are not sent to it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from skerry.errors import UnavailableError
from skerry.frozen import Frozen

log = logging.getLogger(__name__)

BACKLOG: Final = 100
_LINK_LOCAL: Final = "169.254."
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
"""From linux/in.h and linux/in6.h."""


class Place(Frozen):
    """Where the API is served."""

    host: str
    port: int

    @property
    def is_for_pods(self) -> bool:
        return self.host.startswith(_LINK_LOCAL)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Door(Frozen):
    """A place, and what listens there if something does already."""

    place: Place
    listening: socket.socket | None = None


def listening_at(place: Place) -> socket.socket:
    """Also at an address that is to come: the pods' bridge is made with the first pod. Raises `OSError`."""
    family, level, option = (
        (socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_FREEBIND)
        if ":" in place.host
        else (socket.AF_INET, socket.IPPROTO_IP, _IP_FREEBIND)
    )
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(level, option, 1)
        made.bind((place.host, place.port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def listening_on(path: Path) -> socket.socket:
    """The unix socket, for root and the agent's own user; one left by a killed agent is replaced. Raises
    `UnavailableError`."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(mask)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise UnavailableError(f"listening on {path}: {error}") from error
    return made


async def doors_at(places: Sequence[Place], hold: Callable[[str], Awaitable[None]], *, asked_for: bool) -> list[Door]:
    """Those that can be had. `hold`: makes an address this machine's; raises `UnavailableError`. `asked_for`: by
    somebody, so that one that can't be had is tried again; else nobody is told of it."""
    found: list[Door] = []
    for place in places:
        try:
            if place.is_for_pods:
                await hold(place.host)
            found.append(Door(place=place, listening=listening_at(place)))
        except (OSError, UnavailableError) as error:
            if place.is_for_pods:
                log.warning(
                    "pods with a network of their own don't find the gateway's API at=%s why=%s", place, error
                )
            if asked_for or not place.is_for_pods:  # it is tried again
                found.append(Door(place=place))
    return found
