"""What leads service addresses: the words for iptables, the agent's own turns, and which of all is chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from edgecore.network.balancing import Backend, Front
from edgecore.network.choice import choose
from edgecore.network.forwarding import Place, _Turns, loopback_of, places_of
from edgecore.network.iptables import OWN, REFUSED, SERVICES, chains_in, changed_text, restore_text, tables_of
from edgecore.network.kernel import Carrier
from edgecore.network.nftables import rules_there, transaction
from skerry.errors import UnavailableError
from skerry.frozen import replace

A, B = Backend(address="10.1.0.1", port=80), Backend(address="10.1.0.2", port=80)
WEB = Front(
    service="d/web:",
    family="IPv4",
    protocol="tcp",
    port=80,
    addresses=("10.96.0.7",),
    outside=(),
    node_port=30080,
    sticky_s=0,
    inside_backends=(A, B),
    outside_backends=(A, B),
    keeps_source=False,
)


def test_backends_have_their_turns_in_iptables_and_strangers_another_address() -> None:
    nat = dict(tables_of([WEB], ["10.1.0.1"], "IPv4").nat)
    first, local = nat[SERVICES]
    assert first.startswith("-d 10.96.0.7 -p tcp -m tcp --dport 80 -j SKI-")
    assert local == "-m addrtype --dst-type LOCAL ! -d 127.0.0.0/8 -j SKERRY-NODEPORTS"
    turns = nat[first.split()[-1]]
    assert turns[0].startswith("-m statistic --mode nth --every 2 --packet 0 -j SKE-")
    assert turns[1].startswith("-j SKE-")
    assert nat[turns[1].split()[-1]] == (
        "-s 10.1.0.2 -j MARK --set-xmark 0x4000/0x4000",
        "-p tcp -j DNAT --to-destination 10.1.0.2:80",
    )
    (outside,) = nat["SKERRY-NODEPORTS"]
    assert nat[outside.split()[-1]][0] == "-j MARK --set-xmark 0x4000/0x4000"
    assert nat[OWN] == ("-s 10.1.0.1 -j SKERRY-OWN-TO",)
    assert all(len(name) <= 28 for name in nat)


def test_who_stays_is_asked_first_and_who_has_nobody_is_refused() -> None:
    nat = dict(tables_of([replace(WEB, sticky_s=60)], [], "IPv4").nat)
    chain = next(rules for name, rules in nat.items() if name.startswith("SKI-"))
    assert ["--rcheck --seconds 60 --reap" in rule for rule in chain] == [True, True, False, False]
    nobody = replace(WEB, inside_backends=(), outside_backends=())
    refused = dict(tables_of([nobody], [], "IPv4").filter)[REFUSED]
    assert [rule.split(" -j ")[-1] for rule in refused] == ["REJECT --reject-with tcp-reset"] * 2
    udp = dict(tables_of([replace(nobody, protocol="udp", family="IPv6")], [], "IPv6").filter)[REFUSED]
    assert udp[0].endswith("icmp6-port-unreachable")


def test_only_chains_of_ours_are_written_and_gone() -> None:
    saved = (
        ":PREROUTING ACCEPT [0:0]\n:SKERRY-SERVICES - [0:0]\n:SKE-0123456789abcdef - [0:0]\n:SKERRY-PODS - [0:0]\n"
    )
    assert chains_in(saved) == ["SKERRY-SERVICES", "SKE-0123456789abcdef"]
    text = restore_text("nat", [("SKERRY-SERVICES", ("-j RETURN",))], ["SKERRY-SERVICES", "SKE-0123456789abcdef"])
    assert text.splitlines() == [
        "*nat",
        ":SKERRY-SERVICES - [0:0]",
        ":SKE-0123456789abcdef - [0:0]",
        "-A SKERRY-SERVICES -j RETURN",
        "-X SKE-0123456789abcdef",
        "COMMIT",
    ]


def test_what_an_agent_left_is_replaced_but_for_the_clients_it_remembers() -> None:
    listed = [
        {"table": {"name": "t"}},
        {"chain": {"name": "in-1"}},
        {"set": {"name": "clients-to-1"}},
        {"set": {"name": "own-pods"}},
        {"map": {"name": "addresses"}},
    ]
    before = rules_there(json.dumps({"nftables": listed}), "IPv4")
    assert before.sticky == (("clients-to-1", ""),)
    text = transaction("t", replace(before, chains=(), sticky=()), before)
    assert "delete table" not in text
    assert "delete chain ip t in-1" in text and "delete set ip t clients-to-1" in text
    with pytest.raises(UnavailableError):
        rules_there("{", "IPv4")


def test_the_agent_listens_where_it_may_and_somebody_is_ready() -> None:
    places = places_of([WEB, replace(WEB, service="d/z:", inside_backends=(), node_port=30081)])
    assert sorted(places) == [
        Place(protocol="tcp", host="0.0.0.0", port=30080),
        Place(protocol="tcp", host="0.0.0.0", port=30081),
        Place(protocol="tcp", host="127.96.0.7", port=80),
    ]
    assert places_of([replace(WEB, protocol="sctp")]) == {}
    assert loopback_of("fd00::1") == ""


def test_turns_go_round_and_clients_stay_for_their_time() -> None:
    turns = _Turns()
    assert turns.take("c", 0) == []
    turns.backends = (A, B)
    assert [turns.take("c", 0)[0] for _ in range(3)] == [A, B, A]
    turns.sticky_s = 10
    turns.took("c", A, 0)
    assert [turns.take("c", 9)[0] for _ in range(2)] == [A, A]
    assert {turns.take("c", 11)[0] for _ in range(2)} == {A, B}
    turns.backends = (B,)
    assert turns.take("c", 5) == [B]


class _Pretended:
    in_kernel = True

    def __init__(self, name: str, missing: str = "") -> None:
        self.name = name
        self._missing = missing

    async def check(self) -> None:
        if self._missing:
            raise UnavailableError(self._missing)

    async def carry(self, fronts: Sequence[Front], own_pods: Sequence[str]) -> None: ...

    async def intact(self) -> bool:
        return True

    async def clear(self) -> None: ...

    async def close(self) -> None: ...


async def test_the_first_that_works_is_chosen_and_why_is_told() -> None:
    carriers: list[Carrier] = [_Pretended("nftables", "nft: no"), _Pretended("iptables"), _Pretended("userspace")]
    chosen, why = await choose(carriers)
    assert (chosen.name, why) == ("iptables", "nftables: nft: no")
    with pytest.raises(UnavailableError, match="nftables: nft: no"):
        await choose(carriers[:1])


def test_of_what_was_written_only_the_chains_that_are_others_are_written_again() -> None:
    before = [("SKERRY-SERVICES", ("-j RETURN",)), ("SKE-0123456789abcdef", ("-j X",)), ("SKI-0123456789abcdef", ())]
    after = [("SKERRY-SERVICES", ("-j RETURN",)), ("SKI-0123456789abcdef", ("-j Y",))]
    assert changed_text("nat", after, before).splitlines() == [
        "*nat",
        ":SKI-0123456789abcdef - [0:0]",
        ":SKE-0123456789abcdef - [0:0]",
        "-A SKI-0123456789abcdef -j Y",
        "-X SKE-0123456789abcdef",
        "COMMIT",
    ]
    assert changed_text("nat", after, after) == ""
