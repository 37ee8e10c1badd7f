"""Links over QUIC on real sockets: who gets in, who does not, moving addresses, and streams that do not wait."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import SessionTicket

from cloudcore.pki.certificates import issue_server, new_authority
from skerry.clocks import ManualClock, SystemClock
from skerry.errors import UnavailableError
from skerry.frozen import replace
from skerry.objects.enrolment import HUB_SERVER_NAME
from skerry.ports import Clock
from skerry.transport.identity import SESSION_PATH, Identity
from skerry.transport.quic import Judgement, dial, gateway_keys
from skerry.transport.quic_link import QuicLink
from skerry.transport.quic_server import RETRY_FROM, Endpoint, Handler, HubCredentials, listen
from skerry.transport.quic_tls import Tickets
from skerry.wire.codec import FRAME_BYTES_MAX
from tests.cloudcore.hub.fleet import eventually
from tests.system.certificates import NOW, RESET_KEY, Site
from tests.system.udp_relay import udp_relay

pytestmark = pytest.mark.system


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def credentials(site: Site, clock: Clock | None = None) -> HubCredentials:
    return HubCredentials(
        server_files={HUB_SERVER_NAME: site.path / "server.pem"},
        roots_pem=site.authority.pem,
        reset_key=RESET_KEY,
        clock=clock or SystemClock(),
    )


@asynccontextmanager
async def listening(site: Site, handle: Handler, clock: Clock | None = None) -> AsyncGenerator[str]:
    handlers = {SESSION_PATH: handle}
    async with listen("127.0.0.1", 0, credentials(site, clock), handlers, idle_s=60) as (host, port):
        yield f"{host}:{port}"


def judgement() -> Judgement:
    return Judgement(wall_ms=SystemClock().wall_ms(), floor_ms=0)


DIALLED: list[QuicLink] = []


@pytest.fixture(autouse=True)
async def no_socket_is_left() -> AsyncGenerator[None]:
    yield
    while DIALLED:
        DIALLED.pop().abort()


async def dialled(address: str, identity: Identity, tickets: Tickets | None = None) -> QuicLink:
    kept = Tickets() if tickets is None else tickets
    link = await dial(address, gateway_keys(identity), kept, judgement(), open_s_max=10)
    DIALLED.append(link)
    return link


async def echo(link: QuicLink) -> None:
    while True:
        await link.send(await link.receive())


class Guests:
    """Remembers who came, and what they said."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.keys: list[str] = []
        self.heard: list[bytes] = []
        self.ends: list[str] = []

    async def __call__(self, link: QuicLink) -> None:
        self.names.append(link.peer_name)
        self.keys.append(link.peer_key)
        try:
            while True:
                self.heard.append(await link.receive())
        except UnavailableError as error:
            self.ends.append(str(error))


async def test_frames_of_every_size_go_both_ways_and_both_ends_know_each_other(site: Site) -> None:
    guests: list[str] = []

    async def handle(link: QuicLink) -> None:
        guests.append(f"{link.peer_name} {link.peer_address}")
        await echo(link)

    async with listening(site, handle) as address:
        link = await dialled(address, site.identity)
        assert link.peer_name == "skerry-cloud"
        for size in (0, 1, 63, 64, 16_383, 16_384, 300_000, FRAME_BYTES_MAX):
            await link.send(bytes(size))
            async with asyncio.timeout(30):
                assert len(await link.receive()) == size
        await link.close(code=1000, reason="done")
        assert guests == ["system:node:eu-1 127.0.0.1"]
        sent, received = link.wire_bytes() or (0, 0)
        assert min(sent, received) > FRAME_BYTES_MAX + 300_000, "headers, lost packets and all"
        assert sent < 2 * FRAME_BYTES_MAX
        with pytest.raises(UnavailableError, match="the link has ended"):
            await link.receive()
        with pytest.raises(UnavailableError, match="the link has ended"):
            await link.send(b"late")


