"""By what clients know the local API: made once, good for its names, signed by an authority without a key."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgecore.local_api.certificates import (
    CA_FILE,
    NAMES_FILE,
    SERVER_FILE,
    are_made,
    make,
    make_missing,
    request_in,
)
from skerry.objects.gateway_serving import SERVICE_NAMES

NAMES = (*SERVICE_NAMES, "127.0.0.1", "::1")


def server_of(directory: Path) -> x509.Certificate:
    text = (directory / SERVER_FILE).read_bytes()
    return x509.load_pem_x509_certificate(text[text.index(b"-----BEGIN CERTIFICATE") :])


def test_it_is_for_its_names_and_signed_by_its_authority(tmp_path: Path) -> None:
    make(tmp_path / "api", NAMES)
    authority = x509.load_pem_x509_certificate((tmp_path / "api" / CA_FILE).read_bytes())
    server = server_of(tmp_path / "api")
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == set(SERVICE_NAMES)
    assert {str(each) for each in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    usage = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [*usage] == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    limits = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)
    assert (server.not_valid_before_utc.year, server.not_valid_after_utc.year) == (1970, 9999)


def test_the_authoritys_key_is_nowhere_and_the_servers_is_private(tmp_path: Path) -> None:
    make(tmp_path, NAMES)
    keys = [path.name for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert keys == [SERVER_FILE]
    assert stat.S_IMODE((tmp_path / SERVER_FILE).stat().st_mode) == 0o600
    authority = x509.load_pem_x509_certificate((tmp_path / CA_FILE).read_bytes())
    ours = server_of(tmp_path).public_key()
    assert isinstance(ours, ec.EllipticCurvePublicKey) and ours != authority.public_key()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / SERVER_FILE)


def test_it_is_made_anew_for_another_name_and_after_a_crash_in_between(tmp_path: Path) -> None:
    assert not are_made(tmp_path, NAMES)
    make(tmp_path, NAMES)
    assert are_made(tmp_path, NAMES) and are_made(tmp_path, NAMES[:2])
    assert not are_made(tmp_path, (*NAMES, "10.88.0.1"))
    (tmp_path / NAMES_FILE).unlink()
    assert not are_made(tmp_path, NAMES), "the names are written last"


def test_the_cloud_is_asked_for_the_machines_own_names_alone(tmp_path: Path) -> None:
    names = (*NAMES, "169.254.20.11", "192.0.2.7", "gate-1")
    make_missing(tmp_path, names, ["10.0.0.5"])
    request = request_in(tmp_path, names)
    assert request is not None
    csr = x509.load_pem_x509_csr(request.csr_pem.encode())
    found = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(found.get_values_for_type(x509.DNSName)) == set(SERVICE_NAMES)
    addresses = {str(each) for each in found.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "::1", "169.254.20.11"}
    served = server_of(tmp_path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "gate-1" in served.get_values_for_type(x509.DNSName)
    assert "10.0.0.5" in {str(each) for each in served.get_values_for_type(x509.IPAddress)}


def test_what_is_made_stays_and_a_request_for_other_names_is_another_one(tmp_path: Path) -> None:
    assert request_in(tmp_path, NAMES) is None
    make_missing(tmp_path, NAMES)
    own, first = (tmp_path / SERVER_FILE).read_bytes(), request_in(tmp_path, NAMES)
    make_missing(tmp_path, NAMES)
    assert ((tmp_path / SERVER_FILE).read_bytes(), request_in(tmp_path, NAMES)) == (own, first)
    other = (*NAMES, "169.254.20.11")
    assert request_in(tmp_path, other) is None, "it was made for fewer names"
    make_missing(tmp_path, other)
    second = request_in(tmp_path, other)
    assert first is not None and second is not None and second.key_pem != first.key_pem
