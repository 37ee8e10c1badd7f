"""The container's own world: its mounts, user and cgroups, made by the process that becomes the container.

Only such a process, and those that end soon, import it: it needs `ctypes`. Keeps nothing.
"""

from __future__ import annotations

import errno
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgecore.pods.runtimes.apart.beneath import beneath
    from edgecore.pods.runtimes.apart.exchange import number, one
    from edgecore.pods.runtimes.apart.processes import KILL, exists
else:
    from beneath import beneath
    from exchange import number, one
    from processes import KILL, exists

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


def touch(path: str) -> None:
    posix.close(posix.open(path, posix.O_CREAT | posix.O_WRONLY | posix.O_CLOEXEC, 0o644))


def is_directory(path: str) -> bool:
    return posix.stat(path).st_mode & S_IFMT == S_IFDIR
