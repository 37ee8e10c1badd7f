"""Whose the network of this machine is: of two agents on one, with a data directory each, one changes it.

Tables, chains, routes, the bridge and the address for pods have one name each, so that what a crash left is found
again; two agents would take them from each other. While an agent lives it holds a lock, by network namespace, below
/run/skerry; the kernel lets go of it however the agent ends. What outlives the agent is said to be its own by an
alias of the loopback interface, `skerry DATA`, which lives as long as the rules do, and can be changed only by who
may change those. An agent that finds another's, and that one dead, takes it over and says so.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
from pathlib import Path
from typing import Final

from edgecore.network.programs import run
from skerry.errors import UnavailableError
from skerry.objects.json import maps_at, read_json, str_at

LOG: Final = logging.getLogger(__name__)

LOCKS: Final = Path("/run/skerry")
OWN_NAMESPACE: Final = Path("/proc/self/ns/net")
_MARK: Final = "skerry "
_NONE: Final = -1
"""There can be none: it is asked for once."""
_ALIAS_BYTES_MAX: Final = 255
"""IFALIASZ (linux/if.h), with its zero."""


class Claim:
    """Of the agent with this data directory. Keeps the lock, once it is taken, for its life."""

    def __init__(self, data: Path) -> None:
        self.data = owner_of(data)
        self._lock: int | None = None
        self._written = False
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Before anything of the machine's network is changed; again, it costs nothing. Raises `UnavailableError`
        while the network is another agent's."""
        async with self._turn:
            if self._lock is None and (other := self.hold()):
                raise UnavailableError(
                    f"this machine's network is that of the agent with --data {other}, which runs: one agent leads "
                    "service addresses, connects pods and answers for them; end that one, or do without here"
                )
            if not self._written:
                await self._write()
                self._written = True

    def hold(self) -> str:
        """The lock alone, once; by whom it is held if by another."""
        if self._lock is not None:
            return ""
        path = LOCKS
        try:
            path = LOCKS / f"network-{OWN_NAMESPACE.stat().st_ino}.lock"
            LOCKS.mkdir(mode=0o755, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            LOG.info("no lock for this machine's network path=%s reason=%r", path, error.strerror)
            self._lock = _NONE
            return ""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(lock, 4096, 0).decode(errors="replace")
            os.close(lock)
            return other or "of somebody that begins"
        self._lock = lock
        try:
            os.truncate(lock, 0)
            os.pwrite(lock, self.data.encode(), 0)
        except OSError as error:  # a full disk: it is held all the same, by nobody knows whom
            LOG.info("the owner of this machine's network is not written path=%s reason=%r", path, error.strerror)
        return ""

    async def _write(self) -> None:
        try:
            before = await recorded()
            if before and before != self.data:
                LOG.warning(
                    "this machine's network was that of the agent with --data %s, which does not run: it is this "
                    "agent's now",
                    before,
                )
            if before != self.data:
                await run("ip", "link", "set", "dev", "lo", "alias", f"{_MARK}{self.data}")
        except UnavailableError as error:  # no rights, or no iproute2: then there is little to own
            LOG.info("it is not written down whose this machine's network is reason=%r", str(error))

    def release(self) -> None:
        """For who does not end with it."""
        if self._lock not in (None, _NONE):
            os.close(self._lock)
        self._lock, self._written = None, False


def owner_of(data: Path) -> str:
    """How a data directory is written, whichever way leads to it."""
    text = str(data.resolve())
    if len((_MARK + text).encode()) < _ALIAS_BYTES_MAX and text.isprintable():
        return text
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


async def recorded() -> str:
    """Whose it is, or was; "" where nobody has said so. Raises `UnavailableError`."""
    return owner_in(await run("ip", "-j", "link", "show", "dev", "lo"))


def owner_in(printed: str) -> str:
    """Of what `ip -j link` prints. Pure."""
    for link in maps_at({"lines": read_json(printed.strip() or "[]")}, "lines"):
        alias = str_at(link, "ifalias")
        if alias.startswith(_MARK):
            return alias.removeprefix(_MARK)
    return ""


async def forget() -> None:
    """Nobody's any more. Raises `UnavailableError`."""
    await run("ip", "link", "set", "dev", "lo", "alias", "")
