"""The same zones and the same questions to Knot, to NSD and to us: what is said must be the same.

Zones and questions come from a seed; a failure names it. Where Knot and NSD differ from each other, one of them must
say what we do.
"""

from __future__ import annotations

import random
import shutil
import socket
import time
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rrset
import pytest

from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of
from tests.cloudcore.dns.conftest import STREAM
from tests.system.dns_peers import knot, nsd

pytestmark = pytest.mark.system

LABELS = ["a", "b", "c", "www", "*", "sub", "x-1", "_tcp", "p\\.q", "\\000\\255", "\\@", "y" * 63]
TYPES = [
    *("A", "AAAA", "TXT", "MX", "CNAME", "NS", "SOA", "DS", "DNAME", "SRV", "HTTPS", "CAA", "PTR", "TYPE65280"),
    *("NAPTR", "TLSA", "SVCB", "LOC", "DNSKEY", "NSEC3PARAM", "TYPE1234"),
]
ZONES = 25
QUESTIONS = 400


def zone_of(seed: int, origin: str) -> str:
    """A sane zone with a lot of odd corners."""
    chance = random.Random(seed)
    lines = ["$TTL 3600", f"@ 7200 SOA ns1 host {seed + 1} 7200 900 1209600 {chance.choice([60, 86400])}"]
    lines += ["@ NS ns1", "ns1 A 192.0.2.1"]
    names = {name for _ in range(chance.randrange(4, 40)) for name in [_name(chance)]} - {"ns1"}
    closed: list[str] = []  # delegated, or renamed
    used: set[str] = {"ns1"}
    for name in sorted(names, key=lambda name: name.count(".")):
        if any(name == other or name.endswith(f".{other}") for other in closed):
            if chance.random() < 0.5 and not any(line.startswith(f"{name} ") for line in lines):
                above = next(other for other in closed if name == other or name.endswith(f".{other}"))
                if above not in RENAMED.get(seed, set()) and name != above:
                    lines.append(f"{name} A 192.0.2.{chance.randrange(200)}")
            continue
        used.add(name)
        wild = "*" in name
        match chance.randrange(10):
            case 0 if not wild:
                closed.append(name)
                lines.append(f"{name} NS ns.{name}")
                lines += [f"ns.{name} A 192.0.2.77"] if chance.random() < 0.7 else []
                lines += [f"{name} NS ns1"] if chance.random() < 0.4 else []
                lines += [f"{name} DS 1 13 2 {'ab' * 32}"] if chance.random() < 0.4 else []
            case 1 if not wild:
                closed.append(name)
                RENAMED.setdefault(seed, set()).add(name)
                target = chance.choice(["other.test.", origin + ".", "a", "deep.er.test."])
                lines.append(f"{name} DNAME {target}")
                lines += [f"{name} TXT renamed"] if chance.random() < 0.5 else []
            case 2 | 3:
                lines.append(f"{name} CNAME {chance.choice([*sorted(names), 'gone', 'far.test.', 'x.y.gone'])}")
            case _:
                lines += [f"{name} {record}" for record in chance.sample(RECORDS, chance.randrange(1, 4))]
    return "\n".join(lines) + "\n"


RENAMED: dict[int, set[str]] = {}
RECORDS = [
    "A 192.0.2.3",
    "A 192.0.2.4",
    "AAAA 2001:db8::1",
    'TXT "one" "two"',
    "MX 5 ns1",
    "MX 6 mx.far.test.",
    "SRV 1 2 80 ns1",
    "HTTPS 1 . alpn=h2",
    'CAA 0 issue "ca.test"',
    "TYPE65280 \\# 4 01020304",
    "PTR a",
    'NAPTR 1 2 "u" "E2U+sip" "!^.*$!sip:a@b!" .',
    "TLSA 3 1 1 " + "ab" * 32,
    "SVCB 1 ns1 alpn=h2,h3 port=53 key667=hello",
    "LOC 42 21 54 N 71 06 18 W -24m 30m",
    'TXT ( "two;semicolons;" \\"quote \\059 )',
]


