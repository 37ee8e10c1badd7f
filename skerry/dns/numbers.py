"""The numbers of DNS, and the error for messages that break its rules (RFC 1035, 6891). Keeps nothing."""

from __future__ import annotations

import struct
from typing import Final

from skerry.errors import ProtocolError

HEADER: Final = struct.Struct("!HHHHHH")
QUESTION_TAIL: Final = struct.Struct("!HH")
RECORD_TAIL: Final = struct.Struct("!HHIH")
OPTION: Final = struct.Struct("!HH")
HEADER_SIZE: Final = 12

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
CD: Final = 0x0010
OPCODE_MASK: Final = 0x7800
DO: Final = 0x8000

QUERY: Final = 0
NOTIFY: Final = 4
UPDATE: Final = 5

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
YXDOMAIN: Final = 6
NOTAUTH: Final = 9
BADVERS: Final = 16
BADCOOKIE: Final = 23
RCODES: Final = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
    YXDOMAIN: "YXDOMAIN",
    NOTAUTH: "NOTAUTH",
    BADVERS: "BADVERS",
    BADCOOKIE: "BADCOOKIE",
}

IN: Final = 1
CHAOS: Final = 3

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
MX: Final = 15
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
DNAME: Final = 39
OPT: Final = 41
DS: Final = 43
RRSIG: Final = 46
NSEC: Final = 47
DNSKEY: Final = 48
SVCB: Final = 64
HTTPS: Final = 65
TKEY: Final = 249
TSIG: Final = 250
IXFR: Final = 251
AXFR: Final = 252
MAILB: Final = 253
MAILA: Final = 254
ANY: Final = 255

NSID: Final = 3
CLIENT_SUBNET: Final = 8
COOKIE: Final = 10
KEEPALIVE: Final = 11
PADDING: Final = 12
EXTENDED_ERROR: Final = 15


class MalformedError(ProtocolError):
    """The bytes are no DNS message that could be understood; a query is answered with FORMERR where it has a
    header."""
