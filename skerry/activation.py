"""Sockets that another program opened and hands over at a start (sd_listen_fds(3)): who holds them loses nothing that
comes in while this program is started anew.

The protocol is three variables and descriptors from 3 on, so it is ours and needs no library. Keeps nothing; the
variables are taken out of the environment, since programs that are started from here were handed nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

from skerry.errors import InvalidError
from skerry.frozen import Frozen

FIRST: Final = 3
"""SD_LISTEN_FDS_START."""
PASSED_MAX: Final = 4096
VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class Passed(Frozen):
    """One descriptor, and what the unit calls it (`FileDescriptorName=`); without a name it has the unit's."""

    name: str
    number: int


def take_passed(environ: MutableMapping[str, str], pid: int) -> list[Passed]:
    """What this very process was handed; another's variables are no concern of its own. Raises `InvalidError`."""
    told = {name: environ.pop(name, "") for name in VARIABLES}
    if not told["LISTEN_FDS"] or told["LISTEN_PID"] != str(pid):
        return []
    count = int(told["LISTEN_FDS"]) if told["LISTEN_FDS"].isdecimal() else -1
    if not 0 <= count <= PASSED_MAX:
        raise InvalidError(f"LISTEN_FDS: {told['LISTEN_FDS']!r} is no number from 0 to {PASSED_MAX}")
    names = told["LISTEN_FDNAMES"].split(":") if told["LISTEN_FDNAMES"] else [""] * count
    if len(names) != count:
        raise InvalidError(f"LISTEN_FDNAMES: has {len(names)} names for the {count} sockets of LISTEN_FDS")
    return [Passed(name=name, number=FIRST + place) for place, name in enumerate(names)]


def socket_of(passed: Passed) -> socket.socket:
    """It is closed with what is returned, and no program that is started from here has it. Raises `InvalidError` for
    what is no socket."""
    try:
        os.set_inheritable(passed.number, False)
        return socket.socket(fileno=passed.number)
    except OSError as error:
        raise InvalidError(f"LISTEN_FDS: descriptor {passed.number} is no socket ({error.strerror})") from error
