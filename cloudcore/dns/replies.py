"""One answer, from what was asked to its bytes: what is gathered on the way, and how much room it has. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from cloudcore.dns.assembly import Body
from cloudcore.dns.lookup import Asked
from cloudcore.dns.options import (
    Subnet,
    extended_error,
    padding,
)
from cloudcore.dns.tsig import Signature, Signer
from skerry.dns.edns import SIZE, opt_record
from skerry.dns.numbers import (
    CD,
    CLIENT_SUBNET,
    HEADER,
    HEADER_SIZE,
    OPCODE_MASK,
    PADDING,
    QR,
    RD,
    TC,
    MalformedError,
)
from skerry.dns.queries import Query, question_end
from skerry.frozen import Frozen

UDP_PLAIN_MAX: Final = 512
STREAM_MAX: Final = 65535
Transport = Literal["udp", "tcp", "tls"]


class Client(Frozen):
    """Who asked, and over what."""

    address: bytes
    """Packed: 4 or 16 bytes."""
    transport: Transport


class Reply(Frozen):
    """What goes back."""

    data: bytes
    rcode: int
    lasting: bool = False
    """The same bytes would be answered the same, whoever asks, as long as the responder lives."""
    truncated: bool = False
    limited: bool = False
    steered: bool = False
    """Whether it depends on who is up."""
    notified: bytes = b""
    """A zone that is a copy of ours and may have changed."""
    more: Iterator[bytes] | None = None
    """Messages that follow, of a transfer over a stream."""


class Draft:
    """What is gathered for one answer."""

    def __init__(self, query: Query, client: Client, now_s: float) -> None:
        self.query = query
        self.client = client
        self.now_s = now_s
        self.signature: Signature | None = None
        self.subnet: Subnet | None = None
        self.options: list[tuple[int, bytes]] = []
        self.lasting = client.transport == "udp"
        self.has_cookie = False
        self.proven = False
        self.limited = False
        self.steered = False

    def asked(self) -> Asked:
        query = self.query
        wants = query.opt is not None and query.opt.dnssec
        proven = self.proven or self.client.transport != "udp"
        return Asked(name=query.name, kind=query.type, now_s=self.now_s, wants=wants, proven=proven)

    def explain(self, code: int, text: str = "") -> None:
        if self.query.opt is not None:
            self.options.append(extended_error(code, text))

    def scope(self, bits: int) -> None:
        """How much of the client's subnet the answer depends on."""
        assert self.subnet is not None, "a scope is of a subnet"
        self.options = [
            (code, self.subnet.option(bits) if code == CLIENT_SUBNET else data) for code, data in self.options
        ]

    def room(self) -> int:
        """Bytes for the sections."""
        taken = HEADER_SIZE + len(self.query.question)
        if self.query.opt is not None:
            taken += 11 + sum(4 + len(data) for _, data in self.options)
        if self.signature is not None:
            taken += self.signature.size
        return self.size_max() - taken

    def size_max(self) -> int:
        if self.client.transport != "udp":
            return STREAM_MAX
        if self.query.opt is None:
            return UDP_PLAIN_MAX
        return min(max(self.query.opt.size, UDP_PLAIN_MAX), SIZE)

    def reply(self, rcode: int, body: Body, *, flags: int) -> Reply:
        query = self.query
        opt = b""
        if query.opt is not None:
            options = self.options
            if self.client.transport == "tls" and query.opt.option(PADDING) is not None:
                rest = HEADER_SIZE + len(query.question) + len(body.data) + 11
                rest += sum(4 + len(data) for _, data in options)
                options = [*options, padding(rest)]
            opt = opt_record(query.opt, extended_rcode=rcode >> 4, options=options)
        head = HEADER.pack(
            query.id,
            QR | query.flags & (OPCODE_MASK | RD | CD) | flags | rcode & 15,
            1 if query.question else 0,
            body.answers,
            body.authorities,
            body.additionals + (1 if opt else 0),
        )
        data = head + query.question + body.data + opt
        if self.signature is not None:
            data = Signer(self.signature).signed(data, int(self.now_s))
        return Reply(
            data=data,
            rcode=rcode,
            lasting=self.lasting and not flags & TC,
            truncated=bool(flags & TC),
            limited=self.limited,
            steered=self.steered,
        )


def bare(packet: bytes, rcode: int) -> Reply:
    """For what could not be read: its header, and its question where there is one that can be."""
    identity, flags, questions, *_ = HEADER.unpack_from(packet)
    question = b""
    if questions == 1:
        try:
            question = packet[HEADER_SIZE : question_end(packet)]
        except MalformedError:
            question = b""
    head = HEADER.pack(identity, QR | flags & (OPCODE_MASK | RD | CD) | rcode, 1 if question else 0, 0, 0, 0)
    return Reply(data=head + question, rcode=rcode)
