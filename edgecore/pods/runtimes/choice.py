"""Which runtime runs a gateway's pods: said by the settings, or found and then kept.

What was found is written into DATA/runtime: a gateway whose containerd is late at a boot must not run the same pods
as processes meanwhile, nor move them because a runtime was installed beside. A crash before that is written finds the
same again. docs/decisions/0330 has the reasons.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edgecore.pods.port import Runtime
from skerry.errors import InvalidError, UnavailableError
from skerry.files import write_private
from skerry.frozen import Frozen

log = logging.getLogger(__name__)

PROCESS: Final = "process"
SOCKETS: Final = (
    ("containerd", Path("/run/containerd/containerd.sock")),
    ("cri-o", Path("/run/crio/crio.sock")),
)
"""Where Debian's, upstream's and most others' packages have them."""
_KEEPER: Final = "keeper"
SOCKET_MAX: Final = 107
"""Bytes of a unix socket's path (Linux: sun_path)."""


class Choice(Frozen):
    """A runtime."""

    name: str
    """`process`, or what the one at the socket is called until it says so itself."""
    socket: str = ""

    @property
    def is_process(self) -> bool:
        return self.name == PROCESS

    def is_same(self, other: Choice) -> bool:
        """Whether pods of the one are pods of the other: a socket may be named in several ways (/var/run is /run)."""
        if self.is_process or other.is_process:
            return self.is_process and other.is_process
        return os.path.realpath(self.socket) == os.path.realpath(other.socket)

    def encode(self) -> bytes:
        return f"{self.name} {self.socket}".strip().encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Choice | None:
        """None for what is no choice."""
        name, _, socket = data.decode(errors="replace").strip().partition(" ")
        if name == PROCESS and not socket:
            return cls(name=PROCESS)
        return cls(name=name, socket=socket) if name and socket.startswith("/") else None


class Choosing(Frozen):
    """What the settings say, and where things are."""

    wanted: str
    """process, containerd, cri or auto."""
    endpoint: str
    """"" for none."""
    directory: Path
    """The agent's data."""
    sockets: Sequence[tuple[str, Path]] = SOCKETS


def check(wanted: str, endpoint: str) -> None:
    """Raises `InvalidError` naming the setting that can't be."""
    socket = _socket_of(endpoint)
    if wanted == PROCESS:
        if socket:
            raise InvalidError("--runtime-endpoint: of no use with --runtime process")
        return
    if (wanted != "auto" or socket) and find_spec("grpclib") is None:
        raise InvalidError(f"--runtime {wanted} needs grpclib, which is not installed: pip install 'skerry[edge]'")


def _socket_of(endpoint: str) -> str:
    """The socket's path; "" for none. Raises `InvalidError`."""
    path = endpoint.removeprefix("unix://")
    if path and not path.startswith("/"):
        raise InvalidError(
            f"--runtime-endpoint {endpoint!r}: write unix:///PATH, e.g. unix:///run/containerd/containerd.sock"
        )
    if len(os.fsencode(path)) > SOCKET_MAX:
        raise InvalidError(f"--runtime-endpoint {endpoint!r}: a socket's path has {SOCKET_MAX} bytes at most")
    return path


def choose(choosing: Choosing) -> tuple[Choice, bool]:
    """The runtime, and whether it was found just now: then it is to be tried before it is kept. Raises
    `InvalidError`."""
    check(choosing.wanted, choosing.endpoint)
    socket = _socket_of(choosing.endpoint)
    match choosing.wanted:
        case "process":
            return Choice(name=PROCESS), False
        case "containerd":
            return Choice(name="containerd", socket=socket or str(_usual(choosing, "containerd"))), False
        case "cri":
            if socket:
                return Choice(name=_name_of(socket), socket=socket), False
            return _there_or_none(choosing), False
        case _:
            if socket:
                return Choice(name=_name_of(socket), socket=socket), False
            return _auto(choosing)


