"""One command in a container that runs already: a process of its own beside the container's supervisor.

Run by `edgecore.pods.runtimes.visits` as a program; the agent never imports it. It enters the mounts of the
container, becomes its user, and executes the command with the container's environment; then it waits: the command
ends with the container, as everything that it left behind does, and with the agent's wish. Its standard streams are
the command's.

What to do comes over one pipe (fields of `name NUL value NUL`, an empty one at their end; a byte after that means
"kill it"), and what becomes of it goes over another: lines `began` and `exit CODE`, or `failed WHY`. Keeps nothing.
"""

from __future__ import annotations

import errno
import fcntl
import posix
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from edgecore.pods.runtimes.apart.exchange import number, one, read_spec, said
    from edgecore.pods.runtimes.apart.processes import (
        CHLD,
        KILL,
        PIPE,
        TERM,
        XFSZ,
        descendants,
        leave,
        pipe,
        reaped,
        start_ticks,
    )
    from edgecore.pods.runtimes.apart.world import (
        CLONE_NEWNS,
        CLONE_NEWUSER,
        PR_SET_CHILD_SUBREAPER,
        PR_SET_NO_NEW_PRIVS,
        Libc,
        execute,
        join,
        take_ids,
    )
else:
    import _signal as signal

    # Beside us, as a program's modules.
    from exchange import number, one, read_spec, said
    from processes import CHLD, KILL, PIPE, TERM, XFSZ, descendants, leave, pipe, reaped, start_ticks
    from world import (
        CLONE_NEWNS,
        CLONE_NEWUSER,
        PR_SET_CHILD_SUBREAPER,
        PR_SET_NO_NEW_PRIVS,
        Libc,
        execute,
        join,
        take_ids,
    )

TIOCSCTTY = 0x540E
CONTROL_BYTES = 65536
PAUSE_MS = 500
"""Between two looks at whether something of the command is left, once it has ended itself."""


def read_request(fd: int) -> dict[str, list[bytes]]:
    """Until its end; what comes after stays in the pipe, of which nobody has written yet."""
    data = b""
    while not data.endswith(b"\0\0\0"):
        piece = posix.read(fd, CONTROL_BYTES)
        if not piece:
            leave(1)
        data += piece
    parts = data.split(b"\0")
    asked: dict[str, list[bytes]] = {}
    for index in range(0, len(parts) - 1, 2):
        if parts[index]:
            asked.setdefault(parts[index].decode(), []).append(parts[index + 1])
    return asked


