"""What the agent leaves of its network in the kernel and on the disk when it has ended, found and taken away.

By names, numbers and marks that are ours alone; whoever else works here keeps what is theirs. Nothing of the agent's
life is needed: what a crash or an older version left is found as well. Keeps nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from edgecore.network.claim import forget, recorded
from edgecore.network.cni import BRIDGE, NETWORK, OUR_FILE, owner_in
from edgecore.network.ingress.process import Proxy
from edgecore.network.interface import LABEL
from edgecore.network.iptables import OURS
from edgecore.network.kernel import TABLE
from edgecore.network.pod_network import TABLE as PODS_TABLE
from edgecore.network.programs import found, run
from edgecore.network.routes import CHAIN, PROTOCOL
from skerry.errors import UnavailableError
from skerry.frozen import Frozen, replace
from skerry.objects.json import JsonObject, maps_at, read_json, str_at

LEASES: Final = Path("/var/lib/cni/networks") / NETWORK
"""Where the plugin host-local keeps which addresses are taken."""
_ENDINGS: Final = ("", "-legacy")
_FAMILIES: Final = ("ip", "ip6")


class Remnant(Frozen):
    """One thing that is here because of the agent."""

    what: str
    remove: Callable[[], Awaitable[object]]
    """Raises `UnavailableError`."""
    stays: str = ""
    """Why it has to stay; "": it can go."""


class Places(Frozen):
    """Where to look."""

    ingress: Path
    """HAProxy's directory."""
    cni: Path
    """The container runtime's configurations."""
    owner: str
    """Who asks, as `edgecore.network.claim` writes it."""
    running: str
    """The agent that runs and holds the machine's network; "" for none."""
    leases: Path = LEASES


async def remnants(places: Places, *, pods_go: bool) -> AsyncIterator[Remnant]:
    """In an order in which they can be taken away: each is looked for when those before are gone. `pods_go`: those
    that are connected still count for nothing. What is another agent's stays."""
    async for each in _proxy(places.ingress):
        yield each
    other = places.running or await _owner(places)
    stays = "" if other in ("", places.owner) else f"it is the agent's with --data {other}"
    kept = False
    async for each in _of_machine(places, pods_go=pods_go):
        kept |= bool(each.stays)
        yield replace(each, stays=stays) if stays else each
    if other == places.owner and not kept:
        yield Remnant(what="the record of whose this machine's network is", remove=forget)


async def _owner(places: Places) -> str:
    """Whose the machine's network is; the runtime's file outlives a restart of the machine."""
    with contextlib.suppress(UnavailableError):
        if owner := await recorded():
            return owner
    file = places.cni / OUR_FILE
    return owner_in(file.read_text(errors="replace")) if _is_there(file) else ""


async def _of_machine(places: Places, *, pods_go: bool) -> AsyncIterator[Remnant]:
    for table in await _tables():
        yield table
    for chains in await _chains():
        yield chains
    for each in (await _routes(), await _addresses()):
        for one in each:
            yield one
    for file in (places.cni / OUR_FILE, places.cni / f".{OUR_FILE}.new"):
        if _is_there(file):
            yield Remnant(what=f"CNI configuration {file}", remove=aside(_unlink, file))
    async for each in _bridge(places.leases, pods_go=pods_go):
        yield each


# --- Ingress ---


async def _proxy(directory: Path) -> AsyncIterator[Remnant]:
    proxy = Proxy(directory)
    found_there = await proxy.processes()
    if found_there is not None:
        yield Remnant(what=f"HAProxy, process {found_there.master}, of {directory}", remove=proxy.stop)
    if _is_there(directory):
        yield Remnant(
            what=f"configuration and keys of Ingresses in {directory}",
            remove=aside(_rmtree, directory),
        )


# --- the kernel ---


async def _tables() -> list[Remnant]:
    if found("nft") is None:
        return []
    there = nft_tables_in(await run("nft", "-j", "list", "tables"))
    return [
        Remnant(what=f"nftables table {family} {name}", remove=partial(run, "nft", "delete", "table", family, name))
        for family, name in there
    ]


def nft_tables_in(printed: str) -> list[tuple[str, str]]:
    """Ours, by family, of what `nft -j list tables` prints."""
    listed = [
        (str_at(each, "table", "family"), str_at(each, "table", "name")) for each in _lines(printed, "nftables")
    ]
    return [(family, name) for family, name in listed if family in _FAMILIES and name in (TABLE, PODS_TABLE)]


