"""The supervisor of one container: a process of its own, so that containers outlive the agent.

Run by `edgecore.pods.runtimes.process` as a program, from its compiled form (compiling it anew at each start would
cost 2 MB); the agent never imports it. It imports no package of ours and only modules that are built in, to stay
below 3 MB of private memory; what needs `ctypes` happens in processes that end or become the container.

DIR holds `spec` (written before the start), `state` (ours, replaced as a whole at each change), `stop` (written by
whoever wants it stopped: the grace in seconds; then SIGTERM), and `lock`, which we hold for as long as we live: a
`state` that says running beside a free lock tells that we were killed. Then the kernel has killed the container's
first process too (PR_SET_PDEATHSIG). Nothing else keeps data; logs go to the file that `spec` names.
"""

from __future__ import annotations

import errno
import fcntl
import posix
import select
import sys
import time

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what `signal` wraps in enums

TERM, KILL, CHLD, PIPE, XFSZ = 15, 9, 17, 13, 25
leave = posix._exit  # pyright: ignore[reportPrivateUsage] - the public os._exit; importing `os` costs memory

PIECE_BYTES = 16384
"""A longer line is logged in pieces marked P, as CRI runtimes do."""
SCAN_S = 0.05
SAVE_AGAIN_S = 2.0
GRACE_S = 30.0
"""Kubernetes' default; only for a stop that did not come from the agent."""


# What the agent asked for -------------------------------------------------------------------------------------------


def read_spec(directory: str) -> dict[str, list[bytes]]:
    """`spec` is fields of `name NUL value NUL`; a repeated name is a list."""
    with open(directory + "/spec", "rb") as file:
        parts = file.read().split(b"\0")
    spec: dict[str, list[bytes]] = {}
    for index in range(0, len(parts) - 1, 2):
        spec.setdefault(parts[index].decode(), []).append(parts[index + 1])
    return spec


def one(spec: dict[str, list[bytes]], name: str, default: bytes = b"") -> bytes:
    return spec.get(name, [default])[-1]


def number(spec: dict[str, list[bytes]], name: str) -> int | None:
    text = one(spec, name)
    return int(text) if text else None


# What the agent is told ---------------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A JSON string."""
    kept: list[str] = []
    for char in text:
        code = ord(char)
        if char in '"\\':
            kept.append("\\" + char)
        elif code < 32 or 0xD800 <= code < 0xE000:
            kept.append(f"\\u{code:04x}")
        else:
            kept.append(char)
    return '"' + "".join(kept) + '"'


def write_state(directory: str, state: dict[str, str | int]) -> None:
    """Whole or not at all, also across a power cut."""
    items = [quoted(name) + ":" + (quoted(v) if isinstance(v, str) else str(v)) for name, v in state.items()]
    fd = posix.open(directory + "/state.new", posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600)
    try:
        posix.write(fd, ("{" + ",".join(items) + "}").encode())
        posix.fsync(fd)
    finally:
        posix.close(fd)
    posix.rename(directory + "/state.new", directory + "/state")


def keep_writing_state(directory: str, state: dict[str, str | int]) -> None:
    """The end of a container must not be lost to a disk that is full for a while."""
    while True:
        try:
            write_state(directory, state)
            return
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            time.sleep(SAVE_AGAIN_S)


