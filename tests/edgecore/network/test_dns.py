"""Questions and answers of the cluster's DNS, message by message."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecore.network.answers import Names
from edgecore.network.cache import STALE_S_MAX, STALE_TTL_S, AnswerCache, ttl_of
from edgecore.network.ready import ANSWERS_MAX, BYTES_MAX, ReadyAnswers
from edgecore.network.replies import Reply, address_record, authority_record, encode, name_record
from edgecore.network.resolver import Resolving
from edgecore.network.upstream import parse_resolv_conf
from skerry.clocks import ManualClock
from skerry.dns.names import name_of
from skerry.dns.names import text_of as name_text
from skerry.dns.numbers import (
    AAAA,
    ANY,
    BADVERS,
    CNAME,
    HEADER,
    IN,
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    SRV,
    TXT,
    A,
    MalformedError,
)
from skerry.dns.queries import parse_query, question
from skerry.dns.records import Record, places
from skerry.errors import UnavailableError
from skerry.objects.meta import Key
from tests.edgecore.network.conftest import NODE, Known, endpoint, headless, pod, service, slice_of

ZONE = "cluster.local"
OPT_4096 = b"\0" + struct.pack("!HHIH", 41, 4096, 0, 0)


def question_of(number: int, name: str, kind: int) -> bytes:
    return question(number, name_of(name), kind)


def types(message: bytes) -> list[int]:
    return [each.type for each in places(message)]


def with_edns(message: bytes) -> bytes:
    return message[:10] + b"\0\x01" + message[12:] + OPT_4096


def _plain(name: bytes) -> str:
    return name_text(name).removesuffix(".")


def text_of(record: Record) -> str:
    match record.type:
        case 1 | 28:
            return str(ipaddress.ip_address(record.rdata))
        case 33:
            _, weight, port = struct.unpack_from("!HHH", record.rdata)
            return f"{weight} {port} {_plain(record.rdata[6:])}"
        case 16:
            return record.rdata[1:].decode()
        case _:
            return _plain(record.rdata)


@pytest.fixture
def names(known: Known) -> Names:
    return Names(known.directory, ZONE, lambda: 7)


def ask(names: Names, name: str, type_: int = A) -> Reply | None:
    return names.answer(parse_query(question_of(1, name, type_)))


def found(names: Names, name: str, type_: int = A) -> list[str]:
    reply = ask(names, name, type_)
    assert reply is not None and reply.code == 0, reply
    return [text_of(record) for record in reply.answers]


def code(names: Names, name: str, type_: int = A) -> int:
    reply = ask(names, name, type_)
    assert reply is not None
    if not reply.answers:
        assert [record.type for record in reply.authority] == [6], "who has nothing says for how long"
    return reply.code


def test_a_service_is_its_address_and_its_ports(known: Known, names: Names):
    known.put(service("web"))
    assert found(names, "web.d.svc.cluster.local") == ["10.96.0.7"]
    assert found(names, "WEB.d.svc.Cluster.Local") == ["10.96.0.7"]
    assert found(names, "web.d.svc.cluster.local", AAAA) == []
    assert found(names, "_http._tcp.web.d.svc.cluster.local", SRV) == ["100 80 web.d.svc.cluster.local"]
    reply = ask(names, "_http._tcp.web.d.svc.cluster.local", SRV)
    assert reply is not None and [text_of(record) for record in reply.extra] == ["10.96.0.7"]
    assert reply.answers[0].ttl == 5
    assert found(names, "7.0.96.10.in-addr.arpa", PTR) == ["web.d.svc.cluster.local"]
    for missing in ("_http._udp", "_other._tcp", "10-96-0-7", "x.y"):
        assert code(names, f"{missing}.web.d.svc.cluster.local", SRV) == NXDOMAIN
    assert code(names, "other.d.svc.cluster.local") == NXDOMAIN
    assert code(names, "web.e.svc.cluster.local") == NXDOMAIN


def test_a_headless_service_is_its_ready_endpoints_by_name(known: Known, names: Names):
    first = endpoint("10.2.0.1", hostname="first")
    unready = endpoint("10.2.0.3", conditions={"ready": False, "serving": False, "terminating": False})
    known.put(headless("db"), slice_of("db", first, endpoint("10.2.0.2"), unready))
    known.put(headless("db"), slice_of("db", first, endpoint("10.2.0.2"), unready))
    home = "db.d.svc.cluster.local"
    assert found(names, home) == ["10.2.0.1", "10.2.0.2"]
    assert found(names, f"first.{home}") == ["10.2.0.1"]
    assert found(names, f"10-2-0-2.{home}") == ["10.2.0.2"]
    assert code(names, f"10-2-0-3.{home}") == NXDOMAIN
    assert found(names, f"_http._tcp.{home}", SRV) == [f"50 8080 first.{home}", f"50 8080 10-2-0-2.{home}"]
    assert found(names, "1.0.2.10.in-addr.arpa", PTR) == [f"first.{home}"]


def test_a_headless_service_of_nobody_is_there_and_empty(known: Known, names: Names):
    known.put(headless("db"))
    assert code(names, "db.d.svc.cluster.local") == 0
    assert found(names, "db.d.svc.cluster.local") == []


def test_an_external_name_is_an_alias(known: Known, names: Names):
    known.put(service("far", "", type="ExternalName", externalName="Example.com."))
    assert found(names, "far.d.svc.cluster.local") == ["Example.com"]
    assert code(names, "x.far.d.svc.cluster.local") == NXDOMAIN
    known.put(service("far", "", type="ExternalName", externalName=f"{'a' * 64}.com"))
    assert code(names, "far.d.svc.cluster.local") == NXDOMAIN


def test_names_of_pods_spell_their_addresses(names: Names):
    assert found(names, "10-1-0-2.d.pod.cluster.local") == ["10.1.0.2"]
    assert found(names, "fd00--1.d.pod.cluster.local", AAAA) == ["fd00::1"]
    assert code(names, "first.d.pod.cluster.local") == NXDOMAIN


def test_the_zone_itself_and_what_is_between(known: Known, names: Names):
    known.put(service("web"))
    assert found(names, "dns-version.cluster.local", TXT) == ["1.1.0"]
    for name in ("cluster.local", "svc.cluster.local", "d.svc.cluster.local", "pod.cluster.local"):
        assert code(names, name) == 0
    for name in ("e.svc.cluster.local", "www.cluster.local", "example.com.d.svc.cluster.local"):
        assert code(names, name) == NXDOMAIN


def test_what_is_not_the_clusters_is_left_to_others(known: Known, names: Names):
    known.put(service("web"))
    for name in ("example.com", "notcluster.local", "9.9.9.9.in-addr.arpa", "x.in-addr.arpa"):
        assert ask(names, name, PTR) is None


class Others:
    """Whoever is asked what is not the cluster's."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Reply] = {}
        self.silent = False
        self.gate: asyncio.Event | None = None
        self.back: Callable[[bytes], Awaitable[bytes | None]] | None = None
        """Who asks them is who they ask."""

    async def ask(self, query: bytes, *, over_tcp: bool) -> bytes:
        asked = parse_query(query)
        name = _plain(asked.name)
        self.asked.append(name)
        if self.silent:
            raise UnavailableError("nobody there")
        if self.gate is not None:
            await self.gate.wait()
        if self.back is not None:
            return await self.back(query) or b""
        return encode(asked, self.answers.get(name, Reply(code=NXDOMAIN)), bytes_max=65_535)


