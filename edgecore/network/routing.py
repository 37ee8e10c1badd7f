"""Brings what leads service addresses to what the directory says.

Which carrier that is is found at the start (`edgecore.network.choice`). Keeps in memory what it was last given; what
the kernel holds stays when the agent ends, as its pods go on and reach each other while it is away, and the next one
takes it over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from edgecore.network.balancing import Flow, Front, FrontTable, stale_flows
from edgecore.network.choice import choose
from edgecore.network.claim import Claim
from edgecore.network.directory import Directory
from edgecore.network.kernel import Carrier
from edgecore.network.programs import found, run
from skerry.errors import UnavailableError
from skerry.objects.functions import NodeFunction
from skerry.waits import until_set

LOG: Final = logging.getLogger(__name__)

AGAIN_S: Final = 10.0
LOOK_S: Final = 30.0
"""Between two looks whether the kernel still has what it was given (kube-proxy's, too)."""
TOGETHER_S: Final = 0.05
"""Changes within this time are one: a rollout is many."""


class Routing:
    """Run `run` in a task group; `poke` it when the directory changed."""

    def __init__(self, directory: Directory, carriers: Sequence[Carrier], claim: Claim) -> None:
        """`carriers`: the first that works is used."""
        self._directory = directory
        self._claim = claim
        self._carriers = carriers
        self._carrier: Carrier | None = None
        self._changed = asyncio.Event()
        self._table = FrontTable(directory)
        self._fronts: list[Front] = []
        self._told = ""
        self._unled: frozenset[str] = frozenset()
        self._writing = asyncio.Lock()
        """What is to be done goes from what was done before."""

    def poke(self) -> None:
        self._changed.set()

    @property
    def function(self) -> NodeFunction | None:
        """What leads, and what is amiss; None while that is not known yet."""
        carrier = self._carrier
        if self._told:
            return NodeFunction(kind="ServiceAddresses", works=False, reason="NotUpToDate", message=self._told)
        if carrier is None:
            return None
        limits = "" if carrier.in_kernel else "; through the agent, node ports alone"
        unled = f"; SCTP is not led: {', '.join(sorted(self._unled)[:3])}" if self._unled else ""
        message = f"addresses of services are led by {carrier.name}{limits}{unled}"
        return NodeFunction(kind="ServiceAddresses", works=True, reason=carrier.name.capitalize(), message=message)

    async def run(self) -> None:
        """Until cancelled."""
        self.poke()
        try:
            while True:
                await self._wait()
                await asyncio.sleep(TOGETHER_S)
                self._changed.clear()
                try:
                    await self.bring_up()
                except UnavailableError as error:
                    if self._told != str(error):
                        LOG.warning("service addresses can't be brought up to date reason=%r", str(error))
                    self._told = str(error)
                    await asyncio.sleep(AGAIN_S)
                    self.poke()
                else:
                    if self._told:
                        LOG.info("service addresses are up to date again")
                    self._told = ""
        finally:
            if self._carrier is not None:
                await self._carrier.close()

    async def _wait(self) -> None:
        """Until something is another, here or in the kernel: who reloads a firewall empties it of our rules too."""
        while not await until_set(self._changed, within_s=LOOK_S):
            async with self._writing:
                if self._carrier is None or await self._carrier.intact():
                    continue
            LOG.warning("somebody took the rules that lead service addresses: they are made anew")
            return

    async def bring_up(self) -> None:
        """Raises `UnavailableError`; then what leads is as it was, as far as that can be helped."""
        async with self._writing:
            carrier = self._carrier or await self._choose()
            fronts = self._table.fronts()
            self._tell_of_unled(fronts, carrier)
            await carrier.carry(fronts, sorted(self._directory.own_pods()))
            flows = stale_flows(self._fronts, fronts) if carrier.in_kernel else []
            self._fronts = fronts
            for flow in flows:
                await _forget(flow)

    async def _choose(self) -> Carrier:
        carrier, missing = await choose(self._carriers)
        if carrier.in_kernel:
            await self._claim.take()
        for other in self._carriers:
            if other is not carrier and other.in_kernel and missing.find(f"{other.name}:") < 0:
                await other.clear()  # of an agent that had no better one
        LOG.info("service addresses are led by %s%s", carrier.name, f" ({missing})" if missing else "")
        if not carrier.in_kernel:
            LOG.warning(
                "node ports alone are led, through the agent, and pods don't see clients' own addresses: the kernel "
                "would do better, with root and nftables or iptables"
            )
        self._carrier = carrier
        return carrier

    def _tell_of_unled(self, fronts: Sequence[Front], carrier: Carrier) -> None:
        """SCTP, once: what kernels make of it by iptables depends on too much, and the agent does not speak it."""
        unled = frozenset(each.service for each in fronts if each.protocol == "sctp" and carrier.name != "nftables")
        if unled - self._unled:
            LOG.warning("SCTP is not led anywhere services=%s", ",".join(sorted(unled)))
        self._unled = unled


async def _forget(flow: Flow) -> None:
    """Have the kernel look anew where these datagrams go. That there are none is no failure."""
    if found("conntrack") is None:
        return
    family = "ipv4" if flow.family == "IPv4" else "ipv6"
    where = ("--orig-dst", flow.address) if flow.address else ()
    backend = ("--dst-nat", flow.backend) if flow.backend else ()
    words = ("-D", "-f", family, "-p", "udp", *where, "--orig-port-dst", str(flow.port), *backend)
    try:
        await run("conntrack", *words)
    except UnavailableError as error:
        if "0 flow entries" not in str(error):
            LOG.warning("datagrams of before may go astray for a while reason=%r", str(error))