def tell(fifo: str, text: bytes) -> None:
    """Hasten the agent, if one listens."""
    try:
        fd = posix.open(fifo, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return
    try:
        posix.write(fd, text)
    except OSError:
        pass  # full: it has enough to do, and polls anyway
    finally:
        posix.close(fd)


def start_ticks(pid: int) -> int:
    """When a process was started, in ticks since the boot: with the pid, who it is. 0: there is none."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else 0


def stat_fields(pid: int | str) -> list[bytes] | None:
    """/proc/PID/stat after the command's name (proc(5)): state, ppid, pgrp, session ..."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


# The container's own world ------------------------------------------------------------------------------------------

S_IFMT, S_IFDIR, S_IFLNK = 0o170000, 0o040000, 0o120000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
# statvfs flags that a remount in a user namespace has to repeat (mount_namespaces(7), "locked"), and their mount bits
LOCKED = ((2, 2), (4, 4), (8, 8), (1024, 1024), (2048, 2048), (4096, 1 << 21))


class Libc:
    """The calls that Python 3.11 has no name for. Made only in processes that end or become something else."""

    def __init__(self) -> None:
        import ctypes

        self.lib = ctypes.CDLL(None, use_errno=True)
        self.errno = ctypes.get_errno

    def check(self, doing: str, result: int) -> None:
        if result != 0:
            code = self.errno()
            raise OSError(code, doing + ": " + posix.strerror(code))

    def prctl(self, option: int, value: int) -> None:
        self.check("prctl", int(self.lib.prctl(option, value, 0, 0, 0)))

    def unshare(self, flags: int) -> None:
        self.check("unsharing namespaces", int(self.lib.unshare(flags)))

    def mount(self, source: str, target: str, kind: bytes | None, flags: int) -> None:
        result = self.lib.mount(source.encode(), target.encode(), kind, flags, None)
        self.check(f"mounting {source} on {target}", int(result))


class Mounts:
    """Builds what `mount` of the spec asks for, in a private mount namespace of this process.

    A mount path that the gateway does not have is made in this namespace only: its nearest directory that exists
    is covered by one in memory which shows all that was there (each entry bound), and has room for the new name.
    """

    def __init__(self, libc: Libc, directory: str) -> None:
        self.libc = libc
        self.scratch = directory + "/scratch"
        self.count = 0
        self.covered: set[str] = set()
        """Directories in memory: a new name can be made in them, not in what they show."""
        self.ours: set[str] = set()
        """Directories that are the container's own, with all below."""

    def mount(self, source: str, target: str, kind: bytes | None, flags: int) -> None:
        self.libc.mount(source, target, kind, flags)

    def bind(self, source: str, target: str) -> None:
        self.mount(source, target, None, MS_BIND | MS_REC)

    def enter(self) -> None:
        """A mount namespace; without the right to make one, inside a user namespace that has our own ids only."""
        uid, gid = posix.geteuid(), posix.getegid()
        try:
            self.libc.unshare(CLONE_NEWNS)
        except OSError:
            try:
                self.libc.unshare(CLONE_NEWUSER | CLONE_NEWNS)
            except OSError as error:
                reason = "volumes need root or user namespaces, and this gateway allows neither"
                raise OSError(error.errno, reason) from error
            maps = (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"))
            for name, text in maps:
                with open("/proc/self/" + name, "w") as file:
                    file.write(text)
        self.mount("none", "/", None, MS_REC | MS_PRIVATE)

    def place(self, source: str, target: str, *, read_only: bool) -> None:
        is_dir = is_directory(source)
        if not exists(target):
            self.make(target, is_dir=is_dir)
        self.bind(source, target)
        if is_dir and not read_only:
            self.ours.add(target)  # a mount point below is made in the volume itself, as container runtimes do
        if read_only:
            flags = sum(bit for flag, bit in LOCKED if posix.statvfs(target).f_flag & flag)
            self.mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | flags)

    def make(self, target: str, *, is_dir: bool) -> None:
        parts = target.strip("/").split("/")
        depth = 0
        while exists("/" + "/".join(parts[: depth + 1])):
            depth += 1
        base = "/" + "/".join(parts[:depth])
        own = any(base == mine or base.startswith(mine + "/") for mine in self.ours)
        if not own and base not in self.covered:
            self.cover(base)
        path = base.rstrip("/")
        for index in range(depth, len(parts)):
            path += "/" + parts[index]
            if index < len(parts) - 1 or is_dir:
                posix.mkdir(path, 0o755)
                self.ours.add(path)
            else:
                touch(path)

    def cover(self, base: str) -> None:
        self.count += 1
        if self.count == 1:
            if not exists(self.scratch):
                posix.mkdir(self.scratch, 0o755)
            self.mount("tmpfs", self.scratch, b"tmpfs", 0)
        copy = f"{self.scratch}/{self.count}"
        posix.mkdir(copy, 0o755)
        for name in posix.listdir(base):
            source, target = base.rstrip("/") + "/" + name, copy + "/" + name
            kind = posix.lstat(source).st_mode & S_IFMT
            if kind == S_IFLNK:
                posix.symlink(posix.readlink(source), target)
            elif kind == S_IFDIR:
                posix.mkdir(target, 0o755)
                self.bind(source, target)
            else:
                touch(target)
                self.bind(source, target)
        if base == "/":
            # The scratch directory is seen through the copy too: bound with everything else.
            posix.chdir(copy)
            posix.chroot(".")
        else:
            self.bind(copy, base)
        self.covered.add(base)


LINKS_MAX, STEPS_MAX = 40, 256  # as the kernel follows (path_resolution(7)); each step is held open


def beneath(source: str, part: str) -> int:
    """A file or directory of a volume, opened from step to step: whoever puts links there meanwhile, nothing outside
    the volume is reached. What is missing is made, as open to others as the volume. Links are followed where they
    stay inside, as a kubelet does it: what one says is walked in the same way, and `..` leads to the directory that
    the walk came through, which is held open."""
    walk = [posix.open(source, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)]
    try:
        return _walked(walk, part, posix.fstat(walk[0]).st_mode & 0o7777)
    finally:
        for fd in walk:
            posix.close(fd)


def _walked(walk: list[int], part: str, mode: int) -> int:
    """`walk`: what is held open, the volume first. What is returned is not among it."""
    steps, links, walked = [(step, True) for step in part.split("/")], 0, 0
    while steps:
        if (walked := walked + 1) > STEPS_MAX:
            raise OSError(errno.ELOOP, f"subPath {part}: more than {STEPS_MAX} steps")
        step, may_be_made = steps.pop(0)
        if step in ("", "."):
            continue
        if step == "..":
            if len(walk) == 1:
                raise OSError(errno.EXDEV, f"subPath {part}: a symbolic link leads out of the volume")
            posix.close(walk.pop())
            continue
        made = may_be_made and _make_directory(step, walk[-1])
        below = posix.open(step, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=walk[-1])
        if posix.fstat(below).st_mode & S_IFMT == S_IFLNK:
            target = posix.readlink("", dir_fd=below)
            posix.close(below)
            if target.startswith("/"):
                raise OSError(errno.EXDEV, f"subPath {part}: the symbolic link {step} leads out of the volume")
            if (links := links + 1) > LINKS_MAX:
                raise OSError(errno.ELOOP, f"subPath {part}: too many symbolic links")
            steps[:0] = [(each, False) for each in target.split("/")]
            continue
        walk.append(below)
        if made:
            posix.chmod(f"/proc/self/fd/{below}", mode)
    return walk.pop() if len(walk) > 1 else posix.open(f"/proc/self/fd/{walk[0]}", posix.O_PATH | posix.O_CLOEXEC)


def _make_directory(name: str, fd: int) -> bool:
    try:
        posix.mkdir(name, 0o700, dir_fd=fd)
    except FileExistsError:
        return False
    return True


def touch(path: str) -> None:
    posix.close(posix.open(path, posix.O_CREAT | posix.O_WRONLY | posix.O_CLOEXEC, 0o644))


def is_directory(path: str) -> bool:
    return posix.stat(path).st_mode & S_IFMT == S_IFDIR


def exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def become(spec: dict[str, list[bytes]], directory: str, parent: int) -> None:
    """In the child: turn into the container. Only an exception comes back."""
    libc = Libc()
    libc.prctl(PR_SET_PDEATHSIG, KILL)
    if posix.getppid() != parent:
        raise OSError(errno.ESRCH, "the supervisor ended before its container began")
    join(spec)
    wanted = [part.decode().split("\n") for part in spec.get("mount", [])]
    if wanted:
        world = Mounts(libc, directory)
        world.enter()
        # Outer places first: making a name at the root moves the root, and what follows must be on the new one.
        for source, target, mode, part in sorted(wanted, key=lambda item: (item[1].count("/"), item[1])):
            fd = beneath(source, part) if part else -1
            world.place(source if fd < 0 else f"/proc/self/fd/{fd}", target, read_only=mode == "ro")
            if fd >= 0:
                posix.close(fd)
    take_ids(number(spec, "uid"), number(spec, "gid"), [int(each) for each in spec.get("group", [])])
    if number(spec, "no_new_privileges"):
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(PR_SET_PDEATHSIG, KILL)  # changing ids clears it (prctl(2))
    posix.chdir(one(spec, "cwd", b"/"))
    env: dict[bytes, bytes] = {}
    for part in spec.get("env", []):
        name, _, value = part.partition(b"=")
        env[name] = value
    execute(spec["argv"], env)


def join(spec: dict[str, list[bytes]]) -> None:
    """The container's cgroups, and its place among who is ended for memory. What the agent may not do is left."""
    for place in spec.get("cgroup", []):
        with open(place + b"/cgroup.procs", "wb", buffering=0) as file:
            file.write(b"0")
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(one(spec, "oom_score_adj", b"0"))
    except OSError:
        return  # to be ended later than others takes a right


def oom_kills(spec: dict[str, list[bytes]]) -> int:
    """How many processes of the container the kernel has ended as its memory was out."""
    for place in spec.get("cgroup", []):
        for name in (b"/memory.events", b"/memory.oom_control"):
            try:
                with open(place + name, "rb") as file:
                    rows = [line.split() for line in file.read().splitlines()]
            except OSError:
                continue
            return sum(int(row[1]) for row in rows if len(row) == 2 and row[0] == b"oom_kill")
    return 0


def take_ids(uid: int | None, gid: int | None, groups: list[int]) -> None:
    """Groups first: afterwards there is no right to. Without root nobody has any: what is asked for is the agent's
    own then, which was checked, and of other groups it is left what it has."""
    same = (uid is None or uid == posix.geteuid()) and (gid is None or gid == posix.getegid())
    if same and (not groups or posix.geteuid() != 0):
        return
    posix.setgroups(groups)
    if gid is not None:
        posix.setgid(gid)
    if uid is not None:
        posix.setuid(uid)


def execute(argv: list[bytes], env: dict[bytes, bytes]) -> None:
    """execvpe(3): a name without a slash is looked for in the container's PATH."""
    if b"/" in argv[0]:
        posix.execve(argv[0], argv, env)
    failure = OSError(errno.ENOENT, "no such command in PATH: " + argv[0].decode(errors="replace"))
    for place in env.get(b"PATH", b"").split(b":"):
        try:
            posix.execve((place or b".") + b"/" + argv[0], argv, env)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                failure = error
    raise failure


# The log ------------------------------------------------------------------------------------------------------------


def stamp() -> bytes:
    """RFC 3339 with nanoseconds, as CRI runtimes write it."""
    now = time.time_ns()
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}Z").encode()


