"""Brings the kernel's rules for service addresses to what the directory says, by `nft` and `conntrack`.

Keeps in memory what the table was last given; an agent that begins replaces the table whole. The rules stay when it
ends: its pods go on, and reach each other while it is away.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from edgecore.network.balancing import Flow, Front, fronts_of, stale_flows
from edgecore.network.directory import Directory
from edgecore.network.nftables import Rules, rules_of, transaction
from edgecore.network.programs import found, run
from skerry.errors import UnavailableError
from skerry.objects.members import Family, family_of

LOG: Final = logging.getLogger(__name__)

TABLE: Final = "skerry-services"
AGAIN_S: Final = 10.0
TOGETHER_S: Final = 0.05
"""Changes within this time are one: a rollout is many."""
_RUN_S: Final = 30.0
_FAMILIES: Final[tuple[Family, ...]] = ("IPv4", "IPv6")


class Routing:
    """Run `run` in a task group; `poke` it when the directory changed."""

    def __init__(self, directory: Directory, table: str = TABLE) -> None:
        self._directory = directory
        self._table = table
        self._changed = asyncio.Event()
        self._rules: dict[Family, Rules] = {}
        self._fronts: list[Front] = []
        self._told = ""
        self._writing = asyncio.Lock()
        """A transaction goes from what the one before it left."""

    def poke(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        self.poke()
        while True:
            await self._changed.wait()
            await asyncio.sleep(TOGETHER_S)
            self._changed.clear()
            try:
                await self.bring_up()
            except UnavailableError as error:
                if self._told != str(error):
                    LOG.warning("service addresses can't be brought up to date reason=%r", str(error))
                self._told = str(error)
                self._rules.clear()  # who knows what is there now: the next time all of it
                await asyncio.sleep(AGAIN_S)
                self.poke()
            else:
                if self._told:
                    LOG.info("service addresses are up to date again")
                self._told = ""

    async def bring_up(self) -> None:
        """Raises `UnavailableError`; then the rules are as they were."""
        async with self._writing:
            await self._bring_up()

    async def _bring_up(self) -> None:
        fronts = fronts_of(self._directory)
        pods = self._directory.own_pods()
        for family in _FAMILIES:
            before = self._rules.get(family)
            wanted = rules_of(fronts, [each for each in pods if family_of(each) == family], family)
            if wanted != before:
                await run("nft", "-f", "-", text=transaction(self._table, wanted, before))
                self._rules[family] = wanted
        flows = stale_flows(self._fronts, fronts)
        self._fronts = fronts
        for flow in flows:
            await _forget(flow)


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
