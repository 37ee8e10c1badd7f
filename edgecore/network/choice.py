"""What leads service addresses on this gateway: said by the settings, or the first that works, best first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from edgecore.network.forwarding import UserspaceCarrier
from edgecore.network.kernel import Carrier, IptablesCarrier, NftablesCarrier
from edgecore.network.settings import AUTO
from skerry.errors import UnavailableError

LOG: Final = logging.getLogger(__name__)

CARRIERS: Final[Mapping[str, Callable[[], Carrier]]] = {
    "nftables": NftablesCarrier,
    "iptables": IptablesCarrier,
    "userspace": UserspaceCarrier,
}
"""Best first."""


def candidates(wanted: str) -> Sequence[Carrier]:
    return [make() for make in CARRIERS.values()] if wanted == AUTO else [CARRIERS[wanted]()]


async def choose(carriers: Sequence[Carrier]) -> tuple[Carrier, str]:
    """The first that works, and why none before it. Raises `UnavailableError` where none does."""
    missing: list[str] = []
    for carrier in carriers:
        try:
            await carrier.check()
        except UnavailableError as error:
            missing.append(f"{carrier.name}: {error}")
        else:
            return carrier, "; ".join(missing)
    raise UnavailableError("; ".join(missing))
