from __future__ import annotations

from ipaddress import ip_network

import pytest

from skerry.errors import InvalidError
from skerry.testkit.real.addresses import LINES_MAX, REPLICAS_MAX, cloud_addresses, ends_of

POOL_4, POOL_6 = ip_network("10.203.0.0/16"), ip_network("fd5c:e221:7c0d::/48")


def test_every_address_is_of_the_pool_and_given_once() -> None:
    given_4 = [cloud_addresses(n)[0] for n in range(1, REPLICAS_MAX + 1)]
    given_6 = [cloud_addresses(n)[1] for n in range(1, REPLICAS_MAX + 1)]
    for number in range(LINES_MAX):
        ends = ends_of(number)
        given_4 += [ends.site_4, ends.cloud_4]
        given_6 += [ends.site_6, ends.cloud_6]
    assert len(set(given_4)) == len(given_4) and len(set(given_6)) == len(given_6)
    assert all(address in POOL_4 for address in (min(given_4), max(given_4)))
    assert all(address in POOL_6 for address in (min(given_6), max(given_6)))


@pytest.mark.parametrize("number", [-1, LINES_MAX])
def test_a_line_too_many_is_refused(number: int) -> None:
    with pytest.raises(InvalidError, match="room for"):
        ends_of(number)


@pytest.mark.parametrize("replica", [0, REPLICAS_MAX + 1])
def test_a_replica_too_many_is_refused(replica: int) -> None:
    with pytest.raises(InvalidError, match="room for"):
        cloud_addresses(replica)
