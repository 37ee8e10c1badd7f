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
import dns.query
import dns.rrset
import pytest

from cloudcore.dns.responder import Desk, Responder
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import name_of
from tests.cloudcore.dns.conftest import STREAM
from tests.system.dns_peers import knot, nsd

pytestmark = pytest.mark.system

LABELS = ["a", "b", "c", "www", "*", "sub", "x-1"]
TYPES = ["A", "AAAA", "TXT", "MX", "CNAME", "NS", "SOA", "DS", "DNAME", "SRV", "HTTPS", "CAA", "PTR", "TYPE65280"]
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
        edns = chance.choice([-1, 0])
        found.append(dns.message.make_query(whole, chance.choice(TYPES), id=number, use_edns=edns, payload=1232))
    return found


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
