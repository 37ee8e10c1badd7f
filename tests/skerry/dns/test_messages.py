"""Messages that were made by dnspython are read, and what is written dnspython reads."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.dns.answers import addresses_in, code_of, is_answer_to, is_truncated, is_unable
from skerry.dns.edns import opt_record
from skerry.dns.names import name_of, read_name, text_of
from skerry.dns.numbers import CNAME, HEADER, HEADER_SIZE, IN, MX, QR, SERVFAIL, SOA, SRV, A, MalformedError
from skerry.dns.queries import parse_query, question
from skerry.dns.records import Record, Writer, places

LABELS = st.lists(st.binary(min_size=1, max_size=20), max_size=8)


def wire(parts: list[bytes]) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def answer_to(name: str, *rrsets: dns.rrset.RRset) -> bytes:
    made = dns.message.make_response(dns.message.make_query(name, "A", id=7))
    made.answer += rrsets
    return made.to_wire()


@given(LABELS, LABELS)
def test_names_are_read_whole_and_behind_pointers(first: list[bytes], second: list[bytes]) -> None:
    packet = bytes(HEADER_SIZE) + wire(first) + wire(second)[:-1] + bytes([0xC0, HEADER_SIZE])
    begin = HEADER_SIZE + len(wire(first))
    assert read_name(packet, HEADER_SIZE) == (wire(first), begin)
    whole = wire([*second, *first])
    if len(whole) > 255:
        with pytest.raises(MalformedError):
            read_name(packet, begin)
    else:
        assert read_name(packet, begin) == (whole, len(packet))


@pytest.mark.parametrize(
    "data",
    [b"", b"\3ab", b"\xc0", b"\xc0\x0c", b"\1a\xc0\x0c", b"\x40a\0", b"\xc0\xff", (b"\x3f" + b"a" * 63) * 4 + b"\0"],
    ids=str,
)
def test_a_name_that_leads_nowhere_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_name(bytes(HEADER_SIZE) + data, HEADER_SIZE)


@given(st.binary(max_size=100), st.integers(0, 110))
def test_no_bytes_lead_a_reader_round_in_circles(data: bytes, position: int) -> None:
    try:
        name, end = read_name(data, position)
    except MalformedError:
        return
    assert len(name) <= 255 and position < end <= len(data)
    assert name_of(text_of(name)) == name


@given(st.binary(max_size=120))
def test_no_answer_upsets_a_reader(data: bytes) -> None:
    for message in (data, HEADER.pack(1, 0x8180, 0, 1, 0, 0) + data, HEADER.pack(1, 0x8180, 1, 1, 0, 1) + data):
        assert is_answer_to(message, question(1, b"\0", A)) in (True, False)
        assert 0 <= code_of(message) <= 15
        for read in (places, parse_query, addresses_in):
            try:
                if len(message) >= HEADER_SIZE:
                    read(message)
            except MalformedError:
                continue


def test_a_query_of_ours_is_one_to_others_and_to_ourselves() -> None:
    sent = question(9, name_of("www.Example.com"), A)
    read = dns.message.from_wire(sent)
    assert (read.id, read.flags, read.question[0].name.to_text()) == (9, dns.flags.RD, "www.Example.com.")
    query = parse_query(sent)
    assert (query.name, query.type, query.cls, query.opt) == (name_of("www.example.com"), A, IN, None)


def test_edns_is_read_and_answered() -> None:
    asked = dns.message.make_query("a.example", "A", use_edns=0, payload=4096, want_dnssec=True)
    opt = parse_query(asked.to_wire()).opt
    assert opt is not None and (opt.size, opt.version, opt.dnssec) == (4096, 0, True)
    head = HEADER.pack(1, QR, 1, 0, 0, 1)
    told = dns.message.from_wire(head + asked.to_wire()[12:-11] + opt_record(opt, extended_rcode=1, options=[]))
    assert told.edns == 0 and told.payload == 1232 and told.ednsflags & dns.flags.DO and told.rcode() == 16


def test_records_are_written_as_others_read_them_with_names_compressed() -> None:
    owner, target = name_of("a.example"), name_of("mail.a.example")
    records = [
        Record(owner=owner, type=A, ttl=60, rdata=bytes([192, 0, 2, 1])),
        Record(owner=name_of("A.example"), type=CNAME, ttl=5, rdata=target),
        Record(owner=owner, type=MX, ttl=5, rdata=b"\0\x0a" + target),
        Record(owner=target, type=SRV, ttl=5, rdata=b"\0\0\0\1\0\x50" + target),
        Record(owner=name_of("example"), type=SOA, ttl=5, rdata=target + owner + bytes(20)),
    ]
    writer = Writer(owner)
    assert sum(writer.record(each) for each in records) == len(records)
    message = HEADER.pack(1, QR, 1, len(records), 0, 0) + question(1, owner, A)[12:] + bytes(writer.out)
    read = dns.message.from_wire(message)
    assert len(read.answer) == 5 and str(read.answer[2][0]) == "10 mail.a.example."
    assert [(each.type, each.ttl) for each in places(message)] == [(each.type, each.ttl) for each in records]
    assert message.count(b"\7example") == 2, "in the question, and in the SRV, whose name is never compressed"


def test_an_answer_is_told_from_others() -> None:
    query = question(7, name_of("Www.example.com"), A)
    answer = answer_to("www.EXAMPLE.com")
    assert is_answer_to(answer, query)
    assert not is_answer_to(answer, b"\0\x08" + query[2:])
    assert not is_answer_to(query, query)
    assert not is_answer_to(answer, question(7, name_of("xww.example.com"), A))
    assert not is_answer_to(answer, question(7, name_of("www.example.com"), 33))
    unable = answer[:3] + bytes([SERVFAIL]) + answer[4:]
    assert is_unable(unable) and code_of(unable) == SERVFAIL and not is_unable(answer)
    assert is_truncated(answer[:2] + b"\x82" + answer[3:]) and not is_truncated(answer)


def test_addresses_come_with_the_aliases_that_lead_to_them() -> None:
    alias = dns.rrset.from_text("www.example.com.", 60, "IN", "CNAME", "web.example.com.")
    address = dns.rrset.from_text("web.example.com.", 30, "IN", "A", "192.0.2.7", "192.0.2.8")
    found = addresses_in(answer_to("www.example.com", alias, address))
    assert [(text_of(each.owner), each.type, each.ttl) for each in found] == [
        ("www.example.com.", CNAME, 60),
        ("web.example.com.", A, 30),
        ("web.example.com.", A, 30),
    ]
    assert found[0].rdata == name_of("web.example.com") and {each.rdata[3] for each in found[1:]} == {7, 8}