class Visitor:
    """Enter, execute, wait, tell."""

    def __init__(self, directory: str, asked_fd: int, told_fd: int) -> None:
        self.asked_fd = asked_fd
        self.told_fd: int | None = told_fd
        for fd in (asked_fd, told_fd):
            posix.set_inheritable(fd, False)
        self.asked = read_request(asked_fd)
        self.spec = read_spec(directory)
        self.libc = Libc()
        self.container = number(self.asked, "pid") or 0
        self.child = 0

    def run(self) -> None:
        try:
            watched = posix.pidfd_open(self.container)
        except OSError:
            watched = -1
        if watched < 0 or start_ticks(self.container) != number(self.asked, "pid_start"):
            self.tell(b"failed the container is not running")
            return
        self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        failed = pipe()
        self.child = posix.fork()
        if self.child == 0:
            self.become(failed[1])
        posix.close(failed[1])
        null = posix.open("/dev/null", posix.O_RDWR)
        for fd in (0, 1, 2):  # they are the command's alone: whoever reads them hears of its end
            posix.dup2(null, fd)
        message = b""
        while data := posix.read(failed[0], 4096):
            message += data
        if message:
            posix.waitpid(self.child, 0)
            self.tell(b"failed " + message.replace(b"\n", b" "))
            return
        self.tell(b"began", more=True)
        self.wait(watched)

    def become(self, failed: int) -> None:
        try:
            posix.setsid()
            if number(self.asked, "tty"):
                fcntl.ioctl(0, TIOCSCTTY, 0)
            for number_ in (1, 2, 3, CHLD, TERM, PIPE, XFSZ):
                signal.signal(number_, signal.SIG_DFL)
            posix.umask(0o022)
            join(self.spec)
            self.enter()
            uid, gid = number(self.spec, "uid"), number(self.spec, "gid")
            if number(self.asked, "tty") and uid is not None:
                posix.fchown(0, uid, -1)
            take_ids(uid, gid, [int(each) for each in self.spec.get("group", [])])
            if number(self.spec, "no_new_privileges"):
                self.libc.prctl(PR_SET_NO_NEW_PRIVS, 1)
            posix.chdir(one(self.spec, "cwd", b"/"))
            env: dict[bytes, bytes] = {}
            for part in (*self.spec.get("env", []), *self.asked.get("env", [])):
                name, _, value = part.partition(b"=")
                env[name] = value
            execute(self.asked["argv"], env)
        except BaseException as error:
            posix.write(failed, said(error).encode()[:4000])
        finally:
            leave(127)

    def enter(self) -> None:
        """The container's user and mount namespaces, where they are not ours, and its root."""
        place = f"/proc/{self.container}"
        root = posix.open(place + "/root", posix.O_RDONLY | posix.O_CLOEXEC)
        for name, kind in (("user", CLONE_NEWUSER), ("mnt", CLONE_NEWNS)):
            if posix.stat(f"{place}/ns/{name}").st_ino == posix.stat(f"/proc/self/ns/{name}").st_ino:
                continue
            fd = posix.open(f"{place}/ns/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
            self.libc.check("entering the container", int(self.libc.lib.setns(fd, kind)))
            posix.close(fd)
        if posix.fstat(root).st_ino != posix.stat("/").st_ino or posix.fstat(root).st_dev != posix.stat("/").st_dev:
            posix.fchdir(root)
            posix.chroot(".")

    def wait(self, container: int) -> None:
        """Until the command has ended, and everything that it left behind."""
        poll = select.poll()
        poll.register(container, select.POLLIN)
        poll.register(self.asked_fd, select.POLLIN)
        child = posix.pidfd_open(self.child)
        poll.register(child, select.POLLIN)
        is_asked = True
        while True:
            ready = {fd for fd, _ in poll.poll(None if self.told_fd is not None else PAUSE_MS)}
            if is_asked and self.asked_fd in ready:
                if posix.read(self.asked_fd, CONTROL_BYTES):
                    self.kill()
                else:  # nobody will ask for anything any more
                    poll.unregister(self.asked_fd)
                    is_asked = False
            if container in ready:
                self.kill()
            self.reap()
            if child in ready:
                poll.unregister(child)
            if self.told_fd is None and not descendants(posix.getpid()):
                return

    def kill(self) -> None:
        while True:
            below = descendants(posix.getpid())
            for pid in below:
                try:
                    posix.kill(pid, KILL)
                except ProcessLookupError:
                    continue
            self.reap()
            if not below:
                return
            select.poll().poll(10)

    def reap(self) -> None:
        for pid, status in reaped():
            if pid == self.child:
                code = 128 + posix.WTERMSIG(status) if posix.WIFSIGNALED(status) else posix.WEXITSTATUS(status)
                self.tell(f"exit {code}".encode())

    def tell(self, text: bytes, *, more: bool = False) -> None:
        """Whoever asked learns it once; the agent may be gone by then."""
        if self.told_fd is None:
            return
        try:
            posix.write(self.told_fd, text + b"\n")
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
        if not more:
            posix.close(self.told_fd)
            self.told_fd = None


def main(arguments: list[str]) -> None:
    """Out of the agent's family at once: what the command leaves behind may outlive the agent."""
    if posix.fork() != 0:
        leave(0)
    posix.setsid()
    signal.signal(PIPE, signal.SIG_IGN)
    Visitor(arguments[0], int(arguments[1]), int(arguments[2])).run()
    sys.exit(0)
