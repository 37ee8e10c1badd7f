"""Gateways join over real TLS on loopback, by either port, and what is not right is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from cloudcore.api.authn import Authenticator
from cloudcore.api.enrolment import enrolment_endpoints
from cloudcore.api.ports import Posted, Presented
from cloudcore.pki.certificates import issue_client, issue_server, sign_request
from cloudcore.pki.directory import Pki, open_pki, retire, rotate
from cloudcore.pki.enrolment import Enroller, EnrollerParts
from cloudcore.pki.links import enrolling, recovering, renewing
from cloudcore.pki.service_tokens import ServiceTokens
from cloudcore.pki.serving import Serving, now_of
from cloudcore.registry.kinds import builtin_scheme
from cloudcore.registry.objects import LocalObjects
from cloudcore.registry.port import Subresource
from cloudcore.store.cache import following
from cloudcore.store.memory import MemoryState, MemoryStore
from edgecore.link import renewal
from edgecore.link.join import JoinRequest, join
from edgecore.link.membership import Membership, load_membership
from edgecore.link.renewal import CertificateKeeper, renew
from edgecore.store.memory import MemoryEdgeStore
from edgecore.store.port import EdgeBatch, Held
from edgecore.store.shell import AsyncEdgeStore
from skerry.authz.attributes import Attributes
from skerry.clocks import ManualClock, SeededIds, SystemClock
from skerry.errors import (
    BadRequestError,
    CallerError,
    Cause,
    IdentityRefusedError,
    InvalidError,
    NotFoundError,
    SkerryError,
    UnavailableError,
)
from skerry.objects.enrolment import (
    DISCOVERY_PATH,
    HUB_ENROL_PATH,
    HUB_RECOVER_PATH,
    HUB_RENEW_PATH,
    JoinToken,
    discovery_body,
    refused_body,
    token_secret,
)
from skerry.objects.json import JsonObject
from skerry.objects.meta import Key, Revision, Stamp
from skerry.objects.scheme import Kind
from skerry.objects.times import time_text
from skerry.transport.dialled import dial
from skerry.transport.identity import SESSION_PATH, client_context
from skerry.transport.joining import signing_request
from skerry.transport.websocket import Route, WebSocketLink, listen

pytestmark = pytest.mark.system
SCHEME = builtin_scheme()


class NoRules:
    """Kinds without defaults or schema."""

    def defaulted(self, kind: Kind, obj: JsonObject) -> JsonObject:
        return obj

    def filled(self, kind: Kind, obj: JsonObject) -> JsonObject:
        return obj

    def validate(
        self, kind: Kind, obj: JsonObject, old: JsonObject | None, subresource: Subresource
    ) -> tuple[Cause, ...]:
        return ()

    def warnings(self, kind: Kind, obj: JsonObject, old: JsonObject | None) -> tuple[str, ...]:
        return ()


class Everything:
    """Nobody is refused; what is tested here comes before permission."""

    def require(self, attributes: Attributes) -> None:
        del attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    pki: Pki
    objects: LocalObjects
    https_port: int
    hub_port: int
    sessions: list[str]

    async def issue(self, node: str, *, ttl_s: int = 600, id_: str = "0123456789") -> str:
        token = JoinToken(id=id_, secret="ab" * 16, pin=self.pki.authority.pin, node=node)
        expires = time_text(int(time.time() + ttl_s) * 1000)
        await self.objects.create(kind("secrets"), "kube-system", token_secret(token, expires=expires, labels={}))
        return str(token)

    def address(self, by: str) -> str:
        return f"127.0.0.1:{self.https_port if by == 'https' else self.hub_port}"


def kind(resource: str) -> Kind:
    found = SCHEME.of_resource(resource)
    assert found is not None
    return found


async def serve_https(
    stack: AsyncExitStack,
    context: ssl.SSLContext,
    enroller: Enroller,
    cloud_clock: SystemClock,
    objects: LocalObjects,
    pki: Pki,
) -> int:
    tokens = ServiceTokens(pki.token_keys, cloud_clock, SeededIds(3))
    authenticator = Authenticator(tokens=tokens, objects=objects, gate=Everything(), clock=cloud_clock)
    endpoints = enrolment_endpoints(enroller, authenticator)

    async def answer(request: web.Request) -> web.Response:
        posted = Posted(
            method=request.method,
            path=request.path,
            body=await request.read(),
            peer=request.remote or "",
            presented=Presented(),
        )
        endpoint = endpoints.get(request.path)
        if endpoint is None:
            return web.Response(status=404)
        try:
            replied = await endpoint(posted)
        except CallerError as error:
            return web.Response(status=403, body=refused_body(str(error), code=403))
        return web.Response(status=replied.status, body=replied.body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    return int(runner.addresses[0][1])


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    clock = SystemClock()
    pki = open_pki(tmp_path / "cloud", now=now_of(clock))
    serving = Serving(pki, names=[], clock=clock)
    ports: list[int] = []
    sessions: list[str] = []

    async def session(link: WebSocketLink) -> None:
        sessions.append(link.peer_name)
        await link.send(await link.receive())

    async with AsyncExitStack() as stack:
        store = MemoryStore(MemoryState(epoch="e1"))
        cache = await stack.enter_async_context(following(store))
        objects = LocalObjects(store=store, cache=cache, rules=NoRules(), clock=clock, ids=SeededIds(1))
        await objects.create(kind("namespaces"), "", {"metadata": {"name": "kube-system"}})
        parts = EnrollerParts(
            authorities=pki.authorities,
            objects=objects,
            secrets=kind("secrets"),
            nodes=kind("nodes"),
            members=kind("kubefedclusters.core.kubefed.io"),
            namespaces=kind("namespaces"),
            clock=clock,
            hub_port=lambda: ports[0],
        )
        enroller = Enroller(parts)
        routes = {
            SESSION_PATH: Route(handle=session, named=True),
            HUB_ENROL_PATH: Route(handle=enrolling(enroller), named=False),
            HUB_RENEW_PATH: Route(handle=renewing(enroller), named=True),
            HUB_RECOVER_PATH: Route(handle=recovering(enroller), named=False),
        }
        pages = {DISCOVERY_PATH: lambda: discovery_body(enroller.discovery("websocket")).decode()}
        _, port = await stack.enter_async_context(listen("127.0.0.1", 0, serving.hub, routes, pages=pages))
        ports.append(port)
        https_port = await serve_https(stack, serving.api, enroller, clock, objects, pki)
        yield Cloud(pki=pki, objects=objects, https_port=https_port, hub_port=port, sessions=sessions)


def ok(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


async def joined(cloud: Cloud, data: Path, token: str, by: str = "https", *, force: bool = False) -> Membership:
    return await asyncio.to_thread(
        join, JoinRequest(data=data, clouds=(cloud.address(by),), token=token, force=force)
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("by", ["https", "websocket"])
async def test_a_gateway_joins_by_either_port_and_then_dials_the_hub(cloud: Cloud, tmp_path: Path, by: str):
    data = tmp_path / "edge"
    membership = await joined(cloud, data, await cloud.issue("eu-1"), by)
    assert membership == load_membership(data)
    assert (membership.node, membership.clouds) == ("eu-1", (f"127.0.0.1:{cloud.hub_port}",))
    assert stat.S_IMODE((data / "pki" / "node.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in data.iterdir()) == ["join.json", "pki"]
    check = ["openssl", "verify", "-purpose", "sslclient", "-CAfile", str(data / "pki" / "ca.crt")]
    assert ok([*check, str(data / "pki" / "node.crt")])
    link = await dial(membership.clouds[0], client_context(membership.identity, trust_clock=True))
    await link.send(b"x")
    assert await link.receive() == b"x"
    await link.close(code=1000, reason="")
    assert cloud.sessions == ["system:node:eu-1"]


@pytest.mark.parametrize("by", ["https", "websocket"])
async def test_a_used_token_is_refused_in_words_for_people(cloud: Cloud, tmp_path: Path, by: str):
    token = await cloud.issue("eu-1")
    await joined(cloud, tmp_path / "one", token, by)
    with pytest.raises(InvalidError, match="this token was used at"):
        await joined(cloud, tmp_path / "two", token, by)
    with pytest.raises(NotFoundError, match="has not joined"):
        load_membership(tmp_path / "two")


@pytest.mark.parametrize("by", ["https", "websocket"])
async def test_wrong_and_expired_tokens_are_refused_each_in_its_words(cloud: Cloud, tmp_path: Path, by: str):
    expired = await cloud.issue("eu-1", ttl_s=-5)
    with pytest.raises(InvalidError, match="this token expired at"):
        await joined(cloud, tmp_path / "edge", expired, by)
    unknown = JoinToken(id="9" * 10, secret="c" * 32, pin=cloud.pki.authority.pin, node="eu-1")
    with pytest.raises(InvalidError, match="this token is not valid here"):
        await joined(cloud, tmp_path / "edge", str(unknown), by)


async def test_a_token_is_not_sent_to_another_cloud(cloud: Cloud, tmp_path: Path):
    token = JoinToken(id="0" * 10, secret="c" * 32, pin="A" * 43, node="eu-1")
    with pytest.raises(InvalidError, match="not the one that made this token"):
        await joined(cloud, tmp_path / "edge", str(token))


@pytest.mark.parametrize("shown", ["the CA alone", "the CA and its own", "its own and the CA"])
async def test_whoever_stands_in_between_with_the_right_ca_and_no_key_gets_no_token(
    cloud: Cloud, tmp_path: Path, shown: str
):
    """It can show the CA, which is public, but not a server certificate by that CA; nor can it smuggle in its own."""
    imposter = open_pki(tmp_path / "imposter", now=now_of(SystemClock()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served = issue_server(imposter.authority, names=["hub.skerry.internal"], now=now_of(SystemClock()))
    (tmp_path / "imposter.pem").write_text(served.key_pem + served.certificate_pem)
    context.load_cert_chain(tmp_path / "imposter.pem")
    seen: list[bytes] = []

    async def enrol(link: WebSocketLink) -> None:
        seen.append(await link.receive())

    right, wrong = cloud.pki.authority.pem, imposter.authority.pem
    ca = {"the CA alone": right, "the CA and its own": right + wrong, "its own and the CA": wrong + right}[shown]
    pages = {DISCOVERY_PATH: lambda: json.dumps({"ca": ca, "transport": "websocket"})}
    routes = {HUB_ENROL_PATH: Route(handle=enrol, named=False)}
    token = await cloud.issue("eu-1")
    async with listen("127.0.0.1", 0, context, routes, pages=pages) as (_, port):
        request = JoinRequest(data=tmp_path / "edge", clouds=(f"127.0.0.1:{port}",), token=token)
        with pytest.raises(InvalidError, match="the token was not sent"):
            await asyncio.to_thread(join, request)
    assert seen == []


async def test_a_gateways_certificate_can_not_play_the_cloud(cloud: Cloud, tmp_path: Path):
    membership = await joined(cloud, tmp_path / "edge", await cloud.issue("eu-1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(membership.identity.certificate_file, membership.identity.key_file)
    async with listen("127.0.0.1", 0, context, {}) as (_, port):
        with pytest.raises(UnavailableError, match="certificate"):
            await dial(f"127.0.0.1:{port}", client_context(membership.identity, trust_clock=True))


async def test_a_join_whose_answer_was_lost_is_repeated_with_the_same_key(cloud: Cloud, tmp_path: Path):
    data = tmp_path / "edge"
    token = await cloud.issue("eu-1")
    await joined(cloud, data, token)
    key = (data / "pki" / "node.key").read_bytes()
    (data / "join.json").unlink()  # as if the power went before the last write
    (data / ".join-key").write_bytes(key)
    assert (await joined(cloud, data, token)).node == "eu-1"
    assert (data / "pki" / "node.key").read_bytes() == key


async def test_a_gateway_that_has_joined_joins_again_only_when_told_to(cloud: Cloud, tmp_path: Path):
    await joined(cloud, tmp_path / "edge", await cloud.issue("eu-1"))
    token = await cloud.issue("eu-2", id_="1" * 10)
    with pytest.raises(InvalidError, match=r"has joined .* already, as eu-1"):
        await joined(cloud, tmp_path / "edge", token)
    assert (await joined(cloud, tmp_path / "edge", token, force=True)).node == "eu-2"


async def test_an_address_where_no_cloud_is_says_so(cloud: Cloud, tmp_path: Path, unused_tcp_port_of_nobody: int):
    token = await cloud.issue("eu-1")
    request = JoinRequest(data=tmp_path / "edge", clouds=(f"127.0.0.1:{unused_tcp_port_of_nobody}",), token=token)
    with pytest.raises(UnavailableError, match=r"can't reach the cloud at 127\.0\.0\.1"):
        await asyncio.to_thread(join, request)


async def test_a_gateway_keeps_the_addresses_of_every_replica_and_a_wrong_one_costs_no_token(
    cloud: Cloud, tmp_path: Path, unused_tcp_port_of_nobody: int
):
    token = await cloud.issue("eu-1")
    hub, api = cloud.address("websocket"), f"localhost:{cloud.https_port}"
    serving = Serving(open_pki(tmp_path / "other", now=now_of(SystemClock())), names=[], clock=SystemClock())
    other = {"ca": (tmp_path / "other/pki/ca.crt").read_text(), "transport": "websocket"}
    foreign = {DISCOVERY_PATH: lambda: json.dumps(other)}
    first = cloud.address("https")
    async with listen("127.0.0.1", 0, serving.hub, {}, pages=foreign) as (_, port):
        for wrong, why in (
            (f"127.0.0.1:{unused_tcp_port_of_nobody}", "can't reach the cloud at"),
            (f"127.0.0.1:{port}", f"127.0.0.1:{port} is not the one that made this token"),
        ):
            request = JoinRequest(data=tmp_path / "edge", clouds=(first, hub, wrong), token=token)
            with pytest.raises((UnavailableError, InvalidError), match=why):
                await asyncio.to_thread(join, request)
    request = JoinRequest(data=tmp_path / "edge", clouds=(first, hub, api), token=token)
    membership = await asyncio.to_thread(join, request)
    hubs = [f"{host}:{cloud.hub_port}" for host in ("127.0.0.1", "localhost")]
    assert list(membership.clouds) == hubs, "an API's replica is dialled at the port of the hub that enrolled"
    with pytest.raises(BadRequestError, match="at least one"):
        await asyncio.to_thread(join, JoinRequest(data=tmp_path / "none", clouds=(), token=token))


@pytest.fixture
def unused_tcp_port_of_nobody() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_certificate_is_renewed_over_the_hub_with_the_same_key(cloud: Cloud, tmp_path: Path):
    data = tmp_path / "edge"
    before = await joined(cloud, data, await cloud.issue("eu-1"))
    old = before.identity.certificate_file.read_text()
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "edgecore.link.renewal", str(data), "0"], check=True
    )
    assert before.identity.certificate_file.read_text() != old
    link = await dial(before.clouds[0], client_context(before.identity, trust_clock=True))
    await link.close(code=1000, reason="")
    await cloud.objects.delete(kind("nodes"), kind("nodes").key("", "eu-1"))
    with pytest.raises(InvalidError, match="not known any more"):
        await renew(data, known_ms=0)


async def test_a_gateway_whose_certificate_ended_while_it_was_away_comes_back_by_itself(cloud: Cloud, tmp_path: Path):
    import datetime

    data = tmp_path / "edge"
    membership = await joined(cloud, data, await cloud.issue("eu-1"))
    identity = membership.identity
    then = now_of(SystemClock()) - datetime.timedelta(days=400)
    request = signing_request(identity.key_file.read_bytes(), "system:node:eu-1")
    ended = sign_request(cloud.pki.authority, request, user="system:node:eu-1", groups=["system:nodes"], now=then)
    identity.certificate_file.write_text(ended)
    with pytest.raises(IdentityRefusedError, match="hung up on this gateway's certificate"):
        await dial(membership.clouds[0], client_context(identity, trust_clock=True))
    # As the link does with that error. By its clock, which stood still, the gateway would not have thought of it.
    keeper = CertificateKeeper(data, an_edge_store(), lambda: 0)
    running = asyncio.create_task(keeper.run())
    keeper.doubt()
    try:
        async with asyncio.timeout(60):
            while identity.certificate_file.read_text() == ended:
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    link = await dial(membership.clouds[0], client_context(identity, trust_clock=True))
    await link.close(code=1000, reason="")


async def test_damaged_files_of_the_membership_are_said_once_and_end_nothing(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Pods and devices don't need them."""
    data = tmp_path / "edge"
    await joined(cloud, data, await cloud.issue("eu-1"))
    monkeypatch.setattr(renewal, "AGAIN_S_MIN", 0.01)
    monkeypatch.setattr(renewal, "CHECK_INTERVAL_S", 0.02)
    keeper = CertificateKeeper(data, an_edge_store(cloud.pki.bundle_pem), lambda: 0)
    looked: list[bool] = []
    due = keeper._due

    def look() -> bool:
        looked.append(True)
        return due()

    monkeypatch.setattr(keeper, "_due", look)
    running = asyncio.create_task(keeper.run())
    whole = (data / "pki" / "ca.crt").read_bytes(), (data / "join.json").read_bytes()
    try:
        for damage in (b"\xff\xfe", None):
            await eventually_looks(looked)
            if damage is None:
                (data / "pki" / "ca.crt").unlink()
            else:
                (data / "pki" / "ca.crt").write_bytes(damage)
            await eventually_looks(looked)
            (data / "pki" / "ca.crt").write_bytes(whole[0])
        await eventually_looks(looked)
        (data / "join.json").write_bytes(b"{")
        await eventually_looks(looked)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    said = [each.getMessage() for each in caplog.records if "certificate not renewed" in each.getMessage()]
    assert len(said) == 3
    assert "join again with a new token" in said[-1]