def _usual(choosing: Choosing, name: str) -> Path:
    return next(path for each, path in choosing.sockets if each == name)


def _name_of(socket: str) -> str:
    return "cri-o" if "crio" in socket else "containerd"


def _there_or_none(choosing: Choosing) -> Choice:
    for name, path in choosing.sockets:
        if path.is_socket():
            return Choice(name=name, socket=str(path))
    known = before(choosing.directory)
    if known is not None and not known.is_process:
        return known  # it is late
    places = ", ".join(str(path) for _, path in choosing.sockets)
    raise InvalidError(f"--runtime cri: there is no container runtime at {places}; say where with --runtime-endpoint")


def _auto(choosing: Choosing) -> tuple[Choice, bool]:
    known = before(choosing.directory)
    found = _found(choosing)
    if known is None and _has_processes(choosing.directory):
        known = Choice(name=PROCESS)
    if known is None:
        return found or Choice(name=PROCESS), True
    if known.is_process and found is not None:
        log.info(
            "pods of this gateway run as processes, though there is a container runtime: --runtime %s has them run "
            "there socket=%s",
            found.name if found.name == "containerd" else "cri",
            found.socket,
        )
    return known, False


def _found(choosing: Choosing) -> Choice | None:
    for name, path in choosing.sockets:
        if not path.is_socket():
            continue
        if not os.access(path, os.R_OK | os.W_OK):
            log.warning("a container runtime is not used: this user may not connect to it socket=%s", path)
            continue
        if find_spec("grpclib") is None:
            log.warning("a container runtime is not used: grpclib is not installed socket=%s", path)
            return None
        return Choice(name=name, socket=str(path))
    return None


def _has_processes(directory: Path) -> bool:
    """Pods of a version that had no choice run here."""
    containers = directory / "containers"
    return containers.is_dir() and any(entry.is_dir() for entry in containers.iterdir())


def before(directory: Path) -> Choice | None:
    """What ran pods the last time; None where nothing did."""
    try:
        return Choice.decode((directory / "runtime").read_bytes())
    except FileNotFoundError:
        return None


def keep(directory: Path, choice: Choice) -> None:
    """Raises `UnavailableError`."""
    if before(directory) != choice:
        write_private(directory / "runtime", choice.encode())


def keeper_of(directory: Path) -> str:
    """By what the containers of this gateway are known in a runtime that others use too, however its data is reached
    today."""
    try:
        return (directory / _KEEPER).read_text(encoding="utf-8")
    except FileNotFoundError:
        # Versions that kept no such name took the path as it was written.
        return str(directory.absolute())


def keep_keeper(directory: Path) -> None:
    """Where there is no room for it, the next start writes it: until then it is found again by the same path."""
    if (directory / _KEEPER).exists():
        return
    name = keeper_of(directory)
    if before(directory) is None:  # of a path alone, another agent could have it when this one has moved
        name = f"{directory.resolve()} {os.urandom(8).hex()}"
    try:
        write_private(directory / _KEEPER, name.encode())
    except UnavailableError as error:
        log.warning("the name of this gateway's containers is not written down reason=%s", error)


async def clear(runtime: Runtime) -> None:
    """End and forget all that runs there: another runtime runs the pods from now on. Raises `UnavailableError`."""
    for sandbox in await runtime.sandboxes():
        await runtime.stop_sandbox(sandbox.id)
    for state in await runtime.list():
        await runtime.stop(state.id, grace_s=0)
        await runtime.remove(state.id)
    for sandbox in await runtime.sandboxes():
        await runtime.remove_sandbox(sandbox.id)


async def clear_or_say(runtime: Runtime) -> bool:
    """False when it can't be done now: it is said, and tried again at the next start."""
    try:
        await clear(runtime)
    except UnavailableError as error:
        log.warning(
            "what the runtime before ran can't be ended, and goes on beside runtime=%s reason=%s", runtime.name, error
        )
        return False
    return True