class Log:
    """One file for both streams, rotated by size; a full disk costs lines, which are counted, and never blocks."""

    def __init__(self, path: str, limit_bytes: int, files: int) -> None:
        self.path, self.limit, self.files = path, limit_bytes, files
        self.fd, self.size = self.open()
        self.lost = 0

    def open(self) -> tuple[int, int]:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC
        fd = posix.open(self.path, flags, 0o640)
        return fd, posix.fstat(fd).st_size

    def write(self, data: bytes) -> None:
        if self.lost:
            note = stamp() + b" stderr F skerry: %d bytes of log lost: no room on the disk\n" % self.lost
            if self.put(note):
                self.lost = 0
        if self.lost or not self.put(data):
            self.lost += len(data)
        if self.size >= self.limit:
            self.rotate()

    def put(self, data: bytes) -> bool:
        try:
            done = posix.write(self.fd, data)
            if done < len(data):  # not half a line: take it back
                posix.ftruncate(self.fd, self.size)
                return False
        except OSError:
            return False
        self.size += done
        return True

    def rotate(self) -> None:
        """`0.log` becomes `0.log.20060102-150405` by the time, and the oldest go. The agent compresses some of them
        meanwhile, and gives such names too (edgecore.pods.log_files)."""
        try:
            older = self.older()
            posix.rename(self.path, self.path + "." + later(older[-1] if older else "", time.time()))
            old = self.fd
            self.fd, self.size = self.open()
            posix.close(old)
            for stem in self.older()[: 1 - self.files or None]:
                for name in (stem, stem + ".gz"):
                    if exists(self.path + "." + name):
                        posix.unlink(self.path + "." + name)
        except OSError:
            self.size = 0  # try again one limit later; lines keep going to the old file

    def older(self) -> list[str]:
        """The times in the names of the rotated files, the oldest first."""
        folder, _, name = self.path.rpartition("/")
        found: set[str] = set()
        for entry in posix.listdir(folder):
            stem = entry[len(name) + 1 :]
            stem = stem[:-3] if stem.endswith(".gz") else stem
            if entry.startswith(name + ".") and stem.replace("-", "").replace(".", "").isdecimal():
                found.add(stem)
        return sorted(found)


