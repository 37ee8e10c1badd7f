"""How a region's cloud joins a global one: as a gateway joins, by the hub's port and a token that pins its CA.

1. Ask for the CA without trusting the answer. 2. Compare its key with the pin in the token. 3. Connect again,
accepting that CA alone. 4. Only then send the token, with a signing request for a key that was made here.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from skerry.errors import BadRequestError, InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.enrolment import (
    DISCOVERY_PATH,
    HUB_ENROL_PATH,
    HUB_RENEW_PATH,
    HUB_SERVER_NAME,
    MESSAGE_BYTES_MAX,
    REGION_USER_PREFIX,
    Enrolled,
    EnrolRequest,
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
from skerry.transport.tunnel import Place, asked
from skerry.transport.websocket import Identity, client_context, dial

HUB_PORT: Final = 10443
ANSWER_S_MAX: Final = 20.0


class Credentials(Frozen):
    """What joining gives, in PEM."""

    name: str
    """Of this region in the federation."""
    key_pem: str
    certificate_pem: str
    ca_pem: str
    server_name: str
    renew_after_ms: int


def new_key() -> str:
    made = ec.generate_private_key(ec.SECP256R1())
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


async def enrol(cloud: str, token_text: str, key_pem: str) -> Credentials:
    """Raises `InvalidError` with the cloud's words when it refuses, or it is another one than the token's;
    `BadRequestError` for a token or address that makes no sense; `UnavailableError` when it can't be reached."""
    token = parse_token(token_text)
    host, port = split_address(cloud, default_port=HUB_PORT)
    discovery = read_discovery(await _discovered(host, port))
    pinned = next(
        (
            pem
            for pem in certificates_in(discovery.ca_pem)
            if pin_of(spki_of_certificate(der_of_pem(pem))) == token.pin
        ),
        "",
    )
    if not pinned:
        raise InvalidError(f"the cloud at {cloud} is not the one that made this token: nothing was sent to it")
    if discovery.transport != "websocket":
        raise InvalidError(f"{cloud} is the API's port: give the hub's, which is {HUB_PORT} unless set otherwise")
    name = HUB_SERVER_NAME
    if discovery.by_authority:
        name = hub_server_name(authority_id(spki_of_certificate(der_of_pem(pinned))))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=pinned)
    request = EnrolRequest(token=token_text.strip(), csr_pem=_signing_request(key_pem, token.node))
    enrolled = await _exchange(f"{host}:{port}", context, HUB_ENROL_PATH, name, request)
    return _credentials(enrolled, key_pem)


async def renew(cloud: str, credentials: Credentials) -> Credentials:
    """A new certificate of the same key."""
    request = EnrolRequest(token="", csr_pem=_signing_request(credentials.key_pem, credentials.name))
    with Files(credentials) as identity:
        context = client_context(identity, trust_clock=True)
        enrolled = await _exchange(cloud, context, HUB_RENEW_PATH, credentials.server_name, request)
    return _credentials(enrolled, credentials.key_pem)


class Files:
    """Credentials as files, which `ssl` wants, for as long as the block lasts."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._directory = tempfile.TemporaryDirectory(prefix="skerry-region-")

    def __enter__(self) -> Identity:
        place = Path(self._directory.name)
        for name, text in (
            ("ca.crt", self._credentials.ca_pem),
            ("region.crt", self._credentials.certificate_pem),
            ("region.key", self._credentials.key_pem),
        ):
            (place / name).touch(mode=0o600)
            (place / name).write_text(text)
        return Identity(
            ca_file=place / "ca.crt",
            certificate_file=place / "region.crt",
            key_file=place / "region.key",
            server_name=self._credentials.server_name,
        )

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()


async def _discovered(host: str, port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the CA that would be checked against is what is asked for
    question = f"GET {DISCOVERY_PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
    place = Place(host=host, port=port, server_name=host)
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            answer = await asked(place, context, question, bytes_max=4 * MESSAGE_BYTES_MAX)
    except (OSError, TimeoutError) as error:
        raise UnavailableError(f"can't reach the cloud at {host}:{port}: {error or 'no answer in time'}") from error
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0] + b" ":
        raise UnavailableError(f"{host}:{port} answers, but not as a Skerry cloud: is the port right?")
    return body[: body.rfind(b"}") + 1]


async def _exchange(cloud: str, context: ssl.SSLContext, path: str, name: str, request: EnrolRequest) -> Enrolled:
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            link = await dial(cloud, context, path=path, server_name=name)
            await link.send(request_body(request))
            answer = await link.receive()
            await link.close(code=1000, reason="")
    except TimeoutError as error:
        raise UnavailableError(f"{cloud}: no answer in time") from error
    return read_enrolled(answer)


def _credentials(enrolled: Enrolled, key_pem: str) -> Credentials:
    try:
        certificate = x509.load_pem_x509_certificate(enrolled.certificate_pem.encode())
    except ValueError as error:
        raise BadRequestError("the cloud's answer holds no certificate") from error
    names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [REGION_USER_PREFIX + enrolled.node]:
        raise InvalidError("this token lets a gateway join: a region's is printed by `skerry region token`")
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    renew_after = certificate.not_valid_before_utc + life * 2 / 3
    return Credentials(
        name=enrolled.node,
        key_pem=key_pem,
        certificate_pem=enrolled.certificate_pem,
        ca_pem=enrolled.ca_pem,
        server_name=enrolled.server_name or HUB_SERVER_NAME,
        renew_after_ms=round(renew_after.timestamp() * 1000),
    )


def _signing_request(key_pem: str, name: str) -> str:
    key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidError("the region's key is not an EC key: join again with a new token")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, REGION_USER_PREFIX + name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()
