"""The supervisor of one container: a process of its own, so that containers outlive the agent.

Run by `edgecore.pods.runtimes.process` as a program, from its compiled form (compiling it anew at each start would
cost 2 MB); the agent never imports it. It imports no package of ours and only modules that are built in, to stay
below 3 MB of private memory; what needs `ctypes` (`world`) happens in processes that end or become the container.

DIR holds `spec` (written before the start), `state` (ours, replaced as a whole at each change), `stop` (written by
whoever wants it stopped: the grace in seconds; then SIGTERM), and `lock`, which we hold for as long as we live: a
`state` that says running beside a free lock tells that we were killed. Then the kernel has killed the container's
first process too (PR_SET_PDEATHSIG). Nothing else keeps data; logs go to the file that `spec` names.
"""

from __future__ import annotations

import fcntl
import posix
import select
import sys
import time

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    import signal

    from edgecore.pods.runtimes.apart.exchange import (
        SAVE_AGAIN_S,
        keep_writing_state,
        number,
        one,
        read_spec,
        said,
        tell,
        write_state,
    )
    from edgecore.pods.runtimes.apart.log_file import Log, Stream
    from edgecore.pods.runtimes.apart.processes import (
        CHLD,
        KILL,
        PIPE,
        TERM,
        XFSZ,
        descendants,
        exists,
        leave,
        oom_kills,
        pipe,
        reaped,
        start_ticks,
    )
else:
    import _signal as signal  # what `signal` wraps in enums

    from exchange import SAVE_AGAIN_S, keep_writing_state, number, one, read_spec, said, tell, write_state
    from log_file import Log, Stream
    from processes import (
        CHLD,
        KILL,
        PIPE,
        TERM,
        XFSZ,
        descendants,
        exists,
        leave,
        oom_kills,
        pipe,
        reaped,
        start_ticks,
    )

SCAN_S = 0.05
GRACE_S = 30.0
"""Kubernetes' default; only for a stop that did not come from the agent."""


