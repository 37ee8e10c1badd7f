"""What an observer remembers of who was good, and what the table and the disk keep of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from cloudcore.dns.exchange import Told
from cloudcore.dns.hearing import observer_id
from cloudcore.dns.lastknown import HEALTH, KEEP_S, LastKnown, recall
from cloudcore.dns.observer import GOOD_S_MAX, Judged, Observer, Watched, good_for_s
from cloudcore.dns.steering import GOOD_NOW
from cloudcore.dns.table import HealthTable
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import read_zone
from skerry.dns.names import name_of
from skerry.frozen import replace
from skerry.objects.json import JsonObject, decode_object, encode_object, map_at
from skerry.probing.monitor import Counter, State
from skerry.probing.probe import Probe

PROBE = Probe(type="TCP", host="www.example.com", port=80)
ONE = b"\1" * 8
WWW = name_of("www.example.com")
FIRST, SECOND = (WWW, bytes([192, 0, 2, 1])), (WWW, bytes([192, 0, 2, 2]))
DOWN = Counter(state="down", proven=True)
SERVICES = """
services:
  www:
    policy: round_robin
    endpoints: [{address: 192.0.2.1, region: eu}, {address: 192.0.2.2, region: us}]
    probe: {type: TCP, port: 80}
"""


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    (tmp_path / "example.com.zone").write_text("@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n")
    (tmp_path / "example.com.services.yaml").write_text(SERVICES)
    return read_zone(tmp_path / "example.com.zone")


TWO, THREE = b"\2" * 8, b"\3" * 8


def observer(peers: int = 0, votes: tuple[int, int] = (0, 0)) -> Observer:
    watched = {ONE: Watched(address="192.0.2.1", probe=PROBE)}
    return Observer("us", watched, peers, 0.0, counters={}, held={}, votes=lambda _: votes)


def test_a_target_was_good_when_a_probe_last_succeeded_and_that_ends_to_count() -> None:
    one = observer()
    for now in range(3):
        one.seen(ONE, now, good=False)
    assert one.judged(ONE).state == "down" and one.judged(ONE).good_s is None, "taken for up, and never seen so"
    one.seen(ONE, 5.5, good=True)
    for now in (6.0, 7.0, 5 + GOOD_S_MAX):
        one.seen(ONE, now, good=False)
        assert one.judged(ONE).good_s == 5
    one.seen(ONE, 6 + GOOD_S_MAX, good=False)
    assert one.judged(ONE).good_s is None
    assert good_for_s(replace(PROBE, interval_s=3600.0)) == 86_400.0


def test_who_may_not_look_has_no_vote() -> None:
    one = observer(votes=(0, 1))
    one.seen(ONE, 0.0, good=True)
    assert one.judged(ONE).state == "up", "one to one"
    assert one.cannot_see(ONE, 1.0)
    assert one.judged(ONE).state == "down" and not one.tell(3.0, 0, b"word-001").votes
    one.seen(ONE, 4.0, good=True)
    assert one.tell(5.0, 0, b"word-002").votes == {ONE: "up"}


def test_two_that_were_cut_off_and_are_back_do_not_overrule_who_saw_all_the_while() -> None:
    two = b"\2" * 8
    watched = {each: Watched(address=f"192.0.2.{each[0]}", probe=PROBE) for each in (ONE, two)}
    us = Observer("us", watched, 3, 0.0, counters={}, held={})
    other = Observer("other", watched, 3, 0.0, counters={}, held={})
    for now in range(6, 12):
        for one in (us, other):
            for target in watched:
                one.seen(target, now, good=False)
    assert us.isolated and other.isolated

    def tells(who: str, votes: Mapping[bytes, State], *, isolated: bool = False) -> None:
        word = f"{who:8}".encode()
        echoes = {observer_id("us"): b"our-word"}
        us.take(Told(observer=who, at_ms=1, isolated=isolated, votes=votes, word=word, echoes=echoes), 12.0)

    us.tell(12.0, 0, b"our-word")
    tells("saw", {ONE: "up", two: "up"})
    tells("other", other.tell(12.0, 1, b"other-01").votes, isolated=True)
    us.tick(12.0)
    assert not us.isolated
    assert us.tell(12.1, 2, b"us-word2").votes == {ONE: "up", two: "up"}
    assert {us.judged(each).state for each in watched} == {"up"}
    for now in range(13, 16):
        us.seen(ONE, now, good=False)
    assert us.tell(16.0, 3, b"us-word3").votes[ONE] == "down", "what it sees from now on counts"


def test_who_may_not_look_hears_of_what_gateways_say_later() -> None:
    votes = (0, 0)
    watched = {ONE: Watched(address="192.0.2.1", probe=PROBE)}
    one = Observer("us", watched, 0, 0.0, counters={}, held={}, votes=lambda _: votes)
    one.cannot_see(ONE, 1.0)
    assert one.judged(ONE).state == "up"
    votes = (0, 2)
    assert ONE in one.cannot_see(ONE, 2.0) and one.judged(ONE).state == "down"
    votes = (2, 0)
    one.cannot_see(ONE, 3.0)
    assert one.judged(ONE).state == "up" and one.judged(ONE).good_s == 3


def test_who_may_not_look_at_some_is_cut_off_when_all_else_fails() -> None:
    """Counters of what may not be tried stand still, also those that another life left down."""
    addresses = {ONE: "192.0.2.1", TWO: "192.0.2.2", THREE: "192.0.2.3", b"\4" * 8: "192.0.2.4"}
    watched = {target: Watched(address=address, probe=PROBE) for target, address in addresses.items()}
    one = Observer("us", watched, 0, 0.0, counters={THREE: DOWN}, held={})
    *tried, up, down = ONE, TWO, b"\4" * 8, THREE
    for now in range(3):
        for target in (up, down):
            one.cannot_see(target, now)
        for target in tried:
            one.seen(target, now, good=False)
    assert one.isolated and {one.judged(target).state for target in tried} == {"up"}
    one.seen(ONE, 4.0, good=True)
    one.seen(ONE, 5.0, good=True)
    assert not one.isolated
    one.seen(up, 7.0, good=True)
    for now in range(8, 11):
        for target in tried:
            one.seen(target, now, good=False)
    assert not one.isolated and one.judged(TWO).state == "down", "what may be tried again counts again"
    one.cannot_see(up, 11.0)
    assert one.isolated


def test_one_address_that_may_be_tried_says_nothing_of_who_tries_it() -> None:
    watched = {target: Watched(address="192.0.2.1", probe=PROBE) for target in (ONE, TWO)}
    watched[THREE] = Watched(address="192.0.2.3", probe=PROBE)
    one = Observer("us", watched, 0, 0.0, counters={}, held={})
    one.cannot_see(THREE, 0.0)
    for now in range(3):
        one.seen(ONE, now, good=False)
        one.seen(TWO, now, good=False)
    assert not one.isolated and one.judged(ONE).state == "down"


def test_what_another_or_a_gateway_reaches_is_good() -> None:
    one = observer(peers=1)
    one.tell(0.0, 0, b"word-001")
    told = Told(
        observer="ns2",
        at_ms=0,
        isolated=False,
        votes={ONE: "up"},
        word=b"theirs-1",
        echoes={observer_id("us"): b"word-001"},
    )
    one.take(told, 3.0)
    assert one.judged(ONE).good_s == 3
    seen_by_one = observer(votes=(1, 4))
    seen_by_one.seen(ONE, 7.0, good=False)
    assert seen_by_one.judged(ONE).state == "down" and seen_by_one.judged(ONE).good_s == 7


def test_the_table_moves_where_what_was_good_last_may_lead_elsewhere(zone: Zone) -> None:
    table = HealthTable.of_zones({zone.origin: zone})
    service = zone.services[WWW]

    def told(*, down: bool, good_s: int | None) -> bool:
        before = table.number
        table.set_verdict(FIRST, down=down, unsure=False, counter=DOWN, good_s=good_s)
        return table.number > before

    assert told(down=False, good_s=100)
    assert not told(down=False, good_s=1000), "who is up is so each few seconds"
    assert told(down=True, good_s=1000)
    assert not told(down=True, good_s=1005) and table.good_s(FIRST) == 1000
    assert told(down=True, good_s=1031) and told(down=True, good_s=None)
    assert table.seen(service).endpoints[0].good_s is None
    table.set_verdict(FIRST, down=True, unsure=False, counter=DOWN, good_s=-5)
    after = HealthTable.of_zones({zone.origin: zone}, table)
    assert after.seen(service).endpoints[0].good_s == -5, "good before the machine was started anew"
    table.set_verdict(FIRST, down=False, unsure=False, counter=Counter(), good_s=7)
    said_down = replace(service, endpoints=(replace(service.endpoints[0], up=False), *service.endpoints[1:]))
    assert [each.good_s for each in table.seen(said_down).endpoints] == [GOOD_NOW, None]


@pytest.mark.parametrize(("ago_s", "kept"), [(30, True), (-7200, False), (None, False)])
def test_a_server_that_starts_knows_who_was_good_last(
    zone: Zone, tmp_path: Path, ago_s: int | None, *, kept: bool
) -> None:
    key = "www.example.com. 192.0.2.1"
    said: JsonObject = {"states": {key: "down", "www.example.com. 192.0.2.2": "up", "gone. 192.0.2.9": "down"}}
    if ago_s is not None:
        said["good"] = {key: round(time.time()) - ago_s}
    (tmp_path / HEALTH).write_bytes(encode_object(said))
    table = HealthTable.of_zones({zone.origin: zone})
    assert recall(tmp_path, table) == 1
    good_s = table.good_s(FIRST)
    assert table.is_down(FIRST) and not table.is_down(SECOND)
    assert abs(time.monotonic() - (table.good_s(SECOND) or 0)) < 3, "who was up comes before who was down for long"
    assert (good_s is not None) == kept, "files of before say nothing, and clocks may have been wrong"
    if good_s is not None:
        assert abs(time.monotonic() - 30 - good_s) < 3


def test_the_disk_follows_when_somebody_who_is_down_was_good_last_but_not_with_each_probe(tmp_path: Path) -> None:
    kept = LastKnown(tmp_path)

    def at(good_s: int | None) -> Judged:
        return Judged(state="down", unsure=False, counter=DOWN, good_s=good_s)

    assert kept.is_behind(ONE, at(95), 100.0), "nothing was written in this life"
    kept.write([(ONE, at(95), [FIRST])], 100.0)
    assert not kept.is_behind(ONE, at(104), 105.0) and not kept.is_behind(ONE, at(95), 500.0)
    assert not kept.is_behind(ONE, replace(at(500), state="up"), 500.0), "who is up is good each few seconds"
    assert kept.is_behind(ONE, at(104), 100.0 + KEEP_S) and kept.is_behind(ONE, at(None), 500.0)
    kept.write([(ONE, at(None), [FIRST, SECOND])], 500.0)
    told = decode_object((tmp_path / HEALTH).read_bytes())
    assert [*map_at(told, "states").values()] == ["down", "down"] and not map_at(told, "good")


def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    kept = LastKnown(tmp_path / "gone")
    judged = Judged(state="down", unsure=False, counter=DOWN, good_s=95)
    kept.write([(ONE, judged, [FIRST])], 100.0)
    assert not kept.is_behind(ONE, judged, 101.0) and kept.is_behind(ONE, judged, 100.0 + KEEP_S)