async def test_a_close_comes_after_everything_that_was_sent(site: Site) -> None:
    guests = Guests()
    async with listening(site, guests) as address:
        link = await dialled(address, site.identity)
        for number in range(200):
            await link.send(b"%d" % number)
        await link.send(bytes(400_000))
        await link.close(code=1000, reason="the agent stops")
        await eventually(lambda: guests.ends)
        assert guests.heard[:200] == [b"%d" % number for number in range(200)]
        assert len(guests.heard[200]) == 400_000
        assert "the peer" in guests.ends[0]


async def refused(address: str, identity: Identity | None, site: Site) -> str:
    """Why a plain aioquic client, configured by hand, is sent away."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["skerry/1/session"], server_name="hub.skerry.internal"
    )
    configuration.load_verify_locations(cafile=str(site.path / "ca.pem"))
    if identity is not None:
        configuration.load_cert_chain(identity.certificate_file, identity.key_file)
    host, _, port = address.rpartition(":")
    async with connect(host, int(port), configuration=configuration) as protocol:
        quic = protocol._quic
        quic.send_stream_data(0, b"\x05hello")
        protocol.transmit()
        async with asyncio.timeout(10):
            while quic._close_event is None:
                await asyncio.sleep(0.01)
        return f"{quic._close_event.error_code - 0x100} {quic._close_event.reason_phrase}"


async def test_an_independent_client_with_a_certificate_of_ours_gets_in(site: Site) -> None:
    guests = Guests()
    async with listening(site, guests) as address:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=["skerry/1/session"], server_name="hub.skerry.internal"
        )
        configuration.load_verify_locations(cafile=str(site.path / "ca.pem"))
        configuration.load_cert_chain(site.identity.certificate_file, site.identity.key_file)
        host, _, port = address.rpartition(":")
        async with connect(host, int(port), configuration=configuration) as protocol:
            protocol._quic.send_stream_data(0, b"\x05hello")
            protocol.transmit()
            await eventually(lambda: guests.heard == [b"hello"])
        assert guests.names == ["system:node:eu-1"]


async def test_a_client_without_a_certificate_is_refused(site: Site) -> None:
    guests = Guests()
    async with listening(site, guests) as address:
        assert await refused(address, None, site) == "116 a client certificate is needed"
    assert not guests.names


async def test_a_certificate_of_another_ca_is_refused(site: Site) -> None:
    guests = Guests()
    foreign = site.gateway(new_authority(name="foreign", now=NOW), "system:node:eu-1")
    async with listening(site, guests) as address:
        assert (await refused(address, foreign, site)).startswith("48 certificate not trusted")
        link = await dialled(address, foreign)
        with pytest.raises(UnavailableError, match="not of this cloud"):
            await link.receive()
    assert not guests.names


async def test_an_expired_certificate_is_refused(site: Site) -> None:
    guests = Guests()
    expired = site.gateway(site.authority, "system:node:eu-1", now=NOW - timedelta(days=400))
    async with listening(site, guests) as address:
        assert (await refused(address, expired, site)).startswith("45 certificate expired on")
        link = await dialled(address, expired)
        with pytest.raises(UnavailableError, match="expired"):
            await link.receive()
    assert not guests.names


async def test_a_servers_certificate_is_refused_as_a_clients(site: Site) -> None:
    guests = Guests()
    server = site.files(issue_server(site.authority, names=["eu-1.example"], now=NOW))
    async with listening(site, guests) as address:
        assert await refused(address, server, site) == "43 certificate of another purpose"
    assert not guests.names


async def test_a_cloud_that_is_not_ours_is_not_talked_to(site: Site, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    guests = Guests()
    async with listening(Site(tmp_path / "other"), guests) as address:
        with pytest.raises(UnavailableError, match="not trusted"):
            await dialled(address, site.identity)
    assert not guests.names


async def test_nobody_listening_is_noticed_at_once(site: Site) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1: .*refused"):
        await dialled("127.0.0.1:1", site.identity)
    assert asyncio.get_running_loop().time() - began < 5


# --- tickets ---


async def test_a_second_handshake_is_short_and_still_says_who_it_is(site: Site) -> None:
    guests, tickets = Guests(), Tickets()
    async with listening(site, guests) as address:
        for resumed in (False, True, True):
            link = await dialled(address, site.identity, tickets)
            assert link.resumed is resumed
            assert link.peer_name == "skerry-cloud"
            await link.send(b"hello")
            await eventually(lambda: tickets.count == 1)
            await link.close(code=1000, reason="")
        await eventually(lambda: len(guests.ends) == 3)
    assert guests.names == ["system:node:eu-1"] * 3
    assert guests.keys == [site.key_pin()] * 3
    assert guests.heard == [b"hello"] * 3


async def test_a_ticket_is_as_good_as_its_certificate_is_now(site: Site) -> None:
    guests, tickets = Guests(), Tickets()
    clock = ManualClock(wall_ms=SystemClock().wall_ms())
    async with listening(site, guests, clock) as address:
        link = await dialled(address, site.identity, tickets)
        await eventually(lambda: tickets.count == 1)
        await link.close(code=1000, reason="")
        clock.advance(40 * 86_400)
        link = await dialled(address, site.identity, tickets)
        assert not link.resumed
        with pytest.raises(UnavailableError, match="expired"):
            await link.receive()
    assert guests.names == ["system:node:eu-1"]


async def test_a_ticket_is_good_once_and_not_for_another_certificate(site: Site) -> None:
    guests, tickets = Guests(), Tickets()
    async with listening(site, guests) as address:
        link = await dialled(address, site.identity, tickets)
        await eventually(lambda: tickets.count == 1)
        await link.close(code=1000, reason="")
        name = tickets.names[0]
        kept = tickets.take(name)
        assert kept is not None
        for resumed in (True, False):
            again = Tickets()
            again.put(name, kept)
            link = await dialled(address, site.identity, again)
            assert link.resumed is resumed
            await link.close(code=1000, reason="")
        renewed = site.gateway(site.authority, "system:node:eu-1")
        again = Tickets()
        again.put(name, kept)
        assert not (await dialled(address, renewed, again)).resumed
        assert again.take(name) is kept, "it was not even offered"


async def test_early_data_is_not_taken(site: Site) -> None:
    """A client that offers it gets a full handshake, and what it sent early arrives once, after that."""
    guests = Guests()
    kept: list[SessionTicket] = []
    async with listening(site, guests) as address:
        host, _, port = address.rpartition(":")

        def configuration() -> QuicConfiguration:
            made = QuicConfiguration(
                is_client=True, alpn_protocols=["skerry/1/session"], server_name="hub.skerry.internal"
            )
            made.load_verify_locations(cafile=str(site.path / "ca.pem"))
            made.load_cert_chain(site.identity.certificate_file, site.identity.key_file)
            return made

        async with connect(
            host, int(port), configuration=configuration(), session_ticket_handler=kept.append
        ) as protocol:
            await eventually(lambda: kept)
        assert kept[0].max_early_data_size is None
        eager = configuration()
        eager.session_ticket = replace(kept[0], max_early_data_size=0xFFFFFFFF)
        async with connect(host, int(port), configuration=eager, wait_connected=False) as protocol:
            protocol._quic.send_stream_data(0, b"\x05early")
            protocol.transmit()
            await protocol.wait_connected()
            assert not protocol._quic.tls.early_data_accepted
            assert not protocol._quic.tls.session_resumed
            await eventually(lambda: guests.heard == [b"early"])


# --- moving ---


async def test_a_nat_that_changes_its_port_does_not_end_the_link(site: Site) -> None:
    async with listening(site, echo) as address, udp_relay(address) as (relay, way):
        link = await dialled(way, site.identity)
        for number in range(5):
            await link.send(b"%d" % number)
            async with asyncio.timeout(10):
                assert await link.receive() == b"%d" % number
            await relay.rebind()
        assert link.is_open


async def test_a_hub_that_was_started_anew_says_that_it_knows_nothing(site: Site) -> None:
    """With another certificate as well: addresses of its machine changed meanwhile."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(listening(site, echo))
        relay, way = await stack.enter_async_context(udp_relay(first))
        link = await dialled(way, site.identity)
        await link.send(b"the handshake is over on both sides")
        await link.receive()
        issued = issue_server(site.authority, names=[HUB_SERVER_NAME, "192.0.2.7"], now=NOW)
        (site.path / "server.pem").write_text(issued.key_pem + issued.certificate_pem)
        second = await stack.enter_async_context(listening(site, echo))
        relay.upstream = ("127.0.0.1", int(second.rpartition(":")[2]))
        await link.send(b"are you there")
        async with asyncio.timeout(10):
            with pytest.raises(UnavailableError, match="started anew"):
                await link.receive()