class Supervisor:
    """Fork, log, reap, stop, and write down how it ended."""

    def __init__(self, directory: str, told_fd: int) -> None:
        self.directory = directory
        self.spec = read_spec(directory)
        self.told_fd: int | None = told_fd
        self.lock = posix.open(directory + "/lock", posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        posix.set_inheritable(told_fd, False)
        size, files = number(self.spec, "log_bytes"), number(self.spec, "log_files")
        self.log = Log(one(self.spec, "log").decode(), size or 10 << 20, files or 5)
        self.wake_in, self.wake_out = pipe()
        self.streams: list[Stream] = []
        self.pid = 0
        self.kill_at: float | None = None
        self.stopping = False
        self.unsaved = False
        self.ended: tuple[int, int] | None = None
        self.ended_ms = 0
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot_id = file.read().strip()
        self.state: dict[str, str | int] = {"phase": "created", "boot_id": boot_id, "supervisor": posix.getpid()}

    def run(self) -> None:
        self.listen()
        message = self.start()
        if message:
            posix.waitpid(self.pid, 0)
            self.ended_ms = time.time_ns() // 10**6
            self.finish((128, 0), "ContainerCannotRun", message)
            return
        self.state["phase"] = "running"
        self.unsaved = True
        self.save()
        self.report()
        self.stopping = self.stopping or exists(self.directory + "/stop")
        ended = self.attend()
        self.sweep()
        self.pump()
        for stream in self.streams:
            stream.finish()
        reason = "OOMKilled" if ended[0] and oom_kills(self.spec) else "Completed" if ended[0] == 0 else "Error"
        self.finish(ended, reason, "")

    def listen(self) -> None:
        for fd in (self.wake_in, self.wake_out):
            posix.set_blocking(fd, False)
        signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
        for number_ in (CHLD, TERM):
            signal.signal(number_, self.note)
        for number_ in (1, 2, 3):  # a terminal that goes takes nobody with it
            signal.signal(number_, signal.SIG_IGN)

    def note(self, number_: int, _frame: object) -> None:
        if number_ == TERM:
            self.stopping = True

    def start(self) -> str:
        """Fork and exec. Returns what kept it from starting, or ""."""
        out, err, failed = pipe(), pipe(), pipe()
        parent = posix.getpid()
        pid = posix.fork()
        if pid == 0:
            self.child(out[1], err[1], failed[1], parent)
        for end in (out[1], err[1], failed[1]):
            posix.close(end)
        self.streams = [Stream(out[0], b"stdout", self.log), Stream(err[0], b"stderr", self.log)]
        for stream in self.streams:
            posix.set_blocking(stream.fd, False)
        message = b""
        while data := posix.read(failed[0], 4096):  # ends when exec closes the other end
            message += data
        posix.close(failed[0])
        self.pid = pid
        self.state.update(pid=pid, pid_start=start_ticks(pid), started_ms=time.time_ns() // 10**6)
        return message.decode(errors="replace")

    def child(self, out: int, err: int, failed: int, parent: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            posix.setsid()
            null = posix.open("/dev/null", posix.O_RDONLY)
            for source, target in ((null, 0), (out, 1), (err, 2)):
                posix.dup2(source, target)
            for number_ in (1, 2, 3, CHLD, TERM, PIPE, XFSZ):  # Python ignores the last two; a container should not
                signal.signal(number_, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            posix.umask(0o022)
            the_world().become(self.spec, self.directory, parent)
        except BaseException as error:
            posix.write(failed, said(error).encode()[:4000])
        finally:
            leave(127)

    def attend(self) -> tuple[int, int]:
        """Until the first process has ended: its exit code and signal."""
        poll = select.poll()
        poll.register(self.wake_in, select.POLLIN)
        for stream in self.streams:
            poll.register(stream.fd, select.POLLIN)
        while True:
            if self.stopping:
                self.stop()
            self.reap()
            if self.ended is not None:
                return self.ended
            ready = {fd for fd, _ in poll.poll(self.patience_ms())}
            if self.wake_in in ready:
                posix.read(self.wake_in, 4096)
            for stream in tuple(self.streams):
                if stream.fd in ready and stream.read() is False:
                    poll.unregister(stream.fd)
                    self.drop(stream)
            self.save()

    def patience_ms(self) -> int | None:
        waits = [SAVE_AGAIN_S] if self.unsaved else []
        if self.kill_at is not None:
            waits.append(max(self.kill_at - time.monotonic(), 0.0))
        return int(min(waits) * 1000) + 1 if waits else None

    def save(self) -> None:
        """A disk that is full now must not block the container: its pipes are read on, the state is written later."""
        if self.unsaved:
            try:
                write_state(self.directory, self.state)
                self.unsaved = False
            except OSError:
                return

    def stop(self) -> None:
        """TERM once to everything, KILL when the grace is over. A later, shorter grace counts; a longer doesn't."""
        self.stopping = False
        try:
            with open(self.directory + "/stop") as file:
                grace_s = float(file.read() or 0)
        except (OSError, ValueError):
            grace_s = GRACE_S  # asked by the system, which is going down
        until = time.monotonic() + grace_s
        if self.kill_at is None:
            self.kill_at = until
            if grace_s > 0:
                self.send(TERM)
        else:
            self.kill_at = min(self.kill_at, until)

    def send(self, number_: int) -> None:
        for pid in descendants(posix.getpid()):
            try:
                posix.kill(pid, number_)
            except (ProcessLookupError, PermissionError):
                continue

    def reap(self) -> None:
        for pid, status in reaped():
            if pid == self.pid:
                self.ended_ms = time.time_ns() // 10**6
                killed_by = posix.WTERMSIG(status) if posix.WIFSIGNALED(status) else 0
                self.ended = (128 + killed_by if killed_by else posix.WEXITSTATUS(status), killed_by)
        if self.ended is None and self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.send(KILL)
            self.kill_at = time.monotonic() + SCAN_S  # what forked meanwhile is found next time

    def sweep(self) -> None:
        """The first process has ended, and so has the container: nothing it started goes on."""
        while self.kill_at is not None and time.monotonic() < self.kill_at and descendants(posix.getpid()):
            self.pump()  # being stopped: the others have the rest of the grace as well
            time.sleep(SCAN_S)
            self.reap()
        pause_s = SCAN_S / 10
        while True:
            self.send(KILL)
            self.pump()
            self.reap()
            if not descendants(posix.getpid()):
                return
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)  # one that hangs in the kernel may do so for long

    def pump(self) -> None:
        for stream in tuple(self.streams):
            got = stream.read()
            while got:
                got = stream.read()
            if got is False:
                self.drop(stream)

    def drop(self, stream: Stream) -> None:
        posix.close(stream.fd)
        self.streams.remove(stream)

    def finish(self, ended: tuple[int, int], reason: str, message: str) -> None:
        self.state.update(phase="exited", exit_code=ended[0], signal=ended[1], reason=reason, message=message)
        self.state["finished_ms"] = self.ended_ms
        keep_writing_state(self.directory, self.state)
        self.report()

    def report(self) -> None:
        """The agent that started us waits for the end of a pipe; the agent's fifo hears of every change."""
        if self.told_fd is not None:
            posix.close(self.told_fd)
            self.told_fd = None
        tell(one(self.spec, "fifo").decode(), one(self.spec, "pod_uid") + b"\n")


def the_world():
    """Read by the processes that need it; a supervisor does without."""
    if TYPE_CHECKING:
        from edgecore.pods.runtimes.apart import world
    else:
        import world
    return world


def launch(directory: str, told_fd: str, program: str) -> None:
    """First stage: out of the agent's family, reaper of all below, then the second stage without `ctypes`."""
    if posix.fork() != 0:
        leave(0)
    posix.setsid()
    posix.chdir("/")
    world = the_world()
    world.Libc().prctl(world.PR_SET_CHILD_SUBREAPER, 1)  # kept across exec
    posix.execv(sys.executable, [sys.executable, "-I", "-S", "-c", program, "run", directory, told_fd])


def main(arguments: list[str]) -> None:
    if arguments[0] == "launch":
        launch(arguments[1], arguments[2], arguments[3])
    else:
        Supervisor(arguments[1], int(arguments[2])).run()
