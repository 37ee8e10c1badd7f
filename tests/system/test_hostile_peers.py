"""Peers that mean ill, over real TLS, against a real cloudcore: no crash, no stall, no memory without end, and the
good gateway beside them keeps its session and stays in step.

Over QUIC: test_hostile_quic.py. What the machines decide is tested without sockets in tests/hostile.
"""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cloudcore.pki.certificates import issue_client
from skerry.objects.json import JsonObject, encode_object, maps_at, str_at
from skerry.objects.meta import Key, Revision, name_of, uid_of
from skerry.wire.codec import FRAME_BYTES_MAX, encode
from skerry.wire.frames import (
    BULK,
    PROMPT,
    Ack,
    Close,
    CloseCode,
    Compare,
    Fetch,
    Frame,
    Objects,
    Ping,
    Pong,
    Receipt,
    Report,
    Reports,
    Stamps,
    StreamClose,
    StreamCredit,
    StreamData,
    StreamOpen,
    Welcome,
)
from tests.system.hostile_ground import BAD, HEARTBEAT_S, Ground, hostile_ground
from tests.system.hostile_peers import (
    BINARY,
    CONTINUED,
    PING,
    Papers,
    WebPeer,
    closing,
    hello,
    place_of,
    upgrade,
    web_frame,
)
from tests.system.real_fleet import CORE, NODE, until

pytestmark = [pytest.mark.system, pytest.mark.long]
WORKED_OFF_S = 120.0
"""Within this a hub on a busy machine has worked off what was poured on it."""

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with hostile_ground(tmp_path_factory.mktemp("ground")) as ground:
        yield ground


@pytest.fixture
def ground(battle: Ground) -> Iterator[Ground]:
    yield battle
    battle.unmoved()


def session(ground: Ground, **fields: object) -> WebPeer:
    """One of the bad node, welcomed."""
    peer = WebPeer(ground.hub, ground.own).upgraded()
    try:
        assert peer.say(hello(BAD, **fields))
        peer.hear_a(Welcome)
    except BaseException:
        peer.close()
        raise
    return peer


def caught_up(ground: Ground) -> WebPeer:
    peer = session(ground)
    assert peer.say(Compare(buckets=tuple(range(1, 65))))
    peer.hear_a(Stamps)
    return peer


def report(seq: int, kind: str = "telemetry", body: bytes = b"{}") -> Report:
    return Report(seq=seq, kind=kind, key="k", body=body, wall_ms=0, age_ms=0)


# --- before the session ---


@pytest.mark.parametrize(
    "words",
    [
        b"\x00" * 9000,
        b"\xff\xfe\r\n\r\n",
        b"GET /session HTTP/1.1\r\n" + b"X: " + b"a" * 100_000,
        b"GET /session HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(5000)) + b"\r\n",
        b"POST /session HTTP/1.1\r\nHost: hub\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 100_000,
        b"GET /session HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n" + b"x" * 100_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 5000,
        b"GET " + b"/a" * 50_000 + b" HTTP/1.1\r\n\r\n",
        upgrade("/session").replace(b"13", b"7"),
        upgrade("/session").replace(b"Upgrade: websocket\r\n", b""),
        upgrade("/session").replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: not base64 "),
        upgrade("/../../etc/passwd"),
        upgrade("/session%00"),
    ],
)
def test_what_is_no_upgrade_is_answered_and_ended(ground: Ground, words: bytes) -> None:
    peer = WebPeer(ground.hub, ground.own)
    with closing([peer]):
        peer.send(words)
        assert b" 101 " not in peer.answer().partition(b"\r\n")[0]
        assert peer.is_ended()


def test_who_has_no_certificate_of_ours_gets_no_session(ground: Ground) -> None:
    peer = WebPeer(ground.hub, ground.none)
    with closing([peer]):
        peer.send(upgrade())
        assert peer.answer().startswith(b"HTTP/1.1 401 ")
    for what, papers in ground.wrong_papers().items():
        assert refused(ground.hub, papers), what


def refused(address: str, papers: Papers) -> bool:
    """In TLS 1.3 a client learns only with its first read what the server thinks of its certificate."""
    try:
        peer = WebPeer(address, papers)
    except OSError:
        return True
    with closing([peer]):
        return not peer.send(upgrade()) or b" 101 " not in peer.answer()


