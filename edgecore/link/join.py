"""`edgecore join`: how a gateway becomes known to a cloud, once.

1. Ask the address for its CA, without trusting the answer. 2. Compare the CA's key with the pin in the token.
3. Connect again, now accepting that CA alone. 4. Only then send the token, with a signing request for a key that
was made here. The address may be that of the API (HTTPS) or of the hub (WebSocket): the answer to 1 says which,
and a lie there leads nowhere, as 3 proves the peer either way. Where it does not answer directly and there is an HTTP
proxy, all of this goes through that.

The key waits in DIR/.join-key until the certificate for it is in place, so that a join whose answer was lost can
be repeated with the same token. Runs as a command of its own: heavy imports are no burden on the agent. Not to be
called from a coroutine: it runs an event loop of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgecore.link.membership import Credentials, Membership, load_membership, save_membership
from skerry.errors import (
    BadRequestError,
    CallerError,
    InvalidError,
    NotFoundError,
    TooManyRequestsError,
    UnavailableError,
)
from skerry.files import write_private
from skerry.frozen import Frozen
from skerry.objects.enrolment import (
    DISCOVERY_PATH,
    ENROL_PATH,
    HUB_ENROL_PATH,
    HUB_SERVER_NAME,
    MESSAGE_BYTES_MAX,
    NODE_USER_PREFIX,
    Discovery,
    Enrolled,
    EnrolRequest,
    JoinToken,
    authority_id,
    certificates_in,
    der_of_pem,
    hub_server_name,
    parse_token,
    pin_of,
    read_discovery,
    read_enrolled,
    request_body,
    spki_of_certificate,
    split_address,
)
from skerry.transport.proxy import Proxy
from skerry.transport.tunnel import Place, asked
from skerry.transport.websocket import dial

DEFAULT_PORT: Final = 6443
ANSWER_S_MAX: Final = 20.0
HEAD_BYTES_MAX: Final = 16 * 1024
"""Of an HTTP answer, beside its body."""
_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's `ssl` does not name."""


class JoinRequest(Frozen):
    """What the operator gives."""

    data: Path
    clouds: tuple[str, ...]
    """HOST or HOST:PORT, of the API or of the hub: of each replica of one cloud. The first one enrols."""
    token: str
    force: bool = False
    """Forget the cloud that was joined before."""
    proxy_for: Callable[[str], Proxy | None] = lambda _: None
    """The HTTP proxy for a host that does not answer directly; see `proxy_of`."""


class _Peer(Frozen, kw_only=False):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _peer(cloud: str) -> _Peer:
    try:
        return _Peer(*split_address(cloud, default_port=DEFAULT_PORT))
    except BadRequestError as error:
        raise BadRequestError(f"--cloud: {error}") from error


class _Route(Frozen, kw_only=False):
    """How a peer is reached."""

    peer: _Peer
    proxy: Proxy | None
    """None: directly."""


def join(request: JoinRequest) -> Membership:
    """Join, and write what `edgecore run` needs.

    Raises `InvalidError` with the cloud's words when it refuses, `BadRequestError` for a token or address that
    makes no sense, `UnavailableError` when the cloud can't be reached or the disk can't be written.
    """
    token = parse_token(request.token)
    if not request.clouds:
        raise BadRequestError("--cloud: give at least one HOST:PORT")
    peer, *others = [_peer(each) for each in request.clouds]
    _check_not_joined(request)
    try:
        request.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"{request.data}: {error.strerror}") from error
    discovery, route = _discover(peer, request.proxy_for(peer.host))
    pinned = _pinned(discovery.ca_pem, token, peer)
    # Before the token is used: an address that is wrong would be found out when it is needed.
    apis = {other for other in others if _checked_replica(other, request, token).transport == "https"}
    key = _pending_key(request.data)
    enrol_request = EnrolRequest(token=request.token.strip(), csr_pem=_signing_request(key, token.node))
    context = _trusting(pinned)
    name = HUB_SERVER_NAME
    if discovery.by_authority:
        name = hub_server_name(authority_id(spki_of_certificate(der_of_pem(pinned))))
    if discovery.transport == "https":
        enrolled = _enrol_by_https(route, context, name, enrol_request)
        hub = _Peer(peer.host, enrolled.hub_port)
    else:
        enrolled = asyncio.run(_enrol_by_websocket(route, context, name, enrol_request))
        hub = peer  # the port that worked, which a firewall may have renamed
    hubs = [hub, *(_Peer(other.host, enrolled.hub_port) if other in apis else other for other in others)]
    certificate = _checked_certificate(enrolled, token, key)
    credentials = Credentials(
        key_pem=_key_pem(key),
        certificate_pem=enrolled.certificate_pem,
        ca_pem=enrolled.ca_pem,
        server_name=enrolled.server_name or HUB_SERVER_NAME,
    )
    membership = save_membership(
        request.data,
        credentials,
        node=token.node,
        clouds=tuple(dict.fromkeys(map(str, hubs))),
        renew_after_ms=renew_after_ms(certificate),
    )
    _pending_path(request.data).unlink(missing_ok=True)
    return membership


