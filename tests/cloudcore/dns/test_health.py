"""Who is up: counters, observers that agree, what they tell each other, and the table that answers are made by."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from cloudcore.dns.drains import drain_of, drained_places, read_drains, write_drains
from cloudcore.dns.exchange import Told, datagrams, read_datagram, target_id
from cloudcore.dns.hearing import Hearing, observer_id
from cloudcore.dns.quorum import is_isolated, verdict
from cloudcore.dns.steering import Endpoint
from cloudcore.dns.table import SLOTS_MIN, HealthTable
from cloudcore.dns.turns import Turns
from cloudcore.dns.zone import Zone
from cloudcore.dns.zonefile import read_zone
from skerry.dns.names import name_of
from skerry.errors import InvalidError, ProtocolError
from skerry.frozen import replace
from skerry.probing.monitor import (
    ATTEMPTS,
    FLAPS_MAX,
    FORGIVEN,
    Counter,
    State,
    answer_ttl,
    attempt_starts_s,
    counted,
    needed,
    period_s,
)
from skerry.probing.probe import Probe, probe_of

PROBE = Probe(type="TCP", host="www.example.com", port=80)
KEY = b"k" * 16
WWW = name_of("www.example.com")
HEAD = "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS a.test.\n"
SERVICES = """
services:
  www:
    policy: round_robin
    endpoints: [{address: 192.0.2.1, region: eu}, {address: 192.0.2.2, region: us}]
    probe: {type: TCP, port: 80}