def test_who_says_half_of_everything_holds_up_nobody_and_is_sent_away(ground: Ground) -> None:
    """Slow loris at each stage: TCP, half a ClientHello, TLS, half an upgrade, an upgrade and no Hello."""
    bare = [socket.create_connection(place_of(ground.hub), timeout=60) for _ in range(150)]
    for number, sock in enumerate(bare):
        if number % 2:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    shaken: list[WebPeer] = []
    try:
        shaken += [WebPeer(ground.hub, ground.own) for _ in range(40)]
        for peer in shaken[:20]:
            peer.send(upgrade()[:-4])
        for _ in range(10):
            shaken.append(WebPeer(ground.hub, ground.own).upgraded())
        began = time.monotonic()
        ground.unmoved()
        late = WebPeer(ground.hub, ground.own).upgraded()
        assert time.monotonic() - began < 20, "others get in meanwhile"
        late.close()
        assert all(peer.is_ended(60) for peer in shaken)
        for sock in bare:
            sock.settimeout(60)
            assert ended(sock)
    finally:
        for sock in bare:
            sock.close()
        for peer in shaken:
            peer.close()


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(100) == b"" or sock.recv(100) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_links_of_one_certificate_are_bounded(ground: Ground) -> None:
    peers: list[WebPeer] = []
    with closing(peers):
        peers.extend(WebPeer(ground.hub, ground.own).upgraded() for _ in range(40))
        assert sum(peer.is_ended(0.2) for peer in peers) >= 40 - 16


# --- floods ---