def renew_after_ms(certificate: x509.Certificate) -> int:
    """When two thirds of a certificate's life are over, milliseconds since the epoch."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return round((certificate.not_valid_before_utc + life * 2 / 3).timestamp() * 1000)


def signing_request(key_pem: bytes, node: str) -> str:
    """A PKCS#10 request for a key on disk; the cloud writes the subject itself and reads the key alone."""
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidError("the gateway's key is not an EC key: join again with a new token")
    return _signing_request(key, node)


def _check_not_joined(request: JoinRequest) -> None:
    if request.force:
        return
    try:
        known = load_membership(request.data)
    except (NotFoundError, InvalidError):
        return
    raise InvalidError(
        f"{request.data} has joined {', '.join(known.clouds)} already, as {known.node}; "
        "to join anew and forget that, add --force"
    )


def _discover(peer: _Peer, proxy: Proxy | None) -> tuple[Discovery, _Route]:
    """What the address says it is, asked directly or else through the proxy, and which of both it was; nothing of it
    is believed yet."""
    directly = _Route(peer, None)
    try:
        return _told_by(directly), directly
    except UnavailableError as error:
        if proxy is None:
            raise
        fault = error
    route = _Route(peer, proxy)
    try:
        return _told_by(route), route
    except UnavailableError as error:
        raise UnavailableError(f"{fault}; through the proxy: {error}") from error


def _told_by(route: _Route) -> Discovery:
    peer = route.peer
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the CA that would be checked against is what is asked for
    status, body = asyncio.run(_https(route, context, "GET", DISCOVERY_PATH, None, name=peer.host))
    if status != http.client.OK:
        raise UnavailableError(f"{peer} answers, but not as a Skerry cloud (HTTP {status}): is the port right?")
    try:
        return read_discovery(body)
    except BadRequestError as error:
        raise UnavailableError(f"{peer} answers, but not as a Skerry cloud: is the port right?") from error


def _checked_replica(peer: _Peer, request: JoinRequest, token: JoinToken) -> Discovery:
    """That a further address is of the same cloud, as far as it says; its certificate proves it at every dial."""
    discovery, _ = _discover(peer, request.proxy_for(peer.host))
    _pinned(discovery.ca_pem, token, peer)
    return discovery


def _pinned(ca_pem: str, token: JoinToken, peer: _Peer) -> str:
    """The one certificate (PEM) whose key the token pins. What else was shown beside it counts for nothing: a CA that
    is trusted along with the pinned one could vouch for whoever stands in between."""
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


def _enrol_by_https(route: _Route, context: ssl.SSLContext, name: str, request: EnrolRequest) -> Enrolled:
    peer = route.peer
    status, body = asyncio.run(_https(route, context, "POST", ENROL_PATH, request_body(request), name=name))
    if status == http.client.TOO_MANY_REQUESTS:
        raise TooManyRequestsError(f"{peer}: too many failed attempts; try again later", retry_after_s=60)
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise UnavailableError(f"{peer} can't enrol now (HTTP {status}); try again with the same token")
    return read_enrolled(body)


async def _enrol_by_websocket(route: _Route, context: ssl.SSLContext, name: str, request: EnrolRequest) -> Enrolled:
    # On asyncio, though there is nothing else to do meanwhile: the client for threads reads in one and writes in
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


async def _https(
    route: _Route, context: ssl.SSLContext, method: str, path: str, body: bytes | None, *, name: str
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


def _unreachable(peer: _Peer, error: Exception) -> CallerError | UnavailableError:
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


def _pending_path(data: Path) -> Path:
    return data / ".join-key"


def _pending_key(data: Path) -> ec.EllipticCurvePrivateKey:
    """The key of a join that did not end, or a new one."""
    path = _pending_path(data)
    if path.exists():
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError):
            key = None
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key
    made = ec.generate_private_key(ec.SECP256R1())
    write_private(path, _key_pem(made).encode())
    return made


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _signing_request(key: ec.EllipticCurvePrivateKey, node: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NODE_USER_PREFIX + node)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def _checked_certificate(enrolled: Enrolled, token: JoinToken, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The certificate, if it is for our key and name and by a CA that the cloud, proved by now, says is its own."""
    try:
        certificate = x509.load_pem_x509_certificate(enrolled.certificate_pem.encode())
        authorities = x509.load_pem_x509_certificates(enrolled.ca_pem.encode())
    except ValueError as error:
        raise UnavailableError("the cloud's answer holds no certificate") from error
    if not any(_issued(certificate, authority) for authority in authorities):
        raise UnavailableError("the cloud's answer holds no certificate of its own CA")
    names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if certificate.public_key() != key.public_key() or names != [NODE_USER_PREFIX + token.node]:
        raise UnavailableError("the cloud's answer holds a certificate for another gateway")
    return certificate


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
