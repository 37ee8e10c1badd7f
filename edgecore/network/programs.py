"""Runs the kernel's own tools: `ip`, `nft`, `iptables-restore`, `conntrack`. Keeps nothing; each run has an end.

A netlink library in the agent would cost it more memory than the rest of its network: these run when something
changes, and are gone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from typing import Final

from skerry.errors import UnavailableError

RUN_S: Final = 30.0
WHOLE_S: Final = 180.0
"""For all rules at once: `iptables` of nf_tables takes a quarter of a minute for those of a thousand services."""
SAID_BYTES_MAX: Final = 300
_ALSO: Final = "/usr/sbin:/sbin"
"""Where Debian has them, and a service's PATH often not."""


def found(program: str) -> str | None:
    """Its path; None where it is not installed."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_ALSO}")


async def run(program: str, *words: str, text: str = "", within_s: float = RUN_S) -> str:
    """What it prints when given this for input. Raises `UnavailableError` with what it complained of."""
    path = found(program)
    if path is None:
        raise UnavailableError(f"{program}: No such file or directory")
    try:
        made = await asyncio.create_subprocess_exec(
            path, *words, stdin=PIPE if text else DEVNULL, stdout=PIPE, stderr=PIPE
        )
    except OSError as error:
        raise UnavailableError(f"{program}: {error.strerror}") from error
    try:
        async with asyncio.timeout(within_s):
            printed, said = await made.communicate(text.encode() if text else None)
    except TimeoutError:
        made.kill()
        await made.wait()
        raise UnavailableError(f"{program}: no answer") from None
    except asyncio.CancelledError:
        if made.returncode is None:
            made.kill()
            await made.wait()
        raise
    if made.returncode:
        raise UnavailableError(f"{program}: {_complaint(said)}")
    return printed.decode(errors="replace")


def _complaint(said: bytes) -> str:
    lines: Sequence[str] = said.decode(errors="replace").strip().splitlines() or ["failed"]
    return lines[0][:SAID_BYTES_MAX]
