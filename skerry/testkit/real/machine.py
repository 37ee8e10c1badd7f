"""A machine that can lose its power: a process under which everything of one gateway, cloud or device runs.

    python -m skerry.testkit.real.machine isolated|plain BOOT_ID

It starts and signals programs as it is told by lines of JSON on its standard input, takes in orphans as an init
does, and when that input is closed, by whatever end the test run came to, everything below it is killed at once.
*isolated*: it is process 1 of a process namespace, so that the kernel kills all of it in one act and nothing can
escape; a boot id and a monotonic clock of its own tell the agent that this is another boot. *plain*, without root:
a subreaper that kills its descendants until there are none; a program may see a sibling die before itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Final, cast

PR_SET_CHILD_SUBREAPER: Final = 36
BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
KILL_ROUNDS_MAX: Final = 50


class Programs:
    """What runs here, by the names that the runner gave."""

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._codes: dict[str, int] = {}

    def start(self, name: str, argv: list[str], env: dict[str, str], log: str) -> int:
        """Start one in a session of its own, its output appended to `log`."""
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, fd, 1), (os.POSIX_SPAWN_DUP2, fd, 2)]
        ignored = [signal.SIGCHLD, signal.SIGPIPE]
        try:
            pid = os.posix_spawnp(argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=ignored)
        finally:
            os.close(fd)
            os.close(null)
        self._pids[name] = pid
        self._codes.pop(name, None)
        return pid

    def signal(self, name: str, number: int) -> None:
        pid = self._pids.get(name)
        if pid is not None and name not in self._codes:
            os.kill(pid, number)

    def reap(self) -> None:
        """Take in everything that has ended, orphans too."""
        names = {pid: name for name, pid in self._pids.items() if name not in self._codes}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in names:
                self._codes[names[pid]] = os.waitstatus_to_exitcode(status)

    def state(self, name: str) -> dict[str, object]:
        """Its pid, 0 when it was never started; its exit code, None while it runs."""
        return {"pid": self._pids.get(name, 0), "code": self._codes.get(name)}


def serve(programs: Programs) -> None:
    """Obey until standard input is closed."""
    waker, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _woken)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C is the runner's to answer; then our input is closed
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(waker, select.POLLIN)
    held = b""
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if waker in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(waker, 4096)
            programs.reap()
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                os.write(1, json.dumps(_obey(programs, json.loads(line))).encode() + b"\n")


def _woken(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has been written to; that is all."""
    del number, frame


def _obey(programs: Programs, order: dict[str, object]) -> dict[str, object]:
    programs.reap()
    name = str(order["name"])
    try:
        match order["do"]:
            case "start":
                argv, env = cast(list[str], order["argv"]), cast(dict[str, str], order["env"])
                return {"pid": programs.start(name, argv, env, str(order["log"]))}
            case "signal":
                programs.signal(name, int(str(order["number"])))
                return {}
            case _:
                return programs.state(name)
    except OSError as error:
        return {"error": f"{name}: {error}"}


def kill_descendants() -> None:
    """SIGKILL all that came from here. Orphans come to us, since we are their subreaper, and are found next time."""
    for _ in range(KILL_ROUNDS_MAX):
        below = _descendants(os.getpid())
        if not below:
            return
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: what is stopped starts nothing new
            for pid in below:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        for pid in below:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if fields[0] != b"Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    following = [root]
    while following:
        below = children.get(following.pop(), [])
        found += below
        following += below
    return found


def _put_boot_id(boot_id: str) -> None:
    """Programs here see this boot id, as after a real boot. Only in a mount namespace of our own."""
    with tempfile.NamedTemporaryFile("w", prefix="skerry-boot-", delete=False) as file:
        file.write(boot_id + "\n")
    Path(file.name).chmod(0o444)
    try:
        subprocess.run(["mount", "--bind", file.name, BOOT_ID], check=True, capture_output=True)
    finally:
        Path(file.name).unlink()  # the mount holds it


def main(argv: list[str]) -> None:
    mode, boot_id = argv
    libc = ctypes.CDLL(None, use_errno=True)
    if mode == "isolated":
        _put_boot_id(boot_id)
    elif libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise SystemExit("this kernel has no subreapers")
    os.write(1, b"{}\n")
    try:
        serve(Programs())
    finally:
        if mode == "plain":
            kill_descendants()
    # Isolated: we are process 1, and with us the kernel kills all others.


if __name__ == "__main__":
    main(sys.argv[1:])
