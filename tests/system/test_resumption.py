"""Short TLS handshakes over WebSocket: who gets one, what it costs, and who is refused all the same."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloudcore.pki.certificates import issue_client, new_authority
from cloudcore.pki.directory import Pki, open_pki, retire, rotate
from cloudcore.pki.serving import Serving
from edgecore.link.dial import Dialer, websocket_dialer
from skerry.clocks import ManualClock, SystemClock
from skerry.errors import IdentityRefusedError, UnavailableError
from skerry.frozen import replace
from skerry.objects.enrolment import hub_server_name
from skerry.transport.dialled import DialledLink, dial
from skerry.transport.identity import SESSION_PATH, Identity, client_context
from skerry.transport.websocket import Route, WebSocketLink, listen
from tests.system.certificates import NOW, Site

pytestmark = pytest.mark.system

ANEW_PATH = "/anew"
SHORT_BYTES_MAX = 2_700
"""A short handshake with the upgrade, a message each way and the ends of TLS and WebSocket, both directions."""
SAVED_BYTES_MIN = 1_000
"""Two certificates and the proofs that go with them, less the ticket, which holds the gateway's."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class Guests:
    """Notes who comes, and by which sort of handshake; greets them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.resumed: list[bool] = []

    async def handle(self, link: WebSocketLink) -> None:
        self.names.append(link.peer_name)
        self.resumed.append(link.resumed)
        await link.send(link.peer_key.encode())
        await link.receive()


@asynccontextmanager
async def hub(context: ssl.SSLContext, guests: Guests, *, port: int = 0) -> AsyncGenerator[str]:
    routes = {
        SESSION_PATH: Route(handle=guests.handle, named=True),
        ANEW_PATH: Route(handle=guests.handle, named=True, anew=True),
    }
    async with listen("127.0.0.1", port, context, routes) as (host, bound):
        yield f"{host}:{bound}"


def gateway(site: Site) -> Dialer:
    return websocket_dialer(lambda: site.identity, SystemClock(), lambda: 0)


async def visited(dialer: Dialer, address: str, *, cut: bool = False) -> bool:
    """Dial, hear the hub's greeting and go, or be cut off without a word; whether the handshake was a short one."""
    link = await dialer(address)
    assert isinstance(link, DialledLink)
    async with asyncio.timeout(20):
        await link.receive()
    short = link.resumed
    if cut:
        link.abort()
    else:
        await link.close(code=1000, reason="")
    return short


