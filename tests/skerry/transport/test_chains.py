"""Whether a client's certificate is good now: its dates, who signed it, and what for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Store

from cloudcore.pki.certificates import Authority, Issued, issue_client, issue_server, new_authority
from skerry.transport.chains import CHAIN_MAX, ChainError, Flaw, check_client, check_server, client_flaw

NOW = datetime(2026, 7, 1, tzinfo=UTC)
OURS = new_authority(name="ours", now=NOW)
OTHER = new_authority(name="ours", now=NOW)
"""Of the same name, with another key."""


def der(issued: Issued | Authority) -> bytes:
    pem = issued.pem if isinstance(issued, Authority) else issued.certificate_pem
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def a_client(authority: Authority = OURS) -> bytes:
    return der(
        issue_client(authority, user="system:node:eu-1", groups=["system:nodes"], now=NOW, valid=timedelta(days=30))
    )


def test_a_good_certificate_has_no_flaw() -> None:
    assert client_flaw([der(OURS)], a_client(), NOW) == ""
    assert client_flaw([der(OTHER), der(OURS)], a_client(), NOW) == ""


def test_dates_count() -> None:
    shown = a_client()
    assert client_flaw([der(OURS)], shown, NOW + timedelta(days=30)) == ""
    assert "expired on 2026-07-31" in client_flaw([der(OURS)], shown, NOW + timedelta(days=30, seconds=1))
    assert "not valid before" in client_flaw([der(OURS)], shown, NOW - timedelta(days=2))


def test_only_an_authority_that_is_trusted_now_counts() -> None:
    assert "not trusted" in client_flaw([der(OTHER)], a_client(), NOW), "a name is no key"
    assert client_flaw([], a_client(), NOW) == "no authority is trusted"
    later = NOW + timedelta(days=365 * 60)
    long = der(issue_client(OURS, user="u", groups=[], now=NOW, valid=timedelta(days=365 * 90)))
    assert "not trusted" in client_flaw([der(OURS)], long, later), "the authority has ended"


def test_a_certificate_for_servers_is_none_for_clients() -> None:
    assert client_flaw([der(OURS)], der(issue_server(OURS, names=["h"], now=NOW)), NOW) == (
        "certificate of another purpose"
    )


def test_an_authority_shows_no_purpose_at_all() -> None:
    assert client_flaw([der(OURS)], der(OURS), NOW) == "certificate without an extended key usage"


def test_junk_is_no_certificate() -> None:
    assert client_flaw([der(OURS)], b"junk", NOW) == "certificate can't be read"


def test_a_chain_is_neither_empty_nor_long() -> None:
    store = Store([OURS.certificate])
    one = x509.load_der_x509_certificate(a_client())
    for chain, flaw in (([], Flaw.MISSING), ([one] * (CHAIN_MAX + 1), Flaw.BAD)):
        with pytest.raises(ChainError) as refused:
            check_client(store, chain, NOW)
        assert refused.value.flaw is flaw


def test_a_server_is_known_by_its_name() -> None:
    store = Store([OURS.certificate])
    own = x509.load_der_x509_certificate(der(issue_server(OURS, names=["hub.example"], now=NOW)))
    check_server(store, [own], NOW, name="hub.example")
    with pytest.raises(ChainError) as refused:
        check_server(store, [own], NOW, name="other.example")
    assert refused.value.flaw is Flaw.UNTRUSTED
