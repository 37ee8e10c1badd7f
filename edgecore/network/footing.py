"""What pods need of their gateway's network in their first instant: before the first of them is begun.

The address of the cluster's DNS and sockets on it, so that who asks waits and is not refused; and the file by which
the runtime connects pods, where it has to be another one than it was. Nothing is told here of what does not work: the
rest of the network, which is read from the disk while the runtime makes sandboxes (`edgecore.network.keeper`), tries
it again and tells. Keeps the sockets, and the lock of this machine's network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecore.network.settings import DnsSettings, NetworkSettings, PodNetworkSettings
from skerry.errors import UnavailableError
from skerry.frozen import Frozen

if TYPE_CHECKING:  # who has names or a network of pods has them
    from edgecore.network.claim import Claim
    from edgecore.network.dns_sockets import DnsSockets
    from edgecore.network.pod_file import PodFile


class Footing(Frozen):
    """What the rest of the network goes on from."""

    claim: Claim
    sockets: DnsSockets | None = None
    """Where the cluster's DNS is asked; None where it is not, or could not be bound."""
    file: PodFile | None = None
    """None where it was as it should be."""

    def close(self) -> None:
        """At the end of the agent, whether or not a server had the sockets."""
        if self.sockets is not None:
            self.sockets.close()
        self.claim.release()


async def footing_of(settings: NetworkSettings, data: Path, ranges: Callable[[], Sequence[str]]) -> Footing | None:
    """None where pods need nothing. `data`: the agent's; `ranges`: of its pods' addresses, as far as it knows."""
    if settings.dns is None and settings.pods is None:
        return None
    from edgecore.network.claim import Claim

    claim = Claim(data)
    file = None if settings.pods is None else await _file(settings.pods, claim, ranges)
    sockets = None if settings.dns is None else await _sockets(settings.dns, claim)
    return Footing(claim=claim, sockets=sockets, file=file)


async def _sockets(dns: DnsSettings, claim: Claim) -> DnsSockets | None:
    from edgecore.network.dns_sockets import dns_sockets_at
    from edgecore.network.interface import hold_address, is_for_pods

    with contextlib.suppress(UnavailableError):
        if is_for_pods(dns.host):
            if claim.hold():
                return None
            await hold_address(dns.host)
        return dns_sockets_at(dns.host, dns.port)
    return None


async def _file(settings: PodNetworkSettings, claim: Claim, known: Callable[[], Sequence[str]]) -> PodFile | None:
    ranges = settings.ranges or known()
    if not ranges:
        return None
    from edgecore.network.pod_file import PodFile, is_other

    with contextlib.suppress(OSError):
        if is_other(settings.directory, ranges):
            file = PodFile(settings.directory, claim)
            with contextlib.suppress(UnavailableError):
                await file.bring(ranges)
            return file
    return None