def _name(chance: random.Random) -> str:
    labels = [chance.choice(LABELS) for _ in range(chance.randrange(1, 5))]
    # A star stands first, where it is a wildcard; elsewhere it is a label that servers need not agree on.
    return ".".join([labels[0], *(label for label in labels[1:] if label != "*")])


def questions(seed: int, origin: str, text: str) -> list[dns.message.QueryMessage]:
    chance = random.Random(seed + 1_000_000)
    there = sorted({line.split()[0] for line in text.splitlines() if not line.startswith(("$", "@"))})
    found: list[dns.message.QueryMessage] = []
    for number in range(QUESTIONS):
        name = chance.choice(there)
        match chance.randrange(6):
            case 0:
                name = f"{chance.choice(LABELS)}.{name}"
            case 1:
                name = name.partition(".")[2] or name
            case 2:
                name = f"zz.{chance.choice(LABELS)}.{name}"
            case 3:
                name = _name(chance)
            case _:
                pass
        whole = f"{name}.{origin}" if chance.random() < 0.95 else chance.choice([origin, "elsewhere.test"])
        whole = "".join(chance.choice([char, char.upper()]) for char in whole)
        if not _is_name(whole):
            continue
        edns = chance.choice([-1, 0])
        found.append(dns.message.make_query(whole, chance.choice(TYPES), id=number, use_edns=edns, payload=1232))
    return found


def _is_name(text: str) -> bool:
    try:
        dns.name.from_text(text)
    except dns.name.NameTooLong:
        return False
    return True


def comparable(answer: dns.message.Message) -> tuple[object, ...]:
    """What must be the same: code, flags, sections as sets with TTLs; letters' case aside, which points into
    questions."""

    def section(rrsets: list[dns.rrset.RRset]) -> list[str]:
        return sorted(f"{r.name} {r.ttl} {r.rdtype} {rdata.to_text()}".lower() for r in rrsets for rdata in r)

    flags = answer.flags & (dns.flags.QR | dns.flags.AA | dns.flags.RD | dns.flags.RA | dns.flags.AD)
    return answer.rcode(), flags, section(answer.answer), section(answer.authority), answer.edns


def ask_peer(port: int, queries: list[dns.message.QueryMessage]) -> list[dns.message.Message]:
    answers: list[dns.message.Message] = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        for begin in range(0, len(queries), 50):
            batch = queries[begin : begin + 50]
            for query in batch:
                dns.query.send_tcp(line, query)
            by_id = {
                answer.id: answer
                for _ in batch
                for answer, _ in [dns.query.receive_tcp(line, expiration=time.time() + 10)]
            }
            answers += [by_id[query.id] for query in batch]
    return answers


HEAD = "$TTL 1h\n@ IN SOA ns1 host ( 1 ; serial\n 2h 15m 2w 1h )\n IN NS ns1\nns1 A 192.0.2.1\n"
LONG = "x" * 63
WRITTEN = {
    # As master files may be written: escapes, names that only look alike, sets over lines, blank owners.
    "esc.example": HEAD + 'a\\.b A 192.0.2.2\n\\097c A 192.0.2.3\nsp\\032ce TXT "q\\"uote" "\\\\back" "\\255"\n'
    "\\*.w TXT literal-star\nq\\@x 1w2d A 192.0.2.4\n\t2h30m IN AAAA ::1\nA\\(b IN 300 A 192.0.2.5\n\\000z TXT nul\n"
    'ml TXT ( "one"\n  "two;not comment" ; comment\n three )\ngen A \\# 4 c0000202\n',
    # Names of 255 bytes, and renamed ones that become longer than that.
    "long.example": HEAD + f"{LONG}.{LONG}.{LONG}.{'y' * 48} A 192.0.2.3\n*.{LONG}.{LONG} TXT wild\n"
    f"{LONG}.d DNAME {LONG}.{LONG}.t.\nq.r DNAME {LONG}.{LONG}.{LONG}.t.\n",
    # Stars within names, below stars, at delegations, and names that stars keep from being (RFC 4592).
    "star.example": HEAD + "a.*.b A 192.0.2.3\n*.b TXT x\n*.*.c A 192.0.2.4\nsub.*.n NS ns.other.test.\n*.n TXT n\n"
    "*.cn CNAME x.*.cn\nx.y.*.e A 192.0.2.5\n*.del TXT no\ndel NS ns.del\nns.del A 192.0.2.6\n*.mx MX 5 a.mx\n"
    "*.ent.w A 192.0.2.7\n",
}
ASKED = {
    "esc.example": r"a\.b a.b ac \097c sp\032ce \*.w x.w *.w q\@x ml A\(b \000z w gen",
    "long.example": f"{LONG}.{LONG}.{LONG}.{'y' * 48} z.{LONG}.{LONG} {'z' * 50}.{LONG}.{LONG} {LONG}.d q.r "
    f"a.{LONG}.d {'a' * 60}.{LONG}.d {'b' * 56}.q.r {'b' * 57}.q.r {'b' * 63}.q.r",
    "star.example": "a.*.b x.b *.b x.*.b y.a.*.b b q.q.c x.*.c *.*.c *.c c d.c sub.*.n k.sub.*.n x.n sub.x.n y.cn "
    "x.*.cn *.cn *.e x.e y.*.e z.del del *.del x.*.del w.mx a.mx ent.w q.ent.w w",
}
"""Names, by zone."""


