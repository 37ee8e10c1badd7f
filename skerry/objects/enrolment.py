"""What a gateway and the cloud must agree on before they trust each other: join tokens and enrolment messages. Pure.

A join token is one line that an operator carries from the cloud to a gateway:

    skerry1.ID.SECRET.PIN.CHECK.NODE

ID names the token and is no secret; SECRET proves the right to join (128 bits); PIN is the SHA-256 of the cloud
CA's SubjectPublicKeyInfo (base64url, RFC 7469's way of pinning), so that the gateway knows the cloud before it
sends the secret; CHECK catches a token that was copied badly; NODE is the only name the token is good for, last
because it may contain dots.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Final, Literal

from skerry.errors import BadRequestError, InvalidError
from skerry.frozen import Frozen
from skerry.objects.json import Json, JsonObject, bool_at, int_at, map_at, str_at, str_map_at
from skerry.objects.meta import with_annotations

PREFIX: Final = "skerry1"
HUB_SERVER_NAME: Final = "hub.skerry.internal"
"""A name in every server certificate of a cloud. Gateways check for it instead of the address they dial, which
may be a forwarded port, a virtual address or a name that the cloud never heard of."""

TRUST_NAMESPACE: Final = "kube-system"
TRUST_NAME: Final = "kube-root-ca.crt"
TRUST_FIELD: Final = "ca.crt"
"""The ConfigMap by which pods know the API server (Kubernetes' root-ca-cert-publisher) is in every gateway's view:
when the authorities in it change, a gateway asks for a new certificate."""
TOKEN_KEYS_NAME: Final = "skerry-token-keys"  # noqa: S105 - an object's name
"""The ConfigMap, beside that of trust, with the keys of ServiceAccount tokens."""
TOKEN_KEYS_FIELD: Final = "jwks.json"  # noqa: S105 - a field's name
"""A JWK set (RFC 7517)."""

DISCOVERY_PATH: Final = "/enrol.skerry.dev/v1/ca"
ENROL_PATH: Final = "/enrol.skerry.dev/v1/nodes"
RENEW_PATH: Final = "/enrol.skerry.dev/v1/renewals"
HUB_ENROL_PATH: Final = "/enrol"
HUB_RENEW_PATH: Final = "/renew"
HUB_RECOVER_PATH: Final = "/recover"
MESSAGE_BYTES_MAX: Final = 16 * 1024
"""Requests and answers of enrolment; a CSR is under 1 KB."""

NODE_USER_PREFIX: Final = "system:node:"
NODES_GROUP: Final = "system:nodes"
REGION_USER_PREFIX: Final = "system:skerry:region:"
"""Common name of a region's certificate, before the region's name."""
REGIONS_GROUP: Final = "system:skerry:regions"
NODE_KEY_ANNOTATION: Final = "skerry.dev/node-key"
"""On a Node: `pin_of` the key that its gateway joined with. What any other key signs is not this gateway's."""
NODE_AUTHORITY_ANNOTATION: Final = "skerry.dev/node-authority"
"""On a Node: id of the authority that signed its gateway's certificate; before one is retired, nobody may need it."""

_AUTHORITY_KEY_IDENTIFIER: Final = bytes((0x55, 0x1D, 0x23))
"""Object identifier 2.5.29.35."""
_NODE: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_ID: Final = re.compile(r"[0-9a-f]{10}")
_SECRET: Final = re.compile(r"[0-9a-f]{32}")
_PEM_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_PIN: Final = re.compile(r"[A-Za-z0-9_-]{43}")

Transport = Literal["https", "websocket"]


class JoinToken(Frozen):
    """A token, taken apart."""

    id: str
    """10 hex characters."""
    secret: str
    """32 hex characters; kept nowhere on the cloud but hashed."""
    pin: str
    """`pin_of` the CA's SubjectPublicKeyInfo."""
    node: str

    def __str__(self) -> str:
        """The line to carry."""
        return f"{PREFIX}.{self.id}.{self.secret}.{self.pin}.{self.check}.{self.node}"

    def __repr__(self) -> str:
        """Without the secret, so that no log ever holds it."""
        return f"JoinToken(id={self.id!r}, node={self.node!r})"

    @property
    def check(self) -> str:
        """What catches a slip of the hand; no secret and no proof."""
        return hashlib.sha256(f"{self.id}.{self.secret}.{self.pin}.{self.node}".encode()).hexdigest()[:6]


def parse_token(text: str) -> JoinToken:
    """A token as typed or pasted. Raises `BadRequestError` that says what is wrong with it."""
    parts = text.strip().split(".", 5)
    if parts[0] != PREFIX or len(parts) != 6:
        raise BadRequestError(
            f"this is not a join token: one starts with {PREFIX}. and is printed by `skerry token create`"
        )
    _, token_id, secret, pin, check, node = parts
    whole = _ID.fullmatch(token_id) and _SECRET.fullmatch(secret) and _PIN.fullmatch(pin) and valid_node_name(node)
    token = JoinToken(id=token_id, secret=secret, pin=pin, node=node)
    if not whole or not hmac.compare_digest(check.encode(), token.check.encode()):
        raise BadRequestError("the join token is damaged: copy the whole line that `skerry token create` printed")
    return token


def valid_node_name(name: str) -> bool:
    """An RFC 1123 subdomain short enough to be a certificate's common name after its prefix (RFC 5280: 64)."""
    return len(name) <= 64 - len(NODE_USER_PREFIX) and _NODE.fullmatch(name) is not None


def pin_of(spki_der: bytes) -> str:
    """SHA-256 of a SubjectPublicKeyInfo, base64url without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(spki_der).digest()).rstrip(b"=").decode()


def authority_id(spki_der: bytes) -> str:
    """What an authority is called: 16 hex digits of the SHA-256 of its public key."""
    return hashlib.sha256(spki_der).hexdigest()[:16]


def hub_server_name(authority: str) -> str:
    """The name under which a cloud shows the server certificate that this authority signed. A gateway that was away
    while authorities changed asks by it for the one that it can check."""
    return f"ca-{authority}.{HUB_SERVER_NAME}"


def hash_secret(secret: str) -> str:
    """What the cloud keeps of a token's secret. Plain SHA-256 is enough for 128 random bits."""
    return hashlib.sha256(f"skerry join token {secret}".encode()).hexdigest()


class Grant(Frozen):
    """What the cloud keeps of a token."""

    node: str
    secret_hash: str
    expires: str
    """RFC 3339, UTC; compares as text."""
    labels: Mapping[str, str]
    """What the Node is to be labelled with."""
    used_at: str
    """RFC 3339; "" while unused."""
    used_by: str
    """`pin_of` the key that the certificate was given for; "" while unused."""
    of_region: bool = False
    """It lets a region's cloud join as a member of a federation, not a gateway."""


TOKEN_NAMESPACE: Final = "kube-system"  # noqa: S105 - a namespace's name
TOKEN_SECRET_TYPE: Final = "skerry.dev/join-token"  # noqa: S105 - a type's name


def token_secret_name(token_id: str) -> str:
    return f"join-token-{token_id}"


def token_secret(token: JoinToken, *, expires: str, labels: Mapping[str, str], of_region: bool = False) -> JsonObject:
    """The Secret whose creation issues a token. `expires` is RFC 3339 in UTC (`...Z`)."""
    data = {
        "node": token.node,
        "secret-hash": hash_secret(token.secret),
        "expires": expires,
        "labels": json.dumps(dict(labels), sort_keys=True),
    }
    if of_region:
        data["for"] = "region"
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": token_secret_name(token.id), "namespace": TOKEN_NAMESPACE},
        "type": TOKEN_SECRET_TYPE,
        "data": {name: _encoded(text) for name, text in data.items()},
    }