def test_pings_of_who_never_reads_the_answers_fill_no_memory(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        taken = peer.pour(web_frame(b"x" * 125, opcode=PING) * 64, total=200 * MIB, within_s=10)
        assert taken < 4 * MIB
        assert peer.is_ended()


def test_a_message_in_endless_pieces_is_ended(ground: Ground) -> None:
    """Empty pieces count against no limit in bytes."""
    peer = session(ground)
    with closing([peer]):
        assert peer.send(web_frame(b"", opcode=BINARY, fin=False))
        taken = peer.pour(web_frame(b"", opcode=CONTINUED, fin=False) * 1000, total=100 * MIB, within_s=30)
        assert taken < 20 * MIB
        assert peer.is_ended()


def test_frames_as_large_as_can_be_announced_and_never_sent_are_let_go_after_two_heartbeats(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        assert peer.send(web_frame(bytes(1000), announced=FRAME_BYTES_MAX))
        assert peer.is_ended(4 * HEARTBEAT_S + WORKED_OFF_S)


@pytest.mark.parametrize("announced", [FRAME_BYTES_MAX + 100, 2**32, 2**63 - 1])
def test_a_frame_over_the_limit_ends_the_link_before_it_is_sent(ground: Ground, announced: int) -> None:
    peer = session(ground)
    with closing([peer]):
        peer.send(web_frame(b"x", announced=announced))
        assert peer.is_ended(10)


def test_bombs_end_the_link(ground: Ground) -> None:
    """Deflated frames that inflate to more than any frame has."""
    deflater = zlib.compressobj(level=9, wbits=-15)
    packed = deflater.compress(bytes(200 * MIB)) + deflater.flush()
    bomb = b"\xfa\x01" + varint(len(packed)) + packed  # field 31, RFC 1951
    for _ in range(3):
        peer = session(ground)
        with closing([peer]):
            peer.send(web_frame(bomb))
            assert peer.goodbye().code == CloseCode.PROTOCOL


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def flooded(ground: Ground, flood: Callable[[WebPeer], None]) -> None:
    """The good gateway gets its changes while a thread floods."""
    peer = session(ground)
    with closing([peer]):
        running = threading.Thread(target=flood, args=(peer,), daemon=True)
        running.start()
        while running.is_alive():
            took = ground.tell()
            assert took < 10, "a change waits for a flood"
            running.join(0.2)


def test_a_flood_of_signs_of_life_holds_up_nobody(ground: Ground) -> None:
    words = web_frame(encode(Ping(number=1))) * 500
    flooded(ground, lambda peer: peer.pour_and_read(words, within_s=6))


def test_a_flood_of_signs_of_life_whose_answers_are_not_read_is_ended(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        peer.pour(web_frame(encode(Ping(number=1))) * 500, total=100 * MIB, within_s=6)
        assert peer.is_ended(4 * HEARTBEAT_S + WORKED_OFF_S)


def test_who_asks_for_everything_again_and_again_and_does_not_read_is_ended(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        peer.pour(web_frame(encode(Compare(batch=0, root=5))) * 100, total=20 * MIB, within_s=6)
        assert peer.is_ended(4 * HEARTBEAT_S + WORKED_OFF_S)


def test_streams_that_nobody_opened_and_of_kinds_nobody_knows_come_to_nothing(ground: Ground) -> None:
    peer = session(ground)
    with closing([peer]):
        for number in range(200):
            stream = 2 + 2 * number
            assert peer.say(
                StreamOpen(stream=stream, kind="exec", params=b"{}", credit=2**62),
                StreamData(stream=stream, data=bytes(8192)),
                StreamCredit(stream=stream, credit=2**62),
            )
        closed = [peer.hear_a(StreamClose) for _ in range(200)]
        assert all(isinstance(frame, StreamClose) and frame.code == 1 for frame in closed)
        assert peer.say(StreamOpen(stream=1, kind="logs", params=b"", credit=1))
        assert peer.goodbye().code == CloseCode.PROTOCOL


# --- who is it ---


def test_a_certificate_of_one_node_opens_no_session_of_another(ground: Ground) -> None:
    peer = WebPeer(ground.hub, ground.own).upgraded()
    with closing([peer]):
        assert peer.say(hello(NODE))
        said = peer.goodbye()
        assert said.code == CloseCode.REFUSED
        assert str(said.reason) == f"the certificate is of system:node:{BAD}, the hello of {NODE}"


def test_a_certificate_signed_by_our_ca_with_another_key_than_the_nodes_is_refused(ground: Ground) -> None:
    issued = issue_client(
        ground.authority,
        user=f"system:node:{NODE}",
        groups=["system:nodes"],
        now=datetime.now(UTC),
        valid=timedelta(days=1),
    )
    peer = WebPeer(ground.hub, ground.papers("other-key", issued)).upgraded()
    with closing([peer]):
        assert peer.say(hello(NODE))
        assert peer.goodbye().code == CloseCode.REFUSED


def test_sessions_in_a_loop_fence_each_other_and_nobody_else(ground: Ground) -> None:
    peers: list[WebPeer] = []
    with closing(peers):
        for _ in range(60):
            peer = WebPeer(ground.hub, ground.own).upgraded()
            peers.append(peer)
            peer.say(hello(BAD))
        assert all(peer.is_ended(30) for peer in peers[:-1])
        assert peers[-1].is_ended(0.1) or peers[-1].say(Ping(number=7))
    last = session(ground)
    with closing([last]):
        assert last.say(Ping(number=7))
        last.hear_a(Pong)


# --- what is another's ---


def secret(ground: Ground) -> None:
    body: JsonObject = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "key"},
        "stringData": {"pin": "3141592653"},
    }
    if ground.fleet.find(f"{CORE}/secrets/key") is None:
        ground.fleet.create(f"{CORE}/secrets", body)


def test_nothing_of_another_node_can_be_fetched(ground: Ground) -> None:
    secret(ground)
    peer = caught_up(ground)
    with closing([peer]):
        keys = tuple(
            Key(resource, "default", name)
            for resource, name in (("secrets", "key"), ("configmaps", "greeting"), ("pods", "web"), ("nodes", NODE))
        )
        assert peer.say(Fetch(keys=(*keys, Key("nodes", "", NODE), Key("leases", "kube-node-lease", NODE))))
        found = peer.hear_a(Objects, Close)
        assert isinstance(found, Objects)
        assert not found.puts, "all it is told is that they are not its own"
        assert peer.say(Fetch(keys=tuple(Key("secrets", "default", f"s-{number}") for number in range(8000))))
        peer.say(Fetch(keys=tuple(Key("secrets", "default", f"t-{number}") for number in range(8000))))
        assert peer.goodbye().code == CloseCode.PROTOCOL


def told(peer: WebPeer, *reports: Report) -> None:
    """Send them in the prompt lane, and wait for the receipt."""
    assert peer.say(Reports(reports=reports, lane=PROMPT, first=reports[0].seq, through=reports[-1].seq))
    peer.hear_a(Receipt)


def test_reports_of_what_is_anothers_change_nothing(ground: Ground) -> None:
    web = ground.fleet.find(f"{CORE}/pods/web")
    assert web is not None
    node = ground.fleet.find(f"/api/v1/nodes/{NODE}")
    assert node is not None
    status: JsonObject = {"phase": "Failed", "conditions": []}
    bodies: list[JsonObject] = [
        {"namespace": "default", "name": "web", "uid": uid_of(web), "status": status, "gone": True},
        {"namespace": "default", "name": "web", "uid": "", "status": status, "gone": True},
    ]
    event: JsonObject = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "forged", "namespace": "default"},
        "involvedObject": {"kind": "Node", "name": NODE},
        "reason": "Forged",
        "message": "forged",
    }
    incarnation = f"bad-{time.monotonic()}"
    peer = session(ground, incarnation=incarnation)
    with closing([peer]):
        told(
            peer,
            report(1, "pod_status", encode_object(bodies[0])),
            report(2, "pod_status", encode_object(bodies[1])),
            report(3, "event", encode_object(event)),
            report(4, "command", encode_object({"namespace": "default", "name": "c", "uid": "u"})),
            report(5, "no such kind", b"{}"),
            report(6, "node_status", b"not json"),
            report(7, "node_status", b"[" * 50_000),
        )
    after = ground.fleet.find(f"{CORE}/pods/web")
    assert after is not None
    assert str_at(after, "status", "phase") == "Running"
    assert uid_of(after) == uid_of(web)
    assert ground.fleet.find(f"{CORE}/events/forged") is None
    assert str_at(ground.fleet.find(f"/api/v1/nodes/{NODE}"), "metadata", "uid") == uid_of(node)