def later(newest: str, now_s: float) -> str:
    """A name that sorts after the newest one, whatever the clock says."""
    wanted = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
    if wanted > newest:
        return wanted
    second, _, count = newest.partition(".")
    return f"{second}.{int(count or 0) + 1:09d}"


class Stream:
    """One pipe of the container, cut into lines."""

    def __init__(self, fd: int, name: bytes, log: Log) -> None:
        self.fd, self.name, self.log = fd, name, log
        self.rest = b""

    def read(self) -> bool | None:
        """Take what is there; False at the end of the stream, None when there is nothing now."""
        try:
            data = posix.read(self.fd, PIECE_BYTES)
        except BlockingIOError:
            return None
        if not data:
            self.finish()
            return False
        *lines, self.rest = (self.rest + data).split(b"\n")
        out = [self.pieces(line) for line in lines]
        while len(self.rest) >= PIECE_BYTES:
            out.append(self.line(b"P", self.rest[:PIECE_BYTES]))
            self.rest = self.rest[PIECE_BYTES:]
        if out:
            self.log.write(b"".join(out))
        return True

    def pieces(self, line: bytes) -> bytes:
        cut = b""
        while len(line) > PIECE_BYTES:
            cut += self.line(b"P", line[:PIECE_BYTES])
            line = line[PIECE_BYTES:]
        return cut + self.line(b"F", line)

    def line(self, tag: bytes, text: bytes) -> bytes:
        return stamp() + b" " + self.name + b" " + tag + b" " + text + b"\n"

    def finish(self) -> None:
        if self.rest:
            self.log.write(self.line(b"F", self.rest))
            self.rest = b""


