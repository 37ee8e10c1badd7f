"""Ways from one gateway to the pods of the others of its site, and what leaves the site. Pure.

Routes carry a number of their own (`proto`), so that after a crash what was made is found again, and what is
somebody else's is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import Final

from skerry.frozen import Frozen
from skerry.objects.json import int_at, maps_at, read_json, str_at
from skerry.objects.node_routes import NodeRoute

PROTOCOL: Final = "115"
"""Of our routes (rtnetlink(7), rtm_protocol): none of those that iproute2 has a name for."""
_WIDEST: Final = {4: 8, 6: 16}


class Route(Frozen, order=True):
    """A line of the kernel's table."""

    range: str
    gateway: str

    @property
    def version(self) -> int:
        return ip_network(self.range).version


class Connected(Frozen, order=True):
    """A network that this machine is on."""

    interface: str
    address: str
    network: str


def connected_in(printed: str, *, but: Sequence[str]) -> list[Connected]:
    """Of what `ip -j address` prints, but for these interfaces and what is of one link alone."""
    found: list[Connected] = []
    for link in maps_at({"lines": read_json(printed.strip() or "[]")}, "lines"):
        for each in maps_at(link, "addr_info") if str_at(link, "ifname") not in but else ():
            made = ip_interface(f"{str_at(each, 'local')}/{int_at(each, 'prefixlen')}")
            if not made.ip.is_link_local and not made.ip.is_loopback:
                found.append(
                    Connected(interface=str_at(link, "ifname"), address=str(made.ip), network=str(made.network))
                )
    return sorted(found)


def clash(ranges: Iterable[str], connected: Iterable[Connected]) -> str:
    """Why pods can't have these addresses: the machine would not find its own network any more; "" for nothing."""
    for range_ in ranges:
        for each in connected:
            network = ip_network(each.network)
            if network.version == ip_network(range_).version and network.overlaps(ip_network(range_)):
                return (
                    f"pods can't have addresses of {range_}: {each.interface} is on {each.network} with "
                    f"{each.address}; give them others (cloudcore --cluster-cidr, or edgecore --pod-network)"
                )
    return ""


def wanted_routes(
    told: Iterable[NodeRoute], *, node: str, zone: str, own: Sequence[str], connected: Iterable[Connected] = ()
) -> list[Route]:
    """To the others of the site. A range that would lead astray, over ourselves, over the gateway that it leads to,
    over a network that we are on, or over half of the world, is left out; of two gateways with one range the first
    has it."""
    found: dict[str, Route] = {}
    there = [ip_network(each.network) for each in connected]
    for each in sorted(told):
        if each.node == node or not zone or each.zone != zone:
            continue
        try:
            network, gateway = ip_network(each.range), ip_address(each.gateway)
        except ValueError:
            continue
        fits = network.version == gateway.version and network.prefixlen >= _WIDEST[network.version]
        clear = gateway not in network and not any(
            network.overlaps(ip_network(mine)) for mine in _alike(network.version, own)
        )
        if fits and clear and not any(each.version == network.version and each.overlaps(network) for each in there):
            found.setdefault(str(network), Route(range=str(network), gateway=str(gateway)))
    return sorted(found.values())


def _alike(version: int, ranges: Iterable[str]) -> list[str]:
    return [each for each in ranges if ip_network(each).version == version]


def route_changes(version: int, held: Iterable[Route], wanted: Iterable[Route]) -> list[tuple[str, ...]]:
    """Words for `ip`, one change each."""
    now = {each.range: each.gateway for each in held}
    then = {each.range: each.gateway for each in wanted if each.version == version}
    gone = [("route", "del", each, "proto", PROTOCOL) for each in sorted(now) if each not in then]
    new = [
        ("route", "replace", range_, "via", gateway, "proto", PROTOCOL)
        for range_, gateway in sorted(then.items())
        if now.get(range_) != gateway
    ]
    return [*gone, *new]


def masquerade_nft(table: str, version: int, own: Sequence[str], near: Sequence[str]) -> str:
    """For `nft -f`: what leaves the site has the gateway's address. `own`: its pods; `near`: the site's."""
    word, multicast = ("ip", "224.0.0.0/4") if version == 4 else ("ip6", "ff00::/8")
    mine, home = ", ".join(_alike(version, own)), ", ".join(_alike(version, [*own, *near]))
    lines = [f"add table {word} {table}", f"delete table {word} {table}"]
    if mine:
        rule = f"{word} saddr {{ {mine} }} {word} daddr != {{ {home}, {multicast} }} masquerade"
        lines += [
            f"add table {word} {table}",
            f"add chain {word} {table} postrouting {{ type nat hook postrouting priority srcnat ; }}",
            f"add rule {word} {table} postrouting {rule}",
        ]
    return "\n".join(lines) + "\n"


CHAIN: Final = "SKERRY-PODS"


def masquerade_iptables(version: int, own: Sequence[str], near: Sequence[str]) -> str:
    """The same for `iptables-restore --noflush`: the chain alone; who jumps to it is another matter."""
    multicast = "224.0.0.0/4" if version == 4 else "ff00::/8"
    home = [*_alike(version, [*own, *near]), multicast]
    rules = [f"-A {CHAIN} -d {each} -j RETURN" for each in home]
    rules += [f"-A {CHAIN} -s {each} -j MASQUERADE" for each in _alike(version, own)]
    return "\n".join(["*nat", f":{CHAIN} - [0:0]", *rules, "COMMIT", ""])
