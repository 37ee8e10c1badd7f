"""How whoever dials a cloud becomes known to it, and stays so: a gateway to its cloud, a region to a global one.

1. Ask the address for its CA, without trusting the answer. 2. Compare the CA's key with the pin in the token.
3. Connect again, now accepting that CA alone. 4. Only then send the token, with a signing request for a key that
was made by who joins. The address may be that of the API (HTTPS) or of the hub (WebSocket): the answer to 1 says
which, and a lie there leads nowhere, as 3 proves the peer either way. Later a certificate is renewed with itself as
proof, or, where TLS does not take it any more, as a mere paper with the key.

Brings a library for cryptography (10 MB), so that a running agent never imports it. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import os
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.errors import (
    BadRequestError,
    CallerError,
    InvalidError,
    TooManyRequestsError,
    UnansweredError,
    UnavailableError,
)
from skerry.frozen import Frozen
from skerry.objects.enrolment import (
    DISCOVERY_PATH,
    ENROL_PATH,
    HUB_ENROL_PATH,
    HUB_RECOVER_PATH,
    HUB_RENEW_PATH,
    HUB_SERVER_NAME,
    MESSAGE_BYTES_MAX,
    Discovery,
    Enrolled,
    EnrolRequest,
    JoinToken,
    RecoverRequest,
    authority_id,
    certificates_in,
    der_of_pem,
    hub_server_name,
    pin_of,
    read_discovery,
    read_enrolled,
    recover_body,
    request_body,
    spki_of_certificate,
)
from skerry.transport.dialled import dial
from skerry.transport.identity import Identity, client_context, nameless_context
from skerry.transport.proxy import Proxy
from skerry.transport.tunnel import Place, asked

ANSWER_S_MAX: Final = 20.0
HEAD_BYTES_MAX: Final = 16 * 1024
"""Of an HTTP answer, beside its body."""
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's `ssl` does not name."""


class Peer(Frozen, kw_only=False):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Route(Frozen, kw_only=False):
    """How a peer is reached."""

    peer: Peer
    proxy: Proxy | None = None
    """None: directly."""


# --- keys and certificates ---


def new_key() -> str:
    """A private key, as PEM."""
    return key_pem(ec.generate_private_key(ec.SECP256R1()))


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises `InvalidError`."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except ValueError as error:
        raise InvalidError(f"the key can't be read ({error}): join again with a new token") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidError("the key is not an EC key: join again with a new token")
    return key


def signing_request(pem: bytes, user: str) -> str:
    """A PKCS#10 request for a key; the cloud writes the subject itself and reads the key alone."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(read_key(pem), hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def renew_after_ms(certificate_pem: str) -> int:
    """When two thirds of a certificate's life are over, milliseconds since the epoch."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return round((certificate.not_valid_before_utc + life * 2 / 3).timestamp() * 1000)


def valid_from_ms(certificate_pem: str) -> int:
    """When a certificate began to be valid, milliseconds since the epoch: a time that has certainly been. Raises
    `ValueError` for what is none."""
    return round(x509.load_pem_x509_certificate(certificate_pem.encode()).not_valid_before_utc.timestamp() * 1000)


def check_certificate(enrolled: Enrolled, pem: bytes, user: str) -> None:
    """That it is for our key and name and by a CA that the cloud, proved by now, says is its own. Raises
    `UnavailableError`."""
    try:
        certificate = x509.load_pem_x509_certificate(enrolled.certificate_pem.encode())
        authorities = x509.load_pem_x509_certificates(enrolled.ca_pem.encode())
    except ValueError as error:
        raise UnavailableError("the cloud's answer holds no certificate") from error
    if not any(_issued(certificate, authority) for authority in authorities):
        raise UnavailableError("the cloud's answer holds no certificate of its own CA")
    names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if certificate.public_key() != read_key(pem).public_key() or names != [user]:
        raise UnavailableError("the cloud's answer holds a certificate for somebody else")


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


# --- whom to believe ---


async def discovered(route: Route) -> Discovery:
    """What the address says it is; nothing of it is believed yet. Raises `UnavailableError`."""
    peer = route.peer
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the CA that would be checked against is what is asked for
    status, body = await _https(route, context, "GET", DISCOVERY_PATH, None, name=peer.host)
    if status != http.client.OK:
        raise UnavailableError(f"{peer} answers, but not as a Skerry cloud (HTTP {status}): is the port right?")
    try:
        return read_discovery(body)
    except BadRequestError as error:
        raise UnavailableError(f"{peer} answers, but not as a Skerry cloud: is the port right?") from error


def pinned(ca_pem: str, token: JoinToken, peer: Peer) -> str:
    """The one certificate (PEM) whose key the token pins. What else was shown beside it counts for nothing: a CA that
    is trusted along with the pinned one could vouch for whoever stands in between. Raises `InvalidError`."""
    for pem in certificates_in(ca_pem):
        if pin_of(spki_of_certificate(der_of_pem(pem))) == token.pin:
            return pem
    raise InvalidError(
        f"the cloud at {peer} is not the one that made this token: its certificate authority has another key. "
        "Nothing was sent to it. Check the address, or whether somebody stands in between"
    )


