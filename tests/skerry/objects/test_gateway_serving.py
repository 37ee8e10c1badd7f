"""For which names the cloud signs, and when a certificate is good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cloudcore.pki.certificates import issue_server, new_authority
from skerry.errors import BadRequestError
from skerry.objects.gateway_serving import (
    SERVICE_NAMES,
    Served,
    is_of_the_machine,
    read_served,
    refused_names,
    served_obj,
    validity_of,
)


@pytest.mark.parametrize("name", [*SERVICE_NAMES, "127.0.0.1", "127.0.0.53", "::1", "169.254.20.11"])
def test_the_cloud_signs_for_what_means_this_machine(name: str) -> None:
    assert is_of_the_machine(name)


@pytest.mark.parametrize(
    "name",
    [
        "hub.skerry.internal",
        "ca-0123456789abcdef.hub.skerry.internal",
        "10.96.0.1",
        "192.168.77.10",
        "fe80::1",
        "0.0.0.0",
        "cloud.example.org",
        "*.default.svc",
        "kubernetes.default.svc.",
        "Localhost",
        "",
    ],
)
def test_and_for_nothing_else(name: str) -> None:
    assert refused_names(["localhost", name]) == (name,)


def test_what_was_given_is_read_as_it_was_said() -> None:
    served = Served(certificate_pem="c", authority_pem="a")
    assert read_served(served_obj(served)) == served
    with pytest.raises(BadRequestError, match="certificate"):
        read_served({"certificate": "c"})


@pytest.mark.parametrize("year", [1971, 2026, 2049, 2060])
def test_the_times_of_a_certificate_are_read_as_the_library_reads_them(year: int) -> None:
    """UTCTime until 2049, GeneralizedTime from 2050 on."""
    now = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    authority = new_authority(name="a", now=now)
    found = validity_of(authority.pem)
    certificate = authority.certificate
    assert found.begin_ms == round(certificate.not_valid_before_utc.timestamp() * 1000)
    assert found.end_ms == round(certificate.not_valid_after_utc.timestamp() * 1000)
    leaf = validity_of(issue_server(authority, names=["localhost"], now=now).certificate_pem)
    at = round(now.timestamp() * 1000)
    assert leaf.holds(at) and not leaf.holds(leaf.end_ms) and not leaf.holds(leaf.begin_ms - 1)
    assert leaf.end_ms - at == round(timedelta(days=90).total_seconds() * 1000)


@pytest.mark.parametrize("der", ["AAAA", "MAA=", "MAYwBAIBAQ=="])
def test_what_is_no_certificate_is_said(der: str) -> None:
    with pytest.raises(BadRequestError):
        validity_of(f"-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")
