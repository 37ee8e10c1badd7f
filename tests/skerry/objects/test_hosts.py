"""What is told of a host by how it is written."""

from __future__ import annotations

import pytest

from skerry.objects.hosts import is_address, is_loopback


@pytest.mark.parametrize(
    ("host", "address", "loopback"),
    [
        ("127.0.0.1", True, True),
        ("127.9.9.9", True, True),
        ("::1", True, True),
        ("10.0.0.5", True, False),
        ("fe80::1", True, False),
        ("localhost", False, True),
        ("LocalHost", False, True),
        ("localhost.example", False, False),
        ("127.0.0.1.example", False, False),
        ("", False, False),
    ],
)
def test_a_host_is_an_address_or_a_name_here_or_elsewhere(host: str, address: bool, loopback: bool) -> None:
    assert (is_address(host), is_loopback(host)) == (address, loopback)
