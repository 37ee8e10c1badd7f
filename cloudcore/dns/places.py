"""Where a client is, by its address, and how many bits of the address tell so (RFC 7871). Pure.

Networks are cut into leaves that cover all addresses and never overlap; neighbours of one place, or of places that
are alike to a service, are one leaf. A leaf's length is the scope of an answer: so no two answers that differ are for
networks of which one holds the other, whatever a resolver keeps of them. Scope 0 is everybody, in both families of
addresses: where all addresses of a family are one leaf, and the other family is not the same, its scope is 1.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

NOWHERE: Final = ""
"""The place of clients that no network names."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Leaf = tuple[int, int, str]
"""Its first address, the length of its prefix, its place."""


class _Branch:
    """A node of the tree while it is made."""

    __slots__ = ("place", "sides")

    def __init__(self) -> None:
        self.place: str | None = None
        self.sides: list[_Branch | None] = [None, None]


class Places:
    """A map from networks to places; the longest network that holds an address wins."""

    def __init__(self, networks: Mapping[Network, str]) -> None:
        self._take(
            {
                size: _leaves({net: it for net, it in networks.items() if net.max_prefixlen == 8 * size}, 8 * size)
                for size in (4, 16)
            }
        )

    def _take(self, leaves: dict[int, list[Leaf]]) -> None:
        self._leaves = leaves
        self._starts = {size: [leaf[0] for leaf in those] for size, those in leaves.items()}
        self.names = frozenset(place for those in leaves.values() for _, _, place in those)
        self._least = 0 if len(self.names) == 1 else 1

    def alike(self, classes: Mapping[str, str]) -> Places:
        """The same with places by their class, as few leaves as that allows."""
        made = Places({})
        made._take(
            {
                size: _joined([(first, length, classes[place]) for first, length, place in leaves], 8 * size)
                for size, leaves in self._leaves.items()
            }
        )
        return made

    def find(self, address: bytes) -> tuple[str, int]:
        """The place of a packed address, and the scope."""
        size = len(address)
        at = bisect_right(self._starts[size], int.from_bytes(address, "big")) - 1
        _, length, place = self._leaves[size][at]
        return place, length or self._least

    def leaves(self, size: int) -> list[Leaf]:
        """All of them for addresses of 4 or 16 bytes, in order."""
        return self._leaves[size]


def _leaves(networks: Mapping[Network, str], bits: int) -> list[Leaf]:
    root = _Branch()
    for network, place in networks.items():
        branch, first = root, int(network.network_address)
        for depth in range(network.prefixlen):
            side = first >> (bits - 1 - depth) & 1
            following = branch.sides[side]
            if following is None:
                following = branch.sides[side] = _Branch()
            branch = following
        branch.place = place
    return _merged(root, NOWHERE, 0, 0, bits)


def _merged(branch: _Branch | None, place: str, first: int, depth: int, bits: int) -> list[Leaf]:
    if branch is None:
        return [(first, depth, place)]
    place = place if branch.place is None else branch.place
    if branch.sides == [None, None]:
        return [(first, depth, place)]
    half = 1 << (bits - 1 - depth)
    left = _merged(branch.sides[0], place, first, depth + 1, bits)
    right = _merged(branch.sides[1], place, first + half, depth + 1, bits)
    if len(left) == len(right) == 1 and left[0][2] == right[0][2]:
        return [(first, depth, left[0][2])]
    return left + right


def _joined(leaves: list[Leaf], bits: int) -> list[Leaf]:
    """Both halves of a prefix that are of one place are that prefix."""
    made: list[Leaf] = []
    for leaf in leaves:
        first, length, place = leaf
        while made and made[-1][1:] == (length, place) and made[-1][0] == first - (1 << (bits - length)):
            if made[-1][0] >> (bits - length) & 1:
                break  # halves of two prefixes
            first, length = made.pop()[0], length - 1
        made.append((first, length, place))
    return made
