"""A way into a volume, step by step, that leads nowhere else. Imports only what is built in; keeps nothing."""

from __future__ import annotations

import errno
import posix

S_IFMT, S_IFLNK = 0o170000, 0o120000
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
