"""Network namespaces that live exactly as long as somebody uses them.

They have no name and no mount: this process holds them open by a file descriptor, and the kernel takes them away,
interfaces and addresses included, when it and the processes in them are gone. So neither a crash nor SIGKILL leaves
anything behind on the machine, and any number of runs may use the same addresses at once.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from skerry.errors import UnavailableError

CLONE_NEWNET: Final = 0x40000000
COMMAND_S_MAX: Final = 20.0
PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
"""Debian keeps `ip` and `tc` where an ordinary user's PATH does not look."""


@dataclass(slots=True)
class Namespace:
    """A network of its own, with only loopback until something is put in."""

    name: str
    """For people; the kernel does not know it."""
    fd: int = field(repr=False)

    @property
    def path(self) -> str:
        """Where `nsenter --net=` finds it."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @property
    def prefix(self) -> list[str]:
        """What stands before a command that is to run inside."""
        return [tool("nsenter"), f"--net={self.path}", "--"]

    def run(self, *command: str) -> str:
        """Run a command inside; its output. Raises `UnavailableError` with what it said."""
        return run([*self.prefix, *command])

    def close(self) -> None:
        """Let it go; the kernel removes it with its last process."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def new_namespace(name: str) -> Namespace:
    """Raises `UnavailableError` when this user may not, or the kernel can't."""
    made: list[int | OSError] = []

    def make() -> None:  # in a thread of its own, since a thread that has left its namespace can't lightly return
        try:
            _call("unshare", CLONE_NEWNET)
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make, name=f"namespace-{name}")
    thread.start()
    thread.join()
    (result,) = made
    if isinstance(result, OSError):
        raise UnavailableError(f"can't make a network namespace: {result.strerror}; run as root") from result
    namespace = Namespace(name, result)
    namespace.run(tool("ip"), "link", "set", "lo", "up")
    return namespace


def enter(fd: int) -> None:
    """Move this thread into the namespace; sockets made from now on belong to it."""
    _call("setns", fd, CLONE_NEWNET)


def bound_in(namespace: str, host: str, port: int) -> socket.socket:
    """A TCP socket there, not listening yet; `namespace` is its path, "" for the one of this thread, which moves into
    it. Raises `OSError` where the port is another's."""
    if namespace:
        fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(fd)
        finally:
            os.close(fd)
    place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((host, port))
    except OSError:
        place.close()
        raise
    return place


def tool(name: str) -> str:
    """The path of a program. Raises `UnavailableError` that names it."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise UnavailableError(f"{name} is not installed ({_PACKAGES.get(name, name)})")
    return found


_PACKAGES: Final = {
    "ip": "apt-get install iproute2",
    "tc": "apt-get install iproute2",
    "nsenter": "apt-get install util-linux",
    "unshare": "apt-get install util-linux",
}


def run(command: Sequence[str]) -> str:
    """Run a short command; its output. Raises `UnavailableError` with what it said."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"`{' '.join(command)}`: {error}") from error
    if done.returncode:
        raise UnavailableError(f"`{' '.join(command)}`: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