class Counted:
    """A relay that counts the bytes of each connection, both directions."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self.bytes: list[int] = []

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        self.bytes.append(0)
        number = len(self.bytes) - 1
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(number, reader, back))
                tasks.create_task(self._pass(number, there, writer))
        finally:
            writer.close()
            back.close()

    async def _pass(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(65_536):
                self.bytes[number] += len(part)
                writer.write(part)
            writer.write_eof()


async def test_a_second_handshake_is_short_on_both_ends_and_costs_less(site: Site) -> None:
    guests = Guests()
    context = site.server_context()
    context.num_tickets = 1
    async with hub(context, guests) as address:
        counted = Counted(address)
        server = await asyncio.start_server(counted.relay, "127.0.0.1", 0)
        async with server:
            dialer = gateway(site)
            through = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            assert [await visited(dialer, through) for _ in range(3)] == [False, True, True]
    assert guests.resumed == [False, True, True]
    assert guests.names == ["system:node:eu-1"] * 3, "the hub knows who it is without being shown"
    full, short, again = counted.bytes
    assert full - max(short, again) > SAVED_BYTES_MIN
    assert max(short, again) < SHORT_BYTES_MAX


async def test_a_link_that_was_cut_off_without_a_word_is_resumed(site: Site) -> None:
    guests = Guests()
    async with hub(site.server_context(), guests) as address:
        dialer = gateway(site)
        assert [await visited(dialer, address, cut=True) for _ in range(3)] == [False, True, True]


async def test_who_is_resumed_is_known_by_the_same_key(site: Site) -> None:
    async with hub(site.server_context(), Guests()) as address:
        dialer = gateway(site)
        for resumed in (False, True):
            link = await dialer(address)
            assert isinstance(link, DialledLink)
            assert link.resumed is resumed
            assert await link.receive() == site.key_pin().encode()
            assert link.peer_name == "skerry-cloud"
            assert link.not_after_ms > SystemClock().wall_ms(), "what it knows of the cloud is known again"
            await link.close(code=1000, reason="")


async def test_a_certificate_that_expired_is_refused_also_by_ticket(site: Site) -> None:
    guests = Guests()
    identity, end = lasting(site, 3)
    site.identity = identity
    async with hub(site.server_context(), guests) as address:
        dialer = gateway(site)
        assert not await visited(dialer, address)
        await until(end)
        with pytest.raises(IdentityRefusedError, match="401"):
            await dialer(address)
        with pytest.raises(IdentityRefusedError, match="hung up"):
            await dialer(address)
    assert guests.resumed == [False]


async def test_an_authority_that_is_trusted_no_more_is_refused_also_by_ticket(site: Site) -> None:
    """The tickets are good, being of the listener's own context; what the connection trusts is another one's."""
    guests = Guests()
    context, other = site.server_context(), site.server_context()
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    strict.load_cert_chain(site.path / "server.pem")
    strict.load_verify_locations(cadata=new_authority(name="test", now=NOW).pem)
    strict.verify_mode = ssl.CERT_OPTIONAL
    chosen = [other]

    def choose(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        connection.context = chosen[0]

    context.sni_callback = choose
    async with hub(context, guests) as address:
        dialer = gateway(site)
        assert [await visited(dialer, address) for _ in range(2)] == [False, True]
        chosen[0] = strict
        with pytest.raises(IdentityRefusedError, match="401"):
            await dialer(address)
    assert guests.resumed == [False, True]


async def test_a_cloud_that_retired_an_authority_gives_full_handshakes_and_refuses_its_gateways(
    site: Site, tmp_path: Path
) -> None:
    """The contexts of a real cloud, which picks one by the name that the gateway asks for."""
    clock = ManualClock(wall_ms=SystemClock().wall_ms())
    data = tmp_path / "cloud"
    first = open_pki(data, now=NOW)
    rotated = rotate(data, now=NOW)
    old = written(tmp_path / "old", rotated, signer=1)
    new = written(tmp_path / "new", rotated, signer=0)
    guests = Guests()
    serving = Serving(rotated, names=[], clock=clock)
    assert serving.hub.num_tickets == 1, "a second one is a kilobyte that nobody keeps"
    async with hub(serving.hub, guests) as address:
        port = int(address.rpartition(":")[2])
        dialers = [websocket_dialer(lambda own=own: own, clock, lambda: 0) for own in (old, new)]
        for dialer in dialers:
            assert [await visited(dialer, address) for _ in range(2)] == [False, True]
    retired = retire(data, first.authority.id)
    async with hub(Serving(retired, names=[], clock=clock).hub, guests, port=port) as address:
        with pytest.raises(UnavailableError):
            await dialers[0](address)
        assert [await visited(dialers[1], address) for _ in range(2)] == [False, True]
    assert guests.resumed == [False, True] * 3


async def test_a_renewed_certificate_and_a_new_authority_get_full_handshakes(site: Site) -> None:
    guests = Guests()
    async with hub(site.server_context(), guests) as address:
        dialer = gateway(site)
        assert not await visited(dialer, address)
        site.gateway(site.authority, "system:node:eu-1")
        assert [await visited(dialer, address) for _ in range(2)] == [False, True]
        site.identity.ca_file.write_text(site.authority.pem + new_authority(name="next", now=NOW).pem)
        assert [await visited(dialer, address) for _ in range(2)] == [False, True]
        site.identity = replace(site.identity, server_name="127.0.0.1")
        assert [await visited(dialer, address) for _ in range(2)] == [False, True], "another name is asked for"


async def test_what_was_proved_is_not_believed_beyond_the_clouds_certificate_nor_by_a_wrong_clock(site: Site) -> None:
    clock, known_ms = ManualClock(wall_ms=SystemClock().wall_ms()), 0
    async with hub(site.server_context(), Guests()) as address:
        dialer = websocket_dialer(lambda: site.identity, clock, lambda: known_ms)
        assert [await visited(dialer, address) for _ in range(2)] == [False, True]
        known_ms = clock.wall_ms() + 86_400_000
        assert [await visited(dialer, address) for _ in range(2)] == [False, True], "dates are not checked now"
        known_ms = 0
        assert [await visited(dialer, address) for _ in range(2)] == [False, True], "and now they are again"
        clock.advance(50 * 365 * 86_400)
        assert not await visited(dialer, address)


async def test_a_hub_that_was_started_anew_gives_a_full_handshake_without_an_error(site: Site) -> None:
    guests = Guests()
    dialer = gateway(site)
    port = 0
    for _ in range(2):
        async with hub(site.server_context(), guests, port=port) as address:
            port = int(address.rpartition(":")[2])
            assert [await visited(dialer, address) for _ in range(2)] == [False, True]


async def test_where_a_key_has_to_be_proved_no_ticket_counts(site: Site) -> None:
    guests = Guests()
    async with hub(site.server_context(), guests) as address:
        context = client_context(site.identity, trust_clock=True)
        link = await dial(address, context)
        context.offer(link.session)
        with pytest.raises(IdentityRefusedError, match="401"):
            await dial(address, context, path=ANEW_PATH)
        await (await dial(address, context, path=ANEW_PATH)).close(code=1000, reason="")
        await link.close(code=1000, reason="")
    assert guests.resumed == [False, False]


async def test_a_nameless_session_gives_nobody_a_name(site: Site) -> None:
    async with hub(site.server_context(), Guests()) as address:
        for _ in range(2):
            said = await asked_openssl(site, address, None, "-sess_out", str(site.path / "nobody"))
            assert "HTTP/1.1 401" in said
        said = await asked_openssl(site, address, site.identity, "-sess_in", str(site.path / "nobody"))
        assert "HTTP/1.1 401" in said


async def test_an_independent_client_resumes_and_is_refused_when_its_certificate_has_expired(site: Site) -> None:
    guests = Guests()
    identity, end = lasting(site, 5)
    kept = str(site.path / "session.pem")
    async with hub(site.server_context(), guests) as address:
        said = await asked_openssl(site, address, identity, "-sess_out", kept)
        assert "New, TLSv1.3" in said
        assert "HTTP/1.1 101" in said
        said = await asked_openssl(site, address, identity, "-sess_in", kept)
        assert "Reused, TLSv1.3" in said
        assert "HTTP/1.1 101" in said
        await until(end)
        said = await asked_openssl(site, address, identity, "-sess_in", kept)
        assert "Reused, TLSv1.3" in said, "OpenSSL looks at no dates here: the hub has to"
        assert "HTTP/1.1 401" in said
        assert "certificate expired on" in said
    assert guests.resumed == [False, True]


async def asked_openssl(site: Site, address: str, identity: Identity | None, *arguments: str) -> str:
    """What OpenSSL's own client says of the connection, and what the hub answers to an upgrade in it."""
    shown = () if identity is None else ("-cert", identity.certificate_file, "-key", identity.key_file)
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", address, "-servername", "hub.skerry.internal", "-ign_eof"),
        *("-CAfile", site.path / "ca.pem", *shown, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    upgrade = (
        f"GET {SESSION_PATH} HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    process.stdin.write(upgrade.encode())
    said = b""
    async with asyncio.timeout(60):
        while b"HTTP/1.1 101" not in said or said[said.index(b"HTTP/1.1 101") :].count(b"\r\n\r\n") < 1:
            part = await process.stdout.read(4096)
            if not part:
                break
            said += part
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await process.communicate()
    return said.decode(errors="replace")


def lasting(site: Site, seconds: int) -> tuple[Identity, datetime]:
    """A gateway whose certificate ends so soon, and when that is."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    return site.gateway(site.authority, "system:node:eu-1", now=end - timedelta(days=30)), end


async def until(end: datetime) -> None:
    while datetime.now(UTC) <= end + timedelta(seconds=1):
        await asyncio.sleep(0.1)


def written(path: Path, pki: Pki, *, signer: int) -> Identity:
    """The files of a gateway whose certificate this authority signed."""
    path.mkdir()
    authority = pki.authorities[signer]
    issued = issue_client(
        authority, user="system:node:eu-1", groups=["system:nodes"], now=NOW, valid=timedelta(days=30)
    )
    (path / "ca.pem").write_text(pki.bundle_pem)
    (path / "node.crt").write_text(issued.certificate_pem)
    (path / "node.key").write_text(issued.key_pem)
    return Identity(
        ca_file=path / "ca.pem",
        certificate_file=path / "node.crt",
        key_file=path / "node.key",
        server_name=hub_server_name(authority.id),
    )