async def eventually_looks(looked: list[bool]) -> None:
    """Until the keeper has looked twice from now on."""
    wanted = len(looked) + 2
    async with asyncio.timeout(30):
        while len(looked) < wanted:
            await asyncio.sleep(0.005)


def an_edge_store(*told: str) -> AsyncEdgeStore:
    """With the authorities that the cloud tells of."""
    store = MemoryEdgeStore(incarnation="i", clock=SystemClock())
    body = json.dumps({"data": {"ca.crt": "".join(told)}}).encode()
    key = Key("configmaps", "kube-system", "kube-root-ca.crt")
    if told:
        store.apply(EdgeBatch(puts=(Held(key=key, stamp=Stamp("u", Revision(1)), body=body),)))
    return AsyncEdgeStore(store)


@asynccontextmanager
async def hub_of(data: Path) -> AsyncGenerator[tuple[Pki, LocalObjects, int]]:
    """A hub on the keys in a directory, as a cloud that is started on it; Nodes are what is in memory."""
    clock = SystemClock()
    pki = open_pki(data, now=now_of(clock))
    store = MemoryStore(MemoryState(epoch="e1"))
    async with following(store) as cache:
        objects = LocalObjects(store=store, cache=cache, rules=NoRules(), clock=clock, ids=SeededIds(1))
        await objects.create(kind("namespaces"), "", {"metadata": {"name": "kube-system"}})
        await objects.create(kind("nodes"), "", {"metadata": {"name": "eu-1"}})
        enroller = Enroller(
            EnrollerParts(
                authorities=pki.authorities,
                objects=objects,
                secrets=kind("secrets"),
                nodes=kind("nodes"),
                members=kind("kubefedclusters.core.kubefed.io"),
                namespaces=kind("namespaces"),
                clock=clock,
                hub_port=lambda: 1,
            )
        )

        async def session(link: WebSocketLink) -> None:
            await link.send(link.peer_name.encode())

        routes = {
            SESSION_PATH: Route(handle=session, named=True),
            HUB_ENROL_PATH: Route(handle=enrolling(enroller), named=False),
            HUB_RENEW_PATH: Route(handle=renewing(enroller), named=True),
            HUB_RECOVER_PATH: Route(handle=recovering(enroller), named=False),
        }
        pages = {DISCOVERY_PATH: lambda: discovery_body(enroller.discovery("websocket")).decode()}
        serving = Serving(pki, names=[], clock=clock)
        async with listen("127.0.0.1", 0, serving.hub, routes, pages=pages) as (_, port):
            yield pki, objects, port


