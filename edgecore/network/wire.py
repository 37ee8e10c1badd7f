"""DNS messages: questions in, answers out (RFC 1035, EDNS of RFC 6891). Pure.

dnspython would cost a gateway's agent some megabytes for what these few forms need; others' answers are passed on as
they are, but for their number and their times. A message that breaks the rules raises `MessageError`.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import Final

from skerry.errors import SkerryError
from skerry.frozen import Frozen

A: Final = 1
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
OPT: Final = 41
ANY: Final = 255
IN: Final = 1

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5

HEADER: Final = struct.Struct("!HHHHHH")
_FIXED: Final = struct.Struct("!HHIH")
_RESPONSE: Final = 0x8000
_AUTHORITATIVE: Final = 0x0400
_TRUNCATED: Final = 0x0200
_RECURSION_DESIRED: Final = 0x0100
_RECURSION_AVAILABLE: Final = 0x0080
UDP_BYTES_MIN: Final = 512
"""What any client takes (RFC 1035 section 4.2.1)."""
UDP_BYTES_MAX: Final = 1232
"""What is sent in one datagram at most, whatever a client says it takes: it passes every link unbroken."""
NAME_BYTES_MAX: Final = 255
_POINTERS_MAX: Final = 32
"""Followed in one name: more is a circle."""


class MessageError(SkerryError):
    """The bytes are no DNS message."""


class Query(Frozen):
    """One question."""

    id: int
    opcode: int
    wants_recursion: bool
    name: str
    """In lower case, without the last dot; labels are latin-1."""
    type: int
    kind: int
    """Its class."""
    question: bytes
    """As it was asked, case and all: answers repeat it."""
    udp_bytes: int
    """What the client takes in one datagram."""
    edns: bool


class Record(Frozen):
    """One record of an answer; `data` as it is on the wire, with names uncompressed."""

    name: str
    type: int
    ttl_s: int
    data: bytes


class Reply(Frozen):
    """What is to be said. The first record's name is the question's own."""

    code: int = NOERROR
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    extra: tuple[Record, ...] = ()
    authoritative: bool = True


def parse_query(data: bytes) -> Query:
    """Raises `MessageError` for what is no question."""
    if len(data) < HEADER.size:
        raise MessageError("shorter than a header")
    number, flags, questions, _answers, _authority, _extra = HEADER.unpack_from(data)
    if flags & _RESPONSE:
        raise MessageError("an answer, not a question")
    if questions != 1:
        raise MessageError(f"{questions} questions")
    name, at = read_name(data, HEADER.size)
    if at + 4 > len(data):
        raise MessageError("ends in its question")
    type_, kind = struct.unpack_from("!HH", data, at)
    udp_bytes = _edns_of(data)
    return Query(
        id=number,
        opcode=flags >> 11 & 15,
        wants_recursion=bool(flags & _RECURSION_DESIRED),
        name=name.lower(),
        type=type_,
        kind=kind,
        question=data[HEADER.size : at + 4],
        udp_bytes=min(max(udp_bytes, UDP_BYTES_MIN), UDP_BYTES_MAX),
        edns=udp_bytes > 0,
    )


def _edns_of(data: bytes) -> int:
    """The datagram size that the OPT record says; 0 without one."""
    for type_, kind, _ttl_at, _data_at, _length in records_in(data):
        if type_ == OPT:
            return max(kind, 1)  # its class is the size
    return 0


def records_in(data: bytes) -> list[tuple[int, int, int, int, int]]:
    """Every record of a message: type, class, where its TTL is, where its data are, their length. Raises
    `MessageError`."""
    if len(data) < HEADER.size:
        raise MessageError("shorter than a header")
    _, _, questions, *counts = HEADER.unpack_from(data)
    at = HEADER.size
    for _ in range(questions):
        at = read_name(data, at)[1] + 4
    found: list[tuple[int, int, int, int, int]] = []
    for _ in range(sum(counts)):
        at = read_name(data, at)[1]
        if at + _FIXED.size > len(data):
            raise MessageError("ends in a record")
        type_, kind, _ttl, length = _FIXED.unpack_from(data, at)
        if at + _FIXED.size + length > len(data):
            raise MessageError("ends in a record's data")
        found.append((type_, kind, at + 4, at + _FIXED.size, length))
        at += _FIXED.size + length
    return found


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """The name at `at` without its last dot, and where the next thing begins. Raises `MessageError`."""
    labels: list[str] = []
    end = 0
    size = pointers = 0
    while True:
        if at >= len(data):
            raise MessageError("ends in a name")
        length = data[at]
        if length >= 0xC0:
            pointers += 1
            if at + 1 >= len(data) or pointers > _POINTERS_MAX:
                raise MessageError("a name that leads nowhere")
            end = end or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
            continue
        if length >= 0x40:
            raise MessageError("a label of an unknown kind")
        if length == 0:
            return ".".join(labels), end or at + 1
        size += length + 1
        if at + 1 + length > len(data) or size >= NAME_BYTES_MAX:
            raise MessageError("a name that is too long")
        label = data[at + 1 : at + 1 + length]
        labels.append(label.decode("latin-1").replace(".", "\\."))
        at += 1 + length


def is_name(name: str) -> bool:
    """Whether it can be written in a message."""
    parts = name.split(".")
    return len(name) < NAME_BYTES_MAX - 1 and name.isascii() and all(0 < len(part) < 64 for part in parts)


def name_bytes(name: str) -> bytes:
    """A name on the wire, uncompressed. Its labels are ours, or were read by `read_name`."""
    parts = [label.replace("\\.", ".") for label in _labels(name)]
    return b"".join(bytes((len(part.encode("latin-1")),)) + part.encode("latin-1") for part in parts) + b"\0"


def _labels(name: str) -> Sequence[str]:
    return [part.replace("\0", "\\.") for part in name.replace("\\.", "\0").split(".") if part]


def address_record(name: str, address: str, ttl_s: int) -> Record:
    """A or AAAA."""
    packed = ipaddress.ip_address(address).packed
    return Record(name=name, type=A if len(packed) == 4 else AAAA, ttl_s=ttl_s, data=packed)


def name_record(name: str, type_: int, target: str, ttl_s: int) -> Record:
    """CNAME or PTR."""
    return Record(name=name, type=type_, ttl_s=ttl_s, data=name_bytes(target))


def service_record(name: str, target: str, port: int, *, weight: int, ttl_s: int) -> Record:
    return Record(name=name, type=SRV, ttl_s=ttl_s, data=struct.pack("!HHH", 0, weight, port) + name_bytes(target))


def text_record(name: str, text: str, ttl_s: int) -> Record:
    return Record(name=name, type=TXT, ttl_s=ttl_s, data=bytes((len(text),)) + text.encode())


def authority_record(zone: str, serial: int, ttl_s: int) -> Record:
    """The zone's SOA: how long it holds that a name is not there."""
    data = name_bytes(f"ns.dns.{zone}") + name_bytes(f"hostmaster.{zone}")
    return Record(
        name=zone, type=SOA, ttl_s=ttl_s, data=data + struct.pack("!IIIII", serial, 7200, 1800, 86400, ttl_s)
    )


