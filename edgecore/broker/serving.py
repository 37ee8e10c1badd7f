"""The broker's certificate as its files have it now: whoever renews it replaces the files, and restarts nothing.

Looked at before each handshake. Files that make no sense, as between the write of the certificate and that of its
key, leave in use what was there before, and are read again when they change; where there was nothing before, nobody
comes in by TLS, and all else goes on. Connections that stand keep what they began with. Keeps nothing but what was
read last.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from skerry.errors import InvalidError

LOG = logging.getLogger(__name__)

_Stamp: TypeAlias = "tuple[int, int, int] | None"


@dataclass(slots=True)
class ServingFiles:
    """See the module."""

    certificate: str
    key: str
    client_ca: str = ""
    """"" for clients that show no certificate."""
    _context: ssl.SSLContext | None = field(init=False, default=None)
    _seen: tuple[_Stamp, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self._stamps()
        self._read()

    def context(self) -> ssl.SSLContext:
        """For one handshake. Raises `InvalidError` where the files were never of use."""
        seen = self._stamps()
        if seen != self._seen:
            self._seen = seen
            if self._read():
                LOG.info("broker_certificate_read file=%s", self.certificate)
        if self._context is None:
            raise InvalidError(f"--mqtt-listen-cert-file {self.certificate}: not of use yet")
        return self._context

    def _read(self) -> bool:
        try:
            self._context = _context_of(self.certificate, self.key, self.client_ca)
        except InvalidError as error:
            until = "the one from before stays" if self._context is not None else "nobody comes in by TLS until it is"
            LOG.error("broker_certificate_unusable %s reason=%r", until, str(error))
            return False
        return True

    def _stamps(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(path) for path in (self.certificate, self.key, self.client_ca) if path)


def _stamp(path: str) -> _Stamp:
    with suppress(OSError):
        found = Path(path).stat()
        return found.st_ctime_ns, found.st_ino, found.st_size  # who may read it changes that time alone
    return None


def _context_of(certificate: str, key: str, client_ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidError(f"--mqtt-listen-cert-file {certificate}, --mqtt-listen-key-file {key}: {error}") from error
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            raise InvalidError(f"--mqtt-listen-client-ca-file {client_ca}: {error}") from error
    return context
