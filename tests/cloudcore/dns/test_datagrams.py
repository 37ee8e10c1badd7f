"""Packets through a socket: which answers are ready the second time, and which must not be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import dns.message
import yaml

from cloudcore.dns.counts import Counts, shared_memory
from cloudcore.dns.datagrams import READY_BYTES_MAX, READY_MAX, Datagrams, datagram_socket
from cloudcore.dns.recent import Recent
from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.servicefile import services_of
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_records, with_services
from skerry.dns.names import name_of
from skerry.probing.monitor import Counter
from tests.cloudcore.dns.conftest import option

WAIT_S = 20
ORIGIN = name_of("example.com")
HEAD = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\nmail 60 A 192.0.2.2\n"
SERVICES = """
orders: {default: [fra, iad]}
services:
  www: {policy: failover, endpoints: [{address: 203.0.113.1, region: fra}, {address: 203.0.113.2, region: iad}],
    probe: {type: TCP, port: 80}}
"""


class Served:
    def __init__(self, client: socket.socket, counts: Counts) -> None:
        self._client = client
        self.counts = counts

    def ask(self, name: str, kind: str = "A", **more: Any) -> dns.message.Message:
        query = dns.message.make_query(name, kind, **more)
        self._client.send(query.to_wire(max_size=65535))
        answer = dns.message.from_wire(self._client.recv(4096))
        assert query.is_response(answer)
        assert answer.question[0].name.labels == query.question[0].name.labels, "letters of the question"
        return answer

    def ask_all(self, queries: Sequence[bytes]) -> None:
        """A few at a time, whatever is said."""
        for begin in range(0, len(queries), 32):
            batch = queries[begin : begin + 32]
            for each in batch:
                self._client.send(each)
            for _ in batch:
                assert len(self._client.recv(4096)) > 1000

    def ready_after(self, name: str, **more: Any) -> int:
        """How many of two answers to the same were there already."""
        before = self.counts.ready
        self.ask(name, **more)
        self.ask(name, **more)
        # What is counted of a batch is counted before its answers go out.
        return self.counts.ready - before


@contextmanager
def served(desk: Desk) -> Generator[Served]:
    with (
        datagram_socket("127.0.0.1", 0) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        closing(Recent()) as recent,
    ):
        client.settimeout(WAIT_S)
        client.connect(udp.getsockname())
        counts = Counts(shared_memory(1), 0)
        datagrams = Datagrams(udp, Responder(desk), counts, recent)
        thread = threading.Thread(target=datagrams.run)
        thread.start()
        try:
            yield Served(client, counts)
        finally:
            datagrams.stop()
            client.send(b"wake")
            thread.join(WAIT_S)
            assert not thread.is_alive()


def zone() -> Zone:
    return with_services(parse_records(HEAD, ORIGIN), ORIGIN, services_of(yaml.safe_load(SERVICES), ORIGIN))


def test_what_a_query_carries_in_vain_is_not_kept() -> None:
    with served(Desk(zones={ORIGIN: zone()})) as server:
        assert server.ready_after("mail.example.com", use_edns=0) == 1
        vain = [option(65001, bytes(3900))]
        assert server.ready_after("mail.example.com", use_edns=0, options=vain) == 0


def test_ready_answers_have_a_bound_in_bytes_and_are_made_again_beyond_it() -> None:
    """Queries that differ in what size they offer alone are as many as there are sizes, and each is kept."""
    big, texts = ".".join("x" * 63 for _ in range(3)), " ".join('"' + "x" * 240 + '"' for _ in range(4))
    records = parse_records(HEAD + f"{big} 60 TXT {texts}\n", ORIGIN)
    with served(Desk(zones={ORIGIN: with_services(records, ORIGIN, {})})) as server:

        def query(size: int) -> bytes:
            return dns.message.make_query(f"{big}.example.com", "TXT", id=7, use_edns=0, payload=size).to_wire()

        template = query(0xABCD)
        queries = [template.replace(b"\xab\xcd", size.to_bytes(2, "big")) for size in range(1232, 65536)]
        kept = READY_BYTES_MAX // (2 * len(template) + 960) + 1
        assert kept < len(queries) < READY_MAX
        server.ask_all(queries[:1000])
        server.ask_all(queries[:1])
        assert server.counts.ready == 1
        server.ask_all(queries[1000:kept])
        server.ask_all(queries[:1])
        assert server.counts.ready == 1, "all were forgotten meanwhile"
        server.ask_all(queries[kept - 100 : kept])
        assert server.counts.ready > 1, "and those that came since are kept"


def test_the_longest_name_with_a_client_subnet_is_ready_the_second_time() -> None:
    long = ".".join("x" * 63 for _ in range(3)) + "." + "y" * 49
    records = parse_records(HEAD + f"{long} 60 A 192.0.2.3\n", ORIGIN)
    subnet = [option(8, b"\0\2\x80\0" + bytes(16))]
    with served(Desk(zones={ORIGIN: with_services(records, ORIGIN, {})})) as server:
        assert server.ready_after(long + ".example.com", use_edns=0, options=subnet) == 1


def test_what_depends_on_who_is_up_is_made_again_when_that_changes() -> None:
    there = zone()
    table = HealthTable.of_zones({ORIGIN: there})
    with served(Desk(zones={ORIGIN: there}, health=table)) as server:

        def address(name: str, **more: Any) -> str:
            return str(server.ask(name, **more).answer[0][0])

        subnet = [option(8, b"\0\1\x18\0\xc0\0\2")]
        for more in ({}, {"use_edns": 0}, {"use_edns": 0, "options": subnet}):
            for down, last in ((False, 1), (True, 2), (False, 1)):
                table.set_verdict(next(iter(table.slots)), down=down, unsure=False, counter=Counter())
                for name in ("www.example.com", "www.example.com", "wWw.eXample.COM", "www.example.com"):
                    assert address(name, **more) == f"203.0.113.{last}"
                    assert address("mail.example.com", **more) == "192.0.2.2"


def test_answers_that_depend_on_who_is_up_are_ready_meanwhile() -> None:
    there = zone()
    with served(Desk(zones={ORIGIN: there}, health=HealthTable.of_zones({ORIGIN: there}))) as server:
        assert server.ready_after("www.example.com") == 1
        assert server.ready_after("WWW.example.com") == 2, "in other letters"
