"""What a gateway keeps of its TLS sessions: what is offered, to whom, how often and until when. TLS in memory."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from skerry.frozen import replace
from skerry.transport.identity import client_context
from skerry.transport.resumption import ADDRESSES_MAX, Meaning, ResumingContext, Resumption, meaning_of
from tests.system.certificates import Site

HUB = "198.51.100.1:10443"
NAME = "hub.skerry.internal"
END_MS = 1_000_000


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class Gateway:
    """Dials a hub in memory."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.hub = site.server_context()
        self.resumption = Resumption()
        self.meaning = meaning_in(site)

    def made(self) -> ResumingContext:
        return client_context(self.site.identity, trust_clock=True)

    def dial(
        self, address: str = HUB, *, now_ms: int = 0, meaning: Meaning | None = None, keeps: bool = True
    ) -> bool:
        """Whether the handshake was a short one."""
        context = self.resumption.context(address, meaning or self.meaning, self.made, now_ms=now_ms)
        tls = shaken(context, self.hub)
        if keeps:
            self.resumption.keep(address, context, tls.session, until_ms=END_MS)
        return tls.session_reused is True


def meaning_in(site: Site) -> Meaning:
    own = site.identity
    return meaning_of(
        server_name=own.server_name, ca_file=own.ca_file, certificate_file=own.certificate_file, trust_clock=True
    )


def shaken(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """The client's end, after the handshake and the server's first word."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(up, down, server_side=True)
    here = client.wrap_bio(down, up, server_hostname=NAME)
    for step in (here.do_handshake, there.do_handshake, here.do_handshake, there.do_handshake):
        tried(step)
    there.write(b"welcome")
    assert here.read(100) == b"welcome"
    return here


def tried(step: Callable[[], object]) -> None:
    try:
        step()
    except ssl.SSLWantReadError:
        return


def test_each_session_is_offered_in_the_next_handshake(site: Site) -> None:
    gateway = Gateway(site)
    assert [gateway.dial() for _ in range(3)] == [False, True, True]


def test_a_session_is_offered_once(site: Site) -> None:
    gateway = Gateway(site)
    gateway.dial()
    assert [gateway.dial(keeps=False), gateway.dial(keeps=False)] == [True, False]


def test_a_session_is_offered_in_one_handshake_of_a_dial(site: Site) -> None:
    gateway = Gateway(site)
    gateway.dial()
    context = gateway.resumption.context(HUB, gateway.meaning, gateway.made, now_ms=0)
    assert shaken(context, gateway.hub).session_reused
    assert not shaken(context, gateway.hub).session_reused


def test_a_session_that_a_failed_dial_left_unused_is_not_offered_later(site: Site) -> None:
    gateway = Gateway(site)
    gateway.dial()
    gateway.resumption.context(HUB, gateway.meaning, gateway.made, now_ms=0)
    assert not gateway.dial()


def test_a_session_is_not_offered_beyond_the_end_of_the_clouds_certificate(site: Site) -> None:
    gateway = Gateway(site)
    gateway.dial()
    assert gateway.dial(now_ms=END_MS - 1)
    assert not gateway.dial(now_ms=END_MS)


def test_a_session_is_for_the_address_it_was_made_with(site: Site) -> None:
    gateway = Gateway(site)
    gateway.dial()
    assert not gateway.dial("192.0.2.2:10443")
    assert gateway.dial()
    assert gateway.dial("192.0.2.2:10443")


@pytest.mark.parametrize(
    "changed", [{"server_name": "other.skerry.internal"}, {"trust_clock": False}, {"files": b"others"}]
)
def test_a_session_is_for_what_it_was_made_with(site: Site, changed: dict[str, object]) -> None:
    gateway = Gateway(site)
    gateway.dial()
    assert not gateway.dial(meaning=replace(gateway.meaning, **changed))
    assert not gateway.dial(), "what it was before is forgotten"


def test_a_renewed_certificate_and_another_authority_mean_something_else(site: Site) -> None:
    before = meaning_in(site)
    assert meaning_in(site) == before
    site.gateway(site.authority, "system:node:eu-1")
    renewed = meaning_in(site)
    assert renewed != before
    site.identity.ca_file.write_text(site.authority.pem * 2)
    assert meaning_in(site) != renewed


def test_a_session_without_a_ticket_and_one_of_a_replaced_context_are_not_kept(site: Site) -> None:
    gateway = Gateway(site)
    gateway.hub.num_tickets = 0
    assert [gateway.dial(), gateway.dial()] == [False, False]
    gateway.hub = site.server_context()
    before = gateway.resumption.context(HUB, gateway.meaning, gateway.made, now_ms=0)
    session = shaken(before, gateway.hub).session
    other = replace(gateway.meaning, trust_clock=False)
    gateway.resumption.context(HUB, other, gateway.made, now_ms=0)
    gateway.resumption.keep(HUB, before, session, until_ms=END_MS)
    assert not gateway.dial(meaning=other)


def test_addresses_are_bounded_and_the_one_dialled_longest_ago_goes_first(site: Site) -> None:
    gateway = Gateway(site)
    addresses = [f"192.0.2.{number}:10443" for number in range(ADDRESSES_MAX)]
    for address in addresses:
        gateway.dial(address)
    assert gateway.dial(addresses[0])
    gateway.dial(HUB)
    assert gateway.dial(addresses[0])
    assert not gateway.dial(addresses[1])


def test_a_hub_that_was_started_anew_gets_a_full_handshake(site: Site) -> None:
    gateway = Gateway(site)
    gateway.dial()
    gateway.hub = site.server_context()
    assert [gateway.dial(), gateway.dial()] == [False, True]