def grant_of(secret: JsonObject) -> Grant | None:
    """Read such a Secret; None: it is not one."""
    if str_at(secret, "type") != TOKEN_SECRET_TYPE:
        return None
    data = {name: _decoded(text) for name, text in str_map_at(secret, "data").items()}
    try:
        labels: Json = json.loads(data.get("labels", "{}"))
    except ValueError:
        return None
    return Grant(
        node=data.get("node", ""),
        secret_hash=data.get("secret-hash", ""),
        expires=data.get("expires", ""),
        labels=str_map_at(labels),
        used_at=data.get("used-at", ""),
        used_by=data.get("used-by", ""),
        of_region=data.get("for") == "region",
    )


def used_secret(secret: JsonObject, *, at: str, by: str) -> JsonObject:
    """The same Secret, marked as used."""
    data = {**map_at(secret, "data"), "used-at": _encoded(at), "used-by": _encoded(by)}
    return {**secret, "data": data}


def spki_of_certificate(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo in a DER certificate (RFC 5280 4.1): a pin can be made without a crypto library.

    Raises `BadRequestError` when the bytes are no certificate.
    """
    at, after, _ = _spki_in(der)
    return der[at:after]


def issuer_key_of_certificate(der: bytes) -> str:
    """What a DER certificate says whose key signed it: the authority's key identifier (RFC 5280 4.2.1.1) in hex, ""
    where it says nothing. All authorities of a cloud have one name, so it is the key that tells them apart.

    Raises `BadRequestError` when the bytes are no certificate.
    """
    _, at, end = _spki_in(der)
    try:
        while at < end:  # issuerUniqueID, subjectUniqueID, extensions
            tag, begin, at = der_element(der, at)
            if tag == 0xA3:
                _, begin, stop = der_element(der, begin)
                return _issuer_key_in(der, begin, stop)
    except (IndexError, ValueError) as error:
        raise BadRequestError("the extensions of a certificate can't be read") from error
    return ""


def _issuer_key_in(der: bytes, at: int, end: int) -> str:
    while at < end:
        _, begin, at = der_element(der, at)
        _, identifier, after = der_element(der, begin)
        if der[identifier:after] != _AUTHORITY_KEY_IDENTIFIER:
            continue
        tag, begin, following = der_element(der, after)
        if tag == 0x01:  # whether it is critical
            _, begin, _ = der_element(der, following)
        _, begin, _ = der_element(der, begin)
        tag, begin, after = der_element(der, begin)
        return der[begin:after].hex() if tag == 0x80 else ""
    return ""


def _spki_in(der: bytes) -> tuple[int, int, int]:
    """Where the SubjectPublicKeyInfo begins and ends, and the end of what is signed."""
    try:
        tag, begin, _ = der_element(der, 0)
        certificate_tag, begin, end = der_element(der, begin)
        if (tag, certificate_tag) != (0x30, 0x30):
            raise ValueError("not a certificate")
        at = begin
        if der[at] == 0xA0:  # [0] version
            _, _, at = der_element(der, at)
        for _ in range(5):  # serialNumber, signature, issuer, validity, subject
            _, _, at = der_element(der, at)
        tag, _, after = der_element(der, at)
    except (IndexError, ValueError) as error:
        raise BadRequestError("the CA is not a certificate in DER") from error
    if tag != 0x30 or after > end:
        raise BadRequestError("the CA is not a certificate in DER")
    return at, after, end


def der_element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, begin and end of the contents of the element at `at` (X.690 8.1, definite lengths)."""
    tag, length = data[at], data[at + 1]
    begin = at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise ValueError("no such length")
        length = int.from_bytes(data[begin : begin + count], "big")
        begin += count
    if begin + length > len(data):
        raise ValueError("cut short")
    return tag, begin, begin + length


def certificates_in(pem: str) -> tuple[str, ...]:
    """Each certificate of a PEM text, as a PEM text of its own; what stands between them is left out."""
    return tuple(match.group() + "\n" for match in _PEM_CERTIFICATE.finditer(pem))


def der_of_pem(pem: str) -> bytes:
    """The first certificate of a PEM text. Raises `BadRequestError`."""
    _, begin, rest = pem.partition("-----BEGIN CERTIFICATE-----")
    body, end, _ = rest.partition("-----END CERTIFICATE-----")
    if not begin or not end:
        raise BadRequestError("the CA is not a certificate in PEM")
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError as error:
        raise BadRequestError("the CA is not a certificate in PEM") from error


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except ValueError:
        return ""


class EnrolRequest(Frozen):
    """What a gateway sends: the token, and a PKCS#10 request in PEM for the key it made."""

    token: str
    csr_pem: str


class RecoverRequest(Frozen):
    """What a gateway sends whose certificate ended while it was away: that certificate, and a PKCS#10 request by its
    key. The request's signature is the proof; heard by somebody else, it gets them a certificate for a key that
    they don't have."""

    certificate_pem: str
    csr_pem: str


class Enrolled(Frozen):
    """What it gets."""

    node: str
    certificate_pem: str
    ca_pem: str
    """Every authority that the gateway is to trust."""
    hub_port: int
    server_name: str = ""
    """What to ask the cloud's servers by (`hub_server_name`); "" from a cloud that knows `HUB_SERVER_NAME` alone."""


class Discovery(Frozen):
    """What anybody may read before trust is made: the CA, and by which transport this port enrols.

    Worth nothing until the CA's key matches the pin in a token.
    """

    ca_pem: str
    """The authorities, the one that signs now first."""
    transport: Transport
    by_authority: bool = False
    """The servers answer to `hub_server_name` of each authority."""


def discovery_body(discovery: Discovery) -> bytes:
    return _dump({"ca": discovery.ca_pem, "transport": discovery.transport, "byAuthority": discovery.by_authority})


def read_discovery(body: bytes) -> Discovery:
    obj = _load(body)
    transport = str_at(obj, "transport")
    ca_pem = str_at(obj, "ca")
    if not ca_pem or transport not in ("https", "websocket"):
        raise BadRequestError("the answer is not a Skerry cloud's")
    return Discovery(ca_pem=ca_pem, transport=transport, by_authority=bool_at(obj, "byAuthority"))


def request_body(request: EnrolRequest) -> bytes:
    return _dump({"token": request.token, "csr": request.csr_pem})


def read_request(body: bytes, *, with_token: bool = True) -> EnrolRequest:
    """Raises `BadRequestError` for anything but {token, csr}; a renewal carries no token."""
    obj = _load(body)
    request = EnrolRequest(token=str_at(obj, "token"), csr_pem=str_at(obj, "csr"))
    if not request.csr_pem or (with_token and not request.token):
        raise BadRequestError('the body must be {"token": "...", "csr": "-----BEGIN CERTIFICATE REQUEST-----..."}')
    return request


def recover_body(request: RecoverRequest) -> bytes:
    return _dump({"certificate": request.certificate_pem, "csr": request.csr_pem})


def read_recover(body: bytes) -> RecoverRequest:
    """Raises `BadRequestError` for anything but {certificate, csr}."""
    obj = _load(body)
    request = RecoverRequest(certificate_pem=str_at(obj, "certificate"), csr_pem=str_at(obj, "csr"))
    if not (request.certificate_pem and request.csr_pem):
        raise BadRequestError(
            'the body must be {"certificate": "-----BEGIN CERTIFICATE-----...", '
            '"csr": "-----BEGIN CERTIFICATE REQUEST-----..."}'
        )
    return request


def enrolled_body(enrolled: Enrolled) -> bytes:
    return _dump(
        {
            "node": enrolled.node,
            "certificate": enrolled.certificate_pem,
            "ca": enrolled.ca_pem,
            "hub": {"port": enrolled.hub_port, "serverName": enrolled.server_name},
        }
    )


def refused_body(message: str, *, code: int) -> bytes:
    """How the hub's WebSocket says no; over HTTPS a metav1.Status says the same."""
    return _dump({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code})


def read_enrolled(body: bytes) -> Enrolled:
    """Raises `InvalidError` with the cloud's own words when it refused."""
    obj = _load(body)
    if str_at(obj, "kind") == "Status":
        raise InvalidError(str_at(obj, "message", default="the cloud refused without saying why"))
    enrolled = Enrolled(
        node=str_at(obj, "node"),
        certificate_pem=str_at(obj, "certificate"),
        ca_pem=str_at(obj, "ca"),
        hub_port=int_at(obj, "hub", "port"),
        server_name=str_at(obj, "hub", "serverName"),
    )
    if not (enrolled.node and enrolled.certificate_pem and enrolled.ca_pem and 0 < enrolled.hub_port < 65536):
        raise BadRequestError("the cloud's answer is incomplete")
    return enrolled


def node_of_user(user: str) -> str:
    """The node that a certificate's common name speaks for; "" for other users."""
    return user[len(NODE_USER_PREFIX) :] if user.startswith(NODE_USER_PREFIX) else ""


def region_of_user(user: str) -> str:
    """The region that a certificate's common name speaks for; "" for other users."""
    return user[len(REGION_USER_PREFIX) :] if user.startswith(REGION_USER_PREFIX) else ""


def region_refusal(region: str, member: JsonObject | None, key: str) -> str:
    """The same as `key_refusal`, of a region; `member` is its KubeFedCluster."""
    if member is None:
        return f"the region {region} is no member any more; join again with a new token"
    known = str_at(member, "metadata", "annotations", NODE_KEY_ANNOTATION)
    return f"the region {region} has joined again with another key since" if known != key else ""


def key_refusal(node: str, obj: JsonObject | None, key: str) -> str:
    """Why a certificate of the node with this key (`pin_of`) is worth nothing now, though it is in date; "" where it
    is good. `obj` is the Node as it is, None when there is none.

    A Node without a key was made by hand, or joined a cloud that did not note keys yet.
    """
    if obj is None:
        return f"the Node {node} is not known any more; join again with a new token"
    known = str_at(obj, "metadata", "annotations", NODE_KEY_ANNOTATION)
    return f"the Node {node} has joined again with another key since" if known and known != key else ""


def with_authority(node: JsonObject, authority: str) -> JsonObject:
    """The Node with the id of the authority that signed its gateway's certificate; itself where that is no news, or
    not known ("")."""
    return with_annotations(node, {NODE_AUTHORITY_ANNOTATION: authority}) if authority else node


def split_address(text: str, *, default_port: int) -> tuple[str, int]:
    """`HOST`, `HOST:PORT`, `[v6]:PORT` or an https:// form of these -> (host, port). Raises `BadRequestError`."""
    rest = text.strip().removeprefix("https://").rstrip("/")
    scheme, found, _ = rest.partition("://")
    if found:
        raise BadRequestError(f"{text!r} is not HOST:PORT: write it without {scheme}://")
    if any(mark in rest for mark in "/@?# \t"):
        raise BadRequestError(f"{text!r} is not HOST:PORT: write nothing before the host or after the port")
    if rest.startswith("["):
        host, bracket, port = rest[1:].partition("]")
        port = port.removeprefix(":")
        if not bracket:
            raise BadRequestError(f"{text!r} is not HOST:PORT")
    elif rest.count(":") > 1:
        host, port = rest, ""
    else:
        host, _, port = rest.partition(":")
    if not host or (port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)):
        raise BadRequestError(f"{text!r} is not HOST:PORT")
    return host, int(port) if port else default_port


def _dump(fields: Mapping[str, Json]) -> bytes:
    return json.dumps(dict(fields), separators=(",", ":")).encode()


def _load(body: bytes) -> JsonObject:
    if len(body) > MESSAGE_BYTES_MAX:
        raise BadRequestError(f"an enrolment message is at most {MESSAGE_BYTES_MAX} bytes")
    try:
        loaded: Json = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("an enrolment message is a JSON object") from error
    if not isinstance(loaded, dict):
        raise BadRequestError("an enrolment message is a JSON object")
    return loaded