class Stage:
    def __init__(self, known: Known, names: Names) -> None:
        self.known = known
        self.others = Others()
        self.clock = ManualClock()
        self.resolving = Resolving(names, self.others.ask, self.clock)

    async def ask(self, name: str, type_: int = A, *, over_tcp: bool = False) -> bytes:
        answer = await self.resolving.answer(question_of(77, name, type_), over_tcp=over_tcp)
        assert answer is not None and answer[:2] == b"\0\x4d"
        return answer


@pytest.fixture
def stage(known: Known, names: Names) -> Stage:
    return Stage(known, names)


def ttls(message: bytes) -> list[int]:
    return [each.ttl for each in places(message)]


async def test_others_are_asked_once_for_as_long_as_their_answer_holds(stage: Stage):
    stage.others.answers["example.com"] = Reply(answers=(address_record(name_of("example.com"), "1.2.3.4", 60),))
    assert ttls(await stage.ask("example.com")) == [60]
    stage.clock.advance(20)
    answer = await stage.ask("EXAMPLE.com")
    assert ttls(answer) == [40] and b"EXAMPLE" in answer
    assert stage.others.asked == ["example.com"]
    stage.clock.advance(41)
    await stage.ask("example.com")
    assert len(stage.others.asked) == 2


async def test_that_a_name_is_not_there_is_kept_for_a_short_while(stage: Stage):
    gone = Reply(code=NXDOMAIN, authority=(authority_record(name_of("com"), 1, 900),))
    stage.others.answers["none.com"] = gone
    for seconds in (0, 29, 2):
        stage.clock.advance(seconds)
        assert (await stage.ask("none.com"))[3] & 15 == NXDOMAIN
    assert len(stage.others.asked) == 2


