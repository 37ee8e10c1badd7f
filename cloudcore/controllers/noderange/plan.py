"""Which part of the cluster's range the pods of a node get. Pure.

A node's part follows from its name, so that a node that is made again, or a fleet that is restored, tends to get the
same one: its pods' addresses and its neighbours' routes stay right. Where another node has it, the next one that is
free. Made again from the nodes after a crash.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen

PARTS_BITS_MAX: Final = 16
"""As Kubernetes: the cluster's range is at most 2^16 nodes'."""
DEFAULT_BITS: Final = {4: 24, 6: 64}
_SMALLEST: Final = {4: 28, 6: 122}

Network = IPv4Network | IPv6Network


class ClusterRange(Frozen):
    """Of one family: the cluster's, and how long the prefix of a node's part is."""

    network: Network
    bits: int

    @property
    def parts(self) -> int:
        return 1 << (self.bits - self.network.prefixlen)

    def part(self, number: int) -> str:
        first = int(self.network.network_address) + (number << (self.network.max_prefixlen - self.bits))
        return f"{type(self.network.network_address)(first)}/{self.bits}"

    def numbers(self, other: Network) -> range:
        """The parts that another network covers, whole or in part."""
        if other.version != self.network.version or not other.overlaps(self.network):
            return range(0)
        shift, base = self.network.max_prefixlen - self.bits, int(self.network.network_address)
        first = max(int(other.network_address) - base, 0) >> shift
        last = min(int(other.broadcast_address), int(self.network.broadcast_address)) - base >> shift
        return range(first, last + 1)


def cluster_ranges(texts: Sequence[str], masks: Sequence[int] = ()) -> tuple[ClusterRange, ...]:
    """What `--cluster-cidr` and `--node-cidr-mask-size` say. Raises `InvalidError` naming them."""
    if masks and len(masks) != len(texts):
        raise InvalidError("--node-cidr-mask-size: give as many as --cluster-cidr has ranges, in the same order")
    found: list[ClusterRange] = []
    for index, text in enumerate(texts):
        try:
            network = ip_network(text)
        except ValueError as error:
            raise InvalidError(f"--cluster-cidr {text!r}: {error}") from None
        bits = masks[index] if masks else DEFAULT_BITS[network.version]
        if not network.prefixlen <= bits <= min(network.prefixlen + PARTS_BITS_MAX, _SMALLEST[network.version]):
            raise InvalidError(
                f"--node-cidr-mask-size {bits}: of {network} a node may have a /{network.prefixlen} to a "
                f"/{min(network.prefixlen + PARTS_BITS_MAX, _SMALLEST[network.version])}"
            )
        if any(each.network.version == network.version for each in found):
            raise InvalidError(f"--cluster-cidr {text!r}: one range of a family, at most one of IPv4 and one of IPv6")
        found.append(ClusterRange(network=network, bits=bits))
    return tuple(found)


class Parts:
    """Which parts of one range are taken, kept node by node."""

    def __init__(self, cluster: ClusterRange) -> None:
        self.cluster = cluster
        self._of: dict[str, tuple[range, ...]] = {}
        self._taken: Counter[int] = Counter()

    def hold(self, node: str, ranges: Iterable[str]) -> None:
        """What a node has now, instead of what it had; ranges that are none say nothing."""
        for numbers in self._of.pop(node, ()):
            self._taken.subtract(numbers)
        self._taken = +self._taken if len(self._taken) > 2 * self.cluster.parts else self._taken
        found = tuple(numbers for network in _networks(ranges) if (numbers := self.cluster.numbers(network)))
        for numbers in found:
            self._taken.update(numbers)
        if found:
            self._of[node] = found

    def free(self, node: str) -> str:
        """A part that nobody has; "" for none."""
        parts = self.cluster.parts
        first = int.from_bytes(hashlib.sha256(node.encode()).digest()[:8]) % parts
        numbers = ((first + step) % parts for step in range(parts))
        number = next((each for each in numbers if not self._taken[each] > 0), None)
        return "" if number is None else self.cluster.part(number)


def _networks(texts: Iterable[str]) -> Iterable[Network]:
    for text in texts:
        try:
            yield ip_network(text, strict=False)
        except ValueError:
            continue
