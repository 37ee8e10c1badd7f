"""What the agent asks of a container's supervisor, and what it is told: files, and a word on its fifo.

See `supervisor` for what is in them. Imports only what is built in.
"""

from __future__ import annotations

import errno
import posix
import time

SAVE_AGAIN_S = 2.0


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


def said(error: BaseException) -> str:
    """An error in one line, with the file it is about."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    text = str(error.strerror or error)
    name: object = error.filename
    if name is None:
        return text
    return text + ": " + (name.decode(errors="replace") if isinstance(name, bytes) else str(name))
