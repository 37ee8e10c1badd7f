"""How long the keeper of twins waits for what, and what it holds back for how long. Pure; keeps no data."""

from __future__ import annotations

from typing import Final

from skerry.frozen import Frozen

CLOCK_FLOOR_MS: Final = 1_767_225_600_000
"""2026-01-01: a wall clock before this was never set."""


class KeeperSettings(Frozen):
    """How long things wait."""

    group_s: float = 0.25
    """Between two commits of readings in the long run: those that come meanwhile share a disk sync."""
    group_credit: int = 120
    """Commits that need not wait, where none was made for so many times `group_s`."""
    group_rows: int = 200
    """Or until they are this many."""
    group_receipts: int = 16
    """Or until so many messages await their acknowledgement: mosquitto sends no more than 20 without."""
    staged_rows_max: int = 2000
    """Beyond, no reading is taken from the drivers until the store takes some: a broker then keeps them."""
    store_retry_s: float = 1.0
    """After the store refused (a full disk)."""
    health_s: float = 0.5
    """Between two looks at whether devices live."""
    seen_s: float = 60.0
    """A device that goes on living is said to at least this often (`lastOnlineTime`)."""
    retry_s_min: float = 1.0
    retry_s_max: float = 30.0
    """Between two attempts to carry out a desired value that failed."""
    first_reading_s: float = 2.0
    """How long, beyond two periods, a desired value waits for a first reading that may make a write needless."""
    restart_s: float = 5.0
    """After a fault of our own in a driver."""
    tell_s: float = 1.0
    """Between two times in the long run that the cloud is told of a device whose values move: what people follow with
    their eyes."""
    tell_credit: int = 120
    """Times that need not wait, where the device was quiet for so many times `tell_s`."""