# The life of the container ------------------------------------------------------------------------------------------


def descendants(root: int) -> list[int]:
    """All processes below us now. Orphans stay below: we are their reaper (PR_SET_CHILD_SUBREAPER)."""
    children: dict[int, list[int]] = {}
    for name in posix.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(name)
            if fields and fields[0] != b"Z":
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    look = [root]
    while look:
        below = children.get(look.pop(), [])
        found += below
        look += below
    return found


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
            become(self.spec, self.directory, parent)
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
        while True:
            try:
                pid, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
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


def said(error: BaseException) -> str:
    """An error in one line, with the file it is about."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    text = str(error.strerror or error)
    name: object = error.filename
    if name is None:
        return text
    return text + ": " + (name.decode(errors="replace") if isinstance(name, bytes) else str(name))


def pipe() -> tuple[int, int]:
    ends = posix.pipe()
    for fd in ends:
        posix.set_inheritable(fd, False)
    return ends


def launch(directory: str, told_fd: str, program: str) -> None:
    """First stage: out of the agent's family, reaper of all below, then the second stage without `ctypes`."""
    if posix.fork() != 0:
        leave(0)
    posix.setsid()
    posix.chdir("/")
    Libc().prctl(PR_SET_CHILD_SUBREAPER, 1)  # kept across exec
    posix.execv(sys.executable, [sys.executable, "-I", "-S", "-c", program, "run", directory, told_fd])


def main(arguments: list[str]) -> None:
    if arguments[0] == "launch":
        launch(arguments[1], arguments[2], arguments[3])
    else:
        Supervisor(arguments[1], int(arguments[2])).run()
