"""Several exporters of one owner: who writes, who waits, and who is too old to."""

from __future__ import annotations

from cloudcore.dns.claims import AWAY_S, HOLD_S, OVERRULED_S, Claim, Turn, claim_name, claim_of, turn
from cloudcore.dns.zonefile import parse_zone
from skerry.dns.names import labels, name_of
from skerry.dns.numbers import TXT

ORIGIN = name_of("example.com")


def claim(by: str, serial: int = 7) -> Claim:
    return Claim(owner="skerry", serial=serial, by=by)


def test_a_claim_is_read_as_it_was_written_and_nothing_else_is_one() -> None:
    assert claim_of([b"\x03any", claim("ns1").rdata], "skerry") == claim("ns1")
    assert claim_of([claim("ns1").rdata], "other") is None
    said = claim("ns1").rdata[1:].decode()
    zone = parse_zone(f'@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n_export-skerry 60 TXT "{said}"\n', ORIGIN)
    assert claim_of(zone.nodes[claim_name("skerry", ORIGIN)][TXT].rdatas, "skerry") == claim("ns1")


def test_every_owner_has_a_name_for_it() -> None:
    for owner in ("skerry", "a.b.c", "x" * 63):
        assert len(labels(claim_name(owner, ORIGIN))) == 3
    assert claim_name("a.b", ORIGIN) != claim_name("a-b", ORIGIN)


def test_who_wrote_last_goes_on_and_the_first_begins() -> None:
    assert turn(None, claim("ns1"), Turn(), 0.0, differs=False)[0] == "write", "the claim itself"
    assert turn(claim("ns1"), claim("ns1"), Turn(), 0.0, differs=True)[0] == "write"
    assert turn(claim("ns1"), claim("ns1"), Turn(), 0.0, differs=False)[0] == "rest"


def test_the_newer_zone_is_written_and_the_older_is_not_whatever_differs() -> None:
    assert turn(claim("ns2", 6), claim("ns1", 7), Turn(), 0.0, differs=False)[0] == "write"
    assert turn(claim("ns2", 8), claim("ns1", 7), Turn(), 0.0, differs=True)[0] == "outdated"
    assert turn(claim("ns2", 5), claim("ns1", 0xFFFFFFF0), Turn(), 0.0, differs=True)[0] == "outdated", (
        "they go round"
    )
    back = turn(claim("ns1", 8), claim("ns1", 7), Turn(), 0.0, differs=True, wrote=8)
    assert back[0] == "write", "his own file, set back"


def test_who_finds_a_newer_zone_under_his_own_name_is_a_copy_of_a_machine() -> None:
    for wrote in (None, 7, 6):
        assert turn(claim("ns1", 8), claim("ns1", 7), Turn(), 0.0, differs=True, wrote=wrote)[0] == "outdated"
    assert turn(claim("ns1/a", 8), claim("ns1/b", 7), Turn(), 0.0, differs=True, wrote=8)[0] == "outdated"
    assert claim_of([claim("ns1/0a1b2c3d").rdata], "skerry") == claim("ns1/0a1b2c3d")
    assert claim("ns1/0a1b2c3d").name == "ns1"


def test_another_takes_over_after_a_while_and_keeps_away_once_overruled() -> None:
    theirs, ours = claim("ns2"), claim("ns1")
    verdict, memory = turn(theirs, ours, Turn(), 0.0, differs=True)
    assert verdict == "wait"
    verdict, memory = turn(theirs, ours, memory, HOLD_S - 1, differs=True)
    assert verdict == "wait"
    verdict, memory = turn(theirs, ours, memory, HOLD_S, differs=False)
    assert verdict == "rest", "they have seen it as well"
    verdict, memory = turn(theirs, ours, memory, 20.0, differs=True)
    verdict, memory = turn(theirs, ours, memory, 20.0 + HOLD_S, differs=True)
    assert verdict == "write"
    verdict, memory = turn(ours, ours, memory, 40.0, differs=True)
    assert verdict == "write"
    at_s = 20.0 + HOLD_S + OVERRULED_S / 2
    verdict, memory = turn(theirs, ours, memory, at_s, differs=True)
    assert verdict == "wait", "they live, and see it otherwise"
    verdict, memory = turn(theirs, ours, memory, at_s + AWAY_S - 1, differs=True)
    assert verdict == "wait"
    verdict, memory = turn(theirs, ours, memory, at_s + AWAY_S, differs=True)
    assert verdict == "write"


def test_what_is_taken_back_much_later_is_no_quarrel() -> None:
    theirs, ours = claim("ns2"), claim("ns1")
    _, memory = turn(theirs, ours, Turn(took_s=0.0), OVERRULED_S, differs=True)
    verdict, _ = turn(theirs, ours, memory, OVERRULED_S + HOLD_S, differs=True)
    assert verdict == "write"
