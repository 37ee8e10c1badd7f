"""The rules by which the kernel leads service addresses to backends, as text for `nft -f`. Pure.

One table for each family, ours alone, changed in one transaction: a packet sees all of the old rules or all of the
new. A client's backend (session affinity) is kept in sets that outlive a change of the rules. Everything in the text
is a number, an address that was parsed, or a name made of a hash: nothing of what users write reaches it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from edgecore.network.balancing import Backend, Front
from skerry.errors import InvalidError, UnavailableError
from skerry.frozen import Frozen
from skerry.objects.json import maps_at, read_json, str_at
from skerry.objects.members import Family

MARK: Final = 0x4000
"""The bit of a packet's mark that asks for another source address: kube-proxy's."""
STICKY_MAX: Final = 65_535
"""Clients that are remembered of one backend."""
_CLIENTS: Final = "clients-"
_WORDS: Final[dict[Family, tuple[str, str]]] = {"IPv4": ("ip", "ipv4_addr"), "IPv6": ("ip6", "ipv6_addr")}


class Rules(Frozen):
    """What a table holds: its chains with their rules, its sets with what is in them."""

    family: Family
    chains: tuple[tuple[str, tuple[str, ...]], ...]
    sets: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Name, definition, elements."""
    sticky: tuple[tuple[str, str], ...]
    """Name and definition of sets that packets fill: never emptied."""


class Made(Frozen):
    """What one front's rules are: its chains, its sets, and where inside and outside lead."""

    chains: Mapping[str, tuple[str, ...]]
    sticky: Mapping[str, str]
    within: str | None
    without: str | None


def _made(front: Front) -> Made:
    word, type_ = _WORDS[front.family]
    chains, sticky, name = dict[str, tuple[str, ...]](), dict[str, str](), _name(front)
    within = _choose(f"in-{name}", front, front.inside_backends, word, type_, chains, sticky)
    without = _choose(f"out-{name}", front, front.outside_backends, word, type_, chains, sticky)
    if without is not None and not front.keeps_source:
        chains[f"ext-{name}"] = (f"meta mark set meta mark or {MARK:#x}", f"goto {without}")
        without = f"ext-{name}"
    return Made(chains=chains, sticky=sticky, within=within, without=without)


def rules_of(
    fronts: Iterable[Front], own_pods: Iterable[str], family: Family, known: dict[Front, Made] | None = None
) -> Rules:
    """`own_pods` are the addresses of this gateway's pods in this family; `known`: what was made before, which is
    brought to what is made now."""
    word, type_ = _WORDS[family]
    before, now = {} if known is None else dict(known), {} if known is None else known
    now.clear()
    chains: dict[str, tuple[str, ...]] = {}
    sticky: dict[str, str] = {}
    inside: dict[str, str | None] = {}
    nodes: dict[str, str | None] = {}
    """By address and port: the chain, None to refuse. Of two services that ask for the same the first has it."""
    for front in (each for each in fronts if each.family == family):
        made = now[front] = before.get(front) or _made(front)
        chains.update(made.chains)
        sticky.update(made.sticky)
        within, without = made.within, made.without
        for addresses, chain in ((front.addresses, within), (front.outside, without)):
            for address in addresses:
                inside.setdefault(f"{address} . {front.protocol} . {front.port}", chain)
        if front.node_port:
            nodes.setdefault(f"{front.protocol} . {front.node_port}", without)
    chains |= _frame(word)
    key = f"type {type_} . inet_proto . inet_service"
    sets = (
        ("own-pods", f"set own-pods {{ type {type_} ; }}", tuple(sorted(set(own_pods)))),
        ("addresses", f"map addresses {{ {key} : verdict ; }}", _led(inside)),
        ("node-ports", "map node-ports { type inet_proto . inet_service : verdict ; }", _led(nodes)),
        ("refused", f"set refused {{ {key} ; }}", _refused(inside)),
        (
            "refused-node-ports",
            "set refused-node-ports { type inet_proto . inet_service ; }",
            _refused(nodes),
        ),
    )
    return Rules(family=family, chains=tuple(chains.items()), sets=sets, sticky=tuple(sticky.items()))


def _led(places: Mapping[str, str | None]) -> tuple[str, ...]:
    return tuple(f"{place} : goto {chain}" for place, chain in places.items() if chain is not None)


def _refused(places: Mapping[str, str | None]) -> tuple[str, ...]:
    return tuple(place for place, chain in places.items() if chain is None)


def _frame(word: str) -> dict[str, tuple[str, ...]]:
    """The chains that every packet passes."""
    to_service = f"{word} daddr . meta l4proto . th dport"
    # A node port on loopback would need martian packets to be routed: kube-proxy's nftables has none either.
    loopback = "127.0.0.0/8" if word == "ip" else "::1"
    to_node = f"fib daddr type local {word} daddr != {loopback} meta l4proto . th dport"
    own = f"ct status dnat {word} saddr @own-pods {word} daddr @own-pods masquerade"
    # ICMP has a pace (icmp_ratelimit), which redirects use up as well: a reset always comes through.
    refuse = tuple(
        f"ct state new {only}{place} reject{how}"
        for place in (f"{to_service} @refused", f"{to_node} @refused-node-ports")
        for only, how in (("meta l4proto tcp ", " with tcp reset"), ("", ""))
    )
    return {
        "services": (f"{to_service} vmap @addresses", f"{to_node} vmap @node-ports"),
        "prerouting { type nat hook prerouting priority dstnat ; }": ("jump services",),
        "output { type nat hook output priority -100 ; }": ("jump services",),
        # On one bridge the answer would go straight back, past us, from an address that was not asked.
        "postrouting { type nat hook postrouting priority srcnat ; }": (
            own,
            f"meta mark and {MARK:#x} == 0 return",
            f"meta mark set meta mark xor {MARK:#x}",
            "masquerade",
        ),
        "refusing": refuse,
        "forwarded { type filter hook forward priority filter ; }": ("jump refusing",),
        "sent { type filter hook output priority filter ; }": ("jump refusing",),
        "received { type filter hook input priority filter ; }": ("jump refusing",),
    }


