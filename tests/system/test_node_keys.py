"""A gateway that was replaced, or whose Node was deleted, is out at once, however good its certificate."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from edgecore.link.membership import Membership, load_membership
from edgecore.link.renewal import renew
from skerry.clocks import SystemClock
from skerry.errors import IdentityRefusedError, SkerryError
from skerry.objects.enrolment import HUB_ENROL_PATH, HUB_RECOVER_PATH, HUB_RENEW_PATH
from skerry.objects.json import maps_at, str_at
from skerry.objects.meta import Revision
from skerry.ports import Link
from skerry.transport import quic
from skerry.transport.dialled import DialledLink, dial
from skerry.transport.identity import SESSION_PATH, client_context
from skerry.transport.quic_tls import Tickets
from skerry.wire.codec import decode, encode
from skerry.wire.frames import Close, CloseCode, Hello, Welcome
from tests.system.real_fleet import NODE, EdgeProcess, RealFleet, real_fleet, until

pytestmark = pytest.mark.system

REPLACED = f"the Node {NODE} has joined again with another key since"
GONE = f"the Node {NODE} is not known any more; join again with a new token"


def kept(data: Path, copy: Path) -> Path:
    """What a thief has: a copy of the gateway's files."""
    copy.mkdir()
    shutil.copy(data / "join.json", copy)
    shutil.copytree(data / "pki", copy / "pki")
    return copy


async def answered(link: Link) -> Close | Welcome:
    """What the hub says to this link's Hello."""
    hello = Hello(
        versions=(2, 1),
        node=NODE,
        agent_version="0",
        incarnation="a copy",
        epoch="",
        revision=Revision(0),
        root=0,
        outbox_head=0,
    )
    async with asyncio.timeout(20):
        await link.send(encode(hello))
        frame = decode(await link.receive())
    link.abort()
    assert isinstance(frame, Close | Welcome), frame
    return frame


async def over_websocket(membership: Membership, fleet: RealFleet) -> Close | Welcome:
    context = client_context(membership.identity, trust_clock=True)
    return await answered(await dial(fleet.cloud.hub, context, server_name=membership.identity.server_name))


async def over_quic(membership: Membership, fleet: RealFleet) -> Close | Welcome:
    judgement = quic.Judgement(wall_ms=SystemClock().wall_ms(), floor_ms=0)
    keys = quic.gateway_keys(membership.identity)
    return await answered(
        await quic.dial(f"127.0.0.1:{fleet.cloud.endpoints['quic_port']}", keys, Tickets(), judgement)
    )


def asked(membership: Membership, fleet: RealFleet) -> int:
    """The API, for the Node itself, with the gateway's certificate."""
    identity = membership.identity
    context = ssl.create_default_context(cafile=str(identity.ca_file))
    context.load_cert_chain(identity.certificate_file, identity.key_file)
    host, _, port = fleet.cloud.https.rpartition(":")
    connection = HTTPSConnection(host, int(port), context=context, timeout=20)
    try:
        connection.request("GET", f"/api/v1/nodes/{NODE}")
        with connection.getresponse() as answer:  # one that ends its connection has the socket to itself
            return answer.status
    finally:
        connection.close()


def refused_everywhere(data: Path, fleet: RealFleet, reason: str) -> None:
    membership = load_membership(data)
    for way in (over_websocket, over_quic):
        frame = asyncio.run(way(membership, fleet))
        assert isinstance(frame, Close), way
        assert (frame.code, frame.reason) == (CloseCode.REFUSED, reason)
    assert asked(membership, fleet) == 401
    with pytest.raises(SkerryError, match=reason):
        asyncio.run(renew(data, known_ms=SystemClock().wall_ms()))


def test_a_gateway_that_was_replaced_is_out_at_once_and_stays_out(tmp_path: Path):
    with real_fleet(tmp_path) as fleet:
        old = fleet.edge
        old.start()
        until(lambda: fleet.ready() == "True", "the first gateway's session")
        copy = kept(old.data, tmp_path / "copy")
        assert asked(load_membership(copy), fleet) == 200
        new = EdgeProcess(data=tmp_path / "new")
        new.data.mkdir()
        new.join(fleet.cloud)
        until(lambda: old.link_state() != "connected", "the end of the first one's session")
        until(lambda: REPLACED in old.log, "its log says why")
        refused_everywhere(copy, fleet, REPLACED)
        new.start()
        try:
            until(lambda: new.link_state() == "connected", "the second gateway's session")
            refused_everywhere(copy, fleet, REPLACED)
            assert old.link_state() != "connected"
            assert new.link_state() == "connected", "nobody who is refused ends the session of the node's own gateway"
            events = maps_at(fleet.find("/api/v1/namespaces/default/events"), "items")
            told = [event for event in events if str_at(event, "reason") == "GatewayRefused"]
            assert [str_at(event, "involvedObject", "name") for event in told] == [NODE]
        finally:
            new.stop()
            new.end_containers()


def test_a_ticket_admits_nobody_who_was_replaced_and_is_none_for_joining_and_renewing(tmp_path: Path):
    with real_fleet(tmp_path) as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the gateway's session")
        membership = load_membership(kept(fleet.edge.data, tmp_path / "copy"))
        context = client_context(membership.identity, trust_clock=True)

        async def dialled(path: str = SESSION_PATH) -> DialledLink:
            name = membership.identity.server_name
            return await dial(fleet.cloud.hub, context, server_name=name, path=path)

        async def ticket() -> ssl.SSLSession | None:
            link = await dialled()
            link.abort()
            return link.session

        session = asyncio.run(ticket())
        for path in (HUB_ENROL_PATH, HUB_RENEW_PATH, HUB_RECOVER_PATH):
            context.offer(session)
            with pytest.raises(IdentityRefusedError, match="401"):
                asyncio.run(dialled(path))
        new = EdgeProcess(data=tmp_path / "new")
        new.data.mkdir()
        new.join(fleet.cloud)

        async def resumed() -> Close | Welcome:
            context.offer(session)
            link = await dialled()
            assert link.resumed
            return await answered(link)

        frame = asyncio.run(resumed())
        assert isinstance(frame, Close)
        assert (frame.code, frame.reason) == (CloseCode.REFUSED, REPLACED)


def test_a_node_that_is_deleted_has_no_session_and_does_not_come_back(tmp_path: Path):
    with real_fleet(tmp_path) as fleet:
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the session")
        fleet.cloud.kubectl("delete", "node", NODE)
        until(lambda: fleet.edge.link_state() != "connected", "the end of the session")
        until(lambda: "is not known any more" in fleet.edge.log, "its log says why")
        refused_everywhere(fleet.edge.data, fleet, GONE)
        assert fleet.find(f"/api/v1/nodes/{NODE}") is None
        fleet.edge.stop()
        token = fleet.cloud.skerry("token", "create", NODE).strip()
        again = fleet.edge._main("join", "--force", "--cloud", fleet.cloud.hub, "--token", token)
        assert again.wait(30) == 0, fleet.edge.log
        fleet.edge.start()
        until(lambda: fleet.ready() == "True", "the session of who joined again")
