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
from edgecore.network.cni import BRIDGE, NEEDED, OUR_FILE, configuration, mtu_in, others
from edgecore.network.directory import Directory
from edgecore.network.programs import found, run
from edgecore.network.routes import (
    CHAIN,
    PROTOCOL,
    Connected,
    Route,
    clash,
    connected_in,
    masquerade_iptables,
    masquerade_nft,
    route_changes,
    wanted_routes,
)
from edgecore.network.settings import PodNetworkSettings
from skerry.errors import UnavailableError
from skerry.objects.functions import NodeFunction
from skerry.objects.json import JsonObject, int_at, maps_at, read_json, str_at
from skerry.waits import until_set

LOG: Final = logging.getLogger(__name__)

TABLE: Final = "skerry-pods"
LOOK_S: Final = 30.0
"""An operator's file that comes or goes, and a neighbour that was not reached, are seen within it."""
PLUGINS: Final = (Path("/opt/cni/bin"), Path("/usr/lib/cni"), Path("/usr/libexec/cni"))
_MTU_ETHERNET: Final = 1500
_MTU_MIN: Final = 1280
"""IPv6 takes no less (RFC 8200 section 5)."""
FILE_BYTES_MAX: Final = 1 << 20
_FAMILIES: Final = (4, 6)
_FORWARDING: Final = {4: Path("/proc/sys/net/ipv4/ip_forward"), 6: Path("/proc/sys/net/ipv6/conf/all/forwarding")}


class PodNetwork:
    """Run `run` in a task group; `poke` it when the directory changed."""

    def __init__(self, directory: Directory, settings: PodNetworkSettings, claim: Claim) -> None:
        self._directory = directory
        self._claim = claim
        self._settings = settings
        self._changed = asyncio.Event()
        self._told: dict[str, str] = {}
        self._faults: dict[str, str] = {}
        """Those of what was told that still hold."""
        self._connected: list[Connected] = []
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
        if self._faults:
            why = "; ".join(self._faults.values())
            return NodeFunction(kind="PodNetwork", works=False, reason="NotUpToDate", message=why)
        if "file" not in self._told:
            return None
        reason = "Own" if self._masqueraded is not None else "Others"
        return NodeFunction(kind="PodNetwork", works=True, reason=reason, message=self._told["file"])

    async def look(self) -> None:
        """Once: bring everything to what is known."""
        ranges = self._settings.ranges or self._directory.ranges
        try:
            if ranges:
                self._connected = connected_in(await run("ip", "-j", "address", "show"), but=(BRIDGE, "lo"))
                if why := clash(ranges, self._connected):
                    self._tell("file", why)
                    return
            ours = bool(ranges) and await self._configure(ranges)
        except UnavailableError as error:  # it is another agent's
            self._tell("file", str(error))
            return
        except OSError as error:
            self._tell("file", f"{self._settings.directory}: {error.strerror}")
            return
        if ours:
            await self._connect(ranges)
        elif self._masqueraded is not None:
            await self.clear()

    # --- the runtime's configuration ---

    async def _configure(self, ranges: Sequence[str]) -> bool:
        """Whether it is ours by which pods are connected. Raises `OSError`, `UnavailableError`."""
        directory = self._settings.directory
        there = others(_files(directory))
        if there:
            self._say("file", f"pods are connected as {directory / there[0]} says")
            return False
        plugins = {file.name for place in PLUGINS if place.is_dir() for file in place.iterdir()}
        missing = [name for name in NEEDED if name not in plugins]
        if missing:
            self._tell("file", f"no CNI plugin {missing[0]} in {' or '.join(map(str, PLUGINS))}")
            return False
        await self._claim.take()
        file = directory / OUR_FILE
        before = file.read_text(errors="replace") if file.exists() else ""
        mtu = await self._mtu()
        text = configuration(ranges, plugins, owner=self._claim.data, mtu=mtu_in(before) if mtu is None else mtu)
        if before != text:
            directory.mkdir(parents=True, exist_ok=True)
            new = directory / f".{OUR_FILE}.new"  # no ending that a runtime reads
            new.write_text(text)
            new.chmod(0o644)
            new.replace(file)
        self._say("file", f"pods are connected by {file} ranges={','.join(ranges)}")
        return True

    async def _mtu(self) -> int | None:
        """Of the way out, where it takes less than Ethernet, as VPNs and modems do: pods then need not find out; 0
        where it does not, None while there is no way out."""
        found_: list[int] = []
        for version in _FAMILIES:
            routes = _lines(await run("ip", f"-{version}", "-j", "route", "show", "default"))
            for device in {str_at(each, "dev") for each in routes} - {""}:
                found_ += [
                    int_at(each, "mtu") for each in _lines(await run("ip", "-j", "link", "show", "dev", device))
                ]
        if not found_:
            return None
        return min(found_) if _MTU_MIN <= min(found_) < _MTU_ETHERNET else 0

    # --- the kernel's part ---

    async def _connect(self, ranges: Sequence[str]) -> None:
        routes = wanted_routes(
            self._directory.routes(),
            node=self._directory.node,
            zone=self._directory.zone,
            own=ranges,
            connected=self._connected,
        )
        for version in _FAMILIES:
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
            for version in _FAMILIES:
                await run("nft", "-f", "-", text=masquerade_nft(TABLE, version, own, near))
            return
        for version in _FAMILIES:
            if any((":" in each) == (version == 6) for each in own):
                tables = "iptables" if version == 4 else "ip6tables"
                await run(f"{tables}-restore", "--noflush", text=masquerade_iptables(version, own, near))
                await jump(tables, "nat", "POSTROUTING", CHAIN)

    async def clear(self) -> None:
        """Take the kernel's part back; pods that run stay connected."""
        for version in _FAMILIES:
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

    def _say(self, about: str, what: str) -> None:
        self._faults.pop(about, None)
        if self._told.get(about) != what:
            LOG.info("%s", what)
        self._told[about] = what


async def jump(tables: str, table: str, chain: str, to: str) -> None:
    """See to it that a chain of the kernel's leads to ours. Raises `UnavailableError`."""
    try:
        await run(tables, "-w", "-t", table, "-C", chain, "-j", to)
    except UnavailableError:
        await run(tables, "-w", "-t", table, "-I", chain, "-j", to)


async def forget_masquerade() -> None:
    """Whoever made it; what is not there is no failure."""
    for version in _FAMILIES:
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


async def remove_routes() -> None:
    """All of ours. Raises `UnavailableError`."""
    for version in _FAMILIES:
        await run("ip", f"-{version}", "route", "flush", "proto", PROTOCOL)


def _files(directory: Path) -> dict[str, str]:
    """What is in the runtime's directory. Raises `OSError`."""
    if not directory.is_dir():
        return {}
    found_files: dict[str, str] = {}
    for entry in sorted(directory.iterdir()):
        if entry.is_file():
            with entry.open(encoding="utf-8", errors="replace") as file:
                found_files[entry.name] = file.read(FILE_BYTES_MAX)
    return found_files


def _routes_in(printed: str) -> Iterable[Route]:
    """Of what `ip -j route` prints; hosts' routes come without a prefix."""
    return [
        Route(range=str_at(line, "dst"), gateway=str_at(line, "gateway"))
        for line in _lines(printed)
        if str_at(line, "gateway")
    ]


def _lines(printed: str) -> list[JsonObject]:
    return maps_at({"lines": read_json(printed.strip() or "[]")}, "lines")