async def test_what_was_known_is_told_while_nobody_can_be_asked(stage: Stage):
    stage.others.answers["printer.lan"] = Reply(answers=(address_record(name_of("printer.lan"), "192.168.1.9", 60),))
    await stage.ask("printer.lan")
    stage.others.silent = True
    stage.clock.advance(3600)
    assert ttls(await stage.ask("printer.lan")) == [STALE_TTL_S]
    assert (await stage.ask("other.lan"))[3] & 15 == 2
    stage.clock.advance(STALE_S_MAX)
    assert (await stage.ask("printer.lan"))[3] & 15 == 2


@pytest.mark.parametrize("code", [SERVFAIL, REFUSED])
async def test_what_was_known_is_told_while_servers_say_that_they_can_not_tell(stage: Stage, code: int):
    stage.others.answers["printer.lan"] = Reply(answers=(address_record(name_of("printer.lan"), "192.168.1.9", 60),))
    await stage.ask("printer.lan")
    stage.others.answers = {"printer.lan": Reply(code=code), "other.lan": Reply(code=code)}
    stage.clock.advance(3600)
    assert ttls(await stage.ask("printer.lan")) == [STALE_TTL_S]
    assert (await stage.ask("other.lan"))[3] & 15 == code
    assert len(await stage.ask("printer.lan")) and stage.others.asked.count("printer.lan") == 3, "it is asked anew"