"""


def run(counter: Counter, *results: bool) -> Counter:
    for good in results:
        counter = counted(counter, PROBE, good=good)
    return counter


def test_failures_add_up_until_they_are_forgotten() -> None:
    assert run(Counter(), False, False).state == "up"
    assert run(Counter(), False, True, False, True, False).state == "down", "one success forgets nothing"
    assert run(Counter(), False, False, True, True, False, False).state == "up"
    assert run(Counter(state="down"), True).state == "down"
    assert run(Counter(state="down"), True, False, True).state == "down"
    assert run(Counter(state="down"), True, True).state == "up"


@pytest.mark.parametrize(("interval_s", "held", "forgiven"), [(1.0, 64, 120), (60.0, 10, 10), (3600.0, 2, 3)])
def test_who_is_tried_seldom_is_held_down_no_longer_than_who_is_tried_often(
    interval_s: float, held: int, forgiven: int
) -> None:
    probe = replace(PROBE, interval_s=interval_s)
    assert needed(Counter(state="down", flaps=FLAPS_MAX), probe) == held
    counter = Counter(flaps=2, proven=True)
    for _ in range(forgiven):
        assert counter.flaps == 2
        counter = counted(counter, probe, good=True)
    assert counter.flaps == 1


def test_who_goes_down_again_and_again_is_up_after_more_successes_and_is_forgiven() -> None:
    counter, took = Counter(), list[int]()
    for _ in range(8):
        counter, successes = run(counter, False, False, False), 0
        assert counter.state == "down"
        while counter.state == "down":
            counter, successes = run(counter, True), successes + 1
        took.append(successes)
    assert took == [2, 4, 8, 16, 32, 64, 64, 64] and counter.flaps == FLAPS_MAX
    assert run(counter, *[True] * (FORGIVEN * FLAPS_MAX)).flaps == 0
    assert run(counter, *[False] * 3, *[True] * 63, False, *[True] * 63).state == "down", "in a row"


def test_answers_are_kept_for_less_while_a_state_may_be_another() -> None:
    assert Counter().unsure and not run(Counter(), True, True).unsure
    assert run(Counter(), True, True, False).unsure
    assert answer_ttl(30, unsure=True) == 15 and answer_ttl(30, unsure=False) == 30
    assert answer_ttl(1, unsure=True) == 1 and answer_ttl(0, unsure=True) == 0


def test_the_last_failure_that_counts_ends_within_interval_times_threshold() -> None:
    counter, at, end = Counter(proven=True), PROBE.interval_s, 0.0
    while counter.state == "up":
        end = at + PROBE.timeout_s
        counter = counted(counter, PROBE, good=False)
        at += period_s(counter, PROBE)
    assert end <= PROBE.interval_s * PROBE.down_threshold
    assert len(attempt_starts_s(PROBE)) == ATTEMPTS and attempt_starts_s(PROBE)[-1] < PROBE.timeout_s


@pytest.mark.parametrize("seed", range(5))
def test_nobody_goes_down_in_a_day_of_thirty_percent_loss(seed: int) -> None:
    chance = random.Random(seed)
    counter = Counter()
    for _ in range(int(86_400 / PROBE.interval_s)):
        counter = counted(counter, PROBE, good=any(chance.random() >= 0.3 for _ in range(ATTEMPTS)))
        assert counter.state == "up"


@pytest.mark.parametrize("seed", range(20))
def test_half_of_the_observers_cut_off_come_to_no_wrong_verdict(seed: int) -> None:
    """Four observers, four targets of which one really fails; two observers see nothing and nobody but each other."""
    chance = random.Random(seed)
    cut, dead, rounds = {2, 3}, 0, 40
    counters = {(who, target): Counter(proven=True) for who in range(4) for target in range(4)}
    held: dict[tuple[int, int], State] = dict.fromkeys(counters, "up")
    for now in range(rounds):
        order = [*counters]
        chance.shuffle(order)
        for who, target in order:
            good = target != dead and who not in cut and any(chance.random() >= 0.3 for _ in range(ATTEMPTS))
            counters[who, target] = counted(counters[who, target], PROBE, good=good)
            isolated = {
                each: is_isolated(
                    failing=sum(
                        counters[each, one].state == "down" or counters[each, one].failures > 0 for one in range(4)
                    ),
                    targets=4,
                    peers_heard=1,
                    peers=3,
                )
                for each in range(4)
            }
            mine = cut if who in cut else {0, 1}
            votes: list[State] = [counters[each, target].state for each in sorted(mine) if not isolated[each]]
            held[who, target] = verdict(votes, held[who, target])
            assert held[who, target] == "up" or target == dead, f"round {now}"
    assert held[0, dead] == held[1, dead] == "down", "those who see come to it"
    assert held[2, 1] == "up"


def test_alone_everything_failing_is_no_news_and_one_is() -> None:
    assert is_isolated(failing=3, targets=3, peers_heard=0, peers=0)
    assert not is_isolated(failing=2, targets=3, peers_heard=0, peers=0)
    assert not is_isolated(failing=1, targets=1, peers_heard=0, peers=0)
    assert not is_isolated(failing=4, targets=4, peers_heard=3, peers=3), "all others are heard: it is the targets"
    assert verdict([], "down") == "down" and verdict(["up", "down"], "up") == "up"


def test_what_observers_tell_is_signed_dated_and_split() -> None:
    votes: dict[bytes, State] = {number.to_bytes(8, "big"): "down" for number in range(300)}
    told = Told(observer="ns1", at_ms=1_000_000, isolated=True, votes=votes)
    sent = [*datagrams(told, KEY)]
    assert len(sent) == 5 and all(len(each) <= 1232 for each in sent)
    heard = [read_datagram(each, KEY, 1_000_500) for each in sent]
    assert {target for each in heard for target in each.votes} == set(votes)
    assert all(each.observer == "ns1" and each.isolated for each in heard)
    for wrong, key, now in (
        (sent[0], b"x" * 16, 1_000_000),
        (sent[0][:-1], KEY, 1_000_000),
        (sent[0], KEY, 2_000_000),
        (b"", KEY, 0),
    ):
        with pytest.raises(ProtocolError):
            read_datagram(wrong, key, now)
    assert target_id(b"\1\2\3\4", PROBE) != target_id(b"\1\2\3\4", Probe(type="TCP", host="b", port=80))


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    (tmp_path / "example.com.zone").write_text(HEAD)
    (tmp_path / "example.com.services.yaml").write_text(SERVICES)
    return read_zone(tmp_path / "example.com.zone")


def test_the_table_tells_services_as_they_are_and_goes_on_in_the_next_one(zone: Zone) -> None:
    zones = {zone.origin: zone}
    table = HealthTable.of_zones(zones)
    place = WWW, bytes([192, 0, 2, 1])
    before = table.number
    assert table.set_verdict(place, down=True, unsure=False, counter=Counter(state="down"))
    assert table.number > before
    assert not table.set_verdict(place, down=True, unsure=False, counter=Counter(state="down", successes=1))
    assert [each.up for each in table.seen(zone.services[WWW]).endpoints] == [False, True]
    after = HealthTable.of_zones(zones, table)
    assert after.is_down(place) and after.counter(place) == Counter(state="down", successes=1)
    often = Counter(state="down", successes=200, flaps=FLAPS_MAX, proven=True)
    after.set_verdict(place, down=True, unsure=False, counter=often)
    assert after.counter(place) == often
    after.set_verdict(place, down=False, unsure=True, counter=Counter())
    assert after.seen(zone.services[WWW]).ttl == 15


def test_a_table_goes_on_in_its_memory_and_gives_no_place_to_another(zone: Zone) -> None:
    """The prober of the zones before writes on, and must not tell of others what it sees of its own."""
    before = HealthTable.of_zones({zone.origin: zone})
    gone = WWW, bytes([192, 0, 2, 1])
    service = zone.services[WWW]
    other = replace(service, endpoints=(*service.endpoints[1:], Endpoint(address=b"\1\2\3\4", region="eu")))
    after = HealthTable.of_zones({zone.origin: replace(zone, services={WWW: other})}, before)
    assert after.shares(before) and set(after.slots) == {(WWW, bytes([192, 0, 2, 2])), (WWW, b"\1\2\3\4")}
    before.set_verdict(gone, down=True, unsure=False, counter=Counter(state="down"))
    assert not any(after.is_down(place) for place in after.slots)
    before.set_verdict((WWW, bytes([192, 0, 2, 2])), down=True, unsure=False, counter=Counter(state="down"))
    assert after.is_down((WWW, bytes([192, 0, 2, 2])))
    many = [Endpoint(address=number.to_bytes(4, "big"), region="eu") for number in range(SLOTS_MIN)]
    full = HealthTable.of_zones(
        {zone.origin: replace(zone, services={WWW: replace(other, endpoints=(*other.endpoints, *many))})}, after
    )
    assert not full.shares(after) and full.is_down((WWW, bytes([192, 0, 2, 2])))


def told_by(name: str, word: bytes, at_ms: int, echoes: dict[bytes, bytes], **votes: State) -> Told:
    seen: dict[bytes, State] = {target.encode(): vote for target, vote in votes.items()}
    return Told(observer=name, at_ms=at_ms, isolated=False, votes=seen, word=word, echoes=echoes)


def test_what_was_recorded_keeps_no_observer_alive() -> None:
    ours = observer_id("us")
    hearing = Hearing("us", 1, 0.0)
    hearing.say(b"word-001", 0.0)
    last = told_by("ns2", b"theirs-1", 1000, {ours: b"word-001"}, www="up")
    assert hearing.take(last, 0.1) == {b"www"}
    assert hearing.echoes(0.2) == {observer_id("ns2"): b"theirs-1"}
    for now in (2.0, 4.0, 4.9, 6.0, 30.0):
        hearing.say(f"word-{now:03.0f}".encode(), now)
        hearing.take(last, now)
        assert bool(hearing.present(now)) == (now < 5.0), "it died when it was recorded"


def test_what_was_recorded_spoils_no_word_that_is_repeated() -> None:
    us, them = Hearing("us", 1, 0.0), Hearing("ns2", 1, 0.0)
    recorded: list[Told] = []
    for second in range(12):
        now = float(second)
        them.say(f"their-{second:02}".encode(), now)
        recorded.append(told_by("ns2", f"their-{second:02}".encode(), second * 1000, them.echoes(now), www="up"))
        us.take(recorded[-1], now)
        for old in reversed(recorded[:-1]):
            us.take(old, now + 0.1)  # the oldest last
        us.say(f"ours--{second:02}".encode(), now + 0.2)
        them.take(told_by("us", f"ours--{second:02}".encode(), second * 1000, us.echoes(now + 0.2)), now + 0.2)
    assert them.present(11.5) and us.present(11.5)


def test_an_observer_whose_clock_was_set_back_is_heard_again_within_seconds() -> None:
    ours = observer_id("us")
    hearing = Hearing("us", 1, 0.0)
    for second in range(12):
        word = f"word--{second:02}".encode()
        hearing.say(word, float(second))
        at_ms = 50_000 + second * 1000 if second < 3 else second * 1000
        hearing.take(told_by("ns2", f"their-{second:02}".encode(), at_ms, {ours: word}, www="up"), float(second))
    assert hearing.present(11.0) and hearing.echoes(11.0) == {observer_id("ns2"): b"their-11"}


def test_nobody_is_heard_who_has_not_heard_us_in_this_life() -> None:
    ours = observer_id("us")
    hearing = Hearing("us", 2, 0.0)
    hearing.say(b"word-001", 0.0)
    assert not hearing.take(told_by("ns2", b"theirs-1", 1000, {ours: b"word-of-a-life-before"}, www="down"), 0.1)
    assert not hearing.present(0.1) and not hearing.settled(0.1)
    hearing.take(told_by("ns2", b"theirs-2", 2000, {ours: b"word-001"}, www="down"), 0.2)
    assert not hearing.settled(0.2), "there is another to be heard"
    hearing.take(told_by("ns3", b"theirs-3", 2000, {ours: b"word-001"}, www="down"), 0.3)
    assert hearing.settled(0.3) and len(hearing.present(0.3)) == 2
    assert Hearing("us", 2, 0.0).settled(5.0), "who says nothing for so long is not there"
    assert Hearing("us", 0, 0.0).settled(0.0)


def test_votes_come_in_parts_and_a_later_one_replaces_them() -> None:
    ours = observer_id("us")
    hearing = Hearing("us", 1, 0.0)
    hearing.say(b"word-001", 0.0)
    hearing.take(told_by("ns2", b"theirs-1", 1000, {ours: b"word-001"}, a="up"), 0.1)
    hearing.take(told_by("ns2", b"theirs-1", 1000, {ours: b"word-001"}, b="down"), 0.1)
    assert hearing.present(0.1)[0].votes == {b"a": "up", b"b": "down"}
    assert hearing.take(told_by("ns2", b"theirs-2", 2000, {ours: b"word-001"}, a="up"), 0.2) == frozenset()
    hearing.take(told_by("ns2", b"theirs-0", 500, {ours: b"word-001"}, a="down"), 0.2)
    assert hearing.present(0.2)[0].votes == {b"a": "up"}


async def test_a_slow_service_holds_no_more_turns_than_its_share() -> None:
    turns, done = Turns(4, 2), asyncio.Event()
    order: list[str] = []

    async def slow(name: bytes) -> None:
        async with turns.of(name):
            await done.wait()

    async def quick(name: bytes) -> None:
        async with turns.of(name):
            order.append(name.decode())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(slow(b"slow"))
        await asyncio.wait_for(quick(b"other"), 5)
        waiter = tasks.create_task(slow(b"left"))
        for name in (b"third", b"fourth"):
            tasks.create_task(quick(name))
        await asyncio.wait_for(quick(b"fifth"), 5)
        waiter.cancel()
        done.set()
    assert set(order) == {"other", "third", "fourth", "fifth"}
    await asyncio.wait_for(quick(b"slow"), 5)


def test_drains_are_of_regions_and_addresses_and_end(zone: Zone, tmp_path: Path) -> None:
    zones = {zone.origin: zone}
    drains = [drain_of("eu", "", 60, "why", 100.0), drain_of("192.0.2.2", "www.example.com", 0, "", 100.0)]
    write_drains(tmp_path, drains)
    assert read_drains(tmp_path) == tuple(drains) and read_drains(tmp_path / "nowhere") == ()
    assert len(drained_places(drains, zones, 159.0)) == 2
    assert drained_places(drains, zones, 161.0) == {(WWW, bytes([192, 0, 2, 2]))}
    with pytest.raises(InvalidError):
        drain_of("", "", 0, "", 0)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"type": "SMTP"}, "p.type"),
        ({"type": "TCP"}, "p.port"),
        ({"type": "HTTP", "path": "x"}, "p.path"),
        ({"type": "HTTP", "statuses": ["99"]}, "p.statuses"),
        ({"type": "HTTP", "intervalSeconds": 1, "timeoutSeconds": 2}, "p.timeoutSeconds"),
        (
            {"type": "HTTP", "intervalSeconds": 3600, "timeoutSeconds": 31},
            "p.timeoutSeconds: a number from 0.05 to 30",
        ),
        ({"type": "HTTP", "downThreshold": 0}, "p.downThreshold"),
        ({"type": "HTTP", "colour": 1}, "colour"),
        ([], "p: a map"),
    ],
)
def test_a_probe_that_can_not_be_meant_is_refused_by_field(given: object, field: str) -> None:
    with pytest.raises(InvalidError, match=field.replace(".", r"\.")):
        probe_of(given, "p", "www.example.com")
