"""When the cloud was last known to live, in memory that processes of the server share.

What gateways say comes through the cloud, and does not change when the cloud is gone: votes of a minute ago would
stand against what observers have seen within seconds, just when a region dies with the cloud in it. So who follows
the cloud asks it every two seconds whether it is there, while there are such votes, and they count only while it is.
Nothing is written to disk for it.
"""

from __future__ import annotations

import mmap
import struct
import time
from typing import Final

BEAT_S: Final = 2.0
SILENT_S_MAX: Final = 6.0
_AT: Final = struct.Struct("@d")


class Beat:
    """Made before processes are forked; times are of the machine's monotonic clock, which they have in common."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def note(self, now_s: float) -> None:
        _AT.pack_into(self._memory, 0, now_s)

    def is_heard(self, now_s: float | None = None) -> bool:
        at_s: float = _AT.unpack_from(self._memory, 0)[0]
        return at_s > 0 and (time.monotonic() if now_s is None else now_s) - at_s <= SILENT_S_MAX
