"""TLS as API and hub serve it: contexts, the names in the certificate, and the task that keeps it fresh.

Keeps `ssl.SSLContext`s, two for each authority; a renewed certificate is loaded into them, so new connections see it
and old ones go on. A crash leaves the files of `cloudcore.pki.directory`, which the next start checks.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cloudcore.pki.certificates import Authority
from cloudcore.pki.directory import Pki, refresh_server
from skerry.errors import UnavailableError
from skerry.objects.enrolment import HUB_SERVER_NAME, hub_server_name
from skerry.ports import Clock

LOG: Final = logging.getLogger(__name__)
CHECK_INTERVAL_S: Final = 600.0
"""How soon a new address of this machine, or a certificate two thirds through its life, is noticed."""

KUBERNETES_NAMES: Final = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
"""What clients inside pods call the API."""

_HOSTNAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_FIB_LOCAL: Final = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL")


def server_context(pki: Pki, authority: Authority, *, minimum: ssl.TLSVersion) -> ssl.SSLContext:
    """Serves the certificate that `authority` signed.

    Asks for a client certificate without insisting, as tokens and enrolment come without one; one that is shown must
    be by one of our authorities, valid and for clients, or the handshake fails.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.load_cert_chain(pki.server_file(authority))
    context.load_verify_locations(cadata=pki.bundle_pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def asking_context(pki: Pki, certificate_file: Path) -> ssl.SSLContext:
    """Asks another replica: shows the certificate in the file, and trusts our authorities alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=pki.bundle_pem)
    context.load_cert_chain(certificate_file)
    return context


class Serving:
    """The server certificate and the contexts that serve it."""

    def __init__(self, pki: Pki, *, names: Sequence[str], clock: Clock) -> None:
        self._pki = pki
        self._names = tuple(names)
        self._clock = clock
        self._loaded: list[tuple[Authority, ssl.SSLContext]] = []
        refresh_server(pki, names=self._wanted(), now=now_of(clock))
        self.api = self._contexts(ssl.TLSVersion.TLSv1_2)
        """kubectl 1.20 speaks 1.3 as well, but proxies and older language runtimes in front of users do not."""
        self.hub = self._contexts(ssl.TLSVersion.TLSv1_3)
        self.hub.num_tickets = 1  # a gateway keeps the newest, and each is a kilobyte on its link

    @property
    def server_files(self) -> dict[str, Path]:
        """Certificate and key by the name they are shown under; first what is shown to all others, as `_contexts`
        has it."""
        pki = self._pki
        return {hub_server_name(each.id): pki.server_file(each) for each in reversed(pki.authorities)}

    def refresh(self) -> bool:
        """Renew and load when due; whether that happened. Raises `UnavailableError` when it can't be written."""
        if not refresh_server(self._pki, names=self._wanted(), now=now_of(self._clock)):
            return False
        for authority, context in self._loaded:
            context.load_cert_chain(self._pki.server_file(authority))
        return True

    def _contexts(self, minimum: ssl.TLSVersion) -> ssl.SSLContext:
        """One context an authority. The oldest authority's, which most clients can check, is shown to all that do not
        ask for another's by name (RFC 6066 3)."""
        pki = self._pki
        made = [(each, server_context(pki, each, minimum=minimum)) for each in pki.authorities]
        self._loaded += made
        by_name = {hub_server_name(authority.id): context for authority, context in made}

        def choose(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name in by_name:
                connection.context = by_name[name]

        _, shown = made[-1]
        shown.sni_callback = choose
        return shown

    async def run(self) -> None:
        """Refresh for ever. A disk that is full now is tried again at the next check; a third of the
        certificate's life is left for that."""
        failed = False
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            try:
                if self.refresh():
                    LOG.info("server certificate renewed names=%d", len(self._wanted()))
                failed = False
            except UnavailableError as error:
                if not failed:
                    LOG.warning("server certificate not renewed error=%s", error)
                failed = True

    def _wanted(self) -> set[str]:
        return {HUB_SERVER_NAME, *KUBERNETES_NAMES, *local_names(), *self._names}


def now_of(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.wall_ms() / 1000, UTC).replace(microsecond=0)


def local_names() -> set[str]:
    """This machine's host name and every address it has now (Linux: /proc/net)."""
    names = {"localhost", "127.0.0.1", "::1", host_name()}
    return names | addresses_in(fib_trie=_read_proc("/proc/net/fib_trie"), if_inet6=_read_proc("/proc/net/if_inet6"))


def host_name() -> str:
    """This machine's host name; where that is none for the DNS, localhost."""
    hostname = socket.gethostname().lower()
    return hostname if _HOSTNAME.fullmatch(hostname) else "localhost"


def addresses_in(*, fib_trie: str, if_inet6: str) -> set[str]:
    """The addresses that the kernel's tables (proc_net(5)) give as this machine's own; no link-local ones, which mean
    nothing without their link."""
    addresses = set(_FIB_LOCAL.findall(fib_trie))
    for line in if_inet6.splitlines():
        digits, _, _, scope, *_ = line.split()
        if scope == "00":  # global
            addresses.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)))
    return addresses


def _read_proc(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:  # a container without it, or a kernel without IPv6: those addresses are not known then
        return ""