async def test_a_reset_that_was_made_up_ends_nothing(site: Site) -> None:
    async with listening(site, echo) as address, udp_relay(address) as (relay, way):
        link = await dialled(way, site.identity)
        relay.inject(b"\x40" + os.urandom(40))
        await link.send(b"still here")
        async with asyncio.timeout(10):
            assert await link.receive() == b"still here"


def received(link: QuicLink) -> int:
    counted = link.wire_bytes()
    assert counted is not None
    return counted[1]


async def test_only_packets_of_the_peer_are_signs_of_life_and_each_only_once(site: Site) -> None:
    """Else whoever can send datagrams holds up a link whose other end is gone."""
    ends: list[QuicLink] = []

    async def handle(link: QuicLink) -> None:
        ends.append(link)
        await echo(link)

    async with listening(site, handle) as address, udp_relay(address) as (relay, way):
        link = await dialled(way, site.identity)
        await link.send(b"hello")
        async with asyncio.timeout(10):
            assert await link.receive() == b"hello"
        await eventually(lambda: relay.quiet_s() > 0.3)  # both have told what they received
        heard_s = link.heard_s, ends[0].heard_s
        counted = received(link), received(ends[0])
        up, down = relay.latest
        for forged in (b"\x40" + os.urandom(40), b"\x45" + down[1:9] + os.urandom(40), down):
            relay.inject(forged)
        for forged in (up[:9] + os.urandom(40), up):
            relay.forge(forged)
        await eventually(lambda: received(link) >= counted[0] + 3 * 28 + 2 * 40 + len(down))
        await eventually(lambda: received(ends[0]) >= counted[1] + 2 * 28 + 49 + len(up))
        assert (link.heard_s, ends[0].heard_s) == heard_s
        await link.send(b"still here")
        async with asyncio.timeout(10):
            assert await link.receive() == b"still here"
        assert link.heard_s > heard_s[0]
        assert ends[0].heard_s > heard_s[1]


