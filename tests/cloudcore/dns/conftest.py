"""A zone with one of everything, and questions to it."""

from __future__ import annotations

from collections.abc import Sequence

import dns.edns
import dns.message
import pytest

from cloudcore.dns.replies import Client
from cloudcore.dns.responder import Desk, Identity, Responder
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of

ZONE = """
$TTL 3600
@       SOA   ns1 host 7 7200 900 1209600 300
@       NS    ns1
@       NS    ns.sub
@       MX    10 mail
@       HTTPS 1 . alpn=h2
ns1     A     192.0.2.1
mail    A     192.0.2.2
        AAAA  2001:db8::2
www     CNAME mail
out     CNAME elsewhere.test.
nowhere CNAME nobody
deleg   CNAME a.sub
l1      CNAME l2
l2      CNAME l1
*.w     TXT   "hi"
*.wc    CNAME mail
x.y.z   A     192.0.2.3
sub     NS    ns.sub
sub     DS    12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.sub  A     192.0.2.9
d       DNAME other.test.
_s._tcp SRV   0 0 80 mail
big     TXT   "{big}"
own     TYPE65280 \\# 3 abcdef
""".format(big='" "'.join("x" * 250 for _ in range(8)))
HERE = Client(address=b"\x7f\0\0\x01", transport="udp")
STREAM = Client(address=b"\x7f\0\0\x01", transport="tcp")


@pytest.fixture(scope="session")
def zone() -> Zone:
    return parse_zone(ZONE, name_of("example.com"))


@pytest.fixture
def responder(zone: Zone) -> Responder:
    return Responder(Desk(zones={zone.origin: zone}, identity=Identity(nsid="ns-a", version="1")))


def ask(
    responder: Responder, name: str, kind: str = "A", client: Client = HERE, **options: object
) -> dns.message.Message:
    """One question as dnspython makes it; the answer as dnspython reads it."""
    query = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
    reply = responder.reply(query.to_wire(), client, 1000.0)
    assert reply is not None
    answer = dns.message.from_wire(reply.data)
    assert query.is_response(answer)
    return answer


def told(section: Sequence[object]) -> list[str]:
    """Records of a section, sorted, as text without TTL and class."""
    lines = [line for rrset in section for line in str(rrset).splitlines()]
    return sorted(f"{line.split()[0]} {' '.join(line.split()[3:])}" for line in lines)


def option(code: int, data: bytes) -> dns.edns.GenericOption:
    return dns.edns.GenericOption(dns.edns.OptionType.make(code), data)
