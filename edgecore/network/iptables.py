"""The rules by which the kernel leads service addresses to backends, as text for `iptables-restore`. Pure.

For kernels without nftables: what `edgecore.network.nftables` says, in the words of iptables, with the order and the
tricks of kube-proxy's iptables mode. Everything is in chains of our own, `SK...`, which are written whole in one
transaction for each table; three jumps a table lead to them. Nothing of what users write reaches the text but
numbers, addresses that were parsed, and hashes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from edgecore.network.balancing import Backend, Front
from edgecore.network.nftables import MARK
from skerry.frozen import Frozen
from skerry.objects.members import Family

SERVICES: Final = "SKERRY-SERVICES"
NODE_PORTS: Final = "SKERRY-NODEPORTS"
OUT: Final = "SKERRY-OUT"
OWN: Final = "SKERRY-OWN"
REFUSED: Final = "SKERRY-REFUSED"
JUMPS: Final = (
    ("nat", "PREROUTING", SERVICES),
    ("nat", "OUTPUT", SERVICES),
    ("nat", "POSTROUTING", OUT),
    ("filter", "INPUT", REFUSED),
    ("filter", "FORWARD", REFUSED),
    ("filter", "OUTPUT", REFUSED),
)
"""Table, the kernel's chain, ours."""
OURS: Final = re.compile(r"SKERRY-(SERVICES|NODEPORTS|OUT|OWN|OWN-TO|REFUSED)|SK[IOXE]-[0-9a-f]{16}")
"""All our chains for services."""
_PROTOCOLS: Final = ("tcp", "udp")
_MARKED: Final = f"-j MARK --set-xmark {MARK:#x}/{MARK:#x}"

Chains = dict[str, list[str]]


class Tables(Frozen):
    """Our chains with their rules, by table."""

    family: Family
    nat: tuple[tuple[str, tuple[str, ...]], ...]
    filter: tuple[tuple[str, tuple[str, ...]], ...]


def tables_of(fronts: Iterable[Front], own_pods: Iterable[str], family: Family) -> Tables:
    """`own_pods` are the addresses of this gateway's pods in this family."""
    loopback = "127.0.0.0/8" if family == "IPv4" else "::1/128"
    local = f"-m addrtype --dst-type LOCAL ! -d {loopback}"
    nat: Chains = {SERVICES: [], NODE_PORTS: []}
    refused: list[str] = []
    taken: set[tuple[str, str, int]] = set()
    for front in (each for each in fronts if each.family == family and each.protocol in _PROTOCOLS):
        inside = _choose("SKI", front, front.inside_backends, nat)
        outside = _choose("SKO", front, front.outside_backends, nat)
        if outside and not front.keeps_source:
            through = f"SKX-{_digest(_label(front))}"
            nat[through] = [_MARKED, f"-j {outside}"]
            outside = through
        wanted = [(address, inside) for address in front.addresses] + [(each, outside) for each in front.outside]
        for address, chain in wanted:
            if (address, front.protocol, front.port) in taken:
                continue  # of two services that ask for the same the first has it
            taken.add((address, front.protocol, front.port))
            match = f"-d {address} {_port(front.protocol, front.port)}"
            if chain:
                nat[SERVICES].append(f"{match} -j {chain}")
            else:
                refused.append(f"{match} {_reject(front, family)}")
        if front.node_port and ("", front.protocol, front.node_port) not in taken:
            taken.add(("", front.protocol, front.node_port))
            match = _port(front.protocol, front.node_port)
            if outside:
                nat[NODE_PORTS].append(f"{match} -j {outside}")
            else:
                refused.append(f"{local} {match} {_reject(front, family)}")
    nat[SERVICES].append(f"{local} -j {NODE_PORTS}")
    nat |= _out(sorted(set(own_pods)))
    return Tables(
        family=family,
        nat=tuple((name, tuple(rules)) for name, rules in nat.items()),
        filter=((REFUSED, tuple(f"-m conntrack --ctstate NEW {each}" for each in refused)),),
    )


def _out(own_pods: Sequence[str]) -> Chains:
    """What leaves with the gateway's address: what was marked, and what goes from pod to pod of ours, as on one
    bridge the answer would go straight back, from an address that was not asked."""
    return {
        OUT: [
            f"-m conntrack --ctstate DNAT -j {OWN}",
            f"-m mark ! --mark {MARK:#x}/{MARK:#x} -j RETURN",
            f"-j MARK --set-xmark {MARK:#x}/0x0",
            "-j MASQUERADE",
        ],
        OWN: [f"-s {each} -j {OWN}-TO" for each in own_pods],
        f"{OWN}-TO": [f"-d {each} -j MASQUERADE" for each in own_pods],
    }


def _choose(kind: str, front: Front, backends: Sequence[Backend], nat: Chains) -> str:
    """The chain that picks a backend; "" where there is none."""
    if not backends:
        return ""
    stay: list[str] = []
    pick: list[str] = []
    for number, backend in enumerate(backends):
        to = f"SKE-{_digest(f'{_label(front)} {backend.address} {backend.port}')}"
        left = len(backends) - number
        turn = f"-m statistic --mode nth --every {left} --packet 0 " if left > 1 else ""
        pick.append(f"{turn}-j {to}")
        steps = [f"-s {backend.address} {_MARKED}"]
        if front.sticky_s:
            stay.append(f"-m recent --name {to} --rcheck --seconds {front.sticky_s} --reap -j {to}")
            steps.append(f"-m recent --name {to} --set")
        at = f"{backend.address}:{backend.port}" if front.family == "IPv4" else f"[{backend.address}]:{backend.port}"
        nat[to] = [*steps, f"-p {front.protocol} -j DNAT --to-destination {at}"]
    name = f"{kind}-{_digest(_label(front))}"
    nat[name] = [*stay, *pick]
    return name


def _port(protocol: str, port: int) -> str:
    return f"-p {protocol} -m {protocol} --dport {port}"


def _reject(front: Front, family: Family) -> str:
    if front.protocol == "tcp":
        return "-j REJECT --reject-with tcp-reset"
    return f"-j REJECT --reject-with {'icmp' if family == 'IPv4' else 'icmp6'}-port-unreachable"


def _label(front: Front) -> str:
    return f"{front.service} {front.protocol} {front.family}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def restore_text(table: str, wanted: Iterable[tuple[str, tuple[str, ...]]], there: Iterable[str]) -> str:
    """For `iptables-restore --noflush`: our chains of one table whole, and away with those of `there` that are not
    wanted any more."""
    chains = dict(wanted)
    gone = [name for name in there if name not in chains]
    lines = [f"*{table}", *(f":{name} - [0:0]" for name in (*chains, *gone))]
    lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
    lines += [f"-X {name}" for name in gone]
    return "\n".join([*lines, "COMMIT", ""])


def changed_text(
    table: str, wanted: Iterable[tuple[str, tuple[str, ...]]], before: Iterable[tuple[str, tuple[str, ...]]]
) -> str:
    """The same from what was written before: the chains that are others now, and no word of the rest; "" for none."""
    then, now = dict(before), dict(wanted)
    changed = [(name, rules) for name, rules in now.items() if then.get(name) != rules]
    gone = [name for name in then if name not in now]
    return restore_text(table, changed, gone) if changed or gone else ""


def chains_in(saved: str) -> list[str]:
    """Ours, of what `iptables-save -t TABLE` prints."""
    names = [line[1:].split()[0] for line in saved.splitlines() if line.startswith(":")]
    return [name for name in names if OURS.fullmatch(name)]