async def _chains() -> list[Remnant]:
    made: list[Remnant] = []
    for tables in ("iptables", "ip6tables"):
        for ending in _ENDINGS:
            if found(f"{tables}{ending}-save") is None:
                continue
            for table, text, count in restorations(await run(f"{tables}{ending}-save")):
                what = f"{count} chains of {tables}{ending} in the table {table}"
                restore = partial(run, f"{tables}{ending}-restore", "--noflush", "-w", text=text)
                made.append(Remnant(what=what, remove=restore))
    return made


def restorations(saved: str) -> list[tuple[str, str, int]]:
    """By table what `iptables-restore --noflush` has to read so that our chains are gone, and how many they are; of
    what `iptables-save` prints. Rules of others stay, and so do chains of theirs with names like ours."""
    found_tables: list[tuple[str, str, int]] = []
    table, chains, jumps = "", list[str](), list[str]()
    for line in saved.splitlines():
        if line.startswith("*"):
            table, chains, jumps = line[1:].strip(), [], []
        elif line.startswith(":") and _is_ours(name := line[1:].split()[0]):
            chains.append(name)
        elif line.startswith("-A ") and (jump := re.search(r" -[jg] (\S+)$", line)):
            if _is_ours(jump[1]) and not _is_ours(line.split()[1]):
                jumps.append(f"-D{line[2:]}")
        elif line == "COMMIT" and chains:
            lines = [f"*{table}", *jumps, *(f":{name} - [0:0]" for name in chains)]
            lines += [*(f"-X {name}" for name in chains), "COMMIT", ""]
            found_tables.append((table, "\n".join(lines), len(chains)))
    return found_tables


def _is_ours(chain: str) -> bool:
    return chain == CHAIN or OURS.fullmatch(chain) is not None


async def _routes() -> list[Remnant]:
    made: list[Remnant] = []
    for version in ("-4", "-6"):
        for line in _lines(await run("ip", version, "-j", "route", "show", "proto", PROTOCOL)):
            range_, gateway = str_at(line, "dst"), str_at(line, "gateway")
            words = ("ip", version, "route", "del", range_, "proto", PROTOCOL)
            made.append(Remnant(what=f"route to {range_} by {gateway or 'nobody'}", remove=partial(run, *words)))
    return made


async def _addresses() -> list[Remnant]:
    return [
        Remnant(
            what=f"address {address} of the loopback interface",
            remove=partial(run, "ip", "address", "del", address, "dev", "lo"),
        )
        for address in addresses_in(await run("ip", "-4", "-j", "address", "show", "dev", "lo"))
    ]


def addresses_in(printed: str) -> list[str]:
    """Those with our label, of what `ip -j address` prints."""
    held = [info for line in _lines(printed) for info in maps_at(line, "addr_info")]
    return [f"{str_at(each, 'local')}/32" for each in held if str_at(each, "label") == LABEL]


async def _bridge(leases: Path, *, pods_go: bool) -> AsyncIterator[Remnant]:
    links = _lines(await run("ip", "-j", "link", "show", "type", "bridge"))
    stays = ""
    if any(str_at(each, "ifname") == BRIDGE for each in links):
        ports = [str_at(each, "ifname") for each in _lines(await run("ip", "-j", "link", "show", "master", BRIDGE))]
        if ports and not pods_go:
            stays = f"{len(ports)} pods are connected by it ({', '.join(sorted(ports)[:3])})"
        yield Remnant(what=f"bridge {BRIDGE}", remove=partial(run, "ip", "link", "del", BRIDGE), stays=stays)
    if _is_there(leases):
        yield Remnant(
            what=f"leases of pods' addresses in {leases}",
            remove=aside(_rmtree, leases),
            stays=stays,
        )


def _lines(printed: str, name: str = "lines") -> Iterable[JsonObject]:
    """What a program's JSON lists. `ip -j` gives a list at the top, and nothing at all for nothing."""
    text = printed.strip()
    return maps_at(read_json(text if name != "lines" else f'{{"lines": {text or "[]"}}}'), name)


# --- files ---


def aside(act: Callable[[Path], None], path: Path) -> Callable[[], Awaitable[object]]:
    """Beside the loop."""
    return lambda: asyncio.to_thread(act, path)


def _is_there(path: Path) -> bool:
    return path.exists()


def _unlink(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror}") from error


def _rmtree(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise UnavailableError(f"{error.filename}: {error.strerror}") from error