async def talked(data: Path, port: int) -> bool:
    """The gateway in `data` dials as its agent does."""
    own = load_membership(data).identity
    link = await dial(f"127.0.0.1:{port}", client_context(own, trust_clock=True), server_name=own.server_name)
    said = await link.receive()
    await link.close(code=1000, reason="")
    return said == b"system:node:eu-1"


def moved(data: Path, port: int) -> None:
    """Another port of the same cloud."""
    obj = json.loads((data / "join.json").read_text())
    (data / "join.json").write_text(json.dumps({**obj, "clouds": [f"127.0.0.1:{port}"]}))


async def test_authorities_change_under_gateways_that_are_there_and_one_that_was_away(tmp_path: Path):
    cloud, here, away = tmp_path / "cloud", tmp_path / "here", tmp_path / "away"
    async with hub_of(cloud) as (first, objects, port):
        for data, id_ in ((here, "1" * 10), (away, "2" * 10)):
            token = JoinToken(id=id_, secret="ab" * 16, pin=first.authority.pin, node="eu-1")
            expires = time_text(int(time.time() + 600) * 1000)
            await objects.create(kind("secrets"), "kube-system", token_secret(token, expires=expires, labels={}))
            await asyncio.to_thread(join, JoinRequest(data=data, clouds=(f"127.0.0.1:{port}",), token=str(token)))
    rotate(cloud, now=now_of(SystemClock()))
    async with hub_of(cloud) as (second, _, port):
        moved(here, port)
        assert await talked(here, port), "before it knows"
        await renew(here, known_ms=0)
        own = load_membership(here)
        assert own.server_name == f"ca-{second.authority.id}.hub.skerry.internal"
        assert own.identity.ca_file.read_text() == second.bundle_pem
        assert await talked(here, port)
    rotate(cloud, now=now_of(SystemClock()))
    async with hub_of(cloud) as (third, _, port):
        # It slept through two changes: it trusts the first authority alone, and is shown what that one signed.
        moved(away, port)
        assert await talked(away, port)
        # Being told of others, its agent asks for a new certificate without anybody's help.
        keeper = CertificateKeeper(away, an_edge_store(third.bundle_pem), lambda: 0)
        running = asyncio.create_task(keeper.run())
        try:
            async with asyncio.timeout(60):
                while load_membership(away).server_name != f"ca-{third.authority.id}.hub.skerry.internal":
                    await asyncio.sleep(0.05)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert await talked(away, port)
    retire(cloud, first.authority.id)
    retire(cloud, second.authority.id)
    async with hub_of(cloud) as (_, _, port):
        assert await talked(away, port)
        moved(here, port)
        with pytest.raises(UnavailableError):
            await talked(here, port)  # it was not there for the third


