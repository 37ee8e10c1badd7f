"""What other servers' answers say. Pure, keeps nothing; bytes that are no answer raise `MalformedError`."""

from __future__ import annotations

from skerry.dns.names import read_name
from skerry.dns.numbers import AAAA, CNAME, HEADER, HEADER_SIZE, IN, QR, REFUSED, SERVFAIL, TC, A, MalformedError
from skerry.dns.queries import question_end
from skerry.dns.records import Record, places


def code_of(answer: bytes) -> int:
    """Its RCODE; of what is no answer, that nobody could tell."""
    return answer[3] & 15 if len(answer) >= HEADER_SIZE else SERVFAIL


def is_unable(answer: bytes) -> bool:
    """Whether it says no more than that this server can't or won't tell."""
    return code_of(answer) in (SERVFAIL, REFUSED)


def is_truncated(answer: bytes) -> bool:
    return bool(int.from_bytes(answer[2:4], "big") & TC)


def is_answer_to(answer: bytes, query: bytes) -> bool:
    """Whether it is: the same number, and the same question whatever its case (RFC 5452 section 4)."""
    if len(answer) < HEADER_SIZE or answer[:2] != query[:2] or not int.from_bytes(answer[2:4], "big") & QR:
        return False
    try:
        end = question_end(query)
        if answer[4:6] != b"\0\x01" or question_end(answer) != end:
            return False
    except MalformedError:
        return False
    name = slice(HEADER_SIZE, end - 4)
    return answer[name].lower() == query[name].lower() and answer[end - 4 : end] == query[end - 4 : end]


def addresses_in(answer: bytes) -> list[Record]:
    """The addresses that it tells of, and the aliases that lead to them; in order."""
    found: list[Record] = []
    _, _, _, count, _, _ = HEADER.unpack_from(answer)
    for each in places(answer)[:count]:
        if each.cls != IN or each.type not in (A, AAAA, CNAME):
            continue
        data = answer[each.data_at : each.data_at + each.size]
        rdata = read_name(answer, each.data_at)[0] if each.type == CNAME else data
        owner = read_name(answer, each.name_at)[0].lower()
        found.append(Record(owner=owner, type=each.type, ttl=each.ttl & 0x7FFFFFFF, rdata=rdata))
    return found
