"""The cloud's addresses as its name was last resolved, for when no name server answers.

Certificates are checked against the cloud's name whatever address is dialled, so an old address leads to the cloud or
to nobody. Kept: one row in the edge store's `meta`, written when a link was opened and the addresses of its name are
others than before; a crash leaves the older ones.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Final

from edgecore.link.dial import Dialer, WayMissingError
from edgecore.link.membership import HUB_PORT
from edgecore.store.port import EdgeBatch
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import UnavailableError
from skerry.objects.enrolment import split_address
from skerry.objects.json import decode_object, strs_at
from skerry.ports import Link

log = logging.getLogger(__name__)

META_ADDRESSES: Final = "cloud_addresses"
RESOLVE_S_MAX: Final = 5.0
"""As long as a resolver waits for its first name server (resolv.conf(5), `timeout`)."""
ADDRESSES_MAX: Final = 8
"""Of one name: each that leads nowhere costs a dial."""

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]


async def resolve(host: str) -> tuple[str, ...]:
    """The addresses of a name, as this machine finds them. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(place[0]) for _, _, _, _, place in found))[:ADDRESSES_MAX]


class CloudNames:
    """Names of the cloud's hubs, and where they were found."""

    def __init__(self, store: AsyncEdgeStore, resolve: Resolve = resolve, *, within_s: float = RESOLVE_S_MAX) -> None:
        self._store = store
        self._within_s = within_s
        self._resolve = resolve
        held = store.meta(META_ADDRESSES)
        row = decode_object(held.encode()) if held else {}
        self._known: dict[str, tuple[str, ...]] = {name: tuple(strs_at(row, name)) for name in row}

    @property
    def known(self) -> Mapping[str, tuple[str, ...]]:
        return self._known

    def remembering(self, dialer: Dialer) -> Dialer:
        """Dials as that does; where a name can't be resolved, the addresses that it had."""

        async def open_link(address: str) -> Link:
            host, port = split_address(address, default_port=HUB_PORT)
            if _is_address(host):
                return await dialer(address)
            try:
                found = await self._found(host)
            except OSError as error:
                return await self._as_known(dialer, host, port, error)
            link = await dialer(address)
            await self._keep(host, found)
            return link

        return open_link

    async def _found(self, host: str) -> tuple[str, ...]:
        """Raises `OSError`."""
        try:
            async with asyncio.timeout(self._within_s):
                return await self._resolve(host)
        except TimeoutError as error:
            raise OSError(f"no name server answers within {self._within_s:g} s") from error

    async def _as_known(self, dialer: Dialer, host: str, port: int, why: OSError) -> Link:
        fault = UnavailableError(f"{host} is not found: {why.strerror or why}")
        for each in self._known.get(host, ()):
            try:
                link = await dialer(f"[{each}]:{port}" if ":" in each else f"{each}:{port}")
            except WayMissingError:
                raise
            except UnavailableError as error:
                fault = error
                continue
            log.warning("name not found, its last address serves name=%s address=%s reason=%s", host, each, why)
            return link
        raise fault

    async def _keep(self, host: str, found: tuple[str, ...]) -> None:
        if set(found) == set(self._known.get(host, ())):
            return  # name servers turn their answers round
        self._known[host] = found
        row = json.dumps({name: [*places] for name, places in sorted(self._known.items())})
        try:
            await self._store.apply(EdgeBatch(meta=((META_ADDRESSES, row),)))
        except UnavailableError as error:
            log.warning("the cloud's addresses are not written down name=%s reason=%s", host, error)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