def _choose(
    name: str,
    front: Front,
    backends: Sequence[Backend],
    word: str,
    type_: str,
    chains: dict[str, tuple[str, ...]],
    sticky: dict[str, str],
) -> str | None:
    """The chain that picks a backend; None where there is none."""
    if not backends:
        return None
    rules: list[str] = []
    targets: list[str] = []
    for backend in backends:
        to = f"to-{_digest(f'{front.service} {front.protocol} {front.family} {backend.address} {backend.port}')}"
        targets.append(to)
        at = f"{backend.address}:{backend.port}" if word == "ip" else f"[{backend.address}]:{backend.port}"
        steps = [f"{word} saddr {backend.address} meta mark set meta mark or {MARK:#x}"]
        if front.sticky_s:
            sticky[f"{_CLIENTS}{to}"] = (
                f"set {_CLIENTS}{to} {{ type {type_} ; size {STICKY_MAX} ; flags dynamic,timeout ; }}"
            )
            steps.append(f"update @clients-{to} {{ {word} saddr timeout {front.sticky_s}s }}")
            rules.append(f"{word} saddr @clients-{to} goto {to}")
        chains[to] = (*steps, f"meta l4proto {front.protocol} dnat to {at}")
    picks = ", ".join(f"{number} : goto {to}" for number, to in enumerate(targets))
    rules.append(f"numgen inc mod {len(targets)} vmap {{ {picks} }}")
    chains[name] = tuple(rules)
    return name


def _name(front: Front) -> str:
    return _digest(f"{front.service} {front.protocol} {front.family}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def transaction(table: str, wanted: Rules, before: Rules | None) -> str:
    """From what the table holds to what it should; `before` None: whatever is there goes. Where all of it is known,
    what stays is not said again: of a thousand services one endpoint's change is some lines."""
    here = f"{_WORDS[wanted.family][0]} {table}"
    lines = [f"add table {here}"]
    if before is None:
        lines += [f"delete table {here}", f"add table {here}"]
    old = {} if before is None else {_chain(head): rules for head, rules in before.chains}
    new = {_chain(head): (head, rules) for head, rules in wanted.chains}
    known = before is not None and bool(before.sets)  # else its chains' names alone are
    changed = [name for name, (_, rules) in new.items() if not known or old.get(name) != rules]
    # Chains before the maps that lead to them, maps before the rules that ask them.
    lines += [f"add chain {here} {new[name][0]}" for name in changed]
    held = {name for name, _ in before.sticky} if before is not None and known else set[str]()
    lines += [f"add {_put_in(definition, here)}" for name, definition in wanted.sticky if name not in held]
    if not known:
        lines += [f"add {_put_in(definition, here)}" for _, definition, _ in wanted.sets]
    lines += [
        f"flush chain {here} {name}"
        for name in (*old, *(each for each in changed if each not in old))
        if name not in new or name in changed or not known
    ]
    lines += _elements(here, wanted, before if known else None)
    lines += [f"add rule {here} {name} {rule}" for name in changed for rule in new[name][1]]
    lines += [f"delete chain {here} {name}" for name in old if name not in new]
    kept = {name for name, _ in wanted.sticky}
    gone = () if before is None else (name for name, _ in before.sticky if name not in kept)
    lines += [f"delete set {here} {name}" for name in gone]
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def _elements(here: str, wanted: Rules, before: Rules | None) -> Iterator[str]:
    """Of the sets: all of them anew, or what is another."""
    if before is None:
        yield from (f"flush {definition.split()[0]} {here} {name}" for name, definition, _ in wanted.sets)
    held = {} if before is None else {name: dict.fromkeys(elements) for name, _, elements in before.sets}
    for name, _, elements in wanted.sets:
        there, now = held.get(name, {}), dict.fromkeys(elements)
        for verb, found in (
            ("delete", [each for each in there if each not in now]),
            ("add", [each for each in now if each not in there]),
        ):
            if found:
                yield f"{verb} element {here} {name} {{ {', '.join(found)} }}"


def rules_there(printed: str, family: Family) -> Rules:
    """The names of what a table holds, of what `nft -j list table` prints: what an agent before this one left. So
    that `transaction` replaces its rules and leaves the clients that its sets remember. Raises `UnavailableError`."""
    try:
        listed = maps_at(read_json(printed), "nftables")
    except InvalidError as error:
        raise UnavailableError(f"nft: {error}") from error
    chains = [str_at(each, "chain", "name") for each in listed if "chain" in each]
    sets = [str_at(each, "set", "name") for each in listed if "set" in each]
    return Rules(
        family=family,
        chains=tuple((name, ()) for name in chains),
        sets=(),
        sticky=tuple((name, "") for name in sets if name.startswith(_CLIENTS)),
    )


def _chain(head: str) -> str:
    return head.split()[0]


def _put_in(definition: str, here: str) -> str:
    """`set NAME {...}` as `set FAMILY TABLE NAME {...}`."""
    kind, rest = definition.split(maxsplit=1)
    return f"{kind} {here} {rest}"