async def test_the_same_question_of_many_goes_out_once_and_whoever_leaves_costs_nobody_else(stage: Stage):
    stage.others.gate = asyncio.Event()
    stage.others.answers["example.com"] = Reply(answers=(address_record(name_of("example.com"), "1.2.3.4", 60),))
    first, *others = [asyncio.create_task(stage.ask(name)) for name in ("example.com", "EXAMPLE.com", "Example.com")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    stage.others.gate.set()
    answers = await asyncio.gather(*others)
    assert [ttls(each) for each in answers] == [[60], [60]]
    assert b"EXAMPLE" in answers[0] and b"Example" in answers[1]
    assert stage.others.asked == ["example.com"]


async def test_a_circle_is_seen_and_others_are_not_asked_while_it_is_there(stage: Stage):
    stage.others.back = lambda query: stage.resolving.answer(query, over_tcp=False)
    await stage.resolving.look_for_circle()
    assert stage.resolving.circle
    assert (await stage.ask("example.com"))[3] & 15 == REFUSED
    assert len(stage.others.asked) == 1
    stage.others.back = None
    await stage.resolving.look_for_circle()
    assert not stage.resolving.circle
    assert (await stage.ask("example.com"))[3] & 15 == NXDOMAIN


def test_an_address_of_the_sites_pods_that_nobody_has_is_not_there(known: Known, names: Names):
    known.directory.put(Key("nodes", "", NODE), {"metadata": {"name": NODE}, "spec": {"podCIDRs": ["10.1.0.0/24"]}})
    reply = names.answer(parse_query(question_of(1, "5.0.1.10.in-addr.arpa", PTR)))
    assert reply is not None and reply.code == NXDOMAIN and reply.authority
    assert names.answer(parse_query(question_of(1, "5.1.1.10.in-addr.arpa", PTR))) is None


async def test_an_alias_is_followed_to_its_addresses(stage: Stage):
    stage.known.put(
        service("far", "", type="ExternalName", externalName="example.com"),
        service("near", "", type="ExternalName", externalName="web.d.svc.cluster.local"),
        service("round", "", type="ExternalName", externalName="round.d.svc.cluster.local"),
        service("web"),
    )
    alias = name_record(name_of("example.com"), CNAME, name_of("www.example.com"), 60)
    stage.others.answers["example.com"] = Reply(
        answers=(alias, address_record(name_of("www.example.com"), "1.2.3.4", 60))
    )
    assert types(await stage.ask("far.d.svc.cluster.local")) == [CNAME, CNAME, A]
    assert types(await stage.ask("near.d.svc.cluster.local")) == [CNAME, A]
    assert set(types(await stage.ask("round.d.svc.cluster.local"))) == {CNAME}
    assert types(await stage.ask("far.d.svc.cluster.local", CNAME)) == [CNAME]
    stage.others.silent = True
    assert types(await stage.ask("near.d.svc.cluster.local")) == [CNAME, A]


async def test_any_of_others_is_refused(stage: Stage):
    assert (await stage.ask("example.com", ANY))[3] & 15 == 5
    assert stage.others.asked == []


async def test_what_does_not_fit_a_datagram_is_asked_for_over_tcp(stage: Stage):
    stage.known.put(headless("db"), slice_of("db", *(endpoint(f"10.2.0.{number}") for number in range(1, 90))))
    name = "db.d.svc.cluster.local"
    short = await stage.ask(name)
    assert short[2] & 2 and len(short) <= 512 and places(short) == []
    assert len(places(await stage.ask(name, over_tcp=True))) == 89
    wide = await stage.resolving.answer(with_edns(question_of(1, name, A)), over_tcp=False)
    assert wide is not None and wide[2] & 2 and len(places(wide)) == 1


async def test_what_is_no_question_is_refused_or_ignored(stage: Stage):
    answer = stage.resolving.answer
    assert await answer(b"short", over_tcp=False) is None
    assert await answer(b"\0\x01\x80\0\0\x01" + bytes(6), over_tcp=False) is None
    two = HEADER.pack(5, 0x0100, 2, 0, 0, 0)
    assert await answer(two, over_tcp=False) == HEADER.pack(5, 0x8101, 0, 0, 0, 0)
    update = HEADER.pack(5, 5 << 11, 1, 0, 0, 0) + question_of(0, "cluster.local", A)[12:]
    assert (await answer(update, over_tcp=False) or b"")[3] & 15 == 4
    newer = question_of(5, "cluster.local", A)[:10] + b"\0\1" + question_of(5, "cluster.local", A)[12:]
    told = await answer(newer + b"\0" + struct.pack("!HHIH", 41, 1232, 1 << 16, 0), over_tcp=False) or b""
    assert told[3] & 15 == 0 and places(told)[0].ttl >> 24 == BADVERS >> 4
    chaos = question_of(5, "version.bind", TXT)[:-2] + b"\0\x03"
    assert (await answer(chaos, over_tcp=False) or b"")[3] & 15 == 5


@given(st.binary(max_size=80))
async def test_no_bytes_upset_it(data: bytes):
    known = Known()
    known.put(service("web"), pod("a", "10.1.0.1"))
    stage = Stage(known, Names(known.directory, ZONE, lambda: 7))
    for message in (data, HEADER.pack(1, 0x0100, 1, 0, 0, 0) + data, HEADER.pack(1, 0x0100, 1, 0, 0, 1) + data):
        answer = await stage.resolving.answer(message, over_tcp=False)
        assert answer is None or len(answer) <= 1232


@given(st.binary(max_size=120))
def test_no_answer_of_others_upsets_it(data: bytes):
    for message in (data, HEADER.pack(1, 0x8180, 0, 1, 0, 0) + data):
        assert ttl_of(message) >= 0
        try:
            places(message)
        except MalformedError:
            continue


def first(message: bytes | None) -> str:
    assert message is not None
    place = places(message)[0]
    return str(ipaddress.ip_address(message[place.data_at : place.data_at + place.size]))


async def test_answers_from_the_directory_are_ready_and_follow_it(stage: Stage):
    stage.known.put(service("web"))
    asked = question_of(5, "web.d.svc.cluster.local", A)
    at_once = stage.resolving.at_once
    assert first(at_once(asked)) == first(at_once(b"\0\6" + asked[2:])) == "10.96.0.7"
    assert (at_once(b"\0\6" + asked[2:]) or b"")[:2] == b"\0\6"
    assert at_once(asked) == await stage.resolving.answer(asked, over_tcp=False)
    stage.known.put(service("web", "10.96.0.8"))
    assert first(at_once(asked)) == "10.96.0.8"
    stage.known.directory.delete(Key("services", "d", "web"))
    assert (at_once(asked) or b"")[3] & 15 == NXDOMAIN


async def test_each_of_a_headless_services_pods_is_first_in_turn(stage: Stage):
    stage.known.put(headless("db"), slice_of("db", *(endpoint(f"10.2.0.{number}") for number in range(1, 4))))
    asked = question_of(5, "db.d.svc.cluster.local", A)
    firsts = [first(stage.resolving.at_once(asked)) for _ in range(6)]
    assert sorted(firsts[:3]) == ["10.2.0.1", "10.2.0.2", "10.2.0.3"] and firsts[:3] == firsts[3:]
    stage.known.directory.gone = frozenset({"n2"})
    assert places(stage.resolving.at_once(asked) or b"")[0].type == 6, "nobody is left"


async def test_who_has_to_be_waited_for_is_not_answered_at_once(stage: Stage):
    stage.known.put(service("far", "", type="ExternalName", externalName="example.com"))
    stage.others.answers["example.com"] = Reply(answers=(address_record(name_of("example.com"), "1.2.3.4", 60),))
    for name in ("example.com", "far.d.svc.cluster.local"):
        assert stage.resolving.at_once(question_of(5, name, A)) is None
        await stage.ask(name)
    assert first(stage.resolving.at_once(question_of(5, "example.com", A))) == "1.2.3.4"
    stage.clock.advance(60)
    assert stage.resolving.at_once(question_of(5, "example.com", A)) is None


def test_names_of_chance_take_no_room_for_good(known: Known, names: Names):
    known.put(service("web"))
    ready = ReadyAnswers(lambda: names.generation)
    for number in range(3000):
        packet = question_of(number, f"n{number}.d.svc.cluster.local", A)
        ready.put(packet, [packet + bytes(100)])
        assert len(ready) <= ANSWERS_MAX and ready.size_bytes <= BYTES_MAX
        assert ready.get(packet) == packet + bytes(100)
    ready.put(b"\0\1" + bytes(400), [bytes(400)])
    assert ready.get(b"\0\1" + bytes(400)) is None


def test_a_namespace_is_there_while_something_is_in_it(known: Known, names: Names):
    known.put(service("web"), service("web"), pod("a", "10.1.0.1"))
    for resource, name, there in (("services", "web", 0), ("services", "web", 0), ("pods", "a", NXDOMAIN)):
        known.directory.delete(Key(resource, "d", name))
        assert code(names, "d.svc.cluster.local") == there


def test_the_cache_is_bounded_in_number_and_bytes():
    cache = AnswerCache(answers_max=3, bytes_max=200)
    for number in range(20):
        name = f"{number}.com"
        query = parse_query(question_of(1, name, A))
        reply = Reply(answers=(address_record(name_of(name), "1.2.3.4", 60),))
        cache.put((name_of(name), A, IN, 0), encode(query, reply, bytes_max=512), 0.0)
        assert len(cache) <= 3 and cache.size_bytes <= 200
    assert cache.get((name_of("19.com"), A, IN, 0), 9, 0.0) is not None
    assert cache.get((name_of("0.com"), A, IN, 0), 9, 0.0) is None


def test_a_resolv_conf_is_read_as_the_c_library_reads_it():
    text = "# x\nnameserver 1.1.1.1 # y\nnameserver nonsense\nsearch a b\nsearch lan\noptions ndots:2\n; z\n"
    text += "nameserver fe80::1%eth0\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n"
    read = parse_resolv_conf(text)
    assert (read.servers, read.searches) == (("1.1.1.1", "fe80::1%eth0", "2.2.2.2"), ("lan",))
