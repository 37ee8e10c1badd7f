import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadRequestError, InvalidError
from skerry.objects.enrolment import (
    MESSAGE_BYTES_MAX,
    Discovery,
    Enrolled,
    EnrolRequest,
    JoinToken,
    der_of_pem,
    discovery_body,
    enrolled_body,
    grant_of,
    hash_secret,
    issuer_key_of_certificate,
    node_of_user,
    parse_token,
    pin_of,
    read_discovery,
    read_enrolled,
    read_request,
    refused_body,
    request_body,
    spki_of_certificate,
    split_address,
    token_secret,
    used_secret,
    valid_node_name,
    with_authority,
)
from skerry.objects.json import JsonObject

TOKEN = JoinToken(id="0123456789", secret="ab" * 16, pin="A" * 43, node="eu-1.site.example")


def test_a_token_survives_the_trip_and_may_have_white_space_around_it():
    assert parse_token(f"  {TOKEN}\n") == TOKEN
    assert str(TOKEN).endswith(".eu-1.site.example")
    assert len(str(TOKEN).split()) == 1


def test_a_token_is_not_shown_in_full_by_accident():
    assert TOKEN.secret not in repr(TOKEN)
    assert TOKEN.secret not in json.dumps(token_secret(TOKEN, expires="", labels={}))


@given(st.integers(min_value=0, max_value=len(str(TOKEN)) - 1), st.sampled_from("x0.-Z"))
def test_any_slip_of_the_hand_is_noticed(at: int, char: str):
    text = str(TOKEN)
    slipped = text[:at] + char + text[at + 1 :]
    if slipped != text:
        with pytest.raises(BadRequestError):
            parse_token(slipped)


@pytest.mark.parametrize(
    "text", ["", "abc", "skerry1", str(TOKEN)[:-3], str(TOKEN) + "x", "skerry1.....", "K10::server:x"]
)
def test_what_is_no_token_is_refused(text: str):
    with pytest.raises(BadRequestError, match="join token"):
        parse_token(text)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("a", True),
        ("eu-1.x", True),
        ("A", False),
        ("-a", False),
        ("a-", False),
        ("", False),
        ("a" * 52, True),
        ("a" * 53, False),
        ("a\n", False),
    ],
)
def test_node_names_fit_a_certificate(name: str, valid: bool):
    assert valid_node_name(name) is valid


def test_the_cloud_keeps_a_token_without_its_secret_and_marks_its_use():
    secret = token_secret(TOKEN, expires="2026-11-22T00:00:00Z", labels={"region": "eu"})
    grant = grant_of(secret)
    assert grant is not None
    assert (grant.node, grant.expires, grant.labels) == (TOKEN.node, "2026-11-22T00:00:00Z", {"region": "eu"})
    assert (grant.secret_hash, grant.used_at, grant.used_by) == (hash_secret(TOKEN.secret), "", "")
    used = grant_of(used_secret(secret, at="2026-11-21T12:00:00Z", by="key"))
    assert used is not None
    assert (used.used_at, used.used_by, used.node) == ("2026-11-21T12:00:00Z", "key", TOKEN.node)
    assert grant_of({**secret, "type": "Opaque"}) is None


def test_messages_survive_the_trip():
    discovery = Discovery(ca_pem="pem", transport="websocket")
    assert read_discovery(discovery_body(discovery)) == discovery
    request = EnrolRequest(token="t", csr_pem="c")
    assert read_request(request_body(request)) == request
    enrolled = Enrolled(node="n", certificate_pem="c", ca_pem="a", hub_port=1)
    assert read_enrolled(enrolled_body(enrolled)) == enrolled


def test_a_refusal_is_told_in_the_clouds_words():
    with pytest.raises(InvalidError, match=r"^this token was used$"):
        read_enrolled(refused_body("this token was used", code=403))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"{}",
        b'{"token":1,"csr":"c"}',
        b'{"token":"t"}',
        b"[" * 10_000,
        b" " * (MESSAGE_BYTES_MAX + 1),
    ],
)
def test_what_is_no_message_is_refused(body: bytes):
    for read in (read_discovery, read_request, read_enrolled):
        with pytest.raises(BadRequestError):
            read(body)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("cloud", ("cloud", 6443)),
        ("cloud:1", ("cloud", 1)),
        ("https://cloud:1/", ("cloud", 1)),
        ("[::1]:7", ("::1", 7)),
        ("[::1]", ("::1", 6443)),
        ("fd00::1", ("fd00::1", 6443)),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, address: tuple[str, int]):
    assert split_address(text, default_port=6443) == address


@pytest.mark.parametrize("text", ["", ":1", "a:b", "a:0", "a:70000", "[::1", "a:-1"])
def test_an_address_that_makes_no_sense_is_refused(text: str):
    with pytest.raises(BadRequestError, match="is not HOST:PORT"):
        split_address(text, default_port=6443)


def test_an_address_with_another_scheme_says_what_to_leave_out():
    with pytest.raises(BadRequestError, match="'http://a:1/' is not HOST:PORT: write it without http://"):
        split_address("http://a:1/", default_port=6443)
    for text in ("a:1/path", "user@a:1", "a b"):
        with pytest.raises(BadRequestError, match="nothing before the host or after the port"):
            split_address(text, default_port=6443)


def test_only_a_nodes_common_name_speaks_for_a_node():
    assert node_of_user("system:node:eu-1") == "eu-1"
    assert node_of_user("jane") == ""


def test_the_pin_is_that_of_the_crypto_library():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 60)])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now).sign(key, hashes.SHA256())
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = der_of_pem(certificate.public_bytes(serialization.Encoding.PEM).decode())
    assert spki_of_certificate(der) == spki
    assert len(pin_of(spki)) == 43
    for cut in range(0, len(der) - 90, 7):
        with pytest.raises(BadRequestError):
            spki_of_certificate(der[:cut])


def test_what_is_no_pem_is_refused():
    for text in ("", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----"):
        with pytest.raises(BadRequestError):
            der_of_pem(text)


def test_whose_key_signed_a_certificate_is_what_the_crypto_library_says():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "skerry-ca")])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    bare = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    nameless = x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(name)], 1)

    def der(builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    others = bare.add_extension(constraints, critical=True).add_extension(own, critical=False)
    for critical in (True, False):
        whole = der(others.add_extension(signer, critical=critical))
        assert issuer_key_of_certificate(whole) == own.digest.hex()
    for builder in (bare, others, others.add_extension(nameless, critical=False)):
        assert issuer_key_of_certificate(der(builder)) == ""
    for cut in range(0, len(whole) - 90, 3):
        with pytest.raises(BadRequestError):
            issuer_key_of_certificate(whole[:cut])
    for at in range(len(whole)):  # whatever a byte says, it is an answer or a refusal
        try:
            issuer_key_of_certificate(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        except BadRequestError:
            continue


def test_an_authority_is_noted_where_it_is_news():
    node: JsonObject = {"metadata": {"name": "n", "annotations": {"a": "b"}}}
    noted = with_authority(node, "abc")
    assert noted == {"metadata": {"name": "n", "annotations": {"a": "b", "skerry.dev/node-authority": "abc"}}}
    assert with_authority(noted, "abc") is noted
    assert with_authority(noted, "") is noted