@pytest.mark.parametrize("former", [False, True], ids=["of the newest authority", "of a former one"])
async def test_tokens_of_every_authority_that_is_still_good_let_gateways_join(tmp_path: Path, former: bool):
    cloud = tmp_path / "cloud"
    old = open_pki(cloud, now=now_of(SystemClock()))
    rotate(cloud, now=now_of(SystemClock()))
    async with hub_of(cloud) as (pki, objects, port):
        pin = old.authority.pin if former else pki.authority.pin
        token = JoinToken(id="3" * 10, secret="ab" * 16, pin=pin, node="eu-1")
        expires = time_text(int(time.time() + 600) * 1000)
        await objects.create(kind("secrets"), "kube-system", token_secret(token, expires=expires, labels={}))
        request = JoinRequest(data=tmp_path / "edge", clouds=(f"127.0.0.1:{port}",), token=str(token))
        await asyncio.to_thread(join, request)
        moved(tmp_path / "edge", port)
        assert await talked(tmp_path / "edge", port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A client certificate that a hub must not accept."""

    why: str
    authority: str = "own"
    age_days: int = 0
    usage: str = "client"


@pytest.mark.parametrize(
    "shown",
    [
        Shown(why="none", authority="none"),
        Shown(why="wrong CA", authority="other"),
        Shown(why="expired", age_days=400),
        Shown(why="not yet valid", age_days=-10),
        Shown(why="wrong usage", usage="server"),
    ],
    ids=lambda shown: shown.why,
)
async def test_a_session_needs_a_certificate_that_is_ours_valid_and_for_clients(
    cloud: Cloud, tmp_path: Path, shown: Shown
):
    import datetime

    other = open_pki(tmp_path / "other", now=now_of(SystemClock()))
    authority = other.authority if shown.authority == "other" else cloud.pki.authority
    when = now_of(SystemClock()) - datetime.timedelta(days=shown.age_days)
    if shown.usage == "server":
        issued = issue_server(authority, names=["system:node:eu-1"], now=when)
    else:
        valid = datetime.timedelta(days=365)
        issued = issue_client(authority, user="system:node:eu-1", groups=["system:nodes"], now=when, valid=valid)
    (tmp_path / "client.pem").write_text(issued.key_pem + issued.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=cloud.pki.ca_file)
    if shown.authority != "none":
        context.load_cert_chain(tmp_path / "client.pem")
    with pytest.raises(SkerryError):
        link = await dial(cloud.address("hub"), context)
        await link.send(b"x")
        await link.receive()
    assert cloud.sessions == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_the_hub_speaks_tls_1_3_only(cloud: Cloud):
    def connect(version: str, port: int) -> int:
        command = ["openssl", "s_client", f"-{version}", "-connect", f"127.0.0.1:{port}", "-brief"]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20).returncode

    assert await asyncio.to_thread(connect, "tls1_3", cloud.hub_port) == 0
    assert await asyncio.to_thread(connect, "tls1_2", cloud.hub_port) != 0
    assert await asyncio.to_thread(connect, "tls1_2", cloud.https_port) == 0
    assert await asyncio.to_thread(connect, "tls1_1", cloud.https_port) != 0


async def test_a_renewed_server_certificate_is_served_without_a_restart(tmp_path: Path):
    clock = ManualClock(wall_ms=int(time.time() * 1000))
    pki = open_pki(tmp_path, now=now_of(clock))
    serving = Serving(pki, names=["first.example"], clock=clock)
    async with listen("127.0.0.1", 0, serving.hub, {}) as (_, port):

        def serial() -> str:
            return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)

        before = await asyncio.to_thread(serial)
        assert not serving.refresh()
        clock.advance(61 * 86_400)
        assert serving.refresh()
        assert await asyncio.to_thread(serial) != before