def test_what_is_written_and_named_oddly_is_read_and_answered_as_knot_and_nsd_do(tmp_path: Path) -> None:
    if shutil.which("knotd") is None or shutil.which("nsd") is None:
        pytest.skip("Knot and NSD are not installed")
    ours = {origin: parse_zone(text, name_of(origin)) for origin, text in WRITTEN.items()}
    responder = Responder(Desk(zones={zone.origin: zone for zone in ours.values()}))
    with knot(tmp_path / "knot", WRITTEN) as knot_port, nsd(tmp_path / "nsd", WRITTEN) as nsd_port:
        for origin, names in ASKED.items():
            asked = [
                dns.message.make_query(dns.name.from_text(name, dns.name.from_text(origin)), kind, id=number)
                for number, (name, kind) in enumerate((name, kind) for name in names.split() for kind in TYPES)
            ]
            by_knot, by_nsd = ask_peer(knot_port, asked), ask_peer(nsd_port, asked)
            assert {answer.rcode() for answer in (*by_knot, *by_nsd)} <= {0, 3, 6}, "they take the zone as well"
            for query, *others in zip(asked, by_knot, by_nsd, strict=True):
                reply = responder.reply(query.to_wire(), STREAM, 0.0)
                assert reply is not None
                said = comparable(dns.message.from_wire(reply.data))
                assert said in [comparable(other) for other in others], (query.question[0], said, others)


def test_we_say_what_knot_and_nsd_say(tmp_path: Path) -> None:
    if shutil.which("knotd") is None or shutil.which("nsd") is None:
        pytest.skip("Knot and NSD are not installed")
    zones = {f"z{seed}.example": zone_of(seed, f"z{seed}.example") for seed in range(ZONES)}
    ours = {origin: parse_zone(text, name_of(origin)) for origin, text in zones.items()}
    responder = Responder(Desk(zones={zone.origin: zone for zone in ours.values()}))
    differences: list[str] = []
    with knot(tmp_path / "knot", zones) as knot_port, nsd(tmp_path / "nsd", zones) as nsd_port:
        for seed, (origin, text) in enumerate(zones.items()):
            asked = questions(seed, origin, text)
            for query, by_knot, by_nsd in zip(
                asked, ask_peer(knot_port, asked), ask_peer(nsd_port, asked), strict=True
            ):
                reply = responder.reply(query.to_wire(), STREAM, 0.0)
                assert reply is not None
                said = comparable(dns.message.from_wire(reply.data))
                others = [comparable(by_knot), comparable(by_nsd)]
                if said in others:
                    continue
                differences.append(
                    f"seed {seed} {query.question[0]}\n  ours {said}\n  knot {others[0]}\n  nsd  {others[1]}"
                )
    assert not differences, f"{len(differences)} differences:\n" + "\n".join(differences[:10])