@pytest.mark.parametrize(
    "again",
    [
        Reports(reports=(report(1),), lane=PROMPT, first=1, through=1),
        Reports(reports=(report(9),), lane=PROMPT, first=9, through=9),
        Reports(reports=(report(3), report(2)), lane=BULK, first=2, through=3),
        Reports(reports=(), lane=7, first=1, through=1),
        Ack(batch=5),
        Compare(batch=9, root=1),
        hello(BAD),
        Welcome(
            version=2,
            session=1,
            server_ms=0,
            heartbeat_ms=1,
            epoch="",
            revision=Revision(0),
            received=0,
            in_step=True,
        ),
    ],
)
def test_what_is_replayed_or_out_of_order_ends_the_session(ground: Ground, again: Frame) -> None:
    peer = session(ground, incarnation=f"bad-{time.monotonic()}")
    with closing([peer]):
        told(peer, report(1))
        assert peer.say(again)
        assert peer.goodbye().code == CloseCode.PROTOCOL


def test_frames_of_rubbish_end_the_session(ground: Ground) -> None:
    chance = random.Random(7)
    for number in range(30):
        peer = session(ground)
        with closing([peer]):
            words = chance.randbytes(chance.randrange(1, 2000))
            peer.send(web_frame(words, opcode=(0x1, BINARY, 0x3, 0xB, CONTINUED)[number % 5]))
            until(lambda peer=peer: not peer.say(Ping(number=1)) or peer.is_ended(0.05), "its end", deadline_s=15)


def test_tls_below_1_3_is_not_spoken(ground: Ground) -> None:
    context = ground.own.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(place_of(ground.hub), timeout=20) as plain, pytest.raises(OSError):
        context.wrap_socket(plain, server_hostname="hub.skerry.internal")


def test_all_that_it_made_is_its_own_node(ground: Ground) -> None:
    nodes = maps_at(ground.fleet.api().request("GET", "/api/v1/nodes").obj, "items")
    assert {name_of(node) for node in nodes} == {NODE, BAD}
