"""This side's terminal while a command runs elsewhere: raw, and as it was again whatever happens; its size; its keys.

Standard input is read in a thread, since it may be a file, a pipe or a terminal, and only some of them can be waited
for. A crash of this process by SIGKILL leaves a raw terminal, as everywhere (`reset` mends it).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Final

from skerry.errors import BadRequestError

_READ_BYTES: Final = 64 * 1024
_QUEUE: Final = 2
"""Pieces of standard input that were read and are not sent yet."""


class DetachedError(Exception):
    """The user typed the keys for it."""


def is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


@contextmanager
def raw(descriptor: int) -> Generator[None]:
    """Keys go as they are, `^C` too, until the end of the block. Where this process was stopped and goes on, the
    terminal is made raw again."""
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSADRAIN)

    def again(_number: int, _frame: object) -> None:
        with suppress(termios.error):
            tty.setraw(descriptor, termios.TCSADRAIN)

    former = signal.signal(signal.SIGCONT, again)
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, former or signal.SIG_DFL)
        with suppress(termios.error):  # the terminal may be gone, which is why we end
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class Sizes:
    """The terminal's size at first, and whenever it changes; many changes at once are one."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = asyncio.Event()
        self._changed.set()
        self._said = (0, 0)
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._changed.set)

    async def __call__(self) -> tuple[int, int]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            with suppress(OSError):
                size = os.get_terminal_size(self._descriptor)
                if (size.columns, size.lines) != self._said and size.columns and size.lines:
                    self._said = (size.columns, size.lines)
                    return self._said

    def close(self) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)


class DetachKeys:
    """Finds a sequence of keys in what is typed. Keeps those that may be its beginning."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def typed(self, data: bytes) -> bytes:
        """What goes on. Raises `DetachedError` at the sequence's end."""
        if not self._keys:
            return data
        seen = self._held + data
        if self._keys in seen:
            raise DetachedError
        most = min(len(self._keys) - 1, len(seen))
        length = next(
            (count for count in range(most, 0, -1) if seen.endswith(self._keys[:count])),
            0,
        )
        self._held = seen[len(seen) - length :]
        return seen[: len(seen) - length]


def keys_of(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as a terminal sends them, as Docker writes them; "" for none. Raises `BadRequestError`."""
    if not text:
        return b""
    found = bytearray()
    for word in text.split(","):
        letter = word.removeprefix("ctrl-")
        if len(letter) != 1 or not letter.isascii() or not letter.isprintable():
            raise BadRequestError(f"--detach-keys: {word!r} is no key; write a character, or ctrl- and one")
        if letter == word:
            found += letter.encode()
        elif letter.lower() in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            found.append(ord(letter.upper()) & 0x1F)
        else:
            raise BadRequestError(f"--detach-keys: no terminal sends {word!r}")
    return bytes(found)


class Input:
    """Standard input, piece by piece; empty at its end."""

    def __init__(self, descriptor: int, keys: DetachKeys | None = None) -> None:
        self._descriptor = descriptor
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)
        self._begun = False

    async def __call__(self) -> bytes:
        if not self._begun:
            self._begun = True
            # A daemon: it may wait for a key for ever, and this process ends without one.
            threading.Thread(target=self._read, daemon=True).start()
        while data := await self._pieces.get():
            passed = data if self._keys is None else self._keys.typed(data)
            if passed:
                return passed
        return b""

    def _read(self) -> None:
        data = b"-"
        while data:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except OSError:
                data = b""
            try:
                asyncio.run_coroutine_threadsafe(self._pieces.put(data), self._loop).result()
            except (RuntimeError, CancelledError):
                return  # the conversation is over


def writer_to(descriptor: int) -> Callable[[bytes], None]:
    """Writes all of it. Raises `BrokenPipeError` where nobody reads."""

    def write(data: bytes) -> None:
        at = 0
        while at < len(data):
            at += os.write(descriptor, data[at:])

    return write


async def write_out(data: bytes) -> None:
    """To standard output; whoever reads it may take their time, and the connection lives on meanwhile."""
    await asyncio.to_thread(writer_to(sys.stdout.fileno()), data)


async def write_error(data: bytes) -> None:
    """To standard error."""
    await asyncio.to_thread(writer_to(sys.stderr.fileno()), data)
