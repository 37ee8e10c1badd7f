"""HAProxy as a process: started, found again, given a new configuration without a refused connection, ended.

It runs in a directory of its own, from which all paths count, as a master with one worker. Neither is tied to the
agent's life: an agent that begins finds the master by its socket. A new configuration is read by a new worker, which
takes the listening sockets over, while the old one ends with its last connection. Keeps nothing but whom it watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecore.network.balancing import Backend
from edgecore.network.ingress.haproxy import CONFIG, MASTER_SOCKET, TLS_SOCKET, WORKER_SOCKET
from skerry.errors import UnavailableError
from skerry.frozen import Frozen

LOG_FILE: Final = "haproxy.log"
LOG_BYTES_MAX: Final = 1 << 20
VERSION_MIN: Final = (2, 4)
"""The first whose maps, redirects and listening sockets are as they are used here."""
READY_S_MAX: Final = 20.0
_ANSWER_S_MAX: Final = 10.0
_ANSWER_BYTES_MAX: Final = 8 << 20
_POLL_S: Final = 0.05
_PATH_LENGTH_MAX: Final = 100
"""Of a unix socket, which a sockaddr has room for."""
_SEARCHED: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_COMMANDS_MAX: Final = 64
"""On one connection to the runtime socket."""
_ADMIN_MAINT: Final = 0x01 | 0x04


class Processes(Frozen):
    """What the master says of itself."""

    master: int
    workers: tuple[int, ...]
    """Those that have the newest configuration."""


def program() -> str:
    """Where HAProxy is. Raises `UnavailableError`."""
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:{_SEARCHED}")
    if found is None:
        raise UnavailableError("haproxy is not installed: install Debian's package haproxy (2.4 or newer)")
    return found


def _changed_s(path: str) -> float:
    return Path(path).stat().st_mtime


def version_in(said: str) -> str:
    """Of what `haproxy -v` prints. Raises `UnavailableError` for one that is too old."""
    found = re.search(r"version (([0-9]+)\.([0-9]+)[^ ]*)", said)
    if found is None:
        raise UnavailableError(f"haproxy -v says no version: {said.strip()[:100]!r}")
    if (int(found[2]), int(found[3])) < VERSION_MIN:
        raise UnavailableError(f"haproxy {found[1]} is too old: install 2.4 or newer")
    return found[1]


class Proxy:
    """See the module."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._child: subprocess.Popen[bytes] | None = None
        self._gone = asyncio.Event()
        self._watched = -1
        self._known: tuple[str, float, str] = ("", 0.0, "")
        """Path, time of change and version of the program."""

    # --- what runs ---

    async def processes(self) -> Processes | None:
        """None where no master answers."""
        try:
            return processes_in(await self._told(MASTER_SOCKET, "show proc"))
        except UnavailableError:
            return None

    async def adopt(self) -> bool:
        """Whether there is one; it is watched from now on."""
        found = await self.processes()
        if found is None or not found.workers:
            return False
        self._watch(found.master)
        return True

    async def ended(self) -> None:
        """Returns when the master that is watched has ended; never where none is."""
        gone = self._gone if self.is_watched or self._gone.is_set() else asyncio.Event()
        await gone.wait()
        gone.clear()

    @property
    def is_watched(self) -> bool:
        return self._watched >= 0

    # --- what is done ---

    async def version(self) -> str:
        """Of the program that is installed. Raises `UnavailableError` where there is none, or it is too old."""
        path = program()
        changed_s = _changed_s(path)
        if self._known[:2] != (path, changed_s):
            _, said = await self._said("-v")
            self._known = (path, changed_s, version_in(said))
        return self._known[2]

    async def check(self, config: str) -> None:
        """Raises `UnavailableError` with what HAProxy has against a configuration."""
        code, said = await self._said("-c", "-q", "-f", config)
        if code:
            raise UnavailableError(f"haproxy refuses the configuration: {fault_in(said)}")

    async def _said(self, *words: str) -> tuple[int, str]:
        """Its exit code, and what it says. Raises `UnavailableError`."""
        made = await asyncio.create_subprocess_exec(
            program(),
            *words,
            cwd=self._directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(READY_S_MAX):
                said, _ = await made.communicate()
        except TimeoutError:
            made.kill()
            await made.wait()
            raise UnavailableError(f"haproxy {words[0]}: no answer") from None
        return made.returncode or 0, said.decode(errors="replace")

    async def start(self) -> None:
        """Raises `UnavailableError` with what it said, as of a port that is somebody else's."""
        path = self._directory / LOG_FILE
        self._child = await asyncio.to_thread(self._spawn, path)
        self._watch(self._child.pid)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S_MAX):
                while not self._gone.is_set():
                    found = await self.processes()
                    if found is not None and found.workers:
                        return
                    await asyncio.sleep(_POLL_S)
        said = path.read_text(errors="replace")
        await self.stop()
        raise UnavailableError(f"haproxy does not start: {fault_in(said) or 'no reason given'}")

    async def reload(self) -> None:
        """Raises `UnavailableError`; then the worker that was there goes on."""
        before = await self.processes()
        if before is None:
            raise UnavailableError("haproxy's master does not answer")
        self._shorten_log()
        start = (self._directory / LOG_FILE).stat().st_size if (self._directory / LOG_FILE).exists() else 0
        with contextlib.suppress(UnavailableError):
            await self._told(MASTER_SOCKET, "reload")  # older ones close the connection without a word
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S_MAX):
                while not self._gone.is_set():
                    found = await self.processes()
                    if found is not None and {*found.workers} - {*before.workers}:
                        return
                    await asyncio.sleep(_POLL_S)
        said = (self._directory / LOG_FILE).read_bytes()[start:].decode(errors="replace")
        raise UnavailableError(f"haproxy does not take a new configuration: {fault_in(said) or 'no reason given'}")

    async def stop(self) -> None:
        """End it with what it serves; nothing where there is none."""
        found = await self.processes()
        pids = [] if found is None else [found.master]
        if self._child is not None and self._child.poll() is None:
            pids.append(self._child.pid)
        _signal(pids, signal.SIGTERM)
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                while True:
                    if await self.processes() is None:
                        break
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            _signal(pids, signal.SIGKILL)  # its workers end with it
        for name in (MASTER_SOCKET, WORKER_SOCKET, TLS_SOCKET):
            (self._directory / name).unlink(missing_ok=True)
        self._unwatch()

    async def tell(self, commands: Sequence[str]) -> None:
        """Commands to the worker. Raises `UnavailableError`."""
        for start in range(0, len(commands), _COMMANDS_MAX):
            await self._told(WORKER_SOCKET, "; ".join(commands[start : start + _COMMANDS_MAX]))

    async def servers(self) -> dict[str, tuple[Backend | None, ...]]:
        """Who is on each server, by the worker. Raises `UnavailableError`."""
        return servers_in(await self._told(WORKER_SOCKET, "show servers state"))

    # --- how ---

    def _spawn(self, log: Path) -> subprocess.Popen[bytes]:
        """Not by asyncio, which would end it with the loop."""
        with log.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            return subprocess.Popen(
                [program(), "-W", "-S", f"unix@{MASTER_SOCKET},mode,600", "-f", CONFIG],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def _watch(self, pid: int) -> None:
        self._unwatch()
        self._gone = asyncio.Event()
        try:
            self._watched = os.pidfd_open(pid)
        except ProcessLookupError:
            self._gone.set()
            return
        asyncio.get_running_loop().add_reader(self._watched, self._has_ended)

    def _has_ended(self) -> None:
        self._unwatch()
        if self._child is not None:
            self._child.poll()  # it must not stay as a zombie
        self._gone.set()

    def _unwatch(self) -> None:
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = -1

    def close(self) -> None:
        """Watch it no more; it goes on."""
        self._unwatch()

    def _shorten_log(self) -> None:
        """It writes there while nobody of us is looking; what is old says nothing."""
        path = self._directory / LOG_FILE
        with contextlib.suppress(OSError):
            if path.stat().st_size > LOG_BYTES_MAX:
                os.truncate(path, 0)

    async def _told(self, socket: str, command: str) -> str:
        """Raises `UnavailableError`."""
        path = str(self._directory / socket)
        handle = -1
        try:
            if len(path.encode()) > _PATH_LENGTH_MAX:
                handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
                path = f"/proc/self/fd/{handle}/{socket}"
            async with asyncio.timeout(_ANSWER_S_MAX):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    writer.write(f"{command}\n".encode())
                    writer.write_eof()  # the master answers for as long as somebody asks
                    await writer.drain()
                    return (await _all(reader)).decode(errors="replace")
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise UnavailableError(f"haproxy does not answer at {socket}: {error}") from error
        finally:
            if handle >= 0:
                os.close(handle)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in dict.fromkeys(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


async def _all(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while part := await reader.read(1 << 16):
        found += part
        if len(found) > _ANSWER_BYTES_MAX:
            raise UnavailableError("haproxy says too much")
    return bytes(found)


def processes_in(text: str) -> Processes | None:
    """What `show proc` tells, in the forms of HAProxy 2.4 to 3.x."""
    master, workers, section = 0, list[int](), ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("#"):
            section = line.strip("# ").lower()
        elif len(words) > 1 and words[0].isdecimal():
            if words[1] == "master":
                master = int(words[0])
            elif words[1] == "worker" and not section.startswith("old"):
                workers.append(int(words[0]))
    return Processes(master=master, workers=tuple(workers)) if master else None


def servers_in(text: str) -> dict[str, tuple[Backend | None, ...]]:
    """What `show servers state` tells."""
    found: dict[str, list[Backend | None]] = {}
    names: Mapping[str, int] = {}
    for line in text.splitlines():
        if line.startswith("# be_id"):
            names = {name: number for number, name in enumerate(line[2:].split())}
        words = line.split()
        if not names or line.startswith("#") or len(words) < len(names):
            continue
        away = int(words[names["srv_admin_state"]]) & _ADMIN_MAINT
        backend = Backend(address=words[names["srv_addr"]], port=int(words[names["srv_port"]]))
        found.setdefault(words[names["be_name"]], []).append(None if away else backend)
    return {name: tuple(slots) for name, slots in found.items()}


def fault_in(said: str) -> str:
    """The first thing that HAProxy complains of."""
    alerts = [line for line in said.splitlines() if "[ALERT]" in line] or said.splitlines()
    text = next((line for line in alerts if line.strip()), "")
    return re.sub(r"^\[ALERT\]\s*\([0-9]+\)\s*:\s*", "", text)[:400]
