"""The container runtime's file by which a gateway connects its pods: written where nobody else connects them.

Before the pods of a start are begun, where it has to be another one than it was (`edgecore.network.footing`), and
looked at again while the agent runs (`edgecore.network.pod_network`). What is kept is the file.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecore.network.claim import Claim
from edgecore.network.cni import BRIDGE, NEEDED, OUR_FILE, configuration, mtu_in, others, ranges_in
from edgecore.network.programs import run
from edgecore.network.routes import Connected, clash, connected_in
from skerry.errors import InvalidError, UnavailableError
from skerry.objects.json import JsonObject, int_at, maps_at, read_json, str_at

LOG: Final = logging.getLogger(__name__)

PLUGINS: Final = (Path("/opt/cni/bin"), Path("/usr/lib/cni"), Path("/usr/libexec/cni"))
FILE_BYTES_MAX: Final = 1 << 20
FAMILIES: Final = (4, 6)
_MTU_ETHERNET: Final = 1500
_MTU_MIN: Final = 1280
"""IPv6 takes no less (RFC 8200 section 5)."""


class PodFile:
    """`bring` it to what is wanted."""

    def __init__(self, directory: Path, claim: Claim) -> None:
        """`directory`: the runtime's, of its CNI configurations."""
        self._directory = directory
        self._claim = claim
        self.fault = ""
        """Why pods can't be connected as they should; "" where they are."""
        self.said = ""
        """Who connects pods, or the fault; "" before anybody looked."""
        self.connected: list[Connected] = []
        """The networks that this machine is on, as they were seen last."""

    async def bring(self, ranges: Sequence[str]) -> bool:
        """Whether pods have these addresses, by our file. Raises `UnavailableError` where that can't be done, and
        what there was is to stay."""
        try:
            self.connected = connected_in(await run("ip", "-j", "address", "show"), but=(BRIDGE, "lo"))
            if why := clash(ranges, self.connected):
                raise UnavailableError(why)
            return await self._write(ranges)
        except UnavailableError as error:  # or it is another agent's
            self._tell(str(error))
            raise
        except (InvalidError, OSError) as error:  # or `ip` prints what is no JSON
            self._tell(str(error) if isinstance(error, InvalidError) else f"{self._directory}: {error.strerror}")
            raise UnavailableError(self.fault) from error

    async def _write(self, ranges: Sequence[str]) -> bool:
        """Raises `OSError`, `UnavailableError`."""
        there = others(files_in(self._directory))
        if there:
            self._say(f"pods are connected as {self._directory / there[0]} says")
            return False
        plugins = {file.name for place in PLUGINS if place.is_dir() for file in place.iterdir()}
        missing = [name for name in NEEDED if name not in plugins]
        if missing:
            self._tell(f"no CNI plugin {missing[0]} in {' or '.join(map(str, PLUGINS))}")
            return False
        await self._claim.take()
        file = self._directory / OUR_FILE
        before = file.read_text(errors="replace") if file.exists() else ""
        mtu = await _mtu()
        text = configuration(ranges, plugins, owner=self._claim.data, mtu=mtu_in(before) if mtu is None else mtu)
        if before != text:
            self._directory.mkdir(parents=True, exist_ok=True)
            new = self._directory / f".{OUR_FILE}.new"  # no ending that a runtime reads
            new.write_text(text)
            new.chmod(0o644)
            new.replace(file)
        self._say(f"pods are connected by {file} ranges={','.join(ranges)}")
        return True

    def _tell(self, what: str) -> None:
        """A fault, once."""
        if self.said != what:
            LOG.warning("the pods' network %s", what)
        self.fault = self.said = what

    def _say(self, what: str) -> None:
        if self.said != what:
            LOG.info("%s", what)
        self.fault, self.said = "", what


async def _mtu() -> int | None:
    """Of the way out, where it takes less than Ethernet, as VPNs and modems do: pods then need not find out; 0 where
    it does not, None while there is no way out. Raises `UnavailableError`."""
    found_: list[int] = []
    for version in FAMILIES:
        routes = lines_of(await run("ip", f"-{version}", "-j", "route", "show", "default"))
        for device in {str_at(each, "dev") for each in routes} - {""}:
            found_ += [int_at(each, "mtu") for each in lines_of(await run("ip", "-j", "link", "show", "dev", device))]
    if not found_:
        return None
    return min(found_) if _MTU_MIN <= min(found_) < _MTU_ETHERNET else 0


def is_other(directory: Path, ranges: Sequence[str]) -> bool:
    """Whether the file has to be written for pods to have addresses of these ranges. Raises `OSError`."""
    files = files_in(directory)
    return not others(files) and ranges_in(files.get(OUR_FILE, "")) != tuple(ranges)


def files_in(directory: Path) -> dict[str, str]:
    """What is in the runtime's directory. Raises `OSError`."""
    if not directory.is_dir():
        return {}
    found_files: dict[str, str] = {}
    for entry in sorted(directory.iterdir()):
        if entry.is_file():
            with entry.open(encoding="utf-8", errors="replace") as file:
                found_files[entry.name] = file.read(FILE_BYTES_MAX)
    return found_files


def lines_of(printed: str) -> list[JsonObject]:
    """Of what `ip -j` prints."""
    return maps_at({"lines": read_json(printed.strip() or "[]")}, "lines")