# --- the endpoint ---


async def test_a_renewed_certificate_is_shown_to_who_comes_after(site: Site) -> None:
    guests = Guests()
    async with listening(site, guests) as address:
        older = await dialled(address, site.identity)
        renewed = issue_server(site.authority, names=["hub.skerry.internal"], now=NOW + timedelta(days=1))
        temporary = site.path / "new.pem"
        temporary.write_text(renewed.certificate_pem + renewed.key_pem)
        temporary.rename(site.path / "server.pem")
        newer = await dialled(address, site.identity)
        assert newer.not_after_ms - older.not_after_ms == 86_400_000
        await older.send(b"goes on")
        await eventually(lambda: guests.heard == [b"goes on"])


async def test_under_a_flood_of_forged_addresses_gateways_still_get_in(site: Site) -> None:
    guests = Guests()
    async with listening(site, guests) as address:
        host, _, port = address.rpartition(":")
        answers: list[bytes] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            forger.setblocking(False)
            for _ in range(RETRY_FROM + 1):
                forger.sendto(a_first_packet(), (host, int(port)))
                await asyncio.sleep(0)
            await eventually(lambda: read_all(forger, answers) or any(is_retry(answer) for answer in answers))
        link = await dialled(address, site.identity)
        await link.send(b"hello")
        await eventually(lambda: guests.heard == [b"hello"])


