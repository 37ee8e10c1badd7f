"""Which certificate the local API shows, and by which authorities pods are to know it.

Keeps `DATA/local-api`: what the gateway made itself (`edgecore.local_api.certificates`), and `cloud.pem`, replaced
as a whole: key, certificate and the certificate of whoever signed it, one of the cloud's authorities. That one is
shown at the machine's own addresses while every client can check it: the machine's clock is within its time, and the
cloud names that authority as its own. Otherwise (never linked, a board that starts in 1970, a year alone) the
gateway's own one is shown. Pods find the gateway's own authority in their `ca.crt` whenever that may be shown soon,
so that who has read the file goes on (docs/decisions/0445).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecore.local_api.certificates import CA_FILE, SEPARATOR, SERVER_FILE, Request, are_made, request_in
from edgecore.store.shell import AsyncEdgeStore
from skerry.errors import BadRequestError, UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.enrolment import TRUST_FIELD, TRUST_NAME, TRUST_NAMESPACE, certificates_in
from skerry.objects.gateway_serving import SERVICE_NAMES, Served, Validity, is_of_the_machine, validity_of
from skerry.objects.json import decode_object, str_at
from skerry.objects.meta import Key
from skerry.ports import Clock

log = logging.getLogger(__name__)

CLOUD_FILE: Final = "cloud.pem"
MAKE_S_MAX: Final = 60.0
TRUST: Final = Key("configmaps", TRUST_NAMESPACE, TRUST_NAME)
_LAST_SHARE: Final = 6
"""In the last sixth of its life a certificate that nobody renewed may end soon."""
_RENEWED_SHARE: Final = 3


class _OfCloud(Frozen):
    """What `cloud.pem` holds."""

    authority: str
    """PEM."""
    leaf: Validity
    issuer: Validity

    def holds(self, now_ms: int) -> bool:
        return self.leaf.holds(now_ms) and self.issuer.holds(now_ms)

    def left_ms(self, now_ms: int) -> int:
        return min(self.leaf.end_ms, self.issuer.end_ms) - now_ms

    def share_left(self, now_ms: int) -> float:
        return self.left_ms(now_ms) / max(1, self.leaf.end_ms - self.leaf.begin_ms)


class ServedCertificates:
    """See the module. Nothing is read before it is needed."""

    def __init__(self, directory: Path, store: AsyncEdgeStore, clock: Clock, *, hosts: Sequence[str]) -> None:
        """`hosts`: at which the API is served. `clock`: the machine's, right or wrong, as clients judge by it."""
        self._directory = directory
        self._store = store
        self._clock = clock
        self.names = tuple(dict.fromkeys((*SERVICE_NAMES, "127.0.0.1", "::1", *hosts)))
        self._of_cloud = _read(directory)
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def make(self, more_names: Sequence[str] = ()) -> bool:
        """See that there is what the gateway makes itself; whether anything of that was made now. `more_names`: by
        which the API is called beside its hosts. Raises `UnavailableError`."""
        more = [name for name in more_names if name not in self.names]
        had_all = are_made(self._directory, (*self.names, *more)) and self.request() is not None
        if not had_all:
            await _make(self._directory, self.names, more)
            self._contexts.clear()
        self._tell()
        return not had_all

    def request(self) -> Request | None:
        """What the cloud is asked with; None before it is made."""
        return request_in(self._directory, self.names)

    def keep(self, request: Request, served: Served) -> None:
        """What the cloud gave. Raises `BadRequestError` for what is no use, `UnavailableError`."""
        leaves, issuers = certificates_in(served.certificate_pem), certificates_in(served.authority_pem)
        if len(leaves) != 1 or len(issuers) != 1:
            raise BadRequestError("the cloud's answer is not one certificate and its authority's")
        text = request.key_pem + leaves[0] + issuers[0]
        for each in (*leaves, *issuers):
            validity_of(each)
        write_private(self._directory / CLOUD_FILE, text.encode("ascii"))
        self._of_cloud = _read(self._directory)
        self._contexts.clear()
        self._tell()

    @property
    def is_due(self) -> bool:
        """Another one is to be asked for: there is none, it is of an authority that is not the first any more, it is
        for other names, or a third of its life is left."""
        of_cloud, trusted = self._of_cloud, self._trusted()
        if of_cloud is None or (trusted and of_cloud.authority != trusted[0]) or not self._is_for_names():
            return True
        return of_cloud.share_left(self._clock.wall_ms()) < 1 / _RENEWED_SHARE

    def _is_for_names(self) -> bool:
        """By the key: each request has one of its own, and is made for names."""
        request = self.request()
        try:
            return request is None or (self._directory / CLOUD_FILE).read_text("ascii").startswith(request.key_pem)
        except (OSError, ValueError):
            return False

    def authority(self, host: str) -> str:
        """What clients of the API at this host are to trust beside the cloud's authorities, in PEM; "" for none."""
        if self._is_shown(host) and not self._ends_soon():
            return ""
        return self._own_authority()

    def context(self, host: str) -> ssl.SSLContext:
        """What is shown to who connects there now. Raises `OSError`."""
        name = CLOUD_FILE if self._is_shown(host) else SERVER_FILE
        found = self._contexts.get(name)
        if found is None:
            found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            found.minimum_version = ssl.TLSVersion.TLSv1_2
            found.load_cert_chain(self._directory / name)
            self._contexts[name] = found
        return found

    def _is_shown(self, host: str) -> bool:
        of_cloud = self._of_cloud
        if of_cloud is None or not is_of_the_machine(host) or not of_cloud.holds(self._clock.wall_ms()):
            return False
        return of_cloud.authority in self._trusted()

    def _ends_soon(self) -> bool:
        return self._of_cloud is None or self._of_cloud.share_left(self._clock.wall_ms()) < 1 / _LAST_SHARE

    def _trusted(self) -> tuple[str, ...]:
        """The cloud's authorities as pods are told of them."""
        held = self._store.get(TRUST)
        return () if held is None else certificates_in(str_at(decode_object(held.body), "data", TRUST_FIELD))

    def _own_authority(self) -> str:
        try:
            found = certificates_in((self._directory / CA_FILE).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return ""
        return next(iter(found), "")

    def _tell(self) -> None:
        """`ca.crt` in the directory is for people on the gateway: whatever is shown, it can be checked by that."""
        own = self._own_authority()
        whole = own + (self._of_cloud.authority if self._of_cloud is not None else "")
        try:
            if own and (self._directory / CA_FILE).read_text(encoding="ascii") != whole:
                write_private(self._directory / CA_FILE, whole.encode("ascii"))
        except (OSError, ValueError, UnavailableError) as error:
            log.warning("ca.crt of the local API is not what it was to be reason=%s", error)


def _read(directory: Path) -> _OfCloud | None:
    """None for none, and for one that can't be used: the cloud is asked again."""
    try:
        text = (directory / CLOUD_FILE).read_text(encoding="ascii")
        leaf, issuer = certificates_in(text)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(directory / CLOUD_FILE)
        return _OfCloud(authority=issuer, leaf=validity_of(leaf), issuer=validity_of(issuer))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, BadRequestError) as error:
        log.warning("the cloud's certificate for the local API can't be used reason=%s", error)
        return None


async def _make(directory: Path, names: Sequence[str], more: Sequence[str]) -> None:
    """In a program of its own (`edgecore.local_api.certificates`). Raises `UnavailableError`."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgecore.local_api.certificates", str(directory), *names, SEPARATOR, *more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(MAKE_S_MAX):
            _, errors = await program.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        raise
    if program.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise UnavailableError(f"its certificate can't be made: {' '.join(last)}")