def _trusting(ca_pem: str) -> ssl.SSLContext:
    """TLS 1.3 with peers that this CA vouches for. A clock that is before the CA was made is wrong, and can't judge
    dates; then the pin alone has to do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ca_pem)
    made = x509.load_pem_x509_certificate(ca_pem.encode()).not_valid_before_utc
    if datetime.fromtimestamp(time.time(), UTC) < made:
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


# --- asking ---


async def enrolled(route: Route, discovery: Discovery, ca_pem: str, request: EnrolRequest) -> Enrolled:
    """Send the token, to who is proved by `ca_pem` (`pinned`). Raises `CallerError` with the cloud's words when it
    refuses, `UnavailableError` when it can't be reached."""
    context, name = _trusting(ca_pem), HUB_SERVER_NAME
    if discovery.by_authority:
        name = hub_server_name(authority_id(spki_of_certificate(der_of_pem(ca_pem))))
    if discovery.transport == "https":
        return await _enrol_by_https(route, context, name, request)
    return await _enrol_by_websocket(route, context, name, request)


async def _enrol_by_https(route: Route, context: ssl.SSLContext, name: str, request: EnrolRequest) -> Enrolled:
    peer = route.peer
    status, body = await _https(route, context, "POST", ENROL_PATH, request_body(request), name=name)
    if status == http.client.TOO_MANY_REQUESTS:
        raise TooManyRequestsError(f"{peer}: too many failed attempts; try again later", retry_after_s=60)
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise UnavailableError(f"{peer} can't enrol now (HTTP {status}); try again with the same token")
    return read_enrolled(body)


async def _enrol_by_websocket(route: Route, context: ssl.SSLContext, name: str, request: EnrolRequest) -> Enrolled:
    # On asyncio, though there may be nothing else to do meanwhile: the client for threads reads in one and writes in
    # another, which OpenSSL does not allow on one connection (https://github.com/python/cpython/issues/151508). It
    # lost one handshake in a few hundred.
    try:
        async with asyncio.timeout(2 * ANSWER_S_MAX):
            link = await dial(str(route.peer), context, path=HUB_ENROL_PATH, server_name=name, proxy=route.proxy)
            await link.send(request_body(request))
            answer = await link.receive()
            await link.close(code=1000, reason="")
    except UnavailableError as error:
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise _unreachable(route.peer, error.__cause__) from error
        raise UnavailableError(f"can't reach the cloud at {error}") from error
    except TimeoutError as error:
        raise _unreachable(route.peer, error) from error
    return read_enrolled(answer)


class Renewing(Frozen):
    """Who asks for a new certificate of the same key, and whom."""

    identity: Identity
    csr_pem: str
    address: str
    """HOST:PORT of a hub."""
    proxy: Proxy | None = None
    trust_clock: bool = True
    known_ms: int = 0
    """The newest time known here: a cloud whose certificate ended before it is believed nothing."""


async def renewed(asking: Renewing) -> Enrolled:
    """With the certificate where TLS still takes it, else with it as a mere paper. Raises `CallerError` with the
    cloud's refusal, `UnavailableError`."""
    identity = asking.identity
    try:
        context = client_context(identity, trust_clock=asking.trust_clock)
        request = request_body(EnrolRequest(token="", csr_pem=asking.csr_pem))
        return await _asked(asking, HUB_RENEW_PATH, context, request)
    except UnansweredError:
        raise  # nobody is there who could think more of a paper
    except UnavailableError:
        paper = identity.certificate_file.read_text(encoding="ascii")
        nameless = nameless_context(identity.ca_file, trust_clock=asking.trust_clock)
        request = recover_body(RecoverRequest(certificate_pem=paper, csr_pem=asking.csr_pem))
        return await _asked(asking, HUB_RECOVER_PATH, nameless, request)


async def _asked(asking: Renewing, path: str, context: ssl.SSLContext, request: bytes) -> Enrolled:
    address = asking.address
    link = await dial(address, context, path=path, server_name=asking.identity.server_name, proxy=asking.proxy)
    if link.not_after_ms < asking.known_ms:
        await link.close(code=1008, reason="certificate expired")
        raise UnavailableError(f"{address}: the cloud's certificate expired before the last time known here")
    await link.send(request)
    answer = await link.receive()
    await link.close(code=1000, reason="")
    return read_enrolled(answer)


async def _https(
    route: Route, context: ssl.SSLContext, method: str, path: str, body: bytes | None, *, name: str
) -> tuple[int, bytes]:
    """One request; the status and at most MESSAGE_BYTES_MAX + 1 bytes."""
    peer = route.peer
    lines = [f"{method} {path} HTTP/1.1", f"Host: {peer}", "Connection: close"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    place = Place(host=peer.host, port=peer.port, server_name=name, proxy=route.proxy)
    question = "\r\n".join([*lines, "", ""]).encode() + (body or b"")
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            answer = await asked(place, context, question, bytes_max=HEAD_BYTES_MAX + MESSAGE_BYTES_MAX)
        response = http.client.HTTPResponse(cast(socket.socket, _Received(answer)), method=method)
        response.begin()
        return response.status, response.read(MESSAGE_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException, UnavailableError) as error:
        raise _unreachable(peer, error) from error


class _Received:
    """An answer where `http.client` looks for a socket."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._answer)


def _unreachable(peer: Peer, error: Exception) -> CallerError | UnavailableError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return InvalidError(
            f"the peer at {peer} showed a certificate that the cloud did not make ({error.verify_message}); "
            "the token was not sent"
        )
    return UnavailableError(f"can't reach the cloud at {peer}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """For people, also where the exception has no text."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
