"""What a server reads beside its zones: keys, a certificate, a database of places. Read anew at each reload, since
keys change in turn (RFC 9018 section 5) and certificates end.

Keeps what was read last. A file that is caught half-written leaves what it said before, and keeps nothing else from
being read: zones that have changed are none of its business.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloudcore.dns.access import Access, read_keys, read_networks
from cloudcore.dns.cookies import KEY_SIZE
from cloudcore.dns.geography import GeoDatabase
from cloudcore.dns.settings import DnsSettings, read_cookie_keys
from cloudcore.dns.sockets import tls_context
from skerry.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    from cloudcore.dns.keys import ZoneKey


class Equipment:
    """`read` fills it."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings
        self.tls: ssl.SSLContext | None = None
        self.geo: GeoDatabase | None = None
        self.cookie_keys: Sequence[bytes] = [secrets.token_bytes(KEY_SIZE)]
        self.access = Access()
        self.signing: Mapping[bytes, Sequence[ZoneKey]] = {}
        """By zone."""

    def read(self, *, first: bool = False) -> tuple[str, ...]:
        """What could not be read, and is as it was. At the first time there is nothing that it could be: raises
        `InvalidError`, `UnavailableError`."""
        faults: list[str] = []
        for read in (self._read_tls, self._read_geo, self._read_cookie_keys, self._read_access, self._read_signing):
            try:
                read()
            except (InvalidError, UnavailableError) as error:
                if first:
                    raise
                faults.append(f"{error}; what it said before holds")
        return tuple(faults)

    def _read_tls(self) -> None:
        self.tls = tls_context(self._settings)

    def _read_geo(self) -> None:
        if self._settings.geo:
            self.geo = GeoDatabase(Path(self._settings.geo))

    def _read_cookie_keys(self) -> None:
        if self._settings.cookie_keys:
            self.cookie_keys = read_cookie_keys(Path(self._settings.cookie_keys))

    def _read_access(self) -> None:
        settings = self._settings
        keys = read_keys(Path(settings.transfer_keys)) if settings.transfer_keys else {}
        self.access = Access(keys=keys, networks=read_networks(settings.allow_transfer))

    def _read_signing(self) -> None:
        if self._settings.dnssec_keys:
            from cloudcore.dns.keys import by_zone, read_keys

            self.signing = by_zone(read_keys(Path(self._settings.dnssec_keys)))