def a_first_packet() -> bytes:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["skerry/1/session"])
    connection = QuicConnection(configuration=configuration)
    connection.connect(("127.0.0.1", 9), now=0.0)
    return connection.datagrams_to_send(now=0.0)[0][0]


def is_retry(data: bytes) -> bool:
    """RFC 9000 section 17.2.5: a long header of type 3."""
    return data[0] & 0xF0 == 0xF0


def read_all(plain: socket.socket, found: list[bytes]) -> bool:
    with suppress(BlockingIOError):
        while True:
            found.append(plain.recv(2048))
    return False


async def test_an_end_costs_the_same_however_many_connections_there_are(site: Site) -> None:
    """Ids are kept with each connection, so that nobody's end searches everybody's; and none is left behind."""
    loop = asyncio.get_running_loop()
    handled: list[QuicLink] = []

    async def keep(link: QuicLink) -> None:
        handled.append(link)
        with suppress(UnavailableError):
            await link.receive()

    endpoint = Endpoint(credentials(site), {SESSION_PATH: keep}, idle_s=60)
    transport, _ = await loop.create_datagram_endpoint(lambda: endpoint, local_addr=("127.0.0.1", 0))
    address = "{}:{}".format(*transport.get_extra_info("sockname"))
    links = [await dialled(address, site.identity) for _ in range(20)]
    await eventually(lambda: len(handled) == 20 and len(endpoint._table) == 20 * 9)
    for link in links[:15]:
        await link.close(code=1000, reason="")
    await eventually(lambda: len(endpoint._table) == 5 * 9)
    assert endpoint.connections == 5
    await endpoint.stop()
    transport.close()


async def test_rubbish_is_dropped(site: Site) -> None:
    guests = Guests()
    async with listening(site, guests) as address:
        host, _, port = address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            for size in (0, 1, 20, 1200, 1500):
                for first in (0x00, 0x40, 0xC0, 0xD0, 0xE0, 0xF0):
                    plain.sendto(bytes([first]) + os.urandom(size), (host, int(port)))
            await asyncio.sleep(0)
        link = await dialled(address, site.identity)
        await link.send(b"hello")
        await eventually(lambda: guests.heard == [b"hello"])


async def test_a_frame_over_the_limit_ends_the_link(site: Site) -> None:
    guests = Guests()
    async with listening(site, guests) as address:
        link = await dialled(address, site.identity)
        with pytest.raises(UnavailableError):
            await link.send(bytes(FRAME_BYTES_MAX + 100))
            await link.receive()
        await eventually(lambda: guests.ends)
        assert "is over" in guests.ends[0]


async def test_dates_are_judged_by_the_newest_time_known_where_the_clock_is_behind(site: Site) -> None:
    keys = gateway_keys(site.identity)
    known_ms = round(NOW.timestamp() * 1000)
    async with listening(site, Guests()) as address:
        link = await dial(address, keys, Tickets(), Judgement(wall_ms=60_000, floor_ms=known_ms))
        await link.close(code=1000, reason="")
        late_ms = known_ms + 100 * 365 * 86_400_000
        with pytest.raises(UnavailableError, match="expired"):
            await dial(address, keys, Tickets(), Judgement(wall_ms=60_000, floor_ms=late_ms))
        with pytest.raises(UnavailableError, match="not valid before"):
            await dial(address, keys, Tickets(), Judgement(wall_ms=60_000, floor_ms=0))
