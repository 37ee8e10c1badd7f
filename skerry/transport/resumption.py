"""What a gateway keeps so that its next TLS handshake with the cloud is short: one context and session an address.

A session (RFC 8446 section 2.2) stands for what was proved when it was made: by which certificate, to whom, trusting
which authorities, with a clock that was right or not. It is offered for exactly that, once (appendix C.4), and not
beyond the end of the cloud's certificate: OpenSSL checks nothing of it again. Any doubt costs a full handshake and
no more. Kept in memory only, a few kilobytes; a crash loses it.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skerry.frozen import Frozen

ADDRESSES_MAX: Final = 8
"""Of one cloud, whose replicas are few; the one dialled longest ago goes first."""


class ResumingContext(ssl.SSLContext):
    """A context that can be told to offer a session in its next handshake, and in no other. asyncio has no parameter
    for that, but asks here."""

    _session: ssl.SSLSession | None = None

    def offer(self, session: ssl.SSLSession | None) -> None:
        """Once; it has to be of this context. None: nothing after all."""
        self._session = session

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        offered, self._session = session or self._session, None
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, offered)


class Meaning(Frozen):
    """What a session with one address stands for: no other one may be offered in its place."""

    server_name: str
    files: bytes
    """Digest of the authorities that are trusted, and of the certificate that is shown."""
    trust_clock: bool


def meaning_of(*, server_name: str, ca_file: Path, certificate_file: Path, trust_clock: bool) -> Meaning:
    """By the files as they are now. Raises `OSError`."""
    digest = hashlib.sha256()
    for content in (ca_file.read_bytes(), certificate_file.read_bytes()):
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return Meaning(server_name=server_name, files=digest.digest(), trust_clock=trust_clock)


@dataclass(slots=True, kw_only=True)
class _Kept:
    meaning: Meaning
    context: ResumingContext
    session: ssl.SSLSession | None = None
    until_ms: int = 0


class Resumption:
    """The contexts of a gateway's dials, each with its newest session."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def context(
        self, address: str, meaning: Meaning, make: Callable[[], ResumingContext], *, now_ms: int
    ) -> ResumingContext:
        """The context for the next dial to this address, made anew where the one that is kept means something else.
        It offers the session that is kept, which is used up by that. `now_ms` is the newest time known; raises what
        `make` does."""
        kept = self._kept.pop(address, None)
        if kept is None or kept.meaning != meaning:
            kept = _Kept(meaning=meaning, context=make())
        self._kept[address] = kept
        while len(self._kept) > ADDRESSES_MAX:
            del self._kept[next(iter(self._kept))]
        kept.context.offer(kept.session if now_ms < kept.until_ms else None)
        kept.session = None
        return kept.context

    def keep(self, address: str, context: ssl.SSLContext, session: ssl.SSLSession | None, *, until_ms: int) -> None:
        """Keep the session of a link that was opened with this context, until the cloud's certificate ends. One
        of a context that was replaced meanwhile is of no use, and one without a ticket makes no handshake short."""
        kept = self._kept.get(address)
        if kept is not None and kept.context is context:
            kept.session, kept.until_ms = session, until_ms