def encode(query: Query, reply: Reply, *, bytes_max: int) -> bytes:
    """The answer. What does not fit is left out, and the client told to ask over TCP."""
    flags = _RESPONSE | query.opcode << 11 | _RECURSION_AVAILABLE | reply.code
    flags |= _AUTHORITATIVE if reply.authoritative else 0
    flags |= _RECURSION_DESIRED if query.wants_recursion else 0
    opt = b"\0" + _FIXED.pack(OPT, UDP_BYTES_MAX, 0, 0) if query.edns else b""
    sections = (reply.answers, reply.authority, reply.extra)
    bodies = [[_encoded(record, query.name) for record in section] for section in sections]
    if _size(query, bodies, opt) > bytes_max:
        bodies[2] = []  # addresses beside an SRV are a favour, no answer
    if _size(query, bodies, opt) > bytes_max:
        bodies = [bodies[2], bodies[2], bodies[2]]
        flags |= _TRUNCATED
    counts = [len(section) for section in bodies]
    counts[2] += 1 if opt else 0
    head = HEADER.pack(query.id, flags, 1, *counts)
    return b"".join((head, query.question, *(body for section in bodies for body in section), opt))


def _size(query: Query, bodies: Sequence[Sequence[bytes]], opt: bytes) -> int:
    return HEADER.size + len(query.question) + sum(len(body) for section in bodies for body in section) + len(opt)


def _encoded(record: Record, asked: str) -> bytes:
    # The name that was asked for is in the question, at a place that never moves.
    name = b"\xc0\x0c" if record.name == asked else name_bytes(record.name)
    return name + _FIXED.pack(record.type, IN, record.ttl_s, len(record.data)) + record.data


def question_of(number: int, name: str, type_: int) -> bytes:
    """A question of our own, as others are asked."""
    return HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 0) + name_bytes(name) + struct.pack("!HH", type_, IN)


def code_of(data: bytes) -> int:
    """The code of an answer."""
    return HEADER.unpack_from(data)[1] & 15


def is_unable(data: bytes) -> bool:
    """Whether an answer says no more than that this server can't or won't tell."""
    return code_of(data) in (SERVFAIL, REFUSED)


def is_truncated(data: bytes) -> bool:
    return bool(HEADER.unpack_from(data)[1] & _TRUNCATED)


def is_answer_to(data: bytes, query: bytes) -> bool:
    """Whether it is: the same number, and the same question whatever its case."""
    try:
        if data[:2] != query[:2] or not HEADER.unpack_from(data)[1] & _RESPONSE:
            return False
        asked, answered = parse_query(query), read_name(data, HEADER.size)
    except (MessageError, struct.error):
        return False
    return answered[0].lower() == asked.name and data[answered[1] : answered[1] + 4] == asked.question[-4:]


def addresses_in(data: bytes) -> list[Record]:
    """The addresses in an answer, and the aliases that lead to them; in order. Raises `MessageError`."""
    _, _, questions, answers, _, _ = HEADER.unpack_from(data)
    at = HEADER.size
    for _ in range(questions):
        at = read_name(data, at)[1] + 4
    found: list[Record] = []
    for type_, kind, ttl_at, data_at, length in records_in(data)[:answers]:
        name, _ = read_name(data, at)
        at = data_at + length
        if kind != IN or type_ not in (A, AAAA, CNAME):
            continue
        (ttl_s,) = struct.unpack_from("!I", data, ttl_at)
        held = data[data_at : data_at + length]
        body = name_bytes(read_name(data, data_at)[0]) if type_ == CNAME else held
        found.append(Record(name=name.lower(), type=type_, ttl_s=ttl_s & 0x7FFFFFFF, data=body))
    return found


def refusal(data: bytes, code: int) -> bytes:
    """An answer to what could not be read: its number and a code, and nothing else."""
    number, flags = struct.unpack_from("!HH", data)
    return HEADER.pack(number, _RESPONSE | flags & 0x7900 | code, 0, 0, 0, 0)
