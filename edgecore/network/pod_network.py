"""Keeps the pods' network of this gateway: the runtime's configuration, ways to the site's other pods, and out.

What is kept is the runtime's file, and what the kernel holds; both outlive the agent, and it finds both again. Where
the operator connects pods, nothing is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from edgecore.network.claim import Claim
from edgecore.network.directory import Directory
from edgecore.network.pod_file import FAMILIES, PodFile, lines_of
from edgecore.network.programs import found, run
from edgecore.network.routes import (
    CHAIN,
    PROTOCOL,
    Route,
    masquerade_iptables,
    masquerade_nft,
    route_changes,
    wanted_routes,
)
from edgecore.network.settings import PodNetworkSettings
from skerry.errors import UnavailableError
from skerry.objects.functions import NodeFunction
from skerry.objects.json import str_at
from skerry.waits import until_set

LOG: Final = logging.getLogger(__name__)

TABLE: Final = "skerry-pods"
LOOK_S: Final = 30.0
"""An operator's file that comes or goes, and a neighbour that was not reached, are seen within it."""
_FORWARDING: Final = {4: Path("/proc/sys/net/ipv4/ip_forward"), 6: Path("/proc/sys/net/ipv6/conf/all/forwarding")}


class PodNetwork:
    """Run `run` in a task group; `poke` it when the directory changed."""

    def __init__(
        self, directory: Directory, settings: PodNetworkSettings, claim: Claim, file: PodFile | None = None
    ) -> None:
        """`file`: what was brought up to date already."""
        self._directory = directory
        self._file = file or PodFile(settings.directory, claim)
        self._settings = settings
        self._changed = asyncio.Event()
        self._told: dict[str, str] = {}
        self._faults: dict[str, str] = {}
        """Those of what was told that still hold."""
        self._masqueraded: tuple[tuple[str, ...], tuple[Route, ...]] | None = None

    def poke(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            await self.look()
            await until_set(self._changed, within_s=LOOK_S)

    @property
    def function(self) -> NodeFunction | None:
        """Who connects pods, and what is amiss; None where nobody said which addresses they have, or nothing is known
        yet."""
        faults = [each for each in (self._file.fault, *self._faults.values()) if each]
        if faults:
            return NodeFunction(kind="PodNetwork", works=False, reason="NotUpToDate", message="; ".join(faults))
        if not self._file.said:
            return None
        reason = "Own" if self._masqueraded is not None else "Others"
        return NodeFunction(kind="PodNetwork", works=True, reason=reason, message=self._file.said)

    async def look(self) -> None:
        """Once: bring everything to what is known."""
        ranges = self._settings.ranges or self._directory.ranges
        try:
            ours = bool(ranges) and await self._file.bring(ranges)
        except UnavailableError:  # it is told
            return
        if ours:
            await self._connect(ranges)
        elif self._masqueraded is not None:
            await self.clear()

    # --- the kernel's part ---

    async def _connect(self, ranges: Sequence[str]) -> None:
        routes = wanted_routes(
            self._directory.routes(),
            node=self._directory.node,
            zone=self._directory.zone,
            own=ranges,
            connected=self._file.connected,
        )
        for version in FAMILIES:
            if any((":" in each) == (version == 6) for each in ranges):
                self._forward(version)
                await self._route(version, routes)
        wanted = (tuple(ranges), tuple(routes))
        if wanted == self._masqueraded and await self._is_masqueraded(ranges):
            return
        try:
            await self._masquerade(ranges, [each.range for each in routes])
        except UnavailableError as error:
            self._tell("masquerade", f"pods don't reach beyond the site: {error}")
            return
        self._masqueraded = wanted
        self._well("masquerade")

    def _forward(self, version: int) -> None:
        try:
            if _FORWARDING[version].read_text().strip() == "0":
                _FORWARDING[version].write_text("1\n")
        except OSError as error:
            self._tell(f"forward{version}", f"{_FORWARDING[version]}: {error.strerror}")

    async def _route(self, version: int, routes: Sequence[Route]) -> None:
        try:
            held = _routes_in(await run("ip", f"-{version}", "-j", "route", "show", "proto", PROTOCOL))
        except UnavailableError as error:
            self._tell(f"routes{version}", f"no ways to the site's other pods: {error}")
            return
        self._well(f"routes{version}")
        for words in route_changes(version, held, routes):
            try:
                await run("ip", f"-{version}", *words)
            except UnavailableError as error:  # not on our network, or its link is down: looked at again
                self._tell(words[2], f"no way to the pods {words[2]} of the site: {error}")
            else:
                self._well(words[2])
                LOG.info("way to pods of the site %s", " ".join(words[1:]))

    async def _is_masqueraded(self, own: Sequence[str]) -> bool:
        """Whether the kernel still does: who reloads a firewall empties it of our rules too."""
        for version in {ip_network(each).version for each in own}:
            word, tables = ("ip", "iptables") if version == 4 else ("ip6", "ip6tables")
            try:
                if found("nft") is None:
                    await run(tables, "-w", "-t", "nat", "-C", "POSTROUTING", "-j", CHAIN)
                elif "masquerade" not in await run("nft", "list", "chain", word, TABLE, "postrouting"):
                    return False
            except UnavailableError:
                return False
        return True

    async def _masquerade(self, own: Sequence[str], near: Sequence[str]) -> None:
        if found("nft") is not None:
            for version in FAMILIES:
                await run("nft", "-f", "-", text=masquerade_nft(TABLE, version, own, near))
            return
        for version in FAMILIES:
            if any((":" in each) == (version == 6) for each in own):
                tables = "iptables" if version == 4 else "ip6tables"
                await run(f"{tables}-restore", "--noflush", text=masquerade_iptables(version, own, near))
                await jump(tables, "nat", "POSTROUTING", CHAIN)

    async def clear(self) -> None:
        """Take the kernel's part back; pods that run stay connected."""
        for version in FAMILIES:
            await self._route(version, ())
        await forget_masquerade()
        self._masqueraded = None

    # --- what is said ---

    def _tell(self, about: str, what: str) -> None:
        """A fault, once."""
        self._faults[about] = what
        if self._told.get(about) != what:
            LOG.warning("the pods' network %s", what)
        self._told[about] = what

    def _well(self, about: str) -> None:
        self._told.pop(about, None)
        self._faults.pop(about, None)


async def jump(tables: str, table: str, chain: str, to: str) -> None:
    """See to it that a chain of the kernel's leads to ours. Raises `UnavailableError`."""
    try:
        await run(tables, "-w", "-t", table, "-C", chain, "-j", to)
    except UnavailableError:
        await run(tables, "-w", "-t", table, "-I", chain, "-j", to)


async def forget_masquerade() -> None:
    """Whoever made it; what is not there is no failure."""
    for version in FAMILIES:
        tables = "iptables" if version == 4 else "ip6tables"
        for words in (
            ("nft", "delete", "table", "ip" if version == 4 else "ip6", TABLE),
            (tables, "-w", "-t", "nat", "-D", "POSTROUTING", "-j", CHAIN),
            (tables, "-w", "-t", "nat", "-F", CHAIN),
            (tables, "-w", "-t", "nat", "-X", CHAIN),
        ):
            try:
                await run(*words)
            except UnavailableError:
                continue


def _routes_in(printed: str) -> Iterable[Route]:
    """Of what `ip -j route` prints; hosts' routes come without a prefix."""
    return [
        Route(range=str_at(line, "dst"), gateway=str_at(line, "gateway"))
        for line in lines_of(printed)
        if str_at(line, "gateway")
    ]
