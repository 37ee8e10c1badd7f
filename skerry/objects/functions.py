"""What a gateway does for its site beside running pods, as conditions of its Node. Pure; keeps nothing.

There is a condition for each function that is asked for (`edgecore run --service-addresses`, ...): True while it
works, with what carries it; False with what is missing. Messages stay the same while nothing is amiss: each other one
is a report over the link.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from skerry.frozen import Frozen

FunctionKind: TypeAlias = Literal["ServiceAddresses", "ClusterDNS", "PodNetwork", "Ingress"]
FUNCTIONS: Final[tuple[FunctionKind, ...]] = ("ServiceAddresses", "ClusterDNS", "PodNetwork", "Ingress")
"""Types of the conditions, in the order in which they are shown."""
MESSAGE_LENGTH_MAX: Final = 400


class NodeFunction(Frozen):
    """One of them, as it is now."""

    kind: FunctionKind
    works: bool
    reason: str
    """What carries it; what is amiss in one word."""
    message: str
